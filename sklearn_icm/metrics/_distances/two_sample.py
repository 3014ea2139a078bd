"""Is a distance between two samples more than chance, and how sure is its value?"""

from functools import partial

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import Bunch

from ...utils.checks import check_level
from .._inputs import check_integer, check_samples, direction_stream
from .blocks import Blocks, row_blocks, rows_at_once
from .classifier import areas_under_the_curve
from .named import check_distance
from .pairwise import median_bandwidth, square_root, with_rate
from .sliced import sliced_wasserstein

__all__ = [
    "judge",
    "quantiles_around",
    "resampled",
    "statistics_of",
    "two_sample_test",
]


def two_sample_test(
    X_real,
    X_gen,
    *,
    distance="energy",
    n_permutations=200,
    n_bootstrap=200,
    level=0.95,
    units=None,
    random_state=None,
):
    """Test whether two samples differ, by permuting which row is in which sample.

    Parameters
    ----------
    X_real, X_gen, units
        As :func:`energy_distance` takes them; at least two rows of each.
    distance : {"energy", "mmd", "sliced_wasserstein", "classifier"}, callable or \
            classifier
        :func:`energy_distance`, :func:`mmd2` or :func:`sliced_wasserstein` with their
        defaults (the first two to within 1e-6 of the mean distance), or a deterministic
        ``distance(X_real, X_gen) -> float``, larger for samples that differ more.
        Or how well a classifier tells held-out rows apart, in up to five folds: the
        area under its ROC curve, 0.5 for equal samples, on average, and 1 for separable
        ones. A classifier is fitted to columns of mean 0 and variance 1, five times per
        relabelling. "classifier" is ridge regression on the labels, from the columns
        and 100 Gaussian functions of them: it sees shifts as well as other smooth
        differences (among a hundred columns or more, little else than shifts), and is
        linear in the labels, so that all relabellings are fitted at once.
    n_permutations : int
        Random relabellings of the pooled rows; for a classifier, within folds.
    n_bootstrap : int
        Resamples of each sample for the interval; 0 for none. Not for a classifier,
        which would be tested on copies of rows that it was fitted to.
    level : float
        Of the noise floor and the interval, between 0 and 1.
    random_state : int, RandomState or None
        Of all draws. None is a fixed stream.

    Returns
    -------
    sklearn.utils.Bunch
        ``value``: the distance; ``p_value``: (1 + number of relabellings at least as
        far apart) / (1 + n_permutations); ``noise_floor``: the quantile `level` of the
        distances of the relabellings; ``is_above_floor``: whether `value` exceeds it;
        ``low`` and ``high``: the interval of the distance, NaN if `value` is not above
        the floor or `n_bootstrap` is 0; ``null``: all distances of the relabellings.

    Raises
    ------
    ValueError
        If the samples have different columns, fewer than two rows or values that are
        not finite, if a parameter is out of range, or if a callable returns a number
        that is not finite.
    TypeError
        If `distance` is an estimator, but no classifier.

    Notes
    -----
    If the samples come from one distribution and their rows are independent, the
    probability of a p-value of at most a is at most a, for any distance and any number
    of rows.

    At equality the energy distance and MMD are degenerate: their bootstrap distribution
    is not that of the estimate, and intervals seldom cover 0. So there is none below
    the floor, where the distance is chance. For "energy" and "mmd" two copies of one
    row do not count as a pair, and the interval is the percentile bootstrap. Other
    distances count them, and are larger between resamples than between samples; their
    interval is the basic bootstrap, which takes that off, and covers less well.

    A classifier is fitted afresh for every relabelling. Held-out labels that are
    permuted under fixed predictions, or counted as a binomial, would be taken for
    independent between folds, which they are not: every row trains the predictions of
    the other folds. The area needs no threshold and no equal sizes, as accuracy does.

    For "energy" and "mmd" every block of pairwise distances is computed once and
    multiplied by the indicators of many relabellings: time grows with ``(n + m)^2
    (n_features + n_permutations)``, memory is bounded, and no rows are left out. The
    other distances are computed afresh for every relabelling and resample.

    References
    ----------
    Gretton, Borgwardt, Rasch, Schölkopf, Smola (2012), *A kernel two-sample test*,
    Journal of Machine Learning Research 13 (arXiv:0805.2368). Phipson, Smyth (2010),
    *Permutation p-values should never be zero*, Statistical Applications in Genetics
    and Molecular Biology 9 (arXiv:1603.05766). Lopez-Paz, Oquab (2017), *Revisiting
    classifier two-sample tests* (arXiv:1610.06545).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.RandomState(0).randn(100, 2)
    >>> result = two_sample_test(X[:50], X[50:] + 3)
    >>> round(result.p_value, 3), result.is_above_floor
    (0.005, True)
    >>> two_sample_test(X[:50], X[50:]).is_above_floor
    False
    """
    n_permutations = check_integer("n_permutations", n_permutations)
    check_integer("n_bootstrap", n_bootstrap, least=0)
    check_level(level)
    X_real, X_gen = check_samples(
        X_real, X_gen, smallest=2, needed_by="The test", units=units
    )
    stream = direction_stream(random_state)
    if hasattr(distance, "fit") or distance == "classifier":
        if hasattr(distance, "fit") and not is_classifier(distance):
            raise TypeError(
                "distance must be a name, a callable or a classifier, got "
                f"{type(distance).__name__}."
            )
        values = areas_under_the_curve(X_real, X_gen, distance, n_permutations, stream)
        return _compare_with_null(values[0], values[1:], level)
    check_distance(distance, also=["classifier"])
    statistic = statistics_of(distance, X_real, X_gen, stream)(X_real, X_gen)
    sizes = len(X_real), len(X_gen)
    return judge(statistic, sizes, stream, n_permutations, n_bootstrap, level)


