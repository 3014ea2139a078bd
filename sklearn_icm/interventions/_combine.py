"""Interventions made of others: one after the other, or in some places alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import Intervention, Shape, as_intervention, call_on


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

    def scaled(self, t: float) -> Compose:
        """Every step at the strength t.

        Parameters
        ----------
        t : float
        """
        return Compose(tuple(_strength(self, step, t) for step in self.steps))


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
        object.__setattr__(self, "then", as_intervention(self.then))

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
