"""Between sklearn's flat rows and the data node's channels-first maps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ._checks import is_count

MOST_COLOURS = 4


@dataclass(frozen=True)
class DataLayout:
    """How a row of ``n_features`` numbers (C order) is arranged in the data node.

    Parameters
    ----------
    n_features : int
    data_shape : tuple of int or None
        None for a table, ``(length,)`` for a signal, ``(height, width)`` for a grey
        and ``(height, width, channels)`` for a colour image.

    Examples
    --------
    >>> DataLayout(12, (2, 2, 3)).node_shape
    (3, 2, 2)
    """

    n_features: int
    data_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        shape = self.data_shape
        if shape is not None and math.prod(shape) != self.n_features:
            raise ValueError(
                f"data_shape={shape} has {math.prod(shape)} entries, but X has "
                f"{self.n_features} features. Give the shape of one row of X: "
                "(length,), (height, width) or (height, width, channels)."
            )

    @classmethod
    def of(cls, n_features: int, data_shape: Sequence[int] | None) -> DataLayout:
        """Make the layout from a parameter ``data_shape``, or say what is allowed."""
        if data_shape is None:
            return cls(n_features)
        shape = tuple(data_shape)
        whole = all(map(is_count, shape))
        if not whole or not 1 <= len(shape) <= 3:
            raise ValueError(
                "data_shape must be None or (length,), (height, width) or (height, "
                f"width, channels) of positive ints, got {data_shape!r}."
            )
        if len(shape) == 3 and shape[0] in (1, 3) and shape[2] > MOST_COLOURS:
            height, width, channels = shape
            warnings.warn(
                f"data_shape={shape} is read as (height, width, channels): {height} by "
                f"{width} pixels of {channels} channels. If channels come first in the "
                "rows of X, move them to the end: X.reshape(-1, "
                f"{', '.join(map(str, shape))}).transpose(0, 2, 3, 1).reshape(len(X), "
                f"-1), with data_shape={(width, channels, height)}.",
                stacklevel=2,
            )
        return cls(n_features, tuple(map(int, shape)))

    @property
    def node_shape(self) -> tuple[int, ...]:
        """Shape of the data node: channels first, or ``(n_features,)`` for a table."""
        if self.data_shape is None:
            return (self.n_features,)
        if len(self.data_shape) == 3:
            height, width, channels = self.data_shape
            return (channels, height, width)
        return (1, *self.data_shape)

    def to_node(self, rows: Tensor) -> Tensor:
        """Arrange rows ``(n, n_features)`` as ``(n, *node_shape)``."""
        if self.data_shape is None:
            return rows
        if len(self.data_shape) == 3:
            return rows.unflatten(1, self.data_shape).movedim(-1, 1)
        return rows.unflatten(1, self.node_shape)

    def to_rows(self, node: Tensor) -> Tensor:
        """Arrange ``(n, *node_shape)`` as rows ``(n, n_features)``."""
        if self.data_shape is not None and len(self.data_shape) == 3:
            node = node.movedim(1, -1)
        return node.flatten(1)

    def adapted_to(self, node_shape: Sequence[int]) -> DataLayout:
        """Return the layout for a graph whose data node may also be a flat vector."""
        if tuple(node_shape) == self.node_shape:
            return self
        if tuple(node_shape) == (self.n_features,):
            return DataLayout(self.n_features)
        raise ValueError(
            f"The data node of the decoder's graph must have shape {self.node_shape} "
            f"(channels first) or ({self.n_features},), got {tuple(node_shape)}."
        )
