"""Laws that all measures obey, over all of them."""

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.cluster import KMeans

from sklearn_icm.metrics import (
    alignment_r2,
    dci_scores,
    energy_distance,
    fit_refits,
    mcc_score,
    mmd2,
    patch_distance,
    precision_recall_density_coverage,
    skill_interval,
    sliced_wasserstein,
    two_sample_test,
)


def density(X, Y):
    return precision_recall_density_coverage(X, Y).density


def area(X, Y):
    return two_sample_test(X, Y, distance="classifier", n_permutations=1).value


def p_value(X, Y):
    return two_sample_test(X, Y, n_permutations=19, n_bootstrap=0).p_value


def mean_gap(X_real, X_gen):
    return np.linalg.norm(X_real.mean(axis=0) - X_gen.mean(axis=0))


# Measures of two samples, with the power of the unit that they are in.
OF_SAMPLES = {
    energy_distance: 1,
    sliced_wasserstein: 1,
    mmd2: 0,
    density: 0,
    area: 0,
    p_value: 0,
}
SCORES = {
    "mcc": mcc_score,
    "mcc_spearman": lambda Z, P: mcc_score(Z, P, method="spearman"),
    "r2_of_test": lambda Z, P: alignment_r2(Z[:100], P[:100], test=(Z[100:], P[100:])),
    **{
        f"r2_{name}": lambda Z, P, name=name: alignment_r2(Z, P, alignment=name)
        for name in ("identity", "affine", "nonlinear")
    },
}
MEASURES = [*OF_SAMPLES.items(), *((score, 0) for score in SCORES.values())]
NAMES = [*(f.__name__ for f in OF_SAMPLES), *SCORES]
TOLERANCE = {area: 0.01}
N_SEEDS = 60


def arguments(measure):
    rng = np.random.RandomState(0)
    if measure in OF_SAMPLES:
        return rng.randn(40, 2), 0.5 + rng.randn(30, 2)
    Z = rng.uniform(-1, 1, (200, 3))
    turn = np.linalg.qr(rng.randn(3, 3))[0]
    return Z, Z @ turn + 0.1 * rng.uniform(-1, 1, (200, 3))


MOVES = [(0.0, 1e-300), (100.0, 1e-30), (100.0, 1.0), (0.0, 1e30), (100.0, 1e300)]


@pytest.mark.parametrize(("measure", "power"), MEASURES, ids=NAMES)
def test_a_common_unit_and_origin_change_no_more_than_the_unit(measure, power):
    A, B = arguments(measure)
    moved = {
        (offset, scale): measure((A + offset) * scale, (B + offset) * scale)
        / scale**power
        for offset, scale in MOVES
    }
    expected = dict.fromkeys(MOVES, measure(A, B))
    assert moved == pytest.approx(expected, abs=TOLERANCE.get(measure, 1e-6))


@pytest.mark.parametrize(("measure", "power"), MEASURES, ids=NAMES)
def test_one_value_and_no_traces(measure, power):
    A, B = arguments(measure)
    before, state = (A.copy(), B.copy()), np.random.get_state()[1].copy()
    value = measure(A, B)
    assert isinstance(value, float)
    assert measure(A, B) == value
    assert np.array_equal(np.random.get_state()[1], state)
    assert np.array_equal(A, before[0])
    assert np.array_equal(B, before[1])


Z, P = arguments(mcc_score)
# What draws, as numbers of a seed.
DRAWING = {
    "mmd": lambda seed: mmd2(np.tile(Z, (3, 1)), np.tile(P, (3, 1)), random_state=seed),
    "sliced": lambda seed: sliced_wasserstein(Z, P, random_state=seed),
    "test": lambda seed: (
        two_sample_test(Z, P, n_permutations=9, random_state=seed).null
    ),
    "classifier": lambda seed: (
        two_sample_test(
            Z, P, distance="classifier", n_permutations=9, random_state=seed
        ).null
    ),
    "interval": lambda seed: skill_interval(Z + 3, P + 2, P, random_state=seed).low,
    "patches": lambda seed: patch_distance(
        np.tile(Z, 3), np.tile(P, 3), (3, 3), size=2, n_patches=9, random_state=seed
    ),
    "r2": lambda seed: alignment_r2(Z, P, random_state=seed),
    "dci": lambda seed: dci_scores(Z[:40], P[:40], random_state=seed).importances,
    "refits": lambda seed: [
        refit.random_state for refit in fit_refits(KMeans(1), Z, random_state=seed)
    ],
}


@pytest.mark.parametrize("name", DRAWING)
def test_none_is_the_seed_0_and_leaves_the_global_stream_alone(name):
    draw, state = DRAWING[name], np.random.get_state()[1].copy()
    values = [np.asarray(draw(seed)) for seed in (None, None, 0, 1)]
    assert np.array_equal(values[0], values[1])
    assert np.array_equal(values[0], values[2])
    assert not np.array_equal(values[0], values[3])
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize(
    ("distance", "d"),
    [("energy", 2), ("mmd", 2), (mean_gap, 2), ("classifier", 2), ("classifier", 10)],
)
def test_p_values_are_uniform_under_equality(distance, d):
    """Labels permuted under fixed predictions reject a tenth of these at 5 %."""
    p_values = []
    for seed in range(1000, 1000 + N_SEEDS):
        rng = np.random.RandomState(seed)
        found = two_sample_test(
            rng.randn(20, d),
            rng.randn(15, d),
            distance=distance,
            n_permutations=19,
            n_bootstrap=0,
            random_state=seed,
        )
        p_values.append(found.p_value)
    # Multiples of 1 / 20, spread over the steps between them.
    steps = np.random.RandomState(0).uniform(size=N_SEEDS) / 20
    assert kstest(p_values - steps, "uniform").pvalue > 0.01
    error = (0.05 * 0.95 / N_SEEDS) ** 0.5
    assert np.mean(np.less_equal(p_values, 0.05)) < 0.05 + 4 * error
