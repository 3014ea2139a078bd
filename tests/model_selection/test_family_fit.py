import pickle

import numpy as np
import pandas as pd
import pytest
from helpers import small
from sklearn.model_selection import GridSearchCV

from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import make_extrapolation_scorer
from sklearn_icm.model_selection import FamilyFit, LeaveEnvironmentOut

LABELS = np.repeat(["seen", "moved"], 80)
X = np.random.RandomState(0).randn(160, 3) + 2 * (LABELS == "moved")[:, None]
SCORER = make_extrapolation_scorer(
    {"moved": FamilyFit("shift", "data")}, observational="seen"
)


def test_the_family_is_fitted_to_one_part_and_judged_on_the_other():
    model = FixedGenerator(observational="seen", random_state=0).fit(X, LABELS)
    change, known, rest = FamilyFit("shift", "data").fit_to(model, X[80:], 0)
    assert (len(known), len(rest)) == (24, 56)
    together = np.concatenate([known, rest])
    assert np.array_equal(np.sort(together, axis=0), np.sort(X[80:], axis=0))
    # Standard error of a mean of 24 rows: about .12 with three columns.
    assert isinstance(change["data"], Shift)
    assert abs(float(change["data"].value) - 2) < 5 * 0.12
    again, *_ = FamilyFit("shift", "data").fit_to(model, X[80:], 0)
    assert again == change


def test_scores_with_a_family():
    model = FixedGenerator(observational="seen", random_state=0).fit(X, LABELS)
    assert SCORER(model, X, LABELS) > 0.9
    assert SCORER.score_components_.loc["moved", "n_rows"] == 56
    copy = pickle.loads(pickle.dumps(SCORER))
    assert copy(model, X, LABELS) == SCORER(model, X, LABELS)


# A model that is hardly trained varies so little that no shift is far enough.
@pytest.mark.filterwarnings("ignore:The best value of 'shift'")
def test_search_with_a_family():
    search = GridSearchCV(
        small(observational="seen", bounds=None),
        {"icm_weight": [0, 1]},
        scoring=SCORER,
        cv=LeaveEnvironmentOut("seen", n_splits=2),
        error_score="raise",
    ).fit(X, LABELS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: FamilyFit("shift", fraction=1.0).fit_to(None, X), "fraction"),
        (lambda: FamilyFit("shift").fit_to(None, X[:9]), "at least 10 rows"),
    ],
)
def test_wrong_families(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_families_that_differ_in_their_distance_are_not_equal():
    first, second = (
        make_extrapolation_scorer(
            {"moved": FamilyFit("shift", distance=distance)}, observational="seen"
        )
        for distance in ("energy", max)
    )
    assert first != second


@pytest.mark.parametrize("make", [list, pd.DataFrame], ids=["list", "frame"])
def test_rows_of_any_kind(make):
    model = FixedGenerator(observational="seen", random_state=0).fit(X, LABELS)
    change, known, rest = FamilyFit("shift", "data").fit_to(model, make(X[80:]), 0)
    expected = FamilyFit("shift", "data").fit_to(model, X[80:], 0)
    assert change == expected[0]
    assert np.array_equal(known, expected[1])
    assert np.array_equal(rest, expected[2])
