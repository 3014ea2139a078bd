import numpy as np
import pandas as pd
import pytest
from helpers import TABLE, small
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import VarianceThreshold
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.base import is_generator
from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.compose._wrap import in_input_space, rows_under
from sklearn_icm.generators import FixedGenerator, GraphGenerator
from sklearn_icm.inspection import TrainingDisplay
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import (
    average_effect,
    counterfactual_errors,
    make_extrapolation_scorer,
    refit_agreement,
)
from sklearn_icm.model_selection import (
    FamilyFit,
    LeaveEnvironmentOut,
    fit_intervention,
)
from sklearn_icm.utils.pipelines import (
    before_last,
    check_graph_generator,
    last_step,
)

SCALED = make_pipeline(StandardScaler(), small(bounds=None)).fit(TABLE)


def search(estimator, **params):
    names = [name for name in estimator.get_params() if name.endswith("icm_weight")]
    return GridSearchCV(estimator, {names[0]: [0.0, 1.0]}, cv=2, **params)


@pytest.mark.parametrize("nested", ["search", "pipeline", "search in pipeline"])
def test_the_best_model_of_a_search_is_asked(nested):
    if nested == "search":
        fitted = search(small(bounds=None)).fit(TABLE)
        inner, X = fitted.best_estimator_, TABLE
    elif nested == "pipeline":
        fitted = search(SCALED).fit(TABLE)
        inner = fitted.best_estimator_[-1]
        X = fitted.best_estimator_[0].transform(TABLE)
    else:
        fitted = make_pipeline(StandardScaler(), search(small(bounds=None))).fit(TABLE)
        inner, X = fitted[-1].best_estimator_, fitted[0].transform(TABLE)
    assert last_step(fitted) is inner
    assert np.array_equal(before_last(fitted, TABLE), X)
    assert np.allclose(rows_under(fitted, {}, TABLE), TABLE)
    drawn = rows_under(fitted, {}, n_samples=20, random_state=0)
    assert drawn.shape == (20, 4)


def test_a_search_answers_the_queries_of_a_generator():
    fitted = search(small(bounds=None)).fit(TABLE)
    assert np.isclose(average_effect(fitted, "data", 1.0, 0.0, 0).effect, 1)
    found = fit_intervention(
        fitted, Shift(1.0), TABLE + 1, "data", n_samples=50, n_bootstrap=20
    )
    assert list(found.intervention) == ["data"]


class ForeignSearch:
    """A fitted search of another library, which has nothing of scikit-learn's."""

    def __init__(self, best):
        self.best_estimator_ = best

    def fit(self, X, y=None):
        return self


FOREIGN = {
    "search": ForeignSearch(SCALED[-1]),
    "of a pipeline": ForeignSearch(SCALED),
    "of a search": ForeignSearch(ForeignSearch(SCALED[-1])),
    "in a pipeline": make_pipeline(StandardScaler(), ForeignSearch(SCALED[-1])),
}
FOREIGN["in a pipeline"][0].fit(TABLE)


@pytest.mark.parametrize("name", FOREIGN)
def test_any_search_with_a_best_generator_is_asked(name):
    fitted, quick = FOREIGN[name], {"n_samples": 50, "n_bootstrap": 20}
    assert is_generator(fitted)
    assert np.isfinite(average_effect(fitted, "data", 1.0, 0.0, 0).effect)
    assert fit_intervention(fitted, "shift", TABLE + 1, "data", **quick).intervention
    scorer = make_extrapolation_scorer(
        {"moved": {"data": Shift(1.0)}}, observational="seen"
    )
    labels = np.repeat(["seen", "moved"], len(TABLE))
    assert np.isfinite(scorer(fitted, np.concatenate([TABLE, TABLE + 1]), labels))
    report = counterfactual_errors(fitted, TABLE, {"noise": Shift(1.0)})
    assert len(report.sentences_) == 4
    agreement = refit_agreement([fitted, fitted], TABLE, {"data": Shift(1.0)})
    assert agreement.value == 1
    assert len(TrainingDisplay.from_estimator(fitted).history) > 0


def test_other_searches_are_no_generators():
    assert not is_generator(ForeignSearch(StandardScaler()))
    with pytest.raises(TypeError, match="generator with `intervene`, got Foreign"):
        average_effect(ForeignSearch(StandardScaler()), "data", 1.0, 0.0, 0)


def test_a_generative_pipeline_may_end_in_a_search():
    pipe = GenerativePipeline(
        [("scale", StandardScaler()), ("search", search(small(bounds=None)))]
    ).fit(TABLE)
    assert pipe.sample(3, random_state=0).shape == (3, 4)
    assert np.allclose(pipe.intervene({}, X=TABLE), TABLE)
    assert list(pipe.nodes_) == list(SCALED[-1].nodes_)


