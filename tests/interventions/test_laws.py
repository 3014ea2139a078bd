"""Laws of every intervention at every node of every kind of generator."""

import json
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
)
from sklearn_icm.interventions import (
    Clip,
    Do,
    Flip,
    Intervention,
    Noise,
    Orthogonal,
    Permute,
    Reparametrise,
    Rotate,
    Scale,
    Shift,
    Stretch,
    Translate,
    Units,
    Where,
)
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.models import _query

# Every node below has four units (entries of a vector, channels of a map), but those of
# a graph of columns, which have one.
N_UNITS = 4
CONTINUOUS = [
    Shift(0.5),
    Scale(1.5),
    Scale(0.5) >> Shift(1.0),
    Noise(0.3),
    Stretch(1.3),
    Stretch(1.3, axis="length"),
    Translate(0.7, axis="height"),
    Translate(1.3, axis="width", cyclic=True),
    Rotate(15.0),
    Units([2, 0], Scale(2.0)),
    Where(True, Shift(1.0)),
    Shift(0.5) >> Scale(0.5),
    Noise(0.1) >> Shift(0.2),
]
OTHERS = [
    Do(0.3),
    Clip(-0.2, 0.2),
    Flip("width"),
    Flip("length"),
    Orthogonal(3),
    Permute([2, 0, 3, 1]),
    Units(1, 0.0),
    Units([1, 3], Permute([1, 0])),
    Reparametrise(np.diag([1.0, 2.0, 3.0, 0.5])),
    Noise(0.1) >> Permute([2, 0, 3, 1]),
]
ALL = CONTINUOUS + OTHERS
# No bounds, which would hide a part of what interventions do.
SMALL = {"n_latents": 4, "max_epochs": 1, "bounds": None, "random_state": 0}


