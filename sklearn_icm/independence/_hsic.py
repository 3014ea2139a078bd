"""Independence of two samples, by the Hilbert-Schmidt independence criterion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from ..rows._batches import Batch
from ._common import PairMeasure
from ._pairs import Measure, MechanismPair

Array = TypeVar("Array", np.ndarray, Tensor)

# Rows that span a kernel, and the least of its eigenvalues, of the largest, that count.
N_LANDMARKS, LEAST_PART = 64, 1e-5
# Part of a value that is rounding in float32.
TIE = 1e-5
# Frequencies of a batch's kernels: of one noise, and of all that it is compared with.
N_OWN, N_OTHERS = 6, 8
# Variance of noise, in units of its column, that is rounding.
LEAST_NOISE = 1e-10
# A self-dependence below it is none; its root is a number in float32.
LEAST_NORM = 1e-24


def dependence(one: Array, other: Array) -> Array:
    """HSIC over the root of both self-dependences, of (..., n, n_features); 0 to 1.

    Features are centred, and their products are the kernels of the two samples.
    """
    norm = _norm(one, other)
    return _overlap(one, other) / norm


def _norm(one: Array, other: Array) -> Array:
    norm = (_overlap(one, one) * _overlap(other, other)).clip(LEAST_NORM)
    return norm**0.5


def _overlap(one: Array, other: Array) -> Array:
    return ((one.swapaxes(-2, -1) @ other) ** 2).sum((-2, -1))


@dataclass(frozen=True)
class NoiseMeasure(Measure):
    """Dependence of a mechanism's noise and other values of the same rows.

    Gaussian kernels with the median distance as bandwidth, columns standardised, of
    low rank (Nyström), so that time and memory are linear in the rows. The value is
    that of `dependence`; NaN where a sample is constant. Null draws permute the rows.
    Gretton, Fukumizu, Teo, Song, Schölkopf, Smola (2008), *A kernel statistical test of
    independence*, NIPS. Zhang, Filippi, Gretton, Sejdinovic (2018), *Large-scale kernel
    methods for independence testing*, arXiv 1606.07892.

    Landmarks and permutations come from ``rng``.
    """

    rng: np.random.RandomState
    name = "noise"

    def applies(self, pair: MechanismPair) -> bool:
        return pair.noise is not None

    def ratio(self, pair: MechanismPair) -> Tensor:
        return self.measured(pair, 0).rho

    def null_draws(
        self, pair: MechanismPair, n_draws: int, generator: torch.Generator
    ) -> Tensor:
        return self.measured(pair, n_draws).draws

    def measured(
        self, pair: MechanismPair, n_draws: int, generator: object = None
    ) -> PairMeasure:
        samples = (pair.noise.numpy(), pair.values.numpy())
        one, other = (_features(sample, self.rng) for sample in samples)
        if not (one.any() and other.any()):
            return PairMeasure(torch.tensor(torch.nan))
        rho, norm = torch.tensor(dependence(one, other)), _norm(one, other)
        if not n_draws:
            return PairMeasure(rho)
        # Permuting the narrower one is cheaper.
        one, other = sorted((one, other), key=np.size)
        orders = (self.rng.permutation(len(one)) for _ in range(n_draws))
        draws = [_overlap(one[order], other) / norm for order in orders]
        return PairMeasure(rho, draws=torch.tensor(np.array(draws)))


def p_value_of_dependence(found: PairMeasure) -> float:
    """Share of draws that reach the value, where those tie that differ by rounding."""
    if found.draws is None:
        return np.nan
    n_reached = int((found.draws >= found.rho.mean() * (1 - TIE)).sum())
    return (1 + n_reached) / (1 + len(found.draws))


def _features(sample: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Centred features of rows, whose products are kernels; none of constant rows."""
    spread = sample.std(0)
    sample = sample[:, spread > 0] / spread[spread > 0]
    places = rng.permutation(len(sample))[:N_LANDMARKS]
    squared = cdist(sample, sample[places], "sqeuclidean")
    if not squared.any():
        return np.empty((len(sample), 0), np.float32)
    kernel = np.exp(-squared / np.median(squared[squared > 0]))
    sizes, axes = np.linalg.eigh(kernel[places])
    kept = sizes > LEAST_PART * sizes[-1]
    features = kernel @ (axes[:, kept] / np.sqrt(sizes[kept]))
    # Comparing needs few digits, and is twice as fast with them.
    return (features - features.mean(0)).astype(np.float32)


