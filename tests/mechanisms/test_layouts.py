import copy

import numpy as np
import pytest
import torch

from sklearn_icm.exceptions import UnreadMechanismWarning
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import (
    IMAPenalty,
    Step,
)
from sklearn_icm.interventions import Translate
from sklearn_icm.mechanisms import layout_decoder


def seeded(shape=(1, 20, 24), **params):
    torch.manual_seed(0)
    return layout_decoder(3, shape, **params)


@pytest.mark.parametrize("shape", [(1, 30), (2, 9, 14), (3, 20, 24)])
def test_every_part_is_a_bump_at_its_place(shape):
    graph = seeded(shape, n_parts=3, n_features=2).eval()
    nodes = graph(torch.randn(4, 3))
    assert nodes["layout"].shape == (4, 6, *shape[1:])
    assert nodes["data"].shape == (4, *shape)
    n_axes = len(shape) - 1
    # Well inside, so that the whole bump is on the grid.
    middle = torch.tensor([(size - 1) / 2 for size in shape[1:]])
    places = (4.0 - middle).expand(1, 3, n_axes)
    heights = torch.tensor([2.0, -1.0]).expand(1, 3, 2)
    maps = graph.mechanism("layout")(places, heights)[0].unflatten(0, (3, 2))
    for height, bump in zip((2.0, -1.0), maps[1], strict=True):
        assert torch.isclose(bump.abs().max(), torch.tensor(abs(height)), atol=1e-6)
        mass = bump.abs() / bump.abs().sum()
        for axis, size in enumerate(shape[1:]):
            other = [k for k in range(n_axes) if k != axis]
            profile = mass.sum(other) if other else mass
            centre = (profile * torch.arange(size)).sum()
            assert torch.isclose(centre, torch.tensor(4.0), atol=1e-3)


def test_places_that_move_are_a_translated_layout():
    graph = seeded(n_parts=2).eval()
    bumps = graph.mechanism("layout")
    places, heights = torch.rand(5, 2, 2) * 4 - 2, torch.rand(5, 2, 2)
    moved = places + torch.tensor([0.0, 2.0])
    still = bumps(places, heights)
    assert torch.allclose(
        bumps(moved, heights), Translate(2, "width")(still), atol=1e-4
    )


def test_widths_are_random_in_training_alone():
    graph = seeded()
    noise = torch.randn(2, 3)
    layout = graph(noise)["layout"]
    # Those of a step stay until the next one.
    assert torch.equal(layout, graph(noise)["layout"])
    graph.mechanism("layout").step += 1
    assert not torch.equal(layout, graph(noise)["layout"])
    assert torch.equal(graph(noise)["places"], graph(noise)["places"])
    fixed = seeded(random_widths=None)
    assert torch.equal(fixed(noise)["layout"], fixed(noise)["layout"])
    graph.eval()
    assert torch.equal(graph(noise)["layout"], graph(noise)["layout"])


def test_random_widths_belong_to_the_state():
    graph = seeded()
    other = copy.deepcopy(graph)
    noise = torch.randn(2, 3)
    torch.manual_seed(7)
    first = graph(noise)["data"]
    torch.manual_seed(8)
    assert torch.equal(other(noise)["data"], first)
    assert torch.random.initial_seed() == 8


def test_the_range_of_random_widths():
    graph = seeded(random_widths=(0.5, 2.0))
    places = torch.zeros(4000, 1, 2)
    widths = graph.mechanism("layout")._widths(places)
    logs = widths.log().flatten() / np.log(2)
    assert -1 <= logs.min() < -0.95
    assert 0.95 < logs.max() <= 1
    # Uniform on (-1, 1): variance 1/3.
    assert abs(logs.var() - 1 / 3) < 0.02


def test_gradient_reaches_every_parameter():
    graph = seeded()
    graph(torch.randn(4, 3))["data"].square().sum().backward()
    for name, parameter in graph.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_a_fit_is_reproduced_by_its_seed(pairs):
    narrow = pairs.data[:60]

    def fit(data):
        est = VAEGenerator(
            pairs.data_shape, decoder=layout_decoder, max_epochs=2, random_state=0
        )
        return est.fit(data)

    first, second = fit(narrow), fit(narrow)
    assert np.array_equal(first.sample(3, random_state=1), second.sample(3, 1))
    assert list(first.nodes_) == [
        *("noise", "places", "heights", "layout", "parts", "data")
    ]
    with pytest.warns(UnreadMechanismWarning, match="layout -> parts"):
        report = first.independence()
    assert list(report["pair"]) == ["parts -> data"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"width": 0.0}, "width must be a positive number of pixels, got 0.0"),
        ({"width": "wide"}, "width must be a positive number of pixels, got 'wide'"),
        ({"random_widths": (1.6, 0.6)}, r"0 < low <= high, got \(1.6, 0.6\)"),
        ({"random_widths": (-1.0, 0.6)}, "0 < low <= high"),
        ({"random_widths": 1.0}, r"None or a range \(low, high\), got 1.0"),
        ({"n_parts": 0}, "n_parts must be an int of at least 1, got 0"),
        ({"n_features": 1.5}, "n_features must be an int of at least 1, got 1.5"),
        ({"kernel_size": 0}, "kernel_size must be an int of at least 1, got 0"),
        ({"activation": "gelu"}, "activation must be one of"),
        ({"data_shape": (7,)}, "one or two axes"),
    ],
)
def test_parameters_that_mean_nothing(params, message):
    with pytest.raises(ValueError, match=message):
        layout_decoder(**{"n_latents": 3, "data_shape": (1, 8, 8), **params})


JACOBIAN_PENALTIES = [
    IMAPenalty(),
]


@pytest.mark.parametrize("penalty", JACOBIAN_PENALTIES, ids=repr)
def test_jacobian_penalties_see_the_map_without_random_widths(penalty):
    torch.manual_seed(0)
    graph = layout_decoder(3, (1, 8, 8), n_parts=2, hidden=8, n_maps=4, kernel_size=3)
    nodes = graph(torch.randn(4, 3))
    trained = penalty(Step(graph, nodes))
    assert all(module.training for module in graph.modules())
    assert penalty(Step(graph, nodes)) == trained == penalty(Step(graph.eval(), nodes))
    assert trained.requires_grad
