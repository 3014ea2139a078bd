"""Rows in arrays, pandas and polars, as one kind of frame and back."""

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype


def as_frame(X):
    """Rows as a pandas DataFrame; a polars one without going through pyarrow."""
    if isinstance(X, pd.DataFrame):
        return X
    if hasattr(X, "columns"):
        return pd.DataFrame({name: _as_pandas(X[name]) for name in X.columns})
    return pd.DataFrame(np.asarray(X))


def _as_pandas(column):
    kind = str(column.dtype)
    if kind.startswith("Enum"):
        levels = column.dtype.categories.to_list()
        return pd.Categorical(column.to_list(), levels, ordered=True)
    if kind.startswith("Categorical"):
        return pd.Categorical(column.to_list())
    if column.null_count() and (column.dtype.is_integer() or kind == "Boolean"):
        # Polars' names of integers are those of pandas' nullable ones.
        return pd.array(column.to_list(), dtype=kind.replace("B", "b"))
    return column.to_list() if kind == "String" else column.to_numpy()


def as_polars(frame):
    """Columns of a pandas DataFrame as a polars one."""
    import polars

    columns = {}
    for name in frame.columns:
        dtype, kind = frame[name].dtype, None
        values = frame[name].astype(object).where(frame[name].notna(), None).tolist()
        if isinstance(dtype, pd.CategoricalDtype):
            # Polars has categories of strings alone.
            if pd.api.types.is_string_dtype(dtype.categories.dtype):
                levels = dtype.categories.tolist()
                kind = polars.Enum(levels) if dtype.ordered else polars.Categorical
        elif is_numeric_dtype(dtype):
            is_numpy = isinstance(dtype, np.dtype)
            values = frame[name].to_numpy() if is_numpy else values
            kind = None if is_numpy else getattr(polars, dtype.name.replace("b", "B"))
        columns[name] = polars.Series(values, dtype=kind)
    return polars.DataFrame(columns)


def are_plain(dtypes):
    """Whether types of columns are numpy's types of numbers or truth values."""
    return all(isinstance(own, np.dtype) and own.kind in "fiub" for own in dtypes)


def plain_array(X):
    """Array of a frame whose columns all have one type of numbers, or X as it is."""
    dtypes = getattr(X, "dtypes", ())
    is_one = isinstance(X, pd.DataFrame) and len(set(dtypes)) == 1
    return X.to_numpy() if is_one and are_plain(dtypes[:1]) else X


def all_numbers(frame):
    """Whether every column of a DataFrame holds numbers or truth values."""
    return all(map(is_numeric_dtype, frame.dtypes))


def as_numbers(frame):
    """Array of a DataFrame's numbers; what is missing is NaN."""
    if all(isinstance(dtype, np.dtype) for dtype in frame.dtypes):
        return frame.to_numpy()
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)


def as_floats(rows, places=slice(None)):
    """Columns of an array or frame, as float64."""
    if not hasattr(rows, "columns"):
        return np.asarray(np.asarray(rows)[:, places], dtype=np.float64)
    frame = as_frame(rows).iloc[:, places].infer_objects()
    return as_numbers(frame).astype(np.float64)


def mean_change(before, after):
    """Mean absolute change of each column; if it has no numbers, share of changes."""
    old, new = (as_frame(rows).infer_objects() for rows in (before, after))
    kinds = zip(old.dtypes, new.dtypes, strict=True)
    numeric = np.array([all(map(is_numeric_dtype, pair)) for pair in kinds])
    changes = np.empty(len(numeric))
    # Unsigned numbers would wrap, and truth values have no difference.
    first, second = (as_floats(rows, numeric) for rows in (old, new))
    changes[numeric] = np.abs(second - first).mean(0)
    first, second = (rows.loc[:, ~numeric].to_numpy(object) for rows in (old, new))
    changes[~numeric] = (first != second).mean(0)
    return changes


def contained(frame, like, library):
    """A pandas DataFrame in a library's own frame, with the index of other rows."""
    if library == "polars":
        return as_polars(frame)
    return frame.set_axis(like.index) if isinstance(like, pd.DataFrame) else frame