def judge(statistic, sizes, stream, n_permutations, n_bootstrap, level):
    """Value, null and interval of a statistic, as `two_sample_test` returns them."""
    # Indicators of both samples and their products with a block, in float64.
    at_once = rows_at_once(64 * sum(sizes))

    def values(draw, count):
        parts = row_blocks(0, count, at_once)
        return np.concatenate(
            [statistic(*draw(sizes, p.stop - p.start, stream)) for p in parts]
        )

    given = np.repeat(np.eye(2), sizes, axis=1)[:, :, None]
    value = float(statistic(*given)[0])
    result = _compare_with_null(value, values(_permuted, n_permutations), level)
    if result.is_above_floor and n_bootstrap:
        found = values(resampled, n_bootstrap)
        if not statistic.ignores_copies:
            # Mirrored, so that the bias by the copies is taken off, not added twice.
            found = 2 * value - found
        result.update(quantiles_around(found, level))
    return result


def quantiles_around(values, level):
    """Ends of the middle part `level` of some values, ``{"low": .., "high": ..}``."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return {"low": float(low), "high": float(high)}


def _compare_with_null(value, null, level):
    """P-value and noise floor of a value, where larger ones are more extreme."""
    # Relabellings that differ in nothing may still differ by rounding.
    tolerance = 1e-9 * max(abs(value), np.abs(null).max())
    floor = float(np.quantile(null, level, method="higher"))
    return Bunch(
        value=float(value),
        p_value=float((1 + np.sum(null >= value - tolerance)) / (1 + len(null))),
        noise_floor=floor,
        is_above_floor=bool(value > floor + tolerance),
        low=np.nan,
        high=np.nan,
        null=null,
    )


def _permuted(sizes, count, stream):
    """Indicators (2, n + m, count) of both samples under permuted labels."""
    weights = np.zeros((2, sum(sizes), count))
    for column in weights[0].T:
        column[stream.permutation(len(column))[: sizes[0]]] = 1
    np.subtract(1, weights[0], out=weights[1])
    return weights


def resampled(sizes, count, stream):
    """How often each pooled row is in each resample of each sample."""
    weights, start = np.zeros((len(sizes), sum(sizes), count)), 0
    for weight, size in zip(weights, sizes, strict=True):
        for column in weight[start : start + size].T:
            drawn = stream.randint(size, size=size)
            column[:] = np.bincount(drawn, minlength=size)
        start += size
    return weights


def statistics_of(distance, X_real, X_gen, stream=None):
    """Maker of statistics ``(X_real, X_gen) -> (draws -> the distance of each)``.

    Kernel and directions are chosen once, for the samples given here. A draw is how
    often each pooled row is in each sample: two arrays (n + m, number of draws).
    """
    check_distance(distance)
    if callable(distance):
        return partial(_AnyStatistic, distance)
    if distance == "sliced_wasserstein":
        fixed = partial(sliced_wasserstein, random_state=stream.randint(2**31))
        return partial(_AnyStatistic, fixed)
    width = median_bandwidth(X_real, X_gen) if distance == "mmd" else None
    return partial(_PairStatistic, width)


class _PairStatistic:
    """Unbiased ``2 E h(X, Y) - E h(X, X') - E h(Y, Y')`` of draws of pooled rows.

    Parameters
    ----------
    width : float or None
        Of the kernel of the squared MMD; None is the energy distance.
    X_real, X_gen : ndarray of shape (n_rows, n_features)
    """

    ignores_copies = True

    def __init__(self, width, X_real, X_gen):
        rows = np.concatenate([X_real, X_gen])
        self.blocks = Blocks(rows)
        self.h, self.unit = square_root, self.blocks.unit
        if width is not None:
            self.blocks, rate = with_rate(self.blocks, width)
            self.h, self.unit = partial(_one_minus_exp, rate), 1.0

    def __call__(self, real, gen):
        real, gen = (w.astype(self.blocks.dtype, copy=False) for w in (real, gen))
        both = np.concatenate([real, gen], axis=1)
        across, within_real, within_gen = sums = np.zeros((3, real.shape[1]))
        for rows, columns, block in self.blocks.between(*self.blocks.samples * 2):
            to_real, to_gen = np.hsplit(self.h(block) @ both[columns], 2)
            # A square on the diagonal holds every pair twice.
            share = 0.5 if rows == columns else 1.0
            across += share * (_dot(real[rows], to_gen) + _dot(gen[rows], to_real))
            within_real += 2 * share * _dot(real[rows], to_real)
            within_gen += 2 * share * _dot(gen[rows], to_gen)
        across /= real.sum(axis=0) * gen.sum(axis=0)
        for within, weights in ((within_real, real), (within_gen, gen)):
            pairs = weights.sum(axis=0) ** 2 - np.square(weights).sum(axis=0)
            # Copies of a single row are at distance 0 of each other.
            within /= np.maximum(pairs, 1)
        return (2 * sums[0] - sums[1] - sums[2]) * self.unit


def _one_minus_exp(rate, block):
    with np.errstate(under="ignore", over="ignore"):
        np.expm1(np.multiply(block, -rate, out=block), out=block)
    return np.negative(block, out=block)


def _dot(A, B):
    """Products of columns, summed in float64."""
    return np.einsum("ij,ij->j", A, B, dtype=np.float64)


class _AnyStatistic:
    """A distance, computed afresh for each draw of pooled rows."""

    ignores_copies = False

    def __init__(self, distance, X_real, X_gen):
        self.X, self.distance = np.concatenate([X_real, X_gen]), distance

    def __call__(self, real, gen):
        return np.array(
            [self._value(*columns) for columns in zip(real.T, gen.T, strict=True)]
        )

    def _value(self, real, gen):
        real, gen = (np.repeat(self.X, w.astype(int), axis=0) for w in (real, gen))
        value = float(self.distance(real, gen))
        if not np.isfinite(value):
            raise ValueError(
                f"distance must return finite numbers, got {value} for samples of "
                f"{len(real)} and {len(gen)} rows."
            )
        return value
