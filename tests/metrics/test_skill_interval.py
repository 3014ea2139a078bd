import numpy as np
import pytest

from sklearn_icm.metrics import extrapolation_skill, skill_interval, transport_distance

DISTANCES = ["transport", "energy", "mmd", "sliced_wasserstein"]


def rows(seed, n=60, shift=0.0, d=2):
    return np.random.RandomState(seed).randn(n, d) + shift


def test_value_is_the_skill():
    env, changed, usual = rows(0, shift=2.0), rows(1, shift=1.5), rows(2)
    found = skill_interval(env, changed, usual)
    assert found.skill == extrapolation_skill(env, changed, usual)
    assert found.distance == transport_distance(env, changed)
    assert found.low < found.skill < found.high
    again = skill_interval(env, changed, usual)
    assert (again.low, again.high) == (found.low, found.high)


def test_three_points():
    env, usual = rows(0, shift=2.0), rows(2)
    perfect = skill_interval(env, rows(1, shift=2.0), usual)
    assert perfect.skill > 0.9
    assert perfect.distance <= perfect.noise_floor
    assert perfect.p_value > 0.05
    useless = skill_interval(env, rows(1), usual, baseline="identity")
    assert abs(useless.skill) < 0.2
    assert useless.low < 0 < useless.high
    assert useless.is_shifted
    assert useless.p_value < 0.01
    nothing = skill_interval(rows(0), rows(1), usual)
    assert nothing.skill > 0.9
    assert not nothing.is_shifted


@pytest.mark.parametrize(
    ("distance", "shift", "part", "n"),
    [
        ("transport", 1.5, 0.5, 120),
        ("transport", 1.0, 0.2, 240),
        ("energy", 1.5, 0.5, 120),
    ],
)
def test_intervals_cover_the_skill_of_the_distributions(distance, shift, part, n):
    """95 % intervals; 60 repetitions have a standard error of 3 %."""
    ways = {"distance": distance, "baseline": "identity"}
    truths, covered = [], []
    for k in range(60):
        samples = [
            rows(3 * k + j, n, s) for j, s in enumerate((shift, part * shift, 0))
        ]
        found = skill_interval(*samples, **ways, random_state=10_000 + k)
        truths.append(found.skill)
        covered.append((found.low, found.high))
    low, high = np.transpose(covered)
    # The mean of the estimate, so that its bias at so few rows is not held against it.
    inside = (low <= np.mean(truths)) & (np.mean(truths) <= high)
    assert inside.mean() > 0.95 - 5 * 0.028
    assert np.mean(high - low) < 8 * np.std(truths)


@pytest.mark.parametrize("distance", DISTANCES)
def test_every_distance_has_an_interval(distance):
    samples = rows(0, shift=2.0), rows(1, shift=1.5), rows(2)
    found = skill_interval(*samples, distance=distance, baseline="identity")
    assert 0 < found.low < found.skill < found.high
    parts = found.distance, found.noise_floor
    skill, ceiling = (1 - part / found.baseline_distance for part in parts)
    assert (found.skill, found.ceiling) == pytest.approx((skill, ceiling))


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"baseline": "pooled"}, "baseline must be one of"),
        ({"level": 1.5}, "level must be a number between 0 and 1"),
        ({"distance": "l2"}, "distance must be a callable or one of"),
    ],
)
def test_wrong_parameters(params, match):
    with pytest.raises(ValueError, match=match):
        skill_interval(rows(0), rows(1), rows(2), **params)


def test_few_rows_have_a_skill_but_no_interval():
    found = skill_interval(rows(0, 20, shift=2.0), rows(1, 20), rows(2, 20))
    assert np.isfinite(found.skill)
    assert np.isnan([found.low, found.high, found.p_value]).all()
    with pytest.raises(ValueError, match="needs at least 4 rows"):
        skill_interval(rows(0, 3), rows(1), rows(2))
