"""Checks of the fields of interventions, and of the nodes that these fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

Shape = tuple[int, ...]
# What a node is: a vector of units; a map (channels, length) or (channels, height,
# width); points (n, coordinates), in pixels from the middle; a level of a column.
KINDS = ("vector", "map", "points", "levels")
# Axes of maps by how many they have beside the channels.
AXES = {1: {"length": -1}, 2: {"height": -2, "width": -1}}
# Coordinates of points by how many they have.
COORDINATES = {1: {"length": 0}, 2: {"height": 0, "width": 1}}


def kind_of(shape: Shape, kind: str | None = None) -> str:
    """Kind of a node; one that nobody declared goes by its shape."""
    return kind or ("map" if len(shape) - 1 in AXES else "vector")


def kinds_of(nodes: Mapping[str, Shape], declared: Mapping[str, str]) -> dict[str, str]:
    """Kinds of all nodes of a graph, some of them declared."""
    for name, kind in declared.items():
        known = name in nodes and kind in KINDS
        if not known or (kind == "map" and len(nodes[name]) - 1 not in AXES):
            raise ValueError(
                f"kinds must map nodes, {dict(nodes)}, to one of {list(KINDS)}, of "
                f"which maps have two or three axes, got {name!r}: {kind!r}."
            )
    return {name: kind_of(shape, declared.get(name)) for name, shape in nodes.items()}


def axis_lengths(shape: Shape, kind: str | None = None) -> dict[str, int]:
    """Sizes of the spatial axes of a map, by name; none of other nodes."""
    if kind_of(shape, kind) != "map":
        return {}
    return dict(zip(AXES[len(shape) - 1], shape[1:], strict=True))


def coordinates(shape: Shape, kind: str | None = None) -> dict[str, int]:
    """Columns of the coordinates of points, by name; none of other nodes."""
    if kind != "points" or len(shape) != 2:
        return {}
    return COORDINATES.get(shape[1], {})


def as_array(owner: object, name: str, value: Any) -> np.ndarray:
    """Return a field as a read-only float64 array, or say what is allowed."""
    try:
        if has_text(value):
            raise TypeError("Text is not read as numbers.")
        array = np.array(value, dtype=np.float64)
    except OverflowError:
        array = np.array(np.inf)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{type(owner).__name__}: {name} must be a number or an array of numbers, "
            f"got {value!r}."
        ) from error
    if not array.size:
        raise ValueError(
            f"{type(owner).__name__}: {name} must hold at least one value, got "
            f"{value!r}."
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"{type(owner).__name__}: {name} must be finite, got {value!r}."
        )
    # There is one zero: -0.0 differs from 0.0 in its bytes alone.
    array += 0.0
    array.setflags(write=False)
    return array


def is_finite(number: Any) -> bool:
    """Whether a number is finite as a float: 10**400 is not."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def has_text(value: Any) -> bool:
    """Whether there are strings among the entries of an array-like."""
    raw = np.asarray(value)
    if raw.dtype.kind != "O":
        return raw.dtype.kind in "US"
    return any(isinstance(entry, (str, bytes)) for entry in raw.flat)


def as_levels(owner: object, name: str, value: Any) -> np.ndarray:
    """Return a field as `as_array` does, but names and large whole numbers as is.

    They may be levels of a table's column.
    """
    try:
        is_text = has_text(value)
    except ValueError:
        # Ragged: no array at all.
        return as_array(owner, name, value)
    array = np.array(value, dtype=object if is_text else None)
    if not is_text:
        as_float = as_array(owner, name, value)
        if array.dtype.kind not in "iu" or _holds(as_float, array):
            return as_float
    array.setflags(write=False)
    return array


def _holds(floats: np.ndarray, whole: np.ndarray) -> bool:
    # The largest ones may be rounded to what the type does not hold.
    with np.errstate(invalid="ignore"):
        return bool(np.all(floats.astype(whole.dtype) == whole))


def finite_number(
    owner: Any, name: str, value: Any, *, positive: bool = False
) -> float:
    """Return a field, or the strength ``t``, as a float, or say what is allowed."""
    number = isinstance(value, (int, float, np.integer, np.floating))
    if isinstance(value, bool) or not number:
        raise TypeError(
            f"{type(owner).__name__}: {name} must be a number, got {value!r}."
        )
    if not is_finite(value) or (positive and value <= 0):
        allowed = "positive and finite" if positive else "finite"
        raise ValueError(
            f"{type(owner).__name__}: {name} must be {allowed}, got {value!r}."
        )
    return float(value) + 0.0


def check_flag(owner: Any, name: str) -> None:
    """Make the field True or False, or say what is allowed."""
    value = getattr(owner, name)
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(
            f"{type(owner).__name__}: {name} must be True or False, got {value!r}."
        )
    object.__setattr__(owner, name, bool(value))


def as_units(owner: object, name: str, value: int | Sequence[int]) -> tuple[int, ...]:
    """Return indices of units as a tuple without repeats, or say what is allowed."""
    units = (value,) if isinstance(value, Integral) else value
    try:
        units = tuple(units)
    except TypeError:
        units = (units,)
    if not units or any(
        isinstance(u, bool) or not isinstance(u, Integral) or u < 0 for u in units
    ):
        raise TypeError(
            f"{type(owner).__name__}: {name} must be a non-negative int or a non-empty "
            f"sequence of them, got {value!r}."
        )
    return tuple(dict.fromkeys(int(u) for u in units))


def check_units(owner: object, units: tuple[int, ...], node: str, shape: Shape) -> None:
    """Raise ValueError if a node has not all of the units."""
    if max(units) >= shape[0]:
        raise ValueError(
            f"{type(owner).__name__}: unit {max(units)} is out of range for node "
            f"{node!r}, which has {shape[0]} units (0 to {shape[0] - 1})."
        )


def check_broadcasts(owner: object, value: np.ndarray, node: str, shape: Shape) -> None:
    try:
        np.broadcast_to(value, shape)
    except ValueError:
        raise ValueError(
            f"{type(owner).__name__}: a value of shape {value.shape} does not fit node "
            f"{node!r}, whose shape is {shape}. Give a number or an array that "
            "broadcasts to that shape."
        ) from None


def check_numbers(owner: object, value: np.ndarray, node: str) -> None:
    """Raise ValueError for names of levels, which this node does not have."""
    if value.dtype == object:
        raise ValueError(
            f"{owner!r} gives names of levels, but node {node!r} holds numbers: give "
            "numbers."
        )
