"""Interventions that set, shift, scale or limit the values of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import Intervention, Shape, as_array, as_levels, check_strength


def _check_broadcasts(
    owner: object, value: np.ndarray, node: str, shape: Shape
) -> None:
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


def _without_zeros(owner: object, scale: np.ndarray) -> np.ndarray:
    if not np.all(scale):
        raise ValueError(f"{owner!r} multiplies by 0, so it has no inverse.")
    return scale


def _shown(array: np.ndarray) -> str:
    return repr(array.item() if array.ndim == 0 else array.tolist())


@dataclass(frozen=True, eq=False, repr=False)
class _ValuedIntervention(Intervention):
    """Interventions with one number or array that broadcasts to the node's shape."""

    value: Any

    def __post_init__(self) -> None:
        # Equality is of values: Do(1) == Do(1.0) == Do(np.array(1)).
        object.__setattr__(self, "value", as_array(self, "value", self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_shown(self.value)})"

    def check(self, node: str, shape: Shape) -> None:
        _check_broadcasts(self, self.value, node, shape)

    def _tensor(self, like: Tensor) -> Tensor:
        return torch.tensor(self.value, dtype=like.dtype, device=like.device)


class Do(_ValuedIntervention):
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

    def inverse(self) -> Shift:
        """Return the shift by as much the other way."""
        return Shift(-self.value)


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

    def inverse(self) -> Scale:
        """Return the scaling by ``1 / value``; no value may be 0."""
        return Scale(1 / _without_zeros(self, self.value))


@dataclass(frozen=True, eq=False, repr=False)
class Affine(Intervention):
    """Scale the values of a node, then shift them: ``scale * value + shift``.

    Parameters
    ----------
    scale, shift : float or array-like
        Each broadcasts to the shape of the node.

    Examples
    --------
    >>> import torch
    >>> Affine(2.0, shift=1.0)(torch.ones(1, 2))
    tensor([[3., 3.]])
    """

    scale: Any = 1.0
    shift: Any = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "shift"):
            object.__setattr__(self, name, as_array(self, name, getattr(self, name)))

    def __repr__(self) -> str:
        return f"Affine({_shown(self.scale)}, shift={_shown(self.shift)})"

    def check(self, node: str, shape: Shape) -> None:
        for value in (self.scale, self.shift):
            _check_broadcasts(self, value, node, shape)

    def scaled(self, t: float) -> Affine:
        """Scale by ``1 + t (scale - 1)`` and shift by t times the shift.

        Parameters
        ----------
        t : float
        """
        t = check_strength(self, t)
        return Affine(1 + t * (self.scale - 1), t * self.shift)

    def inverse(self) -> Affine:
        """Return the map that undoes this one; no scale may be 0."""
        scale = _without_zeros(self, self.scale)
        return Affine(1 / scale, -self.shift / scale)

    def __call__(self, value: Tensor) -> Tensor:
        scale, shift = (torch.tensor(a).to(value) for a in (self.scale, self.shift))
        return scale * value + shift


@dataclass(frozen=True, eq=False)
class Clip(Intervention):
    """Limit the values of a node to an interval.

    Parameters
    ----------
    low, high : float
        ``low <= high``; None or infinite for no limit on that side.

    Examples
    --------
    >>> import torch
    >>> Clip(0.0, 1.0)(torch.tensor([[-1.0, 0.5, 2.0]]))
    tensor([[0.0000, 0.5000, 1.0000]])
    """

    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        try:
            low = -np.inf if self.low is None else float(self.low)
            high = np.inf if self.high is None else float(self.high)
        except (TypeError, ValueError, OverflowError):
            low, high = np.nan, np.nan
        if not low <= high or low == np.inf or high == -np.inf:
            raise ValueError(
                "Clip: low and high must be numbers (or None) with low <= high, got "
                f"{self.low!r} and {self.high!r}."
            )
        object.__setattr__(self, "low", low + 0.0)
        object.__setattr__(self, "high", high + 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Description as of any intervention, with None for no limit.

        Returns
        -------
        dict
        """
        limits = {"low": self.low, "high": self.high}
        # JSON has no infinity.
        finite = {k: v if np.isfinite(v) else None for k, v in limits.items()}
        return {**super().to_dict(), **finite}

    def __call__(self, value: Tensor) -> Tensor:
        low, high = (torch.tensor(limit).to(value) for limit in (self.low, self.high))
        return value.clamp(low, high)
