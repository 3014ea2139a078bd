"""Factors that are levels: no answer depends on their code numbers or names."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn.decomposition import PCA
from sklearn.metrics import mutual_info_score

from sklearn_icm.metrics import (
    alignment_r2,
    dci_scores,
    make_identifiability_scorer,
    mcc_score,
    mig_score,
)

RNG = np.random.RandomState(0)
N = 200
SHAPE, SIZE = RNG.randint(0, 4, N), RNG.rand(N)
NAMES = np.array(["ball", "cube", "cone", "ring"])
FACTORS = pd.DataFrame({"shape": NAMES[SHAPE], "size": SIZE})
NOISE = RNG.randn(N, 2)
CODED = [np.array(p)[SHAPE] for p in [(0, 1, 2, 3), (2, 0, 3, 1), (1, 0, 3, 2)]]
MEASURES = {
    "mcc": mcc_score,
    "spearman": lambda *Z, **p: mcc_score(*Z, method="spearman", **p),
    "affine": alignment_r2,
    "nonlinear": lambda *Z, **p: alignment_r2(*Z, alignment="nonlinear", **p),
    "mig": mig_score,
    "disentanglement": lambda *Z, **p: dci_scores(*Z, **p).disentanglement,
    "informativeness": lambda *Z, **p: dci_scores(*Z, **p).informativeness,
}


@pytest.mark.parametrize("name", MEASURES)
def test_names_and_code_numbers_of_a_factor_change_nothing(name):
    Z = np.column_stack([CODED[1], SIZE])
    expected = MEASURES[name](FACTORS, Z)
    for codes in CODED[:: 2 if name in {"mcc", "mig"} else 3]:
        numbers = np.column_stack([codes, SIZE])
        found = MEASURES[name](numbers, Z, categorical=0)
        assert found == pytest.approx(expected, abs=0.02)
    if name in {"disentanglement", "informativeness"}:
        return
    assert MEASURES[name](FACTORS, Z, categorical=["shape"]) == expected
    assert MEASURES[name](FACTORS.astype({"shape": "category"}), Z) == expected
    assert MEASURES[name](FACTORS.to_numpy(), Z) == expected


@pytest.mark.parametrize("codes", CODED, ids=["sorted", "mixed", "pairs"])
def test_perfect_useless_and_degenerate(codes):
    perfect = np.column_stack([codes, -SIZE])
    assert mcc_score(FACTORS, perfect) == 1
    assert mcc_score(FACTORS, perfect, method="spearman") == pytest.approx(1)
    assert mig_score(FACTORS, perfect) > 0.9
    found = dci_scores(FACTORS, perfect)
    assert found.disentanglement > 0.9
    assert found.completeness > 0.9
    assert found.informativeness > 0.99
    assert alignment_r2(FACTORS, np.eye(4)[codes]) < 0.6
    both = np.column_stack([np.eye(4)[codes], SIZE])
    assert alignment_r2(FACTORS, both) == pytest.approx(1)
    constant = FACTORS.assign(shape="ball")
    for name in ("mcc", "spearman", "affine", "nonlinear", "mig", "informativeness"):
        assert MEASURES[name](constant, perfect) == pytest.approx(0.5, abs=0.05)


def test_latents_that_know_nothing_score_nothing():
    assert mcc_score(FACTORS, NOISE) < 0.15
    assert mig_score(FACTORS, NOISE) < 0.1
    assert alignment_r2(FACTORS, NOISE) < 0.05
    assert dci_scores(FACTORS, NOISE).informativeness < 0.1
    twice = np.column_stack([SIZE, SIZE, SHAPE, SHAPE])
    assert mig_score(FACTORS, twice) == 0
    assert mig_score(FACTORS, SHAPE) == pytest.approx(0.5, abs=0.05)


def test_the_gap_is_that_of_its_definition():
    Z = np.column_stack([SHAPE + 0.7 * NOISE[:, 0], SIZE + 0.2 * NOISE[:, 1]])
    bins = [np.digitize(z, np.linspace(z.min(), z.max(), 9)[1:-1]) for z in Z.T]
    size = np.digitize(SIZE, np.linspace(SIZE.min(), SIZE.max(), 9)[1:-1])
    gaps = []
    for factor in (SHAPE, size):
        low, high = sorted(mutual_info_score(factor, b) for b in bins)
        gaps.append((high - low) / mutual_info_score(factor, factor))
    assert mig_score(FACTORS, Z, n_bins=8) == pytest.approx(np.mean(gaps))


def test_dci_is_that_of_its_definition():
    Z = np.column_stack([SHAPE + NOISE[:, 0], SIZE + NOISE[:, 1], NOISE[:, 0]])
    found = dci_scores(FACTORS, Z)
    R = found.importances
    assert R.sum(axis=0) == pytest.approx([1, 1])
    of_latents = 1 - entropy(R / R.sum(axis=1, keepdims=True), base=2, axis=1)
    expected = np.average(of_latents, weights=R.sum(axis=1))
    assert found.disentanglement == pytest.approx(expected)
    expected = np.mean(1 - entropy(R, base=3, axis=0))
    assert found.completeness == pytest.approx(expected)
    mixed = np.column_stack([SHAPE + 3 * SIZE, SHAPE - 3 * SIZE])
    assert dci_scores(FACTORS, mixed).disentanglement < 0.5


def test_levels_that_are_too_rare_to_learn_spoil_nothing():
    rare = np.where(np.arange(N) == 0, "rare", NAMES[SHAPE])
    assert mcc_score(rare, SHAPE) == 1
    assert mcc_score(["a", "b"], [[0.0], [1.0]]) == 0
    assert mcc_score(SHAPE > 0, SHAPE.astype(float), categorical=0) == 1


def test_every_order_of_codes_has_one_score():
    scores = {
        mcc_score(NAMES[SHAPE], np.array(p)[SHAPE].astype(float))
        for p in permutations(range(4))
    }
    assert scores == {1.0}


def test_levels_in_scorers():
    X = np.column_stack([SHAPE, SIZE, NOISE])
    est = PCA(3).fit(X)
    scorer = make_identifiability_scorer("mcc")
    assert scorer(est, X, factors=FACTORS) == mcc_score(FACTORS, est.transform(X))
    with pytest.raises(ValueError, match="If y holds labels, pass the factors as"):
        scorer(est, X, NAMES[SHAPE])
    declared = make_identifiability_scorer("mcc", categorical=[0])
    assert declared(est, X, NAMES[SHAPE]) == mcc_score(NAMES[SHAPE], est.transform(X))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: alignment_r2(FACTORS, NOISE, test=(FACTORS, NOISE)),
            "are levels are for mcc_score",
        ),
        (
            lambda: alignment_r2(FACTORS, NOISE, alignment="identity"),
            r"'identity' is for factors that are numbers, got levels .* \[0\]",
        ),
        (lambda: mcc_score(FACTORS, NOISE, categorical="colour"), "got 'colour'"),
        (
            lambda: mcc_score(SIZE.astype(str), NOISE),
            r"200 levels .* categorical=\[0\]",
        ),
        (lambda: mcc_score([None, "a"] * 100, NOISE), "must not have missing levels"),
        (lambda: mig_score(FACTORS, NOISE, n_bins=0), "n_bins must be an int >= 1"),
    ],
)
def test_bad_levels(call, match):
    with pytest.raises(ValueError, match=match):
        call()
