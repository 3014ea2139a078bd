import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.model_selection import LeaveEnvironmentOut

LABELS = np.array(["a"] * 7 + ["b"] * 5 + ["c"] * 6)


@given(
    labels=st.lists(st.sampled_from("abc"), min_size=12, max_size=40),
    n_splits=st.integers(2, 3),
    seed=st.integers(0, 9),
)
def test_held_out_environments_are_never_trained_on(labels, n_splits, seed):
    labels = np.array([*"aaabbbccc", *labels])
    cv = LeaveEnvironmentOut("a", n_splits=n_splits, random_state=seed)
    left_out = labels != "a"
    folds = list(cv.split(labels, labels))
    for train, test in folds:
        assert set(labels[train]) == {"a"}
        assert "a" in labels[test]
        assert np.sum(left_out[test]) == np.sum(left_out)
        assert not set(train) & set(test)
    assert len(folds) == cv.get_n_splits(labels, labels) == n_splits


def test_all_but_one():
    cv = LeaveEnvironmentOut(n_splits=2)
    held_out = []
    for train, test in cv.split(LABELS, LABELS):
        held_out += set(LABELS) - set(LABELS[train])
        assert set(LABELS[test]) == {"a", "b", "c"}
    assert held_out == ["a", "a", "b", "b", "c", "c"]


def test_several_observational_labels_and_integer_labels():
    numbers = np.repeat([0, 1, 2], 4)
    cv = LeaveEnvironmentOut([0, 2], n_splits=2)
    for train, test in cv.split(numbers, environments=numbers):
        assert set(numbers[train]) == {0, 2}
        assert 1 in numbers[test]


def test_same_seed_same_folds():
    folds = [list(LeaveEnvironmentOut("a").split(LABELS, LABELS)) for _ in range(2)]
    for (train, test), (again_train, again_test) in zip(*folds, strict=True):
        assert np.array_equal(train, again_train)
        assert np.array_equal(test, again_test)


@pytest.mark.parametrize(
    ("cv", "labels", "match"),
    [
        (LeaveEnvironmentOut(), None, "needs the environment label of every row"),
        (LeaveEnvironmentOut("x"), LABELS, r"observational='x' is not the label.*'a'"),
        (LeaveEnvironmentOut("a"), LABELS[:7], "at least one environment beside"),
        (LeaveEnvironmentOut(["a", "b", "c"]), LABELS, "at least one environment"),
        (LeaveEnvironmentOut("a", n_splits=1), LABELS, "n_splits == 1, must be >= 2"),
    ],
)
def test_bad_input(cv, labels, match):
    X = LABELS if labels is None else labels
    with pytest.raises(ValueError, match=match):
        next(cv.split(X, labels))
