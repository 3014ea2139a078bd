"""Parts drawn at coordinates: they go where these go, and look as they did."""

import numpy as np
import pytest
import torch

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.interventions import Do, Stretch, Translate, Units
from sklearn_icm.mechanisms import parts_decoder

SHAPES = [(1, 30), (2, 21, 24)]


def seeded(shape=(1, 24, 24), **params):
    torch.manual_seed(0)
    return parts_decoder(3, shape, **{"n_parts": 3, "patch_size": 7, **params})


def drawn(graph, places, looks=None, *poses):
    looks = torch.randn(len(places), *graph.nodes["looks"]) if looks is None else looks
    return graph.mechanism("parts")(places, looks, *poses)


@pytest.mark.parametrize("poses", [False, True])
@pytest.mark.parametrize("compose", ["sum", "over"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_kinds_and_gradients(shape, compose, poses):
    graph = seeded(shape, compose=compose, poses=poses)
    nodes = graph(torch.randn(4, 3))
    channels, *grid = shape
    n_axes = len(grid)
    assert nodes["places"].shape == (4, 3, n_axes)
    assert nodes["parts"].shape == (4, 3, channels + (compose == "over"), *grid)
    assert nodes["data"].shape == (4, *shape)
    kinds = {"places": "points", "looks": "vector", "parts": "vector", "data": "map"}
    assert kinds.items() <= graph.kinds.items()
    assert ("poses" in nodes) == poses
    nodes["data"].square().sum().backward()
    for name, parameter in graph.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("compose", ["sum", "over"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_centre_of_a_part_is_its_place(shape, compose):
    graph = seeded(shape, compose=compose)
    n_axes = len(shape) - 1
    draws, looks = graph.mechanism("parts"), torch.randn(5, 3, 16)
    # Such that no value falls between two pixels: squares of those are other ones.
    even = torch.tensor([(size - draws.shape[1]) % 2 / 2 for size in shape[1:]])
    places = draws._centres(draws._patches(looks)) + torch.randint(-2, 3, (5, 3, 1))
    places = places + even
    energy = draws(places, looks).square().sum(2)
    total = energy.flatten(2).sum(2)
    for axis, size in enumerate(shape[1:]):
        other = [k + 2 for k in range(n_axes) if k != axis]
        mass = energy.sum(other) if other else energy
        centre = mass @ (torch.arange(size) - (size - 1) / 2) / total
        assert torch.allclose(centre, places[..., axis], atol=1e-3)


@pytest.mark.parametrize("compose", ["sum", "over"])
def test_places_that_move_are_translated_parts(compose):
    graph = seeded(compose=compose)
    places, looks = 4 * torch.rand(5, 3, 2) - 2, torch.randn(5, 3, 16)
    still = drawn(graph, places, looks)
    moved = drawn(graph, places + torch.tensor([0.0, 3.0]), looks)
    expected = Translate(3, "width")(still.flatten(1, 2)).reshape(still.shape)
    assert torch.allclose(moved, expected, atol=1e-5)


def test_a_stretch_of_places_moves_some_parts_and_keeps_all_looks():
    graph = seeded()
    noise = torch.randn(4, 3)
    before = graph(noise)
    after = graph(noise, {"places": Units([0, 2], Stretch(1.5, "height", about=1.0))})
    expected = before["places"].clone()
    expected[:, [0, 2], 0] = 1 + 1.5 * (expected[:, [0, 2], 0] - 1)
    assert torch.allclose(after["places"], expected)
    assert torch.equal(after["looks"], before["looks"])
    assert torch.equal(after["parts"][:, 1], before["parts"][:, 1])


@pytest.mark.parametrize("compose", ["sum", "over"])
def test_a_part_that_is_left_out_draws_nothing(compose):
    graph = seeded(compose=compose)
    noise = torch.randn(4, 3)
    none = graph(noise, {"parts": Do(0.0)})["data"]
    assert torch.equal(none, graph.mechanism("data").ground.expand_as(none))
    without = graph(noise, {"parts": Units(1, Do(0.0))})
    kept = graph(noise)["parts"][:, [0, 2]]
    assert torch.allclose(without["data"], graph.mechanism("data")(kept), atol=1e-6)


def test_the_first_part_covers_the_others():
    composed = seeded(compose="over").mechanism("data")
    parts = torch.zeros(1, 2, 2, 5, 5)
    parts[:, 0, :, :, :3] = torch.tensor([2.0, 1.0]).view(2, 1, 1)
    parts[:, 1, :, :, 1:4] = torch.tensor([-0.5, 0.5]).view(2, 1, 1)
    with torch.no_grad():
        composed.ground.fill_(4.0)
    row = composed(parts)[0, 0, 0]
    assert row.tolist() == [2.0, 2.0, 2.0, 1.5, 4.0]


def test_poses_scale_and_turn_a_part_at_its_place():
    graph = seeded(poses=True, patch_size=7, shape=(1, 31, 31))
    places, looks = torch.zeros(2, 3, 2), torch.randn(2, 3, 16)
    poses = torch.zeros(2, 3, 2)
    plain = drawn(graph, places, looks, poses)
    quarter = drawn(graph, places, looks, poses + torch.tensor([0.0, 90.0]))
    # Whose centre, too, is at its place.
    assert torch.allclose(quarter, plain.rot90(dims=(3, 4)), atol=1e-4)
    twice = drawn(
        graph, places, looks, poses + torch.tensor([np.log(2.0), 0.0]).float()
    )
    # What was one pixel from the middle is now two.
    assert torch.allclose(twice[..., 1::2, 1::2], plain[..., 8:23, 8:23], atol=1e-5)


def test_a_fit_is_reproduced_by_its_seed(pairs):
    narrow = pairs.data[:60]

    def fit():
        return VAEGenerator(
            pairs.data_shape,
            decoder=parts_decoder,
            hidden=(4, 4),
            latent_density="gaussian",
            max_epochs=1,
            random_state=0,
        ).fit(narrow)

    with pytest.warns(UserWarning, match="explains"):
        first, second = fit(), fit()
    change = {"places": Stretch(1.5), "parts": Units(0, Do(0.0))}
    answers = (model.intervene(change, X=narrow[:5]) for model in (first, second))
    assert np.array_equal(*answers)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_parts": 0}, "n_parts must be an int of at least 1, got 0"),
        ({"patch_size": 1.5}, "patch_size must be an int of at least 1, got 1.5"),
        ({"patch_size": 9}, "patch_size must be at most 8, .* would draw the whole"),
        ({"n_features": 0}, "n_features must be an int of at least 1, got 0"),
        (
            {"compose": "alpha"},
            r"compose must be one of \['sum', 'over'\], got 'alpha'",
        ),
        ({"activation": "gelu"}, "activation must be one of"),
        ({"data_shape": (7,)}, "one or two axes"),
    ],
)
def test_parameters_that_mean_nothing(params, message):
    with pytest.raises(ValueError, match=message):
        parts_decoder(**{"n_latents": 3, "data_shape": (1, 8, 8), **params})
