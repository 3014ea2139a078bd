"""How well does each mechanism of a graph explain rows that it was not fitted to?"""

from numbers import Integral

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..utils.checks import check_scalar
from ..utils.pipelines import before_last, check_graph_generator
from ..utils.reports import Report
from ..utils.rows import is_rounding
from ..utils.words import part_of
from ._graph_test import FEWEST_ROWS, graph_test
from ._inputs import direction_stream
from ._mechanism_shift import families

__all__ = ["evaluate"]

N_FOLDS = 5
# P-values below which noise depends on the parents, and may depend on them.
LEVELS = 0.01, 0.1


def evaluate(estimator, X, *, n_draws=50, random_state=None):
    """Score every mechanism on its own, given the true values of its parents.

    Parameters
    ----------
    estimator : fitted GraphGenerator, or pipeline that ends in one
    X : array-like of shape (n_samples, n_features)
        Rows that it was not fitted to, at least 10. Behind a pipeline's steps they are
        scored in the units of the last one.
    n_draws : int
        Draws of each column for each row, at least 2.
    random_state : int, RandomState or None
        Of all draws; None is a fixed stream.

    Returns
    -------
    Report
        ``table_``: one row per column (the index): ``crps``, the continuous ranked
        probability score, 0 is perfect, in the units of the column (of levels half the
        Brier score); ``constant_crps`` and ``linear_crps`` of the column's own
        distribution and of a linear mechanism with its residuals (of levels, a logistic
        regression), cross-validated on X; ``skill`` and ``linear_skill``, the part of
        these that the mechanism saves (NaN if there is nothing to save); ``p_value`` of
        the independence of noise and parents (NaN of levels). ``sentences_``: all of
        this in words, by column; and, at "the graph", what
        :func:`~sklearn_icm.metrics.graph_test` says of these rows, if they are 40.

    Notes
    -----
    The baselines learn from X itself, so that a shift between the fitted rows and X
    counts against the mechanisms alone. They read the codes of levels as numbers, and
    nothing of hidden nodes, which are drawn from the model: what a row tells of them is
    left out, as it may come from the very column that is scored. P-values are of the
    rows, given the fit. How sure a skill is, the `interval` of a
    :class:`~sklearn_icm.compose.BootstrapGenerator` says, which counts estimation:
    ``model.interval(lambda fitted: evaluate(fitted, X).table_["skill"])``.

    References
    ----------
    Gneiting, Raftery (2007), *Strictly proper scoring rules, prediction, and
    estimation*, JASA.
    """
    check_scalar(n_draws, "n_draws", Integral, min_val=2)
    generator = check_graph_generator(estimator)
    if len(X) < 2 * N_FOLDS:
        raise ValueError(f"evaluate needs at least {2 * N_FOLDS} rows, got {len(X)}.")
    X = before_last(estimator, X)
    rng = direction_stream(random_state)
    values = generator.node_values(X)[list(generator.nodes_)[-1]].astype(float)
    tests = generator.independence(X, random_state=rng)
    tests = tests[tests["against"] == "parents"].set_index("mechanism")["p_value"]
    own = _draws_of_mechanisms(generator, values, n_draws, rng)
    rows, told, levels = {}, {}, generator.categories_
    for name, (k, parents) in families(generator).items():
        has_levels = name in levels
        score = _level_score if has_levels else _crps
        peers = [
            _peer_draws(values, k, read, n_draws, rng, has_levels)
            for read in ([], parents)
        ]
        size = np.abs(values[:, k]).mean()
        scores = [score(values[:, k], drawn) for drawn in (own[name], *peers)]
        scores = [0.0 if is_rounding(error, size) else error for error in scores]
        has_parents = len(generator.mechanisms_[name]) > 1
        rows[name] = row = _row(*scores, tests.get(name, np.nan))
        judged = row["skill"], row["linear_skill"], row["p_value"]
        told[name] = _sentence(name, has_parents, *judged)
    if len(values) >= FEWEST_ROWS:
        told["the graph"] = graph_test(generator, X).sentences_["graph"]
    return Report(pd.DataFrame.from_dict(rows, "index"), pd.Series(told))


