"""Are the residuals of mechanisms independent, of their parents and of each other?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from ..independence import genericity_test, trace_ratio

__all__ = ["generic_row", "hsic_test", "residual_table"]


def residual_table(
    families: Mapping[str, tuple[int, np.ndarray]],
    noise: np.ndarray,
    n_draws: int,
    rng: np.random.RandomState,
) -> pd.DataFrame:
    """Dependence of each column's noise on its parents and on the others' noise.

    ``families`` maps a column to its position and the values of its parents.
    """
    found = []
    for name, (k, parents) in families.items():
        sides = {"parents": parents, "noise": np.delete(noise, k, 1)}
        for against, values in sides.items():
            if values.shape[1]:
                test = hsic_test(noise[:, [k]], values, n_draws, rng)
                found.append((name, against, *test))
    columns = ["mechanism", "against", "dependence", "p_value"]
    return pd.DataFrame(found, columns=columns)


def generic_row(
    name: str,
    values: np.ndarray,
    readings: np.ndarray,
    n_draws: int,
    rng: np.random.RandomState,
) -> dict:
    """How generic the effects of an unobserved node read it, under rotations.

    Parameters
    ----------
    name : str
    values : ndarray of shape (n_samples, n_dims)
        Of the node, whose covariance its own mechanism makes.
    readings : ndarray of shape (n_readings, n_dims)
        First weights of the mechanisms that read it.
    n_draws : int
    rng : RandomState
    """
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    scales, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(np.clip(scales, 0, None))
    rho, p_value = float(trace_ratio(readings, covariance)), np.nan
    if n_draws and values.shape[1] > 1:
        test = genericity_test(
            (root, readings), n_draws=n_draws, random_state=rng
        ).table
        p_value = float(test["p_value"].item())
    return {
        "mechanism": name,
        "against": "effects",
        "dependence": abs(np.log(rho)),
        "p_value": p_value,
    }


def hsic_test(
    first: np.ndarray, second: np.ndarray, n_draws: int, rng: np.random.RandomState
) -> tuple[float, float]:
    """Dependence of two samples of paired rows, and its permutation p-value.

    Gaussian kernels with the median distance as bandwidth, columns standardised. The
    value is between 0 and 1, HSIC over the root of both self-dependences. Gretton,
    Fukumizu, Teo, Song, Schölkopf, Smola (2008), *A kernel statistical test of
    independence*, NIPS; NaN where a sample is constant.
    """
    kernels = [_centred_kernel(sample) for sample in (first, second)]
    norm = np.prod([np.linalg.norm(kernel) for kernel in kernels])
    if not norm > 0:
        return np.nan, np.nan
    one, other = kernels
    value = float(np.sum(one * other) / norm)
    if not n_draws:
        return value, np.nan
    # Comparing needs fewer digits, and is twice as fast with them.
    one, other = one.astype(np.float32), other.astype(np.float32)
    observed, n_reached = np.vdot(one, other), 0
    for _ in range(n_draws):
        order = rng.permutation(len(one))
        n_reached += np.vdot(one, other[np.ix_(order, order)]) >= observed
    return value, float((1 + n_reached) / (1 + n_draws))


def _centred_kernel(sample: np.ndarray) -> np.ndarray:
    spread = sample.std(0)
    sample = sample[:, spread > 0] / spread[spread > 0]
    squared = cdist(sample, sample, "sqeuclidean")
    if not squared.any():
        return np.zeros_like(squared)
    kernel = np.exp(-squared / np.median(squared[squared > 0]))
    kernel -= kernel.mean(0)
    return kernel - kernel.mean(1, keepdims=True)
