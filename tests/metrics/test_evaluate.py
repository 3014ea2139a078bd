import numpy as np
import pandas as pd
import pytest
from helpers import TABLE, small
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import evaluate
from sklearn_icm.metrics._evaluate import _crps, _level_score


def rows(seed, n=400):
    rng = np.random.RandomState(seed)
    cause = rng.uniform(-3, 3, n)
    return pd.DataFrame({"cause": cause, "effect": cause**2 + 0.5 * rng.randn(n)})


@pytest.fixture(scope="module")
def report():
    est = GraphGenerator([("cause", "effect")], random_state=0).fit(rows(0))
    return evaluate(est, rows(1))


def test_crps_of_perfect_useless_and_constant_draws():
    rng = np.random.RandomState(0)
    observed = rng.randn(4000)
    assert _crps(observed, np.repeat(observed[:, None], 5, axis=1)) == 0
    # Gneiting and Raftery: a standard normal forecast of itself has 1 / sqrt(pi).
    own = _crps(observed, rng.randn(4000, 20))
    assert abs(own - 1 / np.sqrt(np.pi)) < 0.05
    constant = _crps(observed, np.zeros((4000, 3)))
    assert np.isclose(constant, np.abs(observed).mean())


def test_a_true_mechanism_reaches_the_score_of_its_noise(report):
    effect = report.table_.loc["effect"]
    ideal = 0.5 / np.sqrt(np.pi)
    assert 0.8 * ideal < effect["crps"] < 1.4 * ideal
    assert effect["skill"] > 0.7
    assert effect["linear_skill"] > 0.7


def test_a_root_saves_nothing(report):
    assert abs(report.table_.loc["cause", "skill"]) < 0.05
    assert "has no parents" in report.sentences_["cause"]


def test_a_wrong_mechanism_is_seen_to_depend_on_its_parents():
    est = GraphGenerator([("cause", "effect")], mechanism="linear", random_state=0)
    report = evaluate(est.fit(rows(0)), rows(1))
    effect = report.table_.loc["effect"]
    assert effect["p_value"] < 0.01
    assert abs(effect["linear_skill"]) < 0.1
    assert "depends on its parents" in report.sentences_["effect"]


def test_sentences_name_their_node(report):
    told = report.sentences_.drop("the graph")
    assert all(name in text for name, text in told.items())


def test_constant_columns_have_no_skill():
    X = np.column_stack([np.ones(40), np.random.RandomState(0).randn(40)])
    table = evaluate(GraphGenerator(max_epochs=1).fit(X), X).table_
    assert table["crps"].iloc[0] == 0
    assert np.isnan(table["skill"].iloc[0])


def test_the_score_of_levels_is_half_that_of_brier():
    observed, rng = np.zeros(4000), np.random.RandomState(0)
    assert _level_score(observed, np.zeros((4000, 5))) == 0
    assert _level_score(observed, np.ones((4000, 5))) == 1
    # Chances p of the other level: p^2 for both levels, half of 2 p^2.
    draws = (rng.rand(4000, 50) < 0.3).astype(float)
    assert abs(_level_score(observed, draws) - 0.3**2) < 0.01


def test_levels_are_scored_against_a_logistic_regression():
    X = rows(0, 300).assign(group=np.where(rows(0, 300)["cause"] > 0, "a", "b"))
    edges = {"group": "cause", "effect": "group"}
    est = GraphGenerator(edges, max_epochs=30, random_state=0).fit(X)
    group = evaluate(est, X).table_.loc["group"]
    # Half the Brier score of the frequencies of two levels of equal chance.
    assert abs(group["constant_crps"] - 0.25) < 0.02
    assert group["skill"] > 0.8
    assert np.isnan(group["p_value"])
    alone = evaluate(GraphGenerator(max_epochs=1).fit(X), X).table_
    assert abs(alone.loc["group", "skill"]) < 0.05


def test_what_a_column_tells_of_its_hidden_cause_does_not_help_to_score_it():
    rng = np.random.RandomState(0)
    cause = rng.randn(400)
    X = pd.DataFrame({f"x{k}": cause + 0.3 * rng.randn(400) for k in range(4)})
    edges = [("H", name) for name in X]
    est = GraphGenerator(edges, unobserved={"H": 1}, max_epochs=20, random_state=0)
    report = evaluate(est.fit(X), X)
    assert np.abs(report.table_["skill"]).max() < 0.1
    assert not report.sentences_.str.contains("no parents").any()


def test_too_few_rows():
    est = GraphGenerator(max_epochs=1).fit(rows(0))
    with pytest.raises(ValueError, match="needs at least 10 rows, got 9"):
        evaluate(est, rows(0)[:9])


@pytest.mark.parametrize("generative", [False, True])
def test_rows_before_a_pipeline_are_transformed(generative):
    scale = StandardScaler().set_output(transform="pandas")
    graph = GraphGenerator([("cause", "effect")], mechanism="linear", max_epochs=2)
    pipe = make_pipeline(scale, graph)
    if generative:
        pipe = GenerativePipeline(pipe.steps)
    inner = pipe.fit(rows(0))[:-1].transform(rows(1))
    pd.testing.assert_frame_equal(
        evaluate(pipe, rows(1), n_draws=5).table_,
        evaluate(pipe[-1], inner, n_draws=5).table_,
    )


def test_only_fitted_graphs_are_evaluated():
    with pytest.raises(TypeError, match="must be a fitted GraphGenerator.*got VAE"):
        evaluate(small().fit(TABLE), TABLE)
    with pytest.raises(NotFittedError):
        evaluate(GraphGenerator(), TABLE)


def test_a_draw_of_the_noise_serves_all_columns(monkeypatch):
    est = GraphGenerator([(0, 1), (1, 2)], mechanism="linear", max_epochs=1).fit(TABLE)
    drawn, ask = [], est.node_values

    def counted(X=None, **params):
        drawn.append(params)
        return ask(X, **params)

    monkeypatch.setattr(est, "node_values", counted)
    evaluate(est, TABLE, n_draws=7)
    assert sum("n_samples" in params for params in drawn) == 7