def test_nested_cross_validation_scores_extrapolation():
    X = np.concatenate([TABLE, TABLE + 1])
    labels = np.repeat(["seen", "moved"], len(TABLE))
    scorer = make_extrapolation_scorer(
        {"moved": {"data": Shift(1.0)}}, observational="seen"
    )
    scores = cross_val_score(
        search(small(bounds=None, observational="seen")),
        X,
        labels,
        scoring=scorer,
        cv=LeaveEnvironmentOut("seen", n_splits=2),
        error_score="raise",
    )
    assert np.isfinite(scores).all()


def test_a_search_without_a_best_model_says_so():
    fitted = search(small(), refit=False).fit(TABLE)
    with pytest.raises(NotFittedError, match="refit=True"):
        rows_under(fitted, {}, n_samples=2)


def test_columns_that_a_step_drops_are_not_invented():
    constant = np.where([True, True, True, False], TABLE, 1.0)
    lossy = make_pipeline(VarianceThreshold(), small(bounds=None)).fit(constant)
    with pytest.raises(TypeError, match="'variancethreshold'.*drops the columns"):
        rows_under(lossy, {}, n_samples=2)
    kept = make_pipeline(VarianceThreshold(), small(bounds=None)).fit(TABLE)
    assert rows_under(kept, {}, n_samples=2).shape == (2, 4)


def test_only_fitted_graphs_are_graphs():
    graph = GraphGenerator(max_epochs=1)
    with pytest.raises(NotFittedError):
        check_graph_generator(make_pipeline(StandardScaler(), graph))
    graph.fit(TABLE)
    assert check_graph_generator(graph) is graph
    for other in (SCALED, FixedGenerator().fit(TABLE)):
        with pytest.raises(TypeError, match="must be a fitted GraphGenerator.*got"):
            check_graph_generator(other)


@pytest.fixture(scope="module")
def levels():
    """A graph with a column of levels, and rows in which its cause is moved by 2."""
    rng = np.random.RandomState(0)
    cause = rng.randn(80)
    X = pd.DataFrame({"group": np.where(cause > 0, "high", "low"), "cause": cause})
    X["effect"] = cause + 0.3 * rng.randn(80)
    est = GraphGenerator({"effect": "cause", "group": "cause"}, max_epochs=5)
    moved = X.assign(cause=X["cause"] + 2, effect=X["effect"] + 2, group="high")
    return est.set_params(random_state=0).fit(X), X, moved


def test_no_rows_are_not_those_of_the_fit(levels):
    est, X, _ = levels
    assert est.was_fitted_on(X)
    assert not est.was_fitted_on(X[:0])


def test_levels_are_indicators_at_distance_one(levels):
    est, X, _ = levels
    numeric = est.space_.numeric
    rows = numeric(X)
    assert np.array_equal(rows[:, :2], X[["cause", "effect"]])
    first, second = (
        rows[(X["group"] == name).to_numpy(), 2:] for name in ("high", "low")
    )
    assert np.ptp(first, axis=0).max() == np.ptp(second, axis=0).max() == 0
    assert np.isclose(np.linalg.norm(first[0] - second[0]), 1)
    assert np.array_equal(numeric(X.to_numpy()), rows)
    with pytest.raises(ValueError, match="Column 'group' has the level 'new', which"):
        numeric(X.assign(group="new"))
    with pytest.raises(
        ValueError, match=r"3 columns of the fit once, but not so \['effect"
    ):
        numeric(X[["group", "cause"]])


def test_columns_that_nobody_encodes_are_named(levels):
    _, X, _ = levels
    with pytest.raises(ValueError, match=r"columns \['group'\] do not. Encode"):
        in_input_space(make_pipeline("passthrough", levels[0])).space_.numeric(X)


@pytest.mark.parametrize(
    "change", [{"cause": Shift(2.0)}, FamilyFit("shift", "cause")], ids=["given", "fit"]
)
def test_extrapolation_of_levels_is_scored(levels, change):
    est, X, moved = levels
    scorer = make_extrapolation_scorer(
        {"moved": change}, observational="seen", baseline="identity"
    )
    labels = np.repeat(["seen", "moved"], 80)
    assert scorer(est, pd.concat([X, moved]), labels) > 0.85


def test_searches_try_no_levels(levels):
    est, _, moved = levels
    found = fit_intervention(
        est, "shift", moved, n_samples=100, n_bootstrap=20, random_state=0
    )
    assert list(found.intervention) == ["cause"]
    assert set(found.table_["node"]) == {"noise", "cause", "effect"}


def test_counterfactuals_and_effects_of_levels(levels):
    est, X, _ = levels
    change = {"effect": Shift(1.0)}
    report = counterfactual_errors(est, X, change)
    assert np.isfinite(report.table_).all(axis=None)
    assert refit_agreement([est, est], X, change).table_.notna().to_numpy().all()
    assert (
        average_effect(est, "cause", 2.0, 0.0, lambda rows: rows[:, 0] == "high").low
        > 0
    )
    with pytest.raises(ValueError, match=r"no mean. Give a callable.*rows\[:, 0\] =="):
        average_effect(est, "cause", 2.0, 0.0, "group")
