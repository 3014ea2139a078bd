"""Columns of a table: the graph over them in every form, and levels as codes."""

import warnings
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from numbers import Integral

import numpy as np
import pandas as pd

from ..exceptions import FarInterventionWarning
from ..interventions import Compose, Do, Shift, as_intervention

__all__ = [
    "ValidCodes",
    "check_hidden",
    "check_known",
    "column_name",
    "decode_levels",
    "encode_levels",
    "find_levels",
    "in_codes",
    "levels_of",
    "parse_graph",
    "plain_columns",
    "refuse_missing",
    "set_numbers",
    "targeted_entries",
    "warn_if_far",
]

# Standard deviations outside the fitted range at which a do-intervention is far.
FAR = 3.0
# Levels that a column may have before it is asked whether it really has levels.
MANY = 20


def check_hidden(hidden, columns):
    """Dimensions of the unobserved nodes by name.

    Parameters
    ----------
    hidden : dict of str to int, or None
    columns : list of str
        Names that are taken.
    """
    hidden = {} if hidden is None else hidden
    for name, n_dims in hidden.items():
        whole = isinstance(n_dims, Integral) and not isinstance(n_dims, bool)
        if not isinstance(name, str) or not whole or n_dims < 1:
            raise ValueError(
                "hidden must map names of unobserved nodes to their numbers of "
                f"dimensions, ints of at least 1, got {name!r}: {n_dims!r}."
            )
        if name in columns:
            raise ValueError(
                f"hidden names {name!r}, which is a column of X: choose another name "
                "for the unobserved node, or leave the column out of X."
            )
    return {name: int(n_dims) for name, n_dims in hidden.items()}


