import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from sklearn_icm.metrics import (
    alignment_r2,
    amari_distance,
    mcc_score,
)

ALIGNMENTS = ["identity", "affine", "nonlinear"]
FITTED = ALIGNMENTS[1:]
SCALES = [1e-300, 1e-30, 1.0, 1e30, 1e300]


def ood_r2(Z_id, P_id, Z_ood, P_ood, **params):
    return alignment_r2(Z_id, P_id, test=(Z_ood, P_ood), **params)


def both_splits(Z_true, Z_pred):
    half = len(Z_true) // 2
    return ood_r2(Z_true[:half], Z_pred[:half], Z_true[half:], Z_pred[half:])


SCORES = {
    "mcc": mcc_score,
    "mcc_spearman": lambda Z, P: mcc_score(Z, P, method="spearman"),
    "r2_of_test": both_splits,
    **{
        f"r2_{a}": lambda Z, P, a=a: alignment_r2(Z, P, alignment=a) for a in ALIGNMENTS
    },
}
each_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())


def factors(n=200, d=3, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, (n, d))


def mixed(Z, seed=0):
    """Orthogonal, so that no factor is hard to recover for its conditioning."""
    d = Z.shape[1]
    return Z @ np.linalg.qr(np.random.RandomState(seed).randn(d, d))[0]


@each_score
def test_perfect(score):
    Z = factors()
    assert score(Z, Z) == pytest.approx(1, abs=1e-4)
    assert score(Z, Z) <= 1


@each_score
def test_useless(score):
    """Unrelated latents: correlations of order 1 / sqrt(n), R2 about 0 or -1."""
    scores = [score(factors(), factors(seed=seed)) for seed in range(1, 6)]
    assert np.mean(scores) < 0.2
    assert max(scores) < 0.35


@each_score
def test_degenerate(score):
    """A constant is associated with nothing, on either side."""
    Z, constant = factors(), np.full((200, 3), 0.1)
    assert score(constant, Z) == 0
    assert score(constant, constant) == 0
    assert score(Z, constant) == pytest.approx(0, abs=0.2)
    part = np.column_stack([Z[:, :2], constant[:, 0]])
    expected = 2 / 3
    assert score(part, part) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", sorted(SCORES.keys() - {"r2_identity"}))
def test_units_of_the_latents_change_nothing(name):
    Z, P = factors(), mixed(factors()) + 0.1 * factors(seed=1)
    units = np.array([-1e30, 1e-30, 2.0])
    # A trace of the nonlinear map's centres, which rounding may move.
    assert SCORES[name](Z, P * units) == pytest.approx(SCORES[name](Z, P), abs=1e-2)


@each_score
def test_bad_rows(score):
    for Z, P, match in (
        ([[0.0]] * 9, [[0.0]] * 8, "inconsistent numbers of samples"),
        ([[np.nan]] * 9, [[0.0]] * 9, "Z_true contains NaN"),
        ([[0.0]] * 9, [[np.inf]] * 9, "Z_pred contains infinity"),
        ([[0.0]], [[0.0]], "at least 2 rows, got 1|minimum of 1 is required"),
    ):
        with pytest.raises(ValueError, match=match):
            score(np.array(Z), np.array(P))


@given(
    n=st.integers(2, 30),
    n_true=st.integers(1, 4),
    n_pred=st.integers(1, 4),
    levels=st.sampled_from([2, 5, 10**6]),
    scale=st.sampled_from(SCALES),
    method=st.sampled_from(["pearson", "spearman"]),
    seed=st.integers(0, 10**6),
)
def test_mcc_is_bounded_and_invariant(n, n_true, n_pred, levels, scale, method, seed):
    rng = np.random.RandomState(seed)
    Z = rng.randint(levels, size=(n, n_true)) * scale
    P = rng.randint(levels, size=(n, n_pred)).astype(float)
    score = mcc_score(Z, P, method=method)
    assert 0 <= score <= min(1, n_pred / n_true) + 1e-12
    rows, columns = rng.permutation(n), rng.permutation(n_pred)
    units = rng.choice([-1, 1], n_pred) * 2.0 ** rng.randint(-60, 60, n_pred)
    changed = mcc_score(Z[rows], (P * units)[rows][:, columns], method=method)
    assert changed == pytest.approx(score, abs=1e-9)


