"""Columns of a table: their containers, and how far they may be set."""

import warnings
from decimal import Decimal
from numbers import Integral, Real

import numpy as np
import pandas as pd

from ..exceptions import FarInterventionWarning
from ..interventions import Do, Intervention, Shift
from ..interventions._base import as_intervention, replaces_mechanism, steps_of

__all__ = [
    "Rounded",
    "are_names",
    "check_known",
    "is_set",
    "plain_columns",
    "refuse_missing",
    "set_numbers",
    "warn_if_far",
    "whole_columns",
    "with_columns",
]

# Standard deviations outside the fitted range at which a do-intervention is far.
FAR = 3.0
# Rows in which a mechanism's columns are known, below which a fit warns.
FEW_JOINT = 30


def plain_columns(X):
    """Rows as a DataFrame with named columns whose numbers are no objects, or an array.

    Frames of polars become DataFrames, and numbers in columns of objects (`Decimal`,
    or beside missing values) numbers. Raises ValueError for times, by column.
    """
    if type(X).__module__.split(".")[0] == "polars" and hasattr(X, "to_dict"):
        X = pd.DataFrame({name: _from_polars(X[name]) for name in X.columns})
    if isinstance(X, np.ndarray) and X.ndim == 2:
        if X.dtype.kind in "mM":
            _refuse_times(pd.Series(X[:, 0], name="0"))
        is_object = X.dtype == object and pd.isna(X).any()
        return np.where(pd.isna(X), np.nan, X) if is_object else X
    if not isinstance(X, pd.DataFrame):
        return X
    names = list(X.columns)
    if not are_names(names) and names != list(range(len(names))):
        raise ValueError(
            f"The columns of X must be named by strings, got {names[:5]}: numbers "
            "would be taken for positions. Set X.columns = X.columns.astype(str)."
        )
    if any(map(pd.api.types.is_object_dtype, X.dtypes)):
        X = X.infer_objects()
        columns = [_as_numbers(X.iloc[:, k]) for k in range(X.shape[1])]
        X = pd.concat(columns, axis=1) if columns else X
    for k in range(X.shape[1]):
        _refuse_times(X.iloc[:, k])
    return X


def _from_polars(series):
    """Values of a column of polars, with missing ones and declared levels."""
    if hasattr(series.dtype, "categories") and str(series.dtype).startswith("Enum"):
        levels = series.dtype.categories.to_list()
        return pd.Categorical(series.to_list(), categories=levels)
    if series.dtype.is_integer() and series.null_count():
        return pd.array(series.to_list(), dtype=str(series.dtype))
    is_plain = series.dtype.is_float() or series.dtype.is_integer()
    return series.to_numpy() if is_plain else pd.Series(series.to_list(), dtype=object)


def _as_numbers(column):
    """A column of objects as numbers, if all that are known are; whole ones whole."""
    if column.dtype != object:
        return column
    missing = column.isna().to_numpy()
    known = column[~missing].tolist()
    if not known or not all(map(_is_number, known)):
        return column
    is_whole = all(isinstance(value, Integral) for value in known)
    if is_whole and max(map(abs, known)) < 2**63:
        numbers = pd.array([pd.NA] * len(column), dtype="Int64")
        numbers[~missing] = list(map(int, known))
    else:
        numbers = np.full(len(column), np.nan)
        numbers[~missing] = list(map(float, known))
    return pd.Series(numbers, index=column.index, name=column.name)


def _is_number(value):
    return isinstance(value, (Real, Decimal)) and not isinstance(value, bool)


SINCE = "(pandas.to_datetime({0}) - pandas.to_datetime({0}).min())"
# What to write instead of a column of times.
TIMES = {
    "date": SINCE + ".dt.days",
    "datetime": SINCE + ".dt.total_seconds()",
    "datetime64": SINCE + ".dt.total_seconds()",
    "timedelta": "pandas.to_timedelta({0}).dt.total_seconds()",
    "timedelta64": "pandas.to_timedelta({0}).dt.total_seconds()",
    "period": "({0}.dt.start_time - {0}.dt.start_time.min()).dt.days",
    "time": "pandas.to_timedelta({0}.astype(str)).dt.total_seconds()",
    "interval": "pandas.Index({0}).mid",
}


