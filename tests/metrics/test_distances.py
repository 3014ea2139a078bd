import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from scipy.stats import energy_distance as scipy_energy_distance

from sklearn_icm.metrics import (
    energy_distance,
    mmd2,
    precision_recall_density_coverage,
    sliced_wasserstein,
)
from sklearn_icm.metrics._distances import blocks

DISTANCES = [
    energy_distance,
    mmd2,
    sliced_wasserstein,
    lambda X, Y, **params: precision_recall_density_coverage(X, Y, **params).density,
]


def samples(n, m, d, seed):
    rng = np.random.RandomState(seed)
    return rng.randn(n, d), 0.5 + rng.randn(m, d)


@contextmanager
def always_float32():
    """Small samples take the path of the large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SMALL", 0)
        yield


def mean_pairs(X, Y, function, biased):
    """Means of a function of the distance across and within, by scipy in float64."""
    n, m = len(X), len(Y)
    across = function(cdist(X, Y)).mean()
    real, gen = (2 * function(pdist(Z)).sum() for Z in (X, Y))
    if biased:
        at_zero = function(np.zeros(1))[0]
        return across, (real + n * at_zero) / n**2, (gen + m * at_zero) / m**2
    return across, real / (n * (n - 1)), gen / (m * (m - 1))


def energy_by_scipy(X, Y, biased=False):
    across, real, gen = mean_pairs(X, Y, lambda d: d, biased)
    return 2 * across - real - gen


def mmd_by_scipy(X, Y, bandwidth, biased=False):
    across, real, gen = mean_pairs(
        X, Y, lambda d: np.exp(-((d / bandwidth) ** 2) / 2), biased
    )
    return real + gen - 2 * across


SCALED = {
    "n": st.integers(2, 40),
    "m": st.integers(2, 40),
    "d": st.integers(1, 5),
    "scale": st.sampled_from([1e-20, 1e-6, 1.0, 1e6, 1e20]),
    "offset": st.sampled_from([0.0, 1.0, 1e4]),
    "biased": st.booleans(),
    "seed": st.integers(0, 10**6),
}


@given(n=st.integers(2, 30), m=st.integers(2, 30), seed=st.integers(0, 99))
def test_biased_form_is_scipys_in_one_dimension(n, m, seed):
    X, Y = samples(n, m, 1, seed)
    expected = scipy_energy_distance(X[:, 0], Y[:, 0]) ** 2
    assert energy_distance(X, Y, biased=True) == pytest.approx(expected, abs=1e-9)


@given(**SCALED)
@settings(max_examples=60, deadline=None)
def test_energy_is_scipys_at_any_scale_and_offset(n, m, d, scale, offset, biased, seed):
    X, Y = ((Z + offset) * scale for Z in samples(n, m, d, seed))
    expected = energy_by_scipy(X, Y, biased)
    value = energy_distance(X, Y, biased=biased)
    assert value == pytest.approx(expected, rel=1e-7, abs=1e-9 * scale)
    with always_float32():
        value = energy_distance(X, Y, biased=biased)
    assert value == pytest.approx(expected, abs=1e-6 * cdist(X, Y).mean())


@given(**SCALED, width=st.floats(0.3, 5.0))
@settings(max_examples=60, deadline=None)
def test_mmd_is_scipys_at_any_scale_and_offset(
    n, m, d, scale, offset, biased, seed, width
):
    X, Y = ((Z + offset) * scale for Z in samples(n, m, d, seed))
    expected = mmd_by_scipy(X, Y, width * scale, biased)
    value = mmd2(X, Y, bandwidth=width * scale, biased=biased)
    assert value == pytest.approx(expected, abs=1e-9)
    with always_float32():
        value = mmd2(X, Y, bandwidth=width * scale, biased=biased)
    assert value == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    ("n", "m", "d", "offset"),
    [
        (1000, 777, 20, 0),
        (1000, 777, 20, 1e4),
        (513, 1100, 3, 0),
        (300, 257, 200, 0),
        (1200, 60, 1, 1e3),
    ],
)
def test_large_samples_agree_with_scipy(n, m, d, offset):
    X, Y = (Z + offset for Z in samples(n, m, d, 0))
    width = np.sqrt(d)
    expected = energy_by_scipy(X, Y)
    assert energy_distance(X, Y) == pytest.approx(expected, rel=3e-6)
    expected = mmd_by_scipy(X, Y, width)
    assert mmd2(X, Y, bandwidth=width) == pytest.approx(expected, rel=3e-6)


@contextmanager
def memory(mib):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "MAX_BYTES", mib * 2**20)
        yield


@pytest.mark.parametrize("mib", [0.05, 0.5])
def test_large_samples_agree_whatever_the_blocks(mib):
    X, Y = samples(300, 411, 150, 1)
    with memory(mib):
        value = energy_distance(X, Y)
    assert value == pytest.approx(energy_by_scipy(X, Y), rel=3e-6)


@pytest.mark.parametrize("columns", [2, 20])
def test_columns_of_very_different_scale(columns):
    X, Y = samples(700, 600, columns, 2)
    scales = np.geomspace(1e-8, 1e8, columns)
    expected = energy_by_scipy(X * scales, Y * scales)
    assert energy_distance(X * scales, Y * scales) == pytest.approx(expected, rel=3e-6)


def test_far_clusters_are_as_exact_as_one():
    """The distances within a cluster vanish beside the norms of its rows."""
    X, Y = samples(600, 500, 20, 3)
    X[::2] += 1e5
    Y[::2] += 1e5
    expected = energy_by_scipy(X, Y)
    assert energy_distance(X, Y) == pytest.approx(expected, abs=1e-8 * 1e5)
    width = 5.0
    expected = mmd_by_scipy(X, Y, width)
    assert mmd2(X, Y, bandwidth=width) == pytest.approx(expected, rel=3e-6)


def test_an_outlier_does_not_blur_the_rest():
    X, Y = samples(600, 500, 20, 4)
    X[0] = 1e12
    expected = mmd_by_scipy(X, Y, 5.0)
    assert mmd2(X, Y, bandwidth=5.0) == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("row", [0, 3])
def test_large_values_in_a_single_row(scale, row):
    """Also where the rows that the scale is taken from do not show them."""
    X, Y = samples(800, 700, 3, 4)
    X, Y = X * 1e-9, Y * 1e-9
    X[row] = [1.0, 2.0, 2.0]
    tolerance = 1e-7 * cdist(X, Y).mean()
    value = energy_distance(X * scale, Y * scale) / scale
    assert value == pytest.approx(energy_by_scipy(X, Y), abs=tolerance)
    value = sliced_wasserstein(X * scale, Y * scale) / scale
    assert value == pytest.approx(sliced_wasserstein(X, Y), rel=1e-6)


def test_copies_across_the_samples():
    X, Y = samples(700, 500, 50, 5)
    Y[:400] = X[:400]
    assert energy_distance(X, Y) == pytest.approx(energy_by_scipy(X, Y), rel=3e-6)
    shuffled = np.random.RandomState(0).permutation(X)
    mean = cdist(X, X).mean()
    assert abs(energy_distance(X, shuffled, biased=True)) < 1e-8 * mean
    assert abs(mmd2(X, shuffled, bandwidth=7.0, biased=True)) < 1e-8


@given(seed=st.integers(0, 99), d=st.integers(1, 5))
@settings(deadline=None)
def test_symmetric_and_invariant_to_order_and_blocks(seed, d):
    X, Y = samples(20, 15, d, seed)
    value = energy_distance(X, Y)
    assert energy_distance(Y, X) == pytest.approx(value, abs=1e-12)
    shuffled = np.random.RandomState(seed).permutation(X)
    assert energy_distance(shuffled, Y) == pytest.approx(value, abs=1e-12)
    with memory(1e-4):
        assert energy_distance(X, Y) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_order_of_rows_changes_no_more_than_rounding(distance):
    X, Y = samples(800, 700, 20, 6)
    rng = np.random.RandomState(0)
    value = distance(X, Y)
    assert value == distance(X, Y)
    shuffled = distance(rng.permutation(X), rng.permutation(Y))
    assert shuffled == pytest.approx(value, rel=2e-6)


@pytest.mark.parametrize("distance", [energy_distance, mmd2])
def test_perfect_useless_and_degenerate(distance):
    X, Y = samples(300, 300, 3, 0)
    assert distance(X, X, biased=True) == 0
    assert distance(X, X.copy(), biased=True) == 0
    with always_float32():
        assert distance(X, X.copy(), biased=True) == 0
    assert abs(distance(X, Y - 0.5)) < 0.05
    assert distance(X, Y + 10) > (10 if distance is energy_distance else 0.5)
    same = np.ones((4, 2))
    assert distance(same, same) == 0
    with always_float32():
        assert distance(same, same) == 0


@pytest.mark.parametrize("distance", [energy_distance, mmd2])
def test_unbiased_form_is_zero_on_average(distance):
    values = [distance(*np.random.RandomState(s).randn(2, 20, 2)) for s in range(300)]
    assert abs(np.mean(values)) < 5 * np.std(values) / 300**0.5


def test_mmd_closed_forms():
    X, Y = np.zeros((2, 1)), np.full((2, 1), 3.0)
    assert mmd2(X, Y, bandwidth=1.0) == pytest.approx(2 - 2 * np.exp(-4.5))


def test_mmd_of_extreme_bandwidths():
    X, Y = samples(400, 300, 30, 0)
    assert mmd2(X, Y, bandwidth=1e-30) == 0
    assert mmd2(X, Y, bandwidth=1e30) == pytest.approx(0, abs=1e-12)


def test_median_bandwidth_is_that_of_all_pooled_pairs():
    X, Y = samples(400, 500, 30, 7)
    median = np.median(pdist(np.concatenate([X, Y])))
    assert mmd2(X, Y) == pytest.approx(mmd2(X, Y, bandwidth=median), rel=1e-5)
    with always_float32():
        X, Y = samples(30, 21, 3, 7)
        median = np.median(pdist(np.concatenate([X, Y])))
        assert mmd2(X, Y) == pytest.approx(mmd2(X, Y, bandwidth=median), rel=1e-5)


def test_median_bandwidth_of_many_rows_is_near_that_of_all():
    X, Y = samples(1500, 900, 5, 7)
    median = np.median(pdist(np.concatenate([X, Y])))
    low, value, high = (mmd2(X, Y, bandwidth=median * k) for k in (1.05, 1, 0.95))
    assert low < value < high
    for seed in (None, 1, 2):
        assert low < mmd2(X, Y, random_state=seed) < high
    assert mmd2(X, Y, random_state=1) != mmd2(X, Y, random_state=2)


def test_median_bandwidth_where_most_rows_coincide():
    X, Y = np.zeros((20, 1)), np.zeros((20, 1))
    Y[:2] = 3.0
    assert mmd2(X, Y) == pytest.approx(mmd2(X, Y, bandwidth=3.0))


@pytest.mark.parametrize("distance", DISTANCES)
def test_memory_is_bounded(distance):
    X, Y = (Z.astype(np.float32) for Z in samples(1500, 1500, 100, 0))
    distance(X[:50], Y[:50])
    tracemalloc.start()
    with memory(1.0):
        distance(X, Y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All distances of a pair of samples in float32 would be 8.6 MiB; the median's are
    # documented to come on top.
    allowed = 1.0 + (X.nbytes + Y.nbytes) * 1.1 / 2**20
    assert peak / 2**20 < allowed + (16 if distance is mmd2 else 0)


@pytest.mark.parametrize("distance", DISTANCES)
def test_float32_lists_and_memory_layouts(distance):
    X, Y = (Z.astype(np.float32) for Z in samples(50, 40, 3, 0))
    value = distance(X, Y)
    assert distance(X.tolist(), Y.tolist()) == pytest.approx(value, rel=1e-9)
    assert distance(np.asfortranarray(X), Y[::-1]) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    ("X", "Y", "match"),
    [
        ([[0.0]] * 9, [[0.0, 1.0]] * 9, "same number of features, got 1 and 2"),
        ([[np.nan]] * 9, [[0.0]] * 9, "X_real contains NaN"),
        ([[0.0]] * 9, [[np.inf]] * 9, "X_gen contains infinity"),
    ],
)
def test_bad_input(distance, X, Y, match):
    with pytest.raises(ValueError, match=match):
        distance(X, Y)


@pytest.mark.parametrize("distance", [energy_distance, mmd2])
def test_unbiased_form_needs_two_rows(distance):
    with pytest.raises(ValueError, match="at least 2 rows of each sample, got 1 and 2"):
        distance([[0.0]], [[0.0], [1.0]])
    assert np.isfinite(distance([[0.0]], [[0.0], [1.0]], biased=True))


@pytest.mark.parametrize("bandwidth", [0, -1.0, "mean", [1.0], None, np.inf])
def test_bad_bandwidth(bandwidth):
    with pytest.raises(ValueError, match="bandwidth must be"):
        mmd2([[0.0]] * 9, [[0.0]] * 9, bandwidth=bandwidth)
