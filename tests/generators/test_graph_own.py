"""Mechanisms of one's own: regressors, classifiers and modules of single columns."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from torch import nn

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.exceptions import FewRowsWarning, PoorFitWarning
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Shift, SwapMechanism
from sklearn_icm.metrics import evaluate


def started(make):
    """A module whose first weights do not depend on what ran before."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


RNG = np.random.RandomState(0)
AGE, DOSE = RNG.randint(10, 30, 200), RNG.normal(size=200)
STEP = 3.0 * (AGE >= 18) + DOSE + 0.3 * RNG.normal(size=200)
TABLE = pd.DataFrame(
    {
        "age": AGE,
        "dose": DOSE,
        "step": STEP,
        "ill": np.where(STEP + RNG.normal(size=200) > 2, "yes", "no"),
        "cost": 10 * STEP + RNG.normal(size=200),
    }
)
GRAPH = {"step": ["age", "dose"], "ill": "step", "cost": ["step", "ill"]}
TREES = HistGradientBoostingRegressor(max_iter=20, min_samples_leaf=10)
LINEAR = started(lambda: nn.Linear(2, 1))
OWN = {
    "regressor": {"step": TREES},
    "classifier": {"ill": LogisticRegression(), "cost": LinearRegression()},
    "sure classifier": {"ill": DecisionTreeClassifier(min_samples_leaf=20)},
    "module": started(lambda: {"cost": nn.Linear(3, 1), "ill": nn.Linear(1, 2)}),
    "random module": {"step": nn.Sequential(nn.Dropout(0.1), LINEAR)},
}


