"""Which kind of mechanism a column has, by errors at rows left out of training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..utils.rows import is_rounding

# Standard errors by which what is richer must be better on left-out rows.
CLEARLY = 2.0
# Nats that a row may count for or against it, so that no few rows in a tail decide.
MOST_GAIN = 3.0
# Of the mean of a column: the least mean given the parents that noise is a factor of.
LEAST_MEAN = 0.1
ROUNDING = 1e-6


def is_clear(gain: Tensor) -> bool:
    """Whether the mean of some gains is above what chance would give."""
    if len(gain) < 2:
        return False
    return bool(gain.mean() > CLEARLY * gain.std() / math.sqrt(len(gain)))


def clipped(gain: Tensor) -> Tensor:
    """Gains in nats of which none counts for much."""
    return gain.clamp(-MOST_GAIN, MOST_GAIN)


def is_bent(line: Tensor, network: Tensor, scale: Tensor | float = 1.0) -> bool:
    """Whether a network predicts clearly better than a line, given their errors.

    Better for most rows, in units of the scale of their noise (which may hide it in the
    sum of all), and not worse in the mean of them all: a mean is what both are to
    predict.
    """
    spread = _deviation(network / scale)
    gain = (line.square() - network.square()) / 2
    return is_clear(clipped(gain / (spread * scale).square())) and not is_clear(-gain)


def has_scale(rich: tuple[Tensor, Tensor], simple: tuple[Tensor, Tensor]) -> bool:
    """Whether errors with their scales are clearly denser than with simple ones.

    By Laplace densities, which few rows in a tail do not dominate.
    """
    densities = []
    for error, scale in (rich, simple):
        if is_rounding(_deviation(error), 1.0):
            return False
        size = error.abs() / scale
        densities.append(-size / size.mean() - (size.mean() * scale).log())
    return is_clear(clipped(densities[0] - densities[1]))


def choose_kind(
    kinds: tuple[str, ...],
    line: Tensor,
    network: Tensor,
    scale: Tensor,
    value: Tensor,
) -> tuple[str, bool, bool]:
    """Kind of a mechanism, the simplest that does; whether its mean is bent, and tied.

    The noise of a column that is never negative may be tied to its mean: it is then a
    factor, so that no draw is negative either.

    Parameters
    ----------
    kinds : tuple of str
        Those allowed, from simple to rich.
    line, network, scale, value : Tensor of shape (n,)
        Of rows left out of training: errors of a line and of a network, the relative
        scale of noise, and values, in units of their deviation; 0 is 0.
    """
    bent = kinds == ("additive",) or (
        kinds != ("linear",) and is_bent(line, network, scale)
    )
    kind = "additive" if bent and "additive" in kinds else kinds[0]
    if "location-scale" not in kinds:
        return kind, bent, False
    error = network if bent else line
    simple = error, torch.ones_like(scale)
    mean = (value - error).clamp(min=LEAST_MEAN * float(value.mean()))
    is_positive = bool((value > -ROUNDING).all()) and float(value.mean()) > 0
    tied = is_positive and has_scale((value - mean, mean), simple)
    free = has_scale((error, scale), (value - mean, mean) if tied else simple)
    return "location-scale" if tied or free else kind, bent, tied and not free


def _deviation(error: Tensor) -> Tensor:
    """Standard deviation of normal errors of the same mean size."""
    least = torch.finfo(error.dtype).tiny ** 0.5
    return (error.abs().mean() * math.sqrt(math.pi / 2)).clamp(min=least)
