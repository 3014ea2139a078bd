import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.datasets import make_perturbations
from sklearn_icm.exceptions import OutOfSpanWarning
from sklearn_icm.generators import FixedGenerator, GraphGenerator, VAEGenerator
from sklearn_icm.model_selection import fit_perturbations


@pytest.fixture(scope="module")
def world():
    return make_perturbations(
        400,
        n_perturbations=3,
        n_latents=2,
        n_features=4,
        labels=["A", "B", "A:2+B"],
        decoder="linear",
        noise=0.1,
        random_state=0,
    )


@pytest.fixture(scope="module")
def model(world):
    est = VAEGenerator(n_latents=2, bounds=None, max_epochs=5, random_state=0)
    return est.fit(world.data)


def test_effects_are_the_least_squares_of_the_means(world, model):
    found = fit_perturbations(model, world.data, world.environments)
    values = model.node_values(world.data)["noise"]
    means = {k: values[world.environments == k].mean(0) for k in found.design_.index}
    # Three labels that two perturbations explain: as many rows each.
    rows = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 2, 1]])
    right = np.linalg.lstsq(rows, np.stack(list(means.values())), rcond=None)[0][1:]
    assert found.design_.columns.tolist() == ["A", "B"]
    assert np.allclose(found.effects_, right, atol=1e-6)
    shift = found.intervention("A+B:3")["noise"].value
    assert np.allclose(shift, right[0] + 3 * right[1], atol=1e-6)
    assert found.table_["alone"].tolist() == [True, True]
    assert found.table_["n_rows"].tolist() == [800, 800]


def test_true_mechanisms_give_the_true_effects(world):
    est = FixedGenerator(world.mechanisms).fit(world.data)
    some = np.arange(0, 1600, 20)
    found = fit_perturbations(
        est, world.data[some], world.environments[some], node="latents"
    )
    # Twenty rows of a label; the prior of what is unusual shrinks it a little.
    error = np.abs(found.effects_ - world.effects[:2]).max()
    assert error < 4 * np.sqrt(2 / 20)


def test_verdicts_say_what_carries_a_query(world, model):
    found = fit_perturbations(model, world.data, world.environments)
    both = found.span("A+B")
    assert both.in_span
    assert np.isclose(both.weights.sum(), 1)
    assert "effects add at the node" in both.why
    assert "in proportion to the dose (B:3)" in found.span("B:3").why
    assert "That is so" not in found.span("A").why
    assert found.span({"A": 1.0, "B": 1.0}).weights.equals(both.weights)


def test_what_is_not_determined_is_warned_of(world, model):
    kept = np.isin(world.environments, ["control", "A:2+B"])
    found = fit_perturbations(model, world.data[kept], world.environments[kept])
    assert not found.span("A").in_span
    assert "do not tell A, B apart" in found.span("A").why
    assert found.table_["length"].isna().all()
    assert "do not tell what A does" in found.sentences_["A"]
    with pytest.warns(OutOfSpanWarning, match="'A' does cannot be told"):
        found.intervention("A")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.intervention("A:4+B:2")
    design = pd.DataFrame(np.eye(3)[[0, 1, 1]], ["A", "B", "A:2+B"], ["A", "B", "C"])
    found = fit_perturbations(
        model, world.data, world.environments, design=design, control="control"
    )
    assert found.span({"C": 1.0}).why == "No row that was seen has C."


def test_a_pipeline_is_asked_in_its_own_rows(world):
    vae = VAEGenerator(n_latents=2, bounds=None, max_epochs=2, random_state=0)
    pipe = make_pipeline(StandardScaler(), vae).fit(world.data)
    found = fit_perturbations(pipe, world.data, world.environments)
    inner = StandardScaler().fit_transform(world.data)
    own = fit_perturbations(pipe[-1], inner, world.environments)
    assert np.allclose(found.effects_, own.effects_, atol=1e-5)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"node": "nowhere"}, "node must be one of"),
        ({"design": pd.DataFrame({"A": [1.0]}, ["A"])}, "lacks \\['B', 'A:2\\+B'\\]"),
        ({"y": ["control"] * 1600}, "not all of them 0"),
        ({"y": ["A+"] * 1600}, "must be a perturbation"),
        ({"y": None}, "needs the environment label"),
    ],
)
def test_what_cannot_be_fitted_is_refused(world, model, params, match):
    params = {"y": world.environments, **params}
    with pytest.raises(ValueError, match=match):
        fit_perturbations(model, world.data, **params)


def test_what_cannot_be_asked_is_refused(world, model):
    found = fit_perturbations(model, world.data, world.environments)
    assert found.span("control").in_span
    assert not np.any(found.intervention("control")["noise"].value)
    for doses in ({"A": np.nan}, {"A": "much"}):
        with pytest.raises(ValueError, match="Doses must be finite numbers"):
            found.span(doses)
    with pytest.raises(ValueError, match="no perturbation 'Q'"):
        found.span({"Q": 1.0})
    with pytest.raises(TypeError, match="label must be a string"):
        found.span(None)
    with pytest.raises(TypeError, match="design must be a DataFrame"):
        fit_perturbations(model, world.data, world.environments, design=np.eye(4))
    rows = pd.DataFrame({"x": np.arange(40.0), "g": ["u", "v"] * 20})
    graph = GraphGenerator({"g": ["x"]}, max_epochs=1).fit(rows)
    with pytest.raises(ValueError, match="'g' has levels"):
        fit_perturbations(graph, rows, ["control", "A"] * 20, node="g")


def test_only_generators_that_explain_rows(world):
    with pytest.raises(TypeError, match="explains given rows"):
        fit_perturbations(StandardScaler(), world.data, world.environments)
