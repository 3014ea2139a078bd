"""Are samples as close to held-out digits as those of classical density models?

Energy distance (unbiased) of 719 samples to the held-out 40 % of scikit-learn's digits
in [0, 1]; mean +- sd over splits and
seeds (0 to 2, on which the defaults were chosen; ``--first-seed 10 --seeds 6`` are
others). "Novelty" guards against copies: the
median distance of samples to the nearest training row over that of held-out rows.
"""

import argparse
import time

import numpy as np
from _common import print_table, versions
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.metrics import energy_distance

N_SAMPLES = 719


def classical(estimator):
    def draw(train, seed):
        if hasattr(estimator, "random_state"):
            estimator.set_params(random_state=seed)
        model = estimator.fit(train)
        if isinstance(model, GaussianMixture):
            return model.sample(N_SAMPLES)[0]
        return model.sample(N_SAMPLES, random_state=seed)

    return draw


def clipped(draw):
    return lambda train, seed: np.clip(draw(train, seed), train.min(), train.max())


def pca_gaussian(train, seed):
    pca = PCA(20).fit(train)
    mixture = GaussianMixture(1, random_state=seed).fit(pca.transform(train))
    return pca.inverse_transform(mixture.sample(N_SAMPLES)[0])


def vae(**params):
    def draw(train, seed):
        model = VAEGenerator(random_state=seed, **params).fit(train)
        return model.sample(N_SAMPLES, random_state=seed)

    return draw


def other_training_rows(train, seed):
    return np.random.RandomState(seed).permutation(train)[:N_SAMPLES]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few epochs, one split")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    quick = options.quick
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    epochs = {"max_epochs": 5} if quick else {}
    X = load_digits().data / 16
    arms = {
        "training rows (noise floor; copies)": other_training_rows,
        "GaussianMixture(10)": classical(GaussianMixture(10)),
        "GaussianMixture(10), clipped": clipped(classical(GaussianMixture(10))),
        "KernelDensity(0.1)": classical(KernelDensity(bandwidth=0.1)),
        "PCA(20) + Gaussian": pca_gaussian,
        "VAEGenerator(), default": vae(**epochs),
        "VAEGenerator(icm_weight=0.01)": vae(icm_weight=0.01, **epochs),
        "VAEGenerator(latent_density='gaussian')": vae(
            latent_density="gaussian", **epochs
        ),
        "VAEGenerator(data_shape=(8, 8))": vae(data_shape=(8, 8), **epochs),
    }
    rows = []
    for name, draw in arms.items():
        found = []
        for seed in seeds[:1] if quick else seeds:
            train, test = train_test_split(X, train_size=0.6, random_state=seed)
            start = time.perf_counter()
            samples = draw(train, seed)
            seconds = time.perf_counter() - start
            nearest = [np.median(cdist(a, train).min(1)) for a in (samples, test)]
            distance = energy_distance(test, samples)
            found.append((distance, nearest[0] / nearest[1], seconds))
        mean, sd = np.mean(found, 0), np.std(found, 0)
        rows.append(
            [name, f"{mean[0]:.4f} +- {sd[0]:.4f}", f"{mean[1]:.2f}", f"{mean[2]:.1f}"]
        )
        print(rows[-1], flush=True)
    print(versions())
    print_table(
        "Sample quality on digits",
        ["model", "energy distance", "novelty", "seconds"],
        rows,
    )


if __name__ == "__main__":
    main()
