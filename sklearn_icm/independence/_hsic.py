"""Independence of two samples, by the Hilbert-Schmidt independence criterion."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

# Rows that span a kernel, and the least of its eigenvalues, of the largest, that count.
N_LANDMARKS, LEAST_PART = 64, 1e-5
# Part of a value that is rounding in float32.
TIE = 1e-5


def hsic_test(
    first: np.ndarray, second: np.ndarray, n_draws: int, rng: np.random.RandomState
) -> tuple[float, float]:
    """Dependence of two samples of paired rows, and its permutation p-value.

    Gaussian kernels with the median distance as bandwidth, columns standardised, of
    low rank (Nyström), so that time and memory are linear in the rows. The value is
    between 0 and 1, HSIC over the root of both self-dependences; NaN where a sample is
    constant. Gretton, Fukumizu, Teo, Song, Schölkopf, Smola (2008), *A kernel
    statistical test of independence*, NIPS. Zhang, Filippi, Gretton, Sejdinovic (2018),
    *Large-scale kernel methods for independence testing*, arXiv 1606.07892.
    """
    one, other = (_features(sample, rng) for sample in (first, second))
    norm = np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)
    if not norm > 0:
        return np.nan, np.nan
    observed = np.square(one.T @ other).sum()
    if not n_draws:
        return float(observed / norm), np.nan
    # Permuting the narrower one is cheaper; orders that only rounding tells apart tie.
    one, other = sorted((one, other), key=np.size)
    n_reached, least = 0, observed * (1 - TIE)
    for _ in range(n_draws):
        permuted = one[rng.permutation(len(one))]
        n_reached += np.square(permuted.T @ other).sum() >= least
    return float(observed / norm), float((1 + n_reached) / (1 + n_draws))


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
