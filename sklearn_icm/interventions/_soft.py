"""Interventions that set, shift, scale or silence the values of a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import Intervention, Shape


def _as_array(owner: object, name: str, value: Any) -> np.ndarray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{type(owner).__name__}: {name} must be a number or an array of numbers, "
            f"got {value!r}."
        ) from error
    if not np.isfinite(array).all():
        raise ValueError(
            f"{type(owner).__name__}: {name} must be finite, got {value!r}."
        )
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False, repr=False)
class _ValuedIntervention(Intervention):
    """Interventions with one number or array that broadcasts to the node's shape."""

    value: Any

    def __post_init__(self) -> None:
        # Equality is of values: Do(1) == Do(1.0) == Do(np.array(1)).
        object.__setattr__(self, "value", _as_array(self, "value", self.value))

    def __repr__(self) -> str:
        shown = self.value.item() if self.value.ndim == 0 else self.value.tolist()
        return f"{type(self).__name__}({shown})"

    def check(self, node: str, shape: Shape) -> None:
        try:
            np.broadcast_to(self.value, shape)
        except ValueError:
            raise ValueError(
                f"{type(self).__name__}: a value of shape {self.value.shape} does not "
                f"fit node {node!r}, whose shape is {shape}. Give a number or an array "
                "that broadcasts to that shape."
            ) from None

    def _tensor(self, like: Tensor) -> Tensor:
        return torch.tensor(self.value, dtype=like.dtype, device=like.device)


class Do(_ValuedIntervention):
    """Hard intervention: set the node to a value.

    Parameters
    ----------
    value : float or array-like
        Broadcasts to the shape of the node.

    Examples
    --------
    >>> Do(0.5)
    Do(0.5)
    """

    def __call__(self, value: Tensor) -> Tensor:
        return self._tensor(value).expand_as(value).clone()


class Shift(_ValuedIntervention):
    """Add to the values of a node.

    Parameters
    ----------
    value : float or array-like
        Broadcasts to the shape of the node.

    Examples
    --------
    >>> import torch
    >>> Shift(2.0)(torch.ones(1, 2))
    tensor([[3., 3.]])
    """

    def __call__(self, value: Tensor) -> Tensor:
        return value + self._tensor(value)


class Scale(_ValuedIntervention):
    """Multiply the values of a node.

    Parameters
    ----------
    value : float or array-like
        Broadcasts to the shape of the node.

    Examples
    --------
    >>> import torch
    >>> Scale(2.0)(torch.ones(1, 2))
    tensor([[2., 2.]])
    """

    def __call__(self, value: Tensor) -> Tensor:
        return value * self._tensor(value)


@dataclass(frozen=True, eq=False)
class Ablate(Intervention):
    """Set some units of a node to zero: channels of a map, entries of a vector.

    Parameters
    ----------
    units : int or sequence of int
        Indices along the first axis of the node's shape.
    """

    units: int | Sequence[int]

    def __post_init__(self) -> None:
        units = (self.units,) if isinstance(self.units, Integral) else self.units
        try:
            units = tuple(units)
        except TypeError:
            units = (units,)
        if not units or any(
            isinstance(u, bool) or not isinstance(u, Integral) or u < 0 for u in units
        ):
            raise TypeError(
                "Ablate: units must be a non-negative int or a non-empty sequence of "
                f"them, got {self.units!r}."
            )
        object.__setattr__(self, "units", tuple(sorted({int(u) for u in units})))

    def check(self, node: str, shape: Shape) -> None:
        if self.units[-1] >= shape[0]:
            raise ValueError(
                f"Ablate: unit {self.units[-1]} is out of range for node {node!r}, "
                f"which has {shape[0]} units (0 to {shape[0] - 1})."
            )

    def __call__(self, value: Tensor) -> Tensor:
        changed = value.clone()
        changed[:, list(self.units)] = 0
        return changed
