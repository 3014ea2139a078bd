"""Intervals of average effects by the bootstrap of dowhy.gcm."""

import numpy as np
from _graph_peers import draw_dowhy, fit_dowhy
from _peers import quiet
from scipy.stats import t


def dowhy_ends(graph, rows, asked, n_refits, seed):
    """By effect: ends about the fit to all rows (t), and quantiles of the refits.

    Mechanisms are chosen on all rows once, as dowhy advises, and fitted anew to
    resampled rows.
    """
    from dowhy import gcm

    np.random.seed(seed)
    model, rng = fit_dowhy(graph, rows), np.random.RandomState(seed)
    answers = [_effects(model, asked)]
    for _ in range(n_refits):
        some = rows.iloc[rng.randint(len(rows), size=len(rows))]
        with quiet():
            gcm.fit(model, some.reset_index(drop=True))
        answers.append(_effects(model, asked))
    first, *refits = np.array(answers)
    spread = np.square(refits - first).sum(0) / (n_refits - 1)
    half = t.ppf(0.975, n_refits - 1) * np.sqrt(spread)
    quantiles = np.quantile(refits, [0.025, 0.975], axis=0).T
    return {
        name: {"dowhy, t": [a - h, a + h], "dowhy, quantiles": q.tolist()}
        for name, a, h, q in zip(asked, first, half, quantiles, strict=True)
    }


def _effects(model, asked):
    found = []
    for (node, *values, target), _ in asked.values():
        means = [draw_dowhy(model, node, [v], 1000)[target].mean() for v in values]
        found.append(means[0] - means[1])
    return found


def interval_score(ends, truth, level=0.95):
    """Width, and what misses the truth by, at 2 / (1 - level) each; lower is better.

    References
    ----------
    Gneiting, Raftery (2007), *Strictly proper scoring rules, prediction, and
    estimation*, JASA.
    """
    low, high = np.asarray(ends).T
    missed = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    return high - low + 2 / (1 - level) * missed
