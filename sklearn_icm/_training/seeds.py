"""Random streams by name: adding a stream never shifts another one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar
from zlib import crc32

import numpy as np
import torch

T = TypeVar("T")
_INIT_LOCK = threading.Lock()
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


def build_seeded(build: Callable[[], T], entropy: int) -> T:
    """Build a module: torch initialises from its global stream, which is put back."""
    with _INIT_LOCK, torch.random.fork_rng():
        torch.manual_seed(stream_seed(entropy, "init"))
        return build()
