"""torch's one global stream: seeded where foreign parts draw from it, and put back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..mechanisms._modules import tensor_of
from ..utils.streams import stream_seed

T = TypeVar("T")
# Whoever seeds torch's one global stream has it alone; a callback may build a module.
_GLOBAL_STREAM = threading.RLock()
PACKAGE = __name__.split(".")[0]
RANDOM_LAYERS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
    *(nn.FeatureAlphaDropout, nn.RReLU, nn.RNNBase, nn.MultiheadAttention),
)


def build_seeded(build: Callable[[], T], entropy: int) -> T:
    """Build a module: torch initialises from its global stream, which is put back."""
    with _GLOBAL_STREAM, torch.random.fork_rng():
        torch.manual_seed(stream_seed(entropy, "init"))
        return build()


def foreign_draws(
    module: nn.Module, penalty: object, entropy: int
) -> AbstractContextManager:
    """Seed torch's global stream, and put it back, where training may draw from it.

    Our own parts have generators of their own; foreign ones cannot be looked into.
    Meanwhile other threads cannot build or train what draws from it: they wait. The
    context is a `GlobalStream`, or None where nothing draws.
    """
    if not _draws_globally(module, penalty):
        return nullcontext()
    return _globally_seeded(stream_seed(entropy, "modules 0"), tensor_of(module).device)


class GlobalStream:
    """State of torch's global streams, as a generator has one."""

    def __init__(self, device: torch.device) -> None:
        self.devices = [device] if device.type == "cuda" else []

    def get_state(self) -> list[Tensor]:
        """State of the processor's stream, and of a GPU's."""
        return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self.devices)]

    def set_state(self, states: list[Tensor]) -> None:
        """Go on from a state; one of another device is left."""
        torch.set_rng_state(states[0])
        for device, state in zip(self.devices, states[1:], strict=False):
            torch.cuda.set_rng_state(state, device)


@contextmanager
def _globally_seeded(seed: int, device: torch.device) -> Iterator[GlobalStream]:
    stream = GlobalStream(device)
    with _GLOBAL_STREAM, torch.random.fork_rng(stream.devices):
        torch.manual_seed(seed)
        yield stream


def _draws_globally(module: nn.Module, penalty: object) -> bool:
    if not (penalty is None or isinstance(penalty, str)):
        parts = getattr(penalty, "penalties", [penalty])
        if not all(_is_in(PACKAGE, part) for part in parts):
            return True
    return any(
        isinstance(m, RANDOM_LAYERS) or not (_is_in(PACKAGE, m) or _is_in("torch", m))
        for m in module.modules()
    )


def _is_in(package: str, part: object) -> bool:
    return type(part).__module__.split(".")[0] == package