@torch.no_grad()
def _draws_of_mechanisms(generator, values, n_draws, rng):
    """Draws of each column given the values of its parents, ``{name: (n, n_draws)}``.

    All columns share the noise of a draw, and what it makes of hidden parents.
    """
    columns = {name: k for name, (k, _) in families(generator).items()}
    graph, reads = generator.graph_, generator.mechanisms_
    like = next(graph.buffers())
    known = {name: values[:, [k]] for name, k in columns.items()}
    draws = {name: np.empty((len(values), n_draws)) for name in columns}
    for draw in range(n_draws):
        nodes = generator.node_values(n_samples=len(values), random_state=rng) | known
        given = {name: torch.from_numpy(v).to(like) for name, v in nodes.items()}
        for name, drawn in draws.items():
            found = graph.mechanism(name)(*(given[p] for p in reads[name]))
            drawn[:, draw] = found[:, 0].cpu().numpy()
    return draws


def _peer_draws(values, k, parents, n_draws, rng, has_levels):
    """Draws of a cross-validated linear or logistic mechanism of a column.

    Without parents, of the column's own values.
    """
    draws = np.empty((len(values), n_draws))
    for train, test in KFold(N_FOLDS, shuffle=True, random_state=rng).split(values):
        given, asked = values[train][:, parents], values[test][:, parents]
        own, size = values[train, k], (len(test), n_draws)
        if has_levels:
            draws[test] = rng.choice(own, size)
            if parents and len(np.unique(own)) > 1:
                peer = make_pipeline(StandardScaler(), LogisticRegression())
                below = peer.fit(given, own).predict_proba(asked).cumsum(1)[:, :-1]
                place = (rng.rand(*size, 1) > below[:, None]).sum(2)
                draws[test] = peer.classes_[place]
        elif parents:
            line = LinearRegression().fit(given, own)
            residuals = rng.choice(own - line.predict(given), size)
            draws[test] = line.predict(asked)[:, None] + residuals
        else:
            draws[test] = rng.choice(own, size)
    return draws


def _level_score(observed, draws):
    """Half the Brier score: chance of another level - half that of two to differ."""
    n_draws, levels = draws.shape[1], np.unique(draws)
    counts = (draws[:, :, None] == levels).sum(1)
    alike = (counts * (counts - 1)).sum(1) / (n_draws * (n_draws - 1))
    return float(np.mean((draws != observed[:, None]).mean(1) - 0.5 * (1 - alike)))


def _crps(observed, draws):
    """Mean |x - draw| - half the mean distance of two draws, unbiased."""
    n_draws, ordered = draws.shape[1], np.sort(draws, axis=1)
    weights = 2 * np.arange(n_draws) - n_draws + 1
    spread = ordered @ weights / (n_draws * (n_draws - 1))
    return float(np.mean(np.abs(draws - observed[:, None]).mean(1) - spread))


def _row(crps, constant, linear, p_value):
    skill, linear_skill = (
        1 - crps / base if base > 0 else np.nan for base in (constant, linear)
    )
    return {
        "crps": crps,
        "constant_crps": constant,
        "linear_crps": linear,
        "skill": skill,
        "linear_skill": linear_skill,
        "p_value": p_value,
    }


def _sentence(name, has_parents, skill, linear_skill, p_value):
    saved, saved_of_line = (
        part_of(part, "saves", "adds") for part in (skill, linear_skill)
    )
    text = f"{name} has no parents; its own distribution"
    if has_parents:
        text = f"The mechanism of {name}"
    if np.isnan(skill):
        return f"{text} has no error to save: {name} is the same in all rows."
    text = f"{text} {saved} the error of the distribution of these rows"
    if not has_parents:
        return f"{text}."
    if np.isnan(linear_skill):
        text = f"{text}; a linear mechanism has no error"
    else:
        text = f"{text} and {saved_of_line} that of a linear mechanism"
    if np.isnan(p_value):
        return f"{text}."
    strong, weak = (p_value < level for level in LEVELS)
    depends = "depends on" if strong else "may depend on"
    depends = depends if weak else "shows no dependence on"
    return f"{text}; its noise {depends} its parents (p = {p_value:.2g})."
