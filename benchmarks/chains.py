"""What gradient descent does to exact chains, and what an independence penalty does.

Two tables, each over seeds (mean +- sd). Convolutions: training starts at the true
kernels, with noisy targets; then the first kernel is stretched by 1.5. Dense chains:
gradient descent on the population loss from different starts; then the hidden node is
rotated at random.
"""

import argparse

import numpy as np
from _common import print_table, versions
from scipy.stats import ortho_group

from sklearn_icm.datasets import make_conv_chain, make_linear_chain
from sklearn_icm.generators import ChainGenerator
from sklearn_icm.independence import (
    SpectralPenalty,
    TracePenalty,
    spectral_ratio,
    trace_ratio,
)

N_ROTATIONS = 50
TRAININGS = {
    "no label noise": {"label_noise": 0.0},
    "SGD": {},
    "SGD, 0.1 (rho - 1)^2": {"icm_weight": 0.1},
    "random start": {"init": "xavier"},
    "random start, 0.1 (rho - 1)^2": {"init": "xavier", "icm_weight": 0.1},
}


def relative_error(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


def stretched(kernel, factor=1.5):
    lags = np.arange(len(kernel)) - len(kernel) // 2
    return np.interp(lags / factor, lags, kernel, left=0, right=0)


def response(first, second):
    """Impulse response of two circular convolutions, up to a shift."""
    n = len(first)
    return np.fft.irfft(np.fft.rfft(first) * np.fft.rfft(second), n)


def conv_run(seed, n_steps, **params):
    """Fit error, rho and extrapolation error of one training."""
    chain = make_conv_chain(8000, label_noise=0.0, random_state=seed)
    options = {"init": chain.kernels, "label_noise": 0.5, **params}
    model = ChainGenerator(
        "conv",
        optimizer="sgd",
        lr=0.05,
        batch_size=16,
        max_iter=n_steps,
        icm_penalty=SpectralPenalty(loss="squared"),
        random_state=seed,
        **options,
    ).fit(chain.data[:8000], inputs=chain.noise)
    (k1, k2), (t1, t2) = (np.ravel(w) for w in model.weights_), chain.kernels
    fit = relative_error(response(k1, k2), response(t1, t2))
    rho = spectral_ratio(*model.weights_).item()
    extrapolation = response(stretched(k1), k2), response(stretched(t1), t2)
    return fit, rho, relative_error(*extrapolation)


def spectrum(first, second, rotations):
    """Mean eigenvalues of the output's covariance when the hidden node is rotated."""
    values = np.linalg.svd(second @ rotations @ first, compute_uv=False)
    return np.square(values).mean(0)


def dense_run(seed, init, weight, n_steps):
    """Squared fit error, rho, power over truth and spectrum error of one training."""
    truth = make_linear_chain(2, random_state=seed).weights
    n = len(truth[0])
    # Rows whose covariance is exactly the identity: the population's second moments.
    Z = np.sqrt(n) * np.vstack([np.eye(n), -np.eye(n)])
    model = ChainGenerator(
        init=init,
        optimizer="gd",
        lr=1.0,
        max_iter=n_steps,
        icm_penalty=TracePenalty("activation"),
        icm_weight=weight,
        random_state=seed,
    ).fit(Z @ (truth[1] @ truth[0]).T, inputs=Z)
    w1, w2 = model.weights_
    rotations = ortho_group.rvs(n, N_ROTATIONS, random_state=seed)
    found, true = (spectrum(*w, rotations) for w in ((w1, w2), truth))
    fit = relative_error(w2 @ w1, truth[1] @ truth[0]) ** 2
    power = found.sum() / true.sum()
    rho = trace_ratio(w2, w1 @ w1.T)
    return fit, rho, power, relative_error(found, true)


def summary(runs):
    values = np.transpose(runs)
    return [f"{v.mean():.3g} +- {v.std(ddof=1):.2g}" for v in values]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    seeds = range(2 if options.quick else options.seeds)
    n_conv, n_dense = (30, 30) if options.quick else (3000, 2000)
    print(versions())
    print_table(
        f"Circular convolutions, {n_conv} steps, {len(seeds)} seeds",
        ["training", "fit error", "rho", "extrapolation error"],
        [
            [name, *summary([conv_run(s, n_conv, **params) for s in seeds])]
            for name, params in TRAININGS.items()
        ],
    )
    print_table(
        f"Dense chains, {n_dense} steps, {len(seeds)} seeds",
        ["init", "weight", "squared fit error", "rho", "power ratio", "spectrum error"],
        [
            [init, w, *summary([dense_run(s, init, w, n_dense) for s in seeds])]
            for init in ("small", "identity", "xavier")
            for w in (0.0, 0.05)
        ],
    )


if __name__ == "__main__":
    main()
