"""Questions to rows of a table in which values are missing."""

import numpy as np
import pandas as pd
import pytest
from helpers import FAMILIES, FAMILY_ROWS
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.generators.graph.given import _moments
from sklearn_icm.inspection import what_if_report
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import average_effect, counterfactual_errors

GRAPH = {"b": "a", "c": ["a", "b"], "sum": ["a", "c"]}


def lines(n=300, seed=0):
    rng = np.random.RandomState(seed)
    a = 1 + rng.randn(n)
    b = 0.8 * a + 0.6 * rng.randn(n)
    c = a - b + 0.5 * rng.randn(n)
    return pd.DataFrame({"a": a, "b": b, "c": c, "sum": a + c})


def with_holes(X, share=0.3, seed=1):
    holes = np.random.RandomState(seed).rand(*X.shape) < share
    return X.mask(holes)


def fitted(graph, X, **params):
    params = {"missing": "available", "max_epochs": 5, "random_state": 0, **params}
    return GraphGenerator(graph, **params).set_output(transform="pandas").fit(X)


@pytest.fixture(scope="module")
def line():
    return fitted(GRAPH, lines(), mechanism="linear", noise="normal")


@pytest.fixture(scope="module")
def bent():
    """Levels, noise that is not normal, and noise with a scale."""
    rng = np.random.RandomState(0)
    a = rng.gamma(2.0, size=500)
    plan = np.where(a + rng.randn(500) > 2, "pro", "free")
    b = np.sin(a) + (1 + (plan == "pro")) * 0.4 * rng.randn(500)
    X = pd.DataFrame({"a": a, "plan": plan, "b": b})
    graph = {"plan": "a", "b": ["a", "plan"]}
    kinds = {"b": "location-scale"}
    return fitted(graph, X, mechanism=kinds, n_units=4), X


@pytest.fixture(scope="module")
def moments(line):
    many = line.sample(200_000, random_state=0).to_numpy()
    return many.mean(0), np.cov(many.T)


def closed_form(mean, covariance, row):
    """Mean and covariance of what is missing in a row, of normal columns."""
    u, k = np.isnan(row), ~np.isnan(row)
    gain = covariance[np.ix_(u, k)] @ np.linalg.pinv(
        covariance[np.ix_(k, k)], rcond=1e-8
    )
    left = covariance[np.ix_(u, u)] - gain @ covariance[np.ix_(k, u)]
    return mean[u] + gain @ (row[k] - mean[k]), left


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    "missing", [["a"], ["b"], ["sum"], ["a", "b"], ["b", "c"], ["b", "c", "sum"]]
)
def test_of_normal_columns_the_posterior_is_closed(
    line, moments, missing, exact, monkeypatch
):
    """With candidates and without; a sum tells of its terms."""
    if not exact:
        monkeypatch.setattr(_moments, "is_affine", lambda *args: False)
    row = lines(1, seed=5).assign(**dict.fromkeys(missing, np.nan))
    # Each of equal rows has candidates of its own.
    X = pd.concat([row] * 250)
    draws = line.intervene({}, X=X, n_draws=8)[missing].to_numpy()
    mean, covariance = closed_form(*moments, row.to_numpy()[0])
    deviations = np.sqrt(np.diag(covariance).clip(0))
    slack = 0.01 if exact else 0.03
    tolerance = 5 * deviations / np.sqrt(len(draws)) + slack * deviations + 0.005
    assert (abs(draws.mean(0) - mean) < tolerance).all()
    assert (abs(draws.std(0) - deviations) < 0.1 * deviations + 0.01).all()


@pytest.mark.parametrize("observed", [-0.5, 0.3, 1.2])
def test_a_missing_level_has_the_probabilities_of_bayes(bent, observed):
    model, _ = bent
    row = pd.DataFrame({"a": [1.5], "plan": ["free"], "b": [observed]})
    densities = [model.score_samples(row.assign(plan=p))[0] for p in ("free", "pro")]
    chance = 1 / (1 + np.exp(densities[0] - densities[1]))
    X = pd.concat([row.assign(plan=np.nan)] * 1000)
    found = (model.intervene({}, X=X)["plan"] == "pro").mean()
    assert abs(found - chance) < 5 * np.sqrt(chance * (1 - chance) / 1000) + 0.005


@pytest.mark.parametrize("column", ["a", "b"])
def test_a_missing_number_has_the_moments_of_the_density(bent, column):
    model, X = bent
    row = X.iloc[[3]]
    low, high = X[column].min() - 2, X[column].max() + 2
    grid = np.linspace(low, high, 2000)
    at = pd.concat([row] * len(grid)).assign(**{column: grid})
    density = np.exp(model.score_samples(at))
    weight = density / density.sum()
    mean = weight @ grid
    deviation = np.sqrt(weight @ (grid - mean) ** 2)
    holes = pd.concat([row.assign(**{column: np.nan})] * 1000)
    draws = model.intervene({}, X=holes)[column]
    assert abs(draws.mean() - mean) < (5 / np.sqrt(1000) + 0.02) * deviation
    assert abs(draws.std() / deviation - 1) < 0.15


def test_a_cause_of_a_bent_effect_may_be_on_either_side():
    """Whatever kind the mechanism is: it is no line, though its noise is normal."""
    a = np.random.RandomState(0).randn(500)
    X = pd.DataFrame({"a": a, "b": a**2 + 0.2 * np.random.RandomState(1).randn(500)})
    for kind in ("auto", "additive"):
        est = fitted([("a", "b")], X, mechanism=kind, noise="normal", max_epochs=40)
        rows = X[abs(X["a"]).between(1, 2)].head(100)
        draws = est.intervene({}, X=rows.assign(a=np.nan), n_draws=10)["a"]
        assert 0.4 < (draws > 0).mean() < 0.6
        sizes = draws.abs().groupby(level=1).mean()
        assert (abs(sizes - rows["a"].abs()) < 0.35).mean() > 0.9


