"""Lines of columns, from sums over all rows, and where networks are better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ....models._noise import clipped, is_clear
from ....utils.rows import is_rounding

# Of the variance of standardised inputs: what rounding leaves of a lost direction.
LEAST_PART = 1e-10


# Of the mean of a column: the least mean given the parents that noise is a factor of.
LEAST_MEAN = 0.1
ROUNDING = 1e-6


class Line(NamedTuple):
    """``bias + inputs @ weight``, and the variance that it does not explain."""

    bias: Tensor
    weight: Tensor
    variance: float

    def at(self, inputs: Tensor) -> Tensor:
        """Values of the line, (n,)."""
        return self.bias + inputs @ self.weight


def moments(inputs: Tensor, target: Tensor) -> Tensor:
    """Sums of products of 1, inputs and target over rows: all that a line needs."""
    rows = torch.cat([inputs, target[:, None]], 1).cpu().double()
    rows = functional.pad(rows, (1, 0), value=1.0)
    return rows.T @ rows


def least_squares(sums: Tensor) -> Line:
    """The line that fits best; of several ones, that of the smallest weights."""
    mean, covariance = _centred(sums)
    gram, scale = _standardised(covariance[:-1, :-1])
    cross = covariance[:-1, -1]
    inverse = torch.linalg.pinv(gram, rtol=LEAST_PART, hermitian=True)
    weight = inverse @ (cross / scale) / scale
    left = covariance[-1, -1] - weight @ cross
    return Line(mean[-1] - mean[:-1] @ weight, weight, max(float(left), 0.0))


def lost_directions(sums: Tensor, widths: Sequence[int]) -> list[int]:
    """Which of the parents, of some widths, earlier ones determine.

    That the indicators of a parent's levels add up to one is no loss.
    """
    gram, _ = _standardised(_centred(sums)[1][:-1, :-1])
    ends = [sum(widths[: k + 1]) for k in range(len(widths))]
    varying = [
        int((gram.diagonal()[end - width : end] > 0).sum())
        for end, width in zip(ends, widths, strict=True)
    ]
    least = [own - (own > 1) for own in varying]
    if _rank(gram) >= sum(least):
        return []
    ranks = [0, *(_rank(gram[:end, :end]) for end in ends)]
    return [k for k in range(len(ends)) if ranks[k + 1] - ranks[k] < least[k]]


def _rank(gram: Tensor) -> int:
    return int(torch.linalg.matrix_rank(gram, rtol=LEAST_PART, hermitian=True))


def _centred(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Means and covariances."""
    n = sums[0, 0].clamp(min=1)
    mean = sums[0, 1:] / n
    return mean, sums[1:, 1:] / n - mean.outer(mean)


def _standardised(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Correlations and deviations; 0 and 1 where rounding alone varies."""
    variance = covariance.diagonal()
    varies = variance > LEAST_PART
    scale = torch.where(varies, variance, 1.0).sqrt()
    return covariance / scale / scale[:, None] * varies * varies[:, None], scale


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
