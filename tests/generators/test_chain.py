import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import convolve
from scipy.stats import multivariate_normal
from sklearn.base import clone

from sklearn_icm.datasets import make_linear_chain
from sklearn_icm.exceptions import FitDivergedError, FitInterruptedWarning
from sklearn_icm.generators import ChainGenerator
from sklearn_icm.independence import TracePenalty, trace_ratio
from sklearn_icm.interventions import Do
from sklearn_icm.utils.estimator_checks import check_generator

N = 6
RNG = np.random.RandomState(0)
X = RNG.randn(30, N) @ RNG.randn(N, N) + RNG.randn(N)
Z = RNG.randn(30, N)
KINDS = [
    {},
    {"n_layers": 3},
    {"kind": "conv"},
    {"kind": "conv", "init": [np.ones(2), np.ones(5)]},
    {"kind": "conv", "data_shape": (2, 3), "padding": "zeros"},
    {"kind": "conv", "data_shape": (3, 2), "kernel_size": (2, 1)},
]


def quick(**params):
    return ChainGenerator(**{"max_iter": 20, "random_state": 0, **params})


def matrix_of(model):
    """The whole chain as a matrix, by numpy and scipy alone."""
    n = model.n_features_in_
    if model.kind == "dense":
        return np.linalg.multi_dot(model.weights_[::-1])
    rows = np.eye(n).reshape(n, *(model.data_shape or (n,)))
    mode = {"circular": "wrap", "zeros": "constant"}[model.padding]
    for weight in model.weights_:
        rows = np.stack([convolve(row, weight[0, 0], mode=mode) for row in rows])
    return rows.reshape(n, n).T


# ------------------------------------------------------------------- closed forms
@pytest.mark.parametrize("params", KINDS, ids=str)
@pytest.mark.parametrize("inputs", [None, Z], ids=["samples", "pairs"])
def test_rows_are_affine_in_the_noise(params, inputs):
    model = quick(**params).fit(X, inputs=inputs)
    nodes = model.node_values(n_samples=9, random_state=0)
    found = nodes["data"].reshape(9, -1)
    expected = model.offset_ + nodes["noise"] @ matrix_of(model).T
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("params", KINDS, ids=str)
def test_density_is_normal(params):
    model = quick(**params).fit(X)
    matrix = matrix_of(model)
    covariance = matrix @ matrix.T + model.noise_variance_ * np.eye(N)
    mean = np.broadcast_to(model.offset_, N)
    expected = multivariate_normal(mean, covariance).logpdf(X)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-9)
    assert model.score(X) == pytest.approx(expected.mean())


@pytest.mark.parametrize("params", KINDS, ids=str)
def test_abduction_is_the_posterior_mean(params):
    model = quick(**params).fit(X, inputs=Z)
    matrix = matrix_of(model)
    precision = matrix.T @ matrix + model.noise_variance_ * np.eye(N)
    expected = np.linalg.solve(precision, matrix.T @ (X - model.offset_).T).T
    np.testing.assert_allclose(model.abduct(X).noise, expected, atol=1e-10)


