"""Draws under conditions."""

import numpy as np
import pandas as pd
import pytest
from helpers import FAMILIES, FAMILY_ROWS
from sklearn.base import clone
from sklearn.preprocessing import MinMaxScaler

from sklearn_icm import _conditional
from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import (
    GraphGenerator,
)
from sklearn_icm.interventions import Policy, Shift


def customers(n=300):
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"age": rng.randint(20, 60, n)})
    X["plan"] = rng.choice(["free", "pro"], n)
    X["spent"] = X["age"] / 10 + 3 * (X["plan"] == "pro") + rng.randn(n)
    return X


@pytest.fixture(scope="module")
def model():
    graph = {"plan": ["age"], "spent": ["age", "plan"]}
    model = GraphGenerator(graph, n_units=4, max_epochs=5, random_state=0)
    return model.set_output(transform="pandas").fit(customers())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_draws_under_conditions(family):
    est = clone(FAMILIES[family]).set_params(random_state=0).fit(FAMILY_ROWS)
    middle = float(np.median(est.sample(500, random_state=1)[:, 0]))
    draw = {"given": {"x0": (middle, None)}, "random_state": 3}
    rows = est.sample(30, **draw)
    assert rows.shape == (30, 4)
    assert (rows[:, 0] >= middle).all()
    assert np.array_equal(rows, est.sample(30, **draw))
    node = next(iter(est.nodes_))
    factual, changed, nodes = est.intervene(
        {node: Shift(0.01)},
        n_samples=20,
        return_factual=True,
        return_nodes=True,
        **draw,
    )
    # They are of the rows after the change, and all parts belong together.
    assert (changed[:, 0] >= middle).all()
    before, after = nodes[node]
    assert len(before) == len(factual) == 20
    np.testing.assert_allclose(after - before, 0.01, rtol=1e-4, atol=1e-6)


def test_moments_are_those_of_rejection(model):
    """On causes, effects and levels, within five standard errors."""
    many = model.sample(100_000, random_state=1)
    for given, chosen in (
        ({"spent": (7.0, None)}, many["spent"] >= 7),
        (
            {"plan": "pro", "age": (30, 40)},
            (many["plan"] == "pro") & many["age"].between(30, 40),
        ),
        ({"age": [25, 26, 27]}, many["age"].isin([25, 26, 27])),
    ):
        reference = many[chosen]
        drawn = model.sample(2000, random_state=2, given=given)
        for name in ("age", "spent"):
            error = drawn[name].mean() - reference[name].mean()
            spread = np.sqrt(1 / 2000 + 1 / len(reference)) * reference[name].std()
            assert abs(error) <= 5 * spread
        share = (reference["plan"] == "pro").mean()
        error = (drawn["plan"] == "pro").mean() - share
        assert abs(error) <= 5 * np.sqrt(share * (1 - share) / 2000) + 1e-12


def test_conditions_are_after_the_change(model):
    policy = Policy(lambda age: np.where(age > 40, "pro", "free"), reads=["age"])
    rows = model.intervene(
        {"plan": policy}, n_samples=50, given={"plan": "pro"}, random_state=0
    )
    assert (rows["age"] > 40).all()


def test_memory_is_bounded(model, monkeypatch):
    sizes = []
    ask = model.intervene

    def watched(*args, **params):
        sizes.append(params["n_samples"])
        return ask(*args, **params)

    monkeypatch.setattr(_conditional, "MOST_ROWS", 100)
    monkeypatch.setattr(model, "intervene", watched, raising=False)
    rows = model.sample(60, given={"age": 30}, random_state=0)
    assert len(rows) == 60
    assert rows.index.tolist() == list(range(60))
    assert max(sizes[1:]) <= 100


@pytest.mark.parametrize("container", ["default", "pandas", "polars"])
def test_pipelines_know_their_input(container):
    if container == "polars":
        pytest.importorskip("polars")
    X = customers()[["age", "spent"]].astype(float)
    graph = GraphGenerator([(0, 1)], mechanism="linear", max_epochs=2, random_state=0)
    pipe = GenerativePipeline([("scale", MinMaxScaler()), ("graph", graph)]).fit(X)
    pipe.set_output(transform=container)
    rows = pipe.sample(20, given={"age": (50, None)}, random_state=0)
    assert np.asarray(rows).shape == (20, 2)
    assert (np.asarray(rows)[:, 0] >= 50).all()


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({}, TypeError, "at least one condition, got {}"),
        (["age"], TypeError, "must be a dict"),
        ({"ages": 3}, ValueError, "'ages', which there is not; the columns are"),
        ({"plan": "gold"}, ValueError, r"levels \['free', 'pro'\].*got 'gold'"),
        ({"plan": ("a", "b")}, ValueError, "at a column of numbers"),
        ({"age": (40, 30)}, ValueError, "low <= high.*nothing is between"),
        ({"age": (None, None)}, ValueError, "one may be None"),
        ({"age": (1, 2, 3)}, ValueError, r"must be \(low, high\)"),
        ({"age": (np.nan, 3)}, ValueError, r"must be \(low, high\)"),
        ({"age": []}, ValueError, "empty list"),
        ({"spent": 3.0}, ValueError, "an interval .*varies continuously"),
    ],
)
def test_conditions_that_are_none(model, given, error, match):
    with pytest.raises(error, match=match):
        model.sample(5, given=given)


