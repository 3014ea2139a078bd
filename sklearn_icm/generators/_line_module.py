"""Lines of columns: least squares from sums over all rows, in double precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Of the variance of standardised inputs: what rounding leaves of a lost direction.
LEAST_PART = 1e-10


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
