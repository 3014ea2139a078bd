"""Laws of every splitter."""

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import make_extrapolation_scorer
from sklearn_icm.model_selection import (
    LeaveCombinationOut,
    LeaveEnvironmentOut,
    SupportExtrapolationSplit,
)

KINDS = ["range", "gap", "corner", "l-shape"]


# A splitter, and rows of what it divides by.
SPLITTERS = {
    "environments": (
        lambda **params: LeaveEnvironmentOut("a", **params),
        lambda rng: rng.permutation(["a"] * 40 + ["b"] * 9 + ["c"] * 11),
    ),
    "combinations": (LeaveCombinationOut, lambda rng: rng.randint(3, size=(60, 2))),
} | {
    kind: (
        lambda kind=kind, **params: SupportExtrapolationSplit(kind, **params),
        lambda rng: rng.standard_cauchy(size=(200, 3)),
    )
    for kind in KINDS
}


@pytest.fixture(params=SPLITTERS)
def splitter(request):
    return SPLITTERS[request.param]


@pytest.mark.parametrize("name", SPLITTERS)
@given(seed=st.integers(0, 99), n_splits=st.integers(2, 4))
def test_what_is_left_out_is_in_every_test_fold_and_in_no_training_fold(
    name, seed, n_splits
):
    make, draw = SPLITTERS[name]
    rows = draw(np.random.RandomState(seed))
    cv = make(n_splits=n_splits, random_state=seed)
    outside, tested = cv.left_out(rows, rows), np.zeros(len(rows), dtype=int)
    if name == "environments":
        assert (outside == (rows != "a")).all()
    folds = list(cv.split(rows, rows))
    assert len(folds) == cv.get_n_splits(rows, rows) == n_splits
    for train, test in folds:
        assert not outside[train].any()
        assert sorted([*train, *test]) == list(range(len(rows)))
        assert (~outside[test]).any()
        tested[test] += 1
    assert (tested[outside] == n_splits).all()
    # But a row of a level that no other has is never tested.
    assert (tested[~outside] <= 1).all()


def test_same_seed_same_folds(splitter):
    """None is 0, and leaves numpy's global stream alone."""
    make, draw = splitter
    rows = draw(np.random.RandomState(0))
    before = np.random.get_state()[1].copy()
    seeds = ({}, {}, {"random_state": None})
    folds = [list(make(**seed).split(rows, rows)) for seed in seeds]
    for first, *others in zip(*folds, strict=True):
        for again in others:
            assert all(map(np.array_equal, first, again))
    assert np.array_equal(np.random.get_state()[1], before)


def test_what_was_changed_is_shown(splitter):
    make, _ = splitter
    shown = repr(make(n_splits=5))
    assert shown.startswith(type(make()).__name__)
    assert "n_splits=5" in shown
    assert "shuffle" not in shown
    assert eval(shown).__dict__ == make(n_splits=5).__dict__


def test_wrong_numbers_of_folds_and_rows(splitter):
    make, draw = splitter
    rows = draw(np.random.RandomState(0))
    with pytest.raises(ValueError, match="n_splits == 1, must be >= 2"):
        next(make(n_splits=1).split(rows, rows))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        next(make().split(rows[:5], rows))


def test_searches_pass_ids_of_pairs_on():
    X = np.random.RandomState(0).randn(40, 2)
    labels, ids = np.repeat(["a", "b"], 20), np.tile(np.arange(20), 2)
    scorer = make_extrapolation_scorer({"b": {"x0": Shift(0.0)}}, observational="a")
    model = GraphGenerator(observational="a", max_epochs=1, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            model,
            {"mechanism": ["linear"]},
            scoring=scorer,
            cv=LeaveEnvironmentOut("a", n_splits=2),
            refit=False,
        )
        search.fit(X, labels, pairs=ids)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
