"""Intervals of estimation: refits to resampled rows, beside the fit to all of them."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import bootstrap_of, line, linear
from scipy.stats import t
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import BootstrapGenerator, GenerativePipeline
from sklearn_icm.compose import _bootstrap as bootstrap
from sklearn_icm.exceptions import FitDivergedError, FitInterruptedWarning
from sklearn_icm.generators import GraphGenerator, VAEGenerator
from sklearn_icm.independence import NoisePenalty
from sklearn_icm.interventions import Noise, Orthogonal, Scale, Shift, Units, Where
from sklearn_icm.metrics import (
    average_effect,
    make_extrapolation_scorer,
)
from sklearn_icm.model_selection import LeaveEnvironmentOut

NAMES = ["cause", "effect"]
CHANGE = {"there": {"cause": Shift(1.0)}}


@pytest.fixture(scope="module")
def fitted():
    """Twenty refits of a line. Tests must not change it."""
    return bootstrap_of(linear(), 20).fit(line())


@pytest.fixture(scope="module")
def rows():
    """Rows of two environments, the second shifted, with their labels."""
    both = pd.concat([line(), line(seed=1, moved=1.0)], ignore_index=True)
    return both, np.repeat(["here", "there"], 100)


SLOPE = "cause", 1.0, 0.0, "effect"


# ----------------------------------------------------------------------- verbs
def test_every_verb_is_that_of_the_fit_to_all_rows(fitted):
    alone, X = linear().fit(line()), line()
    for ask in (
        lambda model: model.sample(5, random_state=0),
        lambda model: model.intervene({"cause": 1.0}, X=X),
        lambda model: model.transform(X),
        lambda model: model.inverse_transform(model.transform(X)),
        lambda model: model.score_samples(X),
        lambda model: model.score(X),
        lambda model: model.abduct(X).noise,
        lambda model: model.node_values(X)["effect"],
        lambda model: model.support({"cause": 9.0}).table_.select_dtypes("number"),
        lambda model: model.independence(X).to_numpy()[:, 2:].astype(float),
        lambda model: model.influence_map("cause", [0], X),
        lambda model: model.hybridise(X, X[::-1], "cause", [0]),
        lambda model: model.get_feature_names_out(),
        lambda model: model.history_.drop(columns="duration"),
    ):
        np.testing.assert_array_equal(ask(fitted), ask(alone))
    assert fitted.was_fitted_on(X)
    assert fitted.nodes_ == alone.nodes_
    assert fitted.mechanism_kinds_ == alone.mechanism_kinds_
    assert list(fitted.feature_names_in_) == NAMES
    assert fitted.space_.names == NAMES


def test_a_verb_that_the_estimator_lacks_is_not_there():
    class Silent(VAEGenerator):
        abduct = property()

    assert not hasattr(BootstrapGenerator(Silent()), "abduct")
    assert hasattr(BootstrapGenerator(VAEGenerator()), "abduct")
    for estimator in (VAEGenerator(), make_pipeline(StandardScaler(), VAEGenerator())):
        with pytest.raises(NotFittedError, match="not fitted"):
            BootstrapGenerator(estimator).sample(2)
    with pytest.raises(AttributeError, match="no attribute 'nodes_'"):
        _ = BootstrapGenerator(VAEGenerator()).nodes_


def test_frames_come_out_as_set_output_says():
    model = bootstrap_of(linear(), 2).set_output(transform="pandas").fit(line())
    assert list(model.sample(3).columns) == NAMES
    model.set_output(transform="default")
    assert isinstance(model.sample(3), np.ndarray)


def test_seeds_say_what_is_drawn(fitted):
    again = clone(fitted).fit(line())
    loaded = pickle.loads(pickle.dumps(fitted))
    fewer = clone(fitted).set_params(n_estimators=2).fit(line())
    answer = average_effect(fitted, *SLOPE, random_state=0)
    for model in (again, loaded):
        assert average_effect(model, *SLOPE, random_state=0) == answer
    for one, other in zip(fewer.estimators_, fitted.estimators_, strict=False):
        np.testing.assert_array_equal(one.sample(3, 0), other.sample(3, 0))
    other = clone(fitted).set_params(random_state=1).fit(line())
    assert other.score(line()) == fitted.score(line())
    assert average_effect(other, *SLOPE, random_state=0).low != answer.low


@pytest.mark.slow
def test_refits_in_parallel_are_those_of_one_process():
    models = [bootstrap_of(linear(), 2, n_jobs=n).fit(line()) for n in (None, 2)]
    found = [average_effect(model, *SLOPE, random_state=0) for model in models]
    assert found[0] == found[1]


# ------------------------------------------------------------------- intervals
def test_the_interval_is_that_of_t_about_the_answer(fitted):
    slopes = [
        average_effect(refit, *SLOPE, random_state=0).effect
        for refit in fitted.estimators_
    ]
    found = average_effect(fitted, *SLOPE, random_state=0)
    squares = np.square(np.array(slopes) - found.effect)
    half = t.ppf(0.975, 19) * np.sqrt(squares.sum() / 19)
    alone = average_effect(fitted.estimator_, *SLOPE, random_state=0)
    assert found.effect == alone.effect
    assert found.high - found.effect == pytest.approx(half, rel=1e-3)
    assert found.effect - found.low == pytest.approx(half, rel=1e-3)
    assert alone.high - alone.low < 1e-5
    ask = fitted.interval(lambda model: average_effect(model, *SLOPE).effect)
    assert ask.high - ask.low == pytest.approx(2 * half, rel=1e-2)


def test_a_line_is_as_unsure_as_least_squares_says():
    """On average over data sets: one interval of 20 refits is off by a sixth."""
    widths, own = [], []
    for seed in range(4):
        X = line(seed=seed)
        model = bootstrap_of(linear(), 20).fit(X)
        found = average_effect(model, *SLOPE, random_state=0)
        widths.append(found.high - found.low)
        fit = LinearRegression().fit(X[["cause"]], X["effect"])
        left = X["effect"] - fit.predict(X[["cause"]])
        error = np.sqrt(left @ left / 98 / (100 * np.var(X["cause"])))
        own.append(2 * t.ppf(0.975, 98) * error)
    assert 0.85 < np.mean(widths) / np.mean(own) < 1.15


def test_no_interval_of_a_chance_is_wider_than_chances():
    X = pd.DataFrame({"cause": np.linspace(-1, 1, 100)})
    X["effect"] = (X["cause"] > 0).astype(int)
    model = bootstrap_of(GraphGenerator({"effect": ["cause"]}, random_state=0)).fit(X)
    for target in ("effect", lambda rows: rows[:, 1] == 1):
        found = average_effect(model, "cause", 0.9, -0.9, target, random_state=0)
        assert found.low < found.effect < found.high == 1.0
    tens = X.assign(effect=10 * X["effect"])
    model = bootstrap_of(clone(model.estimator)).fit(tens)
    found = average_effect(model, "cause", 0.9, -0.9, "effect", random_state=0)
    assert 1.0 < found.high <= 10.0


def test_draws_and_estimation_are_joined(fitted):
    cubed = lambda rows: rows[:, 1] ** 3  # noqa: E731
    query = {"n_samples": 100, "random_state": 0}
    own = average_effect(fitted.estimator_, *SLOPE[:3], cubed, **query)
    refits = fitted.interval(
        lambda model: average_effect(model, *SLOPE[:3], cubed, **query).effect
    )
    found = average_effect(fitted, *SLOPE[:3], cubed, **query)
    parts = own.high - own.effect, refits.high - refits.estimate
    assert found.high - found.effect == pytest.approx(np.hypot(*parts))
    assert found.counts.startswith("the draws and 20 refits, not of a wrong graph")
    beyond = average_effect(fitted, "cause", 4.0, 0.0, "effect", random_state=0)
    assert re.search(
        r"\. Beyond the fitted rows at effect \(100 % .*: the answer relies on the "
        r"line of effect going on .* No interval covers that\.$",
        beyond.counts,
    )
    values = np.linspace(0, 4, 50)
    found = average_effect(fitted, "cause", values, 0.0, "effect", n_samples=50)
    assert "Beyond" in found.counts
    text = "of the draws only; BootstrapGenerator counts estimation too"
    assert text in repr(own)
    assert text not in repr(found)
    given = average_effect(fitted.estimator_, *SLOPE, X=line(5))
    assert "of the rows X only" in repr(given)


def test_an_interval_of_any_number(fitted):
    found = fitted.interval(lambda model: model.sample(4, random_state=0), level=0.5)
    assert found.estimate.shape == found.low.shape == (4, 2)
    wider = fitted.interval(lambda model: model.sample(4, random_state=0), level=0.9)
    assert np.all(wider.low < found.low)
    assert np.all(found.low < found.high)
    with pytest.raises(ValueError, match="level must be a number between 0 and 1"):
        fitted.interval(lambda model: 0.0, level=95)


def test_an_interval_of_a_chance_is_one_of_chances(fitted):
    def chance(model):
        rows = model.intervene({"cause": 1.5}, n_samples=50, random_state=0)
        return np.mean(rows[:, 1] > 0)

    free, found = (
        fitted.interval(chance, **limits) for limits in ({}, {"limits": (0, 1)})
    )
    assert found.high == 1 < free.high
    assert found.low == free.low
    with pytest.raises(ValueError, match=r"limits must be \(low, high\) between"):
        fitted.interval(chance, limits=(0, 0.5))


# ----------------------------------------------------------------- hidden nodes
@pytest.fixture(scope="module")
def hidden():
    model = VAEGenerator(n_latents=2, hidden=(6,), max_epochs=1, bounds=None)
    return bootstrap_of(model, 2).fit(np.random.RandomState(0).rand(20, 3))


@pytest.mark.parametrize(
    "change", [Scale(2.0), Shift(1.0), 0.5, Noise(1.0), lambda v: v.abs(), np.ones(6)]
)
def test_what_treats_all_units_alike_is_asked(hidden, change):
    assert (
        average_effect(hidden, "dense1", change, None, 0).counts.count("2 refits") == 1
    )


@pytest.mark.parametrize(
    "change",
    [
        Units(0, Scale(2.0)),
        Where([True] + 5 * [False], 0.0),
        Orthogonal(np.eye(6)[[1, 0, 2, 3, 4, 5]]),
        np.arange(6.0),
        Scale(2.0) >> Units([3], 0.0),
        lambda v: v.flip(1),
    ],
)
def test_units_of_hidden_nodes_are_refused(hidden, change):
    with pytest.raises(ValueError, match="hidden node 'dense1' tells its units apart"):
        average_effect(hidden, "dense1", change, None, 0)
    average_effect(hidden.estimator_, "dense1", change, None, 0)


def test_units_of_the_data_and_columns_have_names(hidden, fitted):
    for asked in (
        average_effect(hidden, "data", np.arange(3.0), None, 0),
        average_effect(fitted, "data", [1.0, 2.0], None, 0),
        average_effect(fitted, None, {"cause": 1.0, "effect": 2.0}, {}, 0),
    ):
        assert asked.low < asked.effect < asked.high


# ------------------------------------------------------------------ what is drawn
def test_rows_are_drawn_within_environments(monkeypatch):
    seen = []
    refit = VAEGenerator.fit

    def fit(self, X, y=None, environments=None):
        seen.append(np.array(y))
        return refit(self, X, y, environments)

    monkeypatch.setattr(VAEGenerator, "fit", fit)
    X, labels = np.random.RandomState(0).rand(12, 2), np.repeat(["a", "b"], [3, 9])
    for params, given in (
        ({"observational": "b"}, {"y": labels}),
        ({}, {"environments": labels}),
    ):
        bootstrap_of(VAEGenerator(max_epochs=1, **params), 4).fit(X, **given)
    assert len(seen) == 10
    assert all(np.sum(own == "a") == 3 for own in seen)


@pytest.mark.parametrize("as_frame", [True, False])
def test_every_level_is_drawn(as_frame):
    rare = np.array(["rare"] + 29 * ["usual"], object)
    X = pd.DataFrame({"kind": rare, "value": np.arange(30.0), "two": 29 * [0] + [1]})
    X = X if as_frame else X.to_numpy(object)
    graph = {"value": ["kind"]} if as_frame else [(0, 1)]
    model = bootstrap_of(GraphGenerator(graph, max_epochs=1), 4).fit(X)
    node = "kind" if as_frame else "x0"
    found = average_effect(model, node, "rare", "usual", 1, random_state=0)
    assert found.low < found.effect < found.high
    assert all(len(refit.categories_) == 2 for refit in model.estimators_)


def test_labels_that_nobody_reads_divide_no_rows():
    X = line(10)
    bootstrap_of(linear(), 2).fit(X, np.arange(10.0))
    with pytest.raises(
        ValueError, match=r"environment 0\.0 has 1 row, which is resamp"
    ):
        bootstrap_of(linear(), 2).fit(X, environments=np.arange(10.0))


def test_all_steps_are_refitted():
    pipe = GenerativePipeline([("scale", StandardScaler()), ("graph", linear())])
    X = line(30).rename(columns={"cause": "x0", "effect": "x1"})
    plain = make_pipeline(StandardScaler(), GraphGenerator([(0, 1)], max_epochs=1))
    pipe.set_params(graph__graph=[(0, 1)])
    for estimator in (pipe, plain):
        model = bootstrap_of(estimator, 3).fit(X.to_numpy())
        means = {float(refit[0].mean_[0]) for refit in model.estimators_}
        assert len(means) == 3
        assert model.intervene({"x0": 0.0}, n_samples=4).shape == (4, 2)
        assert "3 refits" in average_effect(model, "x0", 1.0, 0.0, 1).counts


def test_a_bootstrap_stands_around_a_pipeline():
    steps = [("scale", StandardScaler()), ("last", bootstrap_of(linear()))]
    with pytest.raises(TypeError, match="Put the BootstrapGenerator around"):
        GenerativePipeline(steps).fit(line())


def test_environments_are_routed(rows):
    X, labels = rows
    model = bootstrap_of(linear(observational="here"), 2)
    grid = {"estimator__noise": ["normal", "kernel"]}
    cv = LeaveEnvironmentOut(observational="here", n_splits=2)
    scorer = make_extrapolation_scorer(CHANGE, observational="here")
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(model, grid, cv=cv, scoring=scorer)
        search.fit(X, environments=labels)
    assert len(search.best_estimator_.estimators_) == 2
    assert search.best_estimator_.was_fitted_on(X[:100])


def test_it_is_searched_and_searches(rows):
    X, _ = rows
    grid = {"estimator__noise": ["normal", "kernel"]}
    search = GridSearchCV(bootstrap_of(linear(), 2), grid, cv=2).fit(X)
    assert "2 refits" in average_effect(search, *SLOPE).counts
    inner = GridSearchCV(linear(), {"noise": ["normal", "kernel"]}, cv=2)
    model = bootstrap_of(inner, 2).fit(X)
    assert model.sample(3).shape == (3, 2)
    assert "2 refits" in average_effect(model, *SLOPE).counts


# -------------------------------------------------------------------- bad input
def test_bad_parameters_are_named():
    for n in (1, 0, 2.5):
        with pytest.raises(ValueError, match="n_estimators"):
            bootstrap_of(linear(), n).fit(line())
    with pytest.raises(TypeError, match="estimator must be a generator"):
        bootstrap_of(LinearRegression()).fit(line())
    with pytest.raises(ValueError, match="is not the label of any row"):
        bootstrap_of(linear(observational="x")).fit(line(4), list("aabb"))


def test_a_failed_fit_leaves_the_earlier_one(fitted):
    model = bootstrap_of(linear(), 2).fit(line())
    before = vars(model).copy()
    model.set_params(estimator__observational="b", n_estimators=9)
    labels = np.array(["a", "b", "b"])
    with pytest.raises(ValueError, match="environment 'a' has 1 row"):
        model.fit(line(3), labels)
    model.set_params(estimator__observational=None, estimator__missing="available")
    few = line(40)
    few.iloc[3:] = np.nan
    with (
        pytest.warns(UserWarning, match="in 3 of 40 rows"),
        pytest.raises(ValueError, match=r"Refit \d fails, to rows drawn .* from 40"),
    ):
        model.fit(few)
    assert model.estimators_ is before["estimators_"]
    assert model.estimator_ is before["estimator_"]


class Fragile(GraphGenerator):
    """Fails in some of its fits."""

    error, fails = FitDivergedError(3, "loss"), ()
    count = 0

    def fit(self, X, y=None, environments=None):
        Fragile.count += 1
        if Fragile.count - 2 in Fragile.fails:
            raise Fragile.error
        return super().fit(X, y, environments)


def fragile(fails, error, n_estimators=4):
    Fragile.count, Fragile.fails, Fragile.error = 0, fails, error
    graph = [("cause", "effect")]
    return bootstrap_of(Fragile(graph, mechanism="linear"), n_estimators)


def test_refits_that_diverge_are_counted_and_named():
    diverged = FitDivergedError(3, "loss")
    model = fragile((1, 3), diverged)
    with pytest.warns(UserWarning, match=r"2 of 4 refits diverged \(places \[1, 3\]\)"):
        model.fit(line(20))
    assert (len(model.estimators_), model.n_diverged_) == (2, 2)
    with pytest.raises(ValueError, match="3 of 4 refits diverged, so that too few"):
        fragile((0, 1, 3), diverged).fit(line(20))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), FitInterruptedWarning(1, 2)])
def test_an_interrupt_keeps_what_is_done(error):
    model = fragile((2,), error)
    with pytest.warns(FitInterruptedWarning, match="after 2 of 4 refits"):
        model.fit(line(20))
    assert len(model.estimators_) == 2
    for place in (1, -1):
        model = fragile((place,), error)
        with pytest.raises(KeyboardInterrupt):
            model.fit(line(20))
        assert not hasattr(model, "estimators_")


def test_refits_repeat_no_warning():
    X = line(20).assign(copy=lambda rows: rows["cause"])
    graph = {"effect": ["cause", "copy"]}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        bootstrap_of(GraphGenerator(graph, mechanism="linear")).fit(X)
    assert len([w for w in told if "determine" in str(w.message)]) == 1


def test_a_penalty_is_refitted_too():
    model = linear(icm_penalty=NoisePenalty(), icm_weight=1.0, max_epochs=1)
    assert len(bootstrap_of(model, 2).fit(line(20)).estimators_) == 2


def test_levels_of_one_fit_are_those_of_the_rows():
    assert bootstrap._levels_of_rows(np.ones((3, 2))).shape == (0, 3)
