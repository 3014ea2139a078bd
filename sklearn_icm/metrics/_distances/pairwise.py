"""Distances between samples from all pairs of their rows: numpy in, float out."""

from functools import partial
from numbers import Real

import numpy as np
import torch

from .._inputs import check_samples, direction_stream
from .blocks import Blocks, row_blocks, sum_over_pairs

__all__ = ["energy_distance", "median_bandwidth", "mmd2", "square_root", "with_rate"]

# Rows whose pairs the median heuristic looks at.
MEDIAN_ROWS = 1000


def energy_distance(X_real, X_gen, *, biased=False, units=None):
    r"""Energy distance between two samples.

    Parameters
    ----------
    X_real : array-like of shape (n, n_features)
    X_gen : array-like of shape (m, n_features)
    biased : bool
        The U-statistic (False) is 0 on average for equal distributions and may be
        negative; the V-statistic (True) is never negative, up to rounding, and exactly
        0 for equal arrays. The U-statistic needs at least two rows of each.
    units : array-like of shape (n_features,), optional
        What the columns are divided by, such as :func:`column_units`; None leaves them.

    Returns
    -------
    float
        :math:`2 E|X - Y| - E|X - X'| - E|Y - Y'|`, in the unit of the features.

    Raises
    ------
    ValueError
        If the samples have different columns, too few rows, or values that are not
        finite.

    Notes
    -----
    Larger samples are compared in float32, centred and scaled first, in blocks of at
    most 64 MiB and summed in float64; pairs that are close for their distance from the
    centre are computed in float64. The mean distances are within about 1e-7, relative,
    of those in float64, and so is the value within 1e-7 of the mean distance. The order
    of the rows changes no more than that.

    References
    ----------
    Székely, Rizzo (2013), *Energy statistics: a class of statistics based on
    distances*, Journal of Statistical Planning and Inference 143.

    Examples
    --------
    >>> energy_distance([[0.0], [0.0]], [[3.0], [3.0]])
    6.0
    """
    X_real, X_gen = _check_pairs(
        X_real, X_gen, biased, "The unbiased energy distance", units
    )
    blocks = Blocks(X_real, X_gen)
    across, real, gen = _means(blocks, square_root, biased)
    return float((2 * across - real - gen) * blocks.unit)


def _check_pairs(X_real, X_gen, biased, needed_by, units):
    """Two samples with a pair of different rows each, unless equal ones count too."""
    smallest, advice = (1, "") if biased else (2, ", or biased=True")
    return check_samples(
        X_real,
        X_gen,
        smallest=smallest,
        needed_by=needed_by,
        advice=advice,
        units=units,
    )


def square_root(block):
    """Distances of a block of squares, in place."""
    return np.sqrt(block, out=block)


def _means(blocks, transform, biased, at_zero=0.0):
    """Mean across, and within each sample with (biased) or without the diagonal."""
    n, m = map(len, blocks.samples)
    across, *within = sum_over_pairs(blocks, transform, at_zero)
    pairs = (n * n, m * m) if biased else (n * (n - 1), m * (m - 1))
    diagonals = (n * at_zero, m * at_zero) if biased else (0, 0)
    parts = zip(within, diagonals, pairs, strict=True)
    return across / (n * m), *((s + diagonal) / k for s, diagonal, k in parts)


