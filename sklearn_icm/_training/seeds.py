"""Random streams by name: adding a stream never shifts another one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar
from zlib import crc32

import numpy as np
import torch
from torch import nn

from ..mechanisms._modules import tensor_of

T = TypeVar("T")
# Whoever seeds torch's one global stream has it alone; a callback may build a module.
_GLOBAL_STREAM = threading.RLock()
ENTROPY_BOUND = 2**31 - 1
PACKAGE = __name__.split(".")[0]
RANDOM_LAYERS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
    *(nn.FeatureAlphaDropout, nn.RReLU, nn.RNNBase, nn.MultiheadAttention),
)


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
    with _GLOBAL_STREAM, torch.random.fork_rng():
        torch.manual_seed(stream_seed(entropy, "init"))
        return build()


def foreign_draws(
    module: nn.Module, penalty: object, entropy: int, name: str
) -> AbstractContextManager:
    """Seed torch's global stream, and put it back, where training may draw from it.

    Our own parts have generators of their own; foreign ones cannot be looked into.
    Meanwhile other threads cannot build or train what draws from it: they wait.
    """
    if not _draws_globally(module, penalty):
        return nullcontext()
    return _globally_seeded(stream_seed(entropy, name), tensor_of(module).device)


@contextmanager
def _globally_seeded(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with _GLOBAL_STREAM, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _draws_globally(module: nn.Module, penalty: object) -> bool:
    parts = getattr(penalty, "penalties", [penalty])
    if any(part is not None and not _is_in(PACKAGE, part) for part in parts):
        return True
    return any(
        isinstance(m, RANDOM_LAYERS) or not (_is_in(PACKAGE, m) or _is_in("torch", m))
        for m in module.modules()
    )


def _is_in(package: str, part: object) -> bool:
    return type(part).__module__.split(".")[0] == package
