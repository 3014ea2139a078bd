"""Three coloured shapes in front of each other: hard edges, occlusion, a background."""

from numbers import Integral

import torch
from torch import nn

from ..interventions import Scale
from ..mechanisms import MechanismGraph
from ..utils.checks import check_scalar
from ._worlds import (
    UniformFactors,
    check_number,
    constant,
    draw_noise,
    draw_rows,
    make_world,
    named_columns,
)

__all__ = ["make_shapes"]

# From back to front, as colours of a bright shape; sizes and places are in shares of
# the image.
COLOURS = ((0.1, 0.3, 1.0), (0.1, 0.9, 0.2), (1.0, 0.3, 0.1))
BACKGROUND = (1.0, 0.9, 0.7)
RADII = (0.11, 0.11, 0.125)
COLUMNS = ((-0.21, -0.07), (-0.07, 0.07), (0.07, 0.21))
ROWS = (-0.15, 0.15)
FACTORS = {
    **dict(zip(("square_x", "diamond_x", "disc_x"), COLUMNS, strict=True)),
    **{f"{name}_y": ROWS for name in ("square", "diamond", "disc")},
    "brightness": (0.7, 1.0),
    "background": (0.1, 0.4),
}


def make_shapes(n_samples=1000, *, stretch=1.5, size=24, random_state=None):
    """Images of a square, a diamond and a disc, and the same moved apart.

    In the environment "stretched" the horizontal places of the shapes are stretched
    about the middle of the image. Shapes and background are those of "observational",
    and what was hidden behind a shape is seen where it has moved away.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows per environment.
    stretch : float, default=1.5
        Ratio of the places' offsets from the middle in the two environments. No shape
        leaves the image up to 1.7.
    size : int, default=24
        Height and width of the images, at least 8.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    Bunch
        As :mod:`sklearn_icm.datasets` says, with ``data`` (2 * n_samples, 3 *
        size ** 2) in [0, 1]; ``data_shape`` (size, size, 3); ``factors`` ``square_x``,
        ``square_y`` and those of ``diamond`` and ``disc`` (offsets from the middle, in
        shares of the image), ``brightness`` of the shapes and ``background``, each
        (n_samples,); ``noise`` (n_samples, 8); ``render(stretch=1.0)``.

    Raises
    ------
    ValueError, TypeError
        For `n_samples` below 1, a size below 8, or a stretch that is not a positive,
        finite number.

    Notes
    -----
    Nodes: ``noise -> factors -> places -> data``, where ``places`` (3, 2) are row and
    column of each shape, in pixels from the middle, and ``data`` also reads
    ``factors``. Edges are one pixel wide. The disc lies before the diamond, and that
    before the square. The background becomes darker from one corner to the other, and
    does not move.

    Examples
    --------
    >>> shapes = make_shapes(10, random_state=0)
    >>> shapes.data.shape, shapes.mechanisms.nodes["places"]
    ((20, 1728), (3, 2))
    """
    stretch = check_number("stretch", stretch, 0)
    check_scalar(size, "size", Integral, min_val=8)
    noise = draw_noise(n_samples, len(FACTORS), random_state)
    graph = MechanismGraph(
        {"noise": (len(FACTORS),)},
        {
            "factors": ("noise", UniformFactors(list(FACTORS.values()))),
            "places": ("factors", _Places(size)),
            "data": (("places", "factors"), _Painting(size)),
        },
        {"places": "points"},
    )

    def render(stretch=1.0):
        change = {"places": Scale([1, check_number("stretch", stretch, 0)])}
        return draw_rows(lambda e: graph(e, change)["data"].movedim(1, -1), noise)

    return make_world(
        render,
        {"stretched": {"stretch": stretch}},
        noise=noise,
        data_shape=(size, size, 3),
        factors=named_columns(graph.mechanism("factors"), FACTORS, noise),
        mechanisms=graph,
        interventions={"stretched": {"places": Scale([1, stretch])}},
        DESCR=make_shapes.__doc__,
    )


class _Places(nn.Module):
    """Factors to row and column of each shape, (n, 3, 2)."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, factors):
        return self.size * torch.stack([factors[:, 3:6], factors[:, :3]], -1)


class _Painting(nn.Module):
    """Places of the shapes, and factors, to the image (n, 3, size, size)."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, places, factors):
        brightness, background = factors[:, 6:].T[..., None, None, None]
        grid = torch.arange(self.size).to(places) - (self.size - 1) / 2
        shade = 0.75 - 0.25 * (grid[:, None] + grid) / (self.size - 1)
        image = background * shade * constant(BACKGROUND, places)[:, None, None]
        down = grid[:, None] - places[..., 0, None, None]
        across = grid - places[..., 1, None, None]
        distances = (
            torch.maximum(down.abs(), across.abs()),
            (down.abs() + across.abs()) / 2**0.5,
            (down.square() + across.square()).sqrt(),
        )
        for k, (distance, radius) in enumerate(zip(distances, RADII, strict=True)):
            edge = radius * self.size + 0.5
            covered = (edge - distance[:, k, None]).clamp(0, 1)
            colour = brightness * constant(COLOURS[k], places)[:, None, None]
            image = image + covered * (colour - image)
        return image
