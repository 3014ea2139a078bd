import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TABLE, small
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from torch import nn

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import (
    SpectralPenalty,
)
from sklearn_icm.mechanisms import dense_decoder


@pytest.fixture(scope="module")
def table_model():
    return small(max_epochs=20).fit(TABLE)


# ------------------------------------------------------------- good input
@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1.0, 1e12])
def test_learning_does_not_depend_on_the_unit(unit):
    rows = small(max_epochs=20).fit(TABLE * unit).sample(50, random_state=0) / unit
    expected = small(max_epochs=20).fit(TABLE).sample(50, random_state=0)
    assert np.allclose(rows, expected, atol=1e-2)


@given(
    n=st.integers(2, 30),
    d=st.integers(1, 6),
    log_scale=st.integers(-20, 30),
    constant=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_any_finite_table_fits_and_samples(n, d, log_scale, constant, dtype, seed):
    X = np.random.RandomState(seed).randn(n, d) * 10.0**log_scale
    if constant:
        X[:, 0] = 7.0
    if dtype is np.int64:
        X = np.random.RandomState(seed).randint(-5, 5, size=(n, d))
    X = X.astype(dtype)
    rows = small(max_epochs=1).fit(X).sample(5)
    assert rows.shape == (5, d)
    assert np.isfinite(rows).all()
    assert rows.dtype == (np.float64 if dtype is np.int64 else dtype)


def test_constant_columns_are_reproduced():
    X = np.column_stack([TABLE[:, 0], np.full(40, 3.0)])
    assert np.all(small().fit(X).sample(20)[:, 1] == 3.0)


def test_data_frames_in_and_out():
    frame = pd.DataFrame(TABLE, columns=list("abcd"))
    model = small().fit(frame)
    assert list(model.feature_names_in_) == list("abcd")
    assert isinstance(model.sample(2), np.ndarray)
    model.set_output(transform="pandas")
    sample = model.sample(2, random_state=0)
    assert list(sample.columns) == list("abcd")
    changed = model.intervene({"data": 0.5}, X=frame.iloc[5:8])
    assert list(changed.index) == [5, 6, 7]
    assert isinstance(model.transform(frame), pd.DataFrame)


# -------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        ([[np.nan, 1.0]] * 5, ValueError, "contains NaN"),
        ([[np.inf, 1.0]] * 5, ValueError, "infinity"),
        ([["a", "b"]] * 5, ValueError, "Column 0 of X holds text, such as .a."),
        (np.zeros((0, 3)), ValueError, "0 sample"),
        (np.zeros((3, 0)), ValueError, "0 feature"),
        (np.zeros((5, 2, 2)), ValueError, r"dim 3.*X.reshape\(len\(X\), -1\)"),
        ([[1.0, 2.0]], ValueError, "minimum of 2 is required"),
        ([[1e39], [0.0]], ValueError, "float32.*1e.39.*Scale the features"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_half_fitted(X, error, match):
    model = small()
    with pytest.raises(error, match=match):
        model.fit(X)
    assert not hasattr(model, "n_features_in_")
    with pytest.raises(NotFittedError):
        model.sample(1)


def no_graph(n_latents, data_shape):
    return nn.Linear(n_latents, data_shape[0])


def two_latents_too_many(n_latents, data_shape):
    return dense_decoder(n_latents + 2, data_shape)


def one_feature_too_many(n_latents, data_shape):
    return dense_decoder(n_latents, (data_shape[0] + 1,))


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"data_shape": (3, 3)}, ValueError, r"data_shape=\(3, 3\) has 9 entries"),
        ({"data_shape": (2.0, 2)}, ValueError, "of positive ints"),
        ({"data_shape": (1, 1, 2, 2)}, ValueError, "of positive ints"),
        ({"icm_weight": -1}, ValueError, "'icm_weight' parameter.*Got -1"),
        ({"icm_weight": np.nan}, ValueError, "'icm_weight' parameter.*Got nan"),
        ({"icm_weight": np.inf}, ValueError, "icm_weight.*inf"),
        ({"lr": 0}, ValueError, "'lr' parameter"),
        ({"max_epochs": 0}, ValueError, "'max_epochs' parameter"),
        (
            {"icm_penalty": "spectrum"},
            ValueError,
            r"\['auto', 'noise', 'spectral', 'trace'\]",
        ),
        ({"device": "tpu9"}, ValueError, "device='tpu9' cannot be used here.*'cpu'"),
        ({"hidden": (3, -1)}, ValueError, "hidden must be None or"),
        ({"data_shape": (2, 2), "hidden": ()}, ValueError, "hidden must be None or"),
        ({"bounds": (1, 0)}, ValueError, "low < high, got"),
        ({"bounds": (1, 2, 3)}, ValueError, "a pair"),
        ({"observational": "x"}, ValueError, "needs the environment label"),
        ({"decoder": no_graph}, TypeError, "return a MechanismGraph, got Linear"),
        ({"decoder": two_latents_too_many}, ValueError, r"one root of shape \(2,\)"),
        ({"decoder": one_feature_too_many}, ValueError, r"shape \(4,\).*got \(5,\)"),
        (
            {"early_stopping": True, "validation_fraction": 0.0},
            ValueError,
            "needs held-out rows",
        ),
        ({"validation_fraction": 0.99}, ValueError, "leaves 0 of 40 rows to fit"),
        ({"likelihood": "poisson"}, ValueError, "'likelihood' parameter"),
        ({"icm_penalty": SpectralPenalty}, TypeError, "must be one of"),
        ({"icm_penalty": "spectral", "icm_weight": 1}, ValueError, "has no effect"),
        ({"hidden": (), "icm_weight": 1}, ValueError, "sees nothing"),
        ({"callbacks": [1]}, TypeError, "skorch callbacks.*got 1"),
        ({"device": "meta"}, ValueError, "device='meta' cannot be used"),
        (
            {"icm_penalty": lambda step: 1.0, "icm_weight": 1},
            TypeError,
            "0-d tensor, got .* returned float",
        ),
        (
            {"icm_penalty": lambda step: torch.zeros(2), "icm_weight": 1},
            TypeError,
            r"0-d tensor, got .* returned Tensor of shape \(2,\)",
        ),
    ],
)
def test_bad_parameters(params, error, match):
    with pytest.raises(error, match=match):
        small(**params).fit(TABLE)


