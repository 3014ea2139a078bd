"""What the rows of a pipeline look like before its first step."""

from warnings import warn

import numpy as np
import pandas as pd
from pandas.api.types import (
    is_bool_dtype,
    is_integer_dtype,
    is_numeric_dtype,
    pandas_dtype,
)

from ..utils.rows import integer_limits
from ._frames import as_floats, as_frame, as_polars
from ._space import find_bounds


class InputSpace:
    """Column names, types and bounds of the rows that a pipeline was fitted to.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    bounded : {"columns", "entries"} or None
        Numbers keep to the range of their column, or of all entries, or to none.
    """

    def __init__(self, X, bounded):
        frame = as_frame(X).infer_objects()
        self.library = None
        if hasattr(X, "columns"):
            self.library = "pandas" if isinstance(X, pd.DataFrame) else "polars"
        self.names = None if self.library is None else list(frame.columns)
        if self.names is not None and len(set(self.names)) < len(self.names):
            twice = frame.columns[frame.columns.duplicated()].unique().tolist()
            raise ValueError(f"The columns of X need unique names, got twice {twice}.")
        # Few types of many columns, in plain data that any file format takes.
        kinds = {}
        kind_of = [kinds.setdefault(dtype, len(kinds)) for dtype in frame.dtypes]
        self.kind_of, self.kinds = np.array(kind_of), list(map(_plain, kinds))
        self.bounds = None
        numeric = self._columns_where(is_numeric_dtype)
        if bounded and len(numeric):
            numbers = as_floats(frame, numeric)
            axis = 0 if bounded == "columns" else None
            self.bounds = find_bounds("data", numbers, axis=axis)

    @property
    def _types(self):
        return list(map(_from_plain, self.kinds))

    def _columns_where(self, condition):
        which = np.array(list(map(condition, self._types)), dtype=bool)
        return np.flatnonzero(which[self.kind_of])

    @property
    def has_levels(self):
        """Whether some columns hold no numbers."""
        return not all(map(is_numeric_dtype, self._types))

    @property
    def has_choices(self):
        """Whether some columns hold levels or truth values."""
        return self.has_levels or any(map(is_bool_dtype, self._types))

    def _named(self, places):
        places = places[:10].tolist()
        return places if self.names is None else [self.names[k] for k in places]

    def aligned(self, X):
        """Rows as the steps get them: an array, or the fitted columns in pandas."""
        if not hasattr(X, "columns"):
            X = X if hasattr(X, "shape") else np.asarray(X)
            if X.ndim == 2 and X.shape[1] != len(self.kind_of):
                raise ValueError(
                    f"X has {X.shape[1]} features, but GenerativePipeline is expecting "
                    f"{len(self.kind_of)} features as input."
                )
            return X
        # Not all steps take polars frames, some only say so.
        X = as_frame(X)
        if self.names is None:
            return X
        given = list(X.columns)
        if given == self.names or (_are_names(given) and not _are_names(self.names)):
            return X
        missing = [name for name in self.names if given.count(name) != 1]
        if missing:
            raise ValueError(
                f"X must have each of the {len(self.names)} columns of the fit once, "
                f"but not so {missing[:10]}; its columns are {given[:20]}."
            )
        return X[self.names]

    def check_levels(self, original, returned):
        """Refuse levels of rows that are not those which came back `returned`."""
        original, returned = as_frame(original), as_frame(returned)
        for k in self._columns_where(lambda dtype: not is_numeric_dtype(dtype)):
            given = original.iloc[:, k].astype(object).to_numpy()
            found = returned.iloc[:, k].astype(object).to_numpy()
            differs = pd.isna(given) != pd.isna(found)
            known = ~(pd.isna(given) | pd.isna(found))
            differs[known] = given[known] != found[known]
            if differs.any():
                raise ValueError(
                    "The steps do not give back the levels "
                    f"{pd.unique(given[differs])[:10].tolist()} of the column "
                    f"{self._named(np.array([k]))[0]!r}: an encoder that joins or "
                    "ignores levels loses them. Give it all levels as categories, or "
                    "join them before the pipeline."
                )

    def lost_part(self, original, returned):
        """What the steps lose of the numbers of rows, which came back `returned`."""
        places = self._columns_where(is_numeric_dtype)
        return as_floats(original, places) - as_floats(returned, places)

    def restored(self, rows, original=None, lost=None, library=None):
        """Rows within the bounds, whole numbers whole, with the `lost_part` if any.

        An array; a frame of the library, or if not all columns are numbers.
        """
        places, types = self._columns_where(is_numeric_dtype), self._types
        numbers = as_floats(rows, places)
        strange = ~np.isfinite(numbers).all(0)
        if strange.any():
            raise ValueError(
                "The inverse_transform of the steps gives values of the columns "
                f"{self._named(places[strange])} that are no finite numbers, for rows "
                "of the generator outside of what they made of the data. Fit the "
                "generator with bounds='data'."
            )
        if lost is not None:
            numbers = numbers + lost
        numbers = self._in_types(self._in_bounds(numbers, places, original), places)
        has_truth = self.library and len(self._columns_where(is_bool_dtype))
        if library is None and not self.has_levels and not has_truth:
            is_plain = all(isinstance(kind, np.dtype) for kind in types)
            return numbers.astype(np.result_type(*types) if is_plain else float)
        known, columns = dict(zip(places, numbers.T, strict=True)), {}
        levels = as_frame(rows)
        for k, kind in enumerate(self.kind_of):
            name = f"x{k}" if self.names is None else self.names[k]
            values = known[k] if k in known else levels.iloc[:, k].to_numpy()
            columns[name] = pd.Series(values).astype(types[kind])
        frame = pd.DataFrame(columns)
        library = library or self.library
        if library is None:
            return frame.to_numpy(dtype=object)
        if library == "polars":
            return as_polars(frame)
        index = getattr(original, "index", None)
        return frame if index is None else frame.set_axis(index)

    def _in_bounds(self, numbers, places, original):
        if self.bounds is None:
            return numbers
        low, high = self.bounds
        if original is not None:
            given = as_floats(original, places)
            low, high = np.fmin(low, given), np.fmax(high, given)
        return np.clip(numbers, low, high)

    def _in_types(self, numbers, places):
        """Whole numbers whole and within their type, truth values 0 or 1."""
        truth = np.isin(places, self._columns_where(is_bool_dtype))
        if truth.any():
            numbers = np.where(truth, numbers > 0.5, numbers)
        limits = [
            integer_limits(kind) if is_integer_dtype(kind) else (-np.inf, np.inf)
            for kind in self._types
        ]
        low, high = np.array(limits)[self.kind_of[places]].T
        whole = np.isfinite(low)
        if not whole.any():
            return numbers
        numbers = np.where(whole, np.round(numbers), numbers)
        beyond = ((numbers < low) | (numbers > high)).any(0)
        if beyond.any():
            warn(
                f"The columns {self._named(places[beyond])} hold integers, and values "
                "outside the range of their types were clipped to it. Fit with "
                "bounds='data', or make them floats.",
                stacklevel=2,
            )
        return np.clip(numbers, low, high)


def _plain(dtype):
    """A pandas or numpy type as plain data."""
    if not isinstance(dtype, pd.CategoricalDtype):
        return str(dtype)
    levels = dtype.categories
    return {
        "categories": levels.tolist(),
        "of": str(levels.dtype),
        "ordered": bool(dtype.ordered),
    }


def _from_plain(kind):
    if isinstance(kind, str):
        return pandas_dtype(kind)
    levels = pd.Index(kind["categories"], dtype=kind["of"])
    return pd.CategoricalDtype(levels, kind["ordered"])


def _are_names(labels):
    return all(isinstance(label, str) for label in labels)
