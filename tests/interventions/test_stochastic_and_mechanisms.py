import pickle

import numpy as np
import pytest
import torch
from helpers import TABLE, small

from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import (
    Compose,
    Do,
    Noise,
    Orthogonal,
    Reparametrise,
    Resample,
    Shift,
    SwapMechanism,
    Units,
    Where,
)
from sklearn_icm.mechanisms import ConvMechanism, DenseMechanism, MechanismGraph


@pytest.fixture(scope="module")
def table():
    return small(bounds=None).fit(TABLE)


def test_noise_has_the_stated_spread_and_is_independent_of_the_rows(table):
    *_, values = table.intervene(
        {"dense1": Noise(0.5)}, n_samples=4000, random_state=0, return_nodes=True
    )
    factual, changed = values["dense1"]
    added = changed - factual
    # Standard errors of a standard deviation and of a mean of 32,000 numbers.
    assert abs(added.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * added.size)
    assert abs(added.mean()) < 5 * 0.5 / np.sqrt(added.size)
    correlation = np.corrcoef(added.ravel(), factual.ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(added.size)


def test_resample_cuts_the_node_from_its_parents(table):
    given = table.node_values(TABLE[:7])["dense1"]
    *_, values = table.intervene(
        {"dense1": Resample(given)}, n_samples=2000, random_state=0, return_nodes=True
    )
    _, changed = values["dense1"]
    which = np.abs(changed[:, None] - given).max(2).argmin(1)
    assert np.array_equal(changed, given[which])
    counts = np.bincount(which, minlength=7)
    assert (np.abs(counts - 2000 / 7) < 5 * np.sqrt(2000 / 7)).all()


def test_random_interventions_on_given_rows_follow_the_seed(table):
    query = {"interventions": {"dense1": Noise(0.5)}, "X": TABLE}
    same = [table.intervene(random_state=4, **query) for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(table.intervene(**query), table.intervene(**query))
    resting = table.random_state_.get_state()[1].copy()
    table.intervene({"dense1": Shift(0.1)}, X=TABLE)
    assert np.array_equal(table.random_state_.get_state()[1], resting)


def test_each_of_several_has_its_own_stream(table):
    twice = table.intervene({"dense1": Noise(1.0) >> Noise(1.0)}, n_samples=9)
    assert np.isfinite(twice).all()
    *_, values = table.intervene(
        {"dense1": Noise(1.0) >> Noise(1.0), "noise": Noise(1.0)},
        n_samples=4000,
        random_state=0,
        return_nodes=True,
    )
    spread = values["noise"][1] - values["noise"][0]
    assert abs(spread.std() - 1) < 5 / np.sqrt(2 * spread.size)
    *_, values = table.intervene(
        {"data": Do(0.0), "dense1": Noise(1.0) >> Noise(1.0)},
        n_samples=4000,
        random_state=0,
        return_nodes=True,
    )
    added = values["dense1"][1] - values["dense1"][0]
    assert abs(added.std() - np.sqrt(2)) < 5 * np.sqrt(2) / np.sqrt(2 * added.size)


def test_swapping_every_mechanism_gives_the_other_model(table):
    other = small(bounds=None, random_state=7).fit(TABLE)
    swaps = {name: SwapMechanism(other, name) for name in other.mechanisms_}
    draw = {"n_samples": 6, "random_state": 0, "observation_noise": False}
    *_, nodes = table.intervene(swaps, return_nodes=True, **draw)
    noise = torch.from_numpy(nodes["noise"][0])
    with torch.no_grad():
        expected = other.graph_(noise)["data"].numpy()
    assert np.allclose(nodes["data"][1], expected, atol=1e-6)
    # A swap at the data node and a change of its values act one after the other.
    shifted = table.intervene({**swaps, "data": swaps["data"] >> Shift(0.5)}, **draw)
    assert np.allclose(shifted, expected + 0.5, atol=1e-5)
    assert pickle.loads(pickle.dumps(swaps["data"])) == swaps["data"]
    assert swaps["data"] != SwapMechanism(table, "data")


def test_reparametrise_multiplies_the_weights():
    rng = np.random.RandomState(0)
    left, right = rng.normal(size=(3, 3)), rng.normal(size=(2, 2))
    torch.manual_seed(0)
    for module, shape in [
        (torch.nn.Linear(2, 3), (2,)),
        (DenseMechanism((2, 4), (3, 4), "tanh"), (2, 4)),
        (ConvMechanism(2, (3, 4), (1,), kernel_size=3, activation="tanh"), (2, 4)),
        (ConvMechanism(2, (3, 8), (2,), kernel_size=3, activation="tanh"), (2, 4)),
    ]:
        v = torch.randn(5, *shape)
        out = module(v).shape[1:]
        name = "noise" if len(shape) == 1 else "data"
        assert name in {"noise", "data"}
        linear = Reparametrise(np.eye(3)).mechanism(module)
        assert torch.allclose(linear(v), module(v), atol=1e-6)
        mixed_input = Reparametrise(right, side="input").mechanism(module)
        mixed = torch.einsum("ij,nj...->ni...", torch.tensor(right).float(), v)
        assert torch.allclose(mixed_input(v), module(mixed), atol=1e-5)
        if isinstance(module, torch.nn.Linear):
            got = Reparametrise(left).mechanism(module)(v) - module.bias
            expected = (module(v) - module.bias) @ torch.tensor(left).float().T
            assert torch.allclose(got, expected, atol=1e-5)
        assert Reparametrise(left).mechanism(module)(v).shape[1:] == out


def test_reparametrised_mechanism_in_a_query():
    torch.manual_seed(0)
    graph = MechanismGraph({"noise": (3,)}, {"data": ("noise", torch.nn.Linear(3, 3))})
    model = FixedGenerator(graph, random_state=0).fit(
        np.random.RandomState(0).rand(9, 3)
    )
    turn = Orthogonal(0)
    matrix = turn(torch.eye(3, dtype=torch.float64)).T.numpy()
    rows = model.sample(5, random_state=0)
    changed = model.intervene(
        {"data": Reparametrise(matrix)}, n_samples=5, random_state=0
    )
    bias = graph.mechanism("data").bias.detach().numpy()
    assert np.allclose(changed, (rows - bias) @ matrix.T + bias, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise(-1.0), "must not be negative"),
        (lambda: Noise("a"), "must be a number"),
        (lambda: Resample([1.0]), r"shape \(n_values, \*node shape\)"),
        (lambda: Resample(np.empty((0, 2))), "at least one value"),
        (lambda: Resample([[np.nan]]), "finite"),
        (lambda: Orthogonal([[1.0, 1.0], [0.0, 1.0]]), "orthonormal"),
        (lambda: Orthogonal(np.ones((2, 3))), "orthonormal"),
        (lambda: Orthogonal(-1), "must not be negative"),
        (lambda: Orthogonal(2**63), "less than 2\\*\\*63"),
        (lambda: Orthogonal(0, transposed="no"), "transposed must be True or False"),
        (lambda: Orthogonal(np.eye(2), transposed=1), "transposed must be True or F"),
        (lambda: Do([]), "value must hold at least one value"),
        (lambda: Units([], 0.0), "non-empty"),
        (lambda: Units(0.5, 0.0), "non-negative int"),
        (lambda: Reparametrise([1.0]), "must be square"),
        (lambda: Reparametrise(np.eye(2), side="left"), "side must be one of"),
        (lambda: Units(0, Reparametrise(np.eye(2))), "cannot act on a part"),
        (lambda: Where(True, Reparametrise(np.eye(2))), "cannot act on a part"),
        (lambda: SwapMechanism(small(), "data"), "not a fitted generator"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_interventions_that_do_not_fit_are_refused(table):
    other = small(hidden=(5,)).fit(TABLE)
    wide = small(n_latents=3).fit(TABLE)
    for node, intervention, message in [
        ("dense1", Resample(np.ones((2, 3))), "do not fit node 'dense1'"),
        ("dense1", Orthogonal(np.eye(3)), "does not fit node 'dense1'"),
        ("dense1", Units(8, 0.0), "out of range"),
        ("dense1", Units([0, 1], Do([1.0, 2.0, 3.0])), "does not fit"),
        ("dense1", Reparametrise(np.eye(3)), "does not fit node 'dense1'"),
        ("dense1", Reparametrise(np.eye(3), side="input"), "the parent of node"),
        ("noise", Reparametrise(np.eye(2)), "is a root"),
        ("dense1", SwapMechanism(other, "dense1"), "do not fit node 'dense1'"),
        ("dense1", SwapMechanism(wide, "dense1"), "reads values of shapes"),
    ]:
        with pytest.raises(ValueError, match=message):
            table.intervene({node: intervention}, n_samples=2)
    with pytest.raises(ValueError, match="its mechanisms are"):
        SwapMechanism(table, "conv1")
    with pytest.raises(TypeError, match="cannot be described as JSON"):
        Compose([SwapMechanism(table, "data")]).to_dict()


def test_mechanisms_without_one_linear_layer_cannot_be_reparametrised():
    graph = MechanismGraph({"noise": (2,)}, {"data": ("noise", torch.nn.Tanh())})
    with pytest.raises(ValueError, match="exactly one linear layer"):
        graph.check_interventions({"data": Reparametrise(np.eye(2))})
