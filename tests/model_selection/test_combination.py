import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers import small
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV

from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import make_extrapolation_scorer
from sklearn_icm.model_selection import LeaveCombinationOut

SHAPES, COLOURS = ["cube", "ball", "cone"], ["red", "blue"]
GRID = list(product(SHAPES, COLOURS))
FACTORS = GRID * 4

factor_rows = st.lists(
    st.tuples(st.sampled_from(SHAPES), st.sampled_from(COLOURS), st.integers(0, 2)),
    max_size=30,
)
FULL_GRID = list(product(SHAPES, COLOURS, [0, 1, 2]))


def levels_of(rows):
    return [set(column) for column in zip(*rows, strict=True)]


def held_by(cv, rows):
    """The combinations that are left out."""
    held = cv.left_out(rows, rows)
    return {row for row, out in zip(rows, held, strict=True) if out}


@given(
    extra=factor_rows,
    test_size=st.sampled_from([0.1, 0.3, 0.5, 1, 5]),
    n_splits=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_laws_of_the_folds(extra, test_size, n_splits, seed):
    rows = FULL_GRID + extra
    cv = LeaveCombinationOut(test_size=test_size, n_splits=n_splits, random_state=seed)
    held = held_by(cv, rows)
    n_held = test_size if test_size >= 1 else np.ceil(test_size * len(FULL_GRID))
    assert len(held) == n_held
    for train, _ in cv.split(rows, rows):
        trained = [rows[i] for i in train]
        assert not held & set(trained)
        assert levels_of(trained) == levels_of(rows)


@given(seed=st.integers(0, 99), n_splits=st.integers(2, 3))
def test_single_rows_of_every_combination_keep_their_levels(seed, n_splits):
    cv = LeaveCombinationOut(test_size=6, n_splits=n_splits, random_state=seed)
    for train, test in cv.split(FULL_GRID, FULL_GRID):
        assert levels_of([FULL_GRID[i] for i in train]) == levels_of(FULL_GRID)
        assert sorted([*train, *test]) == list(range(len(FULL_GRID)))


def test_a_lone_row_of_a_level_is_never_tested():
    rows = [*FACTORS, ("disc", "red")]
    lone = len(rows) - 1
    cv = LeaveCombinationOut([("cube", "red")], n_splits=4)
    assert all(lone in train for train, _ in cv.split(rows, rows))


@given(order=st.permutations(range(len(FACTORS))), seed=st.integers(0, 99))
def test_draws_do_not_depend_on_the_order_of_rows(order, seed):
    cv = LeaveCombinationOut(test_size=2, random_state=seed)
    assert held_by(cv, FACTORS) == held_by(cv, [FACTORS[i] for i in order])


@pytest.mark.parametrize(
    "make",
    [
        list,
        pd.DataFrame,
        lambda rows: pd.DataFrame(rows, columns=["a", "b"], index=range(9, 33)),
        lambda rows: pd.DataFrame(rows).astype("category"),
        lambda rows: np.array(rows),
        lambda rows: np.array(rows, dtype=object),
    ],
)
def test_containers_give_the_same_folds(make):
    cv = LeaveCombinationOut([("cube", "blue")])
    X = np.zeros((len(FACTORS), 1))
    expected = [test.tolist() for _, test in cv.split(X, FACTORS)]
    found = [test.tolist() for _, test in cv.split(X, environments=make(FACTORS))]
    assert found == expected


def test_a_frame_is_left_alone():
    frame = pd.DataFrame(FACTORS, columns=["shape", "colour"])
    before = frame.copy()
    next(LeaveCombinationOut().split(frame, frame))
    pd.testing.assert_frame_equal(frame, before)


def test_levels_of_mixed_type_keep_their_type():
    rows = list(product(["a", 1, None.__class__], [0.5, "0.5"])) * 2
    assert held_by(LeaveCombinationOut([(1, "0.5")]), rows) == {(1, "0.5")}


def test_factors_come_before_labels():
    labels = ["seen"] * len(FACTORS)
    cv = LeaveCombinationOut()
    routed = list(cv.split(labels, labels, environments=FACTORS))
    for first, other in zip(routed, cv.split(labels, FACTORS), strict=True):
        assert all(map(np.array_equal, first, other))


def test_searches_with_factors_as_y():
    X = np.random.RandomState(0).uniform(size=(len(FACTORS), 3))
    search = GridSearchCV(
        small(), {"icm_weight": [0, 1]}, cv=LeaveCombinationOut(), error_score="raise"
    ).fit(X, np.array(FACTORS))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("name", ["y", "environments"])
def test_factors_are_routed_beside_the_labels_of_scorer_and_estimator(name):
    held = [("ball", "red")]
    labels = np.array(["new" if f in held else "seen" for f in FACTORS])
    X = np.random.RandomState(0).randn(len(FACTORS), 3) + 3 * (labels == "new")[:, None]
    scorer = make_extrapolation_scorer(
        {"new": {"data": Shift(3.0)}}, observational="seen", baseline="identity"
    )
    with sklearn.config_context(enable_metadata_routing=True):
        cv = LeaveCombinationOut(held).set_split_request(environments="factors")
        search = GridSearchCV(
            small(observational="seen", bounds=None),
            {"icm_weight": [0]},
            scoring=scorer,
            cv=cv,
            error_score="raise",
        ).fit(X, **{name: labels}, factors=FACTORS)
    assert search.best_score_ > 0.5


def test_repr_shows_what_was_changed():
    cv = LeaveCombinationOut([("a", 1)], n_splits=5)
    assert repr(cv) == "LeaveCombinationOut(combinations=[('a', 1)], n_splits=5)"
    assert cv.protocol == "leave-combination-out"


DIAGONAL = [("a", 0), ("b", 1), ("c", 2)] * 3


@pytest.mark.parametrize(
    ("params", "rows", "match"),
    [
        ({}, None, "needs the factors of every row"),
        ({}, [("a",), ("b",)], "two factors or more, one column each, got 1"),
        ({}, ["a", "b"], "two factors or more.*LeaveEnvironmentOut"),
        ({}, [("a", 0), ("a", 1)], "factor 0 is 'a' in all rows"),
        ({}, [*FACTORS, ("cube", None)], "must not be missing, but 1 of 25"),
        ({}, [*FACTORS, ("cube", np.nan)], "must not be missing, but 1 of 25"),
        ({"test_size": 0}, FACTORS, r"from 1 to 5 .*6 combinations\), got 0"),
        ({"test_size": 6}, FACTORS, "from 1 to 5"),
        ({"test_size": 1.0}, FACTORS, r"got 1\.0"),
        ({"test_size": "all"}, FACTORS, "got 'all'"),
        ({"test_size": 5}, FACTORS, "asks for 5 of 6 combinations, but only [23] "),
        ({"test_size": 1}, DIAGONAL, "only 0 could be left out"),
        ({"combinations": [("a", 0)]}, DIAGONAL, r"\('a', 0\) cannot.*'a' as its fac"),
        ({"combinations": [("cube", "green")]}, FACTORS, "tuples that occur.*green"),
        ({"combinations": ("cube", "red")}, FACTORS, "tuples that occur"),
        ({"combinations": []}, FACTORS, "non-empty list of tuples"),
        (
            {"combinations": [("a", 0)], "n_splits": 2},
            [("a", 0), ("a", 1), ("b", 0)],
            "without rows like those that are trained on",
        ),
    ],
)
def test_bad_input(params, rows, match):
    X = FACTORS if rows is None else rows
    with pytest.raises(ValueError, match=re.compile(match)):
        next(LeaveCombinationOut(**params).split(X, rows))