class Rule(RegressorMixin, BaseEstimator):
    """A formula that needs no fit."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return 3.0 * (X[:, 0] >= 18) + X[:, 1]


class Undefined(Rule):
    def predict(self, X):
        return np.where(X[:, 1] > 0, np.nan, 0.0)


class Wide(Rule):
    def predict(self, X):
        return X


class Shifting(Rule):
    def __init__(self, shift=1):
        self.shift = shift + 1


class NoClone:
    def fit(self, X, y):
        return self

    def predict(self, X):
        return X[:, 0]


class Broken(Rule):
    def fit(self, X, y):
        raise RuntimeError("no luck")


class Single(nn.Module):
    """Computes in single precision alone."""

    def forward(self, value):
        return value @ torch.ones(2, 1)


def made(mechanism, graph=GRAPH, **params):
    params = {"max_epochs": 2, "n_units": 2, "random_state": 0, **params}
    return GraphGenerator(graph, mechanism=mechanism, **params)


@pytest.fixture(scope="module", params=OWN)
def model(request):
    return made(OWN[request.param]).fit(TABLE)


def test_every_verb(model):
    named = {k for k, v in model.mechanism_kinds_.items() if v == "own"}
    assert named == set(model.mechanism)
    assert len(model.sample(5, random_state=0)) == 5
    assert np.isfinite(model.score_samples(TABLE)).all()
    changed = model.score_samples(TABLE, interventions={"step": Shift(1.0)})
    assert np.isfinite(changed).all()
    assert len(model.support({"dose": 1.0}, TABLE[:5]).table_)
    tested = model.independence(TABLE, n_draws=0)
    assert np.isfinite(tested["dependence"]).all()
    assert set(GRAPH) <= set(evaluate(model, TABLE, n_draws=2).table_.index)


def test_counterfactuals_keep_what_is_left_of_each_row(model):
    assert_array_equal(model.intervene({}, X=TABLE), TABLE.to_numpy(dtype=object))
    same = model.intervene({"dose": Shift(0.0)}, X=TABLE)
    assert_array_equal(same[:, :4], TABLE.to_numpy(dtype=object)[:, :4])
    back = model.inverse_transform(model.transform(TABLE))
    assert_array_equal(back[:, 3], TABLE["ill"])


def test_copies_draw_the_same(model):
    want = model.sample(20, random_state=0)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(other.sample(20, random_state=0), want)
        assert_allclose(other.score_samples(TABLE), model.score_samples(TABLE))
    again = clone(model).fit(TABLE)
    assert_array_equal(again.sample(20, random_state=0), want)


def test_residuals_are_the_noise():
    model = made({"step": Rule()}).fit(TABLE)
    moved = model.intervene({"age": 20}, X=TABLE)[:, 2].astype(float)
    # At 18 too, which rounding would move across the step.
    assert_allclose(moved, STEP + 3.0 * (AGE < 18), atol=1e-4)
    # (Draws of a column of whole numbers are rounded after they were read.)
    model.fit(TABLE.astype({"age": float}))
    drawn = model.sample(4000, random_state=0)
    left = drawn[:, 2].astype(float) - Rule().predict(drawn[:, :2].astype(float))
    assert left.std() == pytest.approx(0.3, rel=0.15)


@pytest.mark.parametrize("levels", [True, False])
def test_rows_with_steps_between_them_come_back_exactly(levels):
    """Thresholds of trees may be values of rows, which rounding must not cross."""
    table = TABLE if levels else TABLE.drop(columns="ill")
    graph = {"step": ["age", "dose"], "cost": "step"}
    model = made({"step": TREES}, graph).fit(table)
    function = model.graph_.mechanism("step").function
    rows = torch.from_numpy(np.stack([AGE, DOSE], 1))
    there = rows.clone()
    there[:, 0] = 12
    asked = [function.fitted.value.predict(function.table(v)) for v in (there, rows)]
    moved = np.asarray(model.intervene({"age": 12}, X=table))[:, 2].astype(float)
    assert_allclose(moved, STEP + asked[0] - asked[1], atol=1e-4)


def test_a_regressor_is_the_one_that_all_rows_fit():
    model = made({"step": LinearRegression()}).fit(TABLE)
    want = LinearRegression().fit(TABLE[["age", "dose"]].to_numpy(), STEP)
    found = model.graph_.mechanism("step").function.fitted.value
    assert_allclose(found.coef_, want.coef_, rtol=1e-4)


def test_noise_is_what_is_left_of_rows_that_were_left_out():
    with pytest.warns(PoorFitWarning, match="'step'.* errs at its own rows by 0 %"):
        model = made({"step": KNeighborsRegressor(1)}).fit(TABLE)
    drawn = model.sample(2000, random_state=0)
    found = model.graph_.mechanism("step").function.fitted.value
    left = drawn[:, 2] - found.predict(drawn[:, :2].astype(float))
    assert left.std() > 0.3


def test_chances_of_a_classifier_are_those_of_the_column():
    model = made({"ill": LogisticRegression()}, {"ill": "step"}).fit(TABLE)
    own = LogisticRegression().fit(STEP[:, None], TABLE["ill"])
    chance = own.predict_proba([[1.0]])[0, 1]
    drawn = model.intervene({"step": 1.0}, n_samples=4000, random_state=0)[:, 3]
    assert np.mean(drawn == "yes") == pytest.approx(chance, abs=0.04)


def test_a_classifier_makes_levels_and_a_regressor_numbers():
    table = TABLE[["age", "dose"]].assign(half=AGE // 10, two=(AGE > 18).astype(int))
    graph = {"half": "age", "two": "age"}
    model = made({"half": LogisticRegression(), "two": Ridge()}, graph).fit(table)
    assert list(model.categories_) == ["half"]


def test_modules_are_trained_and_the_given_one_is_not():
    before = copy.deepcopy(LINEAR.state_dict())
    model = made({"step": LINEAR}, max_epochs=40, batch_size=20).fit(TABLE)
    assert all(bool((v == before[k]).all()) for k, v in LINEAR.state_dict().items())
    assert model.history_["own"].iloc[-1] < 0.5 * model.history_["own"].iloc[0]
    trained = model.graph_.mechanism("step").function.module
    assert not trained.training
    line = LinearRegression().fit(TABLE[["age", "dose"]], STEP)
    slopes = trained.weight.detach().numpy()[0] * STEP.std()
    assert_allclose(slopes, line.coef_ * TABLE[["age", "dose"]].std(), rtol=0.1)


def test_missing_values():
    holes = np.random.RandomState(1).rand(*TABLE.shape) < 0.1
    holes[:, 3] = False
    mechanism = {"step": LINEAR, "cost": Ridge()}
    model = made(mechanism, missing="available").fit(TABLE.mask(holes))
    assert np.isfinite(model.score_samples(TABLE.mask(holes))).all()


def test_searches_reach_parameters():
    tree = DecisionTreeRegressor(min_samples_leaf=20)
    grid = {"mechanism__step__max_depth": [1, 3], "mechanism__cost": ["auto", Ridge()]}
    given = {"step": tree, "cost": "linear"}
    search = GridSearchCV(made(given), grid, cv=2).fit(TABLE)
    assert search.best_params_["mechanism__step__max_depth"] == 3
    assert tree.max_depth is None
    assert given["cost"] == "linear"


def test_nested_parameters_are_found_by_the_longest_name():
    model = made({"a": Ridge(), "a__b": Ridge(), 3: "linear"})
    assert model.get_params()["mechanism__a__b__alpha"] == 1.0
    model.set_params(mechanism__a__b__alpha=2.0, mechanism__3="auto")
    assert model.mechanism["a"].alpha == 1.0
    assert model.mechanism["a__b"].alpha == 2.0
    assert model.mechanism[3] == "auto"
    for name in ("mechanism__c", "mechanism__3__alpha"):
        with pytest.raises(ValueError, match=f"'{name}' needs a mechanism that has it"):
            model.set_params(**{name: 1})


@pytest.mark.parametrize("own", [Ridge(), LINEAR], ids=["ridge", "net"])
def test_refits_and_streams(own):
    whole = TABLE[["age", "dose", "step"]]
    graph = {"step": ["age", "dose"]}
    model = BootstrapGenerator(made({"step": own}, graph), n_estimators=2)
    found = model.fit(whole).interval(lambda m: m.score_samples(whole).mean())
    assert found.low < found.estimate < found.high
    going = made({"step": own}, graph, warm_start=True).fit(whole)
    assert going.fit(whole).n_iter_ > 0
    with pytest.raises(ValueError, match="mechanism cannot change"):
        going.set_params(mechanism={"step": Ridge(3.0)}).fit(whole)


def test_streams_need_partial_fit():
    whole, graph = TABLE[["age", "dose", "step"]] / 10, {"step": ["age", "dose"]}
    model = made({"step": SGDRegressor()}, graph).partial_fit(whole[:100])
    function = model.graph_.mechanism("step").function
    before, seen = function.fitted.value.coef_, function.n_rows
    model.partial_fit(whole)
    function = model.graph_.mechanism("step").function
    assert (seen, function.n_rows) == (100, 300)
    want = LinearRegression().fit(whole[["age", "dose"]], whole["step"]).coef_
    assert abs(function.fitted.value.coef_ - want).max() < abs(before - want).max()
    ridge = made({"step": Ridge()}, graph).partial_fit(whole)
    with pytest.raises(ValueError, match="'step', Ridge.* has no partial_fit"):
        ridge.partial_fit(whole)


def test_seeds_of_estimators_come_from_the_generator():
    mechanism = {"step": RandomForestRegressor(5, min_samples_leaf=20)}
    first, second, other = (
        made(mechanism, random_state=seed).fit(TABLE).sample(5, random_state=0)
        for seed in (0, 0, 1)
    )
    assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_swapped_mechanisms():
    models = [made({"step": Ridge(alpha)}).fit(TABLE) for alpha in (1.0, 1e4)]
    swap = SwapMechanism(models[1], "step")
    assert swap == SwapMechanism(pickle.loads(pickle.dumps(models[1])), "step")
    assert swap != SwapMechanism(models[0], "step")
    changed = models[0].intervene({"step": swap}, X=TABLE)
    assert not np.allclose(changed[:, 2].astype(float), STEP)


def test_what_has_no_gradient_says_so():
    model = made({"step": TREES}).fit(TABLE)
    with pytest.raises(ValueError, match="'step'.* has no gradient"):
        model.abduct(TABLE[:2], method="optimise")
    whole, graph = TABLE[["age", "dose", "step"]], {"step": ["age", "dose"]}
    with pytest.raises(ValueError, match="is not 'energy', 'mixture' or an estimator"):
        made({"step": Ridge()}, graph, icm_weight=1.0).fit(whole)
    penalised = made({"step": LINEAR}, graph, icm_weight=1.0).fit(whole)
    assert penalised.history_["penalty"].notna().all()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (StandardScaler(), "'step' must be .* got StandardScaler.., which has no pred"),
        (Ridge, "'step' must be an instance, got the class Ridge: write Ridge"),
        (None, "'step' must be the name of a kind, a regressor .* got None"),
        (KMeans(2), "'step' must be a regressor, got the clusterer KMeans"),
        (Shifting(2), "'step' cannot be copied: Shifting breaks sklearn.clone"),
        (NoClone(), "'step' cannot be copied: NoClone breaks sklearn.clone"),
        (Broken(), "'step': Broken.fit failed for 200 rows of 2 inputs: no luck"),
        (Undefined(), "'step': Undefined.predict returned NaN or infinite values for"),
        (Wide(), r"'step': Wide.predict must return numbers of shape \(200,\), got"),
        (nn.Linear(2, 3), r"'step' must return a tensor of shape \(8, 1\)"),
        (nn.Linear(5, 1), r"'step' fails on rows of shape \(8, 2\)"),
        (Single(), "'step' fails on rows .*float64.* constants should be buffers"),
    ],
)
def test_what_cannot_be_a_mechanism_is_refused(own, message):
    model = made("linear").fit(TABLE)
    want = model.sample(3, random_state=0)
    with pytest.raises(ValueError, match=message):
        model.set_params(mechanism={"step": own}).fit(TABLE)
    # Nothing is lost.
    assert_array_equal(model.sample(3, random_state=0), want)


@pytest.mark.parametrize("own", [Ridge(), LinearSVC(), nn.Linear(1, 1)])
def test_levels_need_chances(own):
    with pytest.raises(ValueError, match="column 'ill'"):
        made({"ill": own}).fit(TABLE)


def test_hidden_causes_need_a_likelihood():
    graph = {**GRAPH, "step": ["age", "h"], "dose": "h"}
    with pytest.raises(ValueError, match="'step' cannot be 'own', as a cause of it is"):
        made({"step": Ridge()}, graph, unobserved={"h": 1}).fit(TABLE)
    beside = made({"cost": Ridge()}, graph, unobserved={"h": 1}).fit(TABLE)
    assert np.isfinite(beside.score_samples(TABLE[:3])).all()


def test_poor_rows_are_served_with_a_warning():
    rows = TABLE[["age", "dose", "step"]][:5]
    graph = {"step": ["age", "dose"]}
    with pytest.warns(
        FewRowsWarning, match="'step': Ridge.fit saw 5 different rows, too few"
    ):
        made({"step": Ridge()}, graph).fit(rows)
    for constant in ("step", "dose"):
        whole = TABLE[["age", "dose", "step"]].assign(**{constant: 3.0})
        for own in (Ridge(), LINEAR):
            model = made({"step": own}, graph).fit(whole)
            assert np.isfinite(model.sample(3, random_state=0)).all()
    # Without parents there is noise alone.
    root = made({"age": Ridge(), "ill": LogisticRegression()}, {}).fit(TABLE)
    assert root.mechanism_kinds_["age"] == "linear"
    assert root.mechanism_kinds_["ill"] == "categorical"
