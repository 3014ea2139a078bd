"""A decoder that draws each part as a small patch at its coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._checks import check_choice, check_count, check_map_shape
from ._graph import MechanismGraph
from ._modules import ACTIVATIONS, DenseMechanism

# Of the largest axis: how far places reach from where each part starts.
REACH = 1 / 8
COMPOSITIONS = ("sum", "over")
# Share of each axis over which parts lie when training starts.
SPREAD = 0.5
# Of a patch: of the longest axis of an image by default, and how far it reaches before
# it fades, as a standard deviation. Wider ones draw what belongs to other parts (glyph
# pairs after 600 steps: .58 with a cosine, .56 with 1/4, .53; 11 pixels .75).
PATCH, WIDTH = 3 / 8, 1 / 5
# Deviation of what tells parts apart before training, in units of their looks.
OWN = 0.5
# Of a patch whose energy is less there is no centre to speak of.
LEAST_ENERGY = 1e-6
# By a unit of the layers that give them, about none.
LOG_SCALE, DEGREES = 0.3, 30.0


def parts_decoder(
    n_latents: int,
    data_shape: Sequence[int],
    *,
    n_parts: int = 6,
    patch_size: int | None = None,
    n_features: int = 16,
    poses: bool = False,
    compose: str = "sum",
    hidden: int = 64,
    activation: str = "silu",
) -> MechanismGraph:
    """Build a decoder of parts, each drawn as a patch at a place of its own.

    ``{"places": Stretch(1.5)}`` moves the parts, and leaves them as they are drawn.

    Parameters
    ----------
    n_latents : int
    data_shape : tuple of int
        Channels first: ``(channels, length)`` or ``(channels, height, width)``.
    n_parts : int
        More than the data have make bad optima rarer; those that are not needed draw
        next to nothing.
    patch_size : int, optional
        Of a patch along each axis, in pixels: as large as the largest part, and not so
        large that two of them fit into one patch. None: three eighths of the longest
        axis.
    n_features : int
        Numbers that say how a part looks.
    poses : bool
        Whether each part also has a scale and, of images, an angle.
    compose : {"sum", "over"}
        Parts add up; or each has an opacity, and covers those with a larger index.
    hidden : int
        Units of layers; twice as many of what draws patches.
    activation : {"silu", "relu", "softplus", "tanh", "identity"}

    Returns
    -------
    MechanismGraph
        ``noise -> places`` and ``noise -> looks``, both ``-> parts -> data``.

        - ``places``: points, ``(n_parts, axes)``, in pixels from the middle;
        - ``looks``: ``(n_parts, n_features)``, from which one network draws all parts;
        - ``poses``, if asked for: ``(n_parts, 1 or 2)``, logarithms of scales, and
          angles in degrees;
        - ``parts``: what each part draws by itself, ``(n_parts, channels, *grid)``,
          with its opacity as one more channel where parts cover each other.
          ``Units(k, Do(0.0))`` there leaves a part out.

    Raises
    ------
    ValueError
        For counts below 1, patches larger than the data, an unknown activation or
        composition, or data without axes.

    Notes
    -----
    Patches are drawn by linear interpolation, so that places are trained by gradients.
    A patch fades towards its border, and the centre of its energy is at the place: so a
    part is what lies within reach of its place, and goes where this goes. Without
    either, patches at the side of their places do as well in training, and go astray
    when places are moved. Behind the parts there is one colour, so that no mean image
    can stand in for them.

    :meth:`~sklearn_icm.inspection.InterventionDisplay.from_parts` shows what each part
    draws.

    References
    ----------
    Jaderberg, Simonyan, Zisserman, Kavukcuoglu (2015), *Spatial transformer networks*,
    arXiv 1506.02025. Eslami et al. (2016), *Attend, infer, repeat*, arXiv 1603.08575.

    Examples
    --------
    >>> graph = parts_decoder(5, (1, 24, 24), n_parts=3)
    >>> graph.nodes["places"], graph.nodes["parts"]
    ((3, 2), (3, 1, 24, 24))
    """
    check_map_shape(data_shape)
    channels, *grid = data_shape
    if patch_size is None:
        patch_size = math.ceil(PATCH * max(grid))
    counts = {
        "n_latents": n_latents,
        "n_parts": n_parts,
        "patch_size": patch_size,
        "n_features": n_features,
        "hidden": hidden,
    }
    for name, value in counts.items():
        check_count(name, value)
    if patch_size > max(grid):
        raise ValueError(
            f"patch_size must be at most {max(grid)}, the longest axis, got "
            f"{patch_size}: each part would draw the whole. Give the size of a part."
        )
    check_choice("compose", compose, COMPOSITIONS)
    check_choice("activation", activation, ACTIVATIONS)
    start = SPREAD * torch.tensor(grid) * (torch.rand(n_parts, len(grid)) - 0.5)
    layers = hidden, activation
    mechanisms: dict[str, tuple[str | Sequence[str], nn.Module]] = {
        "places": ("noise", _Places(n_latents, start, grid, *layers)),
        "looks": ("noise", _dense_layers(n_latents, (n_parts, n_features), *layers)),
    }
    if poses:
        mechanisms["poses"] = "noise", _Poses(n_latents, n_parts, len(grid), *layers)
    covers = compose == "over"
    draws = _Patches(
        n_parts, n_features, channels, grid, patch_size, covers, 2 * hidden, activation
    )
    mechanisms["parts"] = tuple(mechanisms), draws
    mechanisms["data"] = "parts", _Composed(channels, len(grid), covers)
    kinds = dict.fromkeys(("looks", "poses", "parts"), "vector")
    kinds = {k: kind for k, kind in kinds.items() if k in mechanisms}
    return MechanismGraph(
        {"noise": (n_latents,)}, mechanisms, {"places": "points", **kinds}
    )


def _dense_layers(
    n_latents: int, out_shape: Sequence[int], hidden: int, activation: str
) -> nn.Sequential:
    """Latents to values of a shape, through two layers."""
    return nn.Sequential(
        DenseMechanism((n_latents,), (hidden,), activation),
        DenseMechanism((hidden,), (hidden,), activation),
        DenseMechanism((hidden,), out_shape, "identity"),
    )


class _Places(nn.Module):
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
        self.layers = _dense_layers(n_latents, tuple(start.shape), hidden, activation)
        self.start = nn.Parameter(start)

    def forward(self, noise: Tensor) -> Tensor:
        return self.start + self.reach * self.layers(noise)


def _from_middle(size: int) -> Tensor:
    """Offsets of the pixels of an axis from its middle."""
    return torch.arange(size) - (size - 1) / 2


class _Poses(nn.Module):
    """Latents to the logarithm of the scale of each part, and of images an angle."""

    def __init__(
        self, n_latents: int, n_parts: int, n_axes: int, hidden: int, activation: str
    ) -> None:
        super().__init__()
        self.layers = _dense_layers(n_latents, (n_parts, n_axes), hidden, activation)
        self.register_buffer("units", torch.tensor([LOG_SCALE, DEGREES][:n_axes]))

    def forward(self, noise: Tensor) -> Tensor:
        return self.units * self.layers(noise)


class _Patches(nn.Module):
    """Places and looks to what each part draws alone, (n, parts, channels, *grid)."""

    def __init__(
        self,
        n_parts: int,
        n_features: int,
        channels: int,
        grid: Sequence[int],
        size: int,
        covers: bool,
        hidden: int,
        activation: str,
    ) -> None:
        super().__init__()
        self.grid, self.covers = tuple(grid), covers
        n_axes = len(grid)
        self.shape = (channels + covers, *[size] * n_axes)
        self.layers = nn.Sequential(
            nn.Linear(n_features, hidden),
            ACTIVATIONS[activation](),
            nn.Linear(hidden, math.prod(self.shape)),
        )
        self.own = nn.Parameter(OWN * torch.randn(n_parts, n_features))
        profile = (-0.5 * (_from_middle(size) / (WIDTH * size)).square()).exp()
        window = profile
        for _ in range(n_axes - 1):
            window = window[..., None] * profile
        self.register_buffer("window", window)
        self.register_buffer("offsets", _from_middle(size))

    def forward(
        self, places: Tensor, looks: Tensor, poses: Tensor | None = None
    ) -> Tensor:
        patches = self._patches(looks)
        scales = places.new_ones(places.shape[:2])
        if poses is not None:
            scales = poses[..., 0].exp()
            if poses.shape[-1] > 1:
                patches = _turned(patches, poses[..., 1])
        places = places - scales[..., None] * self._centres(patches)
        for axis, size in enumerate(self.grid):
            pixels = _from_middle(size).to(places)
            at = (pixels - places[..., axis, None]) / scales[..., None]
            weights = (1 - (at[..., None] - self.offsets).abs()).clamp(min=0)
            along = patches.movedim(axis + 3, -1)
            drawn = along.flatten(2, -2) @ weights.mT
            patches = drawn.unflatten(2, along.shape[2:-1]).movedim(-1, axis + 3)
        return patches

    def _patches(self, looks: Tensor) -> Tensor:
        """What parts look like: (n, parts, channels, *patch)."""
        patches = self.layers(looks + self.own).unflatten(-1, self.shape)
        if not self.covers:
            return patches * self.window
        # Opacity is 0 outside, and starts low at the border.
        colours, opacity = patches[:, :, :-1], patches[:, :, -1:]
        opacity = (opacity + 2 * self.window.log()).sigmoid()
        return torch.cat([colours * opacity, opacity], 2)

    def _centres(self, patches: Tensor) -> Tensor:
        """Centre of the energy of each patch from its middle, (n, parts, axes)."""
        energy = patches.square().sum(2) + LEAST_ENERGY
        total = energy.flatten(2).sum(2)
        centres = []
        for axis in range(len(self.grid)):
            other = [k + 2 for k in range(len(self.grid)) if k != axis]
            mass = energy.sum(other) if other else energy
            centres.append(mass @ self.offsets / total)
        return torch.stack(centres, -1)


def _turned(patches: Tensor, degrees: Tensor) -> Tensor:
    """Patches turned counter-clockwise about their middle, each by its own angle."""
    angle = torch.deg2rad(degrees).flatten()
    cos, sin = angle.cos(), angle.sin()
    zero = torch.zeros_like(cos)
    rows = torch.stack([cos, -sin, zero]), torch.stack([sin, cos, zero])
    matrix = torch.stack(rows).permute(2, 0, 1)
    flat = patches.flatten(0, 1)
    grid = functional.affine_grid(matrix, list(flat.shape), align_corners=False)
    turned = functional.grid_sample(flat, grid, align_corners=False)
    return turned.unflatten(0, patches.shape[:2])


class _Composed(nn.Module):
    """What parts draw to an image: their sum, or each before those that follow it."""

    def __init__(self, channels: int, n_axes: int, covers: bool) -> None:
        super().__init__()
        self.covers = covers
        self.ground = nn.Parameter(torch.zeros(channels, *[1] * n_axes))

    def forward(self, parts: Tensor) -> Tensor:
        if not self.covers:
            return self.ground + parts.sum(1)
        # From the last one, each in front of what there is.
        image = self.ground
        for part in reversed(parts.unbind(1)):
            image = part[:, :-1] + (1 - part[:, -1:]) * image
        return image
