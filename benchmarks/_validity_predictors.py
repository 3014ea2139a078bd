"""Predictions that no model makes: the truth and what is near it, ghosts, the mean."""

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.cluster import KMeans

NOISY, SHRUNK = (0.2, 0.5), (0.2, 0.5)
BLURRED = (0.7, 1.5)
N_MODES = 8
# Of the mean variance of a column, added to all variances before they are matched.
RIDGE = 0.01


def unfitted(world, X_obs, truth, X_env, seed):
    """``({name: paired rows}, {name: rows of the truth's law that are not paired})``.

    All rows are numeric; `truth` are the counterfactuals of `X_obs`, and `X_env` other
    rows of the same environment.
    """
    rng = np.random.RandomState(seed)
    units = world.units(X_obs)
    predictions = {"truth": truth}
    for share in NOISY:
        predictions[f"noisy truth {share:g}"] = noisy(truth, share, units, rng)
    if world.kind == "table":
        for share in SHRUNK:
            middle = truth.mean(0)
            predictions[f"shrunk truth {share:g}"] = truth + share * (middle - truth)
    else:
        for sd in BLURRED:
            rows = blurred(truth, sd, world.data_shape, world.circular)
            predictions[f"blurred truth {sd:g}"] = rows
    predictions["no intervention"] = X_obs
    predictions["mean matched"] = X_obs - X_obs.mean(0) + X_env.mean(0)
    predictions["moments matched"] = moments_matched(X_obs, X_env, units)
    predictions["mean row"] = np.repeat(X_env.mean(0)[None], len(X_obs), axis=0)
    if world.at_data is not None:
        predictions["same change of data"] = world.at_data(X_obs)
    in_law = {
        "shuffled truth": rng.permutation(truth),
        "half of the modes": half_of_modes(truth / units, rng, truth),
    }
    return predictions, in_law


def noisy(rows, share, units, rng):
    """Rows with white noise of ``share ** 2`` of their spread."""
    sd = share * np.sqrt((rows / units).var(0).mean())
    return rows + sd * units * rng.standard_normal(rows.shape)


def blurred(rows, sd, shape, circular):
    """Rows blurred along all axes but that of colours."""
    sds = (0, sd, sd, 0)[: 1 + len(shape)] if len(shape) > 1 else (0, sd)
    images = rows.reshape(-1, *shape)
    mode = "wrap" if circular else "nearest"
    return gaussian_filter(images, sds, mode=mode).reshape(len(rows), -1)


def moments_matched(X, target, units):
    """Optimal linear transport of the rows' mean and covariance to those of others."""
    X, target = X / units, target / units
    ridge = RIDGE * X.var(0).mean() * np.eye(X.shape[1])
    source, aim = (np.cov(rows.T) + ridge for rows in (X, target))
    root, inverse = matrix_power(source, 0.5), matrix_power(source, -0.5)
    plan = inverse @ matrix_power(root @ aim @ root, 0.5) @ inverse
    return ((X - X.mean(0)) @ plan + target.mean(0)) * units


def matrix_power(matrix, power):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.clip(values, 1e-12, None) ** power) @ vectors.T


def half_of_modes(scaled, rng, rows):
    """Rows of half of the clusters, used again until there are as many as before."""
    found = KMeans(N_MODES, n_init=1, random_state=rng).fit_predict(scaled)
    largest = np.argsort(np.bincount(found))[::-1]
    kept = np.flatnonzero(np.isin(found, largest[::2]))
    return rows[np.resize(rng.permutation(kept), len(rows))]
