"""Mechanisms of columns: all together while they are trained, and each on its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ....models._likelihood import Affine
from ....utils.rows import is_rounding

# Rows that a declared level without any counts as.
UNSEEN = 0.5
LEAST_SCALE = 1e-3
# softplus(UNIT_SCALE) + LEAST_SCALE is 1.
UNIT_SCALE = math.log(math.expm1(1 - LEAST_SCALE))
# Standard normal noise beyond it is rounded to 0 or 1 by its distribution function.
MOST_NOISE = 5.0
# Part of a level's interval at either end, where rounding could give its neighbour.
EDGE = 1e-4
# Of the offset of a column: a few of the last bits of float32.
ROUNDING = 5e-7
# Of the mean of a column: the least mean given the parents that noise is a factor of.
LEAST_MEAN = 0.1
# Of the first weights of unobserved parents: zero ones would never be felt.
DISTURBANCE = 0.3


class Part(NamedTuple):
    """A line, with weights of products of inputs a polynomial, or a network."""

    bias: Tensor
    linear: Tensor | None = None
    inner: Tensor | None = None
    shift: Tensor | None = None
    outer: Tensor | None = None
    products: Tensor | None = None


class ColumnBank(nn.Module):
    """Functions of the parents for some columns at once, (n, n_copies, n_heads).

    Without units they are linear; otherwise sums of a few tanh units, which saturate,
    so that they are constant far from the data. Stacked, all columns cost a few calls
    of torch. Copies differ in their start and in the rows that they are trained on; the
    function of a column is their mean. ``reads``, (n_columns of the table, n_inputs),
    says which inputs a column sees: there are weights for no others. Each column has
    one head, or as many as ``heads`` say. Where tables are fitted together, parameters
    and inputs have a leading dimension: the tables.
    """

    def __init__(
        self,
        columns: Sequence[int],
        reads: Tensor,
        n_units: int,
        heads: Sequence[int] | None = None,
        n_copies: int = 1,
    ) -> None:
        super().__init__()
        self.heads = [1] * len(columns) if heads is None else list(heads)
        self.places, self.n_inputs = tuple(columns), reads.shape[1]
        self.is_linear, self.n_copies = not n_units, n_copies
        # Rows of first weights by column, and how many weights are in each.
        self.rows = self.heads if self.is_linear else [n_units] * len(columns)
        numbers = [columns, self.heads, self.rows]
        columns, heads, rows = torch.tensor(numbers, dtype=torch.long)
        own = reads[columns]
        self.widths = own.sum(1).tolist()
        owner = torch.arange(len(columns)).repeat_interleave(heads)
        read = own.repeat_interleave(rows, 0).flatten().nonzero()[:, 0]
        # Told by the graph, so that no state needs them.
        for name, index in {"columns": columns, "owner": owner, "read": read}.items():
            self.register_buffer(name, index, persistent=False)
        weight = torch.zeros(n_copies, len(read))
        self.bias = nn.Parameter(torch.zeros(n_copies, len(owner)))
        if n_units:
            fan_in = own.sum(1).clamp(min=1)[:, None, None]
            shape = n_copies, len(columns), n_units
            weight = (torch.randn(*shape, self.n_inputs) / fan_in.sqrt()).flatten(1)
            weight = weight[:, read]
            self.shift = nn.Parameter(torch.randn(shape))
            self.outer = nn.Parameter(torch.zeros(n_copies, len(owner), n_units))
        self.weight = nn.Parameter(weight)

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.is_linear and len(self.owner) == len(self.columns):
            own = self.weight, self.shift, self.outer, self.bias
            return _TanhSums.apply(inputs, *own, self.read)
        weight = _dense(self.weight, self.read, sum(self.rows), inputs.shape[-1])
        weight = weight.flatten(-3, -2)
        if self.is_linear:
            value = functional.linear(inputs, weight, self.bias.flatten())
            return value.unflatten(1, self.bias.shape)
        shift = self.shift.flatten(-3).unsqueeze(-2)
        units = 2 * (2 * (inputs @ weight.mT + shift)).sigmoid() - 1
        units = units.unflatten(-1, self.shift.shape[-3:])[..., self.owner, :]
        return (units * self.outer.unsqueeze(-4)).sum(-1) + self.bias.unsqueeze(-3)

    @torch.no_grad()
    def disturb(self, columns: Sequence[int]) -> None:
        """Start some columns of networks, or all lines, with random weights."""
        if self.is_linear:
            noise = torch.randn(self.n_copies, sum(self.rows) * self.n_inputs)
            self.weight += DISTURBANCE * noise[:, self.read]
            return
        own = torch.isin(self.columns[self.owner], torch.tensor(columns))
        self.outer[:, own] += DISTURBANCE * torch.randn_like(self.outer[:, own])

    def weights_of(self, column: int) -> Tensor:
        """View of the first weights of one column, (n_copies, n_rows, n_seen)."""
        place = self.places.index(column)
        sizes = [n * width for n, width in zip(self.rows, self.widths, strict=True)]
        own = self.weight.narrow(1, sum(sizes[:place]), sizes[place])
        return own.view(self.n_copies, self.rows[place], self.widths[place])

    @torch.no_grad()
    def part(self, column: int) -> Part:
        """Function of one column, as a sum over the units of all copies."""
        place, weight = self.places.index(column), self.weights_of(column)
        own = self.owner == place
        bias = self.bias[:, own].mean(0)
        if self.is_linear:
            return Part(bias, weight.mean(0))
        # With logistic units, as above.
        outer = torch.cat(list(2 * self.outer[:, own] / self.n_copies), 1)
        return Part(
            bias - 0.5 * outer.sum(1),
            inner=2 * weight.flatten(0, 1),
            shift=2 * self.shift[:, place].flatten(),
            outer=outer,
        )


def _dense(weight: Tensor, read: Tensor, n_rows: int, n_inputs: int) -> Tensor:
    """First weights, zeros where nothing is seen, (..., n_copies, n_rows, n_inputs)."""
    dense = weight.new_zeros(*weight.shape[:-1], n_rows * n_inputs)
    return dense.index_copy(-1, read, weight).unflatten(-1, (n_rows, n_inputs))


class _TanhSums(torch.autograd.Function):
    """Networks of a bank with a head per column, (..., n, n_copies, n_columns).

    By hand, as they are what fits spend their time on: table by table, so that numbers
    stay in the cache, in few calls, and with products in the order that is four times
    as fast as in torch's own gradients.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        shift: Tensor,
        outer: Tensor,
        bias: Tensor,
        read: Tensor,
    ) -> Tensor:
        n, n_inputs = inputs.shape[-2:]
        shape = outer.shape[-3:]
        # tanh(x) = 2 sigmoid(2 x) - 1, which is twice as fast to compute.
        first = 2 * _dense(weight, read, shape[1:].numel(), n_inputs)
        tables = inputs.reshape(-1, n, n_inputs)
        first = first.reshape(len(tables), -1, n_inputs)
        start, factor = (2 * v.reshape(len(tables), -1) for v in (shift, outer))
        units = inputs.new_empty(len(tables), n, shape.numel())
        heads = inputs.new_empty(len(tables), n, *shape[:-1])
        work, ones = torch.empty_like(units[0]), outer.new_ones(shape[-1])
        each = zip(
            units, start, tables, first.mT, factor, heads.flatten(1), strict=True
        )
        for own, shifts, read_of, weights, factors, out in each:
            torch.addmm(shifts, read_of, weights, out=own).sigmoid_()
            torch.mul(own, factors, out=work)
            torch.mv(work.view(-1, len(ones)), ones, out=out)
        ctx.save_for_backward(tables, first, factor, units, read)
        ctx.lead, ctx.shape = inputs.shape[:-2], shape
        heads += (bias - outer.sum(-1)).reshape(len(tables), 1, *shape[:-1])
        return heads.view(*ctx.lead, *heads.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        tables, first, factor, units, read = ctx.saved_tensors
        n_tables, n, n_all = units.shape
        slopes = slopes.reshape(n_tables, n, -1, 1)
        # With a column of ones, whose weights are the shifts.
        wider = functional.pad(tables, (0, 1), value=1.0)
        to_first = first.new_empty(n_tables, wider.shape[2], n_all)
        to_outer, work = torch.empty_like(factor), torch.empty_like(units[0])
        ones, by_head = first.new_ones(n), (n, slopes.shape[2], -1)
        each = zip(units, slopes, wider.mT, to_outer, to_first, strict=True)
        to_inputs = []
        for k, (own, slope, read_of, outer, weights) in enumerate(each):
            torch.mul(own.view(by_head), slope, out=work.view(by_head))
            torch.mv(work.T, ones, out=outer)
            # u' = u (1 - u), and the outer weight, which all rows share.
            work.addcmul_(work, own, value=-1)
            torch.mm(read_of, work, out=weights)
            if ctx.needs_input_grad[0]:
                to_inputs.append((work * factor[k]) @ first[k])
        to_first *= 2 * factor[:, None]
        to_weight = to_first[:, :-1].mT.reshape(n_tables, ctx.shape[0], -1)
        to_bias = slopes.sum(1).view(n_tables, *ctx.shape[:-1])
        found = (
            torch.stack(to_inputs) if to_inputs else None,
            to_weight.index_select(-1, read),
            to_first[:, -1].view(n_tables, *ctx.shape),
            2 * to_outer.view(n_tables, *ctx.shape) - to_bias[..., None],
            to_bias,
        )
        parts = [None if v is None else v.view(*ctx.lead, *v.shape[1:]) for v in found]
        return *parts, None


class Products(nn.Module):
    """Weighted sum of products of inputs, (n, n_inputs) -> (n, 1); perhaps of none."""

    # Of a module all buffers that a fit sizes have as many rows: hence one apart.
    sized_by_fit = ("weight",)

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(0, n_inputs))

    def forward(self, inputs: Tensor, *, sizes: bool = False) -> Tensor:
        weight = self.weight.abs() if sizes else self.weight
        return ((inputs @ weight) * inputs).sum(1, keepdim=True)


