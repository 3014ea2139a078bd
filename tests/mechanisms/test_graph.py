import copy

import pytest
import torch
from torch import nn

from sklearn_icm.interventions import Shift
from sklearn_icm.mechanisms import MechanismGraph, conv_decoder


class Sum(nn.Module):
    def forward(self, a, b):
        return a + b


def diamond():
    """Noise reaches the data along two ways."""
    return MechanismGraph(
        {"u": (3,), "v": (3,)},
        {
            "left": ("u", nn.Linear(3, 3)),
            "right": (("u", "v"), Sum()),
            "data": (("left", "right"), Sum()),
        },
    )


def noise(graph, n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(n, *s, generator=generator) for k, s in graph.roots.items()}


def test_nodes_are_in_topological_order_with_shapes():
    assert diamond().nodes == dict.fromkeys(["u", "v", "left", "right", "data"], (3,))
    assert diamond().data_node == "data"


@pytest.mark.parametrize("node", ["u", "v", "left", "right", "data"])
def test_intervention_changes_descendants_only(node):
    graph = diamond()
    z = noise(graph)
    before, after = graph(z), graph(z, {node: Shift(1.0)})
    descendants = graph.descendants([node])
    for name in graph.nodes:
        assert torch.equal(before[name], after[name]) == (name not in descendants)


@pytest.mark.parametrize("node", ["u", "v", "left", "right", "data"])
def test_factual_nodes_change_nothing_but_the_work(node):
    graph = diamond()
    z = noise(graph)
    whole = graph(z, {node: Shift(1.0)})
    reused = graph(z, {node: Shift(1.0)}, factual=graph(z))
    assert all(torch.equal(whole[k], reused[k]) for k in graph.nodes)


def test_upstream_mechanisms_are_not_run_again_with_factual_nodes():
    graph = conv_decoder(2, (1, 8, 8), (3, 3))
    calls = []
    graph.mechanism("conv1").register_forward_hook(lambda *args: calls.append(1))
    factual = graph(torch.zeros(1, 2))
    graph(torch.zeros(1, 2), {"conv2": Shift(1.0)}, factual=factual)
    assert len(calls) == 1


def test_interventions_on_two_branches_commute():
    graph = diamond()
    z = noise(graph)
    changes = {"left": Shift(1.0), "right": Shift(-2.0)}
    flipped = dict(reversed(changes.items()))
    assert torch.equal(graph(z, changes)["data"], graph(z, flipped)["data"])


def test_unknown_node_lists_the_nodes_and_the_nearest():
    with pytest.raises(ValueError, match=r"'lefd'.*\['u', 'v', 'left'.*mean 'left'"):
        diamond()(noise(diamond()), {"lefd": 0.0})


def test_any_name_is_a_node_name():
    graph = MechanismGraph({"a.b": (2,)}, {"pop": ("a.b", nn.Linear(2, 2))})
    assert graph.nodes == {"a.b": (2,), "pop": (2,)}


@pytest.mark.parametrize(
    ("mechanisms", "error", "match"),
    [
        ({}, ValueError, "at least one root and one mechanism"),
        ({"a": ("b", nn.Linear(2, 2)), "b": ("a", nn.Linear(2, 2))}, ValueError, "cyc"),
        ({"noise": ("noise", nn.Linear(2, 2))}, ValueError, "unique"),
        ({"a": ("noise", lambda v: v)}, TypeError, "torch.nn.Module"),
        ({"a": ("noise", nn.Flatten(0))}, ValueError, "one row per row"),
    ],
)
def test_malformed_graphs_are_refused(mechanisms, error, match):
    with pytest.raises(error, match=match):
        MechanismGraph({"noise": (2,)}, mechanisms)


def test_unknown_names_are_refused():
    graph = MechanismGraph({"noise": (2,)}, {"data": ("noise", nn.Linear(2, 2))})
    with pytest.raises(ValueError, match=r"one of \['data'\], got 'dota'"):
        graph.mechanism("dota")
    with pytest.raises(ValueError, match=r"every root, \['noise'\], got \['x'\]"):
        graph({"x": torch.zeros(1, 2)})


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_convolutions_that_take_rows_for_channels_are_refused(n):
    """Torch reads a matrix as one signal of so many channels."""
    with pytest.raises(ValueError, match="mechanism of node 'data' fails on rows"):
        MechanismGraph({"noise": (16,)}, {"data": ("noise", nn.Conv1d(n, n, 3))})


def test_building_a_graph_leaves_its_modules_as_they_are():
    norm = nn.BatchNorm1d(2)
    norm(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) + 3)
    kept, stream = copy.deepcopy(norm.state_dict()), torch.get_rng_state()
    module = nn.Sequential(norm, nn.Dropout())
    graph = MechanismGraph({"noise": (2,)}, {"data": ("noise", module)})
    graph.with_link(nn.Identity())
    assert all(torch.equal(kept[k], v) for k, v in norm.state_dict().items())
    assert all(part.training for part in module.modules())
    assert torch.equal(torch.get_rng_state(), stream)
