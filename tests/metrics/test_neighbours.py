import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sklearn_icm.metrics import precision_recall_density_coverage
from sklearn_icm.metrics._distances import blocks


def samples(n, m, d, seed):
    rng = np.random.RandomState(seed)
    return rng.randn(n, d), 0.5 + rng.randn(m, d)


def by_definition(X, Y, k):
    across, own = cdist(X, Y), np.sort(cdist(X, X), axis=1)
    radii_real, radii_gen = (
        np.sort(cdist(Z, Z), axis=1)[:, k] * (1 + 1e-12) for Z in (X, Y)
    )
    in_real, in_gen = across <= radii_real[:, None], across <= radii_gen
    # Of its own sample, the row itself is not counted.
    n_inside = (own <= radii_real[:, None]).sum(axis=1) - 1
    return {
        "precision": in_real.any(axis=0).mean(),
        "recall": in_gen.any(axis=1).mean(),
        "density": (in_real.sum(axis=1) / n_inside).sum() / len(Y),
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
    ties=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_is_the_definition(n, m, d, k, scale, offset, seed, float32, ties):
    X, Y = samples(n, m, d, seed)
    if ties:
        X, Y, scale = X.round(), Y.round(), 1.0
    X, Y = (X + offset) * scale, (Y + offset) * scale
    with pytest.MonkeyPatch.context() as patch:
        if float32:
            patch.setattr(blocks, "SMALL", 0)
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


@pytest.mark.parametrize("mib", [0.01, 0.2])
def test_blocks_change_nothing(mib, monkeypatch):
    X, Y = samples(600, 500, 20, 1)
    whole = precision_recall_density_coverage(X, Y)
    monkeypatch.setattr(blocks, "MAX_BYTES", mib * 2**20)
    assert precision_recall_density_coverage(X, Y) == whole


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
    # The one real row that it is.
    assert one_point.recall == 1 / 800
    assert one_point.coverage < 0.05


@pytest.mark.parametrize("float32", [False, True])
def test_a_row_at_exactly_the_radius_is_inside(float32, monkeypatch):
    if float32:
        monkeypatch.setattr(blocks, "SMALL", 0)
    X = np.arange(6.0)[:, None] + 1e4
    values = precision_recall_density_coverage(X, X + 1, n_neighbors=1)
    assert values == pytest.approx(by_definition(X, X + 1, 1))
    assert values.precision == values.recall == 1


TIED = {
    "binary": lambda rng: rng.randint(0, 2, (300, 3)),
    "rounded": lambda rng: rng.randn(300, 2).round(),
    "repeated": lambda rng: np.repeat(np.random.RandomState(9).randn(50, 4), 10, 0),
    "constant": lambda rng: np.ones((100, 8)),
    "counts": lambda rng: rng.poisson(1.0, (300, 2)),
    "half zeros": lambda rng: np.maximum(rng.randn(300, 2), 0),
}


@pytest.mark.parametrize("name", TIED)
def test_equal_laws_with_ties_score_as_equal(name):
    rng = np.random.RandomState(0)
    X, Y = (TIED[name](rng).astype(float) for _ in range(2))
    values = precision_recall_density_coverage(X, Y)
    assert min(values.precision, values.recall, values.coverage) > 0.95
    assert values.density == pytest.approx(1, abs=0.12)
    far = precision_recall_density_coverage(X, Y + 50)
    assert set(far.values()) == {0.0}


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
