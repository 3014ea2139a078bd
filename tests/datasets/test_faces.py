import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from sklearn_icm.datasets import make_faces
from sklearn_icm.interventions import Scale, Stretch, Units

CENTRE = 11.5
FACES = make_faces(300, random_state=0)
NOISE = torch.from_numpy(FACES.noise).float()


def images(rows):
    return rows.reshape(-1, *FACES.data_shape)


def counterfactual_error(rows, truth):
    """||rows - truth||^2 / ||truth - mean truth||^2."""
    return ((rows - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()


def changed(node, intervention):
    return FACES.mechanisms(NOISE, {node: intervention})["data"].flatten(1).numpy()


def true_columns(stretch):
    x, distance = FACES.factors["x"], FACES.factors["eye_distance"]
    columns = np.stack([x - distance / 2, x + distance / 2, x], 1)
    return CENTRE + stretch * (columns - CENTRE)


@given(stretch=st.floats(0.7, 1.6))
def test_stretched_layout_is_the_truth(stretch):
    rows = changed("layout", Stretch(stretch, axis="width"))
    assert counterfactual_error(rows, FACES.render(stretch)) < 1e-3
    assert np.allclose(rows, FACES.render(stretch), atol=0.05)


@given(stretch=st.floats(0.7, 1.6))
def test_stretched_layout_holds_the_places(stretch):
    layout = FACES.mechanisms(NOISE, {"layout": Stretch(stretch)})["layout"].numpy()
    energy = (layout**2).sum(2)
    places = energy @ np.arange(24) / energy.sum(2)
    assert np.allclose(places, true_columns(stretch), atol=0.05)


@pytest.mark.parametrize("stretch", [0.7, 1.3, 1.5])
def test_stretched_pixels_are_not_the_truth(stretch):
    truth = FACES.render(stretch)
    pixels = counterfactual_error(changed("data", Stretch(stretch)), truth)
    assert 0.1 < pixels < counterfactual_error(FACES.render(), truth)


def test_the_centre_of_the_mouth_moves_and_its_shape_does_not():
    factual, stretched = images(FACES.data)[FACES.pairs]
    columns, below = np.arange(24), np.arange(24) > FACES.factors["y"][:, None] + 1.5
    for rows, ratio in ((factual, 1.0), (stretched, 1.5)):
        mouth = (rows * below[:, :, None]).sum(1)
        mouth /= mouth.sum(1, keepdims=True)
        centre = mouth @ columns
        width = np.sqrt((mouth * (columns - centre[:, None]) ** 2).sum(1))
        assert np.allclose(centre, true_columns(ratio)[:, 2], atol=0.1)
        assert np.allclose(width, 2 * FACES.factors["size"], rtol=0.03)


def test_mass_is_kept():
    """Where parts do not overlap each row of pixels keeps its mass."""
    factual, stretched = images(FACES.data)[FACES.pairs]
    assert np.allclose(factual.sum((1, 2)), stretched.sum((1, 2)), rtol=0.03)


def test_values_and_borders():
    assert FACES.data.min() >= 0
    assert FACES.data.max() <= 1
    inside = images(FACES.data)[:, 1:-1, 1:-1].sum()
    assert images(FACES.data).sum() - inside < 1e-3 * inside


def test_factors_are_uniform_transforms_of_the_noise():
    ranges = {
        "x": (10.5, 12.5),
        "y": (9.5, 13.5),
        "eye_distance": (5.5, 8.0),
        "size": (0.9, 1.2),
        "amplitude": (0.5, 1.0),
    }
    assert list(FACES.factors) == list(ranges)
    for column, (name, (low, high)) in zip(FACES.noise.T, ranges.items(), strict=True):
        expected = low + (high - low) * norm.cdf(column)
        assert np.allclose(FACES.factors[name], expected)


def test_amplitude_scales_each_part():
    """At low amplitude, where parts overlap least, images are linear in it."""
    dim, bright = torch.from_numpy(FACES.noise).clone(), torch.from_numpy(FACES.noise)
    dim[:, 4] = -9.0
    bright = dim.clone()
    bright[:, 4] = 9.0
    a, b = (FACES.mechanisms(z)["data"] for z in (dim, bright))
    assert torch.allclose(2 * a, b, atol=0.05)


def test_an_empty_map_draws_nothing():
    rows = images(changed("layout", Units(2, 0.0)))
    below = np.arange(24) > FACES.factors["y"][:, None] + 2
    assert (np.abs(rows * below[:, :, None]) < 1e-3).all()
    assert (np.abs(images(changed("layout", Units([0, 1, 2], 0.0)))) == 0).all()


@pytest.mark.parametrize("factor", [-0.3, 1e-30, 1e30])
def test_same_shapes_whatever_the_heights_of_the_bumps(factor):
    rows = changed("layout", Scale(factor))
    assert np.allclose(rows, FACES.render(), atol=1e-4)


@pytest.mark.parametrize("stretch", [0, -1.5, np.nan, np.inf])
def test_bad_stretch(stretch):
    with pytest.raises(ValueError, match="stretch"):
        make_faces(5, stretch=stretch)
    with pytest.raises(ValueError, match="stretch"):
        FACES.render(stretch)


def test_stretch_that_is_no_number():
    with pytest.raises(TypeError, match="stretch must be an instance of"):
        make_faces(5, stretch="wide")
