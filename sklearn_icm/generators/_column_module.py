"""Mechanisms of columns: all together while they are trained, and each on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..mechanisms import Affine

LEAST_SCALE = 1e-3
# softplus(UNIT_SCALE) + LEAST_SCALE is 1.
UNIT_SCALE = math.log(math.expm1(1 - LEAST_SCALE))
# Standard normal noise beyond it is rounded to 0 or 1 by its distribution function.
MOST_NOISE = 5.0
# Part of a level's interval at either end, where rounding could give its neighbour.
EDGE = 1e-4
# Of the variance of an input, for parents that determine each other.
RIDGE = 1e-6
# Of the first weights of unobserved parents: zero ones would never be felt.
DISTURBANCE = 0.3
LEAST_VARIANCE = 1e-6


class ColumnBank(nn.Module):
    """Functions of the parents for all columns at once, (n, n_columns, n_heads).

    Without units they are linear; otherwise sums of a few tanh units, which saturate,
    so that they are constant far from the data. Stacked, all columns cost a few calls
    of torch.

    Parameters
    ----------
    reads : Tensor of bool of shape (n_columns, n_inputs)
        Which inputs each column's function sees.
    n_units : int
    n_heads : int
        Outputs per column.
    """

    def __init__(self, reads: Tensor, n_units: int, n_heads: int) -> None:
        super().__init__()
        n_columns, n_inputs = reads.shape
        self.register_buffer("reads", reads.float())
        self.bias = nn.Parameter(torch.zeros(n_columns, n_heads))
        if n_units:
            fan_in = self.reads.sum(1).clamp(min=1)[:, None, None]
            inner = torch.randn(n_columns, n_units, n_inputs) / fan_in.sqrt()
            self.inner = nn.Parameter(inner)
            self.shift = nn.Parameter(torch.randn(n_columns, n_units))
            self.outer = nn.Parameter(torch.zeros(n_columns, n_heads, n_units))
        else:
            self.linear = nn.Parameter(torch.zeros(n_columns, n_heads, n_inputs))
        self.is_linear = not n_units

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.linear if self.is_linear else self.inner
        weight = (weight * self.reads[:, None]).flatten(0, 1)
        if self.is_linear:
            value = functional.linear(inputs, weight, self.bias.flatten())
            return value.unflatten(1, self.bias.shape)
        units = torch.tanh(functional.linear(inputs, weight, self.shift.flatten()))
        units = units.unflatten(1, self.shift.shape)
        # Several times faster than einsum or matmul for these small sizes.
        return (units[:, :, None] * self.outer).sum(-1) + self.bias

    @torch.no_grad()
    def solve(self, second: Tensor, cross: Tensor) -> None:
        """Start from least squares, given moments of centred inputs and targets."""
        for k, reads in enumerate(self.reads[:, : len(second)]):
            seen = reads.nonzero()[:, 0]
            gram = second[seen][:, seen]
            ridge = RIDGE * torch.eye(len(gram)).to(gram)
            self.linear[k, 0, seen] = torch.linalg.solve(
                gram + ridge, cross[seen, k]
            ).to(self.linear)

    @torch.no_grad()
    def disturb(self, columns: Tensor) -> None:
        """Start some columns with random weights."""
        weight = self.linear if self.is_linear else self.outer
        weight[columns] += DISTURBANCE * torch.randn_like(weight[columns])

    @torch.no_grad()
    def copy_to(self, mechanism: ColumnMechanism, column: int) -> None:
        """Give the function of one column to a mechanism of its own."""
        function, seen = mechanism.function, self.reads[column] > 0
        heads = min(len(function.bias), self.bias.shape[1])
        function.reset()
        function.bias[:heads] = self.bias[column, :heads]
        if self.is_linear:
            function.linear[:heads] = self.linear[column, :heads][:, seen]
            return
        n_units = self.shift.shape[1]
        function.inner[:n_units] = self.inner[column][:, seen]
        function.shift[:n_units] = self.shift[column]
        function.outer[:heads, :n_units] = self.outer[column, :heads]


class ColumnFunction(nn.Module):
    """The function of one column, linear or not: (n, n_inputs) -> (n, n_heads)."""

    def __init__(self, n_inputs: int, n_units: int, start: Sequence[float]) -> None:
        super().__init__()
        self.start, n_heads = tuple(start), len(start)
        shapes = {
            "bias": (n_heads,),
            "linear": (n_heads, n_inputs),
            "inner": (n_units, n_inputs),
            "shift": (n_units,),
            "outer": (n_heads, n_units),
        }
        for name, shape in shapes.items():
            # Trained in a bank, from where they are copied.
            weight = nn.Parameter(torch.zeros(shape), requires_grad=False)
            self.register_parameter(name, weight)
        self.reset()

    def reset(self) -> None:
        """Become the constant function."""
        for weight in self.parameters():
            weight.zero_()
        self.bias.copy_(torch.tensor(self.start))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.first(inputs, len(self.bias))

    def first(self, inputs: Tensor, n_heads: int) -> Tensor:
        """Only the first outputs."""
        linear, bias = self.linear[:n_heads], self.bias[:n_heads]
        value = functional.linear(inputs, linear, bias)
        outer = self.outer[:n_heads]
        if not bool(outer.any()):
            # A linear column, or one without parents: the network says nothing.
            return value
        units = torch.tanh(functional.linear(inputs, self.inner, self.shift))
        return value + functional.linear(units, outer)

    def is_constant(self, head: int) -> bool:
        """Whether an output does not depend on the inputs."""
        return not bool(self.linear[head].any() or self.outer[head].any())


class NumericReader(nn.Module):
    """How a numeric column is read: standardised."""

    width = 1

    def __init__(self) -> None:
        super().__init__()
        self.units = Affine((1,))

    def forward(self, value: Tensor) -> Tensor:
        return self.units.inverse(value)


class CategoricalReader(nn.Module):
    """How a column of codes 0, 1, ... is read: one indicator per level."""

    def __init__(self, n_levels: int) -> None:
        super().__init__()
        self.width = n_levels

    def forward(self, value: Tensor) -> Tensor:
        levels = torch.arange(self.width).to(value)
        indicators = (value == levels).to(value)
        return torch.where(value.isnan(), torch.nan, indicators)


class ColumnMechanism(nn.Module):
    """Mechanism of one column.

    It is called with the parents' values ``(n, 1)`` in their own units and, last, with
    the noise of all columns, of which it reads one.
    """

    def __init__(
        self,
        index: int,
        reader: nn.Module,
        parents: Sequence[nn.Module],
        n_units: int,
    ) -> None:
        super().__init__()
        self.index, self.reader = index, reader
        self.parents = nn.ModuleList(parents)
        n_inputs = sum(parent.width for parent in parents)
        self.function = ColumnFunction(n_inputs, n_units, self._start())

    def _start(self) -> Sequence[float]:
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:
        """First weights, linear ones and those of the units, (n_weights, n_inputs)."""
        return torch.cat([self.function.linear, self.function.inner])

    def inputs(self, parents: Sequence[Tensor], like: Tensor) -> Tensor:
        """What is read of the parents, (n, n_inputs)."""
        if not parents:
            return like.new_empty(len(like), 0)
        pairs = zip(self.parents, parents, strict=True)
        read = [reader(value) for reader, value in pairs]
        return read[0] if len(read) == 1 else torch.cat(read, 1)


class NumericColumn(ColumnMechanism):
    """``location(parents) + scale(parents) * noise``, in standardised units inside."""

    def _start(self) -> Sequence[float]:
        return 0.0, UNIT_SCALE

    def forward(self, *values: Tensor) -> Tensor:
        *parents, noise = values
        location, scale = self._moments(parents, noise)
        return self.reader.units(location + scale * noise[:, self.index, None])

    def explain(
        self, value: Tensor, parents: Sequence[Tensor], place: Tensor | None = None
    ) -> tuple:
        """Noise behind a value, and the log of d noise / d value; each (n, 1).

        The place in an interval of noise matters to columns of levels alone.
        """
        location, scale = self._moments(parents, value)
        noise = (self.reader(value) - location) / scale
        slope = (scale * self.reader.units.scale).expand_as(noise)
        return noise, -slope.log()

    def _moments(self, parents: Sequence[Tensor], like: Tensor) -> tuple:
        inputs = self.inputs(parents, like)
        if self.function.is_constant(1):
            return self.function.first(inputs, 1), scale_of(self.function.bias[1:])
        heads = self.function(inputs)
        return heads[:, :1], scale_of(heads[:, 1:])


def scale_of(head: Tensor) -> Tensor:
    """Positive scale of the noise."""
    return functional.softplus(head) + LEAST_SCALE


class CategoricalColumn(ColumnMechanism):
    """Levels in their order, cut from standard normal noise by their probabilities.

    A declared level that no row has gets its probability from ``prior``.
    """

    def __init__(
        self,
        index: int,
        reader: nn.Module,
        parents: Sequence[nn.Module],
        n_units: int,
    ) -> None:
        super().__init__(index, reader, parents, n_units)
        self.register_buffer("prior", torch.zeros(reader.width))

    def _start(self) -> Sequence[float]:
        return (0.0,) * self.reader.width

    def forward(self, *values: Tensor) -> Tensor:
        *parents, noise = values
        below = self._log_chances(parents, noise).exp().cumsum(1)[:, :-1]
        own = torch.special.ndtr(noise[:, self.index, None])
        return (own > below).sum(1, keepdim=True).to(noise)

    def _log_chances(self, parents: Sequence[Tensor], like: Tensor) -> Tensor:
        logits = self.function(self.inputs(parents, like))
        # Training ends before it takes all chance from a level that no row has.
        own = logits.masked_fill(self.prior > 0, -torch.inf).log_softmax(1)
        return torch.logaddexp(own + torch.log1p(-self.prior.sum()), self.prior.log())

    def explain(
        self, value: Tensor, parents: Sequence[Tensor], place: Tensor | None = None
    ) -> tuple:
        """Noise in a level's interval, and its log probability; each (n, 1).

        Its place in the interval is between 0 and 1, and without one the middle. Where
        the places are uniform, the noise of all rows together is standard normal.
        """
        log_chances = self._log_chances(parents, value)
        level = value.nan_to_num().long()
        place = 0.5 if place is None else place.clamp(EDGE, 1 - EDGE)
        chance = log_chances.exp()
        own = chance.gather(1, level)
        below = chance.cumsum(1).gather(1, level) - own
        noise = torch.special.ndtri((below + place * own).clamp(0, 1))
        log_chance = log_chances.gather(1, level)
        unknown = value.isnan()
        return (
            noise.clamp(-MOST_NOISE, MOST_NOISE).masked_fill(unknown, torch.nan),
            log_chance.masked_fill(unknown, torch.nan),
        )


def numeric_loss(heads: Tensor, targets: Tensor) -> Tensor:
    """Half squared errors, or negative log likelihoods if there is a scale."""
    squared = 0.5 * (targets - heads[..., 0]).square()
    if heads.shape[2] == 1:
        return squared
    scale = scale_of(heads[..., 1])
    return squared / scale.square() + scale.log()


def profiled_loss(loss: Tensor, known: Tensor) -> Tensor:
    """Negative log likelihood of half squared errors, at their own variance."""
    half = torch.where(known, loss, 0.0).sum(0) / known.sum(0).clamp(min=1)
    variance = (2 * half).clamp(min=LEAST_VARIANCE)
    return loss / variance + 0.5 * variance.log()
