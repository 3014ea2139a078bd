"""Decoders that place parts: one mechanism says where they are, the next draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from ._builders import LAST_KERNEL
from ._checks import check_choice, check_count, check_map_shape
from ._graph import MechanismGraph
from ._modules import ACTIVATIONS, ConvMechanism, DenseMechanism

# Of the largest axis: how far places reach from where each part starts.
REACH = 1 / 8


def layout_decoder(
    n_latents: int,
    data_shape: Sequence[int],
    *,
    n_parts: int = 6,
    n_features: int = 2,
    width: float = 0.9,
    random_widths: Sequence[float] | None = (0.6, 1.6),
    hidden: int = 64,
    n_maps: int = 12,
    kernel_size: int = 5,
    activation: str = "silu",
) -> MechanismGraph:
    """Build a decoder whose map has one bump per part, drawn upon by convolutions.

    Parameters
    ----------
    n_latents : int
    data_shape : tuple of int
        Channels first: ``(channels, length)`` or ``(channels, height, width)``.
    n_parts : int
        Bumps, at learnt places. More than the data have parts make bad optima rarer.
    n_features : int
        Maps per part, whose bumps share place and width but not height: how a part
        looks, such as its size and brightness.
    width : float
        Standard deviation of the bumps, in pixels.
    random_widths : (low, high) or None
        Range from which the width of every bump is drawn in training, in pixels and
        log-uniformly per axis. None: always `width`.
    hidden : int
        Units of the two layers that give the places.
    n_maps : int
        Maps of the node ``parts``.
    kernel_size : int
        Of the convolution behind the layout; one of size 3 follows. Together they
        should reach as far as one part, not as far as the next.
    activation : {"silu", "relu", "softplus", "tanh", "identity"}

    Returns
    -------
    MechanismGraph
        ``noise -> places``, ``noise -> heights``, both ``-> layout -> parts -> data``.
        ``places`` are points, ``(n_parts, axes)``, in pixels from the middle.

    Raises
    ------
    ValueError
        For counts below 1, an unknown activation, data without axes, widths that are
        not positive, or a range whose low end is the larger one.

    Notes
    -----
    To stretch ``layout`` moves the parts, and widens their bumps. With random widths
    the mechanism behind it is trained under random dilations of its input, that is
    under the group by which an independent mechanism may be replaced, so that it draws
    the same parts whatever the widths are. Without, it draws wider parts.

    The parts are not ordered, and a fit may end with two of them in one bump: of a few
    fits with other seeds take the one whose training loss is lowest.

    References
    ----------
    Besserve, Sun, Janzing, Schölkopf (2021), *A theory of independent mechanisms for
    extrapolation in generative models*, arXiv 2004.00184 (invariance to the group).

    Examples
    --------
    >>> layout_decoder(5, (1, 24, 24), n_parts=3).nodes["layout"]
    (6, 24, 24)
    """
    counts = {
        "n_latents": n_latents,
        "n_parts": n_parts,
        "n_features": n_features,
        "hidden": hidden,
        "n_maps": n_maps,
        "kernel_size": kernel_size,
    }
    for name, value in counts.items():
        check_count(name, value)
    _check_width(width)
    if random_widths is not None:
        _check_range(random_widths)
    check_choice("activation", activation, ACTIVATIONS)
    check_map_shape(data_shape)
    channels, *grid = data_shape
    n_bumps, ones = n_parts * n_features, (1,) * len(grid)
    heights = dense_layers(n_latents, (n_parts, n_features), hidden, activation)
    with torch.no_grad():
        heights[-1].linear.bias += 1
    start = REACH * max(grid) * torch.randn(n_parts, len(grid))
    places = Places(n_latents, start, grid, hidden, activation)
    options = {"kernel_size": kernel_size, "activation": activation}
    last = {"kernel_size": LAST_KERNEL, "activation": "identity"}
    return MechanismGraph(
        {"noise": (n_latents,)},
        {
            "places": ("noise", places),
            "heights": ("noise", heights),
            "layout": (
                ("places", "heights"),
                RandomBumps(grid, width, random_widths),
            ),
            "parts": (
                "layout",
                ConvMechanism(n_bumps, (n_maps, *grid), ones, **options),
            ),
            "data": ("parts", ConvMechanism(n_maps, (channels, *grid), ones, **last)),
        },
        {"places": "points", "heights": "vector"},
    )


def _check_width(width: float) -> None:
    if not isinstance(width, Real) or not 0 < width < math.inf:
        raise ValueError(f"width must be a positive number of pixels, got {width!r}.")


def _check_range(widths: Sequence[float]) -> None:
    pair = isinstance(widths, (tuple, list)) and len(widths) == 2
    if not pair or not all(isinstance(w, Real) for w in widths):
        raise ValueError(
            f"random_widths must be None or a range (low, high), got {widths!r}."
        )
    if not 0 < widths[0] <= widths[1] < math.inf:
        raise ValueError(
            "random_widths must be a range (low, high) with 0 < low <= high, got "
            f"{widths!r}."
        )


def dense_layers(
    n_latents: int, out_shape: Sequence[int], hidden: int, activation: str
) -> nn.Sequential:
    """Latents to values of a shape, through two layers."""
    return nn.Sequential(
        DenseMechanism((n_latents,), (hidden,), activation),
        DenseMechanism((hidden,), (hidden,), activation),
        DenseMechanism((hidden,), out_shape, "identity"),
    )


class Places(nn.Module):
    """Latents to the place of each part, (n, parts, axes), in pixels from the middle.

    They move about those where training starts, (parts, axes).
    """

    def __init__(
        self,
        n_latents: int,
        start: Tensor,
        grid: Sequence[int],
        hidden: int,
        activation: str,
    ) -> None:
        super().__init__()
        self.reach = REACH * max(grid)
        self.layers = dense_layers(n_latents, tuple(start.shape), hidden, activation)
        self.start = nn.Parameter(start)

    def forward(self, noise: Tensor) -> Tensor:
        return self.start + self.reach * self.layers(noise)


def from_middle(size: int) -> Tensor:
    """Offsets of the pixels of an axis from its middle."""
    return torch.arange(size) - (size - 1) / 2


class RandomBumps(nn.Module):
    """Places and heights to maps with one bump each, (n, parts * features, *grid).

    Widths that are drawn in training are those of the step, until `step` grows.
    """

    def __init__(
        self,
        grid: Sequence[int],
        width: float,
        random_widths: Sequence[float] | None,
    ) -> None:
        super().__init__()
        self.grid, self.width, self.random_widths = tuple(grid), width, random_widths
        # Counted with the state, so that one seed gives one fit.
        self.register_buffer("seed", torch.randint(2**31, ()))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def forward(self, places: Tensor, heights: Tensor) -> Tensor:
        bumps, widths = heights, self._widths(places)
        for k, size in enumerate(self.grid):
            pixels = from_middle(size).to(places)
            distance = (pixels - places[..., k, None]) / widths[..., k, None]
            profile = (-0.5 * distance.square()).exp()
            between = (1,) * k
            shape = (*profile.shape[:2], 1, *between, size)
            bumps = bumps[..., None] * profile.reshape(shape)
        return bumps.flatten(1, 2)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        counted = self.seed, self.step
        super()._apply(fn, recurse)
        # They stay on the CPU, where they are read in every step.
        self.seed, self.step = counted
        return self

    def _widths(self, like: Tensor) -> Tensor:
        if self.random_widths is None or not self.training:
            return torch.full_like(like, self.width)
        low, high = self.random_widths
        draws = torch.Generator().manual_seed(int(self.seed + self.step + 1))
        share = torch.rand(like.shape, generator=draws).to(like)
        return low * (high / low) ** share
