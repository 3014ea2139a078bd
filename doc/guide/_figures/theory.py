"""Figures of ratios, nulls and chains."""

import numpy as np

from .style import BLUE, ORANGE, axes


def independence():
    from sklearn.datasets import load_digits

    from sklearn_icm.generators import VAEGenerator
    from sklearn_icm.inspection import IndependenceDisplay

    X = load_digits().data[:800] / 16
    figure, both = axes(2, 10, 3, sharex=True)
    for ax, weight in zip(both, (0.0, 0.1), strict=True):
        model = VAEGenerator(
            hidden=(64, 64), max_epochs=15, icm_weight=weight, random_state=0
        ).fit(X)
        IndependenceDisplay.from_estimator(model, ax=ax)
        ax.set_xlabel(f"power that a random change gains, icm_weight={weight:g}")
    return figure


def theory():
    from sklearn_icm.independence import spectral_ratio, trace_ratio

    rng = np.random.RandomState(0)
    figure, (left, right) = axes(2, 7.2, 2.8, sharey=True)
    bins = np.linspace(0, 2.5, 51)
    for size, colour in ((3, "C0"), (5, "C1"), (11, "C2")):
        ratios = [
            spectral_ratio(*rng.randn(2, 1, 1, size, size)).item() for _ in range(2000)
        ]
        left.hist(
            ratios,
            bins,
            histtype="step",
            density=True,
            color=colour,
            label=f"{size} x {size}",
        )
    for size, colour in ((5, "C0"), (10, "C1"), (30, "C2")):
        ratios = []
        for _ in range(2000):
            first, second = rng.randn(2, size, size)
            ratios.append(trace_ratio(second, first @ first.T))
        right.hist(
            ratios,
            bins,
            histtype="step",
            density=True,
            color=colour,
            label=f"{size} units",
        )
    for ax, name in ((left, "kernels"), (right, "matrices")):
        ax.axvline(1, color="k", linewidth=0.6)
        ax.set(xlabel="ratio", title=f"independent {name}")
        ax.legend()
    left.set_ylabel("density")
    return figure


def drifted(width, weight, seed):
    """True ratio and extrapolation error after training that starts at the truth."""
    from sklearn_icm.datasets import make_conv_chain
    from sklearn_icm.generators import ChainGenerator
    from sklearn_icm.independence import SpectralPenalty, spectral_ratio

    chain = make_conv_chain(1000, label_noise=0.0, random_state=seed)
    lags = np.arange(64) - 32
    first, second = chain.kernels[0], np.exp(-(lags**2) / (2 * width**2))
    second = second / np.linalg.norm(second)

    def response(k1, k2):
        return np.fft.ifft(np.fft.fft(k1) * np.fft.fft(k2))

    def stretched(kernel):
        return np.interp(lags / 1.5, lags, kernel, left=0, right=0)

    spectrum = np.fft.fft(np.fft.ifftshift(first)) * np.fft.fft(
        np.fft.ifftshift(second)
    )
    rows = np.fft.ifft(np.fft.fft(chain.noise) * spectrum).real
    model = ChainGenerator(
        "conv",
        init=[first, second],
        optimizer="sgd",
        lr=0.05,
        batch_size=16,
        max_iter=2000,
        label_noise=0.5,
        icm_penalty=SpectralPenalty(loss="squared"),
        icm_weight=weight,
        random_state=seed,
    ).fit(rows, inputs=chain.noise)
    k1, k2 = map(np.ravel, model.weights_)
    truth = response(stretched(first), second)
    error = np.linalg.norm(response(stretched(k1), k2) - truth) / np.linalg.norm(truth)
    return spectral_ratio(first[None, None], second[None, None]).item(), error


def chains():
    figure, ax = axes(height=3)
    for weight, colour in ((0.0, ORANGE), (0.1, BLUE)):
        found = np.array(
            [
                [drifted(width, weight, seed) for seed in range(3)]
                for width in (2.0, 4.0, 4.5, 5.0, 5.5, 6.0)
            ]
        )
        ratio, error = found[:, 0, 0], found[..., 1]
        ax.errorbar(
            ratio,
            error.mean(1),
            error.std(1),
            fmt="o-",
            color=colour,
            capsize=3,
            label=f"icm_weight={weight:g}",
        )
    ax.set(xlabel="true ratio", ylabel="extrapolation error", ylim=(0, None))
    ax.legend()
    return figure


def identifiability():
    from sklearn_icm.datasets import make_linear_chain
    from sklearn_icm.generators import ChainGenerator
    from sklearn_icm.interventions import Scale, Units
    from sklearn_icm.metrics import fit_refits

    X = make_linear_chain(600, n_features=6, random_state=0).data[:600]
    refits = fit_refits(ChainGenerator(max_iter=400), X, n_refits=5, random_state=0)
    questions = {
        "as fitted": {},
        "hidden node doubled": {"dense1": Scale(2.0)},
        "units 0 and 1 off": {"dense1": Units([0, 1], Scale(0.0))},
    }
    figure, grid = axes(3, 7.4, 2.6)
    for ax, (name, change) in zip(grid, questions.items(), strict=True):
        for refit in refits:
            rows = refit.intervene(change, n_samples=4000, random_state=0)
            ax.plot(rows.var(axis=0), "o-", markersize=4)
        ax.set(title=name, xlabel="column", ylim=(0, None))
    grid[0].set_ylabel("variance")
    return figure
