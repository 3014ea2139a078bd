"""What a user's rows are: how they become values of the data node, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..utils.rows import in_dtype
from ._frames import with_columns
from ._layout import DataLayout
from ._levels import decode_levels, levels_of


@dataclass(frozen=True, eq=False)
class Space:
    """Layout, type, range and levels of the rows that an estimator was fitted to.

    Parameters
    ----------
    levels : dict of int to ndarray
        Levels of the columns, by position, that are codes 0, 1, ... in the data node.
    whole : dict of int to str
        Types of the columns of whole numbers, by position.
    layout : DataLayout, optional
        How a row is arranged in the data node.
    dtype : numpy dtype, optional
        Of the rows that come out.
    bounds : ndarray of shape (2, 1) or (2, n_features), optional
        To which these are clipped.
    grows : bool
        Whether the bounds are those of the rows.
    range : ndarray of shape (2, n_features), optional
        Smallest and largest known value of each column of a table.
    """

    levels: Mapping[int, np.ndarray] = field(default_factory=dict)
    whole: Mapping[int, str] = field(default_factory=dict)
    layout: DataLayout | None = None
    dtype: np.dtype | None = None
    bounds: np.ndarray | None = None
    grows: bool = False
    range: np.ndarray | None = None

    @property
    def n_features(self) -> int:
        """Number of columns of the rows."""
        return self.layout.n_features

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

    def typed(self, rows: Any, numbers: np.ndarray) -> Any:
        """Rows in a container, with levels and whole numbers in their own types."""
        if isinstance(rows, np.ndarray):
            return decode_levels(rows, self.levels)
        columns = {k: levels_of(numbers[:, k], v) for k, v in self.levels.items()}
        for k, dtype in self.whole.items():
            whole = in_dtype(numbers[:, k], dtype)
            # Set to what the type cannot hold, it remains a column of floats.
            if np.array_equal(whole, numbers[:, k]):
                columns[k] = whole
        return with_columns(rows, columns)


def _joined(known: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.stack([np.minimum(known[0], new[0]), np.maximum(known[1], new[1])])


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
