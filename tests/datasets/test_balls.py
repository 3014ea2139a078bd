import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from sklearn_icm.datasets import make_two_balls
from sklearn_icm.interventions import Do

BALLS = make_two_balls(3000, random_state=0)


def heights(factors):
    return np.stack([factors["left"], factors["right"]], 1)


@given(corner=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_the_corner_is_held_out(corner, seed):
    world = make_two_balls(200, corner=corner, size=8, random_state=seed)
    factors = heights(world.factors)
    assert not (factors > corner).all(1).any()
    assert factors.min() >= 0
    assert factors.max() <= 1


def test_heights_are_uniform_on_the_l():
    """Each of the three boxes of the L holds its share of the rows."""
    corner, n = 0.6, 3000
    world = make_two_balls(n, corner=corner, size=8, random_state=1)
    left, right = (heights(world.factors) > corner).T
    area = 1 - (1 - corner) ** 2
    for inside, size in (
        (~left & ~right, corner**2),
        (left, corner * (1 - corner)),
        (right, corner * (1 - corner)),
    ):
        share = size / area
        assert abs(inside.mean() - share) < 5 * np.sqrt(share * (1 - share) / n)
    box = heights(world.factors)[~left & ~right] / corner
    assert all(kstest(column, "uniform").pvalue > 1e-4 for column in box.T)


def test_heights_are_uniform_on_the_square():
    square = heights(BALLS.square_factors)
    assert all(kstest(column, "uniform").pvalue > 1e-4 for column in square.T)
    assert (square > 0.5).all(1).mean() == pytest.approx(0.25, abs=5 * 0.0079)
    # Independent, unlike on the L: 5 standard deviations of a correlation of 3000.
    assert abs(np.corrcoef(square.T)[0, 1]) < 5 / np.sqrt(3000)
    assert np.corrcoef(heights(BALLS.factors).T)[0, 1] < -0.2


@given(corner=st.floats(0.05, 0.95))
def test_unfolding_is_the_square_of_the_same_noise(corner):
    world = make_two_balls(50, corner=corner, size=8, random_state=0)
    unfold = world.interventions["square"]["factors"]
    unfolded = unfold(torch.from_numpy(heights(world.factors))).numpy()
    assert np.allclose(unfolded, heights(world.square_factors))


def test_render_at_another_corner():
    small = make_two_balls(3000, corner=0.2, random_state=0)
    assert np.array_equal(BALLS.render(0.2), small.render())
    assert np.array_equal(BALLS.render(1.0), BALLS.data[3000:])


def test_images_are_additive():
    """No mixed effect of the two heights on any pixel."""

    def image(left, right):
        nodes = BALLS.mechanisms(torch.zeros(1, 2), {"factors": Do([left, right])})
        return nodes["data"].numpy()

    mixed = image(0.9, 0.8) - image(0.9, 0.1) - image(0.2, 0.8) + image(0.2, 0.1)
    assert np.allclose(mixed, 0, atol=1e-5)


def test_balls_stand_where_the_factors_say():
    maps = BALLS.mechanisms(torch.from_numpy(BALLS.noise).float())["balls"].numpy()
    mass = maps.sum((2, 3))
    rows = maps.sum(3) @ np.arange(24) / mass
    columns = maps.sum(2) @ np.arange(24) / mass
    assert np.allclose(rows, 20 - 17 * heights(BALLS.factors), atol=0.1)
    assert np.allclose(columns, [5.75, 17.25], atol=0.1)
    assert np.allclose(mass, mass.mean(), rtol=0.03)


def test_values():
    assert BALLS.data.min() >= 0
    assert BALLS.data.max() <= 1


@pytest.mark.parametrize("corner", [0, 1, -0.5, np.nan])
def test_bad_corner(corner):
    with pytest.raises(ValueError, match="corner"):
        make_two_balls(5, corner=corner)


@pytest.mark.parametrize("corner", [0, 1.1, np.nan])
def test_bad_corner_of_render(corner):
    with pytest.raises(ValueError, match="corner"):
        BALLS.render(corner)


def test_bad_size():
    with pytest.raises(ValueError, match="size == 7, must be >= 8"):
        make_two_balls(5, size=7)
