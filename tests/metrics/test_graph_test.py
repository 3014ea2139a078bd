"""Independences that a graph implies, and whether rows contradict them."""

from itertools import combinations, product

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import evaluate, graph_test
from sklearn_icm.metrics._graph_test import _holm, implied_independences


def fitted(graph, X, **params):
    params = {"mechanism": "linear", "max_epochs": 1, "random_state": 0, **params}
    return GraphGenerator(graph, **params).fit(X)


@pytest.mark.parametrize("n_hidden", [0, 2])
@pytest.mark.parametrize("seed", range(8))
def test_pairs_are_d_separated_by_what_is_given(seed, n_hidden):
    """As networkx sees it; and of observed pairs that can be separated none is left."""
    scm = make_scm(2, n_nodes=6, density=0.4, n_unobserved=n_hidden, random_state=seed)
    graph = nx.DiGraph([(p, name) for name, ps in scm.graph.items() for p in ps])
    graph.add_nodes_from(scm.graph)
    mechanisms = {name: ("noise", *ps) for name, ps in scm.graph.items()}
    observed = scm.feature_names
    found = list(implied_independences(mechanisms, observed))
    for one, other, given in found:
        assert set(given) <= set(observed) - {one, other}
        assert nx.is_d_separator(graph, {one}, {other}, set(given))
    separable = {
        frozenset((one, other))
        for one, other in combinations(observed, 2)
        if any(
            nx.is_d_separator(
                graph, {one}, {other}, {n for n, i in zip(rest, ins, strict=True) if i}
            )
            for rest in [[n for n in observed if n not in (one, other)]]
            for ins in product([0, 1], repeat=len(rest))
        )
    }
    assert {frozenset(pair[:2]) for pair in found} == separable


def test_a_true_graph_is_kept_and_a_missing_edge_seen():
    """Curved and in the presence of a common cause, so that lines would not do."""
    rng = np.random.RandomState(0)
    cause = rng.randn(600)
    first = np.sin(2 * cause) + 0.4 * rng.randn(600)
    second = cause**2 + 0.4 * rng.randn(600)
    third = first * second + 0.4 * rng.randn(600)
    X = pd.DataFrame({"cause": cause, "first": first, "second": second, "third": third})
    true = {"first": ["cause"], "second": ["cause"], "third": ["first", "second"]}
    report = graph_test(fitted(true, X), X)
    assert not report.table_["refuted"].any()
    assert "None of 2 implied independences" in str(report)
    lacking = graph_test(fitted({**true, "second": []}, X), X)
    refuted = lacking.table_[lacking.table_["refuted"]]
    pairs = {frozenset(pair) for pair in refuted[["one", "other"]].to_numpy()}
    assert frozenset(("cause", "second")) in pairs
    assert "lacks an edge or a common cause" in str(lacking)
    full = {name: list(X)[:k] for k, name in enumerate(X)}
    assert "implies no independence" in str(graph_test(fitted(full, X), X))


def test_a_hidden_cause_of_numbers_and_levels_is_seen():
    rng = np.random.RandomState(1)
    hidden = rng.randn(500)
    X = pd.DataFrame({f"proxy{k}": hidden + rng.randn(500) for k in range(2)})
    X["group"] = np.where(hidden + rng.randn(500) > 0, "a", "b")
    independent = graph_test(fitted([], X), X).table_
    assert len(independent) == 3
    assert independent["refuted"].all()
    # Nothing separates children of a node that nobody sees.
    mechanisms = {"H": ("noise",)} | dict.fromkeys(X, ("noise", "H"))
    assert not list(implied_independences(mechanisms, list(X)))


def test_false_alarms_and_what_is_detectable():
    """Of 60 independent tables; a correlation of the size named is found in 80 %."""
    alarms, found = [], []
    model = fitted([], np.random.RandomState(0).randn(100, 3))
    for seed in range(60):
        rng = np.random.RandomState(seed)
        X = rng.randn(100, 3)
        report = graph_test(model, X, n_draws=200)
        alarms.append(report.table_["refuted"].any())
        size = report.table_["detectable"].iloc[0]
        X[:, 1] = size * X[:, 0] + np.sqrt(1 - size**2) * X[:, 1]
        table = graph_test(model, X, n_draws=200).table_
        found.append(table.query("one == 'x0' and other == 'x1'")["refuted"].item())
    assert np.mean(alarms) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)
    assert abs(np.mean(found) - 0.8) <= 3 * np.sqrt(0.8 * 0.2 / 60) + 0.1


def test_holm():
    found = _holm(np.array([0.01, 0.04, 0.03, 0.5]))
    assert np.allclose(found, [0.04, 0.09, 0.09, 0.5])
    assert len(_holm(np.empty(0))) == 0


def test_pipelines_and_seeds_and_evaluate():
    scm = make_scm(120, n_nodes=4, random_state=0)
    X = pd.DataFrame(scm.data, columns=scm.feature_names)
    scale = StandardScaler().set_output(transform="pandas")
    graph = GraphGenerator(scm.graph, mechanism="linear", max_epochs=1, random_state=0)
    pipe = make_pipeline(scale, graph).fit(X)
    table = graph_test(pipe, X).table_
    pd.testing.assert_frame_equal(table, graph_test(pipe, X).table_)
    said = evaluate(pipe, X, n_draws=3).sentences_
    assert said["the graph"] == graph_test(pipe, X).sentences_["graph"]


def test_bad_input():
    X = np.random.RandomState(0).randn(60, 2)
    model = fitted([(0, 1)], X)
    with pytest.raises(ValueError, match="at least 40 rows, got 39"):
        graph_test(model, X[:39])
    with pytest.raises(ValueError, match="alpha"):
        graph_test(model, X, alpha=1.5)
    with pytest.raises(ValueError, match="n_draws"):
        graph_test(model, X, n_draws=0)
