"""Interventions in some places of a node alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import Here, Intervention, applied, as_intervention, replaces_mechanism
from ._checks import Shape, as_array, as_units, check_units


class _InPlaces(Intervention):
    """Interventions that do what the field ``then`` names in some places alone."""

    then: Any

    def __post_init__(self) -> None:
        change = as_intervention(self.then)
        if replaces_mechanism(change):
            raise TypeError(
                f"{type(self).__name__}: a mechanism is replaced as a whole, so "
                f"{change!r} cannot act on a part of a node. Give it alone, or in "
                "a >> b."
            )
        object.__setattr__(self, "then", change)

    @property
    def reads(self) -> tuple[str, ...]:
        """Nodes that are read by what is done."""
        return self.then.reads

    def scaled(self, t: float) -> Intervention:
        """Return the intervention in the same places at the strength t."""
        return replace(self, then=self.then.scaled(t))

    def inverse(self) -> Intervention:
        """Return the inverse in the same places."""
        return replace(self, then=self.then.inverse())


@dataclass(frozen=True, eq=False, repr=False)
class Where(_InPlaces):
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
        super().__post_init__()

    def __repr__(self) -> str:
        return f"Where({self.mask.tolist()}, {self.then!r})"

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        try:
            np.broadcast_to(self.mask, shape)
        except ValueError:
            raise ValueError(
                f"Where: a mask of shape {self.mask.shape} does not fit node {node!r}, "
                f"whose shape is {shape}."
            ) from None
        self.then.check(node, shape, kind)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        mask = torch.tensor(self.mask, device=value.device)
        return torch.where(mask, applied(self.then, value, here), value)


@dataclass(frozen=True, eq=False)
class Units(_InPlaces):
    """Intervene on some units of a node: channels of a map, entries of a vector.

    Parameters
    ----------
    index : int or sequence of int
        Indices along the first axis of the node's shape.
    then : intervention, callable, number or array
        What is done to these units together, as if they were the whole node.

    Examples
    --------
    >>> import torch
    >>> Units(1, 0.0)(torch.ones(1, 2))
    tensor([[1., 0.]])
    """

    index: int | Sequence[int]
    then: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", as_units(self, "index", self.index))
        super().__post_init__()

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        check_units(self, self.index, node, shape)
        self.then.check(node, (len(self.index), *shape[1:]), kind)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        index = list(self.index)
        changed = value.clone()
        changed[:, index] = applied(self.then, value[:, index], here)
        return changed


@dataclass(frozen=True, eq=False, repr=False)
class EachRow(Intervention):
    """Set the node to a value of its own in each row of a query.

    Parameters
    ----------
    values : array-like of shape (n_samples, ``*node shape``)
        As `node_values` gives them: of a column of levels their codes.
    """

    values: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", as_array(self, "values", self.values))

    def __repr__(self) -> str:
        return f"EachRow(array of shape {self.values.shape})"

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        if self.values.shape[1:] != tuple(shape):
            raise ValueError(
                f"Values of shape {self.values.shape[1:]} in each row do not fit node "
                f"{node!r}, whose shape is {shape}."
            )

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        rows = (here or Here.alone(value)).rows
        return torch.tensor(self.values[rows]).to(value)
