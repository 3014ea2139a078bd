"""Small questions to rows of numbers."""

import numpy as np
import pandas as pd
import pytest

from sklearn_icm.utils.rows import draws_by_content, in_dtype


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


# ------------------------------------------------------------- numbers of a type
EXTREMES = np.array([-1e30, -2.5, -0.4, 0.5, 1.5, 254.6, 1e30])
TYPES = ["int8", "uint8", "int64", "uint64", "Int8", "UInt64", "Int64"]


@pytest.mark.parametrize("dtype", TYPES)
def test_numbers_of_whole_types_are_the_nearest_that_they_hold(dtype):
    made = in_dtype(EXTREMES, dtype)
    assert made.dtype == dtype
    limits = np.iinfo(dtype.lower())
    for value, number in zip(EXTREMES, made, strict=True):
        exact = min(max(round(value), limits.min), limits.max)
        assert abs(int(number) - exact) <= 2048 * (abs(exact) > 2**60)
    assert in_dtype(EXTREMES, dtype, 0, 3).tolist() == [0, 0, 0, 0, 2, 3, 3]


def test_other_types_keep_what_they_hold():
    assert in_dtype(EXTREMES, "float32", -3, 3).dtype == np.float32
    assert in_dtype(np.array([0.5, 0.51]), bool).tolist() == [False, True]
    lost = in_dtype(np.array([1.4, np.nan]), "Int64")
    assert lost[0] == 1
    assert lost.isna().tolist() == [False, True]
    assert in_dtype(np.array([0.2, np.nan]), "boolean").tolist() == [False, pd.NA]