@given(
    n=st.integers(3, 40), levels=st.sampled_from([3, 10**6]), seed=st.integers(0, 99)
)
def test_mcc_of_single_columns_is_the_correlation(n, levels, seed):
    z, p = np.random.RandomState(seed).randint(levels, size=(2, n)).astype(float)
    z[:2], p[:2] = [0, 1], [1, 0]
    assert mcc_score(z, p) == pytest.approx(abs(np.corrcoef(z, p)[0, 1]), abs=1e-9)
    expected = abs(spearmanr(z, p).statistic)
    assert mcc_score(z, p, method="spearman") == pytest.approx(expected, abs=1e-9)


def test_mcc_counts_every_true_factor():
    Z = factors(d=4)
    assert mcc_score(Z, Z[:, [2, 0]]) < 0.65
    assert mcc_score(Z[:, [2, 0]], Z) == pytest.approx(1)


def test_matching_is_one_to_one():
    """One latent cannot stand for two factors, even if it is the best for both."""
    z = factors(d=1)
    Z = np.hstack([z, z])
    assert mcc_score(Z, z) == pytest.approx(1 / 2)
    assert mcc_score(Z, np.hstack([z, np.zeros_like(z)])) == pytest.approx(1 / 2)


def test_spearman_sees_no_monotone_change():
    Z = factors()
    assert mcc_score(Z, np.exp(5 * Z), method="spearman") == pytest.approx(1)
    assert mcc_score(Z, np.exp(5 * Z)) < 0.9


def test_bad_method():
    with pytest.raises(ValueError, match=r"\['pearson', 'spearman'\], got 'kendall'"):
        mcc_score([[0], [1]], [[0], [1]], method="kendall")


def test_alignments_forgive_what_they_name():
    """Each class of maps recovers its own changes; the classes before it do not."""
    Z = factors(400)
    latents = [Z, mixed(Z) * [3.0, -1.0, 0.1] + 5, mixed(Z) + 0.3 * mixed(Z) ** 3]
    for i, P in enumerate(latents):
        scores = [alignment_r2(Z, P, alignment=a) for a in ALIGNMENTS]
        assert min(scores[i:]) > 0.99
        if i:
            assert scores[i - 1] < min(scores[i], 0.995)


@pytest.mark.parametrize("alignment", FITTED)
def test_wide_noise_explains_nothing(alignment):
    """In-sample regression on as many latents as half the rows would reach 1 / 2."""
    Z = factors(100)
    scores = [
        alignment_r2(Z, factors(100, 40, seed=s), alignment=alignment)
        for s in range(1, 6)
    ]
    assert max(scores) < 0.05


def test_an_affine_map_of_one_latent_is_the_squared_correlation():
    z = factors(2000, 1)
    p = z + factors(2000, 1, seed=1)
    assert alignment_r2(z, p) == pytest.approx(mcc_score(z, p) ** 2, abs=0.01)


def test_one_latent_explains_its_factor():
    Z = factors()
    assert alignment_r2(Z, Z[:, [1]]) == pytest.approx(1 / 3, abs=0.02)


def test_identity_closed_form():
    Z, P = [[0.0], [2.0]], [[1.0], [2.0]]
    assert alignment_r2(Z, P, alignment="identity") == pytest.approx(1 - 1 / 2)
    tiny, huge = np.multiply(Z, 1e-300), np.full((2, 1), 1e300)
    assert alignment_r2(tiny, huge, alignment="identity") == -np.inf


def test_any_regressor_is_an_alignment():
    Z = factors()
    P = mixed(Z)
    given = LinearRegression()
    assert alignment_r2(Z, P, alignment=given) == alignment_r2(Z, P)
    assert not hasattr(given, "coef_")
    assert 0.5 < alignment_r2(Z, P, alignment=KNeighborsRegressor()) < 1


def test_seeds_and_streams():
    Z, P = factors(), mixed(factors()) + factors(seed=1)
    state = np.random.get_state()[1].copy()
    values = [alignment_r2(Z, P, alignment="nonlinear") for _ in range(2)]
    assert values[0] == values[1]
    assert values[0] != alignment_r2(Z, P, alignment="nonlinear", random_state=1)
    assert np.array_equal(np.random.get_state()[1], state)
    assert isinstance(values[0], float)


@pytest.mark.parametrize("alignment", FITTED)
def test_few_rows(alignment):
    Z, P = factors(4, 2), factors(4, 2, seed=1)
    assert np.isfinite(alignment_r2(Z, P, alignment=alignment, cv=2))
    assert np.isfinite(ood_r2(Z[:2], P[:2], Z[2:], P[2:], alignment=alignment))


