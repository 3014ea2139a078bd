"""What an intervention may know where it acts: laws over every family."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers import FAMILIES, FAMILY_ROWS, fitted_families

from sklearn_icm.generators import (
    GraphGenerator,
)
from sklearn_icm.interventions import (
    Here,
    Intervention,
    Noise,
    Resample,
    Shift,
    Stretch,
    Translate,
    Units,
    Where,
    families_for,
)
from sklearn_icm.interventions._places import EachRow
from sklearn_icm.mechanisms import MechanismGraph, parts_decoder
from sklearn_icm.models import _query

families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def fitted():
    return fitted_families()


@dataclass(frozen=True, eq=False)
class Recorder(Intervention):
    """Leaves values as they are, and keeps what it is told."""

    told: list
    reads: tuple = ()

    def __call__(self, value, here=None):
        self.told.append(here)
        return value.clone()


@dataclass(frozen=True, eq=False)
class Copy(Intervention):
    """A policy: the first entry of the node follows that of another one."""

    reads: tuple

    def __call__(self, value, here=None):
        changed = value.clone()
        changed.flatten(1)[:, 0] = 2 * here.nodes[self.reads[0]].flatten(1)[:, 0]
        return changed


def chunked(monkeypatch, size, ask):
    with monkeypatch.context() as small:
        small.setattr(_query, "MOST_ROWS", size)
        return ask()


@families
def test_one_seed_has_one_noise(fitted, family):
    model = fitted[family]
    draw = {"n_samples": 30, "random_state": 3}
    assert np.array_equal(model.sample(30, random_state=3), model.intervene({}, **draw))
    factual, _ = model.intervene(
        {model.graph_.data_node: Shift(0.1)}, return_factual=True, **draw
    )
    assert np.array_equal(factual, model.sample(30, random_state=3))


@families
@pytest.mark.parametrize("given", [False, True], ids=["drawn", "given"])
@pytest.mark.parametrize("size", [77, 100, 512])
def test_chunks_do_not_matter(fitted, family, given, size, monkeypatch):
    model, n = fitted[family], 603
    rows = np.random.RandomState(1).normal(size=(n, 4))
    query = {"X": rows} if given else {"n_samples": n}
    if given and family == "simulator":
        query["abduction"] = model.abduct(rows)
    node = list(model.nodes_)[1]
    shape = model.nodes_[node]
    values = np.random.RandomState(2).normal(size=(n, *shape))
    for change in (
        Noise(0.3) >> Noise(0.2),
        Units(0, Noise(0.3)) >> Resample(values[:5]) >> Where(True, Noise(0.1)),
        EachRow(values),
    ):

        def ask(change=change):
            return model.intervene({node: change}, random_state=3, **query)

        # float32 products of other numbers of rows differ in the last digits.
        np.testing.assert_allclose(
            chunked(monkeypatch, size, ask), ask(), rtol=1e-4, atol=1e-4
        )


@families
def test_a_value_per_row_reaches_its_row(fitted, family, monkeypatch):
    model = fitted[family]
    for node, shape in model.nodes_.items():
        values = np.random.RandomState(3).normal(size=(50, *shape))
        *_, nodes = chunked(
            monkeypatch,
            7,
            lambda n=node, v=values: model.intervene(
                {n: EachRow(v)}, n_samples=50, return_nodes=True
            ),
        )
        if node != model.graph_.data_node:
            np.testing.assert_allclose(nodes[node][1], values, rtol=1e-6)
    with pytest.raises(ValueError, match="in each row do not fit node"):
        model.intervene({node: EachRow(np.ones((50, 9)))}, n_samples=50)


@families
def test_it_is_told_where_it_is(fitted, family, monkeypatch):
    model, told = fitted[family], []
    first, node = list(model.nodes_)[:2]
    change = {node: Recorder(told, reads=(first,)), first: Shift(0.5)}
    *_, nodes = chunked(
        monkeypatch,
        16,
        lambda: model.intervene(change, n_samples=40, return_nodes=True),
    )
    assert all(isinstance(here, Here) and here.node == node for here in told)
    assert [here.rows for here in told] == [slice(0, 16), slice(16, 40)]
    # Earlier nodes are those of the changed model.
    seen = np.concatenate([here.nodes[first].numpy() for here in told])
    assert np.array_equal(seen, nodes[first][1])
    assert all(here.streams is told[0].streams for here in told)


def test_a_policy_reads_other_nodes(fitted):
    model = fitted["columns"]
    policy = {"x2": Copy(("x3",))}
    rows = model.intervene(policy, n_samples=20, random_state=0)
    np.testing.assert_allclose(rows[:, 2], 2 * rows[:, 3], rtol=1e-5)
    # x3 comes behind x2 in the graph, and does not depend on it; x1 is its cause.
    both = {"x2": Copy(("x1",)), "x1": Shift(1.0)}
    rows = model.intervene(both, n_samples=20, random_state=0)
    np.testing.assert_allclose(rows[:, 2], 2 * rows[:, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"x1": Copy(("x2",))}, r"node 'x1' reads \['x2'\], of which some depend"),
        ({"x1": Copy(("x1",))}, "some depend on 'x1' themselves"),
        ({"x2": Copy(("x3",)), "x3": Copy(("x2",))}, "some depend on"),
        ({"x1": Copy(("y",))}, r"read the nodes \['y'\], which do not exist"),
        ({"x1": Shift(0.0) >> Copy(("x2",))}, "some depend on 'x1'"),
        ({"x1": Units(0, Copy(("x2",)))}, "some depend on 'x1'"),
    ],
)
def test_what_depends_on_the_node_cannot_be_read(fitted, changes, match):
    with pytest.raises(ValueError, match=match):
        fitted["columns"].intervene(changes, n_samples=2)


class Odd(Intervention):
    """A class as somebody may write it."""

    def __init__(self, call, *reads):
        self.call, self.reads = call, reads

    def __call__(self, value, here=None):
        return self.call(value, here)


def test_what_is_read_cannot_be_written_to(fitted):
    """What other nodes are is no matter of an intervention on this one."""
    model = fitted["columns"]

    def writing(value, here):
        here.nodes["x0"] += 100
        return value

    change = {"x3": Odd(writing, "x0")}
    assert np.array_equal(model.intervene(change, X=FAMILY_ROWS), FAMILY_ROWS)
    factual, changed = model.intervene(change, n_samples=5, return_factual=True)
    assert np.array_equal(factual, changed)
    for call in (writing, lambda value, here: here.nodes["x0"]):
        with pytest.raises(TypeError, match="'x0'.*here.nodes those that it reads"):
            model.intervene({"x3": Odd(call)}, n_samples=2)


class OfBefore(Intervention):
    def __call__(self, value):
        return value


@pytest.mark.parametrize("around", [lambda c: c, lambda c: Shift(1.0) >> c])
def test_a_class_is_told_how_it_is_called(fitted, around):
    with pytest.raises(
        TypeError, match=r"on node .x3. fails.*\(self, value, here=None"
    ):
        fitted["columns"].intervene({"x3": around(OfBefore())}, n_samples=2)
    reads = Odd(None)
    reads.reads = "x0"
    with pytest.raises(TypeError, match=r"reads must be a tuple.*write \('x0',\)"):
        fitted["columns"].intervene({"x3": around(reads)}, n_samples=2)


def test_a_class_may_return_numpy(fitted):
    ask = {"n_samples": 5, "random_state": 0}
    found, expected = (
        fitted["columns"].intervene({"x3": change}, **ask)
        for change in (Odd(lambda value, here: value.numpy() + 1), Shift(1.0))
    )
    assert np.array_equal(found, expected)


class Made(Shift):
    """An own mechanism, which gives one entry for each row."""

    def mechanism(self, f):
        return lambda *parents: float(self.value) * torch.ones(len(parents[0]), 1)


def test_a_mechanism_of_another_shape_is_refused(fitted):
    model, change = fitted["columns"], {"x1": Made(0.5)}
    assert (model.intervene(change, n_samples=3)[:, 1] == 1).all()
    match = r"gives node '{}' must return a tensor of shape \(3, {}\), got {}"
    with pytest.raises(ValueError, match=match.format("data", 4, "Tensor")):
        model.intervene({"data": Made(0.5)}, n_samples=3)
    for value, got in ((torch.zeros(1, 1), "Tensor"), (np.zeros((3, 1)), "ndarray")):
        change = Made(0.5)
        object.__setattr__(change, "mechanism", lambda f, v=value: lambda *parents: v)
        with pytest.raises(ValueError, match=match.format("x1", 1, got)):
            model.intervene({"x1": change}, n_samples=3)


def test_an_own_class_is_described_and_made_again():
    change = Copy(("x0",))
    assert Intervention.from_dict(change.to_dict()) == change


def test_steps_of_a_composition_have_streams_of_their_own():
    value = torch.zeros(2000, 3)
    both = (Noise(1.0) >> Noise(1.0))(value)
    assert abs(float(both.std()) - 2**0.5) < 5 * 2**0.5 / np.sqrt(2 * both.numel())
    assert torch.equal(both, (Noise(1.0) >> Noise(1.0))(value))


def test_the_state_rests_where_nothing_is_drawn(fitted):
    model = fitted["table"]
    before = model.random_state_.get_state()[2]
    model.intervene({"dense1": Shift(1.0)}, X=FAMILY_ROWS)
    assert model.random_state_.get_state()[2] == before
    model.intervene({"dense1": Units(0, Noise(1.0))}, X=FAMILY_ROWS)
    assert model.random_state_.get_state()[2] != before


# ---------------------------------------------------------------------- kinds
def test_kinds_are_declared_or_go_by_the_shape():
    graph = parts_decoder(5, (1, 24, 24), n_parts=3)
    assert graph.kinds == {
        "noise": "vector",
        "places": "points",
        "looks": "vector",
        "parts": "vector",
        "data": "map",
    }
    identity = {"data": ("noise", torch.nn.Identity())}
    for kinds in ({"data": "dots"}, {"x": "map"}, {"data": "map"}):
        with pytest.raises(ValueError, match="kinds must map nodes"):
            MechanismGraph({"noise": (2,)}, identity, kinds)


def test_interventions_check_kinds_and_not_ranks():
    graph = parts_decoder(5, (1, 24), n_parts=6, n_features=2)
    assert graph.nodes["looks"] == (6, 2)
    for change in (Stretch(1.5, axis="length"), Translate(1.0)):
        with pytest.raises(ValueError, match="is not a map, its kind is 'vector'"):
            graph.check_interventions({"looks": change})
        graph.check_interventions({"data": change})
        graph.check_interventions({"places": change})
    names = {family.name for family in families_for((6, 2), "vector")}
    assert names == {"shift", "scale", "affine", "noise"}


def test_columns_of_levels_say_so():
    model = GraphGenerator(
        [(0, 1)], categorical_features=[1], max_epochs=1, random_state=0
    ).fit(np.column_stack([FAMILY_ROWS[:, 0], FAMILY_ROWS[:, 1] > 0]))
    kinds = {"noise": "vector", "x0": "vector", "x1": "levels", "data": "vector"}
    assert model.graph_.kinds == kinds