def parse_graph(graph, columns, hidden=()):
    """Parents of every column and unobserved node.

    Parameters
    ----------
    graph : None, list of (cause, effect), dict, ndarray, DataFrame or DiGraph
        A dict maps an effect to its cause or causes. Entry (i, j) of an array or
        DataFrame is nonzero if column i causes column j. Columns by name or position.
    columns : list of str
        All columns, in their order.
    hidden : list of str
        Unobserved nodes; each must have an effect.

    Returns
    -------
    dict of str to tuple of str
        Parents in the order of the columns, then of the unobserved nodes; children in
        topological order: as close to that as the graph allows.
    """
    names = [*columns, *hidden]
    parents = {name: set() for name in names}
    for cause, effect in _edges(graph, names):
        cause, effect = (column_name(c, names) for c in (cause, effect))
        parents[effect].add(cause)
    order = _sorted_columns(parents)
    causes = set().union(*parents.values())
    for name in hidden:
        if name not in causes:
            raise ValueError(
                f"The hidden node {name!r} must have an effect, got a graph without an "
                f"edge from it. Add some such as ({name!r}, {columns[0]!r}), or leave "
                "it out of hidden."
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


def column_name(column, names, parameter="graph"):
    """Name of a column that is given by name or position."""
    if isinstance(column, str) and column in names:
        return column
    whole = isinstance(column, Integral) and not isinstance(column, bool)
    if whole and 0 <= column < len(names):
        return names[column]
    hint = ""
    if parameter == "graph":
        hint = (
            " A node that is not observed must be declared: hidden={name: number of "
            "dimensions}."
        )
    raise ValueError(
        f"{parameter} names the column {column!r}, which X does not have; its columns "
        f"are {names} (or their positions, 0 to {len(names) - 1}).{hint}"
    )


def plain_columns(X):
    """A DataFrame with names that are no positions, and numbers that are no objects.

    Anything else is returned as it is.
    """
    if not isinstance(X, pd.DataFrame):
        return X
    names = list(X.columns)
    if not _are_names(names) and names != list(range(len(names))):
        raise ValueError(
            f"The columns of X must be named by strings, got {names[:5]}: numbers "
            "would be taken for positions. Set X.columns = X.columns.astype(str)."
        )
    has_objects = any(map(pd.api.types.is_object_dtype, X.dtypes))
    return X.infer_objects() if has_objects else X


def _are_names(names):
    return all(isinstance(name, str) for name in names)


def find_levels(X, categorical_features, mechanism="auto"):
    """Levels of the categorical columns of fitted rows.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
    categorical_features : "from_dtype" or list of str or int
        "from_dtype" takes what a DataFrame holds as strings, categories or booleans.
    mechanism : str or dict of str to str
        Columns whose mechanism is "categorical" have levels too.

    Returns
    -------
    dict of int to ndarray
        Sorted levels by the position of the column; those of a categorical dtype in
        its own order.
    """
    by_dtype = isinstance(categorical_features, str)
    given = {"categorical_features": [] if by_dtype else categorical_features}
    kinds = mechanism if isinstance(mechanism, Mapping) else {}
    given["mechanism"] = [c for c, kind in kinds.items() if kind == "categorical"]
    everywhere = isinstance(mechanism, str) and mechanism == "categorical"
    positions = set()
    if isinstance(X, pd.DataFrame) and by_dtype:
        positions = {k for k, t in enumerate(X.dtypes) if _is_categorical(t)}
    if not (positions or everywhere or any(map(len, given.values()))):
        return {}
    X = pd.DataFrame(X)
    names = list(X.columns)
    if not _are_names(names):
        names = [f"x{k}" for k in range(len(names))]
    for parameter, columns in given.items():
        found = {column_name(c, names, parameter) for c in columns}
        positions |= {k for k, name in enumerate(names) if name in found}
    if everywhere:
        positions = set(range(len(names)))
    columns = {k: X.iloc[:, k].rename(names[k]) for k in sorted(positions)}
    levels = {k: _levels_of(column) for k, column in columns.items()}
    _warn_of_many({names[k]: len(own) for k, own in levels.items()}, len(X))
    return levels


def _is_categorical(dtype):
    types = pd.api.types
    return (
        isinstance(dtype, pd.CategoricalDtype)
        or types.is_string_dtype(dtype)
        or types.is_bool_dtype(dtype)
    )


def _levels_of(column):
    if isinstance(column.dtype, pd.CategoricalDtype):
        used = column.cat.remove_unused_categories().cat.categories
        return used.to_numpy()
    try:
        return np.array(sorted(column.dropna().unique()))
    except TypeError as error:
        raise ValueError(
            f"The levels of column {column.name!r} must have an order, but cannot be "
            f"sorted: {error}. Make them all strings, "
            f"X[{column.name!r}].astype(str), or an ordered pandas.Categorical."
        ) from None


def _warn_of_many(n_levels, n_rows):
    """Warn of columns with so many levels that they may be meant as numbers."""
    for name, n in n_levels.items():
        if n > max(MANY, n_rows / 2):
            warnings.warn(
                f"Column {name!r} has {n} levels in {n_rows} rows, too many to learn "
                "of each. If it holds numbers, make it a numeric column; if it "
                "identifies rows, leave it out.",
                UserWarning,
                stacklevel=8,
            )


def encode_levels(X, levels):
    """Rows with every categorical column as codes 0, 1, ...; missing ones are NaN."""
    if not levels:
        return X
    frame = pd.DataFrame(X).copy()
    columns = [frame.iloc[:, k] for k in range(frame.shape[1])]
    for k, known in levels.items():
        if k < len(columns):
            columns[k] = _codes(columns[k], known)
    encoded = pd.concat(columns, axis=1)
    return encoded if isinstance(X, pd.DataFrame) else encoded.to_numpy(np.float64)


def _codes(column, levels):
    codes = pd.Index(levels).get_indexer(column).astype(np.float64)
    unknown = column[(codes < 0) & column.notna().to_numpy()]
    if len(unknown):
        raise ValueError(
            f"Column {column.name!r} has the level {unknown.iloc[0]!r}, which was not "
            f"seen in fit; its levels are {list(levels)}."
        )
    codes[codes < 0] = np.nan
    return pd.Series(codes, index=column.index, name=column.name)


def decode_levels(rows, levels):
    """Codes back to levels: an array, of objects where some levels are no numbers."""
    if not levels:
        return rows
    numeric = all(np.issubdtype(v.dtype, np.number) for v in levels.values())
    decoded = rows.copy() if numeric else rows.astype(object)
    for k, known in levels.items():
        decoded[:, k] = levels_of(rows[:, k], known)
    return decoded


def levels_of(codes, levels):
    """Levels at some codes; beyond the last code it is the last level."""
    return levels[np.clip(np.rint(codes), 0, len(levels) - 1).astype(int)]


def check_known(X):
    """Refuse columns with too few values that are not missing."""
    unknown = np.flatnonzero((~np.isnan(X)).sum(0) < 2)
    if len(unknown):
        raise ValueError(
            "Every column of X needs at least 2 known values, but column "
            f"{unknown[0]} has fewer. Leave it out."
        )


def refuse_missing(X, advice):
    """Say what can be done about missing values, where some are found."""
    if not isinstance(X, (np.ndarray, pd.DataFrame)) or X.ndim != 2:
        return
    missing = pd.DataFrame(X).isna().to_numpy().sum(0)
    if missing.any():
        column = int(np.flatnonzero(missing)[0])
        raise ValueError(
            f"X contains NaN: {missing[column]} missing values in column {column}. "
            f"{advice}"
        )


def set_numbers(interventions, names):
    """``{column: number}`` of the columns that are set to one number."""
    found = {}
    for name, change in interventions.items():
        change = as_intervention(change, name)
        if name in names and isinstance(change, Do) and change.value.size == 1:
            found[list(names).index(name)] = change.value.item()
    return found


def warn_if_far(interventions, names, limits, scale):
    """Warn of columns that are set far outside the range that was fitted."""
    for name, change in interventions.items():
        # Unknown names are refused later, whatever is done to them.
        change = as_intervention(change, name) if name in names else None
        if not isinstance(change, (Do, Shift)):
            continue
        column = list(names).index(name)
        low, high = limits[:, column]
        if isinstance(change, Shift):
            # Of the rows that were at the end of the range.
            outside = np.abs(change.value).max()
        else:
            outside = max(low - change.value.min(), change.value.max() - high)
        distance = outside / float(scale[column])
        if distance > FAR:
            warnings.warn(
                FarInterventionWarning(name, distance, low, high), stacklevel=4
            )


def in_codes(name, change, levels):
    """Intervention on a categorical column: a level becomes its code."""
    if not callable(change):
        found = np.flatnonzero([level == change for level in levels])
        if len(found) != 1:
            raise ValueError(
                f"The intervention on node {name!r} must be one of its levels, "
                f"{list(levels)}, got {change!r}."
            )
        change = Do(found[0])
    return Compose((as_intervention(change, name), ValidCodes(name, len(levels))))


class ValidCodes:
    """Refuse values of a categorical node that are not codes of its levels."""

    def __init__(self, name, n_levels):
        self.name, self.n_levels = name, n_levels

    def __repr__(self):
        return f"ValidCodes({self.name!r}, {self.n_levels})"

    def __call__(self, value):
        valid = (value == value.round()) & (value >= 0) & (value < self.n_levels)
        if not bool(valid.all()):
            wrong = value[~valid][0].item()
            raise ValueError(
                f"The intervention on node {self.name!r} must give codes of its "
                f"levels, 0 to {self.n_levels - 1}, got {wrong:g}."
            )
        return value


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
                    f"targets names the hidden node {column!r}, but hidden nodes "
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
        f"targets has the environment label {absent[0]!r}, which no fitted row bears; "
        f"their labels are {present[:20]}. Correct it, or leave it out."
    )
    if len(absent) == len(targeted):
        raise ValueError(message)
    warnings.warn(message, UserWarning, stacklevel=6)
