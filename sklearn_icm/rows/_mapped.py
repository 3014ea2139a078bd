"""Rows of a memory-mapped array, read while the model trains on earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

BLOCK_BYTES = 2**24


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
