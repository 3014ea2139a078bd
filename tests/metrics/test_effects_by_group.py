"""Average effects by group."""

import numpy as np
import pandas as pd
import pytest

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import average_effect

GRAPH = {"dose": "age", "cured": ["age", "plan", "dose"]}
ASKED = ("dose", 1.0, 0.0, "cured")


def patients(n=400, seed=0):
    """Of the plan "pro" a dose helps by 3, of "free" by 1."""
    rng = np.random.RandomState(seed)
    age = rng.uniform(20, 60, n)
    plan = rng.choice(["free", "pro"], n)
    dose = age / 20 + rng.randn(n)
    gain = np.where(plan == "pro", 3.0, 1.0)
    cured = gain * dose + age / 10 + rng.randn(n)
    return pd.DataFrame({"age": age, "plan": plan, "dose": dose, "cured": cured})


@pytest.fixture(scope="module")
def model():
    params = {"mechanism": {"cured": "additive"}, "max_epochs": 20, "random_state": 0}
    return GraphGenerator(GRAPH, missing="available", **params).fit(patients())


def test_groups_have_their_own_effects(model):
    X = patients(400, seed=1)
    table = average_effect(model, *ASKED, X=X, by="plan")
    assert table.index.tolist() == ["free", "pro"]
    assert table.index.name == "plan"
    assert (abs(table["effect"] - [1.0, 3.0]) < 0.7).all()
    assert table["n_samples"].tolist() == X["plan"].value_counts().sort_index().tolist()
    assert table.attrs["counts"].startswith("the rows X only")
    for name in ("free", "pro"):
        alone = average_effect(model, *ASKED, X=X[X["plan"] == name])
        row = table.loc[name]
        np.testing.assert_allclose(
            [row["effect"], row["low"], row["high"]],
            [alone.effect, alone.low, alone.high],
        )
    # Together they are the effect on all rows.
    whole = average_effect(model, *ASKED, X=X).effect
    assert np.average(table["effect"], weights=table["n_samples"]) == pytest.approx(
        whole
    )


def test_labels_and_columns_by_place(model):
    X = patients(200, seed=1)
    ages = pd.cut(X["age"], [0, 30, 45, 100])
    table = average_effect(model, *ASKED, X=X, by=ages)
    assert table.index.tolist() == list(ages.cat.categories)
    assert table.index.name == "age"
    by_name, by_place = (
        average_effect(model, *ASKED, X=X, by=by) for by in ("plan", 1)
    )
    np.testing.assert_array_equal(by_name, by_place)


def test_draws_are_grouped_by_what_they_were(model):
    drawn = average_effect(
        model, "plan", "pro", None, "cured", by="plan", n_samples=800
    )
    # Those who have the plan already gain nothing by it.
    assert drawn.loc["pro", "effect"] == pytest.approx(0.0, abs=1e-6)
    assert drawn.loc["free", "effect"] > 0.5
    assert drawn["n_samples"].sum() == 800


def test_rows_without_a_group_are_in_none(model):
    X = patients(200, seed=1)
    X.loc[:49, "plan"] = np.nan
    table = average_effect(model, *ASKED, X=X, by="plan")
    assert table["n_samples"].sum() == 150
    assert (table["low"] < table["effect"]).all()


def test_intervals_of_groups_count_estimation():
    X = patients(200)
    graph = GraphGenerator(GRAPH, mechanism="linear", random_state=0)
    model = BootstrapGenerator(graph, n_estimators=5, random_state=0).fit(X)
    table = average_effect(model, *ASKED, X=X, by="plan")
    assert table.attrs["counts"].startswith("the rows X and 5 refits")
    width = table["high"] - table["low"]
    single = average_effect(model.estimator_, *ASKED, X=X, by="plan")
    assert (width > 5 * (single["high"] - single["low"])).all()


def test_levels_as_targets_have_intervals_within_their_reach(model):
    """The chance of an event, of which no row of a group may change."""
    table = average_effect(
        model,
        "plan",
        "pro",
        "free",
        lambda rows: rows[:, 1] == "pro",
        X=patients(60),
        by="plan",
    )
    assert (table["effect"] == 1).all()
    assert (table["high"] == 1).all()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"by": "plans"}, "by must be a column index .* or one of the names"),
        ({"by": 7}, "by must be a column index from 0 to 3"),
        ({"by": "age"}, "by makes 60 groups, more than 50: .*pandas.cut"),
        ({"by": ["a"] * 59}, "a label for each of 60 rows, got .*59"),
        ({"by": ["a"] * 59 + ["b"]}, "The group 'b' must have at least 2 rows"),
        ({"by": ["a"] * 60, "X": None}, "by must be a column where X is None"),
    ],
)
def test_groups_that_are_none(model, params, match):
    with pytest.raises(ValueError, match=match):
        average_effect(model, *ASKED, **{"X": patients(60), **params})
