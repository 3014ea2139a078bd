"""Interventions that shift, scale or limit the values of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import Here, Intervention, ValuedIntervention
from ._checks import finite_number


class Shift(ValuedIntervention):
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

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        return value + self._tensor(value)

    def scaled(self, t: float) -> Shift:
        """Shift by t times the value."""
        return Shift(finite_number(self, "t", t) * self.value)

    def inverse(self) -> Shift:
        """Return the shift by as much the other way."""
        return Shift(-self.value)


class Scale(ValuedIntervention):
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

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        return value * self._tensor(value)

    def scaled(self, t: float) -> Scale:
        """Scale by ``1 + t (value - 1)``."""
        return Scale(1 + finite_number(self, "t", t) * (self.value - 1))

    def inverse(self) -> Scale:
        """Return the scaling by ``1 / value``; no value may be 0."""
        if not np.all(self.value):
            raise ValueError(f"{self!r} multiplies by 0, so it has no inverse.")
        return Scale(1 / self.value)


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

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        low, high = (torch.tensor(limit).to(value) for limit in (self.low, self.high))
        return value.clamp(low, high)
