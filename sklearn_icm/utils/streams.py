"""Random streams by name: adding a stream never shifts another one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import torch
from sklearn.utils import check_random_state

from .checks import new_stream

__all__ = [
    "ENTROPY_BOUND",
    "Streams",
    "new_entropy",
    "numpy_stream",
    "query_entropy",
    "query_streams",
    "stream_seed",
    "torch_stream",
    "torch_streams",
]

ENTROPY_BOUND = 2**31 - 1


def stream_seed(entropy: int, name: str, *place: int) -> int:
    """Seed of the stream ``name`` under one number that stands for the whole seed.

    Of several that have the name, such as those of refits, of that at a place.
    """
    sequence = np.random.SeedSequence([entropy, crc32(name.encode()), *place])
    return int(sequence.generate_state(1, np.uint32)[0])


def torch_stream(entropy: int, name: str) -> torch.Generator:
    """CPU generator of the stream ``name``."""
    return torch.Generator().manual_seed(stream_seed(entropy, name))


def torch_streams(entropy: int, *names: str) -> list[torch.Generator]:
    """CPU generators of several streams."""
    return [torch_stream(entropy, name) for name in names]


def new_entropy(
    random_state: int | np.random.RandomState | None,
) -> tuple[int, np.random.RandomState]:
    """Draw one number for the randomness of a fit, and the stream of later queries."""
    entropy = int(new_stream(random_state).randint(ENTROPY_BOUND))
    return entropy, numpy_stream(entropy, "sample")


def query_entropy(model: Any, random_state: int | np.random.RandomState | None) -> int:
    """One number that stands for the whole randomness of a query to a fitted model."""
    stream = model.random_state_ if random_state is None else random_state
    return check_random_state(stream).randint(ENTROPY_BOUND)


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


def query_streams(
    model: Any, random_state: int | np.random.RandomState | None
) -> Streams:
    """Streams of a query; the model's own rests where none is opened."""
    return Streams(partial(query_entropy, model, random_state))
