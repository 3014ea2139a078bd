"""Mechanisms: the maps between successive nodes of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._folding import FoldedResize
from ._operators import LinearOperator, flipped, read_operator

ACTIVATIONS = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}

PACKAGE = __name__.split(".")[0]
# By module and by mode of training: whether a call wrote into what it was handed.
_WROTE: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()


def tensor_of(module: nn.Module) -> Tensor:
    """Return a parameter or buffer that shows where a module computes, and how.

    A module without any computes anywhere: a float32 zero on the CPU.
    """
    tensors = chain(module.parameters(), module.buffers())
    return next((t for t in tensors if t.is_floating_point()), torch.zeros(()))


@contextmanager
def deterministic(module: nn.Module) -> Iterator[None]:
    """Switch off what modules draw in training, such as dropout, and on again."""
    # Those alone that train: queries write nothing to a fitted model, not for a moment.
    switched = [part for part in module.modules() if part.training]
    for part in switched:
        part.training = False
    try:
        yield
    finally:
        for part in switched:
            part.training = True


class DenseMechanism(nn.Module):
    """Affine map of the flattened parent, an activation, and the shape of the child.

    Parameters
    ----------
    in_shape, out_shape : tuple of int
        Of a row of the parent and of the child.
    activation : {"identity", "relu", "silu", "tanh", ...}
        A key of `ACTIVATIONS`.
    """

    def __init__(
        self, in_shape: Sequence[int], out_shape: Sequence[int], activation: str
    ) -> None:
        super().__init__()
        self.out_shape = tuple(out_shape)
        self.linear = nn.Linear(math.prod(in_shape), math.prod(out_shape))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, parent: Tensor) -> Tensor:
        value = self.activation(self.linear(parent.flatten(1)))
        return value.unflatten(1, self.out_shape)

    def operator(self) -> LinearOperator:
        """Weights of the affine map."""
        return LinearOperator(self.linear.weight)


class ConvMechanism(nn.Module):
    """Resize to the child's grid, convolve, activate; or convolve with a stride.

    ``factors`` says per spatial axis how the child's grid relates to the parent's:
    the parent is resized by it (and cropped to ``out_shape``), or, if ``down`` is
    set, the convolution samples its result by it. Where it saves work, nearest resizing
    and convolution are computed together on the parent's small grid: the same numbers.

    Parameters
    ----------
    in_channels : int
    out_shape : tuple of int
        (channels, length) or (channels, height, width) of the child.
    factors : tuple of int
        One per spatial axis.
    kernel_size : int
        The same along each axis; borders are padded so that the grid stays.
    activation : {"identity", "relu", "silu", "tanh", ...}
        A key of `ACTIVATIONS`.
    resize : {"nearest", "linear"}, default="nearest"
    down : bool, default=False
        Whether the child's grid is the coarser one.
    """

    def __init__(
        self,
        in_channels: int,
        out_shape: Sequence[int],
        factors: Sequence[int],
        *,
        kernel_size: int,
        activation: str,
        resize: str = "nearest",
        down: bool = False,
    ) -> None:
        super().__init__()
        n_axes = len(factors)
        conv = {1: nn.Conv1d, 2: nn.Conv2d}[n_axes]
        self.out_shape, self.factors = tuple(out_shape), tuple(factors)
        self.resize, self.down = resize, down
        before, after = (kernel_size - 1) // 2, kernel_size // 2
        self.conv = conv(
            in_channels,
            out_shape[0],
            kernel_size,
            stride=self.factors if down else 1,
            # The same numbers as of a padded map, in less time.
            padding=before if before == after else 0,
        )
        self.padding = [before, after] * n_axes
        self.activation = ACTIVATIONS[activation]()
        self.folded = None
        if resize == "nearest" and not down and max(self.factors) > 1:
            folded = FoldedResize(kernel_size, self.factors)
            self.folded = folded if folded.saves else None

    def forward(self, parent: Tensor) -> Tensor:
        if self.down:
            value = self._convolved(parent)
        elif self.folded is None:
            value = self._convolved(self._resized(parent, self.out_shape[1:]))
        else:
            value = self._folded(parent)
        return self.activation(value)

    def _convolved(self, value: Tensor) -> Tensor:
        before, after = self.padding[:2]
        if before != after:
            value = functional.pad(value, self.padding)
        return self.conv(value)

    def _folded(self, parent: Tensor) -> Tensor:
        value = self.folded(parent, self.conv.weight, self.conv.bias)
        value = self._cropped(value, self.out_shape[1:])
        before, after = self.padding[:2]
        for k, (factor, size) in enumerate(
            zip(self.factors, self.out_shape[1:], strict=True)
        ):
            n, axis = parent.shape[k + 2], k + 2
            cropped, end = n * factor - size, min(after, size)
            if cropped and end:
                # Folded kernels saw entries that cropping takes away: the few outputs
                # at the end that read them are computed on the large grid.
                reach = min(n, -(-(before + after + cropped) // factor))
                sizes = list(self.out_shape[1:])
                sizes[k] = reach * factor - cropped
                tail = parent.narrow(axis, n - reach, reach)
                tail = self._convolved(self._resized(tail, sizes))
                tail = tail.narrow(axis, tail.shape[axis] - end, end)
                value = torch.cat([value.narrow(axis, 0, size - end), tail], axis)
        return value

    def _resized(self, value: Tensor, sizes: Sequence[int]) -> Tensor:
        if max(self.factors) == 1:
            return value
        if self.resize == "nearest":
            for axis, factor in enumerate(self.factors, start=2):
                if factor > 1:
                    value = value.repeat_interleave(factor, dim=axis)
        else:
            mode = "linear" if len(self.factors) == 1 else "bilinear"
            size = [n * f for n, f in zip(value.shape[2:], self.factors, strict=True)]
            value = functional.interpolate(value, size=size, mode=mode)
        return self._cropped(value, sizes)

    def _cropped(self, value: Tensor, sizes: Sequence[int]) -> Tensor:
        for axis, size in enumerate(sizes, start=2):
            value = value.narrow(axis, 0, size)
        return value

    def operator(self) -> LinearOperator:
        """Kernels of the convolution, and the resizing before it."""
        weight = flipped(self.conv.weight)
        if self.down:
            return LinearOperator(weight, downsample=self.factors)
        return LinearOperator(weight, upsample=self.factors, resize=self.resize)


class LinkedMechanism(nn.Module):
    """A mechanism followed by a fixed elementwise map, such as a change of units."""

    def __init__(self, mechanism: nn.Module, link: nn.Module) -> None:
        super().__init__()
        self.mechanism, self.link = mechanism, link

    def forward(self, *parents: Tensor) -> Tensor:
        return self.link(self.mechanism(*parents))

    def operator(self) -> LinearOperator:
        """Operator of the mechanism: a fixed link belongs to no pair."""
        return read_operator(self.mechanism)


def called_apart(f: Callable[..., Any], *values: Tensor, what: str = "f") -> Any:
    """Result of a map; the values stay as they are, even where it works in place.

    A module is handed copies in its first call, and later ones if that wrote into them.
    Other callables always are, but for those of this package.

    Parameters
    ----------
    f : callable
    *values : Tensor
    what : str
        Names the map in the error message.

    Raises
    ------
    RuntimeError
        If a module that wrote nothing before does so now.
    """
    if not isinstance(f, nn.Module):
        # Of a partial function, that of what it calls.
        made_in = str(getattr(getattr(f, "func", f), "__module__", ""))
        own = made_in.split(".")[0] == PACKAGE
        return f(*(values if own else map(Tensor.clone, values)))
    if any(map(Tensor.is_inference, values)):
        # They count no writes.
        return f(*map(Tensor.clone, values))
    known = _WROTE.setdefault(f, {})
    copied = known.get(f.training, True)
    handed = [value.clone() for value in values] if copied else values
    before = versions(handed)
    result = f(*handed)
    wrote = before != versions(handed)
    if wrote and not copied:
        raise RuntimeError(
            f"{what} wrote into the values that it was handed, which it did not in its "
            "first call: clone what its forward changes in place."
        )
    known[f.training] = wrote
    return result


def versions(values: Iterable[Tensor]) -> list[int | None]:
    """Counters of the writes into tensors; those of an inference mode have none."""
    return [None if value.is_inference() else value._version for value in values]
