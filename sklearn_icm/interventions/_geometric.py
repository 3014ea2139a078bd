"""Interventions that move what a map shows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._base import Intervention, Shape, check_finite_number, check_strength

AXES = {1: {"length": -1}, 2: {"height": -2, "width": -1}}


@dataclass(frozen=True, eq=False)
class Stretch(Intervention):
    """Stretch maps about their centre along one axis.

    The value at position ``i`` is read at ``c + (i - c) / factor`` with
    ``c = (n - 1) / 2``, by linear interpolation; outside the map there are zeros.
    Amplitudes are kept, and ``factor=1`` returns the very same values.

    Parameters
    ----------
    factor : float
        More than 1 widens, less than 1 narrows.
    axis : {"width", "height", "length"}
        The last two axes of an image's maps, or the one axis of a signal's.

    Examples
    --------
    >>> import torch
    >>> Stretch(2.0, axis="length")(torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]]))
    tensor([[[0.0000, 0.5000, 1.0000, 0.5000, 0.0000]]])
    """

    factor: float
    axis: str = "width"

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "factor", check_finite_number(self, "factor", positive=True)
        )
        allowed = ["height", "width", "length"]
        if self.axis not in allowed:
            raise ValueError(
                f"Stretch: axis must be one of {allowed}, got {self.axis!r}."
            )

    def scaled(self, t: float) -> Stretch:
        """Stretch by ``factor ** t``, so that strengths add up.

        Parameters
        ----------
        t : float
        """
        return Stretch(self.factor ** check_strength(self, t), self.axis)

    def check(self, node: str, shape: Shape) -> None:
        axes = AXES.get(len(shape) - 1, {})
        if self.axis not in axes:
            has = f"its axes are {list(axes)}" if axes else "it is not a map"
            raise ValueError(
                f"Stretch(axis={self.axis!r}) does not fit node {node!r} of shape "
                f"{shape}: {has}. Maps are (channels, height, width) or "
                "(channels, length)."
            )

    def __call__(self, value: Tensor) -> Tensor:
        if self.factor == 1:
            return value
        axis = AXES[value.ndim - 2][self.axis]
        moved = value.movedim(axis, -1)
        matrix = stretch_matrix(moved.shape[-1], self.factor).to(value)
        return (moved @ matrix.T).movedim(-1, axis)


def stretch_matrix(n: int, factor: float) -> Tensor:
    """Matrix (n, n) of the linear interpolation that stretches n values, float64."""
    centre = (n - 1) / 2
    positions = torch.arange(n, dtype=torch.float64)
    source = centre + (positions - centre) / factor
    return (1 - (source[:, None] - positions).abs()).clamp(min=0)
