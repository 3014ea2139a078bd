"""What an intervention is, and how one is applied to a node."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from inspect import isabstract
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._apart import PACKAGE, called_apart

Shape = tuple[int, ...]
# In what torch and numpy say of `if`, `max` or `float` of more than one value.
ONE_VALUE_ASKED = ("ambiguous", "to Scalar", "Python scalar")
ALL_ROWS = (
    "A callable gets the values of all rows at once: instead of `1.0 if v > 0 else "
    "0.0` write torch.where(v > 0, 1.0, 0.0)."
)
# What a description of an intervention may hold; more would take all day, or the stack.
MOST_NESTED, MOST_PARTS = 50, 1000


class Intervention(ABC):
    """Base of the value objects that change a node's value.

    A subclass is a frozen dataclass with ``__call__(value) -> value`` on a tensor of
    shape ``(n, *node shape)``, and may refuse nodes that it does not fit in
    `check`. Equality and hash compare the fields, arrays included.
    """

    is_random = False
    acts_on_mechanism = False

    @abstractmethod
    def __call__(self, value: Tensor) -> Tensor:
        """Changed values of the node, in a new tensor."""

    def started(self, streams: Iterator[torch.Generator]) -> Callable[[Tensor], Tensor]:
        """Return what one query applies; random interventions take their streams."""
        return self

    def mechanism_part(self) -> Intervention | None:
        """Return what replaces the mechanism of the node, if anything does."""
        return None

    def replaced(self, module: nn.Module) -> Callable[..., Tensor]:
        """Return what stands in for the mechanism that produces the node."""
        return module

    def check_mechanism(
        self, node: str, module: nn.Module, parents: Sequence[Shape]
    ) -> None:
        """Raise ValueError if `replaced` does not fit a mechanism and its parents."""
        return

    def check(self, node: str, shape: Shape) -> None:
        """Raise ValueError if the intervention does not fit a node of this shape."""
        return  # Most fit any node.

    def scaled(self, t: float) -> Intervention:
        """Return the intervention at a strength: 0 changes nothing, 1 is itself.

        Parameters
        ----------
        t : float
            Any finite number; beyond 1 it extrapolates.

        Raises
        ------
        TypeError
            For interventions that have no strength, such as ``Do``.
        """
        raise TypeError(
            f"{self!r} has no strength: only continuous interventions, such as Shift, "
            "Scale and Stretch, can be scaled."
        )

    def inverse(self) -> Intervention:
        """Return the intervention that undoes this one.

        Raises
        ------
        ValueError
            For interventions that forget what they change, such as ``Do``.
        """
        raise ValueError(f"{self!r} has no inverse that is known.")

    def __rshift__(self, other: Any) -> Intervention:
        """Do this intervention first, then the other one."""
        from ._combine import Compose

        return Compose((self, other))

    def to_dict(self) -> dict[str, Any]:
        """Description of numbers, strings and lists, such as JSON can hold.

        Returns
        -------
        dict
            ``{"type": class name, field: value, ...}``; `from_dict` reads it.
        """
        kind = _known_kinds().get(type(self).__name__, type(self))
        if _place(kind) != _place(type(self)):
            raise TypeError(
                f"{'.'.join(_place(type(self)))} cannot be described as JSON: "
                f"{'.'.join(_place(kind))} has its name. Rename it, or pickle it."
            )
        values = {f.name: _described(getattr(self, f.name)) for f in fields(self)}
        return {"type": type(self).__name__, **values}

    @staticmethod
    def from_dict(description: Mapping[str, Any]) -> Intervention:
        """Make the intervention that `to_dict` described.

        Parameters
        ----------
        description : dict
            It may nest 50 deep and hold 1,000 interventions.

        Raises
        ------
        TypeError, ValueError
            For what is no description, or one that is too large.
        """
        if not isinstance(description, Mapping):
            raise TypeError(
                "Intervention.from_dict: description must be a dict as to_dict makes "
                f"it, got {description!r}."
            )
        _check_size(description)
        return Intervention._from_dict(description)

    @staticmethod
    def _from_dict(description: Mapping[str, Any]) -> Intervention:
        values, kinds = dict(description), _known_kinds()
        kind = values.pop("type", None)
        if not isinstance(kind, str) or kind not in kinds:
            raise ValueError(
                f"Intervention.from_dict: type must be one of {sorted(kinds)}, got "
                f"{kind!r}."
            )
        named = {f.name: f.default is MISSING for f in fields(kinds[kind])}
        needed = {name for name, is_needed in named.items() if is_needed}
        if not needed <= values.keys() <= named.keys():
            raise ValueError(
                f"Intervention.from_dict: the fields of {kind} are {sorted(named)}, of "
                f"which {sorted(needed)} are needed, got {sorted(values)}."
            )
        return kinds[kind](**{name: _restored(v) for name, v in values.items()})

    def _key(self) -> tuple:
        return (type(self), *(_hashable(getattr(self, f.name)) for f in fields(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervention) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def _known_kinds() -> dict[str, type]:
    """Public interventions by name; those of this package before others."""
    leaves = _leaves(Intervention)
    own = [kind for kind in leaves if _place(kind)[0].split(".")[0] == PACKAGE]
    return {kind.__name__: kind for kind in (*leaves, *own)}


def _place(kind: type) -> tuple[str, str]:
    # A notebook's cell that runs again makes another class of the same place.
    return kind.__module__, kind.__qualname__


def _check_size(description: Mapping[str, Any]) -> None:
    """Refuse descriptions that nest too deep or hold too many interventions."""
    level, n_parts = [description], 0
    for _ in range(MOST_NESTED):
        n_parts += len(level)
        if n_parts > MOST_PARTS:
            break
        values = [v for part in level for v in part.values()]
        level = [v for v in values if isinstance(v, Mapping)]
        for value in values:
            if isinstance(value, list):
                level += [item for item in value if isinstance(item, Mapping)]
        if not level:
            return
    raise ValueError(
        f"Intervention.from_dict: description may nest {MOST_NESTED} deep and hold "
        f"{MOST_PARTS} interventions, got more. Write a class of yours for it."
    )


def _leaves(kind: type) -> list[type]:
    """Public classes below one of which there are instances, at any depth."""
    below = [leaf for sub in kind.__subclasses__() for leaf in (sub, *_leaves(sub))]
    return [
        leaf
        for leaf in below
        if not leaf.__name__.startswith("_")
        and is_dataclass(leaf)
        and not isabstract(leaf)
    ]


def _described(value: Any) -> Any:
    if isinstance(value, Intervention):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_described(item) for item in value]
    if callable(value):
        raise TypeError(
            f"A callable cannot be described as JSON, got {value!r}: pickle the "
            "intervention, or write it with the classes of this module."
        )
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Intervention._from_dict(value)
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [_restored(item) for item in value]
    return value


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # Of objects the bytes are addresses.
        is_text = value.dtype == object
        entries = tuple(value.ravel()) if is_text else value.tobytes()
        return (value.shape, value.dtype.str, entries)
    return value


def as_intervention(value: Any, node: str = "node") -> Callable[[Tensor], Tensor]:
    """Wrap what a node is changed by: a number or array becomes ``Do(value)``.

    Parameters
    ----------
    value : intervention, callable, number or array
        Interventions and callables are returned as they are.
    node : str
        Name for the error message.

    Returns
    -------
    callable
    """
    from ._soft import Do

    if isinstance(value, type):
        raise TypeError(
            f"The intervention on node {node!r} must be an instance, got the class "
            f"{value.__name__}: write {value.__name__}(...)."
        )
    if callable(value):
        return value
    if isinstance(value, (bool, str, bytes)) or value is None:
        raise TypeError(
            f"The intervention on node {node!r} must be an intervention, a callable, a "
            f"number or an array, got {value!r}. Try Do(0.0), Scale(2.0), or "
            "lambda value: 2 * value; Do(level) sets a table's column of levels."
        )
    return Do(value)


def check_interventions(
    interventions: Mapping[str, Any], nodes: Mapping[str, Shape]
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Wrap interventions and check that each has a node which it fits.

    Parameters
    ----------
    interventions : dict of node name to intervention, callable, number or array
    nodes : dict of node name to shape
        The nodes that exist.
    """
    if not isinstance(interventions, Mapping):
        raise TypeError(
            "interventions must be a dict {node name: intervention}, got "
            f"{type(interventions).__name__}."
        )
    checked = {}
    for name, value in interventions.items():
        if name not in nodes:
            close = get_close_matches(str(name), list(nodes), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"Unknown node {str(name)!r}; the nodes are {list(nodes)}.{hint}"
            )
        intervention = as_intervention(value, name)
        if isinstance(intervention, Intervention):
            intervention.check(name, nodes[name])
        checked[name] = intervention
    return checked


