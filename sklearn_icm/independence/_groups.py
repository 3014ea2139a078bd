"""Groups of random changes of a hidden node, over which genericity is defined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..interventions import haar_rotation
from ..interventions._base import check_finite_number
from ..interventions._geometric import stretch_matrix

Shape = tuple[int, ...]
Action = Callable[[Tensor], Tensor]


class Group(Protocol):
    """What a group of changes of a hidden node must offer; any such object will do.

    `check` is called once before any draw, and `draw` once per Monte-Carlo draw, with
    the same shape. One draw is one group element: it changes all rows alike.

    Examples
    --------
    A group of one's own, the two rotations of a vector by 0 and by 180 degrees:

    >>> class PointReflection:
    ...     def check(self, node_shape):
    ...         if len(node_shape) != 1:
    ...             raise ValueError(f"needs a vector node, got shape {node_shape}.")
    ...
    ...     def draw(self, node_shape, generator):
    ...         sign = 1 - 2 * torch.randint(2, (), generator=generator)
    ...         return lambda value: sign * value
    >>> element = PointReflection().draw((2,), torch.Generator().manual_seed(0))
    >>> element(torch.ones(1, 2)).abs()
    tensor([[1., 1.]])
    """

    def check(self, node_shape: Shape) -> None:
        """Raise ValueError if the group does not act on nodes of this shape.

        Parameters
        ----------
        node_shape : tuple of int
            Shape of one row of the node, without the batch axis.
        """

    def draw(self, node_shape: Shape, generator: torch.Generator) -> Action:
        """Draw a group element, as a function of the node's value.

        Parameters
        ----------
        node_shape : tuple of int
            Shape of one row of the node, without the batch axis.
        generator : torch.Generator
            On the CPU; the only source of randomness.

        Returns
        -------
        callable
            From a tensor ``(n, *node_shape)`` to a tensor of the same shape, dtype
            and device; differentiable.
        """


class _UnitGroup:
    """Acts along the first axis of a node: units of a vector, channels of a map."""

    def check(self, node_shape: Shape) -> None:
        """Raise ValueError if the node has no units.

        Parameters
        ----------
        node_shape : tuple of int
            ``(units,)`` or ``(channels, *spatial)``.
        """
        if not node_shape or min(node_shape) < 1:
            raise ValueError(
                f"{self!r} does not act on a node of shape {tuple(node_shape)}: it "
                "needs a vector (units,) or a map (channels, *spatial), each size at "
                "least 1."
            )


class _MapGroup:
    """Acts along the spatial axes of a map, on all channels alike."""

    def check(self, node_shape: Shape) -> None:
        """Raise ValueError if the node is not a map.

        Parameters
        ----------
        node_shape : tuple of int
            ``(channels, *spatial)`` with 1 to 3 spatial axes.
        """
        if not 2 <= len(node_shape) <= 4 or min(node_shape) < 1:
            raise ValueError(
                f"{self!r} does not act on a node of shape {tuple(node_shape)}: it "
                "needs a map, (channels, length) or (channels, height, width), each "
                "size at least 1. Orthogonal, Permutation and SignFlip act on vectors."
            )


@dataclass(frozen=True)
class Orthogonal(_UnitGroup):
    """Rotations and reflections of a vector, or of the channels of a map.

    The measure is the Haar measure of O(units). A map's channels are rotated alike at
    every position. With the contrast `Power` and a linear mechanism the generic ratio
    has a closed form, :func:`sklearn_icm.independence.trace_ratio`.

    References
    ----------
    Besserve, Shajarisales, Schölkopf, Janzing (2018), *Group invariance principles for
    causal generative models*, arXiv 1705.02212.

    Examples
    --------
    >>> rotate = Orthogonal().draw((3,), torch.Generator().manual_seed(0))
    >>> v = torch.tensor([[3.0, 0.0, 4.0]])
    >>> round(rotate(v).norm().item(), 3)
    5.0
    """

    def draw(self, node_shape: Shape, generator: torch.Generator) -> Action:
        """Draw one orthogonal matrix; see `Group.draw`, which documents the parameters.

        The matrix is drawn in float64 and used in the value's dtype.
        """
        self.check(node_shape)
        (matrix,) = haar_rotation(node_shape[0], 1, generator)
        return lambda value: _along(1, matrix, value)


@dataclass(frozen=True)
class Permutation(_UnitGroup):
    """Permutations of the units of a vector, or of the channels of a map; uniform.

    A finite group, exact in floating point.
    """

    def draw(self, node_shape: Shape, generator: torch.Generator) -> Action:
        """Draw one permutation; see `Group.draw`, which documents the parameters."""
        self.check(node_shape)
        order = torch.randperm(node_shape[0], generator=generator)
        return lambda value: value.index_select(1, order.to(value.device))


@dataclass(frozen=True)
class SignFlip(_UnitGroup):
    """Sign changes of the units of a vector, or of the channels of a map; uniform.

    Every unit is flipped or kept with probability 1/2. A finite group, exact in
    floating point.
    """

    def draw(self, node_shape: Shape, generator: torch.Generator) -> Action:
        """Draw one sign per unit; see `Group.draw`, which documents the parameters."""
        self.check(node_shape)
        bits = torch.randint(2, (node_shape[0],), generator=generator)
        signs = 1 - 2 * bits.view(-1, *[1] * (len(node_shape) - 1))
        return lambda value: value * signs.to(value)


@dataclass(frozen=True)
class Translation(_MapGroup):
    """Cyclic shifts of maps along their spatial axes; uniform over all offsets.

    A finite group, exact in floating point. Mechanisms that pad with zeros are not
    exactly equivariant to it.
    """

    def draw(self, node_shape: Shape, generator: torch.Generator) -> Action:
        """Draw an offset per axis; see `Group.draw`, which documents the parameters."""
        self.check(node_shape)
        return _cyclic_shift(node_shape[1:], generator)


@dataclass(frozen=True)
class SpatialStretch(_MapGroup):
    """Random stretches of maps about their centre, independent per spatial axis.

    Stretches have **no Haar measure** (the positive factors are not compact), and on a
    grid they interpolate and cut, so that they do not compose exactly either. The
    ratio is therefore relative to the chosen range: factors are log-uniform in
    ``[low, high]``, one per draw and spatial axis.

    Parameters
    ----------
    low, high : float
        Range of the factors; more than 1 widens. ``low=high=1`` is the identity.
    """

    low: float = 0.7
    high: float = 1.4

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            number = check_finite_number(self, name, positive=True)
            object.__setattr__(self, name, number)
        if self.low > self.high:
            raise ValueError(
                "SpatialStretch: low must be at most high, got "
                f"low={self.low} and high={self.high}."
            )

    def draw(self, node_shape: Shape, generator: torch.Generator) -> Action:
        """Draw a factor per axis; see `Group.draw`, which documents the parameters."""
        self.check(node_shape)
        spatial = node_shape[1:]
        uniform = torch.rand(len(spatial), generator=generator, dtype=torch.float64)
        low, high = math.log(self.low), math.log(self.high)
        factors = (low + (high - low) * uniform).exp().tolist()
        matrices = [stretch_matrix(n, f) for n, f in zip(spatial, factors, strict=True)]

        def stretch(value: Tensor) -> Tensor:
            for axis, matrix in enumerate(matrices, start=2):
                value = _along(axis, matrix, value)
            return value

        return stretch


@dataclass(frozen=True)
class FrequencyShift:
    """Cyclic shifts of the frequency axes of a power spectrum; uniform.

    Acts on the power spectra of **linear convolutional mechanisms** only, by
    `draw_spectrum`. Values of nodes are refused: the phases of a shifted spectrum
    are not defined, so no change of a value corresponds to the shift. The closed form
    of its generic ratio is :func:`sklearn_icm.independence.spectral_ratio`.

    Real kernels have symmetric spectra, hence shifts give the mean of the null, but
    not its p-values.

    References
    ----------
    Shajarisales, Janzing, Schölkopf, Besserve (2015), *Telling cause from effect in
    deterministic linear dynamical systems*, arXiv 1503.01299.
    """

    def check(self, node_shape: Shape) -> None:
        """Raise ValueError: no node's values can be shifted in frequency.

        Parameters
        ----------
        node_shape : tuple of int
            Shape of one row of the node, without the batch axis.
        """
        raise self._refusal(node_shape)

    def draw(self, node_shape: Shape, generator: torch.Generator) -> Action:
        """Raise the error of `check`, which documents the parameters."""
        raise self._refusal(node_shape)

    def _refusal(self, node_shape: Shape) -> ValueError:
        return ValueError(
            f"{self!r} does not act on the values of a node (of shape "
            f"{tuple(node_shape)}), only on the spectra of linear convolutional "
            "mechanisms: use spectral_ratio or SpectralPenalty, which are its closed "
            "form. Translation and SpatialStretch act on the values of maps, "
            "Orthogonal, Permutation and SignFlip on those of any node."
        )

    def draw_spectrum(
        self, grid_shape: Sequence[int], generator: torch.Generator
    ) -> Action:
        """Draw a shift of power spectra.

        Parameters
        ----------
        grid_shape : sequence of int
            Sizes of the DFT grid.
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        callable
            From power spectra ``(..., *grid_shape)`` to shifted ones.
        """
        return _cyclic_shift(grid_shape, generator)


def _along(axis: int, matrix: Tensor, value: Tensor) -> Tensor:
    """Multiply by a matrix along one axis."""
    return (value.movedim(axis, -1) @ matrix.to(value).T).movedim(-1, axis)


def _cyclic_shift(sizes: Sequence[int], generator: torch.Generator) -> Action:
    """Shift the last axes by offsets that are uniform over their sizes."""
    offsets = [int(torch.randint(n, (), generator=generator)) for n in sizes]
    axes = tuple(range(-len(offsets), 0))
    return lambda value: value.roll(offsets, axes)