class ColumnFunction(nn.Module):
    """The function of one column, linear or not: (n, n_inputs) -> (n, n_heads)."""

    sized_by_fit = ("inner", "shift", "outer")

    def __init__(self, n_inputs: int, start: Sequence[float]) -> None:
        super().__init__()
        self.start, self.n_inputs = tuple(start), n_inputs
        # Fitted in banks, from where they are put together: no parameters.
        for name in ("bias", "linear", *self.sized_by_fit):
            self.register_buffer(name, torch.empty(0))
        self.products = Products(n_inputs)
        self.become([])

    def become(self, parts: Sequence[Part]) -> None:
        """Take the outputs of banks, one behind the other; others are constant."""
        like, n_heads, head = self.bias, len(self.start), 0
        self.bias = torch.tensor(self.start).to(like)
        self.linear = like.new_zeros(n_heads, self.n_inputs)
        self.inner, self.shift = like.new_zeros(0, self.n_inputs), like.new_zeros(0)
        self.outer = like.new_zeros(0, n_heads)
        self.products.weight = self.inner
        for part in parts:
            rows = slice(head, head := head + len(part.bias))
            self.bias[rows] = part.bias
            if part.linear is not None:
                self.linear[rows] = part.linear
            if part.products is not None:
                # Of the first output, which alone may be a polynomial.
                self.products.weight = part.products
            if part.outer is not None:
                outer = part.outer.new_zeros(part.outer.shape[1], n_heads)
                outer[:, rows] = part.outer.T
                self.inner = torch.cat([self.inner, part.inner])
                self.shift = torch.cat([self.shift, part.shift])
                self.outer = torch.cat([self.outer, outer])

    def forward(self, inputs: Tensor, n_heads: int | None = None) -> Tensor:
        # Only the first outputs may be asked for.
        linear, bias = self.linear[:n_heads], self.bias[:n_heads]
        value = functional.linear(inputs, linear, bias)
        if len(self.products.weight):
            own = self.products(inputs)
            value = value + functional.pad(own, (0, value.shape[1] - 1))
        if not len(self.shift):
            # A linear column, or one without parents.
            return value
        units = functional.linear(inputs, self.inner, self.shift).sigmoid_()
        return value + units @ self.outer[:, :n_heads]

    def is_constant(self, head: int) -> bool:
        """Whether an output does not depend on the inputs."""
        curved = head == 0 and bool(self.products.weight.any())
        return not (curved or self.linear[head].any() or self.outer[:, head].any())

    def size(self, sizes: Tensor) -> Tensor:
        """How large the terms of the first output are, for inputs of some sizes."""
        linear = functional.linear(sizes, self.linear[:1].abs())
        if len(self.products.weight):
            linear = linear + self.products(sizes, sizes=True)
        return linear + self.bias[0].abs() + self.outer[:, 0].abs().sum()


