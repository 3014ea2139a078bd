"""What a step of training sees of the rows, and what training iterates over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

BLOCK_BYTES = 2**24
UNCHANGED: Mapping[str, Any] = MappingProxyType({})


class Batch(NamedTuple):
    """What one step sees; a model reads what it can use.

    ``x``, (n, ...), are values of the data node, and ``generator`` is the one source of
    random numbers. Where they are given, ``changes`` are the interventions that the
    rows are under, ``weights``, (n,), count the rows, ``known``, (n, n_columns), says
    which entries are there and made by the column's own mechanism, ``fold`` which part
    of the rows each belongs to, (n,), or how often it is in each, (n, n_folds), and
    ``inputs``, (n, n_inputs), are known values of the noise behind the rows.
    """

    x: Tensor
    generator: torch.Generator | None = None
    changes: Mapping[str, Any] = UNCHANGED
    weights: Tensor | None = None
    known: Tensor | None = None
    fold: Tensor | None = None
    inputs: Tensor | None = None
    epoch: int = 0

    def randn(self, *shape: int) -> Tensor:
        """Standard normal numbers, drawn on the CPU, where and as exact as the rows."""
        return torch.randn(shape, generator=self.generator).to(self.x)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the rows, (n, ...) -> (...), by their weights."""
        if self.weights is None:
            return values.mean(0)
        weights = self.weights.view(-1, *[1] * (values.ndim - 1))
        return (weights * values).sum(0) / self.weights.sum()


