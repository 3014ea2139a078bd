"""What an intervention is, and how one, or several in a row, change a node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._apart import called_apart
from ._checks import Shape, as_array, as_levels, check_broadcasts, check_numbers
from ._description import described, made_from

# In what torch and numpy say of `if`, `max` or `float` of more than one value.
ONE_VALUE_ASKED = ("ambiguous", "to Scalar", "Python scalar")
ALL_ROWS = (
    "A callable gets the values of all rows at once: instead of `1.0 if v > 0 else "
    "0.0` write torch.where(v > 0, 1.0, 0.0)."
)


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
        return Compose((self, other))

    def to_dict(self) -> dict[str, Any]:
        """Description of numbers, strings and lists, such as JSON can hold.

        Returns
        -------
        dict
            ``{"type": class name, field: value, ...}``; `from_dict` reads it.
        """
        return described(self, Intervention)

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
        return made_from(description, Intervention)

    def key(self) -> tuple:
        """Return what equality and hash compare."""
        return (type(self), *(_hashable(getattr(self, f.name)) for f in fields(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervention) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # Of objects the bytes are addresses.
        is_text = value.dtype == object
        entries = tuple(value.ravel()) if is_text else value.tobytes()
        return (value.shape, value.dtype.str, entries)
    return value


def shown(array: np.ndarray) -> str:
    return repr(array.item() if array.ndim == 0 else array.tolist())


@dataclass(frozen=True, eq=False, repr=False)
class ValuedIntervention(Intervention):
    """Interventions with one number or array that broadcasts to the node's shape."""

    value: Any

    def __post_init__(self) -> None:
        # Equality is of values: Do(1) == Do(1.0) == Do(np.array(1)).
        object.__setattr__(self, "value", as_array(self, "value", self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self.value)})"

    def check(self, node: str, shape: Shape) -> None:
        check_broadcasts(self, self.value, node, shape)

    def _tensor(self, like: Tensor) -> Tensor:
        return torch.tensor(self.value, dtype=like.dtype, device=like.device)


class Do(ValuedIntervention):
    """Hard intervention: set the node to a value.

    Parameters
    ----------
    value : float or array-like
        Broadcasts to the shape of the node. Of a table's column of levels one level,
        of any type.

    Examples
    --------
    >>> Do(0.5)
    Do(0.5)
    >>> Do("treated")
    Do('treated')
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", as_levels(self, "value", self.value))

    def check(self, node: str, shape: Shape) -> None:
        check_numbers(self, self.value, node)
        super().check(node, shape)

    def __call__(self, value: Tensor) -> Tensor:
        return self._tensor(value).expand_as(value).clone()


def as_intervention(value: Any, node: str = "node") -> Callable[[Tensor], Tensor]:
    """Wrap what a node is changed by: a number or array becomes ``Do(value)``.

    Interventions and callables are returned as they are.
    """
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
    """Wrap interventions and check that each has a node which it fits."""
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
        checked[name] = as_intervention(value, name)
        check_fit(checked[name], name, nodes[name])
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


def check_fit(intervention: Any, node: str, shape: Shape) -> None:
    """Raise ValueError if an intervention does not fit; a plain callable may."""
    if isinstance(intervention, Intervention):
        intervention.check(node, shape)


def strength_of(owner: Intervention, part: Any, t: float) -> Intervention:
    """Return a part of an intervention at a strength; a plain callable has none."""
    if not isinstance(part, Intervention):
        raise TypeError(
            f"{type(owner).__name__}.scaled: a plain callable has no strength, got "
            f"{part!r}. Use interventions such as Shift, Scale or Stretch."
        )
    return part.scaled(t)


def started(
    change: Callable[[Tensor], Tensor], streams: Iterator[torch.Generator]
) -> Callable[[Tensor], Tensor]:
    """Return what one query applies; a plain callable stays as it is.

    Each random intervention takes the next one of the streams.
    """
    return change.started(streams) if isinstance(change, Intervention) else change


def inverse_of(change: Any) -> Intervention:
    """Return what undoes an intervention; of a plain callable nothing is known."""
    if not isinstance(change, Intervention):
        raise ValueError(f"The callable {change!r} has no inverse that is known.")
    return change.inverse()


def is_random(change: Any) -> bool:
    """Whether a query needs random numbers for this; a callable's own do not count."""
    return getattr(change, "is_random", False)


@dataclass(frozen=True, eq=False)
class Compose(Intervention):
    """Interventions on one node, the first one first; ``a >> b`` makes one.

    Parameters
    ----------
    steps : sequence of interventions, callables, numbers or arrays
        At least one.

    Examples
    --------
    >>> from sklearn_icm.interventions import Scale, Shift
    >>> Shift(1.0) >> Scale(2.0)
    Compose(steps=(Shift(1.0), Scale(2.0)))
    """

    steps: Sequence[Any]

    def __post_init__(self) -> None:
        listed = isinstance(self.steps, (list, tuple)) and len(self.steps) > 0
        if not listed:
            raise TypeError(
                "Compose: steps must be a non-empty list of interventions, got "
                f"{self.steps!r}."
            )
        flat: list[Callable[[Tensor], Tensor]] = []
        for step in map(as_intervention, self.steps):
            flat.extend(step.steps if isinstance(step, Compose) else [step])
        object.__setattr__(self, "steps", tuple(flat))

    def check(self, node: str, shape: Shape) -> None:
        for step in self.steps:
            check_fit(step, node, shape)

    def __call__(self, value: Tensor) -> Tensor:
        for step in self.steps:
            value = call_on(step, value, f"{step!r} in Compose")
        return value

    @property
    def is_random(self) -> bool:
        return any(map(is_random, self.steps))

    @property
    def acts_on_mechanism(self) -> bool:
        return bool(self._mechanism_steps())

    def started(self, streams: Iterator[torch.Generator]) -> Compose:
        return Compose(tuple(started(step, streams) for step in self.steps))

    def mechanism_part(self) -> Compose | None:
        steps = self._mechanism_steps()
        return Compose(steps) if steps else None

    def replaced(self, module: nn.Module) -> Callable[..., Tensor]:
        for step in self._mechanism_steps():
            module = step.replaced(module)
        return module

    def check_mechanism(
        self, node: str, module: nn.Module, parents: Sequence[Shape]
    ) -> None:
        for step in self._mechanism_steps():
            step.check_mechanism(node, module, parents)

    def _mechanism_steps(self) -> list[Any]:
        return [s for s in self.steps if getattr(s, "acts_on_mechanism", False)]

    def scaled(self, t: float) -> Compose:
        """Every step at the strength t."""
        return Compose(tuple(strength_of(self, step, t) for step in self.steps))

    def inverse(self) -> Compose:
        """Return the inverses of the steps, the last one first."""
        return Compose(tuple(inverse_of(step) for step in reversed(self.steps)))
