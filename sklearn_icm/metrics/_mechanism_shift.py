"""Which mechanisms of a graph changed between environments?"""

import copy
from numbers import Integral

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import false_discovery_control
from sklearn.utils import check_random_state

from ..compose._wrap import over_refits, what_is_counted
from ..utils.checks import check_level, check_scalar
from ..utils.environments import find_rows, resolve_environments
from ..utils.pipelines import before_last, check_graph_generator
from ..utils.reports import Report
from ..utils.support import MOST_FITTED, support_distances

__all__ = ["families", "mechanism_shift"]

COLUMNS = ["node", "distance", "n_rows", "outside", "p_value"]
# Share of rows whose parents left the support, above which there is no verdict.
MOST_OUTSIDE = 0.05
# Rows whose matching is optimal, and entries of weights held at a time.
BLOCK, AT_ONCE = 300, 2**21


def mechanism_shift(
    estimator,
    X,
    environments,
    *,
    observational=None,
    alpha=0.05,
    n_permutations=999,
    max_rows=3000,
    random_state=None,
):
    """Test per environment and column whether the column's mechanism changed.

    Parameters
    ----------
    estimator : fitted GraphGenerator
        Or a :class:`~sklearn_icm.compose.BootstrapGenerator` of one.
    X : array-like of shape (n_samples, n_features)
        Rows of the observational environment beside those of others.
    environments : array-like of shape (n_samples,)
        Label of every row.
    observational : label or list of labels, optional
        Of the rows that the others are compared with; None takes the estimator's.
    alpha : float
        Rate of false discoveries that is controlled within each environment.
    n_permutations : int
    max_rows : int
        Rows of an environment that are matched by their parents, drawn at random; twice
        as many of the observational ones. Columns without parents use all rows.
    random_state : int, RandomState or None
        Of all draws; None is a fixed stream.

    Returns
    -------
    Report
        A sentence for each environment, and for "the intervals" of a bootstrap what
        these count; in ``table_`` ``environment``, ``node``,
        ``distance`` (energy distance of the noise, in standardised units), ``n_rows``
        of the environment that were used, ``outside`` (the share of them whose parents
        left the joint support of the observational ones), ``p_value``, ``q_value``
        (Benjamini-Hochberg), ``changed`` (q_value <= alpha) and the ends ``low`` and
        ``high`` of the distance's 95 % interval over refits, NaN of one fit. Where more
        than 5 % are outside, there is no verdict: ``q_value`` and ``changed`` are
        missing, and the p-value also tells of how the mechanism extrapolates.

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
    row is compared with one of like parents: rows are matched one to one, in blocks of
    like parents, and labels are permuted within pairs. Where an environment's parents
    left the support of the observational ones, as the generator's `support` measures
    it, no row is alike and the test would also see how the mechanism extrapolates: of
    80 worlds of 300 rows in which a cause was shifted by 3 standard deviations, it
    called an unchanged mechanism changed in 66, and does so in 5 where such parents
    give no verdict (6 if the shift is 0.5). A column without parents is compared as it
    is, with all labels permuted; time and memory are linear in the rows but for the
    matching within blocks.

    P-values count the choice of the rows, and not estimation, against which the rows
    are matched. How far it moves a distance, say ``low`` and ``high`` of a bootstrap.

    References
    ----------
    Budhathoki, Janzing, Bloebaum, Ng (2021), *Why did the distribution change?*,
    AISTATS. Székely, Rizzo (2013), *Energy statistics*. Rüschendorf (2009), *On the
    distributional transform, Sklar's theorem, and the empirical copula process* (noise
    of levels).
    """
    check_scalar(n_permutations, "n_permutations", Integral, min_val=1)
    check_scalar(max_rows, "max_rows", Integral, min_val=2)
    check_level(alpha, "alpha")
    generator = check_graph_generator(estimator)
    labels = resolve_environments(X, environments, required_by="mechanism_shift")
    if observational is None:
        observational = getattr(generator, "observational", None)
    if observational is None:
        raise ValueError(
            "mechanism_shift needs the label of the rows to compare with: give "
            "observational=."
        )
    rng = check_random_state(0 if random_state is None else random_state)
    again = copy.deepcopy(rng)
    asked = X, labels, find_rows(labels, observational), max_rows
    table = _compared(estimator, *asked, n_permutations, rng)

    def ask(model):
        return _compared(model, *asked, 1, copy.deepcopy(again))["distance"]

    distances = table["distance"].to_numpy(dtype=float)
    _, half, n_refits = over_refits(estimator, ask, answer=distances)
    half = half if n_refits else np.nan
    table = table.assign(low=distances - half, high=distances + half)
    q_values = table["q_value"]
    table["changed"] = (q_values <= alpha).astype("boolean").mask(q_values.isna())
    table = table[["environment", *COLUMNS, "q_value", "changed", "low", "high"]]
    told = {label: _sentence(own) for label, own in table.groupby("environment")}
    if n_refits:
        told["the intervals"] = f"Of {what_is_counted('', n_refits)}."
    return Report(table, pd.Series(told, dtype=object))


