"""The graph over the columns of a table, in every form."""

import warnings
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from numbers import Integral

import numpy as np
import pandas as pd

from ...exceptions import DoubtfulInputWarning
from ...rows._columns import column_name
from ...utils.checks import plain

__all__ = [
    "check_unobserved",
    "parse_graph",
    "targeted_entries",
]


def check_unobserved(unobserved, columns):
    """Dimensions of the unobserved nodes by name; none may be that of a column."""
    unobserved = {} if unobserved is None else unobserved
    for name, n_dims in unobserved.items():
        whole = isinstance(n_dims, Integral) and not isinstance(n_dims, bool)
        if not isinstance(name, str) or not whole or n_dims < 1:
            raise ValueError(
                "unobserved must map names of unobserved nodes to their numbers of "
                f"dimensions, ints of at least 1, got {name!r}: {n_dims!r}."
            )
        if name in columns:
            raise ValueError(
                f"unobserved names {name!r}, which is a column of X: choose another "
                "name for the node, or leave the column out of X."
            )
    return {name: int(n_dims) for name, n_dims in unobserved.items()}


def parse_graph(graph, columns, unobserved=()):
    """Parents of every column and unobserved node.

    Parameters
    ----------
    graph : None, list of (cause, effect), dict, ndarray, DataFrame or DiGraph
        A dict maps an effect to its cause or causes. Entry (i, j) of an array or
        DataFrame is nonzero if column i causes column j. Columns by name or position.
    columns : list of str
        All columns, in their order.
    unobserved : list of str
        Unobserved nodes; each must have an effect.

    Returns
    -------
    dict of str to tuple of str
        Parents in the order of the columns, then of the unobserved nodes; children in
        topological order: as close to that as the graph allows.
    """
    names = [*columns, *unobserved]
    parents = {name: set() for name in names}
    for cause, effect in _edges(graph, names):
        cause, effect = (column_name(c, names) for c in (cause, effect))
        parents[effect].add(cause)
    order = _sorted_columns(parents)
    causes = set().union(*parents.values())
    for name in unobserved:
        if name not in causes:
            raise ValueError(
                f"The unobserved node {name!r} must have an effect, got a graph "
                "without an edge from it. Add some such as "
                f"({name!r}, {columns[0]!r}), or leave it out of unobserved."
            )
    return {k: tuple(p for p in names if p in parents[k]) for k in order}


def _sorted_columns(parents):
    """Columns so that causes come before effects; a cycle is a ValueError."""
    sorter = TopologicalSorter(parents)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise ValueError(
            f"graph must have no cycles, got {cycle}. Leave out one of these edges, "
            "such as the one into the column that you will intervene on."
        ) from None
    place, order = {name: k for k, name in enumerate(parents)}, []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=place.get)
        order += ready
        sorter.done(*ready)
    return order


def _edges(graph, names):
    """(cause, effect) pairs of a graph in any form."""
    if graph is None:
        return []
    if isinstance(graph, pd.DataFrame):
        return _edges_of_frame(graph, names)
    if isinstance(graph, np.ndarray):
        return _edges_of_array(graph, names)
    if isinstance(graph, Mapping):
        for name in graph:
            column_name(name, names)
        return [(p, child) for child, ps in graph.items() for p in _listed(ps)]
    if hasattr(graph, "edges"):
        return _edges_of_network(graph, names)
    edges = list(graph) if isinstance(graph, (list, tuple, set, frozenset)) else [None]
    if all(isinstance(e, (list, tuple)) and len(e) == 2 for e in edges):
        return edges
    raise TypeError(
        "graph must be None, a list of (cause, effect), a dict {effect: causes}, an "
        f"adjacency array or DataFrame, or a networkx.DiGraph, got {graph!r}."
    )


def _edges_of_network(graph, names):
    if not graph.is_directed():
        raise ValueError(
            "graph must be directed, as edges point from causes to effects, got an "
            f"undirected {type(graph).__name__}. Give a networkx.DiGraph, or a list of "
            "(cause, effect)."
        )
    for name in graph.nodes:
        column_name(name, names)
    # Edges of a MultiDiGraph have a key behind them.
    return [edge[:2] for edge in graph.edges]


def _edges_of_array(graph, names):
    if graph.shape != (len(names), len(names)):
        raise ValueError(
            "An adjacency array must have one row and one column per column of X, "
            f"{(len(names), len(names))}, got {graph.shape}. For edges give a list of "
            "(cause, effect)."
        )
    return [(names[i], names[j]) for i, j in _nonzero(graph)]


def _edges_of_frame(graph, names):
    if list(graph.index) != list(graph.columns):
        raise ValueError(
            "A graph as a DataFrame must be an adjacency matrix whose index (causes) "
            f"and columns (effects) are the same, got {list(graph.index)[:5]} and "
            f"{list(graph.columns)[:5]}. For edges give a list of (cause, effect)."
        )
    pairs = _nonzero(graph.to_numpy())
    return [(graph.index[i], graph.columns[j]) for i, j in pairs]


def _nonzero(matrix):
    if pd.isna(matrix).any():
        raise ValueError(
            "An adjacency matrix must have no missing entries, got "
            f"{int(pd.isna(matrix).sum())}. Put 0 where there is no edge."
        )
    return np.argwhere(matrix != 0)


def _listed(columns):
    """Columns of a dict's value: one, several or (None) no columns."""
    if columns is None:
        return []
    single = isinstance(columns, str) or not isinstance(columns, Collection)
    return [columns] if single else list(columns)


def targeted_entries(labels, targets, names, hidden=()):
    """Which entries of rows come from a changed mechanism, (n_samples, n_features)."""
    labels = labels.tolist()
    _check_labels(list(targets), labels)
    changed = np.zeros((len(labels), len(names)), bool)
    for label, columns in targets.items():
        rows = [own == label for own in labels]
        for column in _listed(columns):
            if column in hidden:
                raise ValueError(
                    f"targets names the unobserved node {column!r}, but such nodes "
                    f"cannot be targets: choose among the columns of X, {names}."
                )
            place = names.index(column_name(column, names, "targets"))
            changed[rows, place] = True
    known = (~changed).sum(0)
    if known.min() < 2:
        raise ValueError(
            f"targets leave {known.min()} rows to fit the mechanism of column "
            f"{names[known.argmin()]!r} to; at least 2 are needed."
        )
    return changed


def _check_labels(targeted, labels):
    """Refuse targets of environments that no row is from; warn if some have rows."""
    present = list(dict.fromkeys(labels))
    absent = [label for label in targeted if label not in present]
    if not absent:
        return
    message = (
        f"targets has the environment label {plain(absent[0])!r}, which no fitted row "
        f"bears; their labels are {present[:20]}. Correct it, or leave it out."
    )
    if len(absent) == len(targeted):
        raise ValueError(message)
    warnings.warn(message, DoubtfulInputWarning, stacklevel=8)
