"""Distances between samples: numpy in, float out."""

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.utils import check_array

__all__ = ["energy_distance"]


def energy_distance(X_real, X_gen, *, biased=False, max_memory=64.0, random_state=None):
    r"""Energy distance between two samples.

    Parameters
    ----------
    X_real : array-like of shape (n, n_features)
    X_gen : array-like of shape (m, n_features)
    biased : bool
        The U-statistic (False) is 0 on average for equal distributions and may be
        negative; the V-statistic (True) is never negative. The U-statistic needs at
        least two rows of each.
    max_memory : float
        Largest block of pairwise distances, in MiB.
    random_state : ignored
        Here for the common signature of the distances: this one is deterministic.

    Returns
    -------
    float
        :math:`2 E|X - Y| - E|X - X'| - E|Y - Y'|`, in the unit of the features.

    References
    ----------
    Székely, Rizzo (2013), *Energy statistics: a class of statistics based on
    distances*, Journal of Statistical Planning and Inference 143.

    Examples
    --------
    >>> energy_distance([[0.0], [0.0]], [[3.0], [3.0]])
    6.0
    """
    X_real = check_array(X_real, dtype=np.float64, input_name="X_real")
    X_gen = check_array(X_gen, dtype=np.float64, input_name="X_gen")
    if X_real.shape[1] != X_gen.shape[1]:
        raise ValueError(
            "X_real and X_gen must have the same number of features, got "
            f"{X_real.shape[1]} and {X_gen.shape[1]}."
        )
    n, m = len(X_real), len(X_gen)
    if not biased and min(n, m) < 2:
        raise ValueError(
            "The unbiased energy distance needs at least 2 rows of each sample, got "
            f"{n} and {m}. Give more rows, or biased=True."
        )
    within_real = n * n if biased else n * (n - 1)
    within_gen = m * m if biased else m * (m - 1)
    return float(
        2 * _sum_of_distances(X_real, X_gen, max_memory) / (n * m)
        - _sum_of_distances(X_real, X_real, max_memory) / within_real
        - _sum_of_distances(X_gen, X_gen, max_memory) / within_gen
    )


def _sum_of_distances(A, B, max_memory):
    rows = max(1, int(max_memory * 2**20 / (8 * len(B))))
    blocks = (cdist(A[i : i + rows], B) for i in range(0, len(A), rows))
    return sum(block.sum() for block in blocks)