def _compared(estimator, X, labels, basis, max_rows, n_permutations, rng):
    """Table of all environments, of which `basis` says what rows they are held to."""
    X, estimator = before_last(estimator, X), check_graph_generator(estimator)
    values = estimator.node_values(X)[list(estimator.nodes_)[-1]].astype(float)
    noise = _noise_behind(estimator, X)
    tables = []
    for label in dict.fromkeys(labels[~basis].tolist()):
        own, other = (
            rng.permutation(np.flatnonzero(rows)) for rows in (labels == label, basis)
        )
        table = _compare(
            estimator, values, noise, own, other, max_rows, n_permutations, rng
        )
        tables.append(table.assign(environment=label))
    return pd.concat(tables or [_compare_nothing()], ignore_index=True)


def _sentence(table):
    """What the rows of one environment say."""
    judged, unknown = table.dropna(subset="q_value"), table[table["q_value"].isna()]
    changed, told = judged[judged["changed"]], []
    if len(changed):
        named = zip(changed["node"], changed["q_value"], strict=True)
        named = ", ".join(f"{node} (q = {q:.2g})" for node, q in named)
        told.append(f"Of {len(judged)} mechanisms these differ: {named}.")
    elif len(judged):
        told.append(f"No mechanism differs (least q = {judged['q_value'].min():.2g}).")
    if len(unknown):
        named = zip(unknown["node"], unknown["outside"], strict=True)
        named = ", ".join(f"{node} ({share:.0%} of the rows)" for node, share in named)
        told.append(
            f"No verdict where the parents left the observational support: {named}."
        )
    return " ".join(told)


def _noise_behind(estimator, X):
    has_levels = bool(estimator.categories_)
    noise = estimator.abduct(X).noise if has_levels else estimator.transform(X)
    return np.asarray(noise, dtype=float)


def families(estimator):
    """``{column: (its position, positions of its parents)}`` of a fitted graph."""
    mechanisms = dict(estimator.mechanisms_)
    names = list(mechanisms.popitem()[1])
    places = {name: k for k, name in enumerate(names)}
    return {
        name: (places[name], [places[p] for p in mechanisms[name] if p in places])
        for name in names
    }