class Diamond(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(N_UNITS, N_UNITS)

    def forward(self, *parents):
        return torch.tanh(self.linear(sum(parents)))


def diamond():
    """noise -> left, right; both and a bystander -> data."""
    torch.manual_seed(0)
    parents = {
        "left": "noise",
        "right": "noise",
        "below": "left",
        "data": ("below", "right"),
    }
    return MechanismGraph(
        {"noise": (N_UNITS,)}, {k: (p, Diamond()) for k, p in parents.items()}
    )


FAMILIES = {
    "table": (VAEGenerator(hidden=(4, 4), **SMALL), 4),
    "signal": (VAEGenerator((10,), hidden=(4, 4), **SMALL), 10),
    "image": (VAEGenerator((6, 5), hidden=(4, 4), **SMALL), 30),
    "diamond": (FixedGenerator(diamond(), random_state=0), 4),
    "chain": (ChainGenerator(n_layers=3, max_iter=5, random_state=0), 4),
    "columns": (
        GraphGenerator(
            [(0, 1), (1, 2), (0, 3)],
            n_units=4,
            max_epochs=1,
            bounds=None,
            random_state=0,
        ),
        4,
    ),
}


@pytest.fixture(scope="module")
def models():
    with torch.random.fork_rng():
        return {
            name: clone(model).fit(np.random.RandomState(0).normal(size=(30, width)))
            for name, (model, width) in FAMILIES.items()
        }


@pytest.fixture(scope="module")
def given_rows(models):
    """Rows to ask each model about, with the noise behind them."""
    rng = np.random.RandomState(1)
    rows = {m: rng.normal(size=(64, m.n_features_in_)) for m in models.values()}
    return {m: {"X": X, "abduction": m.abduct(X)} for m, X in rows.items()}


def fits(model, node, intervention):
    try:
        model.graph_.check_interventions({node: intervention})
    except ValueError:
        return False
    return True


def places(models, intervention):
    """Every (model, node) that the intervention fits."""
    found = [
        (model, node)
        for model in models.values()
        for node in model.nodes_
        if fits(model, node, intervention)
    ]
    assert len(found) >= 2, intervention
    return found


@pytest.mark.parametrize("intervention", CONTINUOUS, ids=repr)
def test_neutral_is_identity_to_the_bit(models, intervention):
    for model, node in places(models, intervention):
        neutral = {node: intervention.scaled(0)}
        factual, changed = model.intervene(
            neutral, n_samples=7, random_state=1, return_factual=True
        )
        assert np.array_equal(changed, factual), node


@pytest.mark.parametrize("intervention", ALL, ids=repr)
def test_only_descendants_change(models, intervention):
    for model, node in places(models, intervention):
        *_, values = model.intervene(
            {node: intervention}, n_samples=40, random_state=1, return_nodes=True
        )
        below = model.graph_.descendants([node])
        for name, (factual, changed) in values.items():
            if name not in below:
                assert np.array_equal(factual, changed), (node, name)
        # Nothing turns in one dimension.
        turns = model.nodes_[node] != (1,) or not isinstance(intervention, Orthogonal)
        if node != model.graph_.data_node and turns:
            assert not np.array_equal(*values[node])


@pytest.mark.parametrize("intervention", ALL, ids=repr)
def test_descriptions_and_pickles_give_the_same_samples(models, intervention):
    text = json.dumps(intervention.to_dict())
    copies = [
        Intervention.from_dict(json.loads(text)),
        pickle.loads(pickle.dumps(intervention)),
        clone(intervention, safe=False),
    ]
    for model, node in places(models, intervention):
        draw = {"n_samples": 5, "random_state": 2}
        expected = model.intervene({node: intervention}, **draw)
        for copy in copies:
            assert copy == intervention
            assert np.array_equal(model.intervene({node: copy}, **draw), expected)


@pytest.mark.parametrize("intervention", ALL, ids=repr)
def test_chunks_do_not_matter(models, given_rows, intervention, monkeypatch):
    for model, node in places(models, intervention):
        query = {**given_rows[model], "random_state": 3}
        whole = model.intervene({node: intervention}, **query)
        with monkeypatch.context() as small:
            # In wholes of 16, as torch draws normal numbers.
            small.setattr(_query, "MOST_ROWS", 16)
            chunks = model.intervene({node: intervention}, **query)
        assert np.allclose(whole, chunks, rtol=0, atol=1e-5)


def test_do_is_idempotent(models):
    for model, node in places(models, Do(0.3)):
        draw = {"n_samples": 5, "random_state": 2}
        once = model.intervene({node: Do(0.3)}, **draw)
        twice = model.intervene({node: Do(0.3) >> Do(0.3)}, **draw)
        assert np.array_equal(twice, once)


@pytest.mark.parametrize("second", [Scale(1.5), Noise(0.3), Do(0.1)], ids=repr)
def test_interventions_on_different_nodes_commute(models, second):
    for model in models.values():
        a, b = list(model.nodes_)[1:3]
        draw = {"n_samples": 5, "random_state": 2}
        first = {a: Noise(0.2), b: second}
        swapped = dict(reversed(first.items()))
        rows = model.intervene(first, **draw)
        assert np.array_equal(rows, model.intervene(swapped, **draw))


@pytest.mark.parametrize(
    ("forth", "back"),
    [
        (Permute([2, 0, 3, 1]), Permute([2, 0, 3, 1]).inverse()),
        (Orthogonal(5), Orthogonal(5).inverse()),
        (Orthogonal([[0, 1], [1, 0]]), Orthogonal([[0, 1], [1, 0]]).inverse()),
        (Units([1, 2], Scale(-1)), Units([1, 2], Scale(-1))),
        (Translate(2, "width", cyclic=True), Translate(-2, "width", cyclic=True)),
        (Flip("width"), Flip("width")),
        (Shift(0.5), Shift(0.5).scaled(-1)),
        (Scale(4.0), Scale(0.25)),
        (Scale(2.0) >> Shift(1.0), Scale(0.5) >> Shift(-0.5)),
    ],
    ids=repr,
)
def test_group_elements_invert(models, forth, back):
    if isinstance(forth, Orthogonal) and not isinstance(forth.matrix, int):
        forth, back = Units([0, 3], forth), Units([0, 3], back)
    for model, node in places(models, forth):
        draw = {"n_samples": 5, "random_state": 2}
        there = model.intervene({node: forth >> back}, **draw)
        assert np.allclose(there, model.sample(5, random_state=2), atol=1e-5)


def test_orthogonal_keeps_the_norm_and_composes():
    value = torch.randn(6, 4, 3, dtype=torch.float64)
    for seed in range(5):
        turned = Orthogonal(seed)(value)
        assert torch.allclose(turned.norm(dim=1), value.norm(dim=1))
    a, b = (
        np.linalg.qr(np.random.RandomState(s).normal(size=(4, 4)))[0] for s in (0, 1)
    )
    both = (Orthogonal(a) >> Orthogonal(b))(value)
    assert torch.allclose(both, Orthogonal(b @ a)(value))


def test_nothing_leaks_from_a_callable_that_fails(models):
    def fails(value):
        value.zero_()
        raise RuntimeError("inside")

    for model in models.values():
        before = model.sample(5, random_state=0)
        state = model.random_state_.get_state()[1].copy()
        for node in model.nodes_:
            with pytest.raises(RuntimeError, match="inside"):
                model.intervene({node: fails}, n_samples=5, random_state=0)
        assert np.array_equal(model.sample(5, random_state=0), before)
        assert np.array_equal(model.random_state_.get_state()[1], state)