def mmd2(
    X_real,
    X_gen,
    *,
    bandwidth="median",
    biased=False,
    units=None,
    random_state=None,
):
    r"""Squared maximum mean discrepancy between two samples, with a Gaussian kernel.

    Parameters
    ----------
    X_real, X_gen, biased, units
        As :func:`energy_distance` takes them.
    bandwidth : "median" or float
        Standard deviation :math:`s` of the kernel :math:`\exp(-|x - y|^2 / (2 s^2))`,
        in the unit of the features. (The value of a mean of kernels is the mean of
        theirs.) "median" is the median of the distances between all pairs of two
        different rows of both samples together; of at most 1,000 rows drawn from them,
        if they have more. Where most rows coincide it is the median of the positive
        distances.
    random_state : int, RandomState or None
        Of the rows drawn for "median". None is a fixed stream.

    Returns
    -------
    float
        :math:`E k(X, X') + E k(Y, Y') - 2 E k(X, Y)`, without unit, at most 2.

    Raises
    ------
    ValueError
        If the samples have different columns, too few rows, or values that are not
        finite, or if `bandwidth` is not positive.

    Notes
    -----
    Larger samples are compared in float32, as :func:`energy_distance` describes. Rows
    are drawn from the pooled sample in an order that their values determine, so neither
    the order of the rows nor which sample is called real changes the bandwidth. Give a
    bandwidth to compare values between pairs of samples.

    References
    ----------
    Gretton, Borgwardt, Rasch, Schölkopf, Smola (2012), *A kernel two-sample test*,
    Journal of Machine Learning Research 13 (arXiv:0805.2368).

    Examples
    --------
    >>> round(mmd2([[0.0], [0.0]], [[3.0], [3.0]], bandwidth=1.0), 3)
    1.978
    """
    X_real, X_gen = _check_pairs(X_real, X_gen, biased, "The unbiased mmd2", units)
    blocks = Blocks(X_real, X_gen)
    if isinstance(bandwidth, str) and bandwidth == "median":
        bandwidth = _median_distance(blocks, random_state)
    elif not isinstance(bandwidth, Real) or not 0 < bandwidth < np.inf:
        raise ValueError(
            f"bandwidth must be 'median' or a positive number, got {bandwidth!r}."
        )
    blocks, rate = with_rate(blocks, bandwidth)
    means = _means(blocks, partial(_kernel, rate), biased, at_zero=1.0)
    across, real, gen = means
    return float(real + gen - 2 * across)


def with_rate(blocks, bandwidth):
    """Blocks that a Gaussian kernel can be computed on, and ``1 / (2 bandwidth^2)``."""
    with np.errstate(over="ignore", under="ignore"):
        ratio = np.float64(blocks.unit) / bandwidth
        rate = np.clip(ratio**2 / 2, 1e-150, 1e150)
    if not 1e-18 <= rate <= 1e18:
        # Products with it do not fit the range of float32.
        samples = [rows.X for rows in blocks.samples]
        blocks = Blocks(*samples, in_float64=True)
    return blocks, blocks.dtype(rate)


def _kernel(rate, block):
    """``exp(-rate * block)``, by torch: 1.6 times as fast as numpy in float32."""
    return torch.from_numpy(block).mul_(-float(rate)).exp_().numpy()


def median_bandwidth(X_real, X_gen):
    """Median distance between the rows of two samples: the bandwidth of `mmd2`."""
    return _median_distance(Blocks(*check_samples(X_real, X_gen)), None)


def _median_distance(blocks, random_state):
    """Median distance of the pooled rows, or of a subset that their order is not in."""
    rows = _pooled_rows(blocks.samples, direction_stream(random_state))
    blocks = Blocks(rows)
    distances = []
    for i, j, block in blocks.between(*blocks.samples * 2):
        pairs = block[np.triu_indices(len(block), 1)] if i == j else block.ravel()
        distances.append(np.sqrt(pairs))
    distances = np.concatenate(distances)
    median = np.median(distances)
    if median == 0:
        positive = distances[distances > 0]
        median = np.median(positive) if len(positive) else 1.0
    return float(median) * blocks.unit


def _pooled_rows(samples, stream):
    pooled = [rows.X for rows in samples]
    total = sum(map(len, pooled))
    if total <= MEDIAN_ROWS:
        return np.concatenate(pooled)
    # Sorted by a random direction, rows stand in an order that only values determine.
    direction = stream.standard_normal(pooled[0].shape[1])
    keys = [
        rows.centred(part) @ direction
        for rows in samples
        for part in row_blocks(0, len(rows), 256)
    ]
    places = stream.choice(total, MEDIAN_ROWS, replace=False)
    chosen = np.argsort(np.concatenate(keys), kind="stable")[places]
    n = len(pooled[0])
    return np.concatenate(
        [pooled[0][chosen[chosen < n]], pooled[1][chosen[chosen >= n] - n]]
    )
