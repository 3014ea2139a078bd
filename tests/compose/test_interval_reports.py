"""Reports and displays that show intervals of estimation, and say what these count."""

import numpy as np
import pandas as pd
import pytest
from helpers import bootstrap_of, line, linear
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.inspection import GraphInterventionDisplay
from sklearn_icm.interventions import Do, Shift
from sklearn_icm.metrics import (
    compare_models,
    evaluate,
    make_extrapolation_scorer,
    mechanism_shift,
)
from sklearn_icm.model_selection import fit_intervention

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


def test_skills_count_estimation(rows):
    X, labels = rows
    scorer = make_extrapolation_scorer(CHANGE, observational="here")
    model = bootstrap_of(linear(observational="here")).fit(X, labels)
    found = scorer.report(model, X, labels)
    alone = scorer.report(model.estimator_, X, labels)
    assert found.table_["skill"].tolist() == alone.table_["skill"].tolist()
    wide, narrow = (own.table_["high"] - own.table_["low"] for own in (found, alone))
    assert np.all(wide > narrow)
    assert "of the rows and 5 refits, not of a wrong" in found.sentences_["there"]
    assert "of the rows only; BootstrapGenerator" in alone.sentences_["there"]
    far = {"there": {"cause": Shift(3.0)}}
    scorer = make_extrapolation_scorer(far, observational="here")
    for own, told in ((model, True), (model.estimator_, False)):
        sentence = scorer.report(own, X, labels).sentences_["there"]
        assert ("No interval covers that." in sentence) == told


def test_fitted_interventions_count_estimation(rows):
    X, _ = rows
    model = bootstrap_of(linear()).fit(line(60))
    params = {"n_samples": 200, "n_bootstrap": 20, "random_state": 0}
    found, alone = (
        fit_intervention(own, "shift", X[100:], "cause", **params)
        for own in (model, model.estimator_)
    )
    assert found.params == alone.params
    assert found.low["value"] < alone.low["value"]
    assert found.high["value"] > alone.high["value"]
    assert "of the samples and 5 refits" in found.sentences_["parameters"]
    assert "of the samples only; Boot" in alone.sentences_["parameters"]


def test_shifts_of_mechanisms_count_estimation(rows):
    X, labels = rows
    model = bootstrap_of(linear(observational="here")).fit(X, labels)
    reports = [
        mechanism_shift(own, X, labels, n_permutations=19)
        for own in (model, model.estimator_)
    ]
    found, alone = (own.table_ for own in reports)
    assert reports[0].sentences_["the intervals"].startswith("Of 5 refits, not of a")
    assert "the intervals" not in reports[1].sentences_
    columns = [c for c in found if c not in {"low", "high"}]
    pd.testing.assert_frame_equal(found[columns], alone[columns])
    assert np.all(found["low"] < found["distance"])
    assert alone[["low", "high"]].isna().all(axis=None)


def test_displays_show_intervals(fitted):
    display = GraphInterventionDisplay.from_estimator(fitted, {"cause": Shift(1.0)})
    low, high = display.intervals["effect"]
    assert low < display.effects["effect"] < high
    assert f"({low:.2g} to {high:.2g})" in display.labels_[1].get_text()
    assert "95 % intervals of 20 refits, not of a wrong" in display.ax_.get_title()
    alone = GraphInterventionDisplay.from_estimator(fitted.estimator_, {"cause": 1.0})
    assert alone.intervals is None
    assert "interval" not in alone.ax_.get_title()


def test_intervals_of_shares_of_levels_hold_no_more_than_all():
    X = line(20).assign(effect=lambda rows: np.where(rows["effect"] > 0, "b", "a"))
    model = bootstrap_of(GraphGenerator({"effect": ["cause"]}, max_epochs=5), 3)
    display = GraphInterventionDisplay.from_estimator(
        model.fit(X), {"cause": Do(2.0)}, n_samples=50
    )
    low, high = display.intervals["effect"]
    assert 0 <= low < high <= 1


@pytest.mark.parametrize("scaled", [False, True])
def test_scores_of_mechanisms_count_estimation(fitted, scaled):
    model, X = fitted, line(60, seed=1)
    if scaled:
        steps = [("scale", StandardScaler()), ("graph", GraphGenerator([(0, 1)]))]
        steps[1][1].set_params(mechanism="linear")
        model = bootstrap_of(GenerativePipeline(steps), 20).fit(line().to_numpy())
        X = X.to_numpy()
    found, alone = (evaluate(own, X) for own in (model, model.estimator_))
    table = found.table_
    ends = [f"{name}{end}" for name in ("", "linear_") for end in ("low", "high")]
    columns = [name for name in table if name not in ends]
    pd.testing.assert_frame_equal(table[columns], alone.table_[columns])
    assert alone.table_[ends].isna().all(axis=None)
    own = table.iloc[1]
    assert own["low"] < own["skill"] < own["high"]
    # Scores of one line that is fitted to 100 rows again and again.
    assert 0 < own["high"] - own["low"] < 0.2
    assert "(interval" in found.sentences_.iloc[1]
    assert found.sentences_["the intervals"].startswith("Of 20 refits, not of a wrong")


def test_compared_models_count_estimation(rows):
    X, labels = rows
    models = {
        "line": linear(observational="here").fit(X, labels),
        "constant": GraphGenerator(observational="here").fit(X, labels),
    }
    refits = {
        name: bootstrap_of(model).fit(X, labels) for name, model in models.items()
    }
    alone, mixed, found = (
        compare_models(own, CHANGE, X, labels, observational="here")
        for own in (models, {**models, "line": refits["line"]}, refits)
    )
    widths = [own.table_["high"] - own.table_["low"] for own in (alone, mixed, found)]
    assert np.all(widths[1].to_numpy() >= widths[0].to_numpy())
    assert (widths[1] > widths[0]).tolist() == [True, False]
    behind = [own.table_["behind_high"].iloc[1] for own in (alone, mixed, found)]
    assert behind[0] < behind[1] <= behind[2]
    assert found.table_["behind_low"].iloc[0] == found.table_["behind_high"].iloc[0]
    told = mixed.sentences_["the intervals"]
    assert "'line': of the rows and 5 refits, not of a wrong graph" in told
    assert "'constant': of the rows only; BootstrapGenerator" in told
