"""Other ways to predict rows under an intervention, as arms of one form.

An arm ``fit(graph, X, seed)`` returns ``draw(node, given)``: N_SAMPLES rows of X's
columns when the node is set to values picked from the given ones. Packages are imported
where they are used, so that a missing one costs its own row only.
"""

from functools import cache
from graphlib import TopologicalSorter

import numpy as np
import torch
from _peers import is_installed, quiet
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors

N_SAMPLES = 1000
N_NEIGHBORS = 50
LINEAR = "linear SCM (numpy)"
BOOSTING = "boosting on parents"
DOWHY = "dowhy auto"
ENGRESSION = "no graph, engression"


def parents_of(graph, names):
    """Lists of parents, causes before effects, of pairs or of a dict of parents."""
    parents = {name: [] for name in names}
    if isinstance(graph, dict):
        graph = [(cause, effect) for effect in graph for cause in graph[effect]]
    for cause, effect in graph:
        parents[effect].append(cause)
    return {name: parents[name] for name in TopologicalSorter(parents).static_order()}


def linear_scm(graph, X, seed):
    """Arm: least squares on the parents plus normal noise, in numpy."""
    names, values, equations = list(X), np.asarray(X), {}
    for name, parents in parents_of(graph, names).items():
        read = [names.index(p) for p in parents]
        design = np.column_stack([np.ones(len(values)), values[:, read]])
        own = values[:, names.index(name)]
        weights = np.linalg.lstsq(design, own, rcond=None)[0]
        equations[name] = (read, weights, np.std(own - design @ weights))
    rng = np.random.RandomState(seed)

    def draw(node, given):
        rows = np.zeros((N_SAMPLES, len(names)))
        for name, (read, weights, spread) in equations.items():
            design = np.column_stack([np.ones(N_SAMPLES), rows[:, read]])
            value = design @ weights + spread * rng.randn(N_SAMPLES)
            if name == node:
                value = rng.choice(given, N_SAMPLES)
            rows[:, names.index(name)] = value
        return rows

    return draw


def boosting_scm(graph, X, seed):
    """Arm: gradient boosting on the parents plus residuals of its cross-validation."""
    names, values, equations = list(X), np.asarray(X), {}
    rng = np.random.RandomState(seed)
    for name, parents in parents_of(graph, names).items():
        read, own = [names.index(p) for p in parents], values[:, names.index(name)]
        if not read:
            equations[name] = read, None, own
            continue
        model = HistGradientBoostingRegressor(random_state=seed)
        predicted = cross_val_predict(model, values[:, read], own)
        model.fit(values[:, read], own)
        equations[name] = read, model, own - predicted

    def draw(node, given):
        rows = np.zeros((N_SAMPLES, len(names)))
        for name, (read, model, residuals) in equations.items():
            value = rng.choice(residuals, N_SAMPLES)
            if model is not None:
                value += model.predict(rows[:, read])
            if name == node:
                value = rng.choice(given, N_SAMPLES)
            rows[:, names.index(name)] = value
        return rows

    return draw


def fit_dowhy(graph, X):
    """Fit the graph of dowhy.gcm with the mechanisms that it chooses."""
    import networkx as nx
    from dowhy import gcm

    gcm.config.disable_progress_bars()
    gcm.config.set_default_n_jobs(1)
    digraph = nx.DiGraph()
    for effect, parents in parents_of(graph, X).items():
        digraph.add_node(effect)
        digraph.add_edges_from((cause, effect) for cause in parents)
    model = gcm.StructuralCausalModel(digraph)
    with quiet():
        gcm.auto.assign_causal_mechanisms(model, X)
        gcm.fit(model, X)
    return model


def draw_dowhy(model, node, given, n_samples):
    from dowhy import gcm

    # dowhy calls an intervention once per row.
    values = iter(np.random.choice(given, n_samples))
    return gcm.interventional_samples(
        model, {node: lambda _: next(values)}, num_samples_to_draw=n_samples
    )


def dowhy_auto(graph, X, seed):
    """Arm: dowhy.gcm with automatic mechanisms of quality GOOD, its default."""
    from dowhy import gcm

    gcm.util.general.set_random_seed(seed)
    model = fit_dowhy(graph, X)
    return lambda node, given: draw_dowhy(model, node, given, N_SAMPLES)[list(X)]


def neighbors(graph, X, seed):
    """Arm: no graph; one of the rows whose target is nearest."""
    rng, values = np.random.RandomState(seed), np.asarray(X)

    def draw(node, given):
        column, asked = X.columns.get_loc(node), rng.choice(given, (N_SAMPLES, 1))
        search = NearestNeighbors(n_neighbors=N_NEIGHBORS).fit(values[:, [column]])
        near = search.kneighbors(asked, return_distance=False)
        picks = rng.randint(N_NEIGHBORS, size=N_SAMPLES)
        return values[near[np.arange(N_SAMPLES), picks]]

    return draw


def regression(graph, X, seed):
    """Arm: no graph; least squares of all columns on the target, residuals by row."""
    rng, values = np.random.RandomState(seed), np.asarray(X)

    def draw(node, given):
        column, asked = X.columns.get_loc(node), rng.choice(given, (N_SAMPLES, 1))
        model = LinearRegression().fit(values[:, [column]], values)
        residuals = values - model.predict(values[:, [column]])
        return model.predict(asked) + residuals[rng.randint(len(X), size=N_SAMPLES)]

    return draw


def training_rows(graph, X, seed):
    """Arm: nothing but the target changes."""
    rng = np.random.RandomState(seed)
    return lambda node, given: np.asarray(X)[rng.randint(len(X), size=N_SAMPLES)]


def engression_of_rest(graph, X, seed):
    """Arm: no graph; engression of the other columns on the target.

    The settings are those of the package's own example; on the worlds of seeds 0 to 2
    they did better than its defaults.
    """
    from engression import engression

    values = torch.tensor(X.to_numpy(), dtype=torch.float32)

    @cache
    def fit(column):
        torch.manual_seed(seed)
        rest = [k for k in range(values.shape[1]) if k != column]
        x, y = values[:, [column]], values[:, rest]
        with quiet():
            settings = {"lr": 1e-2, "num_epochs": 500, "verbose": False}
            return engression(x, y, **settings), rest

    def draw(node, given):
        column = X.columns.get_loc(node)
        model, rest = fit(column)
        torch.manual_seed(seed)
        asked = np.random.RandomState(seed).choice(given, (N_SAMPLES, 1))
        rows = np.empty((N_SAMPLES, len(X.columns)))
        rows[:, [column]] = asked
        made = model.sample(torch.tensor(asked, dtype=torch.float32), sample_size=1)
        rows[:, rest] = made.detach().numpy().reshape(N_SAMPLES, -1)
        return rows

    return draw


ALWAYS = {
    LINEAR: linear_scm,
    BOOSTING: boosting_scm,
    "no graph, 50 near": neighbors,
    "no graph, linear": regression,
}
# Title: (package, arm). They are slow.
OPTIONAL = {
    ENGRESSION: ("engression", engression_of_rest),
    DOWHY: ("dowhy", dowhy_auto),
}
INSTALLED = {k: arm for k, (package, arm) in OPTIONAL.items() if is_installed(package)}
PEERS = {**ALWAYS, **INSTALLED}


def print_missing():
    """Say which peers are left out, and how to have them."""
    for title, (package, _) in OPTIONAL.items():
        if title not in INSTALLED:
            print(f'"{title}" is left out: install it with `pip install {package}`.')
