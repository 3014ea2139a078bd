"""Are values among those that a mechanism was fitted to?"""

from collections import Counter

import numpy as np
from sklearn.neighbors import NearestNeighbors

from .rows import RESOLUTION
from .units import column_units

__all__ = ["MOST_FITTED", "support_distances"]

# Fitted rows that others are compared with.
MOST_FITTED = 1000
# Share of the fitted rows that are outside of the support of the others.
OUTSIDE = 0.01
N_NEIGHBOURS = 5


def support_distances(fitted, given, n_levels):
    """Distance of joint values to the fitted ones, and how far these are apart.

    Parameters
    ----------
    fitted, given : list of ndarray of shape (n_samples, ...)
        Values of some nodes, such as the parents of one, each with as many rows.
    n_levels : list of int
        Number of levels of each node whose values are codes; 0 of numbers.

    Returns
    -------
    distances : ndarray of shape (n_given,)
        Mean Euclidean distance to the 5 nearest fitted rows. The unit of a node is its
        standard deviation, clipped as in `column_units` (of many entries, the root of
        their mean variance); levels are 1 apart. Infinite where a node was constant,
        and is not; and for a combination of levels that no fitted row has, where at
        most 1 % of them are the only ones with theirs.
    limit : float
        Of the fitted rows 1 % are farther than it from the other ones. What is farther
        is outside of their support; all is, where fewer than two rows are known.

    References
    ----------
    Angiulli, Pizzuti (2002), *Fast outlier detection in high dimensional spaces*
    (distances to k neighbours). Laxhammar, Falkman (2011), *Sequential conformal
    anomaly detection in trajectories* (their quantile as the limit).

    Examples
    --------
    >>> known, new = np.arange(100.0)[:, None], np.array([[50.0], [200.0]])
    >>> distances, limit = support_distances([known], [new], [0])
    >>> (distances > limit).tolist()
    [False, True]
    """
    n_neighbours = min(N_NEIGHBOURS, len(fitted[0]) - 1)
    if n_neighbours < 1:
        return np.full(len(given[0]), np.inf), 0.0
    left, parts, rounding = _is_new(fitted, given, n_levels), [], RESOLUTION
    for known, new, n in zip(fitted, given, n_levels, strict=True):
        if n:
            levels = np.sqrt(0.5) * np.eye(n)
            parts.append([levels[rows[:, 0].astype(int)] for rows in (known, new)])
            continue
        known, new = (v.reshape(len(v), -1).astype(np.float64) for v in (known, new))
        unit = np.sqrt(np.mean(np.square(column_units(known))))
        resolution = RESOLUTION * np.abs(known).max()
        if unit == 0:
            left |= (np.abs(new - known[0]) > resolution).any(1)
            unit = np.inf
        # Equal values of a few may differ by it, and be no distance apart.
        rounding = max(rounding, resolution / unit)
        parts.append([(rows - known[0]) / unit for rows in (known, new)])
    known, new = map(np.hstack, zip(*parts, strict=True))
    neighbours = NearestNeighbors(n_neighbors=n_neighbours).fit(known)
    usual, distances = (neighbours.kneighbors(rows)[0].mean(1) for rows in (None, new))
    limit = np.quantile(usual, 1 - OUTSIDE, method="higher") + rounding
    return np.where(left, np.inf, distances), limit


def _is_new(fitted, given, n_levels):
    """Which rows have a combination of levels that is new, where that says something.

    What share of new rows has one, the fitted rows tell that are the only ones of
    theirs (Good, 1953).
    """
    which = np.flatnonzero(n_levels)
    known, new = (
        list(zip(*(side[k][:, 0].astype(int).tolist() for k in which), strict=True))
        for side in (fitted, given)
    )
    counts = Counter(known)
    if not known or sum(n == 1 for n in counts.values()) > OUTSIDE * len(known):
        return np.zeros(len(given[0]), bool)
    return np.array([levels not in counts for levels in new])
