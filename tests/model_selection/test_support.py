import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers import small
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.model_selection import GridSearchCV

from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import make_extrapolation_scorer
from sklearn_icm.model_selection import LeaveEnvironmentOut, SupportExtrapolationSplit

KINDS = ["range", "gap", "corner", "l-shape"]
FACTORS = np.random.RandomState(0).uniform(size=(60, 2))

# Draws of this size leave rows on every side.
factor_arrays = st.integers(0, 99).map(
    lambda seed: np.random.RandomState(seed).standard_cauchy(size=(200, 3))
)


@given(factors=factor_arrays, kind=st.sampled_from(KINDS))
def test_left_out_rows_follow_their_rows_and_not_the_scale(factors, kind):
    cv = SupportExtrapolationSplit(kind)
    expected = cv.left_out(factors)
    assert np.array_equal(cv.left_out(factors[::-1]), expected[::-1])
    assert np.array_equal(cv.left_out(factors[:, ::-1]), expected)
    assert np.array_equal(cv.left_out(1e300 * np.arctan(factors)), expected)
    assert np.array_equal(cv.left_out(1e-300 * np.arctan(factors)), expected)


@given(
    factors=factor_arrays,
    kind=st.sampled_from(KINDS),
    eighths=st.sampled_from([(2, 6), (2, 7), (1, 6)]),
)
def test_a_mirrored_factor_needs_a_mirrored_interval(factors, kind, eighths):
    low, high = np.array(eighths) / 8
    cv = SupportExtrapolationSplit(kind, interval=(low, high))
    mirrored = SupportExtrapolationSplit(kind, interval=(1 - high, 1 - low))
    assert np.array_equal(mirrored.left_out(-factors), cv.left_out(factors))


@given(
    factors=factor_arrays,
    low=st.floats(0.2, 0.3),
    high=st.floats(0.7, 0.8),
)
def test_what_each_kind_trains_on(factors, low, high):
    outside = {
        kind: SupportExtrapolationSplit(kind, interval=(low, high)).left_out(factors)
        for kind in KINDS
    }
    assert np.array_equal(outside["range"], ~outside["gap"])
    assert (outside["corner"] <= outside["l-shape"]).all()
    assert (outside["l-shape"] <= outside["range"]).all()
    trained, tested = factors[outside["gap"]], factors[outside["range"]]
    assert (trained.min(0) >= np.quantile(factors, low, 0, method="lower")).all()
    assert (trained.max(0) <= np.quantile(factors, high, 0, method="higher")).all()
    assert (tested.min(0) < trained.min(0)).all()
    assert (tested.max(0) > trained.max(0)).all()


@pytest.mark.parametrize(
    ("interval", "side"), [((0, 0.7), 1), ((0.3, 1), -1)], ids=["above", "below"]
)
def test_one_sided_range(interval, side):
    cv = SupportExtrapolationSplit(interval=interval)
    values = FACTORS[:, 0]
    outside = cv.left_out(values, values)
    assert outside.sum() == 18
    assert (side * values[outside]).min() > (side * values[~outside]).max()


def test_corner_and_l_are_one_for_two_factors_and_two_for_three():
    corner, ell = (
        SupportExtrapolationSplit(kind, interval=(0, 0.5)) for kind in KINDS[2:]
    )
    cube = np.indices((4, 4, 4)).reshape(3, -1).T
    assert np.array_equal(corner.left_out(cube[:, :2]), ell.left_out(cube[:, :2]))
    assert corner.left_out(cube[:, :2]).mean() == 1 / 4
    assert corner.left_out(cube).mean() == 1 / 8
    assert ell.left_out(cube).mean() == 1 / 2


@given(seed=st.integers(0, 99), kind=st.sampled_from(["corner", "l-shape"]))
def test_every_fold_trains_on_each_factor_far_alone(seed, kind):
    """One row on each arm of the L, which a fold could hold out."""
    factors = np.array([[0, 0]] * 8 + [[0, 1], [1, 0], [1, 1]])
    cv = SupportExtrapolationSplit(kind, interval=(0, 0.5), random_state=seed)
    for train, _ in cv.split(factors):
        assert factors[train].max(0).tolist() == [1, 1]
        assert factors[train].sum(1).max() == 1


@given(factors=arrays(float, (30, 2), elements=st.sampled_from([0.0, 1.0, 2.0])))
def test_ties_divide_rows_or_are_refused(factors):
    for kind in KINDS:
        cv = SupportExtrapolationSplit(kind, interval=(0.2, 0.8))
        try:
            outside = cv.left_out(factors)
        except ValueError:
            continue
        assert 0 < outside.sum() < len(outside)
        left, kept = (set(map(tuple, factors[m])) for m in (outside, ~outside))
        assert not left & kept


