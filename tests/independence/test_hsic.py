"""Whether two samples of paired rows are dependent."""

import numpy as np
import pytest
from helpers import hsic_test
from scipy import stats

SAMPLES = {
    "normal": lambda rng, n: rng.randn(n, 1),
    "heavy tails": lambda rng, n: rng.standard_cauchy((n, 1)),
    "many columns": lambda rng, n: rng.randn(n, 9),
    "two values": lambda rng, n: rng.randint(2, size=(n, 1)) * 1.0,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_p_values_of_independent_samples_are_uniform(name):
    rng = np.random.RandomState(0)
    found = [
        hsic_test(SAMPLES[name](rng, 150), rng.exponential(size=(150, 1)), 19, rng)[1]
        for _ in range(200)
    ]
    ranks = np.rint(20 * np.array(found)).astype(int)
    assert stats.chisquare(np.bincount(ranks, minlength=21)[1:]).pvalue > 1e-3


def test_thousands_of_rows_find_what_hundreds_miss():
    rng = np.random.RandomState(0)
    found = {500: 0, 5000: 0}
    for n in found:
        for _ in range(10):
            cause = rng.randn(n, 1)
            scale = 1 + 0.15 * np.tanh(cause)
            p_value = hsic_test(cause, scale * rng.standard_t(4, (n, 1)), 49, rng)[1]
            found[n] += p_value <= 0.05
    assert found[500] <= 4
    assert found[5000] >= 9


def test_values_are_those_of_full_kernels():
    # As many rows as landmarks: nothing is left out. One kernel depends on itself.
    rng = np.random.RandomState(0)
    one = rng.randn(60, 1)
    assert hsic_test(one, 3 * one - 1, 0, rng)[0] == pytest.approx(1, abs=1e-4)
    other = one**2 + rng.randn(60, 1)
    first, second = _centred_kernel(one), _centred_kernel(other)
    expected = np.sum(first * second) / np.linalg.norm(first) / np.linalg.norm(second)
    assert hsic_test(one, other, 0, rng)[0] == pytest.approx(expected, rel=1e-3)


def _centred_kernel(sample):
    squared = np.square(sample - sample.T)
    kernel = np.exp(-squared / np.median(squared[squared > 0]))
    centring = np.eye(len(sample)) - 1 / len(sample)
    return centring @ kernel @ centring


def test_constant_samples_have_no_dependence():
    rng = np.random.RandomState(0)
    found = hsic_test(np.ones((50, 1)), rng.randn(50, 2), 9, rng)
    assert np.isnan(found).all()
