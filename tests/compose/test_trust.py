"""How far refits agree on an answer."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import BootstrapGenerator, GenerativePipeline
from sklearn_icm.generators import GraphGenerator, VAEGenerator
from sklearn_icm.interventions import Scale, Units

DRAWS = {"n_samples": 200, "random_state": 0}


def pair(n=100, seed=0):
    rng = np.random.RandomState(seed)
    cause = rng.randn(n)
    effect = 2 * np.tanh(cause) + 0.5 * rng.randn(n)
    return pd.DataFrame({"cause": cause, "effect": effect, "other": rng.rand(n)})


def bootstrap_of():
    edges = [("cause", "effect")]
    graph = GraphGenerator(edges, mechanism="linear", random_state=0)
    return BootstrapGenerator(graph, n_estimators=5, random_state=0)


@pytest.fixture(scope="module")
def model():
    return bootstrap_of().fit(pair())


@pytest.mark.parametrize("given", [False, True])
def test_trust_is_what_its_formula_says(model, given):
    X = pair(50, seed=1) if given else None
    query = {"X": X, "random_state": 0} if given else DRAWS
    change = {"cause": 2.0}
    before, after = model.intervene(change, **query, return_factual=True)
    answers = [
        np.asarray(refit.intervene(change, **query))[:, 1].mean()
        for refit in model.estimators_
    ]
    sd, own = np.asarray(before)[:, 1].std(), np.asarray(after)[:, 1].mean()
    squared = np.mean(np.square(np.subtract(answers, own))) / sd**2
    effect = abs(own - np.asarray(before)[:, 1].mean()) / sd
    found = model.support(change, X, **DRAWS)
    assert found.trust_ == pytest.approx(1 / (1 + 10 * squared / effect), rel=1e-3)
    told = f"{found.trust_:.2f} of 1: 5 refits differ by {squared**0.5:.2g} sd"
    assert found.sentences_["trust"].startswith(told)
    assert found.table_.equals(model.estimator_.support(change, X, **DRAWS).table_)


def test_trust_in_a_line_falls_beyond_the_rows(model):
    near, far = (model.support({"cause": v}).trust_ for v in (2.0, 8.0))
    assert 1 > near > far > 0
    # Refits are asked with the same draws, wherever these come from.
    for stream in (None, np.random.RandomState(1), np.int64(1)):
        found = model.support({"cause": 2.0}, random_state=stream)
        assert found.trust_ == pytest.approx(near, rel=0.02)


def test_units_and_steps_before_change_nothing(model):
    X = pair()
    found = model.support({"cause": 2.0}, X).trust_
    large = X * [1.0, 64.0, 1.0]
    other = bootstrap_of().fit(large).support({"cause": 2.0}, large).trust_
    assert other == pytest.approx(found, rel=1e-3)
    scaler = StandardScaler().set_output(transform="pandas")
    steps = [("scale", scaler), ("model", model.estimator)]
    behind = BootstrapGenerator(
        GenerativePipeline(steps), n_estimators=5, random_state=0
    ).fit(X)
    value = (2.0 - X["cause"].mean()) / X["cause"].std(ddof=0)
    # Each refit scales anew, so that the same number is another value in each.
    assert behind.support({"cause": value}, X).trust_ < found


def test_levels_are_columns_of_chances():
    X = pair()
    X["effect"] = np.where(X["effect"] > 0, "yes", "no")
    model = BootstrapGenerator(
        GraphGenerator([("cause", "effect")], max_epochs=10, random_state=0),
        n_estimators=3,
        random_state=0,
    ).fit(X)
    found = model.support({"cause": 1.0}, **DRAWS)
    assert 0 < found.trust_ < 1
    assert "3 refits" in found.sentences_["trust"]


def test_without_a_change_or_refits_there_is_none(model):
    for found in (
        model.support({"other": 9.0}),
        model.support({}),
        model.estimator_.support({"cause": 1.0}),
    ):
        assert np.isnan(found.trust_)
        assert "trust" not in found.sentences_


def test_of_hidden_nodes_only_what_treats_units_alike_is_trusted():
    vae = VAEGenerator(n_latents=2, hidden=(4,), max_epochs=1, random_state=0)
    model = BootstrapGenerator(vae, n_estimators=2).fit(pair(30))
    assert 0 < model.support({"dense1": Scale(2.0)}, **DRAWS).trust_ < 1
    assert np.isnan(model.support({"dense1": Units(0, Scale(2.0))}, **DRAWS).trust_)
