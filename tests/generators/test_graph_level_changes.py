"""Interventions on columns of levels: a level means the same however it is given."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import label, small
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import (
    Clip,
    Compose,
    Do,
    Intervention,
    Noise,
    Resample,
    Scale,
    Shift,
    SwapMechanism,
    Units,
    Where,
)
from sklearn_icm.metrics import average_effect

BIG = 10**17 + np.array([1, 2, 3])
# Three levels in every container; the number at a level is not its code.
LEVELS = {
    "names like numbers": np.array(["1", "2", "3"]),
    "whole numbers": np.array([1, 2, 3]),
    "numbers": np.array([0.5, 1.0, 2.0]),
    "large numbers": BIG,
    "names": np.array(["high", "low", "middle"]),
}
FORMS = {
    "level": lambda level: level,
    "Do": Do,
    "Resample": lambda level: Resample([[level]]),
    "Compose": lambda level: Compose((Do(level),)),
    "after another": lambda level: Do(level) >> Do(level),
    "Where": lambda level: Where([True], Do(level)),
    "Units": lambda level: Units(0, Do(level)),
    "callable": lambda level: lambda given: np.full(np.shape(given), level),
    "read back": lambda level: Intervention.from_dict(
        json.loads(json.dumps(Do(level).to_dict()))
    ),
    "pickled": lambda level: pickle.loads(pickle.dumps(Do(level))),
}


@pytest.fixture(scope="module", params=LEVELS)
def fitted(request):
    """A model of three doses, and its levels; 10 k is the effect of the k-th."""
    levels, rng = LEVELS[request.param], np.random.RandomState(0)
    codes = rng.randint(3, size=200)
    X = pd.DataFrame({"dose": levels[codes], "y": 10.0 * codes + rng.randn(200)})
    est = GraphGenerator(
        [("dose", "y")],
        mechanism={"dose": "categorical", "y": "linear"},
        max_epochs=8,
        random_state=0,
    )
    return est.fit(X), levels.tolist(), X


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("code", [0, 2])
def test_every_form_sets_the_level_that_it_names(form, code, fitted):
    est, levels, X = fitted
    for query in ({"n_samples": 20, "random_state": 0}, {"X": X}):
        rows = est.intervene({"dose": FORMS[form](levels[code])}, **query)
        assert set(rows[:, 0]) == {levels[code]}
        assert abs(rows[:, 1].astype(float).mean() - 10 * code) < 2


def test_given_and_drawn_levels_are_those_of_the_table(fitted):
    est, levels, X = fitted
    assert est.categories_["dose"].tolist() == levels
    assert set(est.sample(100, random_state=0)[:, 0]) == set(levels)
    assert est.intervene({}, X=X)[:, 0].tolist() == X["dose"].tolist()
    frame = clone(est).set_output(transform="pandas").fit(X).intervene({}, X=X)
    assert frame["dose"].tolist() == X["dose"].tolist()
    again = est.intervene({}, X=pd.DataFrame(est.intervene({}, X=X), columns=X.columns))
    assert again[:, 0].tolist() == X["dose"].tolist()


def test_callables_map_levels_to_levels(fitted):
    est, levels, X = fitted
    following = dict(zip(levels, levels[1:] + levels[:1], strict=True))

    def turned(given):
        entries = given.ravel().tolist()
        return np.array([following[v] for v in entries]).reshape(given.shape)

    rows = est.intervene({"dose": turned}, X=X)
    assert rows[:, 0].tolist() == [following[v] for v in X["dose"]]


def test_numbers_reach_callables_as_tensors():
    X = pd.DataFrame({"a": [1, 2] * 20, "b": [True, False] * 20})
    est = GraphGenerator(
        categorical_features=["a", "b"], max_epochs=1, random_state=0
    ).fit(X)
    swapped = {"a": lambda v: torch.where(v > 1, 1.0, 2.0), "b": torch.logical_not}
    rows = est.intervene(swapped, X=X)
    assert rows[:, 0].tolist() == [2, 1] * 20
    assert rows[:, 1].tolist() == [False, True] * 20
    assert set(est.intervene({"b": 1}, X=X)[:, 1]) == {True}


@pytest.mark.parametrize(
    "change",
    [Shift(0.0), Scale(1.0), Clip(None, 2), Noise(0.1)],
    ids=lambda change: type(change).__name__,
)
@pytest.mark.parametrize(
    "hide",
    [
        lambda change: change,
        lambda change: Compose((change,)),
        lambda change: Where([True], change),
        lambda change: Units([0], change),
        lambda change: change >> change,
    ],
    ids=["alone", "Compose", "Where", "Units", "twice"],
)
def test_what_has_no_meaning_for_levels_is_named(hide, change, fitted):
    est, levels, X = fitted
    name = type(change).__name__
    with pytest.raises(ValueError, match=f"{name} has no meaning.*node 'dose'"):
        est.intervene({"dose": hide(change)}, X=X)
    with pytest.raises(ValueError, match=f"{name} has no meaning"):
        average_effect(est, "dose", hide(change), None, "y")


@pytest.mark.parametrize(
    "wrong",
    ["9", 9, Do("9"), Do(9), Resample([[9]]), Do(1) >> Do("9"), lambda v: v[:0]]
    + [lambda v: np.full(np.shape(v), "9")],
    ids=label,
)
def test_what_is_no_level_is_named_with_the_levels(wrong):
    X = pd.DataFrame({"dose": [1, 2, 3] * 20, "y": 0.5})
    est = GraphGenerator(categorical_features=["dose"], max_epochs=1).fit(X)
    with pytest.raises(ValueError, match=r"its levels, \[1, 2, 3\], got|one level for"):
        est.intervene({"dose": wrong}, X=X)


def test_names_do_not_stand_for_numbers(fitted):
    est, _, X = fitted
    for change in (Do("2"), Resample([["2"]]), Compose((Do("2"),))):
        with pytest.raises(ValueError, match="node 'y' holds numbers"):
            est.intervene({"y": change}, X=X)
    with pytest.raises(TypeError, match="Shift: value must be a number"):
        Shift("2")
    with pytest.raises(ValueError, match="Do: value must be finite"):
        Do(10**400)


def test_equal_levels_are_equal_interventions():
    assert Do("a") == Do("a") != Do("b")
    assert len({Do("a"), Do("a"), Resample([["a"]]), Resample([["a"]])}) == 2
    assert Do(int(BIG[0])) != Do(int(BIG[1]))
    assert Do(2) == Do(2.0) != Do("2")


def test_mechanisms_of_other_levels_are_not_swapped(fitted):
    est, levels, X = fitted
    fewer = clone(est).set_params(max_epochs=1).fit(X[X["dose"] != levels[2]])
    for name in ("dose", "y"):
        with pytest.raises(ValueError, match="SwapMechanism: the levels of 'dose'"):
            est.intervene({name: SwapMechanism(fewer, name)}, n_samples=2)
        same = {name: SwapMechanism(est, name)}
        assert np.array_equal(
            est.intervene(same, X=X), est.intervene({}, X=X, residual="keep")
        )


def test_the_data_node_keeps_levels(fitted):
    est, _, X = fitted
    for query in ({"X": X}, {"n_samples": 20, "random_state": 0}):
        for change in (Shift(1.0), Do(0.0), lambda rows: rows.flip(0)):
            with pytest.raises(ValueError, match="'data' changes column 'dose', whose"):
                est.intervene({"data": change}, **query)
        moved = est.intervene({"data": Units(1, Shift(2.0))}, **query)
        same = est.intervene({}, **query)
        assert moved[:, 0].tolist() == same[:, 0].tolist()
        assert np.allclose((moved[:, 1] - same[:, 1]).astype(float), 2)


def test_hybrids_take_levels_of_other_rows(fitted):
    est, _, X = fitted
    mixed = est.hybridise(X[:50], X[50:100], "dose", 0)
    assert mixed[:, 0].tolist() == X["dose"][50:100].tolist()


@pytest.mark.parametrize("transform", ["default", "pandas"])
def test_influence_on_text_is_the_share_of_rows_that_change(transform, fitted):
    est, levels, X = fitted
    est = clone(est).set_output(transform=transform).fit(X)
    found = est.influence_map("dose", 0, X, random_state=0)
    values = X["dose"].to_numpy()
    # Two rows in three meet one with another level.
    chance = sum(
        np.mean(values == level) * np.mean(values != level) for level in levels
    )
    if isinstance(levels[0], str):
        assert found[0] == pytest.approx(chance, abs=0.12)
    gaps = abs(
        np.subtract.outer(np.unique(X["dose"], return_inverse=True)[1], range(3))
    )
    assert found[1] == pytest.approx(10 * gaps.mean(), rel=0.2)
    assert est.influence_map("dose", 0, n_samples=20).shape == (2,)


def test_influence_behind_an_encoder_is_the_share_too():
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"town": rng.choice(["Bonn", "Cork"], 60), "age": rng.randn(60)})
    encode = ColumnTransformer(
        [("town", OneHotEncoder(), ["town"])], sparse_threshold=0
    )
    encode.set_params(remainder="passthrough")
    pipe = GenerativePipeline([("encode", encode), ("vae", small())]).fit(X)
    every = range(pipe["vae"].nodes_["dense1"][0])
    found = pipe.influence_map("dense1", every, X, random_state=0)
    assert 0 <= found[0] <= 1
    assert found[1] > 0
