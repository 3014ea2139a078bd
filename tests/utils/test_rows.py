"""Small questions to rows of numbers."""

import numpy as np
import pytest

from sklearn_icm.utils.rows import draws_by_content


@pytest.fixture
def rows():
    return np.random.RandomState(0).randn(5000, 3)


def test_draws_by_content_are_uniform_and_independent(rows):
    drawn = draws_by_content(rows, 3, 7)
    error = 5 / np.sqrt(len(rows))
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert (abs(drawn.mean(0) - 1 / 2) < error * np.sqrt(1 / 12)).all()
    beside = np.column_stack([drawn, rows, draws_by_content(rows, 3, 8)])
    beside = np.column_stack([beside, np.roll(drawn, 1, axis=0)])
    assert abs(np.corrcoef(beside.T) - np.eye(12)).max() < error


@pytest.mark.parametrize("n_rows", [0, 1, 7])
def test_draws_by_content_go_with_the_rows(n_rows, rows):
    order = np.random.RandomState(1).permutation(len(rows))[:n_rows]
    drawn = draws_by_content(rows, 2, 7)
    assert np.array_equal(draws_by_content(rows[order], 2, 7), drawn[order])
    swapped = draws_by_content(rows[:, ::-1], 2, 7)
    assert not np.isin(swapped, drawn).any()


def test_draws_by_content_of_equal_rows_differ():
    one = draws_by_content(np.zeros((1000, 2)), 1, 7)
    assert len(np.unique(one)) == 1000
    assert abs(one.mean() - 1 / 2) < 5 / np.sqrt(12 * 1000)
    signed = np.where(np.arange(2000)[:, None] % 2, 0.0, -0.0) * np.ones(2)
    assert np.array_equal(draws_by_content(signed[:1000], 1, 7), one)
