"""Distributions of the noise behind rows: of latents, and of the columns of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from ..utils.streams import Streams

# Standard errors by which what is richer must be better on left-out rows.
CLEARLY = 2.0
# Nats that a row may count for or against it, so that no few rows in a tail decide.
MOST_GAIN = 3.0
# Blocks that residuals may be cut into. One is a normal density.
N_BLOCKS = (1, 2, 4, 8, 16, 32, 64)
LEAST_BLOCK = 5
N_PARTS = 4
MOST_CHOOSING = 1024
# Columns whose densities are compared at once, which bounds the memory.
MOST_COLUMNS = 16
# Of the deviation of all, where a density needs one: a value may be a block.
LEAST_WIDTH = 1e-3
SLACK = 1e-4


class MixtureNoise(nn.Module):
    """Mixture of Gaussians; a standard normal until `set` gives it components."""

    sized_by_fit = ("weights", "means", "factors")

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(1))
        self.register_buffer("means", torch.zeros(1, n_latents))
        self.register_buffer("factors", torch.eye(n_latents)[None])

    def set(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Replace the components: (k,), (k, d) and (k, d, d) float64 tensors."""
        self.weights = weights.to(self.weights)
        self.means = means.to(self.means)
        self.factors = torch.linalg.cholesky(covariances).to(self.factors)

    def draw(self, n: int, streams: Streams) -> Tensor:
        """Draw n rows; random numbers are drawn on the CPU."""
        n_latents = self.means.shape[1]
        components = streams.torch("components")
        which = torch.multinomial(
            self.weights.cpu(), n, replacement=True, generator=components
        ).to(self.weights.device)
        latents = streams.torch("latents")
        normal = torch.randn(n, n_latents, generator=latents).to(self.means)
        spread = torch.einsum("nij,nj->ni", self.factors[which], normal)
        return self.means[which] + spread

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row, shape (n,)."""
        mixture = MixtureSameFamily(
            Categorical(self.weights, validate_args=False),
            MultivariateNormal(
                self.means, scale_tril=self.factors, validate_args=False
            ),
            validate_args=False,
        )
        return mixture.log_prob(z)


class KernelNoise(nn.Module):
    """Independent columns of noise, each a mixture of kernels for its residuals.

    The residuals in their order are cut into blocks of equal size, twice, the second
    time half a block further; every block is a normal density with its mean and
    variance. So the mixture has those of all residuals, is narrow where they are close
    (as at an edge) and wide in a tail. A value that would fill a block is one. Each
    residual weighs as much as the scale that it is multiplied by in its row, so that
    draws have the mean that the mechanism says.
    """

    sized_by_fit = ("points", "width", "share")

    def __init__(self, n_columns: int) -> None:
        super().__init__()
        self.register_buffer("points", torch.zeros(1, n_columns))
        self.register_buffer("width", torch.ones(1, n_columns))
        self.register_buffer("share", torch.ones(1, n_columns))
        self.register_buffer("n_blocks", torch.ones(n_columns, dtype=torch.long))
        # With one option, every column is normal, whatever its residuals are.
        self.options = N_BLOCKS

    @property
    def n_columns(self) -> int:
        """Number of noise variables."""
        return len(self.n_blocks)

    @property
    def varies(self) -> Tensor:
        """Which columns are not constant."""
        return (self.width > 0).any(0) | (self.points != self.points[:1]).any(0)

    def set(self, residuals: Sequence[Tensor], *, choose: bool) -> None:
        """Take the residuals of every column, (n, 2) with the weight of each.

        Of fewer than two it is standard normal. How many blocks they are cut into is
        chosen, or left as it was.
        """
        parts = [_STANDARD.to(self.points)] * len(residuals)
        for places in _of_one_size(residuals):
            own = _sorted(torch.stack([residuals[k] for k in places]))
            where = torch.tensor(places, device=own.device)
            if choose:
                self.n_blocks[where] = chosen_blocks(own, self.options)
            for k, part in zip(
                places, mixtures(own, self.n_blocks[where]), strict=True
            ):
                parts[k] = part[part[:, 2] > 0]
        self.points, self.width, self.share = pad_sequence(parts).unbind(2)

    def draw(self, n: int, streams: Streams) -> Tensor:
        """Draw n rows; random numbers are drawn on the CPU."""
        shape = (n, self.n_columns)
        components, latents = map(streams.torch, ("components", "latents"))
        chance = torch.rand(shape, generator=components).to(self.points)
        normal = torch.randn(shape, generator=latents).to(self.points)
        below = self.share.cumsum(0)[:-1].T.contiguous()
        rows = torch.searchsorted(below, chance.T.contiguous(), right=True).T
        return self.points.gather(0, rows) + self.width.gather(0, rows) * normal

    def log_prob(self, noise: Tensor) -> Tensor:
        """Log density of each row, (n,)."""
        return self.log_probs(noise).sum(1)

    def log_probs(self, noise: Tensor) -> Tensor:
        """Log density of each entry, (n, n_columns); 0 where nothing varies."""
        densities = []
        for k, value in enumerate(noise.T):
            own = self.share[:, k] > 0
            part = torch.stack([self.points, self.width, self.share], 2)[own, k]
            densities.append(log_density(value, part))
        return torch.stack(densities, 1)


_STANDARD = torch.tensor([[0.0, 1.0, 1.0]])


def mixtures(rows: Tensor, n_blocks: Tensor) -> Tensor:
    """Mean, deviation and share of blocks of sorted residuals with weights.

    Of several columns at once: (n_columns, n, 2), cut into as many blocks as are given
    for each, become (n_columns, k, 3), in which some shares are 0.
    """
    ordered, weight = rows.unbind(2)
    weight = weight / weight.sum(1, keepdim=True)
    wanted, is_normal = n_blocks[:, None], n_blocks == 1
    middle = weight.cumsum(1) - 0.5 * weight
    is_new = ordered.diff(dim=1) > 0
    run = pad(is_new.cumsum(1), (1, 0))
    fills = _sums(weight, run).gather(1, run) * wanted >= 1 - SLACK
    is_new &= (wanted > 1) & (fills[:, 1:] | fills[:, :-1])
    parts = []
    for shift in (0.0, 0.5):
        block = (middle * wanted + shift * (wanted > 1)).long()
        block = pad(((block.diff(dim=1) > 0) | is_new).cumsum(1), (1, 0))
        count, share = _sums(torch.ones_like(weight), block), _sums(weight, block)
        share = share.clamp(min=torch.finfo(share.dtype).tiny)
        # From the first value on, so that the mean of equal values is exact.
        start = (count.cumsum(1) - count).long().clamp(max=rows.shape[1] - 1)
        first = ordered.gather(1, start)
        mean = first + _sums(weight * (ordered - first.gather(1, block)), block) / share
        left = (ordered - mean.gather(1, block)).square()
        deviation = (_sums(weight * left, block) / share).sqrt()
        part = torch.stack([mean, deviation, 0.5 * share * (count > 0)], 2)
        parts.append(part)
    # A normal density is one block, and unbiased.
    unbiased = math.sqrt(rows.shape[1] / (rows.shape[1] - 1))
    one = torch.stack([torch.ones(()), torch.tensor(unbiased), torch.tensor(2.0)])
    parts[0] = torch.where(is_normal[:, None, None], parts[0] * one.to(rows), parts[0])
    parts[1][:, :, 2] *= ~is_normal[:, None]
    return torch.cat(parts, 1)


def _sums(values: Tensor, place: Tensor) -> Tensor:
    """Sums of the values at each place, (n_columns, n) -> (n_columns, n_places)."""
    n_places = int(place.max()) + 1
    return values.new_zeros(len(values), n_places).scatter_add_(1, place, values)


def _sorted(rows: Tensor) -> Tensor:
    """Rows of every column, (n_columns, n, 2), by the first entry."""
    order = rows[:, :, :1].argsort(1)
    return rows.gather(1, order.expand_as(rows))


def _of_one_size(residuals: Sequence[Tensor]) -> Iterator[list[int]]:
    """Columns with as many residuals, at least two, a few at a time."""
    sizes = [len(own) for own in residuals]
    for size in sorted({size for size in sizes if size > 1}):
        places = [k for k, own in enumerate(sizes) if own == size]
        for start in range(0, len(places), MOST_COLUMNS):
            yield places[start : start + MOST_COLUMNS]


def log_density(value: Tensor, part: Tensor) -> Tensor:
    """Log density of mixtures, (..., k, 3), at values, (..., n); 0 of constant ones."""
    points, width, share = part.unbind(-1)
    mean = (share * points).sum(-1, keepdim=True)
    squares = width.square() + (points - mean).square()
    variance = (share * squares).sum(-1, keepdim=True)
    varies = variance > 0
    width = width.maximum(LEAST_WIDTH * variance.sqrt()).where(varies, 1.0)
    distance = (value[..., None] - points[..., None, :]) / width[..., None, :]
    parts = -0.5 * distance.square() + (share / width).log()[..., None, :]
    density = parts.logsumexp(-1) - 0.5 * math.log(2 * math.pi)
    return density.where(varies, 0.0)


def chosen_blocks(residuals: Tensor, options: Sequence[int] = N_BLOCKS) -> Tensor:
    """Blocks whose density at left-out residuals is best, (n_columns,).

    One if none is clearly better.
    """
    n_columns, n_rows, _ = residuals.shape
    kept = torch.ones(n_columns, dtype=torch.long, device=residuals.device)
    options = [own for own in options if own <= n_rows // (2 * LEAST_BLOCK)]
    if len(options) < 2:
        return kept
    fixed = torch.Generator().manual_seed(0)
    order = torch.randperm(n_rows, generator=fixed)[:MOST_CHOOSING]
    # Parts of one size.
    order = order[: len(order) // N_PARTS * N_PARTS].to(residuals.device)
    own = residuals[:, order].unflatten(1, (N_PARTS, -1))
    rest = [own[:, torch.arange(N_PARTS) != k].flatten(1, 2) for k in range(N_PARTS)]
    rest = _sorted(torch.stack(rest, 1).flatten(0, 1))
    values, best = own[..., 0].flatten(0, 1), None
    for n_blocks in options:
        cut = mixtures(rest, torch.full((len(rest),), n_blocks).to(kept))
        density = log_density(values, cut).view(n_columns, -1)
        if best is None:
            best = density
            continue
        gain = clipped(density - best)
        # Where it is not normal, there is nothing simple left to hold on to.
        better = are_clear(gain) | ((kept > 1) & (gain.mean(1) > 0))
        kept = torch.where(better, n_blocks, kept)
        best = torch.where(better[:, None], density, best)
    return kept


def are_clear(gains: Tensor, by: float = CLEARLY) -> Tensor:
    """Which means of gains, (..., n), are above zero by some standard errors."""
    error = gains.std(-1) / math.sqrt(gains.shape[-1])
    return gains.mean(-1) > by * error


def is_clear(gain: Tensor, by: float = CLEARLY) -> bool:
    """Whether the mean of some gains is above what chance would give."""
    return len(gain) > 1 and bool(are_clear(gain, by))


def clipped(gain: Tensor) -> Tensor:
    """Gains in nats of which none counts for much."""
    return gain.clamp(-MOST_GAIN, MOST_GAIN)
