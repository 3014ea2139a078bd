"""Interventions that move what a map shows, or points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ._base import Here, Intervention
from ._checks import (
    AXES,
    COORDINATES,
    Shape,
    axis_lengths,
    check_flag,
    coordinates,
    finite_number,
    kind_of,
)

MIDDLE = (0.0, (0.0, 0.0))


def _are_points(here: Here | None) -> bool:
    return here is not None and here.kind == "points"


def _shown(change: Any) -> str:
    """Fields of an intervention, but for a centre that is the middle."""
    pairs = ((f.name, getattr(change, f.name)) for f in fields(change))
    told = (f"{k}={v!r}" for k, v in pairs if k != "about" or v not in MIDDLE)
    return f"{type(change).__name__}({', '.join(told)})"


class _AlongAxis(Intervention):
    """Interventions along the field ``axis`` of maps or points, None for the last."""

    axis: str | None

    def _check_axis(self) -> None:
        allowed = [None, "height", "width", "length"]
        if self.axis not in allowed:
            raise ValueError(
                f"{type(self).__name__}: axis must be one of {allowed}, got "
                f"{self.axis!r}."
            )

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        axes = axis_lengths(shape, kind) or coordinates(shape, kind)
        if not axes or self.axis not in {None, *axes}:
            has = f"its axes are {list(axes)}"
            if not axes:
                has = f"it is not a map, its kind is {kind_of(shape, kind)!r}"
            raise ValueError(
                f"{type(self).__name__}(axis={self.axis!r}) does not fit node {node!r} "
                f"of shape {shape}: {has}. Maps are (channels, height, width) or "
                "(channels, length), points with axes (n, 2) or (n, 1)."
            )

    def _moved(self, value: Tensor, move: Callable[[Tensor], Tensor]) -> Tensor:
        """Points (n, points, coordinates) of which one coordinate is moved."""
        named = COORDINATES[value.shape[-1]]
        column = -1 if self.axis is None else named[self.axis]
        changed = value.clone()
        changed[..., column] = move(value[..., column])
        return changed

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


@dataclass(frozen=True, eq=False, repr=False)
class Stretch(_AlongAxis):
    """Stretch maps, or what lies at points, about a place along one axis.

    Of maps the value at position ``i`` is read at ``c + (i - c) / factor`` with ``c =
    (n - 1) / 2 + about``, by linear interpolation; outside the map there are zeros.
    Amplitudes are kept, and ``factor=1`` returns the very same values. Of points the
    offset of the coordinate from `about` is multiplied: what is drawn there moves and
    is not widened.

    Parameters
    ----------
    factor : float
        More than 1 widens, less than 1 narrows.
    axis : {"width", "height", "length"}, optional
        An axis of an image's maps, or the one of a signal's. None is the last: the
        width, or the length.
    about : float
        What stays in its place, in grid points of the node (of points in pixels) from
        the middle.

    Examples
    --------
    >>> import torch
    >>> Stretch(2.0)(torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]]))
    tensor([[[0.0000, 0.5000, 1.0000, 0.5000, 0.0000]]])
    """

    factor: float
    axis: str | None = None
    about: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "factor", finite_number(self, "factor", self.factor, positive=True)
        )
        object.__setattr__(self, "about", finite_number(self, "about", self.about))
        self._check_axis()

    __repr__ = _shown

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
        return replace(self, factor=factor)

    def inverse(self) -> Stretch:
        """Return the stretch by ``1 / factor``, exact where nothing left the map."""
        return replace(self, factor=1 / self.factor)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        if self.factor == 1:
            return value
        if _are_points(here):
            centre = self.about
            return self._moved(value, lambda x: centre + self.factor * (x - centre))
        return self._read(value, self._source)

    def _source(self, positions: Tensor) -> Tensor:
        centre = (len(positions) - 1) / 2 + self.about
        return centre + (positions - centre) / self.factor


@dataclass(frozen=True, eq=False)
class Translate(_AlongAxis):
    """Move maps along one axis, by linear interpolation, or points.

    Parameters
    ----------
    offset : float
        In grid points of the node (of points in pixels); positive moves towards larger
        indices (right, or down). Whole numbers move values exactly.
    axis : {"width", "height", "length"}, optional
        As in `Stretch`.
    cyclic : bool
        What leaves the map comes in on the other side; otherwise zeros come in. Not
        of points.

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

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        super().check(node, shape, kind)
        if self.cyclic and kind == "points":
            raise ValueError(
                f"{self!r} does not fit node {node!r}: points are not on a ring. Leave "
                "out cyclic."
            )

    def scaled(self, t: float) -> Translate:
        """Move by t times the offset."""
        return replace(self, offset=finite_number(self, "t", t) * self.offset)

    def inverse(self) -> Translate:
        """Return the translation back, exact where nothing is lost at the border."""
        return self.scaled(-1)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        if self.offset == 0:
            return value
        if _are_points(here):
            return self._moved(value, lambda x: x + self.offset)
        return self._read(value, lambda i: i - self.offset, cyclic=self.cyclic)


