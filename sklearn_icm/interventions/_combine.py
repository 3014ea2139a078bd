"""Interventions made of others: one after the other, or in some places alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._base import Intervention, Shape, as_intervention, call_on
from ._units import as_units, check_units


def _fit(intervention: Any, node: str, shape: Shape) -> None:
    if isinstance(intervention, Intervention):
        intervention.check(node, shape)


def _strength(owner: Intervention, part: Any, t: float) -> Intervention:
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

    Parameters
    ----------
    change : callable
        Intervention, or any map of a node's value.
    streams : iterator of torch.Generator
        Each random intervention takes the next one.
    """
    return change.started(streams) if isinstance(change, Intervention) else change


def inverse_of(change: Any) -> Intervention:
    """Return what undoes an intervention; of a plain callable nothing is known.

    Parameters
    ----------
    change : intervention or callable
    """
    if not isinstance(change, Intervention):
        raise ValueError(f"The callable {change!r} has no inverse that is known.")
    return change.inverse()


def is_random(change: Any) -> bool:
    """Whether a query needs random numbers for this; a callable's own do not count.

    Parameters
    ----------
    change : intervention or callable
    """
    return getattr(change, "is_random", False)


def _value_only(owner: Intervention, change: Any) -> Callable[[Tensor], Tensor]:
    change = as_intervention(change)
    if getattr(change, "acts_on_mechanism", False):
        raise TypeError(
            f"{type(owner).__name__}: a mechanism is replaced as a whole, so "
            f"{change!r} cannot act on a part of a node. Give it alone, or in a >> b."
        )
    return change


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
            _fit(step, node, shape)

    def __call__(self, value: Tensor) -> Tensor:
        for step in self.steps:
            value = call_on(step, value, f"{step!r} in Compose")
        return value

    @property
    def is_random(self) -> bool:
        return any(map(is_random, self.steps))

    @property
    def acts_on_mechanism(self) -> bool:
        return self.mechanism_part() is not None

    def started(self, streams: Iterator[torch.Generator]) -> Compose:
        return Compose(tuple(started(step, streams) for step in self.steps))

    def mechanism_part(self) -> Compose | None:
        steps = [s for s in self.steps if getattr(s, "acts_on_mechanism", False)]
        return Compose(tuple(steps)) if steps else None

    def replaced(self, module: nn.Module) -> Callable[..., Tensor]:
        for step in self._mechanism_steps():
            module = step.replaced(module)
        return module

    def check_mechanism(
        self, node: str, module: nn.Module, parents: Sequence[Shape]
    ) -> None:
        for step in self._mechanism_steps():
            step.check_mechanism(node, module, parents)

    def _mechanism_steps(self) -> Sequence[Any]:
        part = self.mechanism_part()
        return () if part is None else part.steps

    def scaled(self, t: float) -> Compose:
        """Every step at the strength t.

        Parameters
        ----------
        t : float
        """
        return Compose(tuple(_strength(self, step, t) for step in self.steps))

    def inverse(self) -> Compose:
        """Return the inverses of the steps, the last one first."""
        return Compose(tuple(inverse_of(step) for step in reversed(self.steps)))


@dataclass(frozen=True, eq=False, repr=False)
class Where(Intervention):
    """Intervene in some places of a node and leave the others as they are.

    Parameters
    ----------
    mask : array-like of bool
        Broadcasts to the shape of the node; true where `then` acts.
    then : intervention, callable, number or array

    Examples
    --------
    >>> import torch
    >>> Where([True, False], 0.0)(torch.ones(1, 2))
    tensor([[0., 1.]])
    """

    mask: Any
    then: Any

    def __post_init__(self) -> None:
        mask = np.array(self.mask)
        if mask.dtype != bool:
            raise TypeError(
                f"Where: mask must be an array of bool, got {self.mask!r}. Compare "
                "first, such as mask > 0."
            )
        mask.setflags(write=False)
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "then", _value_only(self, self.then))

    def __repr__(self) -> str:
        return f"Where({self.mask.tolist()}, {self.then!r})"

    def check(self, node: str, shape: Shape) -> None:
        try:
            np.broadcast_to(self.mask, shape)
        except ValueError:
            raise ValueError(
                f"Where: a mask of shape {self.mask.shape} does not fit node {node!r}, "
                f"whose shape is {shape}."
            ) from None
        _fit(self.then, node, shape)

    @property
    def is_random(self) -> bool:
        return is_random(self.then)

    def started(self, streams: Iterator[torch.Generator]) -> Where:
        return Where(self.mask, started(self.then, streams))

    def __call__(self, value: Tensor) -> Tensor:
        mask = torch.tensor(self.mask, device=value.device)
        changed = call_on(self.then, value, f"{self.then!r} in Where")
        return torch.where(mask, changed, value)

    def scaled(self, t: float) -> Where:
        """The same places at the strength t.

        Parameters
        ----------
        t : float
        """
        return Where(self.mask, _strength(self, self.then, t))

    def inverse(self) -> Where:
        """Return the inverse in the same places."""
        return Where(self.mask, inverse_of(self.then))


@dataclass(frozen=True, eq=False)
class Units(Intervention):
    """Intervene on some units of a node: channels of a map, entries of a vector.

    Parameters
    ----------
    index : int or sequence of int
        Indices along the first axis of the node's shape.
    other : intervention, callable, number or array
        What is done to these units together, as if they were the whole node.

    Examples
    --------
    >>> import torch
    >>> Units(1, 0.0)(torch.ones(1, 2))
    tensor([[1., 0.]])
    """

    index: int | Sequence[int]
    other: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", as_units(self, "index", self.index))
        object.__setattr__(self, "other", _value_only(self, self.other))

    @property
    def is_random(self) -> bool:
        return is_random(self.other)

    def check(self, node: str, shape: Shape) -> None:
        check_units(self, self.index, node, shape)
        _fit(self.other, node, (len(self.index), *shape[1:]))

    def started(self, streams: Iterator[torch.Generator]) -> Units:
        return Units(self.index, started(self.other, streams))

    def __call__(self, value: Tensor) -> Tensor:
        index = list(self.index)
        changed = value.clone()
        changed[:, index] = call_on(
            self.other, value[:, index], f"{self.other!r} in Units"
        )
        return changed

    def scaled(self, t: float) -> Units:
        """The same units at the strength t.

        Parameters
        ----------
        t : float
        """
        return Units(self.index, _strength(self, self.other, t))

    def inverse(self) -> Units:
        """Return the inverse on the same units."""
        return Units(self.index, inverse_of(self.other))
