import numpy as np
import pytest
from helpers import TABLE, small
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    ShuffleSplit,
    TimeSeriesSplit,
)

from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import make_extrapolation_scorer
from sklearn_icm.model_selection import LeaveEnvironmentOut, search_results

LABELS = np.repeat(["seen", "moved"], 20)
X, Y = np.zeros((12, 1)), np.arange(12.0)
MEAN = {"strategy": ["mean", "median"]}


def dummy_search(cv, **params):
    return GridSearchCV(DummyRegressor(), MEAN, cv=cv, **params)


def extrapolation_search(*left_out, **params):
    moved = TABLE + (LABELS == "moved")[:, None]
    scorer = make_extrapolation_scorer(
        {"moved": {"data": Shift(1.0)}, **dict.fromkeys(left_out)},
        observational="seen",
    )
    return GridSearchCV(
        small(observational="seen", bounds=None),
        {"icm_weight": [0, 1]},
        scoring=scorer,
        cv=LeaveEnvironmentOut("seen", n_splits=2),
        **params,
    ).fit(moved, LABELS)


def test_standard_errors_are_those_of_the_folds():
    search = dummy_search(4, scoring={"a": "r2", "b": "neg_mean_squared_error"})
    search.set_params(refit=False).fit(X, Y)
    table = search_results(search)
    for name in "ab":
        folds = [search.cv_results_[f"split{k}_test_{name}"] for k in range(4)]
        expected = np.std(folds, axis=0, ddof=1) / 2
        assert table[f"se_test_{name}"].to_numpy() == pytest.approx(expected)
    assert len(table) == 2
    assert set(search.cv_results_) < set(table)


def test_one_fold_has_no_standard_error():
    search = dummy_search(ShuffleSplit(1, random_state=0)).fit(X, Y)
    assert search_results(search)["se_test_score"].isna().all()


@pytest.mark.parametrize(
    ("cv", "protocol"),
    [
        (None, "iid"),
        (3, "iid"),
        (KFold(3), "iid"),
        (ShuffleSplit(2, random_state=0), "iid"),
        (LeaveOneOut(), "iid"),
        (GroupKFold(2), "GroupKFold"),
        (TimeSeriesSplit(2), "TimeSeriesSplit"),
        ([(np.arange(6), np.arange(6, 12))], "custom"),
    ],
)
def test_protocols_of_other_splitters(cv, protocol):
    search = dummy_search(cv, scoring="neg_mean_squared_error")
    groups = np.repeat([0, 1], 6) if isinstance(cv, GroupKFold) else None
    search.fit(X, Y, groups=groups)
    assert set(search_results(search)["protocol"]) == {protocol}


def test_a_choice_on_the_target_is_an_oracles():
    search = extrapolation_search()
    named = {
        target: set(search_results(search, target=target)["protocol"])
        for target in (None, "moved", "elsewhere")
    }
    split = {"leave-one-environment-out"}
    assert named == {None: split, "moved": {"oracle"}, "elsewhere": split}
    table = search_results(search, target=["elsewhere", "moved"])
    assert set(table["protocol"]) == {"oracle"}


def test_what_the_scorer_leaves_out_is_no_oracles():
    table = search_results(extrapolation_search("elsewhere"), target="elsewhere")
    assert set(table["protocol"]) == {"leave-one-environment-out"}


def test_target_needs_scorers_that_name_environments():
    search = dummy_search(3).fit(X, Y)
    with pytest.raises(ValueError, match="which environments.*got scoring=None"):
        search_results(search, target="moved")


def test_unfitted():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        search_results(dummy_search(3))