def test_failed_refit_keeps_the_old_model():
    model = small().fit(TABLE)
    before = model.sample(5, random_state=0)
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit([[np.nan]] * 5)
    with pytest.raises(ValueError, match="has 9 entries"):
        model.set_params(data_shape=(3, 3)).fit(TABLE[:, :2])
    assert model.n_features_in_ == 4
    assert np.array_equal(model.sample(5, random_state=0), before)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: m.intervene({}), "needs either n_samples.*neither"),
        (lambda m: m.intervene({}, X=TABLE, n_samples=3), "needs either.*both"),
        (
            lambda m: m.intervene({"dense2": 0.0}, n_samples=3),
            "'dense1'.*mean 'dense1'",
        ),
        (lambda m: m.intervene({}, X=TABLE, residual="x"), "'keep' or 'drop', got 'x'"),
        (lambda m: m.intervene({}, X=TABLE[:, :2]), "2 features.*expecting 4"),
        (lambda m: m.sample(0), "n_samples == 0, must be >= 1"),
        (lambda m: m.intervene({}, X=TABLE * 1e39), "must fit into float32"),
        (lambda m: m.score(TABLE * 1e39), "must fit into float32"),
        (lambda m: m.score_samples(TABLE, n_importance=0), "None or a positive int"),
        (lambda m: m.score_samples(TABLE, n_importance=True), "int, got True"),
    ],
)
def test_bad_queries(table_model, call, match):
    with pytest.raises(ValueError, match=match):
        call(table_model)


def test_nested_parameters_need_an_object():
    assert (
        VAEGenerator(icm_penalty=SpectralPenalty())
        .set_params(icm_penalty__form="pooled")
        .icm_penalty.form
        == "pooled"
    )
    with pytest.raises(
        ValueError, match=r"needs a penalty object.*SpectralPenalty\(\)"
    ):
        VAEGenerator().set_params(icm_penalty__form="pooled")


