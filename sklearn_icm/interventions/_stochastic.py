"""Interventions that draw random values."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ._base import Here, Intervention
from ._checks import (
    Shape,
    as_levels,
    check_numbers,
    finite_number,
)


class StochasticIntervention(Intervention):
    """Interventions whose result depends on random numbers.

    In a query of a generator each has its own stream, which its `random_state` decides.
    Called directly, they draw from one fixed stream.
    """

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        return self._drawn(value, (here or Here.alone(value)).generator)

    @abstractmethod
    def _drawn(self, value: Tensor, generator: torch.Generator) -> Tensor:
        """Changed values, with random numbers from the CPU generator."""


@dataclass(frozen=True, eq=False)
class Noise(StochasticIntervention):
    """Add independent normal noise to the values of a node.

    Parameters
    ----------
    scale : float
        Standard deviation, in the units of the node; not negative.

    Examples
    --------
    >>> import torch
    >>> Noise(0.1)(torch.zeros(500, 4)).std().round(decimals=1)
    tensor(0.1000)
    """

    scale: float

    def __post_init__(self) -> None:
        scale = finite_number(self, "scale", self.scale)
        if scale < 0:
            raise ValueError(f"Noise: scale must not be negative, got {self.scale!r}.")
        object.__setattr__(self, "scale", scale)

    def scaled(self, t: float) -> Noise:
        """Noise of ``|t|`` times the standard deviation."""
        return Noise(abs(finite_number(self, "t", t)) * self.scale)

    def _drawn(self, value: Tensor, generator: torch.Generator) -> Tensor:
        if self.scale == 0:
            return value
        drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        return value + self.scale * drawn.to(value.device)


@dataclass(frozen=True, eq=False, repr=False)
class Resample(StochasticIntervention):
    """Hard intervention: draw the node's values from given ones, with replacement.

    Whole values are drawn, so that dependence within the node is kept, and dependence
    on its parents is cut.

    Parameters
    ----------
    from_ : array-like of shape (n_values, ``*node shape``)
        Such as ``estimator.node_values(X)[node]`` of another environment. Of a table's
        column of levels, levels of any type, shape (n_values, 1).

    Examples
    --------
    >>> import torch
    >>> Resample([[1.0, 2.0]])(torch.zeros(2, 2))
    tensor([[1., 2.],
            [1., 2.]])
    """

    from_: Any

    def __post_init__(self) -> None:
        values = as_levels(self, "from_", self.from_)
        if values.ndim < 2 or not len(values):
            raise ValueError(
                "Resample: from_ must hold at least one value of the node, shape "
                f"(n_values, *node shape), got an array of shape {values.shape}."
            )
        object.__setattr__(self, "from_", values)

    def __repr__(self) -> str:
        return f"Resample({self.from_.tolist()})"

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        check_numbers(self, self.from_, node)
        if self.from_.shape[1:] != tuple(shape):
            raise ValueError(
                f"Resample: values of shape {self.from_.shape[1:]} do not fit node "
                f"{node!r}, whose shape is {shape}."
            )

    def _drawn(self, value: Tensor, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(self.from_), (len(value),), generator=generator)
        return torch.from_numpy(self.from_[rows.numpy()]).to(value)
