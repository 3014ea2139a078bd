import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_icm.metrics import sliced_wasserstein
from sklearn_icm.metrics._distances import blocks


def samples(n, m, d, seed):
    rng = np.random.RandomState(seed)
    return rng.randn(n, d), 0.5 + rng.randn(m, d)


def directions_of(seed, n_projections, d):
    directions = np.random.RandomState(seed).standard_normal((n_projections, d))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def square_by_quantiles(x, y):
    """Integral of the difference of the quantile functions, on a grid of both."""
    grid = np.lcm(len(x), len(y))
    x, y = (np.repeat(np.sort(z), grid // len(z)) for z in (x, y))
    return np.mean((x - y) ** 2)


@given(
    n=st.integers(2, 15),
    m=st.integers(2, 15),
    d=st.integers(1, 5),
    scale=st.sampled_from([1e-20, 1.0, 1e20]),
    offset=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 10**6),
    float32=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_sizes_may_differ(n, m, d, scale, offset, seed, float32):
    X, Y = samples(n, m, d, seed)
    pairs = [(X @ u, Y @ u) for u in directions_of(3, 7, d)]
    expected = np.sqrt(np.mean([square_by_quantiles(x, y) for x, y in pairs]))
    with pytest.MonkeyPatch.context() as patch:
        if float32:
            patch.setattr(blocks, "SMALL", 0)
        X, Y = ((Z + offset) * scale for Z in (X, Y))
        value = sliced_wasserstein(X, Y, n_projections=7, random_state=3) / scale
    assert value == pytest.approx(expected, rel=3e-6 if float32 else 1e-9)


@pytest.mark.parametrize(
    ("n", "m", "d"), [(700, 700, 20), (500, 701, 20), (90, 9, 784)]
)
def test_agrees_with_pot(n, m, d):
    ot = pytest.importorskip("ot")
    X, Y = samples(n, m, d, 0)
    directions = directions_of(4, 50, d)
    expected = ot.sliced_wasserstein_distance(X, Y, projections=directions.T)
    for offset in (0.0, 1e4):
        X, Y = X + offset, Y + offset
        value = sliced_wasserstein(X, Y, n_projections=50, random_state=4)
        assert value == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize("n", [30, 900])
def test_perfect_and_shifted(n):
    X, _ = samples(n, n, 10, 0)
    assert sliced_wasserstein(X, X.copy()) == 0
    shuffled = np.random.RandomState(0).permutation(X)
    assert sliced_wasserstein(X, shuffled) < 1e-6
    assert sliced_wasserstein(X, np.repeat(X, 2, axis=0)) < 1e-6
    shift = np.zeros(10)
    shift[0] = 3.0
    expected = 3 * np.sqrt(np.mean(directions_of(0, 200, 10)[:, 0] ** 2))
    assert sliced_wasserstein(X, X + shift) == pytest.approx(expected, rel=1e-6)


def test_directions_do_not_depend_on_memory_but_on_the_seed():
    X, Y = samples(700, 600, 20, 0)
    value = sliced_wasserstein(X, Y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "MAX_BYTES", 2**17)
        assert sliced_wasserstein(X, Y) == pytest.approx(value, rel=1e-6)
    assert sliced_wasserstein(X, Y, random_state=1) != value
    stream = np.random.RandomState(0)
    first = sliced_wasserstein(X, Y, random_state=stream)
    assert first == value
    assert sliced_wasserstein(X, Y, random_state=stream) != value


def test_constant_samples():
    same = np.full((5, 2), 7.0)
    assert sliced_wasserstein(same, same[:3]) == 0


@pytest.mark.parametrize("n_projections", [0, 2.0])
def test_bad_parameters(n_projections):
    with pytest.raises(ValueError, match="n_projections must be an int >= 1, got"):
        sliced_wasserstein([[0.0]], [[1.0]], n_projections=n_projections)
