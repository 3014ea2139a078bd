"""Answers about given rows with several draws of what they leave open."""

import numpy as np
import pandas as pd
import pytest
from helpers import FAMILY_ROWS, fitted_families

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import ChainGenerator, GraphGenerator
from sklearn_icm.interventions import Noise, Shift

DRAWS = ["table", "image", "chain", "columns"]


@pytest.fixture(scope="module")
def families():
    return fitted_families()


@pytest.fixture(scope="module")
def plans():
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"age": rng.uniform(20, 60, 300)})
    X["plan"] = np.where(X["age"] + 15 * rng.randn(300) > 40, "pro", "free")
    X["spent"] = X["age"] / 10 + 3 * (X["plan"] == "pro") + rng.randn(300)
    graph = {"plan": ["age"], "spent": ["age", "plan"]}
    model = GraphGenerator(graph, n_units=4, max_epochs=5, random_state=0)
    return model.fit(X), X


@pytest.mark.parametrize("family", DRAWS)
def test_draws_have_an_axis_and_do_not_depend_on_their_number(families, family):
    est, node = families[family], next(iter(families[family].nodes_))
    X = FAMILY_ROWS[:6]
    options = {"X": X, "return_factual": True, "return_nodes": True}
    factual, changed, nodes = est.intervene({node: Shift(0.5)}, n_draws=3, **options)
    assert factual.shape == changed.shape == (3, 6, 4)
    assert nodes[node][1].shape == (3, 6, *est.nodes_[node])
    # Whatever is drawn, it explains the rows.
    np.testing.assert_allclose(factual, np.stack([X] * 3), atol=1e-5)
    few = est.intervene({node: Shift(0.5)}, X=X, n_draws=2)
    np.testing.assert_array_equal(few, changed[:2])
    other = est.intervene({node: Shift(0.5)}, X=X[::-1], n_draws=3)
    np.testing.assert_allclose(other[:, ::-1], changed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["table", "image", "chain"])
def test_draws_scatter_about_the_mean_of_the_posterior(families, family):
    est, X = families[family], FAMILY_ROWS[:5]
    node = next(iter(est.nodes_))
    *_, nodes = est.intervene({}, X=X, n_draws=400, return_nodes=True)
    values, mean = nodes[node][0], est.node_values(X)[node]
    assert (values.std(0) > 0).all()
    if family == "chain":
        error = abs(values.mean(0) - mean) / values.std(0)
        assert error.max() < 5 / np.sqrt(400)


def test_posteriors_of_a_chain_together_are_the_prior():
    """Over rows that the model draws, posterior draws are as the noise was."""
    rows = np.random.RandomState(0).randn(100, 3) @ np.diag([2.0, 1.0, 0.5])
    chain = ChainGenerator(n_layers=2, random_state=0).fit(rows)
    X = chain.sample(4000, random_state=0)
    *_, nodes = chain.intervene({}, X=X, n_draws=1, return_nodes=True, residual="drop")
    noise = chain.abduct(X).noise
    assert np.cov(noise.T).trace() < 3
    drawn = next(iter(nodes.values()))[0][0]
    weight = np.linalg.lstsq(noise, chain.node_values(X)[next(iter(nodes))], rcond=None)
    recovered = drawn @ np.linalg.pinv(weight[0])
    np.testing.assert_allclose(np.cov(recovered.T), np.eye(3), atol=0.12)


def test_levels_take_other_places_in_their_interval(plans):
    model, X = plans
    X = X.iloc[:80]
    draws = model.intervene({"age": Shift(8.0)}, X=X, n_draws=40)
    moved = (draws[:, :, 1] == "pro").mean(0)
    assert ((moved > 0) & (moved < 1)).any()
    # The first one is the answer without draws; observed values are always kept.
    assert np.array_equal(draws[0], model.intervene({"age": Shift(8.0)}, X=X))
    same = model.intervene({}, X=X, n_draws=3)
    assert (same == X.to_numpy()).all()


def test_unobserved_nodes_are_drawn():
    rng = np.random.RandomState(0)
    cause = rng.randn(200)
    X = np.column_stack([cause + 0.3 * rng.randn(200) for _ in range(3)])
    edges = [("H", "x0"), ("H", "x1"), ("H", "x2")]
    model = GraphGenerator(edges, unobserved={"H": 1}, max_epochs=3, random_state=0)
    model.fit(X)
    *_, nodes = model.intervene({}, X=X[:5], n_draws=50, return_nodes=True)
    assert (nodes["H"][0].std(0) > 0).all()
    assert (nodes["x0"][0].std(0) < 1e-5).all()


def test_random_interventions_are_drawn_anew(plans):
    model, X = plans
    ask = {"X": X.iloc[:20], "random_state": 3}
    draws = model.intervene({"age": Noise(1.0)}, n_draws=3, **ask)[:, :, 0]
    assert not np.array_equal(draws[0], draws[1])
    once = model.intervene({"age": Noise(1.0)}, **ask)[:, 0]
    assert np.array_equal(draws[0], once)
    again = model.intervene({"age": Noise(1.0)}, n_draws=3, **ask)[:, :, 0]
    assert np.array_equal(draws, again)


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("piped", [False, True])
def test_frames_say_which_draw_a_row_is_of(plans, container, piped):
    if container == "polars":
        pytest.importorskip("polars")
    model, X = plans
    arrays = model.intervene({"age": Shift(8.0)}, X=X.iloc[:7], n_draws=3)
    if piped:
        model = GenerativePipeline([("graph", model)]).as_fitted(list(X.columns))
    model.set_output(transform=container)
    try:
        frame = model.intervene({"age": Shift(8.0)}, X=X.iloc[:7], n_draws=3)
    finally:
        model.set_output(transform="default")
    if container == "polars":
        assert frame.columns == ["draw", *X.columns]
        assert frame["draw"].to_list() == [k for k in range(3) for _ in range(7)]
        found = frame.drop("draw").to_numpy()
    else:
        assert frame.index.names == ["draw", None]
        assert frame.index.tolist() == [(k, i) for k in range(3) for i in range(7)]
        found = frame.to_numpy()
    assert (found.reshape(3, 7, 3) == arrays).all()


def test_what_cannot_be_drawn_is_refused(families, plans):
    est = families["simulator"]
    node, X = next(iter(est.nodes_)), FAMILY_ROWS[:3]
    with pytest.raises(TypeError, match="FixedGenerator .* no distribution"):
        est.intervene({node: Shift(1.0)}, X=X, n_draws=2)
    model, rows = plans
    with pytest.raises(ValueError, match="n_draws must be None where rows are drawn"):
        model.intervene({}, n_samples=5, n_draws=2)
    with pytest.raises(ValueError, match="n_draws"):
        model.intervene({}, X=rows, n_draws=0)
    with pytest.raises(ValueError, match="given must be None where X is"):
        model.intervene({}, X=rows, n_draws=2, given={"age": (20, 30)})
    found = model.abduct(rows)
    for abduction in ("optimise", found):
        with pytest.raises(ValueError, match="n_draws needs abduction='encode'"):
            model.intervene({}, X=rows, n_draws=2, abduction=abduction)
    named = rows.rename(columns={"spent": "draw"})
    graph = GraphGenerator({"plan": "age"}, max_epochs=1, random_state=0).fit(named)
    with pytest.raises(ValueError, match="X has a column of this name"):
        graph.set_output(transform="pandas").intervene({}, X=named, n_draws=2)
