"""Values for every row of a query, as arrays and series give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..utils.checks import plain
from ._base import Intervention
from ._checks import Shape, has_text
from ._places import EachRow


def aligned(interventions: Any, X: Any) -> Any:
    """Interventions in which a Series has one value for each row, in their order."""
    if not isinstance(interventions, Mapping):
        return interventions
    return {
        node: _in_order(node, value, X) if hasattr(value, "reindex") else value
        for node, value in interventions.items()
    }


def each_row(
    interventions: Any,
    X: Any,
    n_samples: Any,
    nodes: Mapping[str, Shape],
    codes: Mapping[str, Callable] | None = None,
) -> Any:
    """Interventions in which arrays with a value for each row are told from others.

    An array has one if it has an axis more than the node; at nodes of one number, that
    is of shape (1,), arrays of one axis do too. ``codes`` are functions of a node's
    levels. What is no such array, or no query at all, stays as it is.
    """
    is_query = (X is None) != (n_samples is None) and (
        X is None or hasattr(X, "__len__")
    )
    if not isinstance(interventions, Mapping) or not is_query:
        return interventions
    found = {}
    for node, value in aligned(interventions, X).items():
        array = _array_of(value) if node in nodes else None
        if array is not None and _has_rows(array.shape, nodes[node]):
            n_rows = n_samples if X is None else len(X)
            _check_rows(node, array, n_rows, nodes[node])
            array = array.reshape(len(array), *nodes[node])
            code = (codes or {}).get(node, _numbers)
            value = EachRow(code(node, array))
        found[node] = value
    return found


def _in_order(node: str, series: Any, X: Any) -> np.ndarray:
    # Frames of pandas have labels of rows, those of polars have none.
    index = X.index if hasattr(X, "reindex") else None
    if index is None or series.index.equals(index):
        return series.to_numpy()
    if not series.index.is_unique:
        raise ValueError(
            f"The Series for node {node!r} has index labels twice, so that it cannot "
            "be aligned with X: give an array in the order of the rows."
        )
    missing = index.difference(series.index)
    if len(missing):
        raise ValueError(
            f"The Series for node {node!r} has no value for {len(missing)} of "
            f"{len(index)} rows of X, as that labelled {plain(missing[0])!r}. Give a "
            "value for each, or an array in the order of the rows."
        )
    return series.reindex(index).to_numpy()


def _array_of(value: Any) -> np.ndarray | None:
    """What a user gave, if it is an array of at least one axis."""
    if isinstance(value, (Intervention, str, bytes)) or callable(value):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        # Ragged: refused later.
        return None
    return array if array.ndim and array.size else None


def _has_rows(shape: Shape, node_shape: Shape) -> bool:
    if len(shape) == len(node_shape) + 1:
        return True
    return tuple(node_shape) == (1,) and len(shape) == 1 and shape[0] != 1


def _check_rows(node: str, array: np.ndarray, n_rows: int, node_shape: Shape) -> None:
    shapes = [(n_rows, *node_shape)]
    if tuple(node_shape) == (1,):
        shapes.insert(0, (n_rows,))
    if array.shape not in shapes:
        allowed = " or ".join(map(str, shapes))
        raise ValueError(
            f"The values for node {node!r} must be one for each of the {n_rows} rows, "
            f"of shape {allowed}, or a single one of shape {tuple(node_shape)}, got "
            f"shape {array.shape}."
        )


def _numbers(node: str, array: np.ndarray) -> np.ndarray:
    """The values as numbers, or why they are none."""
    try:
        if has_text(array):
            raise TypeError("Text is not read as numbers.")
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The values for node {node!r} must be numbers, got "
            f"{plain(array.flat[0])!r}."
        ) from error
    bad = ~np.isfinite(numbers.reshape(len(numbers), -1)).all(1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"The values for node {node!r} must be finite, got {numbers[row].tolist()} "
            f"in row {row} (rows like it: {int(bad.sum())}). Fill them in, or ask for "
            "the other rows alone."
        )
    return numbers
