"""Mixtures of a few normal densities whose weights, means and scales have parents.

The noise behind a value is its quantile in the mixture, as a standard normal number: a
row keeps its place in the order when its parents change. Noise could as well pick a
component, drawn for each row by its responsibilities, and keep that and the place in
it. But likelihood tells densities and hardly which component is which where branches
cross, and two that share a mode move rows about for nothing. Squared errors of what-ifs
over the variance of the truth, rows of two worlds of two branches each, three branches
and one, five seeds: quantiles .36, .31, .06, .01, components .55, .38, .09, .14. (With
the true density .26, .28, .01, 0 and .16, .39, .01, 0: only in the first, whose
branches cross, would components be ahead.) Quantiles need no draw besides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus
from torch.special import log_ndtr

from ..columns._mechanisms import ColumnBank, NumericColumn

N_COMPONENTS = 3
N_HEADS = 3 * N_COMPONENTS
# In deviations of the column: a narrower one would be the density of a few rows.
LEAST_DEVIATION = 0.02
# A wide component, so that no place between others is without density: all values there
# would have one quantile.
WIDE_WEIGHT, WIDE = 1e-3, 2.0
# Where components start, and how wide: apart, so that each finds rows of its own.
STARTS, START_HEAD = (-1.0, 0.0, 1.0), -0.5
# Halvings of the interval that holds a quantile, down to the precision of float32, and
# of steps that find a normal number for the logarithm of its probability.
N_HALVINGS, N_STEPS = 48, 12
# Farthest normal number.
MOST_NOISE = 1e3


class MixtureBank(ColumnBank):
    """Heads of the mixtures of some columns at once."""

    def __init__(self, columns: Sequence[int], reads: Tensor, n_units: int) -> None:
        super().__init__(columns, reads, n_units, [N_HEADS] * len(columns))
        start = [*[0.0] * N_COMPONENTS, *STARTS, *[START_HEAD] * N_COMPONENTS]
        with torch.no_grad():
            self.bias.copy_(torch.tensor(start * len(columns)))


class MixtureColumn(NumericColumn):
    """The quantile of a mixture, given noise as a normal number."""

    # It is inverted by bisection.
    own_noise = None

    def _start(self) -> Sequence[float]:
        return (0.0,) * N_HEADS

    def _mixture(self, parents: Sequence[Tensor], like: Tensor) -> Mixture:
        return Mixture(self.function(self.inputs(parents, like)))

    def forward(self, *values: Tensor) -> Tensor:
        *parents, noise = values
        own = noise[:, self.index, None].clamp(-MOST_NOISE, MOST_NOISE)
        return self.reader.value(self._mixture(parents, noise).quantile(own))

    def explain(
        self, value: Tensor, parents: Sequence[Tensor], place: Tensor | None = None
    ) -> tuple:
        """Noise behind a value, and the log of d noise / d value; each (n, 1)."""
        mixture, read = self._mixture(parents, value), self.reader(value)
        noise = mixture.noise(read)
        normal = -0.5 * (noise.square() + math.log(2 * math.pi))
        slope = mixture.log_density(read) - normal - self.reader.units.scale.log()
        return noise, slope


class Mixture:
    """Mixtures for heads, (..., 3 * n_components), of values, (..., 1)."""

    def __init__(self, heads: Tensor) -> None:
        logits, means, scales = heads.split(N_COMPONENTS, -1)
        log_weights = logits.log_softmax(-1) + math.log1p(-WIDE_WEIGHT)
        self.log_weights = pad(log_weights, (0, 1), value=math.log(WIDE_WEIGHT))
        self.means = pad(means, (0, 1))
        self.scales = pad(softplus(scales) + LEAST_DEVIATION, (0, 1), value=WIDE)

    def log_density(self, value: Tensor) -> Tensor:
        distance = ((value - self.means) / self.scales).square()
        parts = self.log_weights - self.scales.log() - 0.5 * distance
        return parts.logsumexp(-1, keepdim=True) - 0.5 * math.log(2 * math.pi)

    def _log_below(self, value: Tensor, side: Tensor | float) -> Tensor:
        """Log probability of less than a value, or of more where the side is -1."""
        parts = log_ndtr(side * (value - self.means) / self.scales)
        return (self.log_weights + parts).logsumexp(-1, keepdim=True)

    def noise(self, value: Tensor) -> Tensor:
        """Normal numbers of the same probability."""
        below, above = (self._log_below(value, side) for side in (1.0, -1.0))
        side = torch.where(below < above, 1.0, -1.0).to(value)
        return side * _normal_of(torch.minimum(below, above))

    def quantile(self, noise: Tensor) -> Tensor:
        """Values of the same probability as normal numbers."""
        side = torch.where(noise < 0, 1.0, -1.0).to(noise)
        wanted = log_ndtr(side * noise)
        # It lies among those of the components.
        each = self.means + self.scales * noise
        low, high = each.amin(-1, keepdim=True), each.amax(-1, keepdim=True)
        for _ in range(N_HALVINGS):
            middle = 0.5 * (low + high)
            is_low = (self._log_below(middle, side) < wanted) == (side > 0)
            low, high = (
                torch.where(is_low, middle, low),
                torch.where(is_low, high, middle),
            )
        return 0.5 * (low + high)


def losses(heads: Tensor, targets: Tensor, widths: Sequence[int]) -> Tensor:
    """Negative log density of columns, (..., n, 1, n_columns), for all their heads."""
    mixture = Mixture(heads.unflatten(-1, (-1, N_HEADS)))
    return -mixture.log_density(targets[..., None, :, None])[..., 0]


def _normal_of(log_chance: Tensor) -> Tensor:
    """Normal numbers below which there are probabilities of at most a half."""
    # Newton's steps on a concave function do not pass the root twice.
    number = -(-2 * log_chance).sqrt()
    for _ in range(N_STEPS):
        below = log_ndtr(number)
        log_slope = -0.5 * (number.square() + math.log(2 * math.pi)) - below
        # Far out the slope is the distance, and the difference rounding.
        slope = torch.where(number < -10, -number, log_slope.exp())
        number = number - (below - log_chance) / slope
    return number.clamp(-MOST_NOISE, 0)
