from fractions import Fraction

import numpy as np
import pytest

from sklearn_icm.utils.designs import design_matrix, doses_of, names_of, span_weights


def rank(rows):
    """Exact, by elimination in fractions."""
    rows, found = [[Fraction(v).limit_denominator(100) for v in row] for row in rows], 0
    for column in range(len(rows[0])):
        pivot = next((r for r in rows[found:] if r[column]), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows.insert(found, pivot)
        for row in rows[found + 1 :]:
            factor = row[column] / pivot[column]
            row[:] = [a - factor * b for a, b in zip(row, pivot, strict=True)]
        found += 1
    return found


@pytest.mark.parametrize("seed", range(200))
def test_a_query_is_in_the_span_exactly_where_its_rank_says(seed):
    rng = np.random.RandomState(seed)
    n_labels, n_names = rng.randint(1, 8), rng.randint(1, 6)
    doses = rng.choice([0, 0, 1, 1, 0.5, 2, -1, 0.1], (n_labels, n_names))
    if seed % 2:
        # A control, and a row that others determine.
        mixed = doses[:1] + doses[-1:] - doses[n_labels // 2]
        doses = np.vstack([doses, np.zeros(n_names), mixed])
    query = rng.choice([0, 1, 1, 0.5, 3], n_names)
    if seed % 3 == 0:
        weights = rng.choice([-1, 0, 1, 0.5], len(doses))
        weights[0] += 1 - weights.sum()
        query = weights @ doses
    rows = np.column_stack([np.ones(len(doses)), doses])
    asked = np.concatenate([[1], query])
    found = span_weights(doses, query)
    assert (found is not None) == (rank(rows) == rank([*rows, asked]))
    if found is not None:
        assert np.allclose(found @ rows, asked)


def test_spans_do_not_depend_on_units():
    seen = np.array([[0.0, 0], [1e-6, 0], [1e-6, 1e9]])
    assert span_weights(seen, np.array([3e-6, 2e9])) is not None
    assert span_weights(seen[:2], np.array([3e-6, 1e-9])) is None


def test_labels_become_doses():
    assert doses_of("A:0.5 + B") == {"A": 0.5, "B": 1.0}
    assert names_of(["B", "A+B:2"]) == ["B", "A"]
    assert design_matrix(["A+B:2", "B"], ["A", "B"]).tolist() == [[1, 2], [0, 1]]


@pytest.mark.parametrize("label", ["", "A+", "A:high", "A:nan", ":2"])
def test_labels_that_cannot_be_read_are_refused(label):
    with pytest.raises(ValueError, match="must be a perturbation, as 'A'"):
        doses_of(label)


def test_unknown_and_repeated_perturbations_are_refused():
    with pytest.raises(ValueError, match="names 'A' twice"):
        doses_of("A+A")
    with pytest.raises(ValueError, match="names the perturbation 'C'"):
        design_matrix(["A+C"], ["A", "B"])
