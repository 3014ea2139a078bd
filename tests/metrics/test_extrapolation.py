import pickle

import joblib
import numpy as np
import pytest
import sklearn
from helpers import shifted, table_model, table_scorer
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.interventions import Scale, Shift, Stretch
from sklearn_icm.metrics import (
    energy_distance,
    extrapolation_skill,
    make_extrapolation_scorer,
)
from sklearn_icm.metrics._skill import skill_components
from sklearn_icm.model_selection import LeaveEnvironmentOut

SCORER = make_extrapolation_scorer(
    {"wide": {"conv2": Stretch(1.3)}}, observational="narrow"
)


def test_skill_of_perfect_useless_and_harmful_predictions():
    rng = np.random.RandomState(0)
    base, env = rng.randn(200, 2), rng.randn(200, 2) + 3
    other = rng.randn(200, 2) + 3
    mean = np.tile(env.mean(axis=0), (200, 1))
    assert extrapolation_skill(env, other, base) == pytest.approx(1, abs=0.05)
    assert extrapolation_skill(env, mean, base) == pytest.approx(0, abs=1e-9)
    assert extrapolation_skill(env, base, base) < -2
    assert extrapolation_skill(env, base, base, baseline="identity") == 0


def test_skill_needs_a_shift():
    X = np.random.RandomState(0).randn(50, 2)
    with pytest.raises(ValueError, match="no shift that an intervention could explain"):
        extrapolation_skill(X, X + 1, X, baseline="identity")
    with pytest.raises(ValueError, match="all its rows are alike"):
        extrapolation_skill(np.ones((50, 2)), X, X)


def test_the_right_intervention_scores_best():
    X, labels = shifted()
    model = table_model().fit(X, labels)
    scores = [table_scorer(s)(model, X, labels) for s in (0.0, 1.0, 2.0, 4.0)]
    assert np.argmax(scores) == 2
    assert scores[2] > 0.8


def test_score_is_reproducible_and_takes_labels_either_way(fitted, pairs):
    scores = {
        SCORER(fitted, pairs.data, pairs.environments),
        SCORER(fitted, pairs.data, pairs.environments),
        SCORER(fitted, pairs.data, environments=pairs.environments),
        pickle.loads(pickle.dumps(SCORER))(fitted, pairs.data, pairs.environments),
        clone(SCORER, safe=False)(fitted, pairs.data, pairs.environments),
    }
    assert len(scores) == 1


def test_single_metric_search_over_icm_weight():
    X, labels = shifted()
    search = GridSearchCV(
        table_model(),
        {"icm_weight": [0, 1]},
        scoring=table_scorer(2.0),
        cv=LeaveEnvironmentOut("seen", n_splits=2),
        error_score="raise",
        return_train_score=True,
    ).fit(X, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.cv_results_["mean_train_score"].tolist() == [0, 0]


def test_neither_folds_nor_the_refit_see_a_held_out_row():
    """Marked rows of the held-out environment change no candidate and no refit."""
    X, labels = shifted()
    marked = X.copy()
    marked[labels == "moved"] = 1e3
    samples = []
    for rows in (X, marked):
        search = GridSearchCV(
            table_model(),
            {"icm_weight": [0, 1]},
            scoring={"fit": lambda est, X, y: est.sample(5, random_state=0).sum()},
            refit="fit",
            cv=LeaveEnvironmentOut("seen", n_splits=2),
        ).fit(rows, labels)
        best = search.best_estimator_.sample(5, random_state=0)
        samples.append([best, search.cv_results_["mean_test_fit"]])
    assert np.array_equal(samples[0][0], samples[1][0])
    assert np.array_equal(samples[0][1], samples[1][1])


def test_multi_metric_and_parallel_search():
    X, labels = shifted()
    search = GridSearchCV(
        table_model(),
        {"icm_weight": [0, 1]},
        scoring={"two": table_scorer(2.0), "one": table_scorer(1.0)},
        refit="two",
        cv=LeaveEnvironmentOut("seen", n_splits=2),
        error_score="raise",
        n_jobs=2,
    )
    # Processes would import torch anew; that all can be pickled has its own tests.
    with joblib.parallel_config(backend="threading"):
        search.fit(X, labels)
    two, one = (search.cv_results_[f"mean_test_{k}"] for k in ("two", "one"))
    assert (two > one).all()


def test_halving_search_scores_training_folds_too():
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV

    X, labels = shifted()
    search = HalvingGridSearchCV(
        table_model(),
        {"icm_weight": [0, 1]},
        scoring=table_scorer(2.0),
        cv=LeaveEnvironmentOut("seen", n_splits=2),
        error_score="raise",
        min_resources=60,
        random_state=0,
    ).fit(X, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: make_pipeline(MinMaxScaler(), model),
        lambda model: GenerativePipeline([("scale", MinMaxScaler()), ("vae", model)]),
    ],
    ids=["Pipeline", "GenerativePipeline"],
)
def test_search_inside_pipelines(wrap):
    X, labels = shifted()
    pipe = wrap(table_model())
    name = f"{pipe.steps[-1][0]}__icm_weight"
    # Half a unit of the scaled features: the scorer compares in input space.
    scorer = make_extrapolation_scorer(
        {"moved": {"data": Shift(0.4)}}, observational="seen"
    )
    search = GridSearchCV(
        pipe,
        {name: [0, 1]},
        scoring=scorer,
        cv=LeaveEnvironmentOut("seen", n_splits=2),
        error_score="raise",
        return_train_score=True,
    ).fit(X, labels)
    assert (search.cv_results_["mean_test_score"] > 0.3).all()
    assert search.cv_results_["mean_train_score"].tolist() == [0, 0]


