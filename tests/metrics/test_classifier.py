import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from sklearn_icm.metrics import two_sample_test
from sklearn_icm.metrics._distances import blocks
from sklearn_icm.metrics._distances.classifier import _area


def told_apart(X, Y, *, distance="classifier", **params):
    return two_sample_test(X, Y, distance=distance, **params)


def samples(n=40, m=30, d=2, seed=0, shift=0.0, scale=1.0):
    rng = np.random.RandomState(seed)
    return rng.randn(n, d), shift + scale * rng.randn(m, d)


def test_area_is_sklearns():
    rng = np.random.RandomState(0)
    scores, labels = rng.randint(5, size=(30, 4)), rng.randint(2, size=(30, 4))
    expected = [roc_auc_score(y, s) for y, s in zip(labels.T, scores.T, strict=True)]
    assert _area(scores, labels) == pytest.approx(expected)


@pytest.mark.parametrize("classifier", ["classifier", LogisticRegression()])
def test_perfect_useless_and_degenerate(classifier):
    params = {"distance": classifier, "n_permutations": 1}
    X, Y = samples()
    apart = told_apart(X, Y + 100, distance=classifier, n_permutations=19)
    assert (apart.value, apart.p_value) == (1, pytest.approx(0.05))
    values = [told_apart(*samples(seed=seed), **params).value for seed in range(8)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)
    same = told_apart(np.ones((9, 2)), np.ones((7, 2)), **params)
    assert (same.value, same.p_value, same.is_above_floor) == (0.5, 1, False)


@pytest.mark.parametrize("change", [{"shift": 0.7}, {"scale": 1.7}])
def test_power_of_the_default_against_shifts_and_other_changes(change):
    results = [
        told_apart(*samples(100, 100, 3, seed, **change), n_permutations=39)
        for seed in range(10)
    ]
    assert np.mean([r.is_above_floor for r in results]) >= 0.9
    assert np.mean([r.value for r in results]) > 0.6


def test_a_linear_classifier_sees_no_change_of_scale():
    X, Y = samples(300, 300, scale=2.0)
    linear = told_apart(X, Y, distance=LogisticRegression(), n_permutations=5)
    assert linear.value < 0.6 < told_apart(X, Y).value


def test_value_is_the_cross_validated_area():
    X, Y = samples(shift=0.5)
    Z, labels = np.concatenate([X, Y]), np.repeat([0, 1], [len(X), len(Y)])
    Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    value = told_apart(
        X, Y, distance=LogisticRegression(), n_permutations=1, random_state=0
    ).value
    seed = np.random.RandomState(0).randint(2**31)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    by_sklearn = cross_val_score(
        LogisticRegression(), Z, labels, scoring="roc_auc", cv=folds
    )
    assert value == pytest.approx(by_sklearn.mean())


@pytest.mark.parametrize(
    "classifier", [LinearSVC(), KNeighborsClassifier(5), DummyClassifier()]
)
def test_any_classifier(classifier):
    X, Y = samples(shift=3.0)
    result = told_apart(X, Y, distance=classifier, n_permutations=3)
    if isinstance(classifier, DummyClassifier):
        assert (result.value, result.p_value) == (0.5, 1)
    else:
        assert result.value > 0.95
    assert not hasattr(classifier, "classes_")


def test_memory_only_cuts_the_relabellings(monkeypatch):
    X, Y = samples(shift=0.3)
    whole = told_apart(X, Y, n_permutations=20)
    monkeypatch.setattr(blocks, "MAX_BYTES", 10_000)
    cut = told_apart(X, Y, n_permutations=20)
    assert cut.null == pytest.approx(whole.null, abs=1e-9)


def test_smallest_samples():
    X, Y = samples(2, 3, shift=9.0)
    result = told_apart(X, Y)
    assert np.isfinite([result.value, result.p_value, result.noise_floor]).all()


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"n_permutations": 0}, ValueError, "n_permutations must be an int >= 1"),
        ({"level": 0}, ValueError, "level must be a number between 0 and 1, got 0"),
        (
            {"distance": LinearRegression()},
            TypeError,
            "a callable or a classifier, got LinearRegression",
        ),
    ],
)
def test_bad_parameters(params, error, match):
    with pytest.raises(error, match=match):
        told_apart(*samples(), **params)


def test_bad_samples():
    with pytest.raises(ValueError, match="X_real contains NaN"):
        told_apart([[np.nan]] * 9, [[0.0]] * 9)
