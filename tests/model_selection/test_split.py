import numpy as np
import pytest

from sklearn_icm.model_selection import LeaveEnvironmentOut

LABELS = np.array(["a"] * 7 + ["b"] * 5 + ["c"] * 6)


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


@pytest.mark.parametrize(
    ("cv", "labels", "match"),
    [
        (LeaveEnvironmentOut(), None, "needs the environment label of every row"),
        (LeaveEnvironmentOut("x"), LABELS, r"observational='x' is not the label.*'a'"),
        (LeaveEnvironmentOut("a"), LABELS[:7], "at least one environment beside"),
        (LeaveEnvironmentOut(["a", "b", "c"]), LABELS, "at least one environment"),
    ],
)
def test_bad_input(cv, labels, match):
    X = LABELS if labels is None else labels
    with pytest.raises(ValueError, match=match):
        next(cv.split(X, labels))
