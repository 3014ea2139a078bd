"""Interventions as dicts of numbers, strings and lists, such as JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from inspect import isabstract
from typing import Any

import numpy as np

PACKAGE = __name__.split(".")[0]

# What a description of an intervention may hold; more would take all day, or the stack.
MOST_NESTED, MOST_PARTS = 50, 1000


def described(intervention: Any, root: type) -> dict[str, Any]:
    """Description of an intervention, one of the classes below ``root``."""
    own = type(intervention)
    kind = _known_kinds(root).get(own.__name__, own)
    if _place(kind) != _place(own):
        raise TypeError(
            f"{'.'.join(_place(own))} cannot be described as JSON: "
            f"{'.'.join(_place(kind))} has its name. Rename it, or pickle it."
        )
    values = {f.name: getattr(intervention, f.name) for f in fields(intervention)}
    return {
        "type": own.__name__,
        **{name: _plain(value, root) for name, value in values.items()},
    }


def _plain(value: Any, root: type) -> Any:
    if isinstance(value, root):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item, root) for item in value]
    if callable(value):
        raise TypeError(
            f"A callable cannot be described as JSON, got {value!r}: pickle the "
            "intervention, or write it with the classes of this module."
        )
    return value


def made_from(description: Any, root: type) -> Any:
    """Intervention that was described, by one of the classes below ``root``."""
    if not isinstance(description, Mapping):
        raise TypeError(
            "Intervention.from_dict: description must be a dict as to_dict makes "
            f"it, got {description!r}."
        )
    _check_size(description)
    return _made(description, _known_kinds(root))


def _made(description: Mapping[str, Any], kinds: Mapping[str, type]) -> Any:
    values = dict(description)
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
    return kinds[kind](**{name: _restored(v, kinds) for name, v in values.items()})


def _restored(value: Any, kinds: Mapping[str, type]) -> Any:
    if isinstance(value, Mapping):
        return _made(value, kinds)
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [_restored(item, kinds) for item in value]
    return value


def _known_kinds(root: type) -> dict[str, type]:
    """Public interventions by name; those of this package before others."""
    leaves = _leaves(root)
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
