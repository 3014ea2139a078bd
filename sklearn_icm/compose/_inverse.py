"""From the rows of a transformer back to its input, with types and bounds."""

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
)

from ..utils.rows import find_bounds

__all__ = ["InputSpace", "check_inverse", "inverse_rows"]


def check_inverse(name, step):
    """Raise TypeError, naming the step, if rows cannot be mapped back through it."""
    if isinstance(step, str):
        if step == "passthrough":
            return
        raise TypeError(
            f"The step {name!r} drops columns, so rows cannot be mapped back to input "
            "space. Leave the columns out of X instead."
        )
    if isinstance(step, ColumnTransformer):
        _check_columns(name, step)
    elif isinstance(step, Pipeline):
        for inner, part in step.steps:
            check_inverse(f"{name}__{inner}", part)
    elif step is not None:
        _check_transformer(name, step)


def _check_transformer(name, step):
    problem, advice = None, "Use a transformer that has one, or a plain Pipeline"
    if isinstance(step, SimpleImputer):
        problem = "cannot undo its imputation"
        advice = "Impute before the pipeline"
    elif isinstance(step, FunctionTransformer):
        if step.func is not None and step.inverse_func is None:
            problem, advice = "has no inverse_func", "Give it one"
    elif not hasattr(step, "inverse_transform"):
        problem = "has no inverse_transform"
    if problem:
        raise TypeError(
            f"The step {name!r} ({type(step).__name__}) {problem}, so rows cannot be "
            f"mapped back to input space. {advice}."
        )


def _check_columns(name, step):
    for inner, part, _ in step.transformers:
        check_inverse(f"{name}__{inner}", part)
    if step.remainder != "drop":
        check_inverse(f"{name}__remainder", step.remainder)


def inverse_rows(name, step, rows):
    """Rows before a fitted step."""
    if step is None or isinstance(step, str):
        return rows
    if isinstance(step, ColumnTransformer):
        return _inverse_columns(name, step, rows)
    if isinstance(step, Pipeline):
        for inner, part in reversed(step.steps):
            rows = inverse_rows(f"{name}__{inner}", part, rows)
        return rows
    return step.inverse_transform(_as_codes(step, rows))


def _as_codes(step, rows):
    """The nearest rows that an encoder of categories may have made."""
    if not isinstance(step, (OneHotEncoder, OrdinalEncoder)):
        return rows
    rows = np.asarray(rows)
    if isinstance(step, OrdinalEncoder):
        last = [len(c) - 1 for c in step.categories_]
        return np.clip(np.round(rows), 0, last)
    codes, start = np.zeros_like(rows), 0
    for k, width in enumerate(step._n_features_outs):
        block = rows[:, start : start + width]
        best = block.argmax(1) if width else np.zeros(len(rows), int)
        dropped = step.drop_idx_ is not None and step.drop_idx_[k] is not None
        # The dropped category has what the others leave of 1.
        taken = np.arange(len(rows))
        if dropped:
            taken = taken[block.max(1, initial=0) >= 1 - block.sum(1)]
        codes[taken, start + best[taken]] = 1
        start += width
    return codes


def _inverse_columns(name, step, rows):
    """Undo each transformer on its columns."""
    rows, found = np.asarray(rows), {}
    names = getattr(step, "feature_names_in_", None)
    for inner, part, columns in step.transformers_:
        places = _places(columns, names, step.n_features_in_)
        if not len(places) or (isinstance(part, str) and part == "drop"):
            continue
        inputs = inverse_rows(
            f"{name}__{inner}", part, rows[:, step.output_indices_[inner]]
        )
        inputs = np.asarray(inputs)
        for k, place in enumerate(places):
            found.setdefault(int(place), inputs[:, k])
    missing = [k for k in range(step.n_features_in_) if k not in found]
    if missing:
        lost = missing if names is None else list(names[missing])
        raise TypeError(
            f"The step {name!r} drops the columns {lost}, so rows cannot be mapped "
            "back to input space. Set remainder='passthrough', or leave them out of X."
        )
    columns = [found[k] for k in range(step.n_features_in_)]
    if all(np.issubdtype(c.dtype, np.number) for c in columns):
        return np.column_stack(columns)
    frame = pd.DataFrame(dict(enumerate(columns)))
    return frame if names is None else frame.set_axis(names, axis=1)