def apply_intervention(
    interventions: Mapping[str, Callable[[Tensor], Tensor]], name: str, value: Tensor
) -> Tensor:
    """Value of the node after its intervention, if it has one."""
    if name not in interventions:
        return value
    what = f"The intervention on node {name!r}"
    result = call_on(interventions[name], value, what)
    # A finite sum of all values is quick to see, and enough; an infinite one is not.
    finite = bool(torch.isfinite(result.sum())) or bool(torch.isfinite(result).all())
    if not finite:
        raise ValueError(f"{what} returned values that are not finite.")
    return result


def call_on(change: Callable[[Tensor], Any], value: Tensor, what: str) -> Tensor:
    """Result of a callable as a tensor like the value; it may have returned numpy.

    ``what`` names the callable in the error message.
    """
    try:
        result = called_apart(change, value, what=what)
    except (RuntimeError, TypeError, ValueError) as error:
        if not any(word in str(error) for word in ONE_VALUE_ASKED):
            raise
        raise ValueError(
            f"{what} treats what it is given as one number: {error}. {ALL_ROWS}"
        ) from error
    if isinstance(result, np.ndarray):
        result = torch.from_numpy(np.ascontiguousarray(result))
    if not isinstance(result, Tensor) or result.shape != value.shape:
        got = type(result).__name__
        if isinstance(result, Tensor):
            got = f"shape {tuple(result.shape)}"
        raise ValueError(
            f"{what} must return a tensor of the shape that it is given, "
            f"{tuple(value.shape)}, got {got}. {ALL_ROWS}"
        )
    return result.to(value)


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


def check_strength(owner: Any, t: float) -> float:
    """Return a strength as a float, or say what is allowed."""
    number = isinstance(t, (int, float, np.integer, np.floating))
    if isinstance(t, bool) or not number or not is_finite(t):
        raise ValueError(
            f"{type(owner).__name__}.scaled: t must be a finite number, got {t!r}."
        )
    return float(t)


def check_finite_number(owner: Any, name: str, *, positive: bool = False) -> float:
    """Return the field as a float, or say what is allowed."""
    value = getattr(owner, name)
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
