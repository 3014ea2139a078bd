"""Pre-additive mechanisms of columns: noise enters before the curve, not after it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....rows._batches import Batch
from ._lines import Line
from ._mechanisms import (
    LEAST_SCALE,
    UNIT_SCALE,
    ColumnBank,
    ColumnMechanism,
    NumericColumn,
    Part,
    scale_of,
)

# Draws per row and column in the energy loss.
N_DRAWS = 4
# Inputs of a curve are about standardised.
FARTHEST_KNOT = 2.5
RATE = 2.0
# Steps on curves are larger, as much depends on the small slopes of their ends.
STEP = 5.0
# Halvings of an interval a few thousand wide: down to the precision of float64.
N_HALVINGS = 64


class MonotoneCurves(nn.Module):
    """One increasing function per column, (n, n_columns) -> (n, n_columns).

    A line plus smooth hinges that are flat on either side, so that both ends are lines
    with slopes of their own. They start near the identity.
    """

    def __init__(self, n_columns: int, n_units: int) -> None:
        super().__init__()
        start = {
            "offset": torch.zeros(n_columns, 1),
            "slope": torch.full((n_columns, 1), _inverse_softplus(0.5)),
            "height": torch.full((n_columns, n_units), _inverse_softplus(1 / n_units)),
            "rate": torch.full((n_columns, n_units), _inverse_softplus(RATE)),
            "knot": torch.linspace(-FARTHEST_KNOT, FARTHEST_KNOT, n_units + 2)[1:-1]
            .expand(n_columns, n_units)
            .clone(),
        }
        for name, value in start.items():
            self.register_parameter(name, nn.Parameter(value / STEP))
        # Hinges that are flat on the left, and on the right.
        self.register_buffer("side", 1.0 - 2.0 * (torch.arange(n_units) % 2))

    def forward(self, value: Tensor) -> Tensor:
        rate = functional.softplus(STEP * self.rate)
        hinges = functional.softplus(self._distance(value, rate)) / rate * self.side
        bent = (hinges * functional.softplus(STEP * self.height)).sum(-1)
        return STEP * self.offset[:, 0] + self._least_slope() * value + bent

    def slopes(self, value: Tensor) -> Tensor:
        """Derivative of each entry, positive."""
        rate = functional.softplus(STEP * self.rate)
        passed = torch.sigmoid(self._distance(value, rate))
        return self._least_slope() + (
            passed * functional.softplus(STEP * self.height)
        ).sum(-1)

    def inverse(self, value: Tensor) -> Tensor:
        """Where the curves take these values, by bisection."""
        reach = (value - self(torch.zeros_like(value))).abs() / self._least_slope() + 1
        low, high = -reach, reach
        for _ in range(N_HALVINGS):
            middle = 0.5 * (low + high)
            below = self(middle) < value
            low, high = (
                torch.where(below, middle, low),
                torch.where(below, high, middle),
            )
        return 0.5 * (low + high)

    def _distance(self, value: Tensor, rate: Tensor) -> Tensor:
        return self.side * rate * (value[..., None] - STEP * self.knot)

    def _least_slope(self) -> Tensor:
        return scale_of(STEP * self.slope[:, 0])


class PreAdditiveBank(ColumnBank):
    """``curve(weights @ parents + scale * noise)`` for all columns at once.

    What it gives is the line inside the curve; units are hinges of a curve.
    """

    def __init__(self, columns: Sequence[int], reads: Tensor, n_units: int) -> None:
        super().__init__(columns, reads, 0)
        self.scale = nn.Parameter(torch.full((len(columns),), UNIT_SCALE))
        self.curves = MonotoneCurves(len(columns), n_units)

    def losses(self, inputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """Energy score of draws for each entry, (n, n_columns); lower is better."""
        noise = batch.randn(N_DRAWS, *targets.shape)
        location = self(inputs)[:, 0]
        draws = self.curves(location + scale_of(self.scale) * noise)
        spread = (draws[:, None] - draws).abs().sum((0, 1)) / (N_DRAWS * (N_DRAWS - 1))
        return (draws - targets).abs().mean(0) - 0.5 * spread

    @torch.no_grad()
    def start(self, column: int, line: Line) -> None:
        """Start a column from least squares."""
        place = self.places.index(column)
        self.weights_of(column)[:] = line.weight.to(self.scale)
        left = max(line.variance, LEAST_SCALE) ** 0.5
        self.scale[place] = _inverse_softplus(left)

    @torch.no_grad()
    def part(self, column: int) -> Part:
        """Location and scale of one column inside its curve."""
        line, place = super().part(column), self.places.index(column)
        bias = torch.cat([line.bias, self.scale[place, None]])
        return Part(bias, functional.pad(line.linear, (0, 0, 0, 1)))

    @torch.no_grad()
    def copy_curve(self, column: int, curve: MonotoneCurves) -> None:
        """Give the curve of one column to a module of its own."""
        place = self.places.index(column)
        for name, own in curve.named_parameters():
            own.copy_(self.curves.get_parameter(name)[place])


class PreAdditiveColumn(NumericColumn):
    """``curve(location(parents) + scale * noise)``, in standardised units inside."""

    # Its curve is inverted by bisection.
    own_noise = None

    def __init__(
        self,
        index: int,
        reader: nn.Module,
        parents: Sequence[ColumnMechanism],
        n_units: int,
    ) -> None:
        super().__init__(index, reader, parents)
        # Trained in a bank, from where it is copied.
        self.curve = MonotoneCurves(1, n_units).requires_grad_(False)

    def _outer(self, value: Tensor) -> Tensor:
        return self.reader.value(self.curve(value))

    def explain(
        self, value: Tensor, parents: Sequence[Tensor], place: Tensor | None = None
    ) -> tuple:
        """Noise behind a value, and the log of d noise / d value; each (n, 1)."""
        location, scale = self._moments(parents, value)
        inner = self.curve.inverse(self.reader(value))
        slope = self.curve.slopes(inner) * scale * self.reader.units.scale
        return (inner - location) / scale, -slope.log()


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))
