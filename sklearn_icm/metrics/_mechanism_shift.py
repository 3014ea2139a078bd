"""Which mechanisms of a graph changed between environments?"""

from numbers import Integral

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import false_discovery_control
from sklearn.utils import check_random_state

from ..utils.checks import check_level, check_scalar
from ..utils.environments import find_rows, resolve_environments
from ..utils.pipelines import before_last, check_graph_generator

__all__ = ["families", "mechanism_shift"]


def mechanism_shift(
    estimator,
    X,
    environments,
    *,
    observational=None,
    level=0.05,
    n_permutations=999,
    max_rows=300,
    random_state=None,
):
    """Test per environment and column whether the column's mechanism changed.

    Parameters
    ----------
    estimator : fitted GraphGenerator
    X : array-like of shape (n_samples, n_features)
        Rows of the observational environment beside those of others.
    environments : array-like of shape (n_samples,)
        Label of every row.
    observational : label or list of labels, optional
        Of the rows that the others are compared with; None takes the estimator's.
    level : float
        Rate of false discoveries that is controlled within each environment.
    n_permutations : int
    max_rows : int
        Rows of an environment that are used, drawn at random; twice as many of the
        observational ones.
    random_state : int, RandomState or None
        Of all draws; None is a fixed stream.

    Returns
    -------
    DataFrame
        ``environment``, ``node``, ``distance`` (energy distance of the noise, in
        standardised units), ``p_value``, ``q_value`` (Benjamini-Hochberg) and
        ``changed`` (q_value <= level).

    Raises
    ------
    ValueError
        Without environments, without an observational label, or for unknown labels.

    Notes
    -----
    Under an unchanged mechanism the noise behind a column does not depend on the
    environment, whatever happened to its parents. (That behind a level is drawn from
    all noise that gives it: its middle would move with the parents.) So that a
    mechanism which is only nearly right is not blamed for a shift of the parents, every
    row is compared with one of like parents: rows are matched one to one, and labels
    are permuted within pairs. Where an environment's parents are far from all
    observational ones, no row is alike, and the test also sees how the mechanism
    extrapolates.

    References
    ----------
    Budhathoki, Janzing, Bloebaum, Ng (2021), *Why did the distribution change?*,
    AISTATS. Székely, Rizzo (2013), *Energy statistics*. Rüschendorf (2009), *On the
    distributional transform, Sklar's theorem, and the empirical copula process* (noise
    of levels).
    """
    check_scalar(n_permutations, "n_permutations", Integral, min_val=1)
    check_scalar(max_rows, "max_rows", Integral, min_val=2)
    check_level(level)
    X, estimator = before_last(estimator, X), check_graph_generator(estimator)
    labels = resolve_environments(X, environments, required_by="mechanism_shift")
    if observational is None:
        observational = getattr(estimator, "observational", None)
    if observational is None:
        raise ValueError(
            "mechanism_shift needs the label of the rows to compare with: give "
            "observational=."
        )
    rng = check_random_state(0 if random_state is None else random_state)
    basis = find_rows(labels, observational)
    values = estimator.node_values(X)[list(estimator.nodes_)[-1]].astype(float)
    noise = _noise_behind(estimator, X)
    tables = []
    for label in dict.fromkeys(labels[~basis].tolist()):
        own, other = (
            rng.permutation(np.flatnonzero(rows))[:most]
            for rows, most in ((labels == label, max_rows), (basis, 2 * max_rows))
        )
        table = _compare(estimator, values, noise, own, other, n_permutations, rng)
        tables.append(table.assign(environment=label))
    table = pd.concat(tables or [_compare_nothing()], ignore_index=True)
    table["changed"] = table["q_value"] <= level
    columns = ["environment", "node", "distance", "p_value", "q_value", "changed"]
    return table[columns]


def _noise_behind(estimator, X):
    has_levels = bool(estimator.categories_)
    noise = estimator.abduct(X).noise if has_levels else estimator.transform(X)
    return np.asarray(noise, dtype=float)


def families(estimator):
    """``{column: (its position, positions of its parents)}`` of a fitted graph."""
    mechanisms = dict(estimator.mechanisms_)
    names = list(mechanisms.popitem()[1][0])
    places = {name: k for k, name in enumerate(names)}
    return {
        name: (places[name], [places[p] for p in mechanisms[name][0] if p in places])
        for name in names
    }


def _compare(estimator, values, noise, own, other, n_permutations, rng):
    rows = []
    for name, (k, parents) in families(estimator).items():
        first, second = _matched(values[:, parents], own, other)
        pooled = np.concatenate([noise[first, k], noise[second, k]])
        rows.append((name, *_swap_test(pooled, n_permutations, rng)))
    table = pd.DataFrame(rows, columns=["node", "distance", "p_value"])
    return table.assign(q_value=false_discovery_control(table["p_value"]))


def _compare_nothing():
    return pd.DataFrame(
        columns=["environment", "node", "distance", "p_value", "q_value"]
    )


def _matched(parents, own, other):
    """Rows in pairs of like parents, each row at most once."""
    if not parents.shape[1]:
        n_pairs = min(len(own), len(other))
        return own[:n_pairs], other[:n_pairs]
    spread = parents[other].std(0)
    scaled = parents / np.where(spread > 0, spread, 1.0)
    first, second = linear_sum_assignment(cdist(scaled[own], scaled[other]))
    return own[first], other[second]


def _swap_test(pooled, n_permutations, rng):
    """Energy distance of the halves, and its p-value under swaps within pairs."""
    n = len(pooled) // 2
    distances = np.abs(pooled[:, None] - pooled)
    swaps = rng.choice([-1.0, 1.0], (n_permutations, n))
    signs = np.vstack([np.ones(n), swaps])
    signs = np.hstack([signs, -signs])
    # Of the sums within and between the halves: -(within - between) / n^2.
    energies = -np.einsum("ij,ij->i", signs @ distances, signs) / n**2
    tolerance = 1e-9 * max(1.0, abs(energies[0]))
    return float(energies[0]), float(np.mean(energies >= energies[0] - tolerance))
