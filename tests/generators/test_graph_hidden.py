"""Unobserved nodes of a graph of columns."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import FactorAnalysis

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Shift

PROXIES = [f"p{k}" for k in range(4)]
CONFOUNDED = [("H", c) for c in (*PROXIES, "t", "y")] + [("t", "y")]
CHAIN = [("Z", "H"), *(("H", f"x{k}") for k in range(5))]


def confounded_rows(n=1200, seed=0, dose=None):
    """A cause of four proxies, of a treatment and of its outcome."""
    rng = np.random.RandomState(seed)
    cause = rng.randn(n)
    proxies = np.tanh(np.outer(cause, [0.8, -1.2, 1.0, -0.9])) + 0.4 * rng.randn(n, 4)
    t = np.tanh(1.5 * cause) + 0.5 * rng.randn(n)
    if dose is not None:
        t = np.full(n, float(dose))
    y = np.sin(t) + 1.2 * np.tanh(cause) + 0.3 * rng.randn(n)
    return pd.DataFrame(proxies, columns=PROXIES).assign(t=t, y=y)


def factor_rows(n=1500, seed=0):
    rng = np.random.RandomState(seed)
    weights, noise = rng.randn(2, 5), (0.3 + rng.rand(5)) * rng.randn(n, 5)
    return rng.randn(n, 2) @ weights + noise


@pytest.fixture(scope="module")
def table():
    return confounded_rows()


@pytest.fixture(scope="module")
def model(table):
    """Tests must not change it."""
    est = GraphGenerator(CONFOUNDED, unobserved={"H": 1}, max_epochs=40, random_state=0)
    return est.fit(table)


@pytest.fixture(scope="module")
def chain():
    est = GraphGenerator(
        CHAIN, unobserved={"Z": 2, "H": 4}, max_epochs=5, random_state=0
    )
    return est.fit(factor_rows())


# ------------------------------------------------------------------------ truth
@pytest.mark.parametrize("seed", range(2))
def test_a_linear_graph_is_as_likely_as_factor_analysis(seed):
    X, fresh = factor_rows(seed=seed), factor_rows(3000, seed)[1500:]
    edges = [("H", k) for k in range(5)]
    est = GraphGenerator(
        edges, unobserved={"H": 2}, mechanism="linear", random_state=seed
    ).fit(X)
    peer = FactorAnalysis(2).fit(X)
    gap = est.score_samples(fresh) - peer.score_samples(fresh)
    # Per row: the bound is close where the encoder is, and this one can be exact.
    assert abs(gap.mean()) < 0.05
    covariance = np.cov(est.sample(20_000, random_state=0).T)
    assert np.allclose(covariance, np.cov(X.T), atol=0.1 * np.cov(X.T).max())


def test_a_modelled_confounder_is_not_mistaken_for_an_effect(model, table):
    ignorant = GraphGenerator([("t", "y")], max_epochs=40, random_state=0).fit(table)
    errors = {}
    for name, est in {"modelled": model, "ignored": ignorant}.items():
        errors[name] = [
            est.intervene({"t": dose}, n_samples=3000, random_state=0)[:, -1].mean()
            - confounded_rows(6000, 1, dose)["y"].mean()
            for dose in (-1.0, 1.0)
        ]
    assert np.abs(errors["ignored"]).min() > 0.4
    assert np.abs(errors["modelled"]).max() < 0.2
    found = model.transform(table)[:, -1]
    truth = np.random.RandomState(0).randn(len(table))
    assert abs(np.corrcoef(found, truth)[0, 1]) > 0.9


# ------------------------------------------------------------------------- laws
def test_given_rows_come_back_and_noise_has_all_nodes(model, table):
    rows = table[:50]
    assert np.allclose(model.intervene({}, X=rows), rows)
    noise = model.transform(rows)
    assert noise.shape == (50, 7)
    assert np.allclose(model.inverse_transform(noise), rows, atol=1e-4)
    assert len(model.get_feature_names_out()) == 7


def test_only_descendants_move(model, table):
    before, after = model.intervene(
        {"t": Shift(1.0)}, X=table[:20], return_factual=True
    )
    moved = np.abs(after - before).max(0) > 1e-6
    assert list(table.columns[moved]) == ["t", "y"]
    before, after = model.intervene(
        {"H": Shift(1.0)}, n_samples=20, random_state=0, return_factual=True
    )
    assert (np.abs(after - before).max(0) > 1e-3).all()
    alike = model.intervene({"H": 0.5}, n_samples=3, random_state=0, return_nodes=True)
    assert np.all(alike[1]["H"][1] == 0.5)


def test_rows_of_a_frame_are_explained_by_optimisation(model, table):
    kept = model.intervene({}, X=table[:5], abduction="optimise")
    assert np.allclose(kept, table[:5], atol=0.01)


def test_a_row_is_scored_alike_among_others(model, table):
    scores = model.score_samples(table[:40])
    assert np.isfinite(scores).all()
    assert np.allclose(model.score_samples(table[10:12]), scores[10:12], rtol=1e-12)


def test_a_chain_of_hidden_nodes(chain):
    assert chain.nodes_["Z"] == (2,)
    assert chain.nodes_["H"] == (4,)
    assert chain.mechanisms_["H"] == ("Z", "noise")
    assert chain.sample(3).shape == (3, 5)
    report = chain.independence(n_draws=50).set_index(["mechanism", "against"])
    assert ("H", "effects") in report.index
    assert ("Z", "effects") not in report.index
    found = report.loc[("H", "effects")]
    assert found["dependence"] >= 0
    assert 0 < found["p_value"] <= 1


def test_a_true_model_has_independent_noise(model):
    report = model.independence(n_draws=99, n_samples=300)
    assert (report["p_value"] < 0.01).sum() <= 1


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), None])
def test_copies_and_refits_draw_the_same(model, table, copied):
    other = copied(model) if copied else clone(model).fit(table)
    assert np.array_equal(other.sample(5, random_state=0), model.sample(5, 0))


def test_missing_values_and_levels():
    rows = confounded_rows(300)
    rows["p0"] = np.where(rows["p0"] > 0, "high", "low")
    rows.loc[::7, "p1"] = np.nan
    rows.loc[::11, "y"] = np.nan
    est = GraphGenerator(
        CONFOUNDED,
        unobserved={"H": 1},
        missing="available",
        max_epochs=5,
        random_state=0,
    ).fit(rows)
    drawn = est.set_output(transform="pandas").sample(20, random_state=0)
    assert set(drawn["p0"]) <= {"high", "low"}
    assert drawn.drop(columns="p0").notna().all(axis=None)


def test_a_changed_column_tells_nothing_of_its_former_cause():
    usual, other = confounded_rows(300), confounded_rows(300, 1)
    # In the second environment the first proxy is set, to what no cause explains.
    other["p0"] = 50.0
    labels = np.repeat(["usual", "set"], 300)
    est = GraphGenerator(
        CONFOUNDED,
        unobserved={"H": 1},
        targets={"set": "p0"},
        max_epochs=20,
        random_state=0,
    ).fit(pd.concat([usual, other]), environments=labels)
    noise = est.transform(usual)[:, -1]
    truth = np.random.RandomState(0).randn(300)
    assert abs(np.corrcoef(noise, truth)[0, 1]) > 0.8


def test_worlds_with_hidden_nodes_fit():
    scm = make_scm(300, n_nodes=5, density=0.9, n_unobserved=1, random_state=1)
    rows = pd.DataFrame(scm.data, columns=scm.feature_names)
    est = GraphGenerator(
        scm.graph,
        unobserved=dict.fromkeys(scm.unobserved, 1),
        max_epochs=3,
        random_state=0,
    ).fit(rows)
    assert set(scm.unobserved) < set(est.nodes_)


# ----------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"unobserved": {"t": 1}}, "unobserved names 't', which is a column of X"),
        ({"unobserved": {"H": 0}}, "ints of at least 1, got 'H': 0"),
        ({"unobserved": {"H": True}}, "ints of at least 1, got 'H': True"),
        ({"unobserved": {3: 1}}, "ints of at least 1, got 3: 1"),
        ({"unobserved": None}, "A node that is not observed must be declared"),
        ({"unobserved": {"H": 1, "U": 2}}, "unobserved node 'U' must have an effect"),
        ({"mechanism": "energy"}, "cannot be 'energy', as a cause of it is hidden"),
        ({"mechanism": {"H": "linear"}}, "mechanism names the column 'H'"),
    ],
)
def test_what_cannot_be_meant_is_refused(model, table, params, message):
    with pytest.raises(ValueError, match=message):
        clone(model).set_params(**params).fit(table)


def test_hidden_nodes_cannot_change_while_training_continues(table):
    est = GraphGenerator(
        CONFOUNDED, unobserved={"H": 1}, max_epochs=1, warm_start=True, random_state=0
    ).fit(table)
    with pytest.raises(ValueError, match="unobserved cannot change"):
        est.set_params(unobserved={"H": 2}).fit(table)
