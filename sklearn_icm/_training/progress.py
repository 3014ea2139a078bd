"""What a training leaves: its losses, and all that it takes to go on or back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Epochs = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Going:
    """Where a training goes on from: its state between two epochs.

    Parameters
    ----------
    optimisers : dict of str to dict
        Kind and state of the optimiser of each player.
    streams : dict of str to Tensor
        States of the random generators.
    left : int
        Epochs that were planned and not made; what follows is kept if there are some.
    epoch : int
        Epochs made since the first fit.
    plan : dict
        Parameters of the training that was stopped.
    schedules : list of dict
        States of the schedules of its rates.
    stopping : dict
        State of its early stopping.
    weights : dict of str to Tensor
        Of the model, with its buffers.
    """

    optimisers: Mapping[str, Any] = field(default_factory=dict)
    streams: Mapping[str, Any] = field(default_factory=dict)
    left: int = 0
    epoch: int = 0
    plan: Mapping[str, Any] = field(default_factory=dict)
    schedules: Sequence[Mapping[str, Any]] = ()
    stopping: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """What a training leaves.

    Parameters
    ----------
    history : list of dict
        Losses of each epoch.
    going : Going
        What it goes on from: the end, or where it was stopped.
    """

    history: Epochs = ()
    going: Going = field(default_factory=Going)

    def is_of(self, plan: Mapping[str, Any]) -> bool:
        """Whether the training was stopped before its end, and had these parameters."""
        return self.going.left > 0 and self.going.plan == plan

    def made_since(self, earlier: Progress) -> tuple[int, int]:
        """Epochs that were made and wanted since an earlier progress."""
        own, going = len(self.history), earlier.going
        start = going.epoch if going.left else len(earlier.history)
        last = self.going.epoch + self.going.left if self.going.left else own
        return own - start, last - start

    def ended(self) -> Progress:
        """The progress of a training of which nothing is left to make."""
        going = Going(self.going.optimisers, self.going.streams)
        return replace(self, going=going)

    def of_part(self, k: int, streams: Mapping[str, Any]) -> Progress:
        """That of one of several models that were trained together to the end."""
        history = [
            {name: v[k] if isinstance(v, list) else v for name, v in row.items()}
            for row in self.history
        ]
        optimisers = _leaves(
            self.going.optimisers, Tensor, lambda v: v[k].clone() if v.ndim else v
        )
        return Progress(history, Going(optimisers, streams))

    def columns(self) -> dict[str, np.ndarray]:
        """Losses as columns, in which NaN stands for what an epoch lacks."""
        names = dict.fromkeys(name for row in self.history for name in row)
        return {
            k: np.array([row.get(k, np.nan) for row in self.history]) for k in names
        }

    def to_tree(self) -> dict[str, Any]:
        """The progress in dicts, lists, numbers and arrays."""
        going = _leaves(asdict(self.going), Tensor, lambda v: v.cpu().numpy().copy())
        return {"history": self.columns(), "going": going}

    @classmethod
    def of_tree(cls, tree: Mapping[str, Any]) -> Progress:
        """The progress that `to_tree` gave."""
        columns = {k: v.tolist() for k, v in tree["history"].items()}
        rows = zip(*columns.values(), strict=True)
        history = [dict(zip(columns, row, strict=True)) for row in rows]
        going = _leaves(
            tree["going"], np.ndarray, lambda v: torch.from_numpy(np.array(v))
        )
        return cls(history, Going(**going))


def _leaves(tree: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A tree of dicts and sequences whose leaves of one type are changed."""
    if isinstance(tree, Mapping):
        return {k: _leaves(v, kind, change) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_leaves(v, kind, change) for v in tree)
    return change(tree) if isinstance(tree, kind) else copy.copy(tree)


def is_spoiled(state: Mapping[str, Tensor], good: Mapping[str, Tensor]) -> bool:
    """Whether numbers of a state are NaN or infinite that were not so in another."""
    now = {k: v for k, v in state.items() if v.is_floating_point()}
    # Sums show it at once, and most are finite.
    sums = torch.stack([v.sum().float() for v in now.values()]).isfinite().tolist()
    doubtful = [k for k, is_fine in zip(now, sums, strict=True) if not is_fine]
    return any(bool((~now[k].isfinite() & good[k].isfinite()).any()) for k in doubtful)


def snapshot(places: Mapping[str, tuple[nn.Module, str]]) -> dict[str, Tensor]:
    """Copy parameters and buffers, on their device.

    (It is taken in every epoch: to find the places anew would take twice the time.)
    """
    return {k: getattr(*place).detach().clone() for k, place in places.items()}