def test_counterfactuals_are_exact():
    model = quick(max_iter=200).fit(X)
    (_, w2), value = model.weights_, np.arange(N)
    nodes = model.node_values(X)
    expected = X + (value - nodes["dense1"]) @ w2.T
    found = model.intervene({"dense1": Do(value)}, X=X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
    pure = model.intervene({"dense1": Do(value)}, X=X, residual="drop")
    np.testing.assert_allclose(pure, [w2 @ value + model.offset_] * len(X), atol=1e-11)


@pytest.mark.parametrize("n_rows", [10, 400])
def test_a_step_with_inputs_is_that_of_all_rows(n_rows):
    """Many rows are replaced by few with the same second moments."""
    rng = np.random.RandomState(1)
    rows, z = rng.randn(n_rows, 4), rng.randn(n_rows, 3)
    w1, w2 = rng.randn(5, 3), rng.randn(4, 5)
    model = quick(init=[w1, w2], optimizer="gd", lr=0.1, max_iter=1)
    model.fit(rows, inputs=z)
    z0, x0 = z - z.mean(0), rows - rows.mean(0)
    residual = z0 @ (w2 @ w1).T - x0
    gradient = 2 * residual.T @ z0 / rows.size
    expected = w1 - 0.1 * w2.T @ gradient, w2 - 0.1 * gradient @ w1.T
    for found, want in zip(model.weights_, expected, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-12)
    assert model.history_["loss"].item() == pytest.approx(np.square(residual).mean())
    residual = rows - z @ np.linalg.multi_dot(model.weights_[::-1]).T
    np.testing.assert_allclose(model.offset_, residual.mean(0), atol=1e-12)
    assert model.noise_variance_ == pytest.approx(residual.var(0).mean())


def test_a_step_from_samples_descends_the_distance_of_covariances():
    w1, w2 = np.random.RandomState(2).randn(2, N, N)
    model = quick(init=[w1, w2], optimizer="gd", lr=0.1, max_iter=1).fit(X)
    covariance = np.cov(X.T, bias=True)
    power, whole = covariance.trace() / N, w2 @ w1
    gap = whole @ whole.T - covariance
    gradient = 4 * gap @ whole / (N * power**2)
    step = 0.1 * np.sqrt(power)
    expected = w1 - step * w2.T @ gradient, w2 - step * gradient @ w1.T
    for found, want in zip(model.weights_, expected, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-12)
    loss = np.square(gap).sum() / (N * power**2)
    assert model.history_["loss"].item() == pytest.approx(loss)


def test_regression_reaches_least_squares():
    model = quick(max_iter=3000).fit(X, inputs=Z)
    centred = Z - Z.mean(0)
    expected = np.linalg.lstsq(centred, X - X.mean(0), rcond=None)[0].T
    np.testing.assert_allclose(matrix_of(model), expected, atol=1e-4)


def test_samples_give_the_covariance():
    model = quick(max_iter=1500).fit(X)
    matrix, covariance = matrix_of(model), np.cov(X.T, bias=True)
    gap = np.linalg.norm(matrix @ matrix.T - covariance) / np.linalg.norm(covariance)
    assert gap < 1e-3


def test_signals_give_the_power_spectrum():
    signals = RNG.randn(400, 16) @ RNG.randn(16, 16)
    model = quick(kind="conv", max_iter=1500).fit(signals)
    expected = np.square(np.abs(np.fft.fft(signals - signals.mean()))).mean(0) / 16
    kernels = np.fft.fft([w.ravel() for w in model.weights_])
    found = np.square(np.abs(kernels)).prod(0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * expected.max())


@pytest.mark.parametrize("optimizer", ["gd", "adam"])
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_samples_alone_have_no_unit(optimizer, factor):
    model = quick(optimizer=optimizer, init="small")
    weights = clone(model).fit(X).weights_
    scaled = model.fit(factor * X).weights_
    for w, s in zip(weights, scaled, strict=True):
        np.testing.assert_allclose(s, np.sqrt(factor) * w, rtol=1e-4)


def test_without_noise_the_truth_stays():
    truth = make_linear_chain(50, n_features=5, n_layers=3, random_state=0)
    model = quick(n_layers=3, init=truth.weights, optimizer="sgd", batch_size=8)
    model.fit(truth.data[:50], inputs=truth.noise)
    for found, weight in zip(model.weights_, truth.weights, strict=True):
        np.testing.assert_allclose(found, weight, atol=1e-12)


# ------------------------------------------------------------------------- laws
@given(st.integers(1, 7), st.integers(1, 7), st.integers(7, 9), st.booleans())
def test_kernels_of_any_size_convolve(k1, k2, n, circular):
    rng = np.random.RandomState(0)
    padding = "circular" if circular else "zeros"
    kernels = [rng.randn(k1), rng.randn(k2)]
    model = quick(kind="conv", init=kernels, padding=padding, max_iter=1, lr=1e-30)
    model.fit(rng.randn(3, n))
    nodes = model.node_values(n_samples=2, random_state=0)
    found = (nodes["data"] - model.offset_).reshape(2, n)
    expected = nodes["noise"] @ matrix_of(model).T
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "sgd", "batch_size": 4, "label_noise": 0.5, "lr": 0.1},
        {"optimizer": "adam", "icm_weight": 0.1},
        {"optimizer": "adam", "batch_size": 4, "icm_weight": 0.1},
        {"optimizer": "gd", "kind": "conv", "icm_weight": 0.1},
    ],
    ids=str,
)
def test_training_in_parts_is_training_at_once(params):
    whole = quick(max_iter=30, **params).fit(X, inputs=Z)
    parts = quick(max_iter=10, warm_start=True, **params)
    for _ in range(3):
        parts.fit(X, inputs=Z)
    for a, b in zip(whole.weights_, parts.weights_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert whole.history_.equals(parts.history_)
    assert parts.n_iter_ == 30


def test_partial_fit_makes_one_pass():
    model = quick(batch_size=7)
    assert model.partial_fit(X, inputs=Z).n_iter_ == 5
    assert model.partial_fit(X, inputs=Z).n_iter_ == 10
    assert quick().partial_fit(X).partial_fit(X).n_iter_ == 2


def test_steps_of_mini_batches_are_unbiased():
    """Averaged over batches, a step is the one of all rows (5 sigma)."""
    start = quick(init="xavier", max_iter=1, optimizer="gd").fit(X, inputs=Z)
    options = {"optimizer": "sgd", "batch_size": 5, "label_noise": 1.0}
    batches = np.array(
        [
            quick(init=_first_weights(), max_iter=1, random_state=seed, **options)
            .fit(X, inputs=Z)
            .weights_[0]
            for seed in range(200)
        ]
    )
    whole = clone(start).set_params(init=_first_weights()).fit(X, inputs=Z).weights_[0]
    error = batches.std(0) / np.sqrt(len(batches))
    assert (np.abs(batches.mean(0) - whole) < 5 * error).all()


def _first_weights():
    return list(np.random.RandomState(5).randn(2, N, N))


@pytest.mark.parametrize("init", ["small", "identity", "xavier"])
def test_descent_keeps_the_balance(init):
    """W1 W1^T - W2^T W2 does not move under gradient flow: the source of dependence."""
    model = quick(init=init, optimizer="gd", lr=0.01, max_iter=1).fit(X)
    first = _imbalance(model)
    model.set_params(max_iter=500, warm_start=True).fit(X)
    power = np.linalg.norm(model.weights_[0]) ** 2
    assert np.linalg.norm(_imbalance(model) - first) < 0.02 * power


def _imbalance(model):
    w1, w2 = model.weights_
    return w1 @ w1.T - w2.T @ w2


def test_a_penalty_makes_mechanisms_independent():
    options = {"max_iter": 800, "icm_penalty": TracePenalty("activation")}
    rho = {}
    for weight in (0.0, 0.1):
        model = quick(icm_weight=weight, init="small", **options).fit(X)
        w1, w2 = model.weights_
        rho[weight] = trace_ratio(w2, w1 @ w1.T)
        last = model.history_.iloc[-1]
        assert last["loss"] == pytest.approx(
            last["fit"] + weight * last.get("penalty", 0.0)
        )
    assert abs(rho[0.0] - 1) > 0.3
    assert abs(rho[0.1] - 1) < 0.01
    assert last["penalty"] == pytest.approx(np.log(rho[0.1]) ** 2, abs=1e-4)


@pytest.mark.parametrize(
    "params",
    [
        {"kind": "conv", "data_shape": (5,), "kernel_size": 3, "optimizer": "sgd"},
        {"kind": "conv", "data_shape": (3, 4), "padding": "zeros", "batch_size": 4},
        {"n_layers": 3, "optimizer": "gd", "init": "small", "icm_weight": 0.1},
    ],
    ids=str,
)
def test_generator_contract(params):
    check_generator(quick(**params))


# ------------------------------------------------------------------ state and data
def test_state_survives_pickling_with_given_weights_and_inputs():
    rng = np.random.RandomState(0)
    init = [rng.randn(5, 3), rng.randn(N, 5)]
    model = quick(init=init).fit(X, inputs=Z[:, :3])
    assert model.nodes_ == {"noise": (3,), "dense1": (5,), "data": (N,)}
    model.set_params(init="small", n_layers=4)
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.sample(5, 0), model.sample(5, 0))
    assert np.array_equal(loaded.score_samples(X), model.score_samples(X))
    assert loaded.offset_.shape == (N,)