def test_several_environments_in_one_search():
    X, labels = shifted()
    labels = np.where(np.arange(120) >= 90, "moved too", labels)
    change = {"data": Shift(2.0)}
    scorer = make_extrapolation_scorer(
        {"moved": change, "moved too": change}, observational="seen"
    )
    cv = LeaveEnvironmentOut("seen", n_splits=2)
    scores = cross_validate(
        table_model(), X, labels, scoring=scorer, cv=cv, error_score="raise"
    )
    assert (scores["test_score"] > 0.5).all()
    model = table_model().fit(X, labels)
    assert set(scorer.components(model, X, labels).index) == {"moved", "moved too"}


def test_training_folds_are_known_behind_a_rotation():
    """PCA's fit_transform and transform differ in the last digits."""
    X, labels = shifted()
    pipe = make_pipeline(PCA(3), table_model())
    scores = cross_validate(
        pipe,
        X,
        labels,
        scoring=table_scorer(0.1),
        cv=LeaveEnvironmentOut("seen", n_splits=2),
        return_train_score=True,
        error_score="raise",
    )
    assert scores["train_score"].tolist() == [0, 0]


def test_environments_are_routed():
    X, labels = shifted()
    cv = LeaveEnvironmentOut("seen", n_splits=2)
    by_y = cross_validate(table_model(), X, labels, scoring=table_scorer(2.0), cv=cv)
    with sklearn.config_context(enable_metadata_routing=True):
        options = {"scoring": table_scorer(2.0), "cv": cv, "error_score": "raise"}
        routed = cross_validate(
            table_model(), X, params={"environments": labels}, **options
        )
        search = GridSearchCV(table_model(), {"icm_weight": [0]}, **options)
        search.fit(X, environments=labels)
    assert routed["test_score"].tolist() == by_y["test_score"].tolist()
    assert search.best_score_ == pytest.approx(by_y["test_score"].mean())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X, y: (X[:60], y[:60]), "no rows of the environment 'moved'"),
        (lambda X, y: (X[60:], y[60:]), "no rows of the environment 'seen'"),
        (
            lambda X, y: (X[:61], y[:61]),
            "1 of the at least 4 rows of the environment 'moved'",
        ),
        (lambda X, y: (X, [None, *y[1:]]), "must not be missing, but 1 of 120"),
        (lambda X, y: (X, None), "needs the environment label of every row"),
        (lambda X, y: (X, y[:5]), "inconsistent numbers of samples"),
    ],
)
def test_folds_that_lack_something_are_errors(change, match):
    X, labels = shifted()
    # Fitted on a part, so that no fold is the training fold.
    model = table_model().fit(X[10:], labels[10:])
    with pytest.raises(ValueError, match=match):
        table_scorer(2.0)(model, *change(X, labels))


