"""Soft shapes in colours that one matrix mixes: the hair that turns fluorescent."""

from numbers import Integral

import numpy as np
import torch
from scipy.stats import special_ortho_group
from torch import nn

from ..mechanisms import MechanismGraph
from ..utils.checks import check_scalar, new_stream
from ._worlds import (
    UniformFactors,
    bumps,
    check_matrix,
    constant,
    draw_noise,
    draw_rows,
    fixed_layer,
    make_world,
    named_columns,
)

__all__ = ["make_fluohair"]

SIZE = (24, 24)
CENTRE = (SIZE[1] - 1) / 2
REACH = 6.0


def make_fluohair(n_samples=1000, *, n_cues=4, colours=None, random_state=None):
    """Colour images of a head, its hair and other cues, and the same in other colours.

    An image is the sum of soft maps, the cues, each in its colour. In the environment
    "recoloured" the matrix of the colours is rotated, so that colours appear which were
    never seen, and the shapes stay exactly as they were.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows per environment.
    n_cues : int, default=4
        The first is the head, the second the hair on top of it, the others lie round
        the head.
    colours : array-like of shape (3, n_cues), default=None
        Red, green and blue of each cue; None draws them uniformly from [0, 1].
    random_state : int, RandomState or None, default=None
        Of the colours, their rotation and the noise.

    Returns
    -------
    Bunch
        As :mod:`sklearn_icm.datasets` says, with ``data`` (2 * n_samples, 1728);
        ``data_shape`` (24, 24, 3); ``factors`` ``x0``, ``y0``, ``size0``, ``x1``, ...,
        the places and standard deviations of the cues in pixels, each (n_samples,);
        ``noise`` (n_samples, 3 * n_cues); ``colours`` and ``recoloured`` (3, n_cues),
        the two matrices; ``rotation`` (3, 3), which makes the second of the first;
        ``render(colours)``.

    Raises
    ------
    ValueError, TypeError
        For counts below 1, or colours that are not a finite matrix (3, n_cues).

    Notes
    -----
    Nodes: ``noise -> factors -> cues -> data``. The last mechanism is a 1 x 1
    convolution without bias whose weight is `colours`: to replace it by
    ``rotation @ colours`` is the intervention, and so is to rotate the channels of
    ``data``. Values are not clipped, so that colours stay linear: a sum of cues may
    exceed 1, and a rotated colour may be negative.

    The world is made after the FluoHair experiment of Besserve, Sun, Janzing,
    Schölkopf (2021), *A theory of independent mechanisms for extrapolation in
    generative models*, arXiv 2004.00184.

    Examples
    --------
    >>> hair = make_fluohair(10, random_state=0)
    >>> hair.data.shape, hair.mechanisms.nodes["cues"]
    ((20, 1728), (4, 24, 24))
    """
    check_scalar(n_cues, "n_cues", Integral, min_val=1)
    rng = new_stream(random_state)
    if colours is None:
        colours = rng.uniform(size=(3, n_cues))
    colours = check_matrix("colours", colours, (3, n_cues))
    rotation = special_ortho_group.rvs(3, random_state=rng)
    noise = draw_noise(n_samples, 3 * n_cues, rng)
    graph = _true_mechanisms(n_cues, colours)

    def render(colours=colours):
        mixing = check_matrix("colours", colours, (3, n_cues))
        factors, cues = (graph.mechanism(name) for name in ("factors", "cues"))
        return draw_rows(lambda e: _mixed(cues(factors(e)), mixing), noise)

    names = [f"{name}{k}" for k in range(n_cues) for name in ("x", "y", "size")]
    recoloured = rotation @ colours
    return make_world(
        render,
        {"recoloured": {"colours": recoloured}},
        noise=noise,
        data_shape=(*SIZE, 3),
        factors=named_columns(graph.mechanism("factors"), names, noise),
        mechanisms=graph,
        interventions={"recoloured": {"data": _Recolour(rotation)}},
        colours=colours,
        recoloured=recoloured,
        rotation=rotation,
        DESCR=make_fluohair.__doc__,
    )


def _true_mechanisms(n_cues, colours):
    mixing = fixed_layer(nn.Conv2d, colours, n_cues, 3, kernel_size=1)
    return MechanismGraph(
        {"noise": (3 * n_cues,)},
        {
            "factors": ("noise", UniformFactors(_ranges(n_cues))),
            "cues": ("factors", _Cues()),
            "data": ("cues", mixing),
        },
    )


def _ranges(n_cues):
    """Ranges of place and size of every cue: the head, then the others round it."""
    angles = 2 * np.pi * np.arange(n_cues - 1) / max(n_cues - 1, 1)
    places = [(CENTRE, CENTRE, 3.0)]
    places += [
        (CENTRE + REACH * np.sin(a), CENTRE - REACH * np.cos(a), 1.5) for a in angles
    ]
    return [
        around
        for x, y, size in places
        for around in ((x - 1.5, x + 1.5), (y - 1.5, y + 1.5), (0.7 * size, 1.3 * size))
    ]


class _Cues(nn.Module):
    """Factors (x, y, size per cue) to one map per cue."""

    def forward(self, factors):
        x, y, size = factors.unflatten(1, (-1, 3)).unbind(2)
        return bumps(x, y, size, size, SIZE)


class _Recolour:
    """Multiply the colour channels by a matrix."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, value):
        return torch.einsum("dc,nchw->ndhw", constant(self.matrix, value), value)


def _mixed(cues, colours):
    """Pixels (n, height * width, 3)."""
    return (constant(colours, cues) @ cues.flatten(2)).transpose(1, 2)
