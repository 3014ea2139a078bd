import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.metrics import (
    energy_distance,
    mmd2,
    sliced_wasserstein,
    two_sample_test,
)
from sklearn_icm.metrics._distances import blocks

PAIRWISE = {"energy": energy_distance, "mmd": mmd2}
NAMES = [*PAIRWISE, "sliced_wasserstein"]


def mean_gap(X_real, X_gen):
    return np.linalg.norm(X_real.mean(axis=0) - X_gen.mean(axis=0))


def samples(n=40, m=30, d=2, seed=0, shift=0.0):
    rng = np.random.RandomState(seed)
    return rng.randn(n, d), shift + rng.randn(m, d)


@given(
    n=st.integers(2, 30),
    m=st.integers(2, 30),
    d=st.integers(1, 4),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    name=st.sampled_from(sorted(PAIRWISE)),
    float32=st.booleans(),
    seed=st.integers(0, 999),
)
def test_values_are_those_of_the_distances(n, m, d, scale, name, float32, seed):
    X, Y = (Z * scale for Z in samples(n, m, d, seed, shift=1.0))
    with pytest.MonkeyPatch.context() as patch:
        if float32:
            patch.setattr(blocks, "SMALL", 0)
        result = two_sample_test(X, Y, distance=name, n_permutations=3)
    unit = scale if name == "energy" else 1.0
    expected = PAIRWISE[name](X, Y)
    assert result.value == pytest.approx(expected, abs=1e-5 * unit)
    assert np.isfinite(result.null).all()


@pytest.mark.parametrize("name", PAIRWISE)
def test_null_and_resamples_are_those_of_relabelled_rows(name):
    """The products of blocks give what the distance gives for the rows themselves."""
    X, Y = samples(400, 300, 10, shift=0.3)
    by_blocks = two_sample_test(X, Y, distance=name, n_permutations=5, random_state=3)
    bandwidth = {} if name == "energy" else {"bandwidth": _median(X, Y)}

    def distance(A, B):
        return PAIRWISE[name](A, B, **bandwidth)

    by_rows = two_sample_test(X, Y, distance=distance, n_permutations=5, random_state=3)
    tolerance = 1e-5 if name == "energy" else 1e-6
    assert by_blocks.null == pytest.approx(by_rows.null, abs=tolerance)


def _median(X, Y):
    Z = np.concatenate([X, Y])
    pairs = np.triu_indices(len(Z), 1)
    return np.median(np.linalg.norm(Z[:, None] - Z[None], axis=-1)[pairs])


@pytest.mark.parametrize("distance", [*NAMES, mean_gap])
def test_power_against_a_shift(distance):
    few = {"n_permutations": 39, "n_bootstrap": 0}
    found = [
        two_sample_test(
            *samples(seed=seed, shift=1.0), distance=distance, **few
        ).is_above_floor
        for seed in range(10)
    ]
    assert np.mean(found) >= 0.9


@pytest.mark.parametrize("name", PAIRWISE)
def test_intervals_above_the_floor_cover_the_distance(name):
    """Nominally 95 %; five standard errors of 50 repetitions allow for 79 %."""
    truth = PAIRWISE[name](*samples(4000, 4000, seed=999, shift=1.0))
    covered = []
    for seed in range(50):
        result = two_sample_test(
            *samples(60, 60, seed=seed, shift=1.0),
            distance=name,
            n_permutations=20,
            random_state=seed,
        )
        low, high = result.low, result.high
        covered.append(low <= truth <= high)
    assert np.mean(covered) > 0.79


def test_there_is_no_interval_below_the_floor():
    result = two_sample_test(*samples(seed=1))
    assert not result.is_above_floor
    assert result.value <= result.noise_floor
    assert np.isnan([result.low, result.high]).all()
    apart = two_sample_test(*samples(shift=2.0), n_bootstrap=0)
    assert apart.is_above_floor
    assert np.isnan([apart.low, apart.high]).all()


def test_a_basic_interval_takes_the_bias_of_copies_off():
    """Resamples of a biased distance lie above it; their interval must not."""
    X, Y = samples(60, 60, 5, shift=0.5)

    def biased(A, B):
        return energy_distance(A, B, biased=True)

    result = two_sample_test(X, Y, distance=biased)
    low, high = result.low, result.high
    assert low < result.value
    unbiased = two_sample_test(X, Y)
    assert low < unbiased.value < high
    assert unbiased.low < unbiased.value < unbiased.high


