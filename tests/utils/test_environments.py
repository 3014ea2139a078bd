import numpy as np
import pytest

from sklearn_icm.utils.environments import find_rows, resolve_environments

X = np.zeros((4, 1))
LABELS = ["a", "b", "a", "c"]


def test_labels_come_as_y_or_environments():
    assert resolve_environments(X, LABELS).tolist() == LABELS
    assert resolve_environments(X, None, LABELS).tolist() == LABELS
    assert resolve_environments(X) is None


def test_find_rows_takes_one_label_or_several():
    labels = np.array(LABELS)
    assert find_rows(labels, "a").tolist() == [True, False, True, False]
    assert find_rows(labels, ["a", "c"]).tolist() == [True, False, True, True]
    # A fold may lack some of the labels.
    assert find_rows(labels, ["a", "d"]).tolist() == [True, False, True, False]
    assert find_rows(np.array([0, 1]), 1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: resolve_environments(X, LABELS, LABELS), "given twice"),
        (lambda: resolve_environments(X, required_by="Me"), "Me needs the environment"),
        (lambda: resolve_environments(X, LABELS[:2]), "inconsistent numbers"),
        (lambda: find_rows(np.array(LABELS), ["d", "e"]), r"\['d', 'e'\] is not"),
        (lambda: find_rows(np.array(LABELS), "d"), r"'d' is not.*\['a', 'b', 'c'\]"),
        (lambda: find_rows(np.array(LABELS), "d"), "of a fold, let cv=LeaveEnviron"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
