"""Polynomials of the parents: solved, chosen where they are right, and carried on."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.generators.graph._model import _folds
from sklearn_icm.generators.graph.columns._lines import chance_of_line, products
from sklearn_icm.metrics import average_effect
from sklearn_icm.rows._batches import Rows

SHOP = {"units": ["price"], "revenue": ["price", "units"]}


def shop(n=200, seed=0, noise=0.0):
    rng = np.random.RandomState(seed)
    price = 99 + 12 * rng.randn(n)
    units = 700 - 2 * price + 60 * rng.randn(n)
    revenue = price * units + noise * rng.randn(n)
    return pd.DataFrame({"price": price, "units": units, "revenue": revenue})


@pytest.fixture(scope="module")
def model():
    est = GraphGenerator(SHOP, max_epochs=20, random_state=0).fit(shop())
    return est.set_output(transform="pandas")


@pytest.mark.filterwarnings("ignore::sklearn_icm.exceptions.FarInterventionWarning")
@pytest.mark.parametrize("price", [80.0, 250.0])
def test_a_product_is_found_and_exact_far_beyond_the_rows(model, price):
    assert model.mechanism_kinds_["units"] == "linear"
    assert model.mechanism_kinds_["revenue"] == "polynomial"
    made = model.intervene({"price": price}, X=shop(seed=1))
    assert np.allclose(made["revenue"], price * made["units"], rtol=1e-5)
    again = pickle.loads(pickle.dumps(model)).intervene(
        {"price": price}, X=shop(seed=1)
    )
    assert again.equals(made)


def test_a_product_is_found_whatever_the_tails():
    rng = np.random.RandomState(0)
    X = np.exp(2 * rng.randn(300, 3))
    X[:, 2] = X[:, 0] * X[:, 1]
    est = GraphGenerator({2: [0, 1]}, max_epochs=5, random_state=0).fit(X)
    assert est.mechanism_kinds_["x2"] == "polynomial"


def features(rows):
    x, z = (rows - [99, 500]).T
    return np.column_stack([np.ones(len(rows)), x, z, x * x, x * z, z * z])


@pytest.mark.parametrize("parts", [1, 2])
def test_it_is_least_squares_on_squares_and_products(parts):
    X, graph = shop(noise=3000.0), {"revenue": ["price", "units"]}
    est = GraphGenerator(graph, mechanism="polynomial", random_state=0)
    for part in np.array_split(np.arange(200), parts):
        est.partial_fit(X.iloc[part])
    assert est.history_["polynomial"].gt(0).all()
    rows, revenue = X[["price", "units"]].to_numpy(), X["revenue"]
    weights = np.linalg.lstsq(features(rows), revenue, rcond=None)[0]
    expected = revenue + (features(rows + [5, 0]) - features(rows)) @ weights
    made = est.intervene({"price": lambda v: v + 5}, X=X)
    assert made[:, 2] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("tail", [0.0, 1.5])
def test_lines_stay_lines(tail):
    rng = np.random.RandomState(0)
    causes = rng.randn(300, 2)
    noise = rng.randn(300, 12)
    noise = np.sinh(tail * noise) / tail if tail else noise
    effects = causes @ rng.randn(2, 12) + noise
    graph = {k: [0, 1] for k in range(2, 14)}
    X = np.column_stack([causes, effects])
    est = GraphGenerator(graph, max_epochs=30, random_state=0).fit(X)
    kinds = list(est.mechanism_kinds_.values())
    assert kinds.count("linear") >= 13


def test_one_row_far_out_makes_no_polynomial():
    rng = np.random.RandomState(0)
    cause = rng.randn(200)
    effect = cause + rng.randn(200)
    cause[0], effect[0] = 30.0, 400.0
    X = np.column_stack([cause, effect])
    est = GraphGenerator([(0, 1)], max_epochs=30, random_state=0).fit(X)
    assert est.mechanism_kinds_["x1"] != "polynomial"


def test_levels_have_slopes_of_their_own():
    rng = np.random.RandomState(0)
    group, dose = rng.choice(["a", "b", "c"], 200), rng.randn(200)
    slope = pd.Series(group).map({"a": 2.0, "b": -1.0, "c": 0.5}).to_numpy()
    X = pd.DataFrame({"group": group, "dose": dose, "effect": 1 + slope * dose})
    graph = {"effect": ["group", "dose"]}
    est = GraphGenerator(graph, mechanism="polynomial", random_state=0).fit(X)
    made = est.set_output(transform="pandas").intervene({"dose": 4.0}, X=X)
    assert made["effect"].to_numpy(float) == pytest.approx(1 + 4 * slope, abs=1e-5)


@pytest.mark.parametrize("mechanism", ["auto", "polynomial"])
def test_refits_are_of_the_same_kind_and_hold_the_truth(mechanism):
    X = shop(noise=300.0)
    graph = GraphGenerator(SHOP, mechanism=mechanism, max_epochs=20)
    model = BootstrapGenerator(graph, n_estimators=8, random_state=0).fit(X)
    kinds = [own.mechanism_kinds_["revenue"] for own in model.estimators_]
    assert kinds.count("polynomial") == 8
    found = average_effect(model, "units", 600.0, 400.0, "revenue", random_state=0)
    assert found.low < 200 * 99 < found.high
    assert 0 < found.high - found.low < 1500


def test_what_cannot_be_a_polynomial_is_refused():
    X = np.random.RandomState(0).randn(60, 50)
    wide = GraphGenerator({49: list(range(49))}, mechanism="polynomial")
    with pytest.raises(ValueError, match=r"'x49' cannot be 'polynomial'.* 1274 terms"):
        wide.fit(X)
    hidden = GraphGenerator(
        [("u", "x0")], unobserved={"u": 1}, mechanism={"x0": "polynomial"}
    )
    with pytest.raises(ValueError, match="'x0' cannot be 'polynomial'.*hidden"):
        hidden.fit(X[:, :1])
    few = GraphGenerator({8: list(range(8))}, mechanism="polynomial")
    with pytest.warns(UserWarning, match="'x8' has 45 coefficients for 40 rows"):
        few.fit(X[:40, :9])


def test_a_penalty_leaves_polynomials_as_they_are():
    X = shop(noise=3000.0)
    made = [
        GraphGenerator(SHOP, mechanism="polynomial", icm_weight=w, max_epochs=2)
        .fit(X)
        .intervene({"price": 100.0}, X=X)
        for w in (0.0, 50.0)
    ]
    assert made[0] == pytest.approx(made[1])


def test_equal_rows_share_a_fold_where_most_rows_differ():
    x = torch.randn(100, 3)
    drawn = torch.randint(100, (100,))
    fold = _folds(Rows(x[drawn]), torch.Generator())
    assert all(len(fold[drawn == k].unique()) == 1 for k in drawn.unique())
    assert fold.bincount(minlength=4).min() > 10
    few = _folds(Rows(x[drawn % 3]), torch.Generator())
    assert few.bincount(minlength=4).tolist() == [25] * 4


def noise_of(kind, x, rng):
    noise = rng.randn(len(x))
    return {
        "normal": noise,
        "heavy-tailed": np.sinh(1.5 * noise),
        "skewed": np.exp(noise),
        "growing": noise * np.exp(0.7 * x[:, 0]),
    }[kind]


@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "skewed", "growing"])
@pytest.mark.parametrize("n", [100, 500])
def test_a_line_that_is_right_is_seldom_refused(n, kind):
    rng, pairs, chances = np.random.RandomState(0), products(["a", "b"], ()), []
    for _ in range(200):
        x = rng.randn(n, 2)
        y = x @ [1.0, -0.5] + noise_of(kind, x, rng)
        chances.append(chance_of_line(torch.tensor(x), torch.tensor(y), pairs))
    # Five standard deviations of a share of 2 %.
    assert np.mean(np.array(chances) < 0.02) < 0.02 + 5 * np.sqrt(0.02 * 0.98 / 200)


@pytest.mark.parametrize(
    "curve",
    [
        lambda x: np.tanh(x[:, 0]),
        lambda x: 0.5 * x[:, 0] * x[:, 1],
        lambda x: 0.3 * x[:, 0] ** 2,
    ],
)
def test_a_curve_is_seen(curve):
    rng, pairs = np.random.RandomState(0), products(["a", "b"], ())
    x = rng.randn(500, 2)
    y = torch.tensor(curve(x) + 0.5 * rng.randn(500))
    assert chance_of_line(torch.tensor(x), y, pairs) < 0.02
    # Each row twice tells no more than once.
    twice = torch.arange(500).repeat(2)
    again = chance_of_line(torch.tensor(x)[twice], y[twice], pairs, twice)
    assert again == pytest.approx(chance_of_line(torch.tensor(x), y, pairs))
    # Nor does what is exact, up to rounding, bend.
    line = torch.tensor(x @ [1.0, 2.0]).float().double()
    assert chance_of_line(torch.tensor(x), line, pairs) == 1
