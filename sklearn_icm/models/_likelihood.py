"""p(x | data node): how observed values scatter about the graph's output."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

UNITS_CHUNK = 8192


class Affine(nn.Module):
    """Fixed change of units: ``offset + scale * value``.

    It looks for its buffers where torch has them, which takes a fraction of the time of
    attributes: of one row that is much.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(*shape))
        self.register_buffer("scale", torch.ones(*shape))

    def forward(self, value: Tensor) -> Tensor:
        own = self._buffers
        return own["offset"] + own["scale"] * value

    def inverse(self, value: Tensor) -> Tensor:
        """Value in the units before the change."""
        own = self._buffers
        return (value - own["offset"]) / own["scale"]


class GaussianLikelihood(nn.Module):
    """Independent normal noise about the data node, its variance a function of it.

    All in standardised units. During training there is one common variance, the running
    mean of the squared residuals: with one per entry those that hardly vary would take
    over the loss. After it the variance depends on the mean, by straight lines between
    knots, as an entry varies little where it is at an end of its range.

    Parameters
    ----------
    node_shape : tuple of int
        Of the data node.
    """

    sized_by_fit = ("knots", "variances")
    FLOOR = 1e-6
    MOST_KNOTS, ENTRIES_PER_KNOT, LEAST_SHARE = 16, 300, 0.01
    # Fewer numbers of any kind may be two by chance.
    FEWEST_NUMBERS = 10
    RATE = 0.02
    ROUNDING = 1e-12
    RESOLUTION = 1e-5

    def __init__(self, node_shape: Sequence[int]) -> None:
        super().__init__()
        self.link = Affine(node_shape)
        # Of the columns of a table, if they have some: to speak of them.
        self.names: Sequence[str] | None = None
        self.register_buffer("variance", torch.ones(()))
        # Means and variances there, after training; of one knot it is everywhere.
        self.register_buffer("knots", torch.empty(0))
        self.register_buffer("variances", torch.empty(0))
        # The two values of entries that have no others; else equal.
        self.register_buffer("levels", torch.zeros(2, *node_shape))

    def set_units(self, x: Tensor) -> None:
        """Take offset and scale from data, see `moments`."""
        self.take_units(*self.moments(x))

    @staticmethod
    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation: per column of a table, else one of each."""
        mean = _mean(chunk.double() for chunk in _chunks(x))
        deviations = (chunk.double() - mean for chunk in _chunks(x))
        return mean, _mean(d.square() for d in deviations).sqrt()

    def take_units(self, offset: Tensor, scale: Tensor) -> None:
        """Take the mean and the standard deviation of data as units."""
        # A constant column keeps the unit 1; the mean of equal numbers is not exact.
        constant = scale <= self.ROUNDING * offset.abs()
        least = (self.RESOLUTION * offset.abs()).clamp(torch.finfo(torch.float32).tiny)
        blurred = ~constant & (scale < least)
        if bool(blurred.any()):
            column = int(blurred.flatten().int().argmax())
            size, centre = (float(v.flatten()[column]) for v in (scale, offset))
            named = self.names is not None and len(self.names) == scale.numel()
            name = repr(self.names[column]) if named else column
            raise ValueError(
                f"Column {name} of X varies by {size:.3g} about {centre:.3g}, which "
                "float32 cannot resolve. Subtract the mean, and give it in another "
                "unit (StandardScaler)."
            )
        scale = torch.where(constant, torch.ones_like(scale), scale)
        self.link.offset.copy_(offset.expand_as(self.link.offset))
        self.link.scale.copy_(scale.expand_as(self.link.scale))

    def check(self, x: Tensor) -> None:
        """Any finite data are possible."""

    def standardised(self, x: Tensor) -> Tensor:
        """Data in the units that the encoder reads."""
        return self.link.inverse(x)

    def log_prob(
        self, x: Tensor, mean: Tensor, variance: Tensor | None = None
    ) -> Tensor:
        """Log density of each row, shape (n,); of a given variance, or its own."""
        return self._log_densities(x, mean, variance).flatten(1).sum(1)

    def _log_densities(
        self, x: Tensor, mean: Tensor, variance: Tensor | None = None
    ) -> Tensor:
        if variance is None:
            variance = self.variance_at(mean).clamp(self.FLOOR)
        # Not log(scale^2): the square of a large unit overflows float32.
        constant = (2 * math.pi * variance).log() + 2 * self.link.scale.log()
        return -0.5 * (self.squared(x - mean) / variance + constant)

    @torch.no_grad()
    def fit_rest(
        self, x: Tensor, means: Tensor, squared: Tensor, *, renew: bool = False
    ) -> None:
        """Fit what training leaves: levels, and the variance.

        The latter to standardised means and squared residuals of entries.
        """
        self.find_levels(x, renew=renew)
        self.fit_variance(means, squared)

    @torch.no_grad()
    def find_levels(self, x: Tensor, *, renew: bool = False) -> None:
        """Find entries of two values: columns of a table, else all entries together.

        With ``renew`` those of earlier rows, if no other value came.
        """
        low, high = self.levels
        if not renew:
            ranges = [(c.amin(_shared(c)), c.amax(_shared(c))) for c in _chunks(x)]
            lows, highs = map(torch.stack, zip(*ranges, strict=True))
            low, high = lows.amin(0), highs.amax(0)
        known = (((c == low) | (c == high)).all(_shared(c)) for c in _chunks(x))
        two = torch.stack(list(known)).all(0)
        n_numbers = len(x) * self.levels[0].numel() // two.numel()
        two &= renew or n_numbers >= self.FEWEST_NUMBERS
        levels = torch.stack([v.expand_as(self.levels[0]) for v in (low, high)])
        self.levels.copy_(torch.where(two, levels, 0.0))

    def log_score(self, x: Tensor, mean: Tensor) -> Tensor:
        """Log density of each row, shape (n,); of entries of two values its mean.

        That is over a cell about the value that reaches half way to the other one: the
        density itself grows without bound as the variance falls.
        """
        gap = self.levels.diff(dim=0)[0]
        if not bool(gap.any()):
            return self.log_prob(x, mean)
        unit = self.link.scale * self.variance_at(mean).clamp(self.FLOOR).sqrt()
        inner, outer = (((x - mean).abs() + side * gap / 2) / unit for side in (-1, 1))
        most, rest = torch.special.log_ndtr(-inner), torch.special.log_ndtr(-outer)
        mass = most + (-torch.expm1(rest - most)).log()
        densities = self._log_densities(x, mean)
        return torch.where(gap > 0, mass - gap.log(), densities).flatten(1).sum(1)

    def squared(self, residual: Tensor) -> Tensor:
        """Squared residuals in standardised units."""
        return (residual / self.link.scale).square()

    def variance_at(self, mean: Tensor) -> Tensor:
        """Variance of entries with this mean, in standardised units."""
        if len(self.knots) < 2:
            return self.variances[0] if len(self.knots) else self.variance
        mean = self.standardised(mean).contiguous()
        right = torch.bucketize(mean.detach(), self.knots).clamp(1, len(self.knots) - 1)
        knot, gap = self.knots[right - 1], self.knots.diff()[right - 1]
        share = ((mean - knot) / gap.clamp(min=self.FLOOR)).clamp(0, 1)
        return torch.lerp(self.variances[right - 1], self.variances[right], share)

    @torch.no_grad()
    def tracked(self, x: Tensor, mean: Tensor, weights: Tensor | None = None) -> Tensor:
        """The common variance, moved towards that of a batch of rows."""
        own = self.squared(x - mean)
        if weights is not None:
            own = weights @ own.flatten(1) / weights.sum()
        return self.variance.lerp(own.mean(), self.RATE).clamp(min=self.FLOOR)

    def track(self, x: Tensor, mean: Tensor, weights: Tensor | None = None) -> None:
        """Take the variance that is `tracked`, and go by it alone."""
        self.knots, self.variances = self.knots[:0], self.variances[:0]
        self.variance.copy_(self.tracked(x, mean, weights))

    @torch.no_grad()
    def fit_variance(self, means: Tensor, squared: Tensor) -> None:
        """Fit the variance to entries' standardised means and squared residuals."""
        common = squared.mean().clamp(min=self.FLOOR)
        n_knots = min(self.MOST_KNOTS, len(means) // self.ENTRIES_PER_KNOT)
        # (Training goes on from the variance that it tracked.)
        self.knots, self.variances = torch.zeros_like(common)[None], common[None]
        if n_knots > 1:
            parts = means.argsort().tensor_split(n_knots)
            self.knots = torch.stack([means[part].mean() for part in parts])
            found = torch.stack([squared[part].mean() for part in parts])
            self.variances = found.maximum(self.LEAST_SHARE * common)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw what `observe` needs, on the CPU."""
        return torch.randn(n, *self.link.scale.shape, generator=generator)

    def observe(self, mean: Tensor, draw: Tensor) -> Tensor:
        """One draw of the data about each row's mean."""
        return mean + self.link.scale * self.variance_at(mean).sqrt() * draw

    def carry(self, mean: Tensor, rows: Tensor, factual: Tensor) -> Tensor:
        """Given rows where their mean was changed: what it leaves of them stays."""
        return carried(mean, rows, factual)


class ExactLikelihood(GaussianLikelihood):
    """The data node is the data: there is no observation noise.

    Whose mean a row has is a matter of float32, so that its density is a narrow one.

    Parameters
    ----------
    node_shape : tuple of int
        Of the data node.
    """

    ROUNDING_VARIANCE = 1e-6

    def __init__(self, node_shape: Sequence[int]) -> None:
        super().__init__(node_shape)
        self.variance.fill_(self.ROUNDING_VARIANCE)

    def observe(self, mean: Tensor, draw: Tensor) -> Tensor:
        return mean

    def carry(self, mean: Tensor, rows: Tensor, factual: Tensor) -> Tensor:
        # Nothing is left of a row; it has more digits than the mean where that is it.
        return torch.where(mean == factual, rows, mean)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.empty(n, 0)


class BernoulliLikelihood(nn.Module):
    """Independent Bernoulli entries whose probabilities are the data node.

    Parameters
    ----------
    node_shape : tuple of int
        Of the data node.
    """

    MARGIN = 1e-6

    def __init__(self, node_shape: Sequence[int]) -> None:
        super().__init__()
        self.node_shape = tuple(node_shape)
        self.link = nn.Sigmoid()

    def set_units(self, x: Tensor) -> None:
        """There are none; the data must be probabilities."""
        self.check(x)

    def check(self, x: Tensor) -> None:
        """Refuse data that are not probabilities."""
        ranges = [(float(c.min()), float(c.max())) for c in _chunks(x)]
        low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
        if low < 0 or high > 1:
            raise ValueError(
                "likelihood='bernoulli' needs values in [0, 1], got values from "
                f"{low:g} to {high:g}. Scale X (MinMaxScaler), or use "
                "likelihood='gaussian'."
            )

    def standardised(self, x: Tensor) -> Tensor:
        """Data in the units that the encoder reads."""
        return 2 * x - 1

    def log_prob(self, x: Tensor, mean: Tensor, variance: None = None) -> Tensor:
        """Log probability of each row, shape (n,)."""
        p = mean.clamp(self.MARGIN, 1 - self.MARGIN)
        return (x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)

    log_score = log_prob

    def squared(self, residual: Tensor) -> Tensor:
        """Squared residuals."""
        return residual.square()

    def tracked(self, x: Tensor, mean: Tensor, weights: Tensor | None = None) -> None:
        """The mean determines the variance."""

    def track(self, x: Tensor, mean: Tensor, weights: Tensor | None = None) -> None:
        """Nothing to fit."""

    def fit_rest(
        self, x: Tensor, means: Tensor, squared: Tensor, *, renew: bool = False
    ) -> None:
        """Nothing to fit: the mean determines the variance, and there are no levels."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw what `observe` needs, on the CPU."""
        return torch.rand(n, *self.node_shape, generator=generator)

    def observe(self, mean: Tensor, draw: Tensor) -> Tensor:
        """One draw of the data about each row's mean."""
        return (draw < mean).to(mean.dtype)

    def carry(self, mean: Tensor, rows: Tensor, factual: Tensor) -> Tensor:
        """Given rows where their probabilities were changed: the rest of them stays."""
        return carried(mean, rows, factual)


def carried(mean: Tensor, rows: Tensor, factual: Tensor) -> Tensor:
    """Rows plus the change of their means; the very rows where nothing changed."""
    return torch.where(mean == factual, rows, rows + (mean - factual))


def _chunks(x: Tensor) -> Iterable[Tensor]:
    """Rows in parts; data need only ``len`` and ``split``, and may stay in a file."""
    return x.split(UNITS_CHUNK)


def _shared(chunk: Tensor) -> int | tuple[int, ...]:
    """Dimensions that one unit is of: the rows of a table, else all."""
    return 0 if chunk.ndim == 2 else tuple(range(chunk.ndim))


def _mean(chunks: Iterable[Tensor]) -> Tensor:
    """Mean over the rows: per column of a table, else over all entries."""
    total, n_entries = 0.0, 0
    for chunk in chunks:
        total = total + chunk.sum(_shared(chunk))
        n_entries += len(chunk) if chunk.ndim == 2 else chunk.numel()
    return total / n_entries
