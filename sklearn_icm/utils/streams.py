"""Random streams by name: adding a stream never shifts another one."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np
import torch

__all__ = [
    "ENTROPY_BOUND",
    "Streams",
    "numpy_stream",
    "stream_seed",
    "torch_stream",
]

ENTROPY_BOUND = 2**31 - 1


def stream_seed(entropy: int, name: str) -> int:
    """Seed of the stream ``name`` under one number that stands for the whole seed."""
    sequence = np.random.SeedSequence([entropy, crc32(name.encode())])
    return int(sequence.generate_state(1, np.uint32)[0])


def torch_stream(entropy: int, name: str) -> torch.Generator:
    """CPU generator of the stream ``name``."""
    return torch.Generator().manual_seed(stream_seed(entropy, name))


def numpy_stream(entropy: int, name: str) -> np.random.RandomState:
    """RandomState of the stream ``name``."""
    return np.random.RandomState(stream_seed(entropy, name))


class Streams:
    """Random streams of one query by name; each goes on where it was.

    Parameters
    ----------
    entropy : int or callable
        The number under which streams are derived; a callable that gives it is asked
        when the first stream is opened, and not before.
    """

    def __init__(self, entropy: int | Callable[[], int]) -> None:
        self._entropy = entropy
        self._open: dict[str, torch.Generator] = {}

    @property
    def entropy(self) -> int:
        """The number under which streams are derived."""
        if callable(self._entropy):
            self._entropy = self._entropy()
        return int(self._entropy)

    def torch(self, name: str) -> torch.Generator:
        """CPU generator of the stream ``name``."""
        if name not in self._open:
            self._open[name] = torch_stream(self.entropy, name)
        return self._open[name]
