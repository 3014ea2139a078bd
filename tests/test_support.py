"""Which mechanisms would extrapolate."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import EDGES, TABLE, graph_table, small
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.datasets import make_scm
from sklearn_icm.exceptions import FarInterventionWarning
from sklearn_icm.generators import ChainGenerator, FixedGenerator, GraphGenerator
from sklearn_icm.interventions import Do, Resample, Scale, Shift, SwapMechanism

QUICK = {"max_epochs": 2, "bounds": None, "random_state": 0}


@pytest.fixture(scope="module")
def model():
    return GraphGenerator(EDGES, **QUICK).fit(graph_table())


@pytest.fixture(scope="module")
def scm():
    """The truth, as a model of its own rows."""
    world = make_scm(50, n_nodes=4, density=1.0, random_state=0)
    return FixedGenerator(world.mechanisms, random_state=0).fit(world.data)


# ------------------------------------------------------------------------- shares
def test_of_rows_like_the_fitted_ones_a_hundredth_is_outside(model, scm):
    new = graph_table(4000, seed=1)
    shares = model.support({"cause": Shift(0.0)}, new).table_["outside"]
    # The limit is known up to the spread of 4 of 400 fitted rows.
    assert (shares - 0.01).abs().max() < 5 * np.sqrt(0.01 / 400)
    for other in (small().fit(TABLE), ChainGenerator(random_state=0).fit(TABLE), scm):
        shares = other.support({"noise": Shift(0.0)}, n_samples=4000).table_["outside"]
        assert len(shares)
        assert (shares - 0.01).abs().max() < 5 * np.sqrt(0.01 / 1000)
        # What it draws is not what it compares with, whatever the seed.
        asked = (
            other.support({"noise": Shift(0.0)}, random_state=s).table_ for s in (0, 1)
        )
        first, second = (table["distance"].to_numpy() for table in asked)
        assert first == pytest.approx(second, rel=0.1)


def test_far_values_are_all_outside(model, scm):
    # Without a warning, which would say less than the table does.
    far = model.support({"middle": Shift(4.0)}, graph_table(50, seed=1)).table_
    assert far["outside"].tolist() == [1.0]
    assert (far["distance"] > far["limit"]).all()
    assert (far["distance"] <= far["distance_95"]).all()
    # Distances to the nearest values grow as the shift does.
    twice = model.support({"middle": Shift(8.0)}, graph_table(50, seed=1)).table_
    unit = 4.0 / graph_table()["middle"].std()
    grown = twice["distance"] - far["distance"]
    assert grown.to_numpy() == pytest.approx(unit, rel=0.2)
    for other, node in ((small().fit(TABLE), "dense1"), (scm, "x2")):
        shares = other.support({node: Shift(50.0)}, n_samples=50).table_["outside"]
        assert (shares == 1).all()


def test_values_that_never_met_are_outside_though_each_is_known():
    rng = np.random.RandomState(0)
    a = rng.randn(500)
    X = np.column_stack([a, a + 0.1 * rng.randn(500), rng.randn(500)])
    est = GraphGenerator([(0, 2), (1, 2)], **QUICK).fit(X)
    found = est.support({"x1": Scale(-1.0)}, X[np.abs(a) > 0.5]).table_
    assert found["outside"].tolist() == [1.0]
    # A model without the edge draws them apart, and says so of its own draws.
    assert est.support({"x1": Shift(0.0)}).table_["outside"].item() > 0.5


@pytest.mark.parametrize("with_numbers", [False, True])
def test_a_combination_of_levels_that_never_occurred_is_outside(with_numbers):
    rng = np.random.RandomState(0)
    sex = np.where(rng.rand(400) < 0.5, "f", "m")
    drug = np.where(rng.rand(400) < 0.5, "none", np.where(sex == "f", "one", "two"))
    X = pd.DataFrame({"sex": sex, "drug": drug, "y": rng.randn(400)})
    edges = {"y": ["sex", "drug"]}
    if with_numbers:
        X.insert(2, "age", rng.randn(400))
        edges["y"].append("age")
    est = GraphGenerator(edges, **QUICK).fit(X)
    women, men = X[X["sex"] == "f"], X[X["sex"] == "m"]
    assert est.support({"drug": "one"}, men).table_["outside"].item() == 1
    assert est.support({"drug": "one"}, men).table_["distance"].item() >= 1
    assert est.support({"drug": "one"}, men).table_["verdict"].item() == "unseen"
    assert est.support({"drug": "one"}, women).table_["outside"].item() < 0.05


def test_a_parent_that_was_constant_has_no_other_value():
    X = np.insert(TABLE, 0, 5.0, axis=1)
    est = GraphGenerator([(0, 2), (1, 2)], mechanism="linear", **QUICK).fit(X)
    with pytest.warns(FarInterventionWarning, match="another value than 5, the only"):
        est.intervene({"x0": Shift(1.0)}, X)
    found = est.support({"x0": Shift(1.0)}, X).table_
    assert found["outside"].item() == 1
    assert np.isinf(found["distance"]).all()
    assert est.support({"x0": Shift(0.0)}, X).table_["outside"].item() == 0


# ------------------------------------------------------------------------- words
def test_words_follow_the_distance():
    X = pd.DataFrame({"cause": np.linspace(0, 1, 200), "effect": 0.0, "other": 0.0})
    params = {"mechanism": "linear", **QUICK}
    model = GraphGenerator([("cause", "effect")], **params).fit(X)
    unit = X["cause"].std()
    for far, word in {-0.5: "inside", 0.2: "at the edge", 2.0: "beyond"}.items():
        found = model.support({"cause": 1 + far * unit}, X)
        assert found.table_["verdict"].to_dict() == {"effect": word}
        assert found.table_["beyond"].item() == pytest.approx(max(far, 0), abs=0.2)
        for sentence in found.sentences_:
            assert sentence.lower().startswith(word)
        assert (word == "inside") == ("relies on" not in found.sentences_["query"])
        assert "<p>query: " in found._repr_html_()
    # Of the units of half of the rows.
    half = model.support({"cause": Shift(0.5)}, X).sentences_["effect"]
    assert re.match("Beyond: 50 % of the units have values of cause outside", half)
    nothing = model.support({"other": 9.0}, X)
    assert list(nothing.sentences_) == [
        "The interventions change the input of no mechanism."
    ]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, r"line of effect going on \(the rows do not refute it\)"),
        ({"mechanism": "linear"}, r"line of effect going on \(it was given\)"),
        ({"mechanism": "polynomial"}, "polynomial of effect going on"),
        ({"mechanism": "additive"}, "network of effect becoming level"),
        ({"mechanism": "location-scale"}, "(network|line|polynomial) of effect"),
        ({"mechanism": "energy"}, "curve of effect going on as a line"),
        ({"categorical_features": ["effect"]}, "chances of effect becoming level"),
        ({"unobserved": {"H": 1}}, "network of effect becoming level"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn_icm.exceptions.PoorFitWarning")
def test_it_says_what_an_answer_relies_on(params, told):
    rng = np.random.RandomState(0)
    X = pd.DataFrame(rng.randn(100, 1), columns=["cause"])
    X["effect"] = np.round(X["cause"] + rng.randn(100))
    causes = ["cause", *params.get("unobserved", ())]
    est = GraphGenerator({"effect": causes}, max_epochs=1, random_state=0, **params)
    found = est.fit(X).support({"cause": Shift(9.0)}, X)
    for sentence in found.sentences_:
        assert re.search(told, sentence)
    assert found.table_["kind"].item() == est.mechanism_kinds_["effect"]


def test_a_sentence_names_few_mechanisms():
    X = np.random.RandomState(0).randn(100, 8)
    edges = [(0, k) for k in range(1, 8)]
    est = GraphGenerator(edges, mechanism="linear", **QUICK).fit(X)
    sentence = est.support({"x0": 9.0}).sentences_["query"]
    assert sentence.count("line of") == 4
    assert sentence.count("and 3 more") == 2
    assert est.support({"x0": 0.0}).sentences_["query"] == (
        "Inside: x1, x2, x3, x4 and 3 more are asked about values like those of the "
        "fitted rows."
    )


# ---------------------------------------------------------------- what is listed
def test_changed_mechanisms_and_those_downstream_are_listed(model):
    X = graph_table(20)
    rows = {
        "middle, effect": {"cause": Shift(0.1)},
        "effect": {"middle": Shift(0.1)},
        "": {"alone": Shift(0.1)},
    }
    for names, change in rows.items():
        found = model.support(change, X).table_
        assert ", ".join(found.index) == names
    parents = model.support({"cause": 1.0}, X).table_["parents"]
    assert parents.to_dict() == {"middle": "cause", "effect": "cause, middle"}
    assert model.support({}, X).table_.shape == (0, 8)
    # What is set does not ask its mechanism.
    for value in (1.0, Do(1.0), Resample([[1.0], [2.0]])):
        found = model.support({"cause": Shift(0.1), "middle": value}, X).table_
        assert list(found.index) == ["effect"]
    found = model.support({"cause": Shift(0.1), "middle": Shift(0.1)}, X).table_
    assert list(found.index) == ["middle", "effect"]


def test_a_replaced_mechanism_is_asked_about_its_own_parents(model, scm):
    other = GraphGenerator(EDGES, **QUICK).fit(graph_table(seed=3))
    swap = SwapMechanism(other, "middle")
    found = model.support({"middle": swap}, graph_table(20)).table_
    assert found["parents"].to_dict() == {"middle": "cause", "effect": "cause, middle"}
    assert found.loc["middle", "outside"] < 0.1
    # Noise is no parent, unless there is no other.
    parents = scm.support({"x2": Shift(0.1)}).table_["parents"].to_dict()
    assert parents == {
        "x3": "x2",
        "x1": "x2, x3",
        "x0": "x1, x2, x3",
        "data": "x0, x1, x2, x3",
    }
    assert set(small().fit(TABLE).support({"noise": 0.0}).table_["parents"]) >= {
        "noise"
    }


# -------------------------------------------------------------------------- laws
def test_units_of_columns_change_nothing():
    found = []
    for units in ([1.0, 1.0, 1.0, 1.0], [64.0, 0.25, 2.0, 1.0]):
        X = graph_table(200) * units
        est = GraphGenerator(EDGES, mechanism="linear", **QUICK).fit(X)
        found.append(est.support({"middle": Scale(1.5)}, X).table_)
    pd.testing.assert_frame_equal(*found, rtol=1e-4, atol=1e-4)


def test_one_seed_is_one_answer(model):
    found = [
        model.support({"cause": Shift(1.0)}, random_state=s).table_ for s in (0, 0, 1)
    ]
    assert found[0].equals(found[1])
    assert not found[0].equals(found[2])
    before = model.random_state_.get_state()[2]
    assert found[0].equals(model.support({"cause": Shift(1.0)}).table_)
    assert model.random_state_.get_state()[2] == before


def test_a_saved_model_and_one_behind_a_scaler_say_the_same(model):
    X, change = graph_table(100, seed=1), {"cause": Scale(1.5)}
    expected = model.support(change, X).table_
    assert pickle.loads(pickle.dumps(model)).support(change, X).table_.equals(expected)
    scale = StandardScaler(with_mean=False).set_output(transform="pandas")
    pipe = GenerativePipeline([("scale", scale), ("model", model)])
    found = pipe.fit(graph_table()).support(change, X).table_
    pd.testing.assert_frame_equal(found, expected, rtol=1e-3, atol=1e-3)
    assert found["outside"].equals(expected["outside"])
    drawn = pipe.support(change, n_samples=30, random_state=0).table_
    assert list(drawn.index) == list(expected.index)


# -------------------------------------------------------------- rows of the fit
def test_at_most_a_thousand_rows_are_kept_and_old_ones_fade():
    X = graph_table(3000)
    est = GraphGenerator(EDGES, mechanism="linear", **QUICK).fit(X)
    plain = GraphGenerator(EDGES, mechanism="linear", **QUICK).fit(X[:1000])
    assert abs(len(pickle.dumps(est)) - len(pickle.dumps(plain))) < 2**18
    moved = X.assign(cause=X["cause"] + 20)
    no_change = {"cause": Shift(0.0)}
    assert est.support(no_change, moved).table_["outside"].loc["middle"] == 1
    for k in range(3):
        est.partial_fit(moved[k * 1000 : (k + 1) * 1000])
    assert est.support(no_change, moved).table_["outside"].loc["middle"] < 0.1
    assert est.support(no_change, X).table_["outside"].loc["middle"] > 0.9


def test_rows_that_an_environment_changed_do_not_count_for_their_mechanism():
    near, far = graph_table(300), graph_table(300, seed=1)
    far["cause"] += 20
    labels = np.repeat(["near", "far"], 300)
    params = {"mechanism": "linear", **QUICK}
    est = GraphGenerator(EDGES, targets={"far": ["cause", "middle"]}, **params)
    est.fit(pd.concat([near, far]), labels)
    found = est.support({"cause": Shift(0.0)}, far).table_["outside"]
    assert found["middle"] == 1
    assert found["effect"] < 0.1


def test_rows_count_where_column_and_parents_are_known():
    X = graph_table(300)
    X.loc[X["cause"] > 1, "middle"] = np.nan
    est = GraphGenerator(EDGES, missing="available", mechanism="linear", **QUICK)
    est.fit(X)
    full = graph_table(300)
    found = est.support({"cause": Shift(0.0)}, full[full["cause"] > 2]).table_[
        "outside"
    ]
    assert (found == 1).all()
    assert (est.support({"cause": Shift(0.0)}, full).table_["outside"] < 0.5).all()


def test_unobserved_parents_have_a_support_too():
    rng = np.random.RandomState(0)
    h = rng.randn(300)
    X = np.column_stack([h, -h, h]) + 0.5 * rng.randn(300, 3)
    edges = [("H", k) for k in range(3)]
    est = GraphGenerator(edges, unobserved={"H": 1}, **{**QUICK, "max_epochs": 15}).fit(
        X
    )
    near, far = (est.support({"H": Shift(by)}, X).table_ for by in (0.0, 8.0))
    assert near["parents"].tolist() == ["H"] * 3
    assert (near["outside"] < 0.1).all()
    assert (far["outside"] == 1).all()


def test_a_failed_fit_leaves_the_rows():
    est = GraphGenerator(EDGES, mechanism="linear", **QUICK).fit(graph_table())
    before = est.support({"cause": Shift(1.0)}).table_
    with pytest.raises(ValueError, match="contains NaN"):
        est.fit(graph_table() * np.nan)
    assert est.support({"cause": Shift(1.0)}).table_.equals(before)


# --------------------------------------------------------------------- bad input
def test_wrong_questions_are_refused(model):
    X = graph_table(20)
    with pytest.raises(ValueError, match="'other'"):
        model.support({"other": 1.0}, X)
    with pytest.raises(ValueError, match="columns|feature names"):
        model.support({"cause": 1.0}, X[["cause", "middle"]])
    with pytest.raises(ValueError, match="n_samples"):
        model.support({"cause": 1.0}, n_samples=0)
    with pytest.raises(TypeError, match="interventions"):
        model.support([("cause", 1.0)], X)
    for new in (GraphGenerator(EDGES), small()):
        with pytest.raises(NotFittedError, match="not fitted"):
            new.support({"cause": 1.0}, X)


def test_nodes_of_many_entries_have_one_unit():
    chain = ChainGenerator(random_state=0).fit(TABLE)
    scaled = torch.tensor([1000.0, 1.0, 1.0, 1.0])
    found = chain.support({"dense1": lambda value: value * scaled}, TABLE).table_
    assert found["outside"].item() > 0.9
    assert_array_equal(chain.support({"data": 1.0}, TABLE).table_, np.empty((0, 8)))
