"""How well does each mechanism of a graph explain rows that it was not fitted to?"""

import copy
from numbers import Integral

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..compose._wrap import over_refits, what_is_counted, widened
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
        the independence of noise and parents (NaN of levels); ``low`` and ``high``,
        ``linear_low`` and ``linear_high``, the 95 % intervals of both skills over the
        refits of a :class:`~sklearn_icm.compose.BootstrapGenerator`, NaN of one fit.
        ``sentences_``: all of this in words, by column; at "the graph", what
        :func:`~sklearn_icm.metrics.graph_test` says of these rows, if they are 40; and
        at "the intervals" what these count.

    Notes
    -----
    The baselines learn from X itself, so that a shift between the fitted rows and X
    counts against the mechanisms alone. They read the codes of levels as numbers, and
    nothing of hidden nodes, which are drawn from the model: what a row tells of them is
    left out, as it may come from the very column that is scored. P-values are of the
    rows, given the fit; intervals of the fit, given the rows and the baselines.

    References
    ----------
    Gneiting, Raftery (2007), *Strictly proper scoring rules, prediction, and
    estimation*, JASA.
    """
    check_scalar(n_draws, "n_draws", Integral, min_val=2)
    generator = check_graph_generator(estimator)
    if len(X) < 2 * N_FOLDS:
        raise ValueError(f"evaluate needs at least {2 * N_FOLDS} rows, got {len(X)}.")
    rng, given = direction_stream(random_state), before_last(estimator, X)
    tests = generator.independence(given, random_state=rng)
    tests = tests[tests["against"] == "parents"].set_index("mechanism")["p_value"]
    again = copy.deepcopy(rng)
    errors, values = _errors_of_mechanisms(estimator, X, n_draws, rng)
    of_peers = copy.deepcopy(rng)
    peers = _errors_of_peers(generator, values, n_draws, rng)
    names = list(families(generator))
    table = pd.DataFrame(peers, names, ["constant_crps", "linear_crps"])
    table.insert(0, "crps", errors)
    skills = _skills(errors, peers)
    table["skill"], table["linear_skill"] = skills.T
    table["p_value"] = tests.reindex(names)

    def ask(model):
        own, seen = _errors_of_mechanisms(model, X, n_draws, copy.deepcopy(again))
        if np.array_equal(seen, values):
            return _skills(own, peers)
        # The steps of a pipeline were refitted: the rows have other units.
        args = check_graph_generator(model), seen, n_draws, copy.deepcopy(of_peers)
        return _skills(own, _errors_of_peers(*args))

    _, half, n_refits = over_refits(estimator, ask, answer=skills)
    half = half if n_refits else np.nan
    low, high = widened(skills, skills, skills, half)
    for k, name in enumerate(["", "linear_"]):
        table[f"{name}low"], table[f"{name}high"] = low[:, k], high[:, k]
    told = {
        name: _sentence(name, len(generator.mechanisms_[name]) > 1, own)
        for name, own in table.iterrows()
    }
    if len(values) >= FEWEST_ROWS:
        told["the graph"] = graph_test(generator, given).sentences_["graph"]
    if n_refits:
        told["the intervals"] = f"Of {what_is_counted('', n_refits)}."
    return Report(table, pd.Series(told))


def _errors_of_mechanisms(estimator, X, n_draws, rng):
    """Scores of the columns, (n_columns,), and the rows that were scored."""
    generator, X = check_graph_generator(estimator), before_last(estimator, X)
    values = generator.node_values(X)[list(generator.nodes_)[-1]].astype(float)
    draws = _draws_of_mechanisms(generator, values, n_draws, rng)
    errors = [_error(generator, name, values, own) for name, own in draws.items()]
    return np.array(errors), values


def _errors_of_peers(generator, values, n_draws, rng):
    """Scores of constant and of linear mechanisms, (n_columns, 2)."""
    errors = []
    for name, (k, parents) in families(generator).items():
        for read in ([], parents):
            has_levels = name in generator.categories_
            draws = _peer_draws(values, k, read, n_draws, rng, has_levels)
            errors.append(_error(generator, name, values, draws))
    return np.reshape(errors, (-1, 2))


def _error(generator, name, values, draws):
    """Score of draws of a column."""
    observed = values[:, families(generator)[name][0]]
    score = _level_score if name in generator.categories_ else _crps
    error = score(observed, draws)
    return 0.0 if is_rounding(error, np.abs(observed).mean()) else error


def _skills(errors, base):
    """What scores save of those of baselines, (n_columns, 2); NaN of nothing."""
    return 1 - errors[:, None] / np.where(base > 0, base, np.nan)


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


def _sentence(name, has_parents, row):
    skill, linear_skill, p_value = row[["skill", "linear_skill", "p_value"]]
    saved, saved_of_line = (
        part_of(part, "saves", "adds") for part in (skill, linear_skill)
    )
    text = f"{name} has no parents; its own distribution"
    if has_parents:
        text = f"The mechanism of {name}"
    if np.isnan(skill):
        return f"{text} has no error to save: {name} is the same in all rows."
    text = f"{text} {saved} the error of the distribution of these rows"
    text += _interval(row, "")
    if not has_parents:
        return f"{text}."
    if np.isnan(linear_skill):
        text = f"{text}; a linear mechanism has no error"
    else:
        text = f"{text} and {saved_of_line} that of a linear mechanism"
        text += _interval(row, "linear_")
    if np.isnan(p_value):
        return f"{text}."
    strong, weak = (p_value < level for level in LEVELS)
    depends = "depends on" if strong else "may depend on"
    depends = depends if weak else "shows no dependence on"
    return f"{text}; its noise {depends} its parents (p = {p_value:.2g})."


def _interval(row, name):
    low, high = row[f"{name}low"], row[f"{name}high"]
    return f" (interval {low:.0%} to {high:.0%})" if np.isfinite(low) else ""