class NumericReader(nn.Module):
    """How a numeric column is read: standardised."""

    width = 1

    def __init__(self) -> None:
        super().__init__()
        self.units = Affine((1,))

    def forward(self, value: Tensor) -> Tensor:
        return self.units.inverse(value)

    def value(self, read: Tensor) -> Tensor:
        """Value that is read so; nothing where rounding leaves as much of a zero."""
        units = self.units
        value = units.forward(read)
        return value.masked_fill(value.abs() < ROUNDING * units.offset.abs(), 0.0)

    def size(self, value: Tensor) -> Tensor:
        """How large the terms of what is read are."""
        units = self.units
        return (value.abs() + units.offset.abs()) / units.scale


class CategoricalReader(nn.Module):
    """How a column of codes 0, 1, ... is read: one indicator per level."""

    def __init__(self, n_levels: int) -> None:
        super().__init__()
        self.width = n_levels

    def forward(self, value: Tensor) -> Tensor:
        levels = torch.arange(self.width).to(value)
        indicators = (value == levels).to(value)
        return torch.where(value.isnan(), torch.nan, indicators)

    size = forward


class ColumnMechanism(nn.Module):
    """Mechanism of one column.

    It is called with the parents' values ``(n, 1)`` in their own units and, last, with
    the noise of all columns, of which it reads one. Its parts are asked by ``forward``,
    without hooks, since one row is more calls than numbers.
    """

    # Entry of the noise that is what its parents leave, if a formula gives it.
    own_noise: int | None = None

    def __init__(
        self,
        index: int,
        reader: nn.Module,
        parents: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.index, self.reader = index, reader
        self.parents = nn.ModuleList(parents)
        n_inputs = sum(parent.width for parent in parents)
        self.function = ColumnFunction(n_inputs, self._start())
        # Whether noise is a factor of the mean.
        self.register_buffer("tied", torch.zeros(()))

    def _start(self) -> Sequence[float]:
        return 0.0, UNIT_SCALE

    @property
    def weight(self) -> Tensor:
        """First weights, linear ones and those of the units, (n_weights, n_inputs)."""
        return torch.cat([self.function.linear, self.function.inner])

    def inputs(
        self, parents: Sequence[Tensor], like: Tensor, *, sizes: bool = False
    ) -> Tensor:
        """What is read of the parents, (n, n_inputs), or how large its terms are."""
        if not parents:
            return like.new_empty(len(like), 0)
        pairs = zip(self.parents, parents, strict=True)
        read = [(r.size if sizes else r.forward)(value) for r, value in pairs]
        return read[0] if len(read) == 1 else torch.cat(read, 1)


class NumericColumn(ColumnMechanism):
    """``location(parents) + scale(parents) * noise``, in standardised units inside."""

    @property
    def own_noise(self) -> int:
        return self.index

    def forward(self, *values: Tensor) -> Tensor:
        *parents, noise = values
        location, scale = self._moments(parents, noise)
        return self._outer(location + scale * noise[:, self.index, None])

    def _outer(self, value: Tensor) -> Tensor:
        """Value of the column, in its own units."""
        return self.reader.value(value)

    def explain(
        self, value: Tensor, parents: Sequence[Tensor], place: Tensor | None = None
    ) -> tuple:
        """Noise behind a value, and the log of d noise / d value; each (n, 1).

        The place in an interval of noise matters to columns of levels alone.
        """
        location, scale = self._moments(parents, value)
        reader = self.reader
        left = self._resolved(reader.forward(value) - location, value, parents)
        slope = (scale * reader.units.scale).expand_as(left)
        return left / scale, -slope.log()

    def _resolved(
        self, left: Tensor, value: Tensor, parents: Sequence[Tensor]
    ) -> Tensor:
        """What is left of a value; nothing where float32 weights leave as much."""
        sizes = self.inputs(parents, value, sizes=True)
        terms = self.reader.size(value) + self.function.size(sizes)
        return left.masked_fill(is_rounding(left, terms), 0.0)

    def _moments(self, parents: Sequence[Tensor], like: Tensor) -> tuple:
        inputs, function = self.inputs(parents, like), self.function
        if self.tied:
            units = self.reader.units
            mean = units.offset / units.scale
            scale = (function.forward(inputs, 1) + mean).clamp(min=LEAST_MEAN * mean)
            return scale - mean, scale
        if function.is_constant(1):
            return function.forward(inputs, 1), scale_of(function.bias[1:])
        heads = function.forward(inputs)
        return heads[:, :1], scale_of(heads[:, 1:])


def scale_of(head: Tensor) -> Tensor:
    """Positive scale of the noise."""
    return functional.softplus(head) + LEAST_SCALE


class CategoricalColumn(ColumnMechanism):
    """Levels in their order, cut from standard normal noise by their probabilities.

    A declared level that no row has gets its probability from ``prior``. ``counts`` are
    the rows of each level.
    """

    def __init__(
        self,
        index: int,
        reader: nn.Module,
        parents: Sequence[nn.Module],
    ) -> None:
        super().__init__(index, reader, parents)
        self.register_buffer("prior", torch.zeros(reader.width))
        self.register_buffer("counts", torch.zeros(reader.width, dtype=torch.long))

    def count(self, parts: Iterable[Tensor], *, add: bool) -> None:
        """Count rows of each level in values of the column, alone or beside others."""
        if not add:
            self.counts.zero_()
        for part in parts:
            known = part[~part.isnan()].long()
            self.counts += known.bincount(minlength=len(self.counts))
        unseen = (self.counts == 0).double()
        total = self.counts.sum() + UNSEEN * unseen.sum()
        self.prior.copy_(UNSEEN * unseen / total)

    def _start(self) -> Sequence[float]:
        return (0.0,) * self.reader.width

    def forward(self, *values: Tensor) -> Tensor:
        *parents, noise = values
        below = self._log_chances(parents, noise).exp().cumsum(1)[:, :-1]
        own = torch.special.ndtr(noise[:, self.index, None])
        return (own > below).sum(1, keepdim=True).to(noise)

    def _log_chances(self, parents: Sequence[Tensor], like: Tensor) -> Tensor:
        logits = self.function.forward(self.inputs(parents, like))
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
