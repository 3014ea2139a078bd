"""Interventions that set, shift, scale or limit the values of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import Intervention, Shape, check_strength


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

    def scaled(self, t: float) -> Shift:
        """Shift by t times the value.

        Parameters
        ----------
        t : float
        """
        return Shift(check_strength(self, t) * self.value)


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

    def scaled(self, t: float) -> Scale:
        """Scale by ``1 + t (value - 1)``.

        Parameters
        ----------
        t : float
        """
        return Scale(1 + check_strength(self, t) * (self.value - 1))


@dataclass(frozen=True, eq=False)
class Clip(Intervention):
    """Limit the values of a node to an interval.

    Parameters
    ----------
    low, high : float
        ``low <= high``; infinite for no limit on that side.

    Examples
    --------
    >>> import torch
    >>> Clip(0.0, 1.0)(torch.tensor([[-1.0, 0.5, 2.0]]))
    tensor([[0.0000, 0.5000, 1.0000]])
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        try:
            low, high = float(self.low), float(self.high)
        except (TypeError, ValueError):
            low, high = np.nan, np.nan
        if not low <= high:
            raise ValueError(
                "Clip: low and high must be numbers with low <= high, got "
                f"{self.low!r} and {self.high!r}."
            )
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def __call__(self, value: Tensor) -> Tensor:
        return value.clamp(self.low, self.high)
