import numpy as np
import pytest

from sklearn_icm.utils.support import support_distances


def far(fitted, given, n_levels=None):
    n_levels = [0] * len(fitted) if n_levels is None else n_levels
    distances, limit = support_distances(fitted, given, n_levels)
    return distances > limit


def test_a_hundredth_of_new_rows_is_far_in_any_number_of_nodes():
    for width in (1, 5, 20):
        shares = []
        for seed in range(3):
            rows = np.random.RandomState(seed).standard_cauchy((2000, width))
            new, known = np.split(np.arctan(rows)[..., None], 2)
            sides = (list(np.swapaxes(side, 0, 1)) for side in (known, new))
            shares.append(far(*sides).mean())
        # The limit and the share have a spread of a thousand rows each.
        assert abs(np.mean(shares) - 0.01) < 5 * np.sqrt(2 * 0.01 / 3000)


def test_many_entries_of_one_node_share_a_unit():
    rng = np.random.RandomState(0)
    values = rng.randn(300, 2) * [1.0, 1e-4]
    moved = values[:50] + [0.0, 0.01]
    assert not far([values], [moved]).any()
    assert far([values[:, :1], values[:, 1:]], [moved[:, :1], moved[:, 1:]]).all()


def test_other_levels_are_one_apart():
    codes = np.append(np.arange(60) % 2, 3)[:, None]
    distances, _ = support_distances([codes], [np.array([[0], [2], [3]])], [4])
    # One of 61 rows is alone, so that one more such is no surprise.
    assert distances == pytest.approx([0, 1, 0.8])
    distances, limit = support_distances([codes[:60]], [np.array([[0], [2]])], [4])
    assert distances.tolist() == [0, np.inf]


@pytest.mark.parametrize("offset", [0, 1e3, 1e5])
def test_what_float32_makes_of_equal_numbers_is_no_distance(offset):
    whole = offset + np.arange(300.0)[:, None] % 3
    third = whole.astype(np.float32) / np.float32(3) * np.float32(3)
    given = np.nextafter(third, np.float32(np.inf))
    assert not far([whole], [given]).any()
    assert far([whole], [whole + 9]).all()


def test_a_node_that_was_constant_is_left_by_any_other_value():
    known = [np.full((50, 1), 7.0), np.arange(50.0)[:, None]]
    given = [np.array([[7.0], [7.01]]), np.array([[25.0], [25.0]])]
    assert far(known, given).tolist() == [False, True]
    assert np.isinf(support_distances(known, given, [0, 0])[0][1])


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_few_rows_support_little(n_rows):
    known = np.arange(float(n_rows))[:, None]
    is_far = far([known], [np.array([[0.0], [9.0]])])
    assert is_far.tolist() == [n_rows < 2, True]
