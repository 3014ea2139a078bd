"""Tables of `score_validity.py`, and the models that are fitted to them."""

from functools import partial

import numpy as np
from _validity_cells import N_ENV, N_OBS, N_TRAIN, World

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Scale, Shift
from sklearn_icm.utils.units import column_units

N_ROWS = N_TRAIN + N_OBS + N_ENV
WRONG, FEW = (0.5, 1.5), 60


def descendants(graph, node):
    """Names of all nodes that a change of one reaches; graph is {child: parents}."""
    reached = {node}
    for child, parents in graph.items():
        if reached & set(parents):
            reached.add(child)
    return reached - {node}


def observed_graph(world):
    """Parents among the columns: those of a hidden node stand in for it."""
    hidden, graph = set(world.unobserved), {}
    for child, parents in world.graph.items():
        found = set(parents) - hidden
        for h in hidden & set(parents):
            found |= set(graph[h])
        graph[child] = sorted(found)
    return {child: ps for child, ps in graph.items() if child not in hidden}


def most_causal(graph):
    """The two nodes with most descendants, the first of them first."""
    return sorted(graph, key=lambda k: -len(descendants(graph, k)))[:2]


def without_edge(graph, node):
    """Without the edge from a node to the first of its children."""
    child = next(child for child, parents in graph.items() if node in parents)
    return {**graph, child: [p for p in graph[child] if p != node]}


def fit_graph(X, seed, n_rows=N_TRAIN, **params):
    return GraphGenerator(random_state=seed, **params).fit(X[:n_rows])


# -------------------------------------------------------- what columns look like
class Plain:
    """Columns of `make_scm` as they are."""

    fit_params = {}
    units = staticmethod(column_units)

    def __init__(self, world, nodes, seed):
        pass

    def rows(self, values):
        return values

    def numeric(self, rows):
        return rows

    def shifted(self, node, shift):
        """Intervention on a column that shifts a node of `make_scm`."""
        return Shift(shift)


class Unlike(Plain):
    """Columns in units between a hundredth and ten thousand."""

    def __init__(self, world, nodes, seed):
        names = world.feature_names
        powers = np.random.RandomState(seed).permutation(np.linspace(-2, 4, len(names)))
        self.scale = dict(zip(names, 10.0**powers, strict=True))

    def rows(self, values):
        return values * np.array(list(self.scale.values()))

    def shifted(self, node, shift):
        return Shift(shift * self.scale[node])


class Tails(Plain):
    """Lognormal columns."""

    spread = 0.8

    def rows(self, values):
        return np.exp(self.spread * values)

    def shifted(self, node, shift):
        return Scale(float(np.exp(self.spread * shift)))


class Levels(Plain):
    """Columns without effects become levels, three in the first and two in the others.

    They are codes 0, 1, ... in rows, and indicators behind the numbers in `numeric`.
    """

    def __init__(self, world, nodes, seed):
        names, usual = world.feature_names, world.render()
        with_effects = {p for ps in observed_graph(world).values() for p in ps}
        leaves = [n for n in names if n not in with_effects and n != nodes[0]]
        shares = [(1 / 3, 2 / 3)] + [(0.5,)] * len(leaves)
        self.cuts = {
            names.index(leaf): np.quantile(usual[:, names.index(leaf)], share)
            for leaf, share in zip(leaves, shares, strict=False)
        }
        self.fit_params = {"categorical_features": list(self.cuts)}

    def rows(self, values):
        rows = values.copy()
        for k, cuts in self.cuts.items():
            rows[:, k] = np.digitize(values[:, k], cuts)
        return rows

    def numeric(self, rows):
        parts = [np.delete(rows, list(self.cuts), axis=1)]
        for k, cuts in self.cuts.items():
            parts.append(rows[:, [k]] == np.arange(len(cuts) + 1))
        return np.concatenate(parts, 1).astype(np.float64)

    def units(self, numeric):
        units = column_units(numeric)
        start = numeric.shape[1] - sum(len(cuts) + 1 for cuts in self.cuts.values())
        for cuts in self.cuts.values():
            block = slice(start, start + len(cuts) + 1)
            units[block] = np.sqrt(numeric[:, block].var(0).sum())
            start = block.stop
        return units


# ------------------------------------------------------------------------ worlds
def scm(
    seed,
    shift=2.5,
    mechanism="additive",
    n_nodes=6,
    n_unobserved=0,
    columns=Plain,
    n_rows=N_ROWS,
):
    """`make_scm` with a shift of the column that most others depend on."""
    world = make_scm(
        n_rows,
        n_nodes=n_nodes,
        n_unobserved=n_unobserved,
        mechanism=mechanism,
        random_state=seed,
    )
    graph = observed_graph(world)
    nodes = node, other = most_causal(graph)
    look = columns(world, nodes, seed)
    # Models name columns by their places.
    named = {name: f"x{k}" for k, name in enumerate(world.feature_names)}
    edges = {named[child]: [named[p] for p in ps] for child, ps in graph.items()}

    def change(node, strength):
        return lambda model: {named[node]: look.shifted(node, strength * shift)}

    network = {"mechanism": "additive", "max_epochs": 40, **look.fit_params}
    kinds = {
        "additive": {},
        "brief": {"max_epochs": 2, "lr": 5e-3},
        "linear": {"mechanism": "linear"},
        "auto": {"mechanism": "auto"},
        "few rows": {"n_rows": FEW},
        "energy": {"mechanism": "energy"},
        "missing edge": {"graph": without_edge(edges, named[node])},
        "unlinked": {"mechanism": "linear", "graph": None},
    }
    right = change(node, 1.0)
    weak, strong = (change(node, strength) for strength in WRONG)
    return World(
        "table",
        None,
        look.rows(world.render()),
        look.rows(world.render({node: Shift(shift)})),
        {
            name: partial(fit_graph, seed=seed, **{"graph": edges, **network, **kind})
            for name, kind in kinds.items()
        },
        {
            **{kind: (kind, right, "keep") for kind in kinds},
            "too weak": ("additive", weak, "keep"),
            "too strong": ("additive", strong, "keep"),
            "wrong node": ("additive", change(other, 1.0), "keep"),
        },
        numeric=look.numeric,
        units=look.units,
    )
