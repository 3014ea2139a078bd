"""Columns of levels: which they are, and their codes."""

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..exceptions import FewRowsWarning
from ..utils.checks import plain
from ..utils.pipelines import is_predictor, predicts_levels
from ._columns import are_names, column_name
from ._frames import are_plain

__all__ = [
    "codes_of",
    "decode_levels",
    "encode_levels",
    "find_levels",
    "levels_of",
]

# Levels that a column may have before it is asked whether it really has levels.
MANY = 20
# Whole numbers below it have a float64 of their own.
EXACT = 2.0**53


def find_levels(X, categorical_features, mechanism="auto"):
    """Levels of the categorical columns of fitted rows, by position.

    They are sorted; those of a categorical dtype are in its own order, with those that
    no row has. Which columns have levels `categorical_features` says, as
    `GraphGenerator` has it, or a `mechanism` that is "categorical" or a classifier.
    """
    by_dtype = isinstance(categorical_features, str)
    given = {"categorical_features": [] if by_dtype else categorical_features}
    kinds = mechanism if isinstance(mechanism, Mapping) else {}
    kinds = {c: _kind_of(own) for c, own in kinds.items()}
    given["mechanism"] = [c for c, kind in kinds.items() if kind == "categorical"]
    everywhere = isinstance(mechanism, str) and mechanism == "categorical"
    frame = _as_frame(X, everywhere or any(map(len, given.values())))
    if frame is None:
        return {}
    names = list(frame.columns)
    if not are_names(names):
        names = [f"x{k}" for k in range(len(names))]
    columns = [frame.iloc[:, k].rename(name) for k, name in enumerate(names)]
    found = {column_name(c, names, p) for p, cs in given.items() for c in cs}
    if by_dtype:
        found |= {c.name for c in columns if _is_categorical(c.dtype)}
    if categorical_features == "auto":
        numeric = [
            c for c, kind in kinds.items() if kind not in ("auto", "categorical")
        ]
        numeric = {column_name(c, names, "mechanism") for c in numeric}
        found |= {
            c.name for c in columns if c.name not in numeric and _is_two_valued(c)
        }
    levels = {
        k: _levels_of(column)
        for k, column in enumerate(columns)
        if everywhere or column.name in found
    }
    if isinstance(X, pd.DataFrame):
        _refuse_text([c for k, c in enumerate(columns) if k not in levels])
    _warn_of_many({names[k]: columns[k].nunique() for k in levels}, len(frame))
    return levels


def _kind_of(own):
    """What the mechanism of a column, be it a kind or an object, says of it."""
    if isinstance(own, str):
        return own
    if not is_predictor(own):
        return "auto"
    return "categorical" if predicts_levels(own) else "regressor"


def _as_frame(X, asked):
    """Rows whose columns may have levels as a DataFrame; otherwise None."""
    if isinstance(X, pd.DataFrame):
        return X
    if not asked:
        # Of arrays, those of truth values, whole numbers or strings, of objects too.
        X = np.asarray(X)
        is_text = X.dtype == object and any(isinstance(v, str) for v in X.flat)
        asked = X.ndim == 2 and (X.dtype.kind in "biuU" or is_text)
    return pd.DataFrame(X).infer_objects() if asked else None


def _is_categorical(dtype):
    types = pd.api.types
    return (
        isinstance(dtype, pd.CategoricalDtype)
        or types.is_string_dtype(dtype)
        or types.is_bool_dtype(dtype)
    )


def _refuse_text(columns):
    """Refuse columns that are neither numbers nor said to have levels."""
    for column in columns:
        held = getattr(column.dtype, "categories", column).dtype
        known = column.dropna()
        if pd.api.types.is_string_dtype(held) and len(known):
            raise ValueError(
                f"Column {column.name!r} has levels such as {plain(known.iloc[0])!r}, "
                "but categorical_features does not name it: name it too, or leave "
                "categorical_features at 'auto'."
            )


def _is_two_valued(column):
    if not pd.api.types.is_integer_dtype(column.dtype):
        return False
    known = column.dropna().to_numpy()
    if not len(known):
        return False
    low, high = known.min(), known.max()
    return bool(low < high and ((known == low) | (known == high)).all())


