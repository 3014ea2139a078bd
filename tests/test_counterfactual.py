"""Abduction, values of nodes, hybrids and influence."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import FAMILIES, TABLE, fitted_families, small
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import Noise, Scale, Stretch
from sklearn_icm.mechanisms import MechanismGraph


def linear_graph(seed=0, n_features=5, n_latents=2):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first = torch.nn.Linear(n_latents, n_latents)
        second = torch.nn.Linear(n_latents, n_features)
    return MechanismGraph(
        {"noise": (n_latents,)}, {"cause": ("noise", first), "data": ("cause", second)}
    )


@pytest.fixture(scope="module")
def true():
    """A linear simulator without noise, and rows of it."""
    model = FixedGenerator(linear_graph(), random_state=0)
    model.fit(np.random.RandomState(0).normal(size=(50, 5)))
    return model, model.sample(20, random_state=1)


@pytest.fixture(scope="module")
def table():
    return small(bounds=None).fit(TABLE)


def test_optimised_abduction_finds_the_noise_of_a_simulator(true):
    model, X = true
    found = model.abduct(X, method="optimise")
    noise = model.node_values(n_samples=20, random_state=1)["noise"]
    # The prior pulls by about the share of the assumed noise.
    assert np.abs(found.noise - noise).max() < 0.05
    assert found.residual.max() < 0.02 * X.std()
    assert found.converged.all()


@pytest.mark.parametrize("seed", range(3))
def test_optimising_never_lowers_the_joint_density(fitted, pairs, seed):
    from sklearn_icm.models._abduction import log_joint
    from sklearn_icm.models._query import RowQueries

    X = pairs.data[seed::20]
    queries = RowQueries(fitted._fitted.model, None)
    density = []
    for method in ("encode", "optimise"):
        noise = queries.to_noise(fitted.abduct(X, method=method).noise)
        with torch.no_grad():
            density.append(
                log_joint(fitted._fitted.model, queries.to_node(X), noise).numpy()
            )
    assert (density[1] >= density[0] - 1e-3).all()
    assert density[1].mean() > density[0].mean() + 1


def test_a_row_is_abducted_alike_among_other_rows(fitted, pairs):
    X = pairs.data[:12]
    together = fitted.abduct(X, method="optimise", max_steps=40).noise
    alone = fitted.abduct(X[3:4], method="optimise", max_steps=40).noise
    assert np.allclose(together[3], alone[0], atol=1e-3)


def test_given_abduction_saves_the_search_and_changes_nothing(fitted, pairs):
    X, change = pairs.data[:9], {"conv2": Stretch(1.3)}
    found = fitted.abduct(X, method="optimise")
    expected = fitted.intervene(change, X=X, abduction="optimise")
    assert np.array_equal(fitted.intervene(change, X=X, abduction=found), expected)
    assert not np.array_equal(fitted.intervene(change, X=X), expected)
    assert np.array_equal(fitted.intervene({}, X=X, abduction=found), X)
    encoded = fitted.intervene(change, X=X, abduction=fitted.abduct(X))
    assert np.allclose(encoded, fitted.intervene(change, X=X), atol=1e-6)


def test_abduction_works_where_gradients_are_off(fitted, pairs):
    expected = fitted.abduct(pairs.data[:3], method="optimise").noise
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            found = fitted.abduct(pairs.data[:3], method="optimise").noise
        assert np.array_equal(found, expected)


def test_nodes_are_those_of_the_rows(fitted, pairs):
    X = pairs.data[:6]
    factual, changed, nodes = fitted.intervene(
        {"conv2": Scale(2.0)}, X=X, return_factual=True, return_nodes=True
    )
    assert list(nodes) == list(fitted.nodes_)
    for name, value in fitted.node_values(X).items():
        assert np.array_equal(nodes[name][0], value)
    assert np.allclose(nodes["conv2"][1], 2 * nodes["conv2"][0])
    means = (nodes["data"][1] - nodes["data"][0]).reshape(len(X), -1)
    low, high = fitted.bounds_
    low, high = np.minimum(low, X), np.maximum(high, X)
    assert np.allclose(changed, np.clip(X + means, low, high), atol=1e-6)
    assert np.array_equal(factual, X)


def test_nodes_of_draws_do_not_change_the_draws(table):
    draw = {"n_samples": 1500, "random_state": 3}
    expected = table.intervene({"dense1": Noise(0.3)}, **draw)
    rows, nodes = table.intervene({"dense1": Noise(0.3)}, return_nodes=True, **draw)
    assert np.array_equal(rows, expected)
    assert nodes["noise"][0].shape == (1500, 2)
    values = table.node_values(n_samples=1500, random_state=3)
    assert np.allclose(nodes["dense1"][0], values["dense1"])


def test_hybrids_have_the_units_of_their_source(table):
    base, source = TABLE[:9], TABLE[9:18]
    every = list(range(8))
    swapped = table.hybridise(base, source, "dense1", every)
    own, other = (table.inverse_transform(table.transform(X)) for X in (base, source))
    assert np.allclose(swapped, base + other - own, atol=1e-5)
    assert np.array_equal(table.hybridise(base, base, "dense1", [0, 3]), base)
    frame = pd.DataFrame(base, index=range(5, 14))
    assert list(table.hybridise(base, source, "dense1", 0)[0]) != list(frame.iloc[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_noise_behind_drawn_rows_is_not_sought(monkeypatch, family):
    model = fitted_families()[family]
    node = next(iter(model.nodes_))
    asked = []
    monkeypatch.setattr(type(model._fitted.model), "abduct", asked.append)
    influence = model.influence_map(node, 0, n_samples=9)
    assert influence.shape == (4,)
    assert np.isfinite(influence).all()
    assert not asked


def test_influence_is_zero_where_the_graph_has_no_path(true):
    model, _ = true
    graph = linear_graph()
    with torch.no_grad():
        weight = graph.mechanism("data").weight
        weight[:2, 0] = 0
    model = FixedGenerator(graph, random_state=0).fit(np.zeros((3, 5)) + np.eye(3, 5))
    influence = model.influence_map("cause", 0, n_samples=400, random_state=0)
    assert (influence[:2] == 0).all()
    # Mean absolute difference of two independent normal values: 2 sd / sqrt(pi).
    sd = float(graph.mechanism("cause").weight[0].detach().norm())
    expected = 2 / np.sqrt(np.pi) * sd * np.abs(weight[2:, 0].detach().numpy())
    assert np.allclose(influence[2:], expected, rtol=0.25)


def test_influence_of_given_rows_follows_the_seed(table):
    first, again, other = (
        table.influence_map("dense1", [0, 1], TABLE, random_state=s) for s in (0, 0, 1)
    )
    assert first.shape == (4,)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.abduct(TABLE, method="guess"), "method must be one of"),
        (lambda m: m.abduct(TABLE, max_steps=0), "max_steps"),
        (lambda m: m.abduct(TABLE, tol=-1.0), "tol"),
        (
            lambda m: m.intervene({}, X=TABLE, abduction="no"),
            "abduction must be one of",
        ),
        (
            lambda m: m.intervene({}, X=TABLE, abduction=m.abduct(TABLE[:3])),
            "noise of 3 rows, but X has 40",
        ),
        (
            lambda m: m.intervene({}, n_samples=1, abduction="no"),
            "abduction must be one of",
        ),
        (
            lambda m: m.intervene({}, X=TABLE, abduction=Bunch(noise=np.ones((40, 3)))),
            r"shape \(3,\) per row, but this model's has shape \(2,\)",
        ),
        (lambda m: m.hybridise(TABLE, TABLE[:2], "dense1", 0), "got 2 and 40"),
        (lambda m: m.hybridise(TABLE, TABLE, "dense9", 0), "Did you mean 'dense1'"),
        (lambda m: m.influence_map("dense1", 8), "out of range"),
        (lambda m: m.influence_map("dense1", 0, TABLE[:1]), "at least 2 rows"),
        (lambda m: m.influence_map("dense1", 0, n_samples=1), "n_samples"),
    ],
)
def test_wrong_queries_are_refused(table, call, message):
    with pytest.raises(ValueError, match=message):
        call(table)


def test_pipelines_ask_in_input_space():
    pipe = GenerativePipeline(
        [("scale", StandardScaler()), ("model", small(bounds=None))]
    ).fit(TABLE * 50)
    X, inner = TABLE * 50, pipe["model"]
    scaled = pipe["scale"].transform(X)
    assert np.array_equal(pipe.abduct(X).noise, inner.abduct(scaled).noise)
    assert np.allclose(
        pipe.node_values(X)["dense1"], inner.node_values(scaled)["dense1"]
    )
    hybrid = pipe.hybridise(X[:5], X[5:10], "dense1", [0, 1])
    expected = inner.hybridise(scaled[:5], scaled[5:10], "dense1", [0, 1])
    assert np.allclose(hybrid, pipe["scale"].inverse_transform(expected))
    influence = pipe.influence_map("dense1", 0, X, random_state=0)
    in_scale = inner.influence_map("dense1", 0, scaled, random_state=0)
    assert np.allclose(influence, in_scale * pipe["scale"].scale_)
    rows, nodes = pipe.intervene({"dense1": 0.0}, X=X, return_nodes=True)
    assert rows.shape == X.shape
    assert set(nodes) == set(pipe.nodes_)


def test_models_of_named_columns_ask_themselves_without_a_warning():
    frame = pd.DataFrame(TABLE, columns=list("abcd"))
    for model in (
        small().fit(frame),
        GenerativePipeline([("scale", StandardScaler()), ("m", small())]).fit(frame),
    ):
        assert model.influence_map("dense1", 0, n_samples=8).shape == (4,)
        assert len(model.independence(n_samples=8)) == 1


@pytest.mark.parametrize(
    "view", [TABLE[::-1], TABLE[:, ::-1], TABLE.T[::-1].T], ids=["rows", "columns", "T"]
)
def test_views_that_run_backwards_are_rows_like_others(table, view):
    rows = view.copy()
    for ask in (
        lambda X: table.node_values(X)["dense1"],
        lambda X: table.abduct(X).noise,
        lambda X: table.independence(X)["rho"],
        lambda X: table.influence_map("dense1", 0, X),
        lambda X: table.hybridise(X, X[::-1], "dense1", 0),
        lambda X: table.score_samples(X),
        lambda X: table.transform(X),
        lambda X: small().fit(X).sample(2, 0),
    ):
        assert np.array_equal(ask(view), ask(rows))
