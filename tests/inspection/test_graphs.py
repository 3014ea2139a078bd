import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import TABLE, small
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.inspection import GraphInterventionDisplay, IndependenceDisplay
from sklearn_icm.interventions import Scale, Shift


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.RandomState(0)
    cause, noise, alone = rng.randn(3, 200)
    X = pd.DataFrame({"cause": cause, "effect": cause + 0.1 * noise, "alone": alone})
    X["group"] = np.where(cause > 0, "high", "low")
    graph = {"effect": "cause", "group": "cause"}
    return GraphGenerator(graph, max_epochs=20, random_state=0).fit(X), X


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_effects_are_those_of_the_intervention(fitted):
    est, X = fitted
    display = GraphInterventionDisplay.from_estimator(est, {"cause": Shift(1.0)}, X)
    assert np.isclose(display.effects["cause"], 1 / X["cause"].std(ddof=0), atol=1e-4)
    assert display.effects["alone"] == 0
    assert 0.7 < display.effects["effect"] < 1.3
    assert 0.2 < display.effects["group"] < 0.8
    assert display.targets == ["cause"]


def test_the_drawing_has_every_node_and_edge(fitted):
    est, _ = fitted
    _, ax = plt.subplots()
    display = GraphInterventionDisplay.from_estimator(
        est, {"cause": 2.0}, n_samples=50, ax=ax
    )
    assert display.ax_ is ax
    assert len(display.edges_) == 2
    shown = [label.get_text().split("\n")[0] for label in display.labels_]
    assert sorted(shown) == ["alone", "cause", "effect", "group"]
    assert len(display.nodes_["s"].get_offsets()) == 1
    assert len(display.nodes_["o"].get_offsets()) == 3
    display.figure_.canvas.draw()


def test_causes_are_above_their_effects():
    parents = {"a": [], "b": ["a"], "c": ["a", "b"], "d": []}
    display = GraphInterventionDisplay(parents, dict.fromkeys(parents, 0.0)).plot()
    height = {label.get_text().split("\n")[0]: label.xy[1] for label in display.labels_}
    for child, read in parents.items():
        assert all(height[parent] > height[child] for parent in read)


def test_pairs_that_nothing_moved_stay_pale(fitted):
    est, _ = fitted
    display = GraphInterventionDisplay.from_estimator(est, {"alone": 1.0}, n_samples=9)
    colours = {edge.arrow_patch.get_edgecolor()[:3] for edge in display.edges_}
    assert colours == {(0.75, 0.75, 0.75)}


def test_hidden_nodes_are_drawn_and_can_be_changed():
    rng = np.random.RandomState(0)
    X = rng.randn(100, 1) @ rng.randn(1, 3) + 0.3 * rng.randn(100, 3)
    est = GraphGenerator(
        [("H", k) for k in range(3)], unobserved={"H": 2}, max_epochs=2, random_state=0
    ).fit(X)
    display = GraphInterventionDisplay.from_estimator(est, {"H": 1.0}, n_samples=50)
    assert len(display.edges_) == 3
    assert display.effects["H"] > 0


def test_the_independence_of_noise_is_drawn(fitted):
    est, X = fitted
    display = IndependenceDisplay.from_estimator(est, X=X, n_draws=19)
    shown = np.concatenate([points.get_xdata() for points in display.points_])
    report = est.independence(X, n_draws=19)
    assert sorted(shown) == sorted(report["dependence"])
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert "effect against parents" in labels
    display.figure_.canvas.draw()


@pytest.mark.parametrize("generative", [False, True])
def test_rows_before_a_pipeline_are_transformed(generative):
    X = pd.DataFrame(
        np.random.RandomState(0).randn(100, 2) * 10 + 50, columns=["a", "b"]
    )
    scale = StandardScaler().set_output(transform="pandas")
    steps = [scale, GraphGenerator([("a", "b")], mechanism="linear", max_epochs=2)]
    pipe = make_pipeline(*steps)
    if generative:
        pipe = GenerativePipeline(pipe.steps)
    inner = pipe.fit(X)[:-1].transform(X)
    ask = GraphInterventionDisplay.from_estimator
    change = {"a": Scale(2.0)}
    assert ask(pipe, change, X).effects == ask(pipe[-1], change, inner).effects
    shown = IndependenceDisplay.from_estimator(pipe, X, n_draws=9).tables["decoder"]
    pd.testing.assert_frame_equal(shown, pipe[-1].independence(inner, n_draws=9))


def test_only_fitted_graphs_are_drawn():
    with pytest.raises(TypeError, match="must be a fitted GraphGenerator"):
        GraphInterventionDisplay.from_estimator(small().fit(TABLE), {})
    with pytest.raises(NotFittedError):
        GraphInterventionDisplay.from_estimator(GraphGenerator(), {})