def test_where_factors_come_from():
    frame = pd.DataFrame(FACTORS, columns=["size", "angle"], index=range(60, 120))
    labels = np.array(["a", "b"] * 30)
    X = np.c_[np.zeros(60), FACTORS]
    expected = SupportExtrapolationSplit().left_out(X, FACTORS)
    given_as = [
        SupportExtrapolationSplit().left_out(FACTORS),
        SupportExtrapolationSplit().left_out(X, labels, FACTORS),
        SupportExtrapolationSplit().left_out(X, environments=frame),
        SupportExtrapolationSplit().left_out(X, list(map(tuple, FACTORS))),
        SupportExtrapolationSplit(columns=[1, 2]).left_out(X, labels),
        SupportExtrapolationSplit(columns=["angle", "size"]).left_out(frame, labels),
        SupportExtrapolationSplit(columns=[-1, -2]).left_out(X.tolist()),
    ]
    for found in given_as:
        assert np.array_equal(found, expected)
    one = SupportExtrapolationSplit(columns="size").left_out(frame.assign(label=labels))
    assert np.array_equal(one, SupportExtrapolationSplit().left_out(X, FACTORS[:, 0]))


def test_its_labels_leave_out_the_same_environment():
    cv = SupportExtrapolationSplit("corner")
    labels = np.where(cv.left_out(FACTORS), "outside", "trained")
    by_labels = LeaveEnvironmentOut("trained").split(FACTORS, labels)
    for found, expected in zip(cv.split(FACTORS), by_labels, strict=True):
        assert all(map(np.array_equal, found, expected))


def test_searches_with_an_extrapolation_scorer():
    rng = np.random.RandomState(0)
    X = np.sort(rng.uniform(size=(60, 1)), axis=0) + 0.1 * rng.randn(60, 3)
    cv = SupportExtrapolationSplit(columns=[0], n_splits=2)
    labels = np.where(cv.left_out(X), "outside", "trained")
    model = small(observational="trained", bounds=None)
    options = {
        "param_grid": {"icm_weight": [0, 1]},
        "scoring": make_extrapolation_scorer(
            {"outside": {"data": Shift(0.5)}},
            observational="trained",
            baseline="identity",
        ),
        "cv": cv,
        "error_score": "raise",
    }
    by_y = GridSearchCV(model, **options).fit(X, labels)
    assert (by_y.cv_results_["mean_test_score"] > 0).all()
    assert by_y.best_estimator_.was_fitted_on(X[labels == "trained"])
    with sklearn.config_context(enable_metadata_routing=True):
        cv = SupportExtrapolationSplit(n_splits=2)
        cv.set_split_request(environments="factors")
        routed = GridSearchCV(model, **{**options, "cv": cv}).fit(
            X, environments=labels, factors=X[:, 0]
        )
    assert routed.best_score_ == by_y.best_score_


@pytest.mark.parametrize("kind", KINDS)
def test_protocol_and_repr(kind):
    cv = SupportExtrapolationSplit(kind, columns=[0])
    assert cv.protocol == f"support-{kind}"
    shown = "" if kind == "range" else f", kind={kind!r}"
    assert repr(cv) == f"SupportExtrapolationSplit(columns=[0]{shown})"


TOGETHER = np.repeat(np.arange(20.0)[:, None], 2, axis=1)


@pytest.mark.parametrize(
    ("params", "factors", "match"),
    [
        ({"kind": "hole"}, FACTORS, r"'corner', 'l-shape'\], got 'hole'"),
        ({"interval": (0, 1)}, FACTORS, "not all of"),
        ({"interval": (0.5, 0.5)}, FACTORS, "low < high"),
        ({"interval": (-0.1, 0.5)}, FACTORS, "0 <= low"),
        ({"interval": (0.1, np.nan)}, FACTORS, "0 <= low"),
        ({"interval": 0.5}, FACTORS, "got 0.5"),
        ({"interval": ("a", "b")}, FACTORS, "interval must be"),
        ({"kind": "gap", "interval": (0, 0.5)}, FACTORS, "both sides.*kind='range'"),
        ({"kind": "gap"}, [0] * 9 + [1] * 6 + [2], "trains on|both sides"),
        ({"kind": "corner"}, FACTORS[:, 0], "needs two factors or more, got 1"),
        ({"kind": "l-shape"}, TOGETHER, "factor 0 is far.*move together"),
        ({}, np.ones((9, 2)), "'range' leaves out no row"),
        ({"kind": "gap"}, np.ones((9, 2)), "'gap' trains on no row"),
        ({}, [0.0, np.nan, 1.0], "contains NaN"),
        ({}, [0.0, np.inf, 1.0], "infinity"),
        ({}, ["a", "b", "c"], "name these in columns if y holds labels"),
        ({"columns": "size"}, FACTORS, "columns must be numbers or names"),
        ({"columns": 7}, FACTORS, r"columns must be numbers.*got \[7\]"),
        ({"columns": ["x"]}, pd.DataFrame({"y": [1.0, 2.0]}), r"got \['x'\]"),
    ],
)
def test_bad_input(params, factors, match):
    with pytest.raises(ValueError, match=match):
        next(SupportExtrapolationSplit(**params).split(factors, factors))