@dataclass(frozen=True, eq=False)
class Flip(_AlongAxis):
    """Mirror maps, or points, along one axis; its own inverse.

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
        if _are_points(here):
            return self._moved(value, torch.neg)
        return value.flip(self._dim(value))


@dataclass(frozen=True, eq=False, repr=False)
class Rotate(Intervention):
    """Rotate 2-D maps by bilinear interpolation, where zeros come in, or points.

    What is drawn at points keeps its own direction.

    Parameters
    ----------
    degrees : float
        Counter-clockwise, with the first row on top.
    about : (float, float)
        Down and right: what stays in its place, in grid points of the node (of points
        in pixels) from the middle.

    Examples
    --------
    >>> import torch
    >>> Rotate(90)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).round()
    tensor([[[[2., 4.],
              [1., 3.]]]])
    """

    degrees: float
    about: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "degrees", finite_number(self, "degrees", self.degrees)
        )
        pair = isinstance(self.about, (tuple, list)) and len(self.about) == 2
        if not pair:
            raise TypeError(
                f"Rotate: about must be a pair (down, right), got {self.about!r}."
            )
        about = tuple(finite_number(self, "about", part) for part in self.about)
        object.__setattr__(self, "about", about)

    __repr__ = _shown

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        if len(axis_lengths(shape, kind) or coordinates(shape, kind)) != 2:
            raise ValueError(
                "Rotate needs maps (channels, height, width) or points (n, 2), but "
                f"node {node!r} has the shape {shape} and the kind "
                f"{kind_of(shape, kind)!r}."
            )

    def scaled(self, t: float) -> Rotate:
        """Rotate by t times the angle."""
        return replace(self, degrees=finite_number(self, "t", t) * self.degrees)

    def inverse(self) -> Rotate:
        """Return the rotation back, up to interpolation."""
        return self.scaled(-1)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        if self.degrees == 0:
            return value
        cos, sin = (f(math.radians(self.degrees)) for f in (math.cos, math.sin))
        down, right = self.about
        if _are_points(here):
            y, x = value[..., 0] - down, value[..., 1] - right
            moved = cos * y - sin * x + down, sin * y + cos * x + right
            return torch.stack(moved, -1)
        height, width = value.shape[2:]
        y, x = torch.meshgrid(
            *(
                torch.arange(n) - (n - 1) / 2 - start
                for n, start in ((height, down), (width, right))
            ),
            indexing="ij",
        )
        source = (cos * x - sin * y + right, sin * x + cos * y + down)
        # grid_sample wants the range of pixel edges as [-1, 1].
        grid = torch.stack(
            [2 * s / n for s, n in zip(source, (width, height), strict=True)], -1
        )
        grid = grid.to(value).expand(len(value), -1, -1, -1)
        return torch.nn.functional.grid_sample(value, grid, align_corners=False)
