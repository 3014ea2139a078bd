import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers import TABLE, small
from sklearn.linear_model import LinearRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_icm.base import GeneratorMixin
from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import counterfactual_errors, make_extrapolation_scorer
from sklearn_icm.model_selection import LeaveEnvironmentOut, icm_path

WEIGHTS = [0, 0.1, 1]
LABELS = np.repeat(["seen", "moved"], 20)
MOVED = TABLE + (LABELS == "moved")[:, None]
SKILL = make_extrapolation_scorer({"moved": {"data": Shift(1)}}, observational="seen")
COLUMNS = [
    "icm_weight",
    "n_iter",
    "score",
    "abs_log_rho",
    "anisotropy",
    "response",
    "n_degenerate",
]


def draws(model):
    return np.asarray(model.sample(3, random_state=0))


def test_a_warm_path_is_a_chain_of_warm_started_fits():
    path = icm_path(small(), TABLE, WEIGHTS)
    model = small(warm_start=True)
    for weight, found in zip(WEIGHTS, path.estimators, strict=True):
        model.set_params(icm_weight=weight).fit(TABLE)
        assert np.array_equal(draws(found), draws(model))
    assert path.table["n_iter"].tolist() == [2, 4, 6]


def test_a_cold_path_is_independent_fits():
    path = icm_path(small(), TABLE, WEIGHTS, warm_start=False)
    for weight, found in zip(WEIGHTS, path.estimators, strict=True):
        assert np.array_equal(draws(found), draws(small(icm_weight=weight).fit(TABLE)))
    assert path.table["n_iter"].tolist() == [2, 2, 2]


@pytest.mark.parametrize("warm_start", [True, False])
def test_the_table_says_what_its_estimators_say(warm_start):
    path = icm_path(small(hidden=(8, 6)), TABLE, WEIGHTS, warm_start=warm_start)
    assert list(path.table) == COLUMNS
    for row, model in zip(path.table.itertuples(), path.estimators, strict=True):
        assert row.icm_weight == model.icm_weight
        assert row.score == pytest.approx(model.score(TABLE))
        table = model.independence(random_state=0)
        assert row.abs_log_rho == pytest.approx(np.abs(np.log(table["rho"])).mean())
        sides = np.minimum(table["anisotropy_in"], table["anisotropy_out"])
        assert row.anisotropy == pytest.approx(sides.mean())
        assert row.response == pytest.approx(table["response"].mean())
        assert row.n_degenerate == 0


def test_weights_are_sorted_and_the_estimator_is_left_alone():
    model = small(icm_weight=0.5).fit(TABLE)
    before, parameters = draws(model), model.get_params()
    shuffled = icm_path(model, TABLE, np.array([1, 0, 0.1]))
    pd.testing.assert_frame_equal(
        shuffled.table, icm_path(small(), TABLE, WEIGHTS).table
    )
    assert model.get_params() == parameters
    assert np.array_equal(draws(model), before)
    assert not any(fitted.warm_start for fitted in shuffled.estimators)


def test_a_strong_penalty_brings_independence():
    path = icm_path(
        small(max_epochs=30, lr=1e-2), TABLE, [0, 10, 100], warm_start=False
    )
    first, *others = path.table["abs_log_rho"]
    assert all(value < first / 3 for value in others)


def test_split_fits_some_rows_and_scores_others():
    train, test = np.arange(30), np.arange(30, 40)
    path = icm_path(small(), TABLE, WEIGHTS, split=(train, test))
    model = path.estimators[-1]
    assert model.was_fitted_on(TABLE[:30])
    assert path.table["score"].iloc[-1] == pytest.approx(model.score(TABLE[30:]))


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, np.ndarray.tolist])
def test_skill_with_a_split_of_environments(container):
    split = next(LeaveEnvironmentOut("seen", n_splits=2).split(MOVED, LABELS))
    path = icm_path(
        small(observational="seen", bounds=None),
        container(MOVED),
        WEIGHTS,
        y=LABELS,
        split=split,
        scoring=SKILL,
    )
    test = split[1]
    for skill, model in zip(path.table["skill"], path.estimators, strict=True):
        rows = container(MOVED[test])
        assert skill == SKILL(model, rows, LABELS[test])
        assert model.was_fitted_on(MOVED[split[0]])