@pytest.mark.parametrize(
    ("params", "match"),
    [
        (
            {"alignment": "linear"},
            r"regressor or one of \['identity', 'affine', .*'linear",
        ),
        ({"alignment": "identity"}, "as many latents as factors, got 2 and 3"),
        ({"cv": 21}, "cv must be an int between 2 and the number of rows, 20, got 21"),
        ({"cv": 1}, "cv must be an int between 2"),
        ({"cv": 2.5}, "cv must be an int >= 1, got 2.5"),
    ],
)
def test_bad_alignment(params, match):
    with pytest.raises(ValueError, match=match):
        alignment_r2(factors(20), factors(20, 2), **params)


def test_lines_extrapolate_and_trees_do_not():
    Z = factors()
    P = Z[:, ::-1] * 3 + 1
    inside = np.abs(Z[:, 0]) < 0.3
    parts = Z[inside], P[inside], Z[~inside], P[~inside]
    assert ood_r2(*parts) == pytest.approx(1)
    assert ood_r2(*parts, alignment=DecisionTreeRegressor(random_state=0)) < 0.9


def test_ood_r2_is_about_the_mean_out_of_distribution():
    """Latents that stop varying outside are no better than a constant, or worse."""
    Z_id, Z_ood = factors(d=1), factors(d=1, seed=1) + 5
    saturated = np.clip(Z_ood, -1, 1)
    assert ood_r2(Z_id, Z_id, Z_ood, saturated) < -10
    assert ood_r2(Z_id, Z_id, np.full((9, 1), 5.0), np.ones((9, 1))) == 0


def test_ood_columns_must_match():
    Z = factors(10)
    with pytest.raises(
        ValueError, match="Z_true and its part of test must have the same"
    ):
        ood_r2(Z, Z, Z[:, :2], Z)
    with pytest.raises(
        ValueError, match="Z_pred and its part of test must have the same"
    ):
        ood_r2(Z, Z, Z, Z[:, :2])
    with pytest.raises(ValueError, match="one of.*'affine'.* got 'identity'"):
        ood_r2(Z, Z, Z, Z, alignment="identity")


@given(
    n=st.integers(1, 5),
    extra=st.integers(0, 3),
    scale=st.sampled_from(SCALES),
    seed=st.integers(0, 999),
)
def test_amari_is_zero_up_to_order_and_units(n, extra, scale, seed):
    rng = np.random.RandomState(seed)
    A = np.eye(n + extra, n) + 0.3 * rng.uniform(-1, 1, (n + extra, n)) / n
    units = rng.choice([-1, 1], n) * 2.0 ** rng.randint(-8, 8, n)
    B = A[:, rng.permutation(n)] * units * scale
    assert amari_distance(A, B) == pytest.approx(0, abs=1e-9)


@given(n=st.integers(2, 5), scale=st.sampled_from(SCALES), seed=st.integers(0, 999))
def test_amari_is_bounded_and_sees_no_order_sign_or_common_unit(n, scale, seed):
    rng = np.random.RandomState(seed)
    A, B = rng.randn(2, n, n)
    distance = amari_distance(A, B)
    assert 0 < distance <= 1
    signs = rng.choice([-1, 1], n)
    changed = amari_distance(A[:, ::-1] * signs, B[:, rng.permutation(n)] * scale)
    assert changed == pytest.approx(distance, rel=1e-6)


def test_amari_closed_forms():
    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    assert amari_distance(np.eye(4), hadamard) == pytest.approx(1)
    assert amari_distance(np.eye(2), [[1, 0], [-0.5, 1]]) == pytest.approx(0.25)
    assert amari_distance([[5.0]], [[1e-300]]) == 0
    huge = amari_distance(np.diag([1e300, 1e-300]), np.diag([1e-300, 1e300]))
    assert huge == 0


@pytest.mark.parametrize(
    ("A", "B", "match"),
    [
        (np.eye(2), np.eye(3), r"same shape, got \(2, 2\) and \(3, 3\)"),
        (np.ones((2, 2)), np.eye(2), "A must have full column rank, got rank 1"),
        (np.eye(2), np.diag([1, 0]), "B must have full column rank, got rank 1 with 2"),
        (np.ones((1, 2)), np.ones((1, 2)), "A must have full column rank, got rank 1"),
        (np.eye(2), [[np.nan, 0], [0, 1]], "B contains NaN"),
    ],
)
def test_bad_mixing(A, B, match):
    with pytest.raises(ValueError, match=match):
        amari_distance(A, B)
