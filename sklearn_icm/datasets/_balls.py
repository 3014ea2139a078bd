"""Two balls that never rise together: a support with a corner held out."""

from functools import partial
from numbers import Integral

import numpy as np
import torch
from torch import nn

from ..mechanisms import MechanismGraph
from ..utils.checks import check_scalar
from ._worlds import (
    check_number,
    constant,
    draw_noise,
    draw_rows,
    make_world,
    named_columns,
)

__all__ = ["make_two_balls"]

EDGE = 0.5


def make_two_balls(n_samples=1000, *, corner=0.5, size=24, random_state=None):
    """Images of two balls whose heights have an L-shaped support, and the whole square.

    Each ball moves up and down its own column; the factors are their heights in
    [0, 1]. In "observational" the two are uniform where not both exceed `corner`; in
    the held-out environment "square" they are uniform on the whole square. Rows are
    paired: the same noise, unfolded from the L to the square.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows per environment.
    corner : float, default=0.5
        Where the corner begins that is held out, in (0, 1); the L has the area
        ``1 - (1 - corner) ** 2``.
    size : int, default=24
        Height and width of the images, at least 8. The balls' radius is ``size / 8``.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    Bunch
        As :mod:`sklearn_icm.datasets` says, with ``data`` (2 * n_samples, size ** 2) in
        [0, 1]; ``data_shape`` (size, size); ``factors`` ``left`` and ``right``, the
        heights in "observational", each (n_samples,), and ``square_factors`` those in
        "square"; ``noise`` (n_samples, 2); ``render(corner)``, which draws the same
        noise on the L with another corner, where 1 is the whole square.

    Raises
    ------
    ValueError, TypeError
        For parameters outside their range.

    Notes
    -----
    Nodes: ``noise -> factors -> balls -> data``, where ``balls`` has one map per ball
    and ``data`` is their sum: an additive decoder. Balls do not overlap.

    The world is made after that of Lachapelle, Mahajan, Mitliagkas, Lacoste-Julien
    (2023), *Additive decoders for latent variables identification and
    Cartesian-product extrapolation*, arXiv 2307.02598.

    Examples
    --------
    >>> balls = make_two_balls(10, random_state=0)
    >>> balls.data.shape, balls.mechanisms.nodes["balls"]
    ((20, 576), (2, 24, 24))
    """
    corner = check_number("corner", corner, 0, 1)
    check_scalar(size, "size", Integral, min_val=8)
    noise = draw_noise(n_samples, 2, random_state)
    graph = MechanismGraph(
        {"noise": (2,)},
        {
            "factors": ("noise", _Heights(corner)),
            "balls": ("factors", _Balls(size)),
            "data": ("balls", _Sum()),
        },
    )

    def render(corner=corner):
        heights = _Heights(check_number("corner", corner, 0, 1, "right"))
        balls = graph.mechanism("balls")
        return draw_rows(lambda e: balls(heights(e)).sum(1), noise)

    names = ("left", "right")
    unfold = partial(_between_supports, old=corner, new=1.0)
    return make_world(
        render,
        {"square": {"corner": 1.0}},
        noise=noise,
        data_shape=(size, size),
        factors=named_columns(_Heights(corner), names, noise),
        square_factors=named_columns(_Heights(1.0), names, noise),
        mechanisms=graph,
        interventions={"square": {"factors": unfold}},
        DESCR=make_two_balls.__doc__,
    )


class _Heights(nn.Module):
    """Noise to heights that are uniform on the L."""

    def __init__(self, corner):
        super().__init__()
        self.corner = corner

    def forward(self, noise):
        return _to_support(torch.special.ndtr(noise), self.corner)


class _Balls(nn.Module):
    """Heights (n, 2) to one map per ball; height 1 is at the top."""

    def __init__(self, size):
        super().__init__()
        self.size, self.radius = size, size / 8

    def forward(self, heights):
        lowest = self.size - 1 - self.radius
        y = lowest + (self.radius - lowest) * heights
        grid = torch.arange(self.size).to(heights)
        x = constant((self.size - 1) * np.array([0.25, 0.75]), heights)
        across = (grid - x[:, None]).square()
        down = (grid - y[..., None]).square()
        distance = (down[..., :, None] + across[..., None, :]).sqrt()
        return torch.sigmoid((self.radius - distance) / EDGE)


class _Sum(nn.Module):
    def forward(self, maps):
        return maps.sum(1, keepdim=True)


def _to_support(uniform, corner):
    """Rosenblatt's map of the unit square onto the L, which keeps uniformity."""
    first, second = uniform.unbind(1)
    area = 1 - (1 - corner) ** 2
    mass = area * first
    low = mass < corner
    x = torch.where(low, mass, corner + (mass - corner) / corner)
    return torch.stack([x, torch.where(low, second, corner * second)], 1)


def _from_support(heights, corner):
    """Inverse of `_to_support`."""
    x, y = heights.unbind(1)
    low = x < corner
    mass = torch.where(low, x, corner + (x - corner) * corner)
    return torch.stack(
        [mass / (1 - (1 - corner) ** 2), torch.where(low, y, y / corner)], 1
    )


def _between_supports(heights, old, new):
    return _to_support(_from_support(heights, old), new)
