"""Interventions that move what a map shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ._base import Here, Intervention
from ._checks import AXES, Shape, axis_lengths, check_flag, finite_number, kind_of


class _AlongAxis(Intervention):
    """Interventions that act along the field ``axis`` of maps, None for the last."""

    axis: str | None

    def _check_axis(self) -> None:
        allowed = [None, "height", "width", "length"]
        if self.axis not in allowed:
            raise ValueError(
                f"{type(self).__name__}: axis must be one of {allowed}, got "
                f"{self.axis!r}."
            )

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        axes = axis_lengths(shape, kind)
        if not axes or self.axis not in {None, *axes}:
            has = f"its axes are {list(axes)}"
            if not axes:
                has = f"it is not a map, its kind is {kind_of(shape, kind)!r}"
            raise ValueError(
                f"{type(self).__name__}(axis={self.axis!r}) does not fit node {node!r} "
                f"of shape {shape}: {has}. Maps are (channels, height, width) or "
                "(channels, length)."
            )

    def _dim(self, value: Tensor) -> int:
        """Dimension of maps (n, channels, ...) that the axis names."""
        return -1 if self.axis is None else AXES[value.ndim - 2][self.axis]

    def _read(
        self,
        value: Tensor,
        source: Callable[[Tensor], Tensor],
        *,
        cyclic: bool = False,
    ) -> Tensor:
        """Read values at the source of every position, linearly, zero outside."""
        axis = self._dim(value)
        moved = value.movedim(axis, -1)
        n = moved.shape[-1]
        positions = torch.arange(n, dtype=torch.float64)
        gaps = (source(positions)[:, None] - positions).abs()
        matrix = (1 - (gaps % n if cyclic else gaps)).clamp(min=0)
        if cyclic:
            # Nearer to the map's copy beyond the border.
            matrix += (1 - n + gaps % n).clamp(min=0)
        return (moved @ matrix.to(value).T).movedim(-1, axis)


@dataclass(frozen=True, eq=False)
class Stretch(_AlongAxis):
    """Stretch maps about their centre along one axis.

    The value at position ``i`` is read at ``c + (i - c) / factor`` with
    ``c = (n - 1) / 2``, by linear interpolation; outside the map there are zeros.
    Amplitudes are kept, and ``factor=1`` returns the very same values.

    Parameters
    ----------
    factor : float
        More than 1 widens, less than 1 narrows.
    axis : {"width", "height", "length"}, optional
        An axis of an image's maps, or the one of a signal's. None is the last: the
        width, or the length.

    Examples
    --------
    >>> import torch
    >>> Stretch(2.0)(torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]]))
    tensor([[[0.0000, 0.5000, 1.0000, 0.5000, 0.0000]]])
    """

    factor: float
    axis: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "factor", finite_number(self, "factor", self.factor, positive=True)
        )
        self._check_axis()

    def scaled(self, t: float) -> Stretch:
        """Stretch by ``factor ** t``, so that strengths add up."""
        t = finite_number(self, "t", t)
        try:
            factor = self.factor**t
        except OverflowError:
            factor = math.inf
        if not 0 < factor < math.inf:
            raise ValueError(
                f"Stretch.scaled: {self.factor!r} ** t must be a positive, finite "
                f"number, got {factor!r} for t={t!r}. Choose t closer to 0."
            )
        return Stretch(factor, self.axis)

    def inverse(self) -> Stretch:
        """Return the stretch by ``1 / factor``, exact where nothing left the map."""
        return Stretch(1 / self.factor, self.axis)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        if self.factor == 1:
            return value
        return self._read(value, self._source)

    def _source(self, positions: Tensor) -> Tensor:
        centre = (len(positions) - 1) / 2
        return centre + (positions - centre) / self.factor


@dataclass(frozen=True, eq=False)
class Translate(_AlongAxis):
    """Move maps along one axis, by linear interpolation.

    Parameters
    ----------
    offset : float
        In grid points of the node; positive moves towards larger indices (right, or
        down). Whole numbers move values exactly.
    axis : {"width", "height", "length"}, optional
        As in `Stretch`.
    cyclic : bool
        What leaves the map comes in on the other side; otherwise zeros come in.

    Examples
    --------
    >>> import torch
    >>> Translate(1)(torch.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[0., 1., 2.]]])
    """

    offset: float
    axis: str | None = None
    cyclic: bool = False

    def __post_init__(self) -> None:
        check_flag(self, "cyclic")
        object.__setattr__(self, "offset", finite_number(self, "offset", self.offset))
        self._check_axis()

    def scaled(self, t: float) -> Translate:
        """Move by t times the offset."""
        return replace(self, offset=finite_number(self, "t", t) * self.offset)

    def inverse(self) -> Translate:
        """Return the translation back, exact where nothing is lost at the border."""
        return self.scaled(-1)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        if self.offset == 0:
            return value
        return self._read(value, lambda i: i - self.offset, cyclic=self.cyclic)


@dataclass(frozen=True, eq=False)
class Flip(_AlongAxis):
    """Mirror maps along one axis; its own inverse.

    Parameters
    ----------
    axis : {"width", "height", "length"}, optional
        As in `Stretch`.

    Examples
    --------
    >>> import torch
    >>> Flip()(torch.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[3., 2., 1.]]])
    """

    axis: str | None = None

    def __post_init__(self) -> None:
        self._check_axis()

    def inverse(self) -> Flip:
        """Return the flip itself."""
        return self

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        return value.flip(self._dim(value))


@dataclass(frozen=True, eq=False)
class Rotate(Intervention):
    """Rotate 2-D maps about their centre, by bilinear interpolation; zeros come in.

    Parameters
    ----------
    degrees : float
        Counter-clockwise, with the first row on top.

    Examples
    --------
    >>> import torch
    >>> Rotate(90)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).round()
    tensor([[[[2., 4.],
              [1., 3.]]]])
    """

    degrees: float

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "degrees", finite_number(self, "degrees", self.degrees)
        )

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        if len(axis_lengths(shape, kind)) != 2:
            raise ValueError(
                f"Rotate needs maps (channels, height, width), but node {node!r} has "
                f"the shape {shape} and the kind {kind_of(shape, kind)!r}."
            )

    def scaled(self, t: float) -> Rotate:
        """Rotate by t times the angle."""
        return Rotate(finite_number(self, "t", t) * self.degrees)

    def inverse(self) -> Rotate:
        """Return the rotation back, up to interpolation."""
        return Rotate(-self.degrees)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        if self.degrees == 0:
            return value
        height, width = value.shape[2:]
        cos, sin = (f(math.radians(self.degrees)) for f in (math.cos, math.sin))
        y, x = torch.meshgrid(
            *(torch.arange(n) - (n - 1) / 2 for n in (height, width)), indexing="ij"
        )
        source = (cos * x - sin * y, sin * x + cos * y)
        # grid_sample wants the range of pixel edges as [-1, 1].
        grid = torch.stack(
            [2 * s / n for s, n in zip(source, (width, height), strict=True)], -1
        )
        grid = grid.to(value).expand(len(value), -1, -1, -1)
        return torch.nn.functional.grid_sample(value, grid, align_corners=False)