def _compare(estimator, values, noise, own, other, max_rows, n_permutations, rng):
    rows, columns, levels = [], families(estimator), estimator.categories_
    n_levels = [len(levels.get(name, ())) for name in columns]
    for name, (k, parents) in columns.items():
        outside = 0.0
        if parents:
            some = own[:max_rows], other[: 2 * max_rows]
            places = other[:MOST_FITTED], some[0]
            sides = ([values[rows, p, None] for p in parents] for rows in places)
            distances, limit = support_distances(*sides, [n_levels[p] for p in parents])
            outside = np.mean(distances > limit)
            first, second = _matched(values[:, parents], *some)
            draw = _swaps(len(first), rng)
        else:
            first, second = own, other
            draw = _relabellings(len(first), len(second), rng)
        pooled = np.concatenate([noise[first, k], noise[second, k]])
        tested = _permutation_test(pooled, draw, n_permutations)
        rows.append((name, tested[0], len(first), outside, tested[1]))
    table = pd.DataFrame(rows, columns=COLUMNS)
    known = table["outside"] <= MOST_OUTSIDE
    q_values = np.full(len(table), np.nan)
    q_values[known] = false_discovery_control(table["p_value"][known])
    return table.assign(q_value=q_values)


def _compare_nothing():
    return pd.DataFrame(columns=["environment", *COLUMNS, "q_value"])


def _matched(parents, own, other):
    """Rows in pairs of like parents, each row at most once."""
    spread = parents[other].std(0)
    scaled = parents / np.where(spread > 0, spread, 1.0)
    pairs = [
        _matched_block(scaled, *block) for block in _alike(scaled, own, other, BLOCK)
    ]
    return tuple(np.concatenate(side) for side in zip(*pairs, strict=True))


def _matched_block(scaled, own, other):
    own, other = own[:BLOCK], other[: 2 * BLOCK]
    first, second = linear_sum_assignment(cdist(scaled[own], scaled[other]))
    return own[first], other[second]


def _alike(scaled, own, other, size):
    """Split rows of both sides by their parents until the blocks are small.

    A cut leaves as many of the other rows as of the own ones on either side; where
    none does, the block stays whole.
    """
    if len(own) > size:
        for k in np.argsort(-scaled[own].std(0)):
            cut = np.median(scaled[own, k])
            for low, far in (
                (scaled[own, k] <= cut, scaled[other, k] <= cut),
                (scaled[own, k] < cut, scaled[other, k] < cut),
            ):
                sides = (own[low], other[far]), (own[~low], other[~far])
                if all(0 < len(a) <= len(b) for a, b in sides):
                    parts = (_alike(scaled, *side, size) for side in sides)
                    return [block for part in parts for block in part]
    return [(own, other)]


def _swaps(n, rng):
    """Weights of pairs, with the sides of some swapped; the first draw swaps none."""

    def draw(count, start):
        signs = rng.choice([-1.0, 1.0], (count, n))
        if start == 0:
            signs[0] = 1
        return np.hstack([signs, -signs]) / n

    return draw


def _relabellings(n, m, rng):
    """Weights of two samples under permuted labels; the first draw permutes none."""
    stream = np.random.default_rng(rng.randint(2**31))

    def draw(count, start):
        weights = np.tile(np.repeat([1 / n, -1 / m], [n, m]), (count, 1))
        own = slice(1 if start == 0 else 0, None)
        weights[own] = stream.permuted(weights[own], axis=1)
        return weights

    return draw


def _permutation_test(pooled, draw, n_permutations):
    """Energy distance of the first draw, and its p-value among all of them.

    In one dimension it is twice the integral of the squared difference of the
    distribution functions, which takes one pass over the sorted rows.
    """
    order = np.argsort(pooled, kind="stable")
    gaps = np.diff(pooled[order])
    at_once = max(1, AT_ONCE // len(pooled))
    energies = []
    for start in range(0, n_permutations + 1, at_once):
        count = min(at_once, n_permutations + 1 - start)
        weights = draw(count, start)[:, order]
        difference = np.cumsum(weights, axis=1)[:, :-1]
        energies.append(2 * np.square(difference, out=difference) @ gaps)
    energies = np.concatenate(energies)
    tolerance = 1e-9 * max(1.0, abs(energies[0]))
    return float(energies[0]), float(np.mean(energies >= energies[0] - tolerance))
