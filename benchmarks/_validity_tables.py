"""Tables of `score_validity.py`, and the models that are fitted to them."""

from functools import partial

from _validity_cells import N_ENV, N_OBS, N_TRAIN, World

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Shift
from sklearn_icm.utils.units import column_units

N_ROWS = N_TRAIN + N_OBS + N_ENV
WRONG = (0.5, 1.5)


def descendants(graph, node):
    """Names of all nodes that a change of one reaches; graph is {child: parents}."""
    reached = {node}
    for child, parents in graph.items():
        if reached & set(parents):
            reached.add(child)
    return reached - {node}


def most_causal(graph):
    """The two nodes with most descendants, the first of them first."""
    return sorted(graph, key=lambda k: -len(descendants(graph, k)))[:2]


def without_edge(graph, node):
    """Without the edge from a node to the first of its children."""
    child = next(child for child, parents in graph.items() if node in parents)
    return {**graph, child: [p for p in graph[child] if p != node]}


def fit_graph(X, seed, **params):
    return GraphGenerator(random_state=seed, **params).fit(X)


def scm(seed, shift=2.5, mechanism="additive", n_nodes=6):
    """`make_scm` with a shift of the node that most others depend on."""
    world = make_scm(N_ROWS, n_nodes=n_nodes, mechanism=mechanism, random_state=seed)
    node, other = most_causal(world.graph)

    def change(node, strength):
        return lambda model: {node: Shift(strength * shift)}

    graph = {child: list(ps) for child, ps in world.graph.items() if ps}
    fewer = without_edge(graph, node)
    kinds = {
        "additive": {"mechanism": "additive", "max_epochs": 40},
        "brief": {"mechanism": "additive", "max_epochs": 2, "lr": 5e-3},
        "linear": {"mechanism": "linear"},
        "auto": {"mechanism": "auto", "max_epochs": 40},
        "missing edge": {"mechanism": "additive", "graph": fewer, "max_epochs": 40},
        "unlinked": {"mechanism": "linear", "graph": None},
    }
    right = change(node, 1.0)
    weak, strong = (change(node, strength) for strength in WRONG)
    return World(
        "table",
        None,
        world.render(),
        world.render({node: Shift(shift)}),
        {
            name: partial(fit_graph, seed=seed, **{"graph": graph, **kind})
            for name, kind in kinds.items()
        },
        {
            **{kind: (kind, right, "keep") for kind in kinds},
            "too weak": ("additive", weak, "keep"),
            "too strong": ("additive", strong, "keep"),
            "wrong node": ("additive", change(other, 1.0), "keep"),
        },
        units=column_units,
    )
