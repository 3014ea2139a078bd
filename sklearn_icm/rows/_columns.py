"""Columns of a table: names, numbers in whatever container, whole numbers."""

from collections.abc import Mapping
from decimal import Decimal
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse
from torch.utils.data import DataLoader, Dataset

from ..utils.checks import plain
from ._frames import are_plain, as_frame


def column_name(column, names, parameter="graph"):
    """Name of a column that is given by name or position."""
    if isinstance(column, str) and column in names:
        return column
    whole = isinstance(column, Integral) and not isinstance(column, bool)
    if whole and 0 <= column < len(names):
        return names[column]
    hint = ""
    if parameter == "graph":
        hint = (
            " A node that is not observed must be declared: "
            "unobserved={name: number of dimensions}."
        )
    raise ValueError(
        f"{parameter} names the column {plain(column)!r}, which X does not have; its "
        f"columns are {names} (or their positions, 0 to {len(names) - 1}).{hint}"
    )


def plain_columns(X):
    """Rows as a DataFrame with named columns whose numbers are no objects, or an array.

    Frames of polars become DataFrames, and numbers in columns of objects (`Decimal`,
    or beside missing values) numbers. Raises ValueError for times, by column.
    """
    if hasattr(X, "columns"):
        X = as_frame(X)
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
    dtypes = list(X.dtypes)
    if object in dtypes:
        X = X.infer_objects()
        columns = [_as_numbers(X.iloc[:, k]) for k in range(X.shape[1])]
        X = pd.concat(columns, axis=1)
        dtypes = list(X.dtypes)
    for k, dtype in enumerate(dtypes):
        if not (are_plain([dtype]) or isinstance(dtype, NO_TIMES)):
            _refuse_times(X.iloc[:, k])
    return X


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


def plain_rows(X):
    """Rows of a tensor as an array, and what else holds rows as it is.

    Raises TypeError for anything that does not, and says how to convert it. (numpy
    would try for a long time, or fail in words of its own.)
    """
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        return (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    is_row = hasattr(X, "to_frame") and getattr(X, "ndim", 1) == 1
    first = X[0] if isinstance(X, (list, tuple)) and X else None
    holds_rows = isinstance(X, (list, tuple, str)) or np.isscalar(X) or X is None
    if isinstance(X, DataLoader):
        advice = "np.concatenate([batch.flatten(1) for batch, label in X])"
    elif isinstance(X, Dataset):
        advice = "np.stack([np.ravel(image) for image, label in X])"
    elif issparse(X):
        advice = "X.toarray()"
    elif is_row:
        advice = "X.to_frame().T for one row, X.to_frame() for one column"
    elif isinstance(X, Mapping):
        advice = "pandas.DataFrame([X]) for one row, pandas.DataFrame(X) for columns"
    elif isinstance(first, Mapping):
        advice = "pandas.DataFrame(X)"
    elif holds_rows or any(hasattr(X, k) for k in ("__array__", "shape", "iloc")):
        return X
    else:
        advice = "an array, DataFrame, tensor or list of rows, such as list(X)"
    raise TypeError(
        "X must hold rows, an array or DataFrame of shape (n_samples, n_features), got "
        f"{type(X).__module__}.{type(X).__qualname__}. Give {advice}."
    )


def refuse_text_and_times(X):
    """Refuse them by column: numpy would read "1" as 1, and dates as microseconds."""
    if hasattr(X, "columns"):
        frame = as_frame(X)
    else:
        X = np.asarray(X)
        if X.ndim != 2 or X.dtype.kind not in "OUSmM":
            return
        frame = pd.DataFrame(X)
    for k, (name, dtype) in enumerate(frame.dtypes.items()):
        if are_plain([dtype]):
            continue
        column = frame.iloc[:, k]
        values = getattr(dtype, "categories", column)
        if pd.api.types.is_numeric_dtype(values.dtype):
            continue
        _refuse_times(column)
        text = next((v for v in values if isinstance(v, (str, bytes))), None)
        if text is not None:
            raise ValueError(
                f"Column {plain(name)!r} of X holds text, such as {text!r}, where "
                "numbers are needed. If these are numbers, convert them, by "
                ".astype(float). If they are levels, GraphGenerator takes them in a "
                "DataFrame, and GenerativePipeline behind a OneHotEncoder."
            )


# Types of columns that hold none.
NO_TIMES = (pd.StringDtype, pd.CategoricalDtype)
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


def plain_dtype(dtype):
    """A pandas or numpy type as plain data."""
    if not isinstance(dtype, pd.CategoricalDtype):
        return str(dtype)
    levels = dtype.categories
    return {
        "categories": levels.tolist(),
        "of": str(levels.dtype),
        "ordered": bool(dtype.ordered),
    }


def dtype_of(kind):
    """The type that `plain_dtype` made plain."""
    if isinstance(kind, str):
        return pd.api.types.pandas_dtype(kind)
    levels = pd.Index(kind["categories"], dtype=kind["of"])
    return pd.CategoricalDtype(levels, kind["ordered"])


def are_names(names):
    return all(isinstance(name, str) for name in names)


def check_fits_float32(X):
    """Refuse values that would become infinite in the precision of the model."""
    # Two reductions, so that an array in a file is never in memory as a whole.
    largest = max(X.max(), -X.min())
    if largest > np.finfo(np.float32).max:
        raise ValueError(
            "X must fit into float32, which the model computes in; its largest "
            f"absolute value is {largest:.3g}. Scale the features."
        )


def fingerprint(X):
    """Numbers that two arrays share if they hold the same rows in the same order."""
    weighted, absolute = 0.0, 0.0
    for start in range(0, len(X), 8192):
        rows = X[start : start + 8192].astype(np.float64)
        weights = np.arange(start + 1, start + len(rows) + 1) / len(X)
        weighted = weighted + weights @ rows
        absolute = absolute + np.abs(rows).sum(0)
    ends = X[[0, -1]].astype(np.float64)
    return np.concatenate([[len(X)], *ends, weighted, absolute])
