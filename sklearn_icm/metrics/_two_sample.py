"""Is a distance between two samples more than chance, and how sure is its value?"""

from functools import partial
from numbers import Integral

import numpy as np
from sklearn.utils import Bunch

from ..utils.checks import check_level
from ._distances import median_bandwidth
from ._inputs import check_integer, check_max_memory, check_samples, direction_stream
from ._sliced import sliced_wasserstein
from ._tiles import Tiler, prepare, row_blocks

__all__ = [
    "Draws",
    "compare_with_null",
    "judge",
    "statistics_of",
    "two_sample_test",
]

DISTANCES = ["energy", "mmd", "sliced_wasserstein"]


def two_sample_test(
    X_real,
    X_gen,
    *,
    distance="energy",
    n_permutations=200,
    n_bootstrap=200,
    level=0.95,
    max_memory=64.0,
    units=None,
    random_state=None,
):
    """Test whether two samples differ, by permuting which row is in which sample.

    Parameters
    ----------
    X_real : array-like of shape (n, n_features)
    X_gen : array-like of shape (m, n_features)
        At least two rows of each.
    distance : {"energy", "mmd", "sliced_wasserstein"} or callable
        :func:`energy_distance`, :func:`mmd2` or :func:`sliced_wasserstein` with their
        defaults (the first two to within 1e-6 of the mean distance), or a deterministic
        ``distance(X_real, X_gen) -> float``, larger for samples that differ more.
    n_permutations : int
        Random relabellings of the pooled rows.
    n_bootstrap : int
        Resamples of each sample for the interval; 0 for none.
    level : float
        Of the noise floor and the interval, between 0 and 1.
    max_memory : float
        Bound of the buffers, in MiB, beside two copies of both samples (three for
        "mmd", whose median takes up to 16 MiB more) and what a callable takes.
    units : array-like of shape (n_features,), optional
        What the columns are divided by, such as :func:`column_units`; None leaves them.
    random_state : int, RandomState or None
        Of all draws. None is a fixed stream, so that the result is reproducible;
        numpy's global stream is never touched.

    Returns
    -------
    sklearn.utils.Bunch
        ``value``: the distance; ``p_value``: (1 + number of relabellings at least as
        far apart) / (1 + n_permutations); ``noise_floor``: the quantile `level` of the
        distances of the relabellings; ``is_above_floor``: whether `value` exceeds it;
        ``interval``: (low, high) of the distance, or (nan, nan) if `value` is not above
        the floor or `n_bootstrap` is 0; ``null``: all distances of the relabellings.

    Raises
    ------
    ValueError
        If the samples have different columns, fewer than two rows or values that are
        not finite, if a parameter is out of range, or if a callable returns a number
        that is not finite.

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

    For "energy" and "mmd" every tile of pairwise distances is computed once and
    multiplied by the indicators of many relabellings: time grows with ``(n + m)^2
    (n_features + n_permutations)``, memory is bounded, and no rows are left out. The
    other distances are computed afresh for every relabelling and resample.

    References
    ----------
    Gretton, Borgwardt, Rasch, Schölkopf, Smola (2012), *A kernel two-sample test*,
    Journal of Machine Learning Research 13 (arXiv:0805.2368). Phipson, Smyth (2010),
    *Permutation p-values should never be zero*, Statistical Applications in Genetics
    and Molecular Biology 9 (arXiv:1603.05766).

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
    n_bytes = check_max_memory(max_memory)
    n_permutations = check_integer("n_permutations", n_permutations)
    _check_count("n_bootstrap", n_bootstrap)
    check_level(level)
    X_real, X_gen = check_samples(
        X_real, X_gen, smallest=2, needed_by="The test", units=units
    )
    stream = direction_stream(random_state)
    statistic = statistics_of(distance, X_real, X_gen, n_bytes, stream)(X_real, X_gen)
    draws = Draws(len(X_real), len(X_gen), stream)
    return judge(statistic, draws, n_permutations, n_bootstrap, level, n_bytes)


def judge(statistic, draws, n_permutations, n_bootstrap, level, n_bytes):
    """Value, null and interval of a statistic, as `two_sample_test` returns them."""
    # Indicators of both samples and their products with a tile, in float64.
    at_once = max(1, int(n_bytes / (64 * (draws.n + draws.m))))

    def values(draw, count):
        parts = row_blocks(0, count, at_once)
        return np.concatenate([statistic(*draw(p.stop - p.start)) for p in parts])

    value = float(statistic(*draws.as_given())[0])
    result = compare_with_null(value, values(draws.permuted, n_permutations), level)
    result.interval = (np.nan, np.nan)
    if result.is_above_floor and n_bootstrap:
        resampled = values(draws.resampled, n_bootstrap)
        if not statistic.ignores_copies:
            # Mirrored, so that the bias by the copies is taken off, not added twice.
            resampled = 2 * value - resampled
        tails = [(1 - level) / 2, (1 + level) / 2]
        result.interval = tuple(map(float, np.quantile(resampled, tails)))
    return result


def compare_with_null(value, null, level):
    """P-value and noise floor of a value, where larger ones are more extreme."""
    # Relabellings that differ in nothing may still differ by rounding.
    tolerance = 1e-9 * max(abs(value), np.abs(null).max())
    floor = float(np.quantile(null, level, method="higher"))
    return Bunch(
        value=value,
        p_value=float((1 + np.sum(null >= value - tolerance)) / (1 + len(null))),
        noise_floor=floor,
        is_above_floor=bool(value > floor + tolerance),
        null=null,
    )


def _check_count(name, value):
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not integer or value < 0:
        raise ValueError(f"{name} must be an int >= 0, got {value!r}.")


class Draws:
    """How often each pooled row is in each sample: arrays (n + m, number of draws)."""

    def __init__(self, n, m, stream):
        self.n, self.m, self.stream = n, m, stream

    def as_given(self):
        real = np.repeat([1.0, 0.0], [self.n, self.m])[:, None]
        return real, 1 - real

    def permuted(self, count):
        real = np.zeros((self.n + self.m, count))
        for column in real.T:
            column[self.stream.permutation(len(column))[: self.n]] = 1
        return real, 1 - real

    def resampled(self, count):
        real, gen = np.zeros((2, self.n + self.m, count))
        for rows in (real[: self.n], gen[self.n :]):
            for column in rows.T:
                drawn = self.stream.randint(len(rows), size=len(rows))
                column[:] = np.bincount(drawn, minlength=len(rows))
        return real, gen


def statistics_of(distance, X_real, X_gen, n_bytes, stream):
    """Maker of statistics ``(X_real, X_gen) -> (draws -> the distance of each)``.

    Kernel and directions are chosen once, for the samples given here.
    """
    if callable(distance):
        return partial(_AnyStatistic, distance)
    if not isinstance(distance, str) or distance not in DISTANCES:
        raise ValueError(
            f"distance must be a callable or one of {DISTANCES}, got {distance!r}."
        )
    mib = n_bytes / 2**20
    if distance == "sliced_wasserstein":
        seed = stream.randint(2**31)
        fixed = partial(sliced_wasserstein, max_memory=mib, random_state=seed)
        return partial(_AnyStatistic, fixed)
    width = None
    if distance == "mmd":
        width = median_bandwidth(X_real, X_gen, max_memory=mib)
    return partial(_pair_statistic, n_bytes, width)


def _pair_statistic(n_bytes, width, X_real, X_gen):
    """Energy distance, or with a width of its kernel the squared MMD."""
    rows = np.concatenate([X_real, X_gen])
    pooled = prepare(rows, rows[:1])
    if width is None:
        return _PairStatistic(pooled, n_bytes, 1.0, np.sqrt, unit=pooled.unit)
    rate = np.clip((pooled.unit / width) ** 2 / 2, 1e-150, 1e150)
    if not 1e-18 < rate < 1e18:
        pooled = prepare(rows, rows[:1], in_float64=True)
    return _PairStatistic(pooled, n_bytes, -rate, _one_minus_exp, unit=1.0)


def _one_minus_exp(tile, out):
    with np.errstate(under="ignore", over="ignore"):
        return np.negative(np.expm1(tile, out=out), out=out)


class _PairStatistic:
    """Unbiased ``2 E h(X, Y) - E h(X, X') - E h(Y, Y')`` of draws of pooled rows.

    Parameters
    ----------
    pooled : Samples
        Whose `real` holds all rows.
    n_bytes : float
    factor : float
        Of the squared distances.
    h : callable
        Takes a tile of them, and `out`; 0 at distance 0.
    unit : float
        Of the result.
    """

    ignores_copies = True

    def __init__(self, pooled, n_bytes, factor, h, unit):
        self.rows, self.h, self.unit = pooled.real, h, unit
        self.tiler = Tiler(pooled, n_bytes / 2, factor=factor)

    def __call__(self, real, gen):
        real, gen = (w.astype(self.tiler.dtype, copy=False) for w in (real, gen))
        both = np.concatenate([real, gen], axis=1)
        across, within_real, within_gen = sums = np.zeros((3, real.shape[1]))
        for rows, columns, tile in self.tiler.within(self.rows):
            product = self.h(tile, out=tile) @ both[columns]
            to_real, to_gen = np.hsplit(product, 2)
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