def test_labels_as_environments_and_several_scorers():
    model = small(observational="seen", bounds=None)
    scorers = {"moved": SKILL, "share": lambda est, X, y: np.mean(y == "seen")}
    path = icm_path(model, MOVED, [0], environments=LABELS, scoring=scorers)
    by_y = icm_path(model, MOVED, [0], y=LABELS, scoring=SKILL)
    assert list(path.table) == [*COLUMNS, "moved", "share"]
    assert path.table["moved"].tolist() == by_y.table["skill"].tolist()
    assert path.table["share"].tolist() == [0.5]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: make_pipeline(MinMaxScaler(), model),
        lambda model: GenerativePipeline([("scale", MinMaxScaler()), ("vae", model)]),
    ],
    ids=["Pipeline", "GenerativePipeline"],
)
def test_pipelines(wrap):
    path = icm_path(wrap(small()), TABLE, WEIGHTS)
    assert path.table["n_iter"].tolist() == [2, 4, 6]
    assert [p.steps[-1][1].icm_weight for p in path.estimators] == WEIGHTS
    assert not any(p.steps[-1][1].warm_start for p in path.estimators)


@pytest.mark.parametrize("routing", [True, False])
def test_environments_need_no_routing(routing):
    pipe = GenerativePipeline(
        [("scale", MinMaxScaler()), ("vae", small(observational="seen"))]
    )
    with sklearn.config_context(enable_metadata_routing=routing):
        path = icm_path(pipe, MOVED, [0], environments=LABELS)
    seen = LABELS == "seen"
    assert path.table["score"].item() == pytest.approx(
        path.estimators[0].score(MOVED[seen])
    )
    assert path.estimators[0].was_fitted_on(MOVED[seen])


def test_progress(capsys):
    icm_path(small(), TABLE, [0, 1])
    assert capsys.readouterr() == ("", "")
    icm_path(small(), TABLE, [0, 1], verbose=1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [
        ["icm_path 1/2", "icm_weight 0"],
        ["icm_path 2/2", "icm_weight 1"],
    ]


def test_an_error_of_a_fit_names_its_weight():
    with pytest.raises(ValueError, match="contains NaN") as caught:
        icm_path(small(), np.full((9, 2), np.nan), [0.5])
    assert caught.value.__notes__ == ["icm_path stopped at {'icm_weight': 0.5}."]


class Weightless(GeneratorMixin, GaussianMixture):
    pass


@pytest.mark.parametrize(
    ("args", "params", "error", "match"),
    [
        ((LinearRegression(), TABLE, [0]), {}, TypeError, "generator, got LinearReg"),
        ((Weightless(), TABLE, [0]), {}, ValueError, "icm_weight, got Weightless"),
        ((small(), TABLE, []), {}, ValueError, r"0 sample\(s\)"),
        ((small(), TABLE, [-1, 0]), {}, ValueError, r">= 0, got \[-1.0, 0.0\]"),
        ((small(), TABLE, [1, 1]), {}, ValueError, "distinct numbers"),
        ((small(), TABLE, [[1]]), {}, ValueError, "sequence of distinct"),
        ((small(), TABLE, [np.nan]), {}, ValueError, "weights contains NaN"),
        ((small(), TABLE, [0]), {"scoring": "r2"}, ValueError, "got 'r2'"),
        ((small(), TABLE, [0]), {"scoring": {"score": SKILL}}, ValueError, "'score'"),
        ((small(), TABLE, [0]), {"y": LABELS[:3]}, ValueError, "inconsistent numbers"),
        (
            (small(), TABLE, [0]),
            {"y": LABELS, "environments": LABELS},
            ValueError,
            "given twice",
        ),
    ],
)
def test_bad_input(args, params, error, match):
    with pytest.raises(error, match=match):
        icm_path(*args, **params)


def test_effectiveness_of_given_interventions():
    change = {"noise": Shift(1.0)}
    path = icm_path(small(), TABLE, WEIGHTS, interventions=change)
    for error, model in zip(
        path.table["effectiveness_error"], path.estimators, strict=True
    ):
        errors = counterfactual_errors(model, TABLE, change)
        assert error == errors.table_["effectiveness"].item()
