import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import energy_distance as scipy_energy_distance

from sklearn_icm.metrics import energy_distance


def samples(n, m, d, seed):
    rng = np.random.RandomState(seed)
    return rng.randn(n, d), 0.5 + rng.randn(m, d)


@given(n=st.integers(2, 30), m=st.integers(2, 30), seed=st.integers(0, 99))
def test_biased_form_is_scipys_in_one_dimension(n, m, seed):
    X, Y = samples(n, m, 1, seed)
    expected = scipy_energy_distance(X[:, 0], Y[:, 0]) ** 2
    assert energy_distance(X, Y, biased=True) == pytest.approx(expected, abs=1e-9)


@given(seed=st.integers(0, 99), d=st.integers(1, 5))
def test_symmetric_and_invariant_to_order_and_blocks(seed, d):
    X, Y = samples(20, 15, d, seed)
    value = energy_distance(X, Y)
    assert energy_distance(Y, X) == pytest.approx(value, abs=1e-12)
    shuffled = np.random.RandomState(seed).permutation(X)
    assert energy_distance(shuffled, Y) == pytest.approx(value, abs=1e-12)
    assert energy_distance(X, Y, max_memory=1e-4) == pytest.approx(value, abs=1e-12)


def test_perfect_useless_and_degenerate():
    X, Y = samples(300, 300, 3, 0)
    assert energy_distance(X, X, biased=True) == 0
    assert abs(energy_distance(X, Y - 0.5)) < 0.05
    assert energy_distance(X, Y + 10) > 10
    same = np.ones((4, 2))
    assert energy_distance(same, same) == 0


def test_unbiased_form_is_zero_on_average():
    values = [
        energy_distance(*np.random.RandomState(s).randn(2, 20, 2)) for s in range(300)
    ]
    assert abs(np.mean(values)) < 5 * np.std(values) / 300**0.5


@pytest.mark.parametrize(
    ("X", "Y", "match"),
    [
        ([[0.0]], [[0.0, 1.0]], "same number of features, got 1 and 2"),
        ([[0.0]], [[0.0], [1.0]], "at least 2 rows of each sample, got 1 and 2"),
        ([[np.nan]], [[0.0]], "X_real contains NaN"),
    ],
)
def test_bad_input(X, Y, match):
    with pytest.raises(ValueError, match=match):
        energy_distance(X, Y)