def _places(columns, names, n_features):
    """Indices of a ColumnTransformer's columns, however they were given."""
    if isinstance(columns, (str, Integral)):
        columns = [columns]
    if not isinstance(columns, slice) and len(columns) and isinstance(columns[0], str):
        return np.array([list(names).index(c) for c in columns])
    return np.arange(n_features)[columns]


class InputSpace:
    """Column names, types and bounds of the rows that a pipeline was fitted to.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    bounded : {"columns", "entries"} or None
        Numbers keep to the range of their column, or of all entries, or to none.
    """

    def __init__(self, X, bounded):
        is_frame = hasattr(X, "dtypes")
        frame = X if is_frame else pd.DataFrame(np.asarray(X))
        self.dtypes = frame.dtypes
        is_truth = np.array([pd.api.types.is_bool_dtype(d) for d in self.dtypes])
        # Truth values are the numbers 0 and 1.
        self.is_numeric = np.array(
            [pd.api.types.is_numeric_dtype(d) for d in self.dtypes]
        )
        self.gives_array = self.is_numeric.all() and not (is_frame and is_truth.any())
        self.bounds = None
        if bounded and self.is_numeric.any():
            numbers = frame.loc[:, self.is_numeric].to_numpy(dtype=np.float64)
            axis = 0 if bounded == "columns" else None
            self.bounds = find_bounds("data", numbers, axis=axis)

    def lost_part(self, original, returned):
        """What the steps lose of the numbers of rows, which came back `returned`."""
        places = np.flatnonzero(self.is_numeric)
        return _numbers(original, places) - _numbers(returned, places)

    def restored(self, rows, original=None, lost=None):
        """Rows within the bounds, whole numbers whole, with the `lost_part` if any.

        An array; a DataFrame with the types of the input if not all are numbers.
        """
        places = np.flatnonzero(self.is_numeric)
        numbers = _numbers(rows, places)
        if lost is not None:
            numbers = numbers + lost
        numbers = self._restored_numbers(numbers, places, original)
        if self.gives_array:
            return numbers
        frame = pd.DataFrame(rows).set_axis(self.dtypes.index, axis=1)
        columns = {
            name: pd.Series(numbers[:, list(places).index(k)])
            if self.is_numeric[k]
            else frame.iloc[:, k].reset_index(drop=True)
            for k, name in enumerate(self.dtypes.index)
        }
        frame = pd.DataFrame(columns).astype(dict(self.dtypes))
        index = getattr(original, "index", None)
        return frame if index is None else frame.set_axis(index)

    def _restored_numbers(self, rows, places, original):
        if self.bounds is not None:
            low, high = self.bounds
            if original is not None:
                given = _numbers(original, places)
                low, high = np.minimum(low, given), np.maximum(high, given)
            rows = np.clip(rows, low, high)
        dtypes = list(self.dtypes.iloc[places])
        whole = [pd.api.types.is_integer_dtype(dtype) for dtype in dtypes]
        if any(whole):
            rows = np.where(whole, np.round(rows), rows)
        truth = [pd.api.types.is_bool_dtype(dtype) for dtype in dtypes]
        if any(truth):
            rows = np.where(truth, rows > 0.5, rows)
        one_type = len(set(dtypes)) == 1 and isinstance(dtypes[0], np.dtype)
        return rows.astype(dtypes[0], copy=False) if one_type else rows


def _numbers(rows, places):
    """Some columns of an array or DataFrame, as float64."""
    rows = rows.iloc if hasattr(rows, "iloc") else np.asarray(rows)
    return np.asarray(rows[:, places], dtype=np.float64)
