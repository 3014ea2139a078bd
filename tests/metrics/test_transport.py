"""Laws of the transport distance, and what a default score does with known truths."""

import numpy as np
import pytest

from sklearn_icm.metrics import transport_distance


def rows(seed, n=200, d=3, shift=0.0):
    return np.random.RandomState(seed).randn(n, d) + shift


@pytest.mark.parametrize("n", [4, 5, 40, 700])
def test_symmetric_and_indifferent_to_order_origin_and_scale(n):
    X, Y = rows(0, n), rows(1, n, shift=1.0)
    value = transport_distance(X, Y)
    assert value == pytest.approx(transport_distance(Y, X))
    assert value == pytest.approx(transport_distance(X[::-1], Y))
    moved = transport_distance(3 * X + 1e4, 3 * Y + 1e4)
    assert moved == pytest.approx(9 * value, rel=1e-6, abs=1e-6)
    assert transport_distance(X, Y, units=[3.0] * 3) == pytest.approx(value / 9)


@pytest.mark.parametrize("n", [60, 400, 1200])
def test_three_points(n):
    """Zero for one law, the squared shift for a shift, half the spread for a point."""
    X, same = rows(0, n, d=2), rows(1, n, d=2)
    assert abs(transport_distance(X, same)) < 0.5 * n**-0.5
    assert transport_distance(X, same + 3) == pytest.approx(18, rel=0.1)
    point = np.tile(X.mean(axis=0), (n, 1))
    expected = X.var(axis=0).sum()
    assert 0.7 * expected < transport_distance(X, point) < expected


def test_of_one_column_it_is_the_distance_of_quantiles():
    X, Y = rows(0, 4000, d=1), 2 * rows(1, 4000, d=1) + 1
    # (mean difference)^2 + (difference of standard deviations)^2
    assert transport_distance(X, Y) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_matched_means_are_no_counterfactuals(seed):
    """Energy distances rank rows with the right mean before the right curve."""
    rng = np.random.RandomState(seed)
    x = rng.randn(400)
    before = np.column_stack([x, np.cos(2 * x) + 0.1 * rng.randn(400)])
    env = before[200:] * [1.0, -1.0]
    right = before[:200] * [1.0, -1.0] + [0.3, 0.0]
    ghost = before[:200] + env.mean(axis=0) - before[:200].mean(axis=0)
    mean = np.tile(env.mean(axis=0), (200, 1))
    values = [transport_distance(env, rows) for rows in (right, ghost, mean)]
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("samples", "match"),
    [
        ((rows(0, 3), rows(1)), "needs at least 4 rows of each sample, got 3"),
        ((rows(0), rows(1, d=2)), "same number of features, got 3 and 2"),
        ((rows(0), np.full((9, 3), np.nan)), "NaN"),
        ((1e200 * rows(0), rows(1)), "too large for it. Give units="),
    ],
)
def test_bad_input(samples, match):
    with pytest.raises(ValueError, match=match):
        transport_distance(*samples)
