import numpy as np
import pytest

from sklearn_icm.metrics import energy_distance, extrapolation_skill, skill_interval


def rows(seed, n=60, shift=0.0, d=2):
    return np.random.RandomState(seed).randn(n, d) + shift


def test_value_is_the_skill():
    env, changed, usual = rows(0, shift=2.0), rows(1, shift=1.5), rows(2)
    found = skill_interval(env, changed, usual)
    expected = extrapolation_skill(env, changed, usual)
    assert found.skill == pytest.approx(expected, abs=1e-6)
    assert found.distance == pytest.approx(energy_distance(env, changed), abs=1e-6)
    assert found.low < expected < found.high
    again = skill_interval(env, changed, usual)
    assert (again.low, again.high) == (found.low, found.high)


def test_three_points():
    env, usual = rows(0, shift=2.0), rows(2)
    perfect = skill_interval(env, rows(1, shift=2.0), usual)
    assert perfect.skill > 0.9
    assert perfect.distance <= perfect.noise_floor
    assert perfect.p_value > 0.05
    useless = skill_interval(env, rows(1), usual)
    assert abs(useless.skill) < 0.2
    assert useless.low < 0 < useless.high
    nothing = skill_interval(rows(0), rows(1), usual)
    assert not nothing.is_above_floor
    assert np.isnan([nothing.low, nothing.high]).all()


@pytest.mark.parametrize(("shift", "part", "d"), [(1.5, 0.5, 2), (1.0, 0.2, 5)])
def test_intervals_cover_the_skill_of_the_distributions(shift, part, d):
    """95 % intervals; 40 repetitions have a standard error of 3.4 %."""
    n, predicted = 60, part * shift
    big = [rows(9000 + k, 4000, s, d) for k, s in enumerate((shift, predicted, 0))]
    truth = extrapolation_skill(*big)
    covered = []
    for k in range(40):
        samples = (
            rows(3 * k, n, shift, d),
            rows(3 * k + 1, n, predicted, d),
            rows(3 * k + 2, n, 0, d),
        )
        found = skill_interval(
            *samples, n_bootstrap=100, n_permutations=20, random_state=10_000 + k
        )
        assert found.is_above_floor
        covered.append(found.low <= truth <= found.high)
    assert 0.95 - 5 * 0.034 < np.mean(covered) <= 1
    assert np.mean(covered) < 1


@pytest.mark.parametrize("distance", ["mmd", "sliced_wasserstein"])
def test_other_distances(distance):
    found = skill_interval(
        rows(0, shift=2.0),
        rows(1, shift=1.5),
        rows(2),
        distance=distance,
        n_bootstrap=20,
        n_permutations=20,
    )
    assert 0 < found.low < found.skill < found.high


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_bootstrap": 0}, "n_bootstrap must be an int >= 1"),
        ({"level": 1.5}, "level must be a number between 0 and 1"),
        ({"distance": "l2"}, "distance must be a callable or one of"),
    ],
)
def test_wrong_parameters(params, match):
    with pytest.raises(ValueError, match=match):
        skill_interval(rows(0), rows(1), rows(2), **params)


@pytest.mark.parametrize("distance", ["energy", "mmd", "sliced_wasserstein"])
def test_one_kernel_and_one_set_of_directions(distance):
    found = skill_interval(
        rows(0, shift=6.0),
        1.25 * rows(1, shift=4.8),
        rows(2),
        distance=distance,
        n_bootstrap=1,
        n_permutations=2,
    )
    assert found.skill == 1 - found.distance / found.baseline_distance
    assert found.ceiling == 1 - found.noise_floor / found.baseline_distance


def test_no_shift_has_no_skill():
    found = skill_interval(rows(0), rows(1, shift=2.0), 0.99 * rows(0))
    assert found.baseline_distance < 0
    assert np.isnan([found.skill, found.ceiling]).all()