def _levels_of(column):
    if isinstance(column.dtype, pd.CategoricalDtype):
        levels = column.cat.categories.tolist()
    else:
        levels = _sorted_levels(column)
    wrong = [level for level in levels if isinstance(level, (tuple, frozenset))]
    if wrong:
        raise ValueError(
            f"The levels of column {column.name!r} must be strings, numbers or truth "
            f"values, got {wrong[0]!r}. Make them strings, "
            f"X[{column.name!r}].astype(str)."
        )
    if not levels:
        raise ValueError(f"Column {column.name!r} has no known value. Leave it out.")
    array = np.array(levels)
    alike = array.dtype.kind != "U" or all(isinstance(v, str) for v in levels)
    return array if array.dtype.kind in "biufU" and alike else _as_objects(levels)


def _sorted_levels(column):
    try:
        return sorted(column.dropna().unique().tolist())
    except TypeError as error:
        raise ValueError(
            f"The levels of column {column.name!r} must have an order, but cannot be "
            f"sorted: {error}. Make them all strings, "
            f"X[{column.name!r}].astype(str), or an ordered pandas.Categorical."
        ) from None


def _as_objects(levels):
    array = np.empty(len(levels), object)
    array[:] = levels
    return array


def _warn_of_many(n_levels, n_rows):
    """Warn of columns with so many levels that they may be meant as numbers."""
    for name, n in n_levels.items():
        if n > max(MANY, n_rows / 2):
            warnings.warn(
                f"Column {name!r} has {n} levels in {n_rows} rows, too many to learn "
                "of each. If it holds numbers, make it a numeric column; if it "
                "identifies rows, leave it out.",
                FewRowsWarning,
                stacklevel=10,
            )


def encode_levels(X, levels):
    """Rows with every categorical column as codes 0, 1, ...; missing ones are NaN.

    An array, if all other columns hold numbers of numpy.
    """
    if not levels:
        return X
    frame = pd.DataFrame(X)
    columns = dict(enumerate(column for _, column in frame.items()))
    codes = {k: _codes(columns.pop(k), levels[k]) for k in levels if k in columns}
    is_array = not isinstance(X, pd.DataFrame)
    if is_array or are_plain(column.dtype for column in columns.values()):
        rows = np.empty(frame.shape)
        for k, own in {**columns, **codes}.items():
            rows[:, k] = own
        return rows
    frame = frame.copy()
    for k, own in codes.items():
        frame.isetitem(k, own)
    return frame


def _codes(column, levels):
    values = column.to_numpy()
    known = pd.notna(values)
    codes = np.full(len(column), np.nan)
    values = values[known]
    if values.dtype == object and levels.dtype.kind in "biuf":
        values = pd.Series(values).infer_objects().to_numpy()
    codes[known] = codes_of(values, levels)
    if (codes < 0).any():
        unknown = column[codes < 0].iloc[0]
        raise ValueError(
            f"Column {column.name!r} has the level {plain(unknown)!r}, which "
            f"was not seen in fit; its levels are {plain(levels)}. Declare all levels "
            "before fit, such as by X[column].astype(pandas.CategoricalDtype([...])); "
            "if the column holds numbers, categorical_features='from_dtype' takes "
            "whole ones as such."
        )
    return codes


def codes_of(values, levels):
    """Codes of the levels in an array, 0, 1, ...; -1 for what is no level."""
    values, levels = (
        array.astype(int) if array.dtype == bool else array
        for array in (np.asarray(values), levels)
    )
    if levels.dtype.kind in "iu" and values.dtype.kind == "f":
        # A larger float may stand for several whole numbers.
        values = np.where(abs(values) < EXACT, values, np.nan)
    codes = {level: code for code, level in enumerate(levels.tolist())}
    return np.array([codes.get(value, -1) for value in values.tolist()], int)


def decode_levels(rows, levels):
    """Codes back to levels: an array, of objects where floats cannot hold the levels.

    Truth values alone remain truth values.
    """
    if not levels:
        return rows
    columns = {k: levels_of(rows[:, k], known) for k, known in levels.items()}
    if len(columns) == rows.shape[1] and all(v.dtype == bool for v in levels.values()):
        return np.column_stack(list(columns.values()))
    numeric = all(_fits(known, rows.dtype) for known in levels.values())
    decoded = rows.copy() if numeric else rows.astype(object)
    for k, column in columns.items():
        decoded[:, k] = column
    return decoded


def _fits(levels, dtype):
    """Whether numbers of some type hold the levels as they are."""
    if levels.dtype.kind not in "iuf":
        return False
    return np.array_equal(codes_of(levels.astype(dtype), levels), range(len(levels)))


def levels_of(codes, levels):
    """Levels at some codes; beyond the last code it is the last level."""
    return levels[np.clip(np.rint(codes), 0, len(levels) - 1).astype(int)]