def test_the_error_says_which_splitter_to_use():
    X, labels = shifted()
    model = table_model().fit(X[10:], labels[10:])
    with pytest.raises(
        ValueError, match=r"LeaveEnvironmentOut\(observational='seen'\)"
    ):
        table_scorer(2.0)(model, X[:60], labels[:60])


def test_only_generators_are_scored():
    X, labels = shifted()
    with pytest.raises(TypeError, match="needs a generator.*got LinearRegression"):
        SCORER(LinearRegression(), X, labels)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"interventions": {}}, ValueError, "non-empty dict"),
        ({"interventions": {"wide": Scale(2)}}, TypeError, "must be a dict"),
        ({"interventions": {"narrow": {}}}, ValueError, "is observational="),
        ({"distance": "l2"}, ValueError, "one of .*got .l2."),
        ({"n_samples": 1}, ValueError, "int >= 2, got 1"),
    ],
)
def test_bad_parameters(params, error, match):
    defaults = {"interventions": {"wide": {}}, "observational": "narrow"}
    with pytest.raises(error, match=match):
        make_extrapolation_scorer(**{**defaults, **params})


@pytest.mark.parametrize("params", [{"n_samples": 9}, {"random_state": 1}], ids=repr)
def test_scorers_that_differ_are_not_equal(params):
    make = make_extrapolation_scorer
    same, other = (
        make({"w": None, "v": {}}, observational="n", **p) for p in ({}, params)
    )
    assert same == make({"w": None, "v": {}}, observational="n")
    assert same != other


def test_a_list_is_no_distance():
    with pytest.raises(ValueError, match=r"distance must be .*got \['energy'\]"):
        make_extrapolation_scorer({"w": {}}, observational="n", distance=["energy"])


def test_custom_distance():
    X, labels = shifted()
    model = table_model().fit(X, labels)

    def mean_gap(X_real, X_gen):
        return np.linalg.norm(X_real.mean(0) - X_gen.mean(0))

    scorer = make_extrapolation_scorer(
        {"moved": {"data": Shift(2.0)}},
        observational="seen",
        distance=mean_gap,
        baseline="identity",
    )
    assert scorer(model, X, labels) > 0.8


def test_components_explain_the_score():
    X, labels = shifted()
    model, scorer = table_model().fit(X, labels), table_scorer(1.5)
    score = scorer(model, X, labels)
    (row,) = scorer.score_components_.itertuples()
    assert score == row.skill
    assert score == pytest.approx(1 - row.distance / row.baseline_distance)
    assert (row.Index, row.baseline, row.n_rows) == ("moved", "mean", 60)
    assert row.interventions == {"data": Shift(1.5)}
    seen = labels == "seen"
    assert scorer(model, X[seen], labels[seen]) == 0
    assert scorer.score_components_["distance"].isna().all()


def test_a_shift_of_the_mean_explains_a_shift():
    X, labels = shifted(shift=2.0)
    X[labels == "moved"] *= [1.0, 2.0, 1.0]
    env, usual = X[labels == "moved"], X[labels == "seen"]
    predicted = usual * [1.0, 2.0, 1.0] + [2.0, 4.0, 2.0]
    by = {
        name: extrapolation_skill(env, predicted, usual, baseline=name)
        for name in ("identity", "mean_shift", "best")
    }
    assert by["identity"] > by["mean_shift"] == by["best"]
    with pytest.raises(ValueError, match="a shift of the mean explains all"):
        extrapolation_skill(usual + 3.0, usual, usual, baseline="mean_shift")


def test_the_mean_may_be_taken_from_other_rows():
    env, usual = shifted()[0][60:], shifted()[0][:60]
    known = usual + 5.0
    ways = {"distance": "energy", "baseline": "mean_shift", "X_known": known}
    got = extrapolation_skill(env, usual, usual, **ways)
    ratio = energy_distance(env, usual) / energy_distance(env, usual + 5.0)
    assert got == pytest.approx(1 - ratio)