def test_only_observational_pairs_count():
    labels = np.arange(len(X)) % 2
    marked = Z.copy()
    marked[labels == 1] = 77.0
    models = [
        quick(observational=0).fit(X, labels, inputs=z).weights_ for z in (Z, marked)
    ]
    assert all(map(np.array_equal, *models))


def test_inputs_of_any_scale_and_mean():
    shifted = quick().fit(X, inputs=Z + 5)
    plain = quick().fit(X, inputs=Z)
    np.testing.assert_allclose(matrix_of(shifted), matrix_of(plain), atol=1e-8)
    expected = plain.offset_ - 5 * matrix_of(plain).sum(1)
    np.testing.assert_allclose(shifted.offset_, expected, atol=1e-7)


@pytest.mark.parametrize("params", KINDS[:3], ids=str)
@pytest.mark.parametrize(
    "rows",
    [X[:3], X @ np.diag([1.0, 1, 1, 0, 0, 0]), np.ones((4, N)), np.zeros((4, N))],
    ids=["few", "rank-deficient", "constant", "zero"],
)
def test_singular_data_have_a_regularised_density(rows, params):
    model = quick(max_iter=300, **params).fit(rows)
    variance = np.square(rows - model.offset_).mean()
    assert model.noise_variance_ >= 1e-6 * min(variance, 1.0) * 0.99
    assert np.isfinite(model.score_samples(rows)).all()
    assert np.isfinite(model.sample(50, 0)).all()
    np.testing.assert_allclose(model.intervene({}, X=rows), rows, atol=1e-12)