def batch_dependences(
    noise: Tensor, values: Tensor, reads: Tensor, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Dependence of each noise on what its mechanism reads, and on all other noise.

    The measure of `NoiseMeasure` for the rows of a batch, differentiable: its Gaussian
    kernels are products of random Fourier features, drawn anew (those of one noise are
    at fixed quantiles), and their bandwidth is the median of the squared distances of
    neighbouring rows, as a constant. Rahimi, Recht (2007), *Random features for
    large-scale kernel machines*, NIPS.

    Parameters
    ----------
    noise : Tensor of shape (n, n_columns)
        NaN where it is not known; these rows are left out.
    values : Tensor of shape (n, n_values)
    reads : Tensor of shape (n_columns, n_values)
        1 for values that a column's mechanism reads, else 0.
    batch : Batch
        Where random numbers are from, and what the rows weigh.

    Returns
    -------
    two Tensors of shape (n_columns,)
        0 where there is nothing to depend on.
    """
    known, n_columns = ~noise.isnan(), noise.shape[1]
    each = torch.eye(n_columns).to(noise)
    # First against what is read, in all rows that are known, then against other noise.
    rows = torch.cat([known, known.all(1, keepdim=True).expand_as(known)], 1)
    reads = torch.block_diag(reads.to(noise), 1 - each)
    noise = _standardised(noise, LEAST_NOISE)
    given = torch.cat([_standardised(values), noise], 1)
    # Rows are last, as that is how batched products are fast.
    frequency = _half_normal(N_OWN).to(noise) / _width(noise, each, known)[:, None]
    own = frequency[:, :, None] * noise.T[:, None]
    draw = batch.randn(len(reads), N_OTHERS, given.shape[1]).to(noise)
    width = _width(given, reads, rows)[:, None, None]
    frequency = draw * reads[:, None] / width
    seen = (frequency.flatten(0, 1) @ given.T).unflatten(0, draw.shape[:2])
    rows = rows.to(noise) if batch.weights is None else rows * batch.weights[:, None]
    weight = (rows / rows.sum(0).clip(LEAST_NORM)).T[:, None]
    found = [
        (waves - (weight * waves).sum(2, keepdim=True)) * weight.sqrt()
        for waves in (_waves(own).repeat(2, 1, 1), _waves(seen))
    ]
    return dependence(*(waves.mT for waves in found)).tensor_split(2)


def _standardised(values: Tensor, least: float = 0.0) -> Tensor:
    """Columns of zero mean and unit variance; 0 where they are constant, or unknown.

    Those that vary by less than `least`, squared, are constant.
    """
    known = ~values.isnan()
    values, n_known = values.nan_to_num(), known.sum(0).clip(1)
    centred = (values - values.sum(0) / n_known) * known
    variance = centred.square().sum(0) / n_known
    varies = variance > least
    return centred * varies / variance.where(varies, 1.0).sqrt()


@torch.no_grad()
def _width(values: Tensor, reads: Tensor, rows: Tensor) -> Tensor:
    """Width of each column's kernel, as the inverse deviation of its frequencies."""
    squared = (values - values.roll(1, 0)).square() @ reads.T
    counts = rows & rows.roll(1, 0) & (squared > 0)
    median = torch.where(counts, squared, torch.nan).nanmedian(0).values
    return (0.5 * median.nan_to_num(1.0)).sqrt()


def _half_normal(n: int) -> Tensor:
    """Quantiles of the size of normal numbers."""
    return torch.special.ndtri(0.5 + (torch.arange(n) + 0.5) / (2 * n))


def _waves(phase: Tensor) -> Tensor:
    """Features of (n_columns, n_frequencies, n) phases."""
    return torch.cat([phase.cos(), phase.sin()], 1)