def test_conditions_that_nothing_fulfils(model, monkeypatch):
    monkeypatch.setattr(_conditional, "ENOUGH", 5000)
    with pytest.raises(ValueError, match="too rare: none of .* draws fulfil"):
        model.sample(5, given={"spent": (1e6, None)})
    with pytest.raises(ValueError, match="for it is rows that are drawn"):
        model.intervene({}, X=customers(), given={"age": 30})
    with pytest.raises(ValueError, match="write a Policy"):
        model.intervene({"spent": np.ones(5)}, n_samples=5, given={"age": 30})


def rare(**params):
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"age": 40 + 10 * rng.randn(500)})
    X["plan"] = rng.choice(["free", "pro", "rare"], 500, p=[0.5, 0.48, 0.02])
    X["visits"] = rng.poisson(2, 500)
    X["score"] = np.where(rng.rand(500) < 0.2, 0.0, rng.exponential(1, 500))
    X["spent"] = X["age"] / 10 + X["visits"] + rng.randn(500)
    graph = {"spent": ["age", "plan", "visits"]}
    est = GraphGenerator(graph, mechanism="linear", random_state=0, **params)
    return est.set_output(transform="pandas").fit(X)


@pytest.mark.parametrize(
    "given",
    [
        {"age": (50, None)},
        {"age": (35, 38), "plan": "pro"},
        {"plan": ["free", "rare"]},
        {"visits": (3, 4)},
        {"visits": [0, 5]},
        {"score": (0.0, 0.5)},
        {"score": (None, 0.0)},
        {"score": (2.0, None), "spent": (8, None)},
    ],
)
@pytest.mark.parametrize("bounds", [None, "data"])
def test_columns_without_parents_are_drawn_as_by_rejection(given, bounds, monkeypatch):
    model = rare(bounds=bounds)
    drawn = model.sample(3000, random_state=1, given=given)
    slow = rare(bounds=bounds)
    monkeypatch.setattr(slow, "_under_conditions", lambda *args: slow, raising=False)
    plain = slow.sample(3000, random_state=2, given=given)
    for name in ("age", "visits", "score", "spent"):
        a, b = drawn[name].astype(float), plain[name].astype(float)
        error = np.sqrt((a.var() + b.var()) / 3000) + 1e-9
        assert abs(a.mean() - b.mean()) <= 4 * error
    for level in ("free", "pro", "rare"):
        shares = [(rows["plan"] == level).mean() for rows in (drawn, plain)]
        spread = np.sqrt(sum(s * (1 - s) for s in shares) / 3000) + 1e-9
        assert abs(shares[0] - shares[1]) <= 4 * spread


def test_rare_causes_are_drawn_at_once(monkeypatch):
    """Far in the tail, by the closed form of a normal column."""
    model = rare(noise="normal")
    monkeypatch.setattr(_conditional, "ENOUGH", 5000)
    many = model.sample(100_000, random_state=0)["age"]
    scale = many.std()
    low = many.mean() + 6 * scale
    rows = model.sample(
        2000, random_state=0, given={"age": (low, None), "plan": "rare"}
    )
    assert (rows["age"] >= low).all()
    assert (rows["plan"] == "rare").all()
    # Of a standard normal beyond 6: mean 6.158, deviation .153.
    assert abs((rows["age"].mean() - low) / scale - 0.158) < 0.02
    changed = model.intervene(
        {"age": Shift(1.0)}, n_samples=5, given={"plan": "rare"}, random_state=0
    )
    assert (changed["plan"] == "rare").all()


def test_conditions_that_interventions_exclude(model, monkeypatch):
    monkeypatch.setattr(_conditional, "ENOUGH", 5000)
    for change, given in (
        ({"age": 25}, {"age": (30, 40)}),
        ({"plan": "free"}, {"plan": "pro"}),
        ({"plan": "free"}, {"plan": ["pro"]}),
    ):
        with pytest.raises(ValueError, match="after the change.*exclude each other"):
            model.intervene(change, n_samples=5, given=given)
    kept = model.intervene(
        {"age": 35}, n_samples=5, given={"age": (30, 40)}, random_state=0
    )
    assert (kept["age"] == 35).all()