@pytest.mark.parametrize(
    "distance", ["transport", "energy", "mmd", "sliced_wasserstein"]
)
def test_every_distance_ranks_predictions(distance):
    X, labels = shifted(n=100)
    env, usual = X[labels == "moved"], X[labels == "seen"]
    skills = [
        extrapolation_skill(
            env, usual + s, usual, distance=distance, baseline="identity"
        )
        for s in (2.0, 1.0, 0.0, -1.0)
    ]
    assert skills[0] > 0.8
    assert skills == sorted(skills, reverse=True)
    assert skills[2] == pytest.approx(0, abs=1e-6)


class HalfKnown:
    """What a fitted family looks like to the scorer."""

    def fit_to(self, estimator, X_env, random_state):
        known, rest = X_env[::2], X_env[1::2]
        return {"data": Shift(known.mean(0) - 0.0)}, known, rest


def test_families_are_fitted_to_a_part_and_judged_on_the_rest():
    X, labels = shifted()
    scorer = make_extrapolation_scorer({"moved": HalfKnown()}, observational="seen")
    assert scorer(table_model().fit(X, labels), X, labels) > 0.5
    assert scorer.score_components_.loc["moved", "n_rows"] == 30


def test_unknown_baselines_are_listed():
    with pytest.raises(ValueError, match="baseline must be one of"):
        make_extrapolation_scorer(
            {"wide": {"data": 0.0}}, observational="narrow", baseline="pooled"
        )


def test_every_environment_needs_an_intervention_or_none():
    X, labels = shifted()
    model = table_model().fit(X, labels)
    rows, named = np.concatenate([X, X[60:] + 1]), np.append(labels, ["far"] * 60)
    with pytest.raises(ValueError, match="environment 'far' has no intervention"):
        table_scorer(2.0)(model, rows, named)
    scorer = make_extrapolation_scorer(
        {"moved": {"data": Shift(2.0)}, "far": None}, observational="seen"
    )
    assert scorer(model, rows, named) == table_scorer(2.0)(model, X, labels)
    assert list(scorer.score_components_.index) == ["moved"]
    with pytest.raises(ValueError, match="at least one environment"):
        make_extrapolation_scorer({"far": None}, observational="seen")


def modest(n, shift, rng):
    first = rng.randn(n) + shift
    return np.column_stack([first, 0.8 * first + 0.6 * rng.randn(n)])


@pytest.mark.parametrize(
    "distance",
    [
        "transport",
        "energy",
        "mmd",
        "sliced_wasserstein",
        lambda X, Y: X[:, 0].mean() - Y[:, 0].mean(),
    ],
    ids=["transport", "energy", "mmd", "sliced_wasserstein", "callable"],
)
def test_skills_of_small_folds_are_finite_and_rank_the_truth_first(distance):
    skills = []
    for seed in range(100 if distance == "energy" else 30):
        rng = np.random.RandomState(seed)
        base, env = modest(12, 0, rng), modest(60, 0.5, rng)
        predictions = modest(60, 0.5, rng), base, modest(60, -0.5, rng)
        skills.append(
            [
                skill_components(
                    env,
                    rows,
                    base,
                    distance=distance,
                    baseline="identity",
                    floored=True,
                )["skill"]
                for rows in predictions
            ]
        )
    truth, nothing, opposite = np.transpose(skills)
    assert np.isfinite(skills).all()
    assert np.abs(skills).max() < 30
    assert not nothing.any()
    if not callable(distance):
        assert np.mean(truth > opposite) > 0.9
        assert truth.mean() > 0.3


def test_a_clear_shift_has_no_floor_and_none_is_said_of_a_fold():
    rng = np.random.RandomState(0)
    env, base = modest(60, 3, rng), modest(60, 0, rng)
    parts = skill_components(env, env + 1, base, baseline="identity", floored=True)
    assert parts["unit"] == parts["baseline_distance"]
    X = np.concatenate([base, modest(60, 0, rng)])
    labels = np.repeat(["seen", "moved"], 60)
    est = table_model().fit(X, labels)
    scorer = make_extrapolation_scorer(
        {"moved": {"data": Shift(0.0)}}, observational="seen", baseline="identity"
    )
    with pytest.warns(UserWarning, match="'moved' is no further from the baseline"):
        score = scorer(est, X[20:], labels[20:])
    assert np.isfinite(score)
    # Over the mean row no change at all is right where nothing changed.
    assert table_scorer(0.0)(est, X[20:], labels[20:]) > 0.8
