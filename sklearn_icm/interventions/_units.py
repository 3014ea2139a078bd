"""Interventions that rearrange units: channels of a map, or entries of a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

from torch import Tensor

from ._base import Intervention, Shape


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


@dataclass(frozen=True, eq=False)
class Permute(Intervention):
    """Reorder the units of a node.

    Parameters
    ----------
    order : sequence of int
        Unit ``k`` of the result is unit ``order[k]`` of the value: each of 0, 1, ...
        once.

    Examples
    --------
    >>> import torch
    >>> Permute([1, 0])(torch.tensor([[3.0, 4.0]]))
    tensor([[4., 3.]])
    """

    order: Sequence[int]

    def __post_init__(self) -> None:
        try:
            order = tuple(int(k) for k in self.order)
        except (TypeError, ValueError):
            order = ()
        if not order or sorted(order) != list(range(len(order))):
            raise ValueError(
                "Permute: order must hold each of 0, 1, ..., n - 1 once, got "
                f"{self.order!r}."
            )
        object.__setattr__(self, "order", order)

    def check(self, node: str, shape: Shape) -> None:
        if len(self.order) != shape[0]:
            raise ValueError(
                f"Permute: {len(self.order)} units do not fit node {node!r}, which has "
                f"{shape[0]}."
            )

    def __call__(self, value: Tensor) -> Tensor:
        return value[:, list(self.order)]

    def inverse(self) -> Permute:
        """Return the permutation that undoes this one."""
        return Permute(sorted(range(len(self.order)), key=self.order.__getitem__))


@dataclass(frozen=True, eq=False)
class _OnUnits(Intervention):
    """Interventions on some units of a node."""

    units: int | Sequence[int]

    def __post_init__(self) -> None:
        units = as_units(self, "units", self.units)
        object.__setattr__(self, "units", tuple(sorted(units)))

    def check(self, node: str, shape: Shape) -> None:
        check_units(self, self.units, node, shape)


class SignFlip(_OnUnits):
    """Change the sign of some units of a node; its own inverse.

    Parameters
    ----------
    units : int or sequence of int
        Indices along the first axis of the node's shape.

    Examples
    --------
    >>> import torch
    >>> SignFlip(0)(torch.ones(1, 2))
    tensor([[-1.,  1.]])
    """

    def inverse(self) -> SignFlip:
        """Return the flip itself."""
        return self

    def __call__(self, value: Tensor) -> Tensor:
        changed = value.clone()
        changed[:, list(self.units)] *= -1
        return changed


class Ablate(_OnUnits):
    """Set some units of a node to zero: channels of a map, entries of a vector.

    Parameters
    ----------
    units : int or sequence of int
        Indices along the first axis of the node's shape.
    """

    def __call__(self, value: Tensor) -> Tensor:
        changed = value.clone()
        changed[:, list(self.units)] = 0
        return changed
