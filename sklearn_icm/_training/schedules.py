"""How weights change over the epochs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WarmUp:
    """Weight that rises linearly from 0 to ``weight`` over the first ``epochs``.

    >>> schedule = WarmUp(weight=2.0, epochs=4)
    >>> [schedule(epoch) for epoch in (0, 1, 3, 9)]
    [0.5, 1.0, 2.0, 2.0]
    """

    weight: float
    epochs: int = 0

    def __call__(self, epoch: int) -> float:
        """Weight during the given epoch, counted from 0."""
        if epoch + 1 >= self.epochs:
            return self.weight
        return self.weight * (epoch + 1) / self.epochs