def test_rows_do_not_depend_on_their_neighbours(bent):
    model, X = bent
    # Equal rows have draws of their own, by their order.
    X = with_holes(X.iloc[:60]).drop_duplicates(ignore_index=True)
    whole = model.intervene({"a": Shift(1.0)}, X=X)
    order = np.random.RandomState(0).permutation(len(X))
    some = model.intervene({"a": Shift(1.0)}, X=X.iloc[order[:20]])
    pd.testing.assert_frame_equal(some, whole.iloc[order[:20]])
    # Nor does a draw on their number.
    few, many = (model.intervene({}, X=X, n_draws=k) for k in (2, 5))
    pd.testing.assert_frame_equal(many.loc[:1], few)
    pd.testing.assert_frame_equal(few.loc[0], model.intervene({}, X=X))


def test_all_verbs_see_the_same_draw(bent):
    model, X = bent
    X = with_holes(X.iloc[:60])
    filled = model.intervene({}, X=X)
    known = X.notna()
    assert filled.notna().to_numpy().all()
    assert filled.where(known).equals(X.where(known))
    changes = {"a": Shift(0.5)}
    once = model.intervene(changes, X=X)
    pd.testing.assert_frame_equal(once, model.intervene(changes, X=filled))
    found = model.abduct(X)
    again = model.intervene(changes, X=X, abduction=found)
    pd.testing.assert_frame_equal(once, again)
    np.testing.assert_allclose(model.node_values(X)["a"][:, 0], filled["a"], rtol=1e-5)
    assert model.support({"a": 1.0}, X=X).table_["outside"].notna().all()
    assert np.isfinite(model.transform(X).to_numpy()).all()


def test_reports_take_incomplete_rows(bent):
    model, X = bent
    X = with_holes(X.iloc[:80])
    errors = counterfactual_errors(model, X, {"b": Shift(1.0)}).table_
    assert (errors[["composition", "effectiveness"]] < 1e-6).all().all()
    report = what_if_report(model, {"a": Shift(1.0)}, X)
    assert report.table_[["before", "after", "low", "high"]].notna().to_numpy().all()
    found = average_effect(model, None, {"a": Shift(1.0)}, {}, "a", X=X)
    assert found.effect == pytest.approx(1.0)


def test_noise_of_complete_rows_is_as_it_was(bent):
    model, X = bent
    mixed = with_holes(X.iloc[:50])
    complete = mixed.notna().all(axis=1).to_numpy()
    alone, together = model.transform(X.iloc[:50]), model.transform(mixed)
    pd.testing.assert_frame_equal(alone[complete], together[complete])


def test_whole_numbers_and_bounds_are_kept():
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"n": rng.poisson(3, 300)})
    X["y"] = X["n"] + rng.randn(300)
    model = fitted([("n", "y")], X, bounds="data")
    holes = X.astype(float).mask(rng.rand(*X.shape) < 0.5)
    filled = model.intervene({}, X=holes)
    assert (filled["n"] == filled["n"].round()).all()
    assert (filled.min() >= X.min()).all()
    assert (filled.max() <= X.max()).all()


def test_effects_of_incomplete_rows_are_those_of_all(line):
    """A policy is asked of rows that are missing where a cause is large."""
    X = lines(2000, seed=3)
    X.loc[X["a"] > 1.5, ["b", "c"]] = np.nan
    found = average_effect(line, "b", 2.0, None, "c", X=X)
    truth = line.intervene({"b": 2.0}, n_samples=20_000, random_state=0)["c"].mean()
    truth -= line.sample(20_000, random_state=0)["c"].mean()
    assert abs(found.effect - truth) < 0.1
    only = average_effect(line, "b", 2.0, None, "c", X=X.dropna())
    assert abs(only.effect - truth) > 0.2


def test_pipelines_take_incomplete_rows():
    X = lines()[["a", "b"]]
    graph = GraphGenerator([(0, 1)], missing="available", max_epochs=2, random_state=0)
    pipe = GenerativePipeline([("scale", StandardScaler()), ("graph", graph)]).fit(X)
    holes = with_holes(X)
    filled = np.asarray(pipe.intervene({}, X=holes))
    known = holes.notna().to_numpy()
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[known], X.to_numpy()[known], rtol=1e-6)
    assert np.asarray(pipe.intervene({}, X=holes, n_draws=2)).shape == (2, *X.shape)


def test_rows_that_no_draw_fits_are_warned_of(bent):
    model, X = bent
    strange = X.iloc[:3].assign(a=np.nan, b=[0.1, 40.0, 0.2])
    for ask in (lambda X: model.intervene({}, X=X), model.transform, model.abduct):
        with pytest.warns(UserWarning, match="in 1 of 3 rows .* few values") as caught:
            filled = ask(strange)
        assert [own.filename for own in caught] == [__file__]
    assert np.isfinite(filled.noise).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_who_does_not_take_missing_values_says_so(family):
    est = clone(FAMILIES[family]).set_params(random_state=0).fit(FAMILY_ROWS)
    X = FAMILY_ROWS.copy()
    X[0, 0] = np.nan
    for ask in (est.abduct, est.transform, lambda X: est.intervene({}, X=X)):
        with pytest.raises(ValueError, match="contains NaN"):
            ask(X)


def test_a_test_of_the_model_takes_no_draws_of_it(bent):
    model, X = bent
    with pytest.raises(ValueError, match="contains NaN.*as the model has it"):
        model.independence(with_holes(X))
