"""What a user's rows are: how they become values of the data node, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from warnings import warn

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype
from sklearn.utils import check_array

from ..exceptions import ClippedValuesWarning
from ..utils.rows import in_dtype, integer_limits
from ._columns import are_names, dtype_of, plain_dtype
from ._frames import as_floats, as_frame, contained
from ._layout import DataLayout
from ._levels import decode_levels, encode_levels, find_levels, levels_of


@dataclass(frozen=True, eq=False)
class Space:
    """Names, types, levels, layout and range of the rows of a fit.

    Of a generator, whose data node holds numbers, and codes for levels; or of a
    pipeline, whose steps take rows as they are. What is not known is left out.

    Parameters
    ----------
    names : list, optional
        Of the columns.
    library : {"pandas", "polars"}, optional
        Of the frame that a pipeline was fitted to.
    kinds : list of str or dict
        Types of columns, as plain data that any file format takes.
    kind_of : ndarray of int of shape (n_features,)
        Which of them each column has.
    levels : dict of int to ndarray
        Levels of the columns, by position, that are codes 0, 1, ... in the data node.
    layout : DataLayout, optional
        How a row is arranged in the data node.
    dtype : numpy dtype, optional
        Of the rows that come out.
    bounds : ndarray of shape (2, 1) or (2, n_features), optional
        To which these are clipped; of a pipeline, by columns of numbers.
    grows : bool
        Whether the bounds are those of the rows.
    range : ndarray of shape (2, n_features), optional
        Smallest and largest known value of each column of a table.
    n_inputs : int, optional
        Number of known values of the noise behind each row.
    """

    names: list | None = None
    library: str | None = None
    kinds: list = field(default_factory=list)
    kind_of: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    levels: Mapping[int, np.ndarray] = field(default_factory=dict)
    layout: DataLayout | None = None
    dtype: np.dtype | None = None
    bounds: np.ndarray | None = None
    grows: bool = False
    range: np.ndarray | None = None
    n_inputs: int | None = None

    # ------------------------------------------------------------------- making
    @classmethod
    def of_columns(cls, X: Any, **known: Any) -> Space:
        """Types of the columns of an array or frame, beside what else is known."""
        frame, kinds = as_frame(X), {}
        # Few types of many columns.
        kind_of = [kinds.setdefault(dtype, len(kinds)) for dtype in frame.dtypes]
        kinds = list(map(plain_dtype, kinds))
        return cls(kinds=kinds, kind_of=np.array(kind_of, int), **known)

    @classmethod
    def of_table(cls, X: Any, categorical_features: Any, mechanism: Any) -> Space:
        """Types and levels of the columns, as `find_levels` finds these."""
        levels = find_levels(X, categorical_features, mechanism)
        rows = X if hasattr(X, "columns") else np.asarray(X)
        return cls.of_columns(rows if rows.ndim == 2 else (), levels=levels)

    @classmethod
    def of_input(cls, X: Any, bounded: str | None) -> Space:
        """Names and types of the columns that a pipeline gets.

        Numbers keep to the range of their column ("columns"), or of all ("entries").
        """
        frame = as_frame(X).infer_objects()
        library, names = None, None
        if hasattr(X, "columns"):
            library = "pandas" if isinstance(X, pd.DataFrame) else "polars"
            names = list(frame.columns)
            if len(set(names)) < len(names):
                twice = frame.columns[frame.columns.duplicated()].unique().tolist()
                raise ValueError(
                    f"The columns of X need unique names, got twice {twice}."
                )
        space = cls.of_columns(frame, names=names, library=library)
        places = space.places(is_numeric_dtype)
        if not bounded or not len(places):
            return space
        axis = 0 if bounded == "columns" else None
        return replace(
            space, bounds=find_bounds("data", as_floats(frame, places), axis=axis)
        )

    def of(self, X: np.ndarray, data_shape: Any, data_kind: str, bounds: Any) -> Space:
        """Space of rows of numbers, codes for levels; parameters say the rest."""
        layout = DataLayout.of(X.shape[1], data_shape, data_kind)
        grows = isinstance(bounds, str)
        space = replace(self, layout=layout, dtype=X.dtype, grows=grows)
        return replace(space, bounds=space.bounds_of(X, bounds))

    def ranged(self, X: np.ndarray) -> Space:
        """The space, which also knows the range of each column."""
        return replace(self, range=find_bounds("data", X, axis=0))

    def widened(self, X: np.ndarray) -> Space:
        """Space of earlier and of new rows."""
        space = self
        if self.grows:
            new = self.bounds_of(X, "data")
            space = replace(space, bounds=_joined(space.bounds, new))
        if space.range is not None:
            space = replace(space, range=_joined(space.range, self.ranged(X).range))
        return space

    def bounds_of(self, X: np.ndarray, bounds: Any) -> np.ndarray | None:
        """Range of the values: per column of a table, else one for all entries."""
        is_table = self.layout.data_shape is None
        found = find_bounds(bounds, X, axis=0 if is_table else None)
        if found is None or not self.levels:
            return found
        found = np.broadcast_to(found, (2, X.shape[1])).copy()
        for k, levels in self.levels.items():
            found[:, k] = 0, len(levels) - 1
        return found

    # ------------------------------------------------------------------ columns
    @property
    def n_features(self) -> int:
        """Number of columns of the rows; 0 if it is not known."""
        return len(self.kind_of) if self.layout is None else self.layout.n_features

    @property
    def _types(self) -> list:
        return list(map(dtype_of, self.kinds))

    def places(self, condition: Callable[[Any], bool]) -> np.ndarray:
        """Places of the columns whose type meets a condition."""
        which = np.array(list(map(condition, self._types)), dtype=bool)
        return np.flatnonzero(which[self.kind_of])

    @cached_property
    def whole(self) -> dict[int, str]:
        """``{position: type}`` of the columns of whole numbers that are no levels."""
        places = self.places(is_integer_dtype).tolist()
        return {k: self.kinds[self.kind_of[k]] for k in places if k not in self.levels}

    @property
    def has_levels(self) -> bool:
        """Whether some columns hold no numbers."""
        return not all(map(is_numeric_dtype, self._types))

    @property
    def has_choices(self) -> bool:
        """Whether some columns hold levels or truth values."""
        return self.has_levels or any(map(is_bool_dtype, self._types))

    @property
    def _labels(self) -> list:
        """Names of the columns, or what stands for them."""
        return self.names or [f"x{k}" for k in range(self.n_features)]

    def named(self, rows: Any) -> Any:
        """Own rows in a frame with the names of the columns, if these are known."""
        if self.names is None or hasattr(rows, "columns"):
            return rows
        return pd.DataFrame(np.asarray(rows), columns=self.names)

    def _told(self, places: np.ndarray) -> list:
        places = places[:10].tolist()
        return places if self.names is None else [self.names[k] for k in places]

    # --------------------------------------------------------------------- there
    def aligned(self, X: Any, name: str = "X") -> Any:
        """Rows as an array, or the columns of the fit in pandas, found by name."""
        if not hasattr(X, "columns"):
            X = X if hasattr(X, "shape") else np.asarray(X)
            if X.ndim == 2 and self.n_features not in (0, X.shape[1]):
                raise ValueError(
                    f"{name} has {X.shape[1]} features, but the model is expecting "
                    f"{self.n_features} features as input."
                )
            return X
        # Not all steps take polars frames, some only say so.
        X = as_frame(X)
        if self.names is None:
            return X
        given = list(X.columns)
        if given == self.names or (are_names(given) and not are_names(self.names)):
            return X
        missing = [column for column in self.names if given.count(column) != 1]
        if missing:
            raise ValueError(
                f"{name} must have each of the {len(self.names)} columns of the fit "
                f"once, but not so {missing[:10]}; its columns are {given[:20]}."
            )
        return X[self.names]

    def coded(self, X: Any) -> Any:
        """Rows with codes for levels."""
        return encode_levels(X, self.levels)

    def numeric(self, X: Any, name: str = "X", **checks: Any) -> np.ndarray:
        """Rows as an array of numbers, in which distances can be taken.

        Levels become indicator columns behind the numbers, so that different levels are
        at distance 1. ``checks`` are keywords of `check_array`.
        """
        X = self.aligned(X, name)
        frame = as_frame(X)
        objects = np.flatnonzero([not is_numeric_dtype(kind) for kind in frame.dtypes])
        strange = [
            k
            for k in objects
            if k not in self.levels and not _holds_numbers(frame.iloc[:, k])
        ]
        if strange:
            raise ValueError(
                f"{name} must hold numbers, but the columns "
                f"{frame.columns[strange].tolist()} do not. Encode them before the "
                "estimator; only a GraphGenerator without steps before it says what "
                "its levels are."
            )
        checks |= {"dtype": [np.float64, np.float32], "input_name": name}
        rows = check_array(self.coded(X), **checks)
        if not self.levels:
            return rows
        numbers = [k for k in range(rows.shape[1]) if k not in self.levels]
        indicators = [
            np.sqrt(0.5) * (rows[:, [k]] == np.arange(len(known)))
            for k, known in self.levels.items()
        ]
        return np.hstack([rows[:, numbers], *indicators])

    def columns_of(self, width: int) -> np.ndarray:
        """Which column each of the `numeric` ones is of, given their number."""
        n = width - sum(map(len, self.levels.values())) + len(self.levels)
        numbers = [k for k in range(n) if k not in self.levels]
        repeated = [np.repeat(k, len(known)) for k, known in self.levels.items()]
        return np.concatenate([numbers, *repeated]).astype(int)

    # ---------------------------------------------------------------------- back
    def to_rows(self, rows: np.ndarray, like: Any = None, library: Any = None) -> Any:
        """Rows with levels and whole numbers in their own types.

        An array, or a frame of a library, with the index of other rows.
        """
        if library is None:
            return decode_levels(rows, self.levels) if self.levels else rows
        names = self._labels
        frame = pd.DataFrame(rows, columns=names)
        for k, known in self.levels.items():
            frame[names[k]] = levels_of(rows[:, k], known)
        for k, dtype in self.whole.items():
            whole = in_dtype(rows[:, k], dtype)
            # Set to what the type cannot hold, it remains a column of floats.
            if np.array_equal(whole, rows[:, k]):
                frame[names[k]] = whole
        return contained(frame, like, library)

    def lost(self, original: Any, returned: Any) -> np.ndarray:
        """What steps lose of the numbers of rows, which came back `returned`.

        Levels that are not those which came back are refused.
        """
        numeric = self.places(is_numeric_dtype)
        original, returned = as_frame(original), as_frame(returned)
        for k in np.setdiff1d(range(self.n_features), numeric):
            given = original.iloc[:, k].astype(object).to_numpy()
            found = returned.iloc[:, k].astype(object).to_numpy()
            differs = pd.isna(given) != pd.isna(found)
            known = ~(pd.isna(given) | pd.isna(found))
            differs[known] = given[known] != found[known]
            if differs.any():
                raise ValueError(
                    "The steps do not give back the levels "
                    f"{pd.unique(given[differs])[:10].tolist()} of the column "
                    f"{self._told(np.array([k]))[0]!r}: an encoder that joins or "
                    "ignores levels loses them. Give it all levels as categories, or "
                    "join them before the pipeline."
                )
        lost = as_floats(original, numeric) - as_floats(returned, numeric)
        # Of what is missing nothing is lost.
        return np.where(np.isnan(as_floats(original, numeric)), 0.0, lost)

    def restored(
        self, rows: Any, like: Any = None, lost: Any = None, library: Any = None
    ) -> Any:
        """Rows within the bounds, whole numbers whole, with what was `lost` if any.

        An array; a frame of the library, or if not all columns are numbers.
        """
        places, types = self.places(is_numeric_dtype), self._types
        numbers = as_floats(rows, places)
        strange = ~np.isfinite(numbers).all(0)
        if strange.any():
            raise ValueError(
                "The inverse_transform of the steps gives values of the columns "
                f"{self._told(places[strange])} that are no finite numbers, for rows "
                "of the generator outside of what they made of the data. Fit the "
                "generator with bounds='data'."
            )
        if lost is not None:
            numbers = numbers + lost
        numbers = self._in_types(self._in_bounds(numbers, places, like), places)
        has_truth = self.library and any(map(is_bool_dtype, types))
        if library is None and not self.has_levels and not has_truth:
            is_plain = all(isinstance(kind, np.dtype) for kind in types)
            return numbers.astype(np.result_type(*types) if is_plain else float)
        known, levels = dict(zip(places, numbers.T, strict=True)), as_frame(rows)
        columns = {}
        for k, name in enumerate(self._labels):
            values = known[k] if k in known else levels.iloc[:, k].to_numpy()
            columns[name] = pd.Series(values).astype(types[self.kind_of[k]])
        frame = pd.DataFrame(columns)
        if (library or self.library) is None:
            return frame.to_numpy(dtype=object)
        return contained(frame, like, library or self.library)

    def _in_bounds(self, numbers: np.ndarray, places: Any, like: Any) -> np.ndarray:
        if self.bounds is None:
            return numbers
        low, high = self.bounds
        if like is not None:
            given = as_floats(like, places)
            low, high = np.fmin(low, given), np.fmax(high, given)
        return np.clip(numbers, low, high)

    def _in_types(self, numbers: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Whole numbers whole and within their type, truth values 0 or 1."""
        numbers, beyond = np.array(numbers), np.zeros(len(places), bool)
        for kind, dtype in enumerate(self._types):
            own = self.kind_of[places] == kind
            if is_bool_dtype(dtype):
                numbers[:, own] = numbers[:, own] > 0.5
            elif is_integer_dtype(dtype):
                low, high = integer_limits(dtype)
                whole = np.round(numbers[:, own])
                beyond[own] = ((whole < low) | (whole > high)).any(0)
                numbers[:, own] = np.clip(whole, low, high)
        if beyond.any():
            warn(
                f"The columns {self._told(places[beyond])} hold integers, and values "
                "outside the range of their types were clipped to it. Fit with "
                "bounds='data', or make them floats.",
                ClippedValuesWarning,
                stacklevel=2,
            )
        return numbers


def _joined(known: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.stack([np.minimum(known[0], new[0]), np.maximum(known[1], new[1])])


def _holds_numbers(column: pd.Series) -> bool:
    try:
        column.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def find_bounds(bounds, X, axis):
    """Turn a parameter ``bounds`` into (lower, upper), or None for no bounds.

    Returns an array of shape (2, n) with n = 1 for one range of all entries.
    """
    if bounds is None:
        return None
    if isinstance(bounds, str):
        # What is missing in some rows says nothing about the range of the others.
        low, high = np.fmin.reduce(X, axis=axis), np.fmax.reduce(X, axis=axis)
    else:
        try:
            low, high = (float(b) for b in bounds)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"bounds must be 'data', None, or a pair (low, high), got {bounds!r}."
            ) from error
        if not low < high:
            raise ValueError(
                f"bounds must be (low, high) with low < high, got {bounds!r}."
            )
    return np.array([np.atleast_1d(low), np.atleast_1d(high)], dtype=np.float64)
