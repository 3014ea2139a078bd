import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sklearn_icm.metrics import _tiles, precision_recall_density_coverage


def samples(n, m, d, seed):
    rng = np.random.RandomState(seed)
    return rng.randn(n, d), 0.5 + rng.randn(m, d)


def by_definition(X, Y, k):
    across = cdist(X, Y)
    radii_real, radii_gen = (np.sort(cdist(Z, Z), axis=1)[:, k] for Z in (X, Y))
    in_real, in_gen = across < radii_real[:, None], across < radii_gen
    return {
        "precision": in_real.any(axis=0).mean(),
        "recall": in_gen.any(axis=1).mean(),
        "density": in_real.sum(axis=0).mean() / k,
        "coverage": in_real.any(axis=1).mean(),
    }


@given(
    n=st.integers(6, 40),
    m=st.integers(6, 40),
    d=st.integers(1, 5),
    k=st.integers(1, 5),
    scale=st.sampled_from([1e-20, 1.0, 1e20]),
    offset=st.sampled_from([0.0, 1.0, 1e4]),
    seed=st.integers(0, 10**6),
    float32=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_is_the_definition(n, m, d, k, scale, offset, seed, float32):
    X, Y = ((Z + offset) * scale for Z in samples(n, m, d, seed))
    with pytest.MonkeyPatch.context() as patch:
        if float32:
            patch.setattr(_tiles, "SMALL", 0)
        values = precision_recall_density_coverage(X, Y, n_neighbors=k)
    assert values == pytest.approx(by_definition(X, Y, k), rel=1e-12)


@pytest.mark.parametrize(
    ("n", "m", "d", "k"), [(1000, 777, 20, 5), (600, 900, 300, 3), (1200, 1100, 2, 7)]
)
def test_is_the_package(n, m, d, k, capsys):
    prdc = pytest.importorskip("prdc")
    X, Y = samples(n, m, d, 0)
    assert precision_recall_density_coverage(X, Y, n_neighbors=k) == prdc.compute_prdc(
        X, Y, k
    )


@pytest.mark.parametrize("distance", [1e3, 1e5])
def test_far_clusters(distance):
    """Radii vanish beside the norms, so that float32 alone would know none."""
    X, Y = samples(700, 600, 8, 1)
    X[::2] += distance
    Y[::2] += distance
    values = precision_recall_density_coverage(X, Y)
    assert values == pytest.approx(by_definition(X, Y, 5), rel=1e-12)


@pytest.mark.parametrize("max_memory", [0.01, 0.2])
def test_tiles_change_nothing(max_memory):
    X, Y = samples(600, 500, 20, 1)
    assert precision_recall_density_coverage(
        X, Y, max_memory=max_memory
    ) == precision_recall_density_coverage(X, Y)


def test_perfect_useless_and_degenerate():
    X, Y = samples(800, 800, 4, 0)
    perfect = precision_recall_density_coverage(X, Y - 0.5)
    assert perfect.precision > 0.8
    assert perfect.recall > 0.8
    assert perfect.coverage > 0.9
    assert perfect.density == pytest.approx(1, abs=0.1)
    useless = precision_recall_density_coverage(X, Y + 100)
    assert set(useless.values()) == {0.0}
    one_point = precision_recall_density_coverage(X, np.repeat(X[:1], 800, axis=0))
    assert one_point.precision == 1
    assert one_point.recall == 0
    assert one_point.coverage < 0.05


@pytest.mark.parametrize("float32", [False, True])
def test_a_row_at_exactly_the_radius_is_outside(float32, monkeypatch):
    if float32:
        monkeypatch.setattr(_tiles, "SMALL", 0)
    X = np.arange(6.0)[:, None] + 1e4
    values = precision_recall_density_coverage(X, X + 1, n_neighbors=1)
    # A generated row lies on a real one, at the radius of its two neighbours.
    assert values == {
        "precision": 5 / 6,
        "recall": 5 / 6,
        "density": 5 / 6,
        "coverage": 5 / 6,
    }


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_neighbors": 0}, "n_neighbors must be an int >= 1, got 0"),
        ({"n_neighbors": 1.5}, "n_neighbors must be an int >= 1, got 1.5"),
        ({"n_neighbors": 4}, "n_neighbors=4 needs at least 5 rows .* got 6 and 4"),
    ],
)
def test_bad_parameters(params, match):
    with pytest.raises(ValueError, match=match):
        precision_recall_density_coverage([[0.0]] * 6, [[0.0]] * 4, **params)