@pytest.mark.parametrize("far", [1e2, 1e4, 1e8, 1e30])
@pytest.mark.parametrize("n_importance", [None, 3])
def test_rows_far_outside_have_a_score(table_model, far, n_importance):
    scores = table_model.score_samples(TABLE * far, n_importance=n_importance)
    assert np.isfinite(scores).all()
    assert scores.max() < table_model.score(TABLE)


ONE_HOT = np.eye(9)[np.random.RandomState(0).randint(9, size=120)]


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("shape", [None, (2, 2)])
def test_scores_of_all_zeros_and_ones_are_those_of_probabilities(shape, likelihood):
    every = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    X = np.repeat(np.arange(80)[:, None] % 2, 4, axis=1)
    options = {"likelihood": likelihood, "max_epochs": 60, "lr": 0.02}
    model = small(data_shape=shape, bounds=None, **options)
    total = np.exp(model.fit(X).score_samples(every, n_importance=256)).sum()
    # Estimates of each are unbiased.
    assert 0.3 < total < 1.1


@pytest.mark.parametrize("shape", [None, (3, 3)])
def test_scores_of_two_values_have_the_unit_of_densities(shape):
    model = small(data_shape=shape, bounds=None, max_epochs=5)
    scores = [model.fit(k * ONE_HOT).score(k * ONE_HOT) for k in (1, 255)]
    assert scores[0] - scores[1] == pytest.approx(9 * np.log(255), abs=0.01)


def test_entries_of_more_values_have_a_density():
    mixed = np.hstack([TABLE[:, :1], TABLE[:, 1:2] > 0.5, np.ones((len(TABLE), 1))])
    model = small(bounds=None).fit(mixed)
    levels = model._fitted.model.likelihood.levels
    assert levels.tolist() == [[0, 0, 1], [0, 1, 1]]
    assert not small(data_shape=(3,)).fit(mixed)._fitted.model.likelihood.levels.any()
    assert not small().fit(ONE_HOT[:5])._fitted.model.likelihood.levels.any()
    # A stream may bring more values.
    model.partial_fit(mixed)
    assert torch.equal(model._fitted.model.likelihood.levels, levels)
    model.partial_fit(mixed / 2)
    assert not model._fitted.model.likelihood.levels.any()
    assert np.isfinite(model.score_samples(mixed)).all()


# ---------------------------------------------------------------- two values
@pytest.mark.parametrize("as_type", [float, bool])
def test_noise_that_bounds_cut_off_two_values_is_said_by_name(as_type):
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"rare": rng.rand(300) < 0.2, "other": rng.rand(300) < 0.8})
    with pytest.warns(
        UserWarning, match=r"two values \(columns rare, other\).*'bernoulli'"
    ):
        small(max_epochs=3).fit(X.astype(as_type))
    for options in ({"bounds": None}, {"likelihood": "bernoulli"}):
        model = small(max_epochs=40, lr=0.02, **options).fit(X.astype(as_type))
        draws = model.sample(4000, 0)
        assert np.allclose(draws.mean(0), X.mean(), atol=0.05)
        assert np.allclose(draws.std(0), X.std(), atol=0.05)


def test_only_columns_of_two_values_are_said_to_lose_them():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.randn(300), rng.rand(300) < 0.2, np.arange(300) < 3])
    with pytest.warns(UserWarning, match=r"two values \(columns 1\)"):
        small(max_epochs=3).fit(X)


def test_two_values_of_signals_that_bounds_cut_off_are_said():
    X = np.eye(8)[np.random.RandomState(0).randint(8, size=200)]
    with pytest.warns(UserWarning, match=r"two values \(all entries\)"):
        small(data_shape=(8,)).fit(X)


def test_two_values_that_the_decoder_makes_are_not_warned_of():
    X = np.eye(3)[np.random.RandomState(0).randint(3, size=300)]
    model = small(hidden=(32,), beta=0.1, max_epochs=60, lr=0.02).fit(X)
    draws = model.sample(4000, 0)
    assert np.allclose(draws.mean(0), X.mean(0), atol=0.05)
    assert np.allclose(draws.std(0), X.std(0), atol=0.05)
