"""What a step of training sees of the rows, and what training iterates over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._mapped import MappedRows, batch_sizes, is_mapped

UNCHANGED: Mapping[str, Any] = MappingProxyType({})


class Batch(NamedTuple):
    """What one step sees; a model reads what it can use.

    ``x``, (n, ...), are values of the data node, and ``generator`` is the one source of
    random numbers. Where they are given, ``changes`` are the interventions that the
    rows are under, ``weights``, (n,), count the rows, ``known``, (n, n_columns), says
    which entries are there and made by the column's own mechanism, ``fold``, (n,),
    which part of the rows each belongs to, and ``inputs``, (n, n_inputs), are known
    values of the noise behind the rows.
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
