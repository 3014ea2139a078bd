"""Between sklearn's flat rows and the data node's channels-first maps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ..exceptions import DoubtfulInputWarning
from ..utils.checks import is_count

MOST_COLOURS = 4
# By kind, the shapes of a row; "auto" goes by their length.
SHAPES = {
    "auto": "None or (length,), (height, width) or (height, width, channels)",
    "table": "None (no axes)",
    "signal": "(length,) or (length, channels)",
    "image": "(height, width) or (height, width, channels)",
}
LENGTHS = {"auto": (0, 1, 2, 3), "table": (0,), "signal": (1, 2), "image": (2, 3)}


@dataclass(frozen=True)
class DataLayout:
    """How a row of ``n_features`` numbers (C order) is arranged in the data node.

    Parameters
    ----------
    n_features : int
    data_shape : tuple of int or None
        None for a table, ``(length,)`` for a signal, ``(height, width)`` for a grey
        and ``(height, width, channels)`` for a colour image.
    data_kind : {"auto", "table", "signal", "image"}
        "auto" goes by `data_shape`, as above; a "signal" may have the shape ``(length,
        channels)`` too.

    Examples
    --------
    >>> DataLayout(12, (2, 2, 3)).node_shape
    (3, 2, 2)
    """

    n_features: int
    data_shape: tuple[int, ...] | None = None
    data_kind: str = "auto"

    def __post_init__(self) -> None:
        shape = self.data_shape
        if shape is not None and math.prod(shape) != self.n_features:
            raise ValueError(
                f"data_shape={shape} has {math.prod(shape)} entries, but X has "
                f"{self.n_features} features. Give the shape of one row of X: "
                f"{SHAPES[self.data_kind]}."
            )

    @classmethod
    def of(
        cls,
        n_features: int,
        data_shape: Sequence[int] | None,
        data_kind: str = "auto",
    ) -> DataLayout:
        """Make the layout from an estimator's parameters, or say what is allowed."""
        shape = None if data_shape is None else tuple(data_shape)
        n_axes = 0 if shape is None else len(shape) or -1
        whole = all(map(is_count, shape or ()))
        if not whole or n_axes not in LENGTHS[data_kind]:
            raise ValueError(
                f"data_shape must be {SHAPES[data_kind]} with "
                f"data_kind={data_kind!r}, of positive ints, got {data_shape!r}."
            )
        shape = None if shape is None else tuple(map(int, shape))
        layout = cls(n_features, shape, data_kind)
        if layout.looks_channels_first:
            warnings.warn(
                f"data_shape={shape} is read with its {shape[-1]} channels last. If "
                "channels come first in the rows of X, move them to the end: "
                f"np.moveaxis(X.reshape(-1, *{shape}), 1, -1).reshape(len(X), -1), "
                f"with data_shape={(*shape[1:], shape[0])}.",
                DoubtfulInputWarning,
                stacklevel=2,
            )
        return layout

    @property
    def is_signal(self) -> bool:
        """Whether a row is a curve, or one per channel."""
        return self.data_shape is not None and (
            self.data_kind == "signal" or len(self.data_shape) == 1
        )

    @property
    def _channels_last(self) -> bool:
        """Whether the last number of the shape counts channels."""
        shape = self.data_shape
        return shape is not None and len(shape) == (2 if self.is_signal else 3)

    @property
    def looks_channels_first(self) -> bool:
        """Whether the first number of the shape, not the last, seems to count them."""
        shape = self.data_shape
        if shape is None or not self._channels_last:
            return False
        if self.is_signal:
            return shape[0] < shape[1]
        return shape[0] in (1, 3) and shape[2] > MOST_COLOURS

    @cached_property
    def node_shape(self) -> tuple[int, ...]:
        """Shape of the data node: channels first, or ``(n_features,)`` for a table."""
        if self.data_shape is None:
            return (self.n_features,)
        if self._channels_last:
            return (self.data_shape[-1], *self.data_shape[:-1])
        return (1, *self.data_shape)

    def to_node(self, rows: Tensor) -> Tensor:
        """Arrange rows ``(n, n_features)`` as ``(n, *node_shape)``."""
        if self.data_shape is None:
            return rows
        if self._channels_last:
            return rows.unflatten(1, self.data_shape).movedim(-1, 1)
        return rows.unflatten(1, self.node_shape)

    def to_rows(self, node: Tensor) -> Tensor:
        """Arrange ``(n, *node_shape)`` as rows ``(n, n_features)``."""
        if self._channels_last:
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
