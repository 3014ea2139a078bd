"""Two eyes and a mouth: images whose parts can move while their shapes stay."""

import torch
from torch import nn

from ..interventions import Stretch
from ..mechanisms import MechanismGraph
from ._worlds import (
    UniformFactors,
    bumps,
    check_number,
    draw_noise,
    draw_rows,
    make_world,
    named_columns,
)

__all__ = ["make_faces"]

SIZE = (24, 24)
CENTRE = (SIZE[1] - 1) / 2
# Narrow enough for the map to hold a bump that a stretch by 1.6 moved and widened, and
# wide enough for linear interpolation.
BUMP = 1.2
FACTORS = {
    "x": (CENTRE - 1.0, CENTRE + 1.0),
    "y": (CENTRE - 2.0, CENTRE + 2.0),
    "eye_distance": (5.5, 8.0),
    "size": (0.9, 1.2),
    "amplitude": (0.5, 1.0),
}


def make_faces(n_samples=1000, *, stretch=1.5, random_state=None):
    """Faces of two eyes and a mouth, and the same faces with their parts moved apart.

    In the environment "stretched" the horizontal positions of the parts are stretched
    about the middle of the image; their shapes are those of "observational". Each
    stretched row is the counterfactual of one observational row.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows per environment.
    stretch : float, default=1.5
        Ratio of the positions' offsets from the middle in the two environments. No
        part leaves the image up to 1.5.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    Bunch
        As :mod:`sklearn_icm.datasets` says, with ``data`` (2 * n_samples, 576) in
        [0, 1]; ``data_shape`` (24, 24); ``factors`` ``x``, ``y`` (of the face),
        ``eye_distance``, ``size`` (all in pixels) and ``amplitude``, each (n_samples,);
        ``noise`` (n_samples, 5); ``render(stretch=1.0)``.

    Raises
    ------
    ValueError, TypeError
        For `n_samples` below 1, or a stretch that is not a positive, finite number.

    Notes
    -----
    Nodes: ``noise -> factors -> layout -> data``, where ``layout`` has one map per
    part with a bump at its place, and ``data`` also reads ``factors``. It draws each
    part's own shape at the centre of its map's energy. So ``Stretch`` at ``layout``
    is `render` up to linear interpolation of the maps: places are within 0.05 pixels
    for stretches of 0.7 to 1.6. An empty map draws nothing.

    The world is made after the image experiments of Besserve, Sun, Janzing, Schölkopf
    (2021), *A theory of independent mechanisms for extrapolation in generative
    models*, arXiv 2004.00184.

    Examples
    --------
    >>> faces = make_faces(10, random_state=0)
    >>> faces.data.shape, faces.mechanisms.nodes["layout"]
    ((20, 576), (3, 24, 24))
    """
    stretch = check_number("stretch", stretch, 0)
    noise = draw_noise(n_samples, len(FACTORS), random_state)
    graph = MechanismGraph(
        {"noise": (len(FACTORS),)},
        {
            "factors": ("noise", UniformFactors(list(FACTORS.values()))),
            "layout": ("factors", _Layout()),
            "data": (("layout", "factors"), _Parts()),
        },
    )

    def render(stretch=1.0):
        ratio = check_number("stretch", stretch, 0)
        factors_of = graph.mechanism("factors")
        return draw_rows(lambda e: _stretched_faces(factors_of(e), ratio), noise)

    return make_world(
        render,
        {"stretched": {"stretch": stretch}},
        noise=noise,
        data_shape=SIZE,
        factors=named_columns(graph.mechanism("factors"), FACTORS, noise),
        mechanisms=graph,
        interventions={"stretched": {"layout": Stretch(stretch, axis="width")}},
        DESCR=make_faces.__doc__,
    )


class _Layout(nn.Module):
    """Factors to one map per part, with a bump at the part's place."""

    def forward(self, factors):
        x, y = _places(factors)
        sd = torch.full_like(x, BUMP)
        return bumps(x, y, sd, sd, SIZE)


class _Parts(nn.Module):
    """Maps of the places, and factors, to the image."""

    def forward(self, layout, factors):
        # Of the energy: it also places maps with negative values, and lies further
        # from the border than the mass.
        peak = layout.abs().amax((2, 3), keepdim=True)
        seen = peak > 0
        energy = (layout / torch.where(seen, peak, 1)).square()
        total = energy.sum((2, 3)).clamp(min=1)
        rows, columns = (torch.arange(n).to(layout) for n in SIZE)
        x = (energy.sum(2) @ columns) / total
        y = (energy.sum(3) @ rows) / total
        return _drawn(x, y, factors, seen[..., 0, 0])


def _stretched_faces(factors, stretch):
    x, y = _places(factors)
    return _drawn(CENTRE + stretch * (x - CENTRE), y, factors, torch.ones_like(x))


def _places(factors):
    """Columns and rows (n, 3) of left eye, right eye and mouth."""
    x, y, distance = factors[:, 0], factors[:, 1], factors[:, 2]
    columns = [x - distance / 2, x + distance / 2, x]
    return torch.stack(columns, 1), torch.stack([y - 3, y - 3, y + 4], 1)


def _drawn(x, y, factors, seen):
    """Images (n, 1, height, width) of rings for eyes and a bar for the mouth."""
    size, amplitude = factors[:, 3, None], factors[:, 4, None]
    outline = size * torch.tensor([1.0, 1.0, 2.0]).to(size)
    height = size * torch.tensor([1.0, 1.0, 0.6]).to(size)
    parts = bumps(x, y, outline, height, SIZE, amplitude * seen)
    pupils = bumps(
        x[:, :2], y[:, :2], size / 2, size / 2, SIZE, 0.9 * amplitude * seen[:, :2]
    )
    left, right = parts[:, :2].sub_(pupils).unbind(1)
    # Where parts overlap, the image stays in [0, 1].
    return (1 - (1 - left) * (1 - right) * (1 - parts[:, 2]))[:, None]