def test_divergence_keeps_the_last_finite_weights():
    model = quick(optimizer="gd", lr=50.0, max_iter=100)
    with pytest.raises(FitDivergedError, match="'fit' became non-finite"):
        model.fit(X)
    assert np.isfinite(np.hstack([w.ravel() for w in model.weights_])).all()
    assert 1 <= model.n_iter_ < 100
    assert np.isfinite(model.history_.to_numpy()).all()
    with pytest.raises(FitDivergedError, match="no model to keep"):
        quick(init=[1e200 * np.eye(N)] * 2, icm_penalty=None).fit(X)


def test_interruption_leaves_a_usable_model():
    calls = []

    def penalty(step):
        calls.append(step.batch.epoch)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return torch.zeros(())

    model = quick(icm_penalty=penalty, icm_weight=1.0)
    with pytest.warns(FitInterruptedWarning, match="after 5 of 20"):
        model.fit(X)
    assert model.n_iter_ == 5
    assert calls == [0, *range(6)]
    assert model.sample(3).shape == (3, N)


@pytest.mark.parametrize(
    ("params", "inputs", "message"),
    [
        (
            {"kind": "conv", "kernel_size": 7},
            None,
            r"longer than the signal, \(6,\)",
        ),
        ({"kind": "conv", "init": [np.ones(7)] * 2}, None, "init: kernels must be no"),
        ({"kind": "conv", "init": [np.ones((2, 2))] * 2}, None, "kernels of 1 axes"),
        ({"kind": "conv", "kernel_size": [3, 2]}, None, "one int per axis.* 1, got"),
        ({"kind": "conv", "kernel_size": [0]}, None, "kernel_size must be None"),
        (
            {"kind": "conv", "kernel_size": 3, "init": [np.ones(3)] * 2},
            None,
            "kernel_size must be None where init",
        ),
        ({"kind": "conv", "data_shape": (1, 2, 3)}, None, "one channel"),
        ({"kind": "conv", "data_shape": (5,)}, None, "has 5 entries"),
        ({"kind": "conv"}, Z[:, :3], "as many columns as X"),
        ({"data_shape": (6,)}, None, 'data_shape is for kind="conv"'),
        ({"init": [np.eye(N)]}, None, "one array per mechanism, n_layers=2, got 1"),
        ({"init": [np.eye(N), np.eye(5)]}, None, "what the one before makes"),
        ({"init": [np.ones(N)] * 2}, None, r"matrices \(out, in\)"),
        ({"init": [np.full((N, N), np.nan)] * 2}, None, "init must be finite"),
        ({"init": ["a", "b"]}, None, "list of arrays of numbers"),
        ({"init": [np.eye(N)] * 2}, Z[:, :3], "inputs must have 6 columns"),
        ({}, Z[:5], "inconsistent numbers of samples"),
        ({}, np.full_like(Z, np.inf), "contains infinity"),
        ({"label_noise": 0.5}, None, "needs the inputs"),
        ({"icm_penalty": "spectral", "icm_weight": 1.0}, None, "has no effect"),
    ],
)
def test_bad_input_is_refused(params, inputs, message):
    with pytest.raises(ValueError, match=message):
        quick(**params).fit(X, inputs=inputs)


def test_a_continuation_needs_inputs_of_the_same_width():
    model = quick(warm_start=True).fit(X, inputs=Z[:, :3])
    with pytest.raises(ValueError, match="inputs must have 3 columns"):
        model.fit(X, inputs=Z)
    with pytest.raises(ValueError, match="n_layers cannot change"):
        model.set_params(n_layers=3).fit(X, inputs=Z[:, :3])


def test_the_report_shows_the_ratio_of_the_weights_as_they_are():
    first, second = np.diag([1.0, 2.0, 4.0]), np.diag([1.0, 2.0, 3.0])
    X = np.random.RandomState(0).randn(50, 3)
    chain = ChainGenerator(init=[first, second], max_iter=1, lr=1e-12, random_state=0)
    rho = chain.fit(X, inputs=X).independence()["rho"].item()
    assert rho == pytest.approx(trace_ratio(second, first @ first.T), rel=1e-5)
    assert rho > 1.3


def test_foreign_penalties_draw_under_the_seed():
    X = np.random.RandomState(0).randn(40, 3)

    def draws(step):
        return torch.rand(()) * step.nodes["data"].square().mean()

    before = torch.get_rng_state()
    params = {"icm_penalty": draws, "icm_weight": 0.1, "max_iter": 5, "random_state": 0}
    first, second = (ChainGenerator(**params).fit(X) for _ in range(2))
    assert np.array_equal(first.weights_, second.weights_)
    assert torch.equal(torch.get_rng_state(), before)