def _refuse_times(column):
    # The type tells, but of objects all values are asked.
    asked = column if column.dtype == object else column[:1]
    kind = pd.api.types.infer_dtype(asked, skipna=True)
    if kind in TIMES:
        number = TIMES[kind].format(f"X[{column.name!r}]")
        raise ValueError(
            f"Column {column.name!r} must hold numbers or levels, got values of type "
            f"{kind}, such as {column[column.notna()].iloc[:1].tolist()}. Make them "
            f"numbers, such as {number}, or levels by .astype(str), or leave the "
            "column out."
        )


def whole_columns(X, levels):
    """``{position: type}`` of the columns of whole numbers that are no levels."""
    if isinstance(X, pd.DataFrame):
        dtypes = list(X.dtypes)
    else:
        X = np.asarray(X)
        dtypes = [X.dtype] * (X.shape[1] if X.ndim == 2 else 0)
    return {
        k: str(dtype)
        for k, dtype in enumerate(dtypes)
        if pd.api.types.is_integer_dtype(dtype) and k not in levels
    }


def are_names(names):
    return all(isinstance(name, str) for name in names)


class Rounded(Intervention):
    """What an intervention on columns of whole numbers is given: whole numbers.

    Within the ranges, (low, high), of the columns of a node by position.
    """

    def __init__(self, ranges):
        self.ranges = ranges

    def __repr__(self):
        return "Rounded()"

    def __call__(self, value, here=None):
        rounded = value.clone()
        for k, limits in self.ranges.items():
            rounded[:, k] = value[:, k].round().clamp(*limits)
        return rounded


def is_set(change):
    """Whether an intervention changes values, not just the mechanism behind them."""
    return not all(map(replaces_mechanism, steps_of(change)))


def with_columns(frame, columns):
    """A DataFrame, of pandas or polars, with other values in some positions."""
    for k, values in columns.items():
        name = frame.columns[k]
        if hasattr(frame, "with_columns"):
            frame = frame.with_columns(type(frame[name])(name, np.asarray(values)))
        else:
            frame[name] = values
    return frame


def check_known(X, known, parents, names):
    """Refuse mechanisms of which too few rows are known; warn of few.

    A row counts where the column is `known`, and its parents are not missing.
    """
    there = pd.DataFrame(~(np.isnan(X)), columns=names)
    for k, name in enumerate(names):
        causes = [parent for parent in parents[name] if parent in names]
        n_joint = int((there[causes].all(axis=1) & known[:, k]).sum())
        rows = f"Column {name!r} is known in {n_joint} of {len(X)} rows"
        if causes:
            rows = (
                f"Column {name!r} and its parents {causes} are known together in "
                f"{n_joint} of {len(X)} rows"
            )
        if n_joint < 2:
            raise ValueError(
                f"{rows}; at least 2 are needed to fit its mechanism. Leave out the "
                "column or the edge, or fill in values before."
            )
        if n_joint < min(FEW_JOINT, len(X)):
            warnings.warn(
                f"{rows}, fewer than {FEW_JOINT}: what is fitted to them is not to be "
                "trusted.",
                UserWarning,
                stacklevel=5,
            )


def refuse_missing(X, advice):
    """Say what can be done about missing values, where some are found."""
    if not isinstance(X, (np.ndarray, pd.DataFrame)) or X.ndim != 2:
        return
    missing = pd.DataFrame(X).isna().to_numpy().sum(0)
    if missing.any():
        column = int(np.flatnonzero(missing)[0])
        raise ValueError(
            f"X contains NaN: {missing[column]} missing values in column {column}. "
            f"{advice}"
        )


def set_numbers(interventions, names):
    """``{column: number}`` of the columns that are set to one number."""
    found = {}
    for name, change in interventions.items():
        # Of several steps the last one counts.
        change = steps_of(as_intervention(change, name))[-1]
        if name in names and isinstance(change, Do) and change.value.size == 1:
            found[list(names).index(name)] = change.value.item()
    return found


def warn_if_far(interventions, names, limits, scale):
    """Warn of columns that are set far outside the range that was fitted."""
    for name, change in interventions.items():
        # Unknown names are refused later, whatever is done to them.
        change = as_intervention(change, name) if name in names else None
        if not isinstance(change, (Do, Shift)):
            continue
        column = list(names).index(name)
        low, high = limits[:, column]
        if isinstance(change, Shift):
            # Of the rows that were at the end of the range.
            outside = np.abs(change.value).max()
        else:
            outside = max(low - change.value.min(), change.value.max() - high)
        distance = outside / float(scale[column])
        if distance > FAR:
            warnings.warn(
                FarInterventionWarning(name, distance, low, high), stacklevel=4
            )
