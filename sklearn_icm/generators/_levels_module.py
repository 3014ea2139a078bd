"""Columns of levels: which they are, their codes, and interventions on them."""

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..interventions import Compose, Do, as_intervention
from ._edges_module import column_name
from ._table_module import are_names

__all__ = [
    "ValidCodes",
    "decode_levels",
    "encode_levels",
    "find_levels",
    "in_codes",
    "levels_of",
]

# Levels that a column may have before it is asked whether it really has levels.
MANY = 20


def find_levels(X, categorical_features, mechanism="auto"):
    """Levels of the categorical columns of fitted rows.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
    categorical_features : "from_dtype" or list of str or int
        "from_dtype" takes what a DataFrame holds as strings, categories or booleans.
    mechanism : str or dict of str to str
        Columns whose mechanism is "categorical" have levels too.

    Returns
    -------
    dict of int to ndarray
        Sorted levels by the position of the column; those of a categorical dtype in
        its own order.
    """
    by_dtype = isinstance(categorical_features, str)
    given = {"categorical_features": [] if by_dtype else categorical_features}
    kinds = mechanism if isinstance(mechanism, Mapping) else {}
    given["mechanism"] = [c for c, kind in kinds.items() if kind == "categorical"]
    everywhere = isinstance(mechanism, str) and mechanism == "categorical"
    positions = set()
    if isinstance(X, pd.DataFrame) and by_dtype:
        positions = {k for k, t in enumerate(X.dtypes) if _is_categorical(t)}
    if not (positions or everywhere or any(map(len, given.values()))):
        return {}
    X = pd.DataFrame(X)
    names = list(X.columns)
    if not are_names(names):
        names = [f"x{k}" for k in range(len(names))]
    for parameter, columns in given.items():
        found = {column_name(c, names, parameter) for c in columns}
        positions |= {k for k, name in enumerate(names) if name in found}
    if everywhere:
        positions = set(range(len(names)))
    columns = {k: X.iloc[:, k].rename(names[k]) for k in sorted(positions)}
    levels = {k: _levels_of(column) for k, column in columns.items()}
    _warn_of_many({names[k]: len(own) for k, own in levels.items()}, len(X))
    return levels


def _is_categorical(dtype):
    types = pd.api.types
    return (
        isinstance(dtype, pd.CategoricalDtype)
        or types.is_string_dtype(dtype)
        or types.is_bool_dtype(dtype)
    )


def _levels_of(column):
    if isinstance(column.dtype, pd.CategoricalDtype):
        used = column.cat.remove_unused_categories().cat.categories
        return used.to_numpy()
    try:
        return np.array(sorted(column.dropna().unique()))
    except TypeError as error:
        raise ValueError(
            f"The levels of column {column.name!r} must have an order, but cannot be "
            f"sorted: {error}. Make them all strings, "
            f"X[{column.name!r}].astype(str), or an ordered pandas.Categorical."
        ) from None


def _warn_of_many(n_levels, n_rows):
    """Warn of columns with so many levels that they may be meant as numbers."""
    for name, n in n_levels.items():
        if n > max(MANY, n_rows / 2):
            warnings.warn(
                f"Column {name!r} has {n} levels in {n_rows} rows, too many to learn "
                "of each. If it holds numbers, make it a numeric column; if it "
                "identifies rows, leave it out.",
                UserWarning,
                stacklevel=8,
            )


def encode_levels(X, levels):
    """Rows with every categorical column as codes 0, 1, ...; missing ones are NaN."""
    if not levels:
        return X
    frame = pd.DataFrame(X).copy()
    columns = [frame.iloc[:, k] for k in range(frame.shape[1])]
    for k, known in levels.items():
        if k < len(columns):
            columns[k] = _codes(columns[k], known)
    encoded = pd.concat(columns, axis=1)
    return encoded if isinstance(X, pd.DataFrame) else encoded.to_numpy(np.float64)


def _codes(column, levels):
    codes = pd.Index(levels).get_indexer(column).astype(np.float64)
    unknown = column[(codes < 0) & column.notna().to_numpy()]
    if len(unknown):
        raise ValueError(
            f"Column {column.name!r} has the level {unknown.iloc[0]!r}, which was not "
            f"seen in fit; its levels are {list(levels)}."
        )
    codes[codes < 0] = np.nan
    return pd.Series(codes, index=column.index, name=column.name)


def decode_levels(rows, levels):
    """Codes back to levels: an array, of objects where some levels are no numbers."""
    if not levels:
        return rows
    numeric = all(np.issubdtype(v.dtype, np.number) for v in levels.values())
    decoded = rows.copy() if numeric else rows.astype(object)
    for k, known in levels.items():
        decoded[:, k] = levels_of(rows[:, k], known)
    return decoded


def levels_of(codes, levels):
    """Levels at some codes; beyond the last code it is the last level."""
    return levels[np.clip(np.rint(codes), 0, len(levels) - 1).astype(int)]


def in_codes(name, change, levels):
    """Intervention on a categorical column: a level becomes its code."""
    if not callable(change):
        found = np.flatnonzero([level == change for level in levels])
        if len(found) != 1:
            raise ValueError(
                f"The intervention on node {name!r} must be one of its levels, "
                f"{list(levels)}, got {change!r}."
            )
        change = Do(found[0])
    return Compose((as_intervention(change, name), ValidCodes(name, len(levels))))


class ValidCodes:
    """Refuse values of a categorical node that are not codes of its levels."""

    def __init__(self, name, n_levels):
        self.name, self.n_levels = name, n_levels

    def __repr__(self):
        return f"ValidCodes({self.name!r}, {self.n_levels})"

    def __call__(self, value):
        valid = (value == value.round()) & (value >= 0) & (value < self.n_levels)
        if not bool(valid.all()):
            wrong = value[~valid][0].item()
            raise ValueError(
                f"The intervention on node {self.name!r} must give codes of its "
                f"levels, 0 to {self.n_levels - 1}, got {wrong:g}."
            )
        return value
