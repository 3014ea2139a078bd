import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.datasets import make_fluohair


def pixels(world, rows):
    """Colours (n, height * width, 3)."""
    return rows.reshape(len(rows), -1, world.data_shape[2])


@pytest.mark.parametrize("n_cues", [1, 2, 4, 7])
def test_images_are_cues_times_colours(n_cues):
    world = make_fluohair(30, n_cues=n_cues, random_state=0)
    cues = world.mechanisms(torch.from_numpy(world.noise).float())["cues"].flatten(2)
    expected = np.einsum("ck,nkp->npc", world.colours, cues.numpy())
    assert np.allclose(pixels(world, world.render()), expected, atol=1e-5)


def test_shapes_stay_and_colours_do_not():
    """With three cues both matrices can be inverted: the same maps come out."""
    world = make_fluohair(30, n_cues=3, random_state=0)
    before, after = (
        pixels(world, world.data[rows]) @ np.linalg.inv(colours).T
        for rows, colours in zip(
            world.pairs, (world.colours, world.recoloured), strict=True
        )
    )
    assert np.allclose(before, after, atol=1e-9)
    assert np.linalg.norm(world.recoloured - world.colours) > 0.1


@given(seed=st.integers(0, 999))
def test_colours_are_rotated(seed):
    world = make_fluohair(3, random_state=seed)
    assert np.allclose(world.rotation @ world.rotation.T, np.eye(3))
    assert np.linalg.det(world.rotation) == pytest.approx(1)
    assert np.allclose(world.rotation @ world.colours, world.recoloured)
    lengths = np.linalg.norm(pixels(world, world.data), axis=2)
    assert np.allclose(lengths[world.pairs[0]], lengths[world.pairs[1]])


def test_a_new_matrix_in_the_last_mechanism_is_the_intervention():
    world = make_fluohair(30, random_state=0)
    noise = torch.from_numpy(world.noise).float()
    graph = copy.deepcopy(world.mechanisms)
    weight = graph.mechanism("data").weight
    with torch.no_grad():
        weight.copy_(torch.from_numpy(world.recoloured)[..., None, None])
        rows = graph(noise)["data"].movedim(1, -1).flatten(1).numpy()
    assert np.allclose(rows, world.data[world.pairs[1]], atol=1e-5)


def test_rendering_is_linear_in_the_colours():
    world = make_fluohair(10, random_state=0)
    a, b = np.random.RandomState(0).randn(2, 3, 4)
    assert np.allclose(world.render(a) + 2 * world.render(b), world.render(a + 2 * b))
    assert not world.render(np.zeros((3, 4))).any()


def test_the_head_is_below_the_hair():
    factors = make_fluohair(500, random_state=0).factors
    assert (factors["y1"] < factors["y0"]).all()
    assert (factors["size0"] > factors["size1"]).all()
    assert list(factors)[:3] == ["x0", "y0", "size0"]
    assert len(factors) == 12


def test_given_colours():
    world = make_fluohair(5, n_cues=1, colours=[[1], [0], [0]], random_state=0)
    assert not pixels(world, world.render())[..., 1:].any()


@pytest.mark.parametrize(
    "colours", [np.ones((4, 3)), np.ones(3), np.full((3, 4), np.nan)]
)
def test_bad_colours(colours):
    with pytest.raises(ValueError, match=r"colours must be .* \(3, 4\), got"):
        make_fluohair(5, colours=colours)
    with pytest.raises(ValueError, match=r"colours must be .* \(3, 4\), got"):
        make_fluohair(5).render(colours)


@pytest.mark.parametrize("n_cues", [0, 1.5])
def test_bad_number_of_cues(n_cues):
    with pytest.raises((ValueError, TypeError), match="n_cues"):
        make_fluohair(5, n_cues=n_cues)
