"""Exact chains: descent makes mechanisms dependent, a penalty independent again."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from sklearn_icm.datasets import make_conv_chain, make_linear_chain
from sklearn_icm.generators import ChainGenerator
from sklearn_icm.independence import (
    SpectralPenalty,
    TracePenalty,
    spectral_ratio,
    trace_ratio,
)

N = 20
# Second moments that are exactly those of standard normal noise.
WHITE = np.sqrt(N) * np.vstack([np.eye(N), -np.eye(N)])


def relative_error(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


def dense_fit(seed, init, weight, n_steps):
    truth = make_linear_chain(2, n_features=N, random_state=seed).weights
    model = ChainGenerator(
        init=init,
        optimizer="gd",
        lr=1.0,
        max_iter=n_steps,
        icm_penalty=TracePenalty("activation"),
        icm_weight=weight,
        random_state=seed,
    )
    return truth, model.fit(WHITE @ (truth[1] @ truth[0]).T, inputs=WHITE).weights_


def rho_of(weights):
    return trace_ratio(weights[1], weights[0] @ weights[0].T)


def spectrum(weights, rotations):
    values = np.linalg.svd(weights[1] @ rotations @ weights[0], compute_uv=False)
    return np.square(values).mean(0)


def test_small_weights_end_balanced_and_dependent():
    """rho = tau(S^2) / tau(S)^2 with S the singular values of the whole chain."""
    truth, found = dense_fit(0, "small", 0.0, 1000)
    values = np.linalg.svd(truth[1] @ truth[0], compute_uv=False)
    predicted = np.square(values).mean() / values.mean() ** 2
    assert relative_error(found[1] @ found[0], truth[1] @ truth[0]) < 0.02
    assert rho_of(found) == pytest.approx(predicted, rel=0.02)
    assert predicted > 1.5


def test_power_under_rotations_is_the_ratio_of_rhos():
    """1 / rho is what a random rotation does to the power, so a penalty restores it."""
    rotations = ortho_group.rvs(N, 400, random_state=0)
    truth, found = dense_fit(1, "identity", 0.0, 1000)
    power = spectrum(found, rotations).sum() / spectrum(truth, rotations).sum()
    assert power == pytest.approx(rho_of(truth) / rho_of(found), rel=0.03)


def conv_fit(seed, n_steps, weight, label_noise=0.5):
    chain = make_conv_chain(8000, label_noise=0.0, random_state=seed)
    model = ChainGenerator(
        "conv",
        init=chain.kernels,
        optimizer="sgd",
        lr=0.05,
        batch_size=16,
        max_iter=n_steps,
        label_noise=label_noise,
        icm_penalty=SpectralPenalty(loss="squared"),
        icm_weight=weight,
        random_state=seed,
    ).fit(chain.data[:8000], inputs=chain.noise)
    (k1, k2), (t1, t2) = (np.ravel(w) for w in model.weights_), chain.kernels
    fit = relative_error(
        *(np.fft.fft(a) * np.fft.fft(b) for a, b in [(k1, k2), (t1, t2)])
    )
    outputs = (
        np.fft.fft(_stretched(a)) * np.fft.fft(b) for a, b in [(k1, k2), (t1, t2)]
    )
    return fit, spectral_ratio(*model.weights_).item(), relative_error(*outputs)


def _stretched(kernel):
    lags = np.arange(len(kernel)) - len(kernel) // 2
    return np.interp(lags / 1.5, lags, kernel, left=0, right=0)


def test_without_label_noise_the_true_kernels_stay():
    fit, rho, error = conv_fit(0, 100, 0.0, label_noise=0.0)
    assert max(fit, error) < 1e-9
    assert rho == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_sgd_hinders_extrapolation_and_independence_restores_it():
    """Five seeds, within three standard deviations of the published set-up's values."""
    plain = np.array([conv_fit(seed, 3000, 0.0) for seed in range(5)])
    kept = np.array([conv_fit(seed, 3000, 0.1) for seed in range(5)])
    for runs, expected, sd in (
        (plain, (0.038, 1.618, 0.150), (0.004, 0.018, 0.002)),
        (kept, (0.043, 1.006, 0.038), (0.004, 0.013, 0.004)),
    ):
        assert (np.abs(runs.mean(0) - expected) < 3 * np.array(sd)).all()
    assert kept[:, 2].mean() <= 0.30 * plain[:, 2].mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("init", "weight", "bound"),
    [
        ("small", 0.0, None),
        ("small", 0.05, 0.35),
        ("identity", 0.0, None),
        ("identity", 0.05, 0.20),
        ("xavier", 0.0, None),
        ("xavier", 0.05, None),
    ],
)
def test_deep_linear_chains_from_three_starts(init, weight, bound):
    errors, rhos = [], []
    for seed in range(5):
        truth, found = dense_fit(seed, init, weight, 2000)
        rotations = ortho_group.rvs(N, 50, random_state=seed)
        assert relative_error(found[1] @ found[0], truth[1] @ truth[0]) < 0.02
        errors.append(relative_error(*(spectrum(w, rotations) for w in (found, truth))))
        rhos.append(rho_of(found))
    if weight:
        assert np.abs(np.array(rhos) - 1).max() < 0.02
    elif init != "xavier":
        assert np.min(rhos) > 1.5
        assert np.mean(errors) > 0.4
    if bound is not None:
        assert np.mean(errors) <= bound
