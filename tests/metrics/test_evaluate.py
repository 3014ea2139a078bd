import numpy as np
import pandas as pd
import pytest

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import evaluate
from sklearn_icm.metrics._evaluate import _crps


def rows(seed, n=400):
    rng = np.random.RandomState(seed)
    cause = rng.uniform(-3, 3, n)
    return pd.DataFrame({"cause": cause, "effect": cause**2 + 0.5 * rng.randn(n)})


@pytest.fixture(scope="module")
def table():
    est = GraphGenerator([("cause", "effect")], random_state=0).fit(rows(0))
    return evaluate(est, rows(1)).set_index("node")


def test_crps_of_perfect_useless_and_constant_draws():
    rng = np.random.RandomState(0)
    observed = rng.randn(4000)
    assert _crps(observed, np.repeat(observed[:, None], 5, axis=1)) == 0
    # Gneiting and Raftery: a standard normal forecast of itself has 1 / sqrt(pi).
    own = _crps(observed, rng.randn(4000, 20))
    assert abs(own - 1 / np.sqrt(np.pi)) < 0.05
    constant = _crps(observed, np.zeros((4000, 3)))
    assert np.isclose(constant, np.abs(observed).mean())


def test_a_true_mechanism_reaches_the_score_of_its_noise(table):
    effect = table.loc["effect"]
    ideal = 0.5 / np.sqrt(np.pi)
    assert 0.8 * ideal < effect["crps"] < 1.4 * ideal
    assert effect["skill"] > 0.7
    assert effect["linear_skill"] > 0.7


def test_a_root_saves_nothing(table):
    assert abs(table.loc["cause", "skill"]) < 0.05
    assert "has no parents" in table.loc["cause", "sentence"]


def test_a_wrong_mechanism_is_seen_to_depend_on_its_parents():
    est = GraphGenerator([("cause", "effect")], mechanism="linear", random_state=0)
    effect = evaluate(est.fit(rows(0)), rows(1)).set_index("node").loc["effect"]
    assert effect["p_value"] < 0.01
    assert abs(effect["linear_skill"]) < 0.1
    assert "depends on its parents" in effect["sentence"]


def test_sentences_name_their_node(table):
    assert all(name in text for name, text in table["sentence"].items())


def test_constant_columns_have_no_skill():
    X = np.column_stack([np.ones(40), np.random.RandomState(0).randn(40)])
    table = evaluate(GraphGenerator(max_epochs=1).fit(X), X)
    assert table["crps"][0] == 0
    assert np.isnan(table["skill"][0])


def test_categorical_columns_are_left_out():
    X = rows(0).assign(group=np.where(rows(0)["cause"] > 0, "a", "b"))
    est = GraphGenerator({"effect": "group"}, max_epochs=2, random_state=0).fit(X)
    assert list(evaluate(est, X)["node"]) == ["cause", "effect"]


def test_too_few_rows():
    est = GraphGenerator(max_epochs=1).fit(rows(0))
    with pytest.raises(ValueError, match="needs at least 10 rows, got 9"):
        evaluate(est, rows(0)[:9])
