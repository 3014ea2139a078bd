"""Distributions of the noise behind rows: of latents, and of the columns of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
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
        parts = []
        for k, own in enumerate(residuals):
            if len(own) < 2:
                parts.append(_STANDARD.to(self.points))
                continue
            if choose:
                self.n_blocks[k] = chosen_blocks(own, self.options)
            parts.append(mixture(_sorted(own), int(self.n_blocks[k])))
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


def mixture(rows: Tensor, n_blocks: int) -> Tensor:
    """Mean, deviation and share of blocks of sorted residuals with weights, (-1, 3)."""
    ordered, weight = rows[:, 0], rows[:, 1] / rows[:, 1].sum()
    if n_blocks == 1:
        mean = ordered[0] + weight @ (ordered - ordered[0])
        unbiased = len(rows) / (len(rows) - 1)
        variance = weight @ (ordered - mean).square() * unbiased
        return torch.stack([mean, variance.sqrt(), torch.ones_like(mean)])[None]
    middle, parts = weight.cumsum(0) - 0.5 * weight, []
    run = ordered.unique_consecutive(return_inverse=True)[1]
    fills = _sums(weight, run)[run] * n_blocks >= 1 - SLACK
    new_value = (run.diff() > 0) & (fills[1:] | fills[:-1])
    for shift in (0.0, 0.5):
        block = (middle * n_blocks + shift).long()
        block[1:] = ((block.diff() > 0) | new_value).cumsum(0)
        block[0] = 0
        count, share = block.bincount(), _sums(weight, block)
        # From the first value on, so that the mean of equal values is exact.
        first = ordered[count.cumsum(0) - count]
        mean = first + _sums(weight * (ordered - first[block]), block) / share
        left = (ordered - mean[block]).square()
        deviation = (_sums(weight * left, block) / share).sqrt()
        parts.append(torch.stack([mean, deviation, 0.5 * share], 1))
    return torch.cat(parts)


def _sums(values: Tensor, block: Tensor) -> Tensor:
    n_blocks = int(block[-1]) + 1
    return torch.zeros(n_blocks).to(values).index_add_(0, block, values)


def _sorted(rows: Tensor) -> Tensor:
    return rows[rows[:, 0].argsort()]


def log_density(value: Tensor, part: Tensor) -> Tensor:
    """Log density of a mixture at some values; 0 if it is constant."""
    points, width, share = part.T
    variance = share @ (width.square() + (points - share @ points).square())
    if variance <= 0:
        return torch.zeros_like(value)
    width = width.clamp(min=LEAST_WIDTH * variance.sqrt())
    distance = (value[:, None] - points) / width
    parts = -0.5 * distance.square() + (share / width).log()
    return parts.logsumexp(1) - 0.5 * math.log(2 * math.pi)


def chosen_blocks(residuals: Tensor, options: Sequence[int] = N_BLOCKS) -> int:
    """Blocks whose density at left-out residuals is best; one if none is clearly."""
    most = len(residuals) // (2 * LEAST_BLOCK)
    options = [n_blocks for n_blocks in options if n_blocks <= most]
    if len(options) < 2:
        return 1
    fixed = torch.Generator().manual_seed(0)
    order = torch.randperm(len(residuals), generator=fixed)[:MOST_CHOOSING]
    parts = residuals[order.to(residuals.device)].tensor_split(N_PARTS)
    rest = [_sorted(torch.cat(parts[:k] + parts[k + 1 :])) for k in range(N_PARTS)]
    kept, best = 1, None
    for n_blocks in options:
        pairs = zip(parts, rest, strict=True)
        density = [log_density(own[:, 0], mixture(kin, n_blocks)) for own, kin in pairs]
        density = torch.cat(density)
        gain = 0.0 if best is None else clipped(density - best)
        # Where it is not normal, there is nothing simple left to hold on to.
        if best is None or is_clear(gain) or (kept > 1 and gain.mean() > 0):
            kept, best = n_blocks, density
    return kept


def is_clear(gain: Tensor) -> bool:
    """Whether the mean of some gains is above what chance would give."""
    if len(gain) < 2:
        return False
    return bool(gain.mean() > CLEARLY * gain.std() / math.sqrt(len(gain)))


def clipped(gain: Tensor) -> Tensor:
    """Gains in nats of which none counts for much."""
    return gain.clamp(-MOST_GAIN, MOST_GAIN)