@dataclass(frozen=True, eq=False)
class Rows:
    """What training iterates over: values, and what stands beside each row.

    ``x`` is an array as a user gave it, or, once it is `arranged`, a tensor of values
    of the data node or such of a mapped file. For the rest see `Batch`.
    """

    x: np.ndarray | Tensor | MappedRows
    weights: Tensor | None = None
    known: Tensor | None = None
    fold: Tensor | None = None
    inputs: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor) -> Rows:
        return self.each(lambda value: value[index])

    def arranged(self, to_node: Callable[[Tensor], Tensor]) -> Rows:
        """Rows whose values are those of the data node; of a file they stay there."""
        if is_mapped(self.x):
            return replace(self, x=MappedRows(self.x, to_node))
        # A copy: torch cannot wrap read-only arrays, and training must not see edits.
        return replace(self, x=to_node(torch.from_numpy(np.array(self.x))))

    def to(self, device: torch.device | str) -> Rows:
        """The rows on a device, in single precision."""
        return replace(self, x=self.x.float()).each(lambda value: value.to(device))

    def split(self, fraction: float, generator: torch.Generator) -> tuple[Rows, Rows]:
        """Rows to fit, and a fraction of them that are held out, chosen at random."""
        n_held_out = max(1, round(float(fraction) * len(self)))
        if n_held_out > len(self) - 2:
            raise ValueError(
                f"validation_fraction={fraction} leaves {len(self) - n_held_out} of "
                f"{len(self)} rows to fit; at least 2 are needed. Give more rows, or "
                "validation_fraction=0 to hold out none."
            )
        order = torch.randperm(len(self), generator=generator)
        return self[order[n_held_out:]], self[order[:n_held_out]]

    def n_batches(self, size: int) -> int:
        """Number of batches of all rows."""
        return len(batch_sizes(len(self), size))

    def batches(
        self, size: int, generator: torch.Generator, epoch: int = 0
    ) -> Iterator[Batch]:
        """Yield all rows once, in random order; those in memory are gathered before."""
        order = torch.randperm(len(self), generator=generator)
        if isinstance(self.x, MappedRows):
            parts = self.x.batches(order, size)
        else:
            sizes = batch_sizes(len(self), size)
            parts = self.x[order.to(self.x.device)].split(sizes)
        beside = {k: v[order.to(v.device)] for k, v in self._beside().items()}
        return _batches(parts, beside, generator=generator, epoch=epoch)

    def chunks(
        self, size: int, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the rows in their order."""
        return _batches(self.x.split(size), self._beside(), generator=generator)

    def _beside(self) -> dict[str, Tensor]:
        names = ("weights", "known", "fold", "inputs")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def each(self, change: Callable[[Any], Any]) -> Rows:
        """The same change of the values and of all that stands beside them."""
        beside = {name: change(value) for name, value in self._beside().items()}
        return replace(self, x=change(self.x), **beside)


def _batches(
    parts: Iterable[Tensor], beside: Mapping[str, Tensor], **common: Any
) -> Iterator[Batch]:
    start = 0
    for x in parts:
        own = slice(start, start + len(x))
        start = own.stop
        yield Batch(x, **common, **{name: v[own] for name, v in beside.items()})


def is_mapped(X: np.ndarray) -> bool:
    """Whether an array is a view of a memory-mapped file."""
    base = X
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


class MappedRows:
    """What training asks of a tensor of rows, for an array that stays in its file.

    ``to_node`` arranges a tensor of rows as values of the data node, and ``index`` says
    which rows this object stands for (None: all).
    """

    def __init__(
        self,
        X: np.ndarray,
        to_node: Callable[[Tensor], Tensor],
        *,
        dtype: np.dtype | None = None,
        device: torch.device | str = "cpu",
        index: np.ndarray | None = None,
    ) -> None:
        self.X, self.to_node, self.index = X, to_node, index
        self.dtype = np.dtype(dtype or X.dtype)
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.X) if self.index is None else len(self.index)

    def __getitem__(self, index: Tensor) -> MappedRows:
        return self._changed(index=self._places(index.numpy()))

    def float(self) -> MappedRows:
        """The rows in single precision, converted as they are read."""
        return self._changed(dtype=np.dtype(np.float32))

    def to(self, device: torch.device | str) -> MappedRows:
        """The rows on a device, moved there as they are read."""
        return self._changed(device=device)

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield the rows in their order, ``size`` at a time."""
        return self.batches(torch.arange(len(self)), size)

    def batches(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """Yield the rows in a given order, ``size`` at a time, reading ahead."""
        row_bytes = self.X.shape[1] * self.dtype.itemsize
        per_block = max(1, BLOCK_BYTES // (row_bytes * size)) * size
        blocks = iter(order.split(batch_sizes(len(order), per_block)))
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, next(blocks))
            for block in blocks:
                ready, ahead = ahead.result(), reader.submit(self._read, block)
                yield from ready.split(size)
            last = ahead.result()
            yield from last.split(batch_sizes(len(last), size))

    def _read(self, order: Tensor) -> Tensor:
        places = self._places(order.numpy())
        # In the order of the file, so that the disk reads forwards.
        forwards = np.argsort(places, kind="stable")
        rows = np.empty((len(places), self.X.shape[1]), self.dtype)
        rows[forwards] = self.X[places[forwards]]
        return self.to_node(torch.from_numpy(rows)).to(self.device)

    def _places(self, index: np.ndarray) -> np.ndarray:
        return index if self.index is None else self.index[index]

    def _changed(self, **options: object) -> MappedRows:
        names = ("dtype", "device", "index")
        kept = {name: getattr(self, name) for name in names}
        return MappedRows(self.X, self.to_node, **{**kept, **options})


def batch_sizes(n: int, size: int) -> list[int]:
    """Sizes of the batches of n rows.

    A single last row joins the batch before it: layers such as BatchNorm cannot train
    on one row.
    """
    full, rest = divmod(n, size)
    if rest == 1 and full:
        return [size] * (full - 1) + [size + 1]
    return [size] * full + [rest] * (rest > 0)


def renewed(kept: Tensor, new: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Kept and new rows, at most so many; then new rows replace random ones.

    Old rows fade exponentially, so that those of a model that still changed are
    forgotten. Random numbers are drawn on the CPU.
    """
    if len(new) > most:
        new = new[torch.randperm(len(new), generator=generator)[:most].to(new.device)]
    room = most - len(kept)
    joined = torch.cat([kept, new[:room]])
    late = new[room:]
    if len(late):
        places = torch.randperm(len(joined), generator=generator)[: len(late)]
        joined[places.to(joined.device)] = late
    return joined