@pytest.mark.parametrize("distance", NAMES)
def test_perfect_useless_and_degenerate(distance):
    X, _ = samples()
    assert two_sample_test(X, X, distance=distance).p_value > 0.9
    apart = two_sample_test(X, X + 100, distance=distance, n_permutations=99)
    assert apart.p_value == pytest.approx(0.01)
    same = np.ones((4, 2))
    result = two_sample_test(same, same[:3], distance=distance)
    assert (result.value, result.p_value, result.noise_floor) == (0, 1, 0)
    assert not result.is_above_floor


def test_ties_count_as_extreme():
    """Relabellings of two values that differ only in who bears which."""
    X, Y = [[0.0], [0.0]], [[1.0], [1.0]]
    result = two_sample_test(X, Y, n_permutations=600)
    # Of the 6 relabellings of four rows 2 are as far apart.
    assert result.p_value == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize("distance", [*NAMES, mean_gap])
def test_tiny_samples(distance):
    """Resamples of two rows hold copies of one row half of the time."""
    X, Y = [[0.0], [0.1]], [[5.0], [5.1], [5.2], [5.3], [5.4], [5.5]]
    result = two_sample_test(X, Y, distance=distance, level=0.5)
    assert result.is_above_floor
    assert np.isfinite([result.low, result.high]).all()


@pytest.mark.parametrize("name", PAIRWISE)
def test_large_samples_are_fast_and_within_memory(name):
    X, Y = (Z.astype(np.float32) for Z in samples(1000, 1000, 10, shift=0.1))
    start = time.process_time()
    result = two_sample_test(X, Y, distance=name)
    assert time.process_time() - start < 3
    assert result.p_value == pytest.approx(1 / 201)


def test_memory_is_bounded(monkeypatch):
    X, Y = (Z.astype(np.float32) for Z in samples(500, 500, 10, shift=0.1))
    whole = two_sample_test(X, Y, n_bootstrap=0)
    monkeypatch.setattr(blocks, "MAX_BYTES", 2**20)
    tracemalloc.start()
    cut = two_sample_test(X, Y, n_bootstrap=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The indicators of 200 relabellings would take 3 MiB.
    assert peak / 2**20 < 1.0 + 2 * (X.nbytes + Y.nbytes) * 1.2 / 2**20
    assert cut.null == pytest.approx(whole.null, abs=1e-5)


@pytest.mark.parametrize("distance", ["energy", "classifier"])
def test_seeds_choose_the_relabellings(distance):
    X, Y = samples()
    params = {"distance": distance, "n_permutations": 50}
    first, second, other = (
        two_sample_test(X, Y, random_state=s, **params) for s in (None, 0, 1)
    )
    assert np.array_equal(first.null, second.null)
    assert not np.array_equal(first.null, other.null)
    assert distance == "classifier" or first.value == other.value


def test_sliced_wasserstein_is_the_default_one_but_for_its_directions():
    X, Y = samples(shift=1.0)
    value = two_sample_test(X, Y, distance="sliced_wasserstein").value
    assert value == pytest.approx(sliced_wasserstein(X, Y), rel=0.1)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"distance": "l2"}, r"callable or one of \['energy', 'mmd', .*\], got 'l2'"),
        ({"distance": lambda X, Y: np.nan}, "distance must return finite numbers"),
        ({"n_permutations": 0}, "n_permutations must be an int >= 1, got 0"),
        ({"n_bootstrap": -1}, "n_bootstrap must be an int >= 0, got -1"),
        ({"n_bootstrap": True}, "n_bootstrap must be an int >= 0, got True"),
        ({"level": 1.0}, "level must be a number between 0 and 1, got 1.0"),
        ({"level": "95"}, "level must be a number between 0 and 1, got '95'"),
    ],
)
def test_bad_parameters(params, match):
    with pytest.raises(ValueError, match=match):
        two_sample_test(*samples(), **params)


@pytest.mark.parametrize(
    ("X", "Y", "match"),
    [
        ([[0.0]] * 9, [[0.0, 1.0]] * 9, "same number of features, got 1 and 2"),
        ([[np.nan]] * 9, [[0.0]] * 9, "X_real contains NaN"),
        ([[0.0]], [[0.0]] * 9, "The test needs at least 2 rows .* got 1 and 9"),
    ],
)
def test_bad_samples(X, Y, match):
    with pytest.raises(ValueError, match=match):
        two_sample_test(X, Y)
