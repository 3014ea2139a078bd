"""Models of one structure that are trained as one, each on rows of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models import GenerativeModel, Player
from ..models._state import places, restore
from ..rows._batches import Batch, Rows
from ..utils.streams import Streams
from .progress import Progress
from .trainer import Trainer


def can_train_together(trainer: Trainer, model: GenerativeModel) -> bool:
    """Whether models like one may be trained as one, and nobody watches them."""
    watched = trainer.callbacks or trainer.verbose or trainer.early_stopping
    held_out = trainer.validation_fraction not in (0, "auto")
    on_cpu = model.spread.device.type == "cpu"
    return model.stacks and on_cpu and not (watched or held_out or trainer.icm_weight)


def are_alike(models: Sequence[GenerativeModel], rows: Sequence[Rows]) -> bool:
    """Whether models and their rows differ in numbers alone."""
    forms = [_form(*pair) for pair in zip(models, rows, strict=True)]
    return isinstance(rows[0].x, Tensor) and all(own == forms[0] for own in forms)


def _form(model: GenerativeModel, rows: Rows) -> list[Any]:
    """What of a model and its rows is no number."""
    shapes = {name: getattr(*place).shape for name, place in places(model).items()}
    return [shapes, len(rows), list(_beside(rows))]


def _beside(rows: Rows) -> dict[str, Any]:
    values = {own.name: getattr(rows, own.name) for own in fields(rows)}
    return {name: value for name, value in values.items() if value is not None}


def train_together(
    trainer: Trainer,
    models: Sequence[GenerativeModel],
    rows: Sequence[Rows],
    streams: Sequence[Streams],
) -> list[Progress]:
    """Train models in place, for as many steps as each would make alone.

    Raises
    ------
    FitDivergedError
        If one of them diverges; all are then as they were.
    KeyboardInterrupt
        If Ctrl-C ended training.
    """
    whole, orders = Together(models), [own.torch("batches") for own in streams]
    together = RowsTogether(rows, orders)
    progress, diverged = trainer.fit(whole, together, None, streams[0])
    if diverged is not None:
        raise diverged
    if progress.going.left:
        raise KeyboardInterrupt
    whole.hand_back()
    return [
        progress.of_part(k, {"batches": own.get_state()})
        for k, own in enumerate(orders)
    ]


class Together(nn.Module):
    """Models as one, whose weights and terms of loss have a dimension for them first.

    The weights of one move no other's terms, and optimisers go by entries, so that each
    is trained as if it were alone.
    """

    graph = None

    def __init__(self, models: Sequence[GenerativeModel]) -> None:
        super().__init__()
        states = [model.state_dict() for model in models]
        whole = copy.deepcopy(models[0])
        for name, (owner, leaf) in places(whole).items():
            own, values = getattr(owner, leaf), [state[name] for state in states]
            if isinstance(own, nn.Parameter):
                own = nn.Parameter(torch.stack(values), own.requires_grad)
                setattr(owner, leaf, own)
            elif own.is_floating_point() and any((v != own).any() for v in values):
                # With a dimension for rows.
                setattr(owner, leaf, torch.stack(values)[:, None])
        # (In a tuple they are no submodules, whose buffers would be watched too.)
        self.models, self.whole = tuple(models), (whole,)
        self.weights = nn.ParameterList(whole.parameters())

    def players(self) -> dict[str, Player]:
        """Who takes steps in training: all models at once."""
        return {"model": Player(list(self.parameters()), self.loss_terms)}

    def loss_terms(self, batch: Batch) -> tuple[dict[str, Tensor], None]:
        """Terms of every model, (n_models,), for a batch of `RowsTogether`."""
        return self.whole[0].loss_terms(batch)

    def track(self, batch: Batch, nodes: None) -> None:
        """Let follow a step what moves beside the weights: nothing."""

    def hand_back(self) -> None:
        """Give every model its weights."""
        found = {k: v.detach() for k, v in self.whole[0].named_parameters()}
        for k, model in enumerate(self.models):
            restore(model, {name: values[k] for name, values in found.items()})


class RowsTogether:
    """Rows of several models, as many for each, every one in an order of its own.

    The models are the first dimension of what a batch holds. Rows that one has several
    times are computed once: its folds, (n_models, n, n_folds), are how often each is
    there. There are as many batches as of all rows.
    """

    def __init__(
        self, rows: Sequence[Rows], streams: Sequence[torch.Generator]
    ) -> None:
        self.first, self.streams = rows[0], streams
        parts = [_distinct(own) for own in rows]
        self.sizes = [len(own["x"]) for own in parts]
        # The last rows fill up batches, and count for nothing.
        n = max(self.sizes) + 1
        values = {name: [_filled(own[name], n) for own in parts] for name in parts[0]}
        for size, fold in zip(self.sizes, values["fold"], strict=True):
            fold[size:] = 0
        self.values = {name: torch.stack(own) for name, own in values.items()}

    def __len__(self) -> int:
        return len(self.first)

    def n_batches(self, size: int) -> int:
        """Number of batches of all rows."""
        return self.first.n_batches(size)

    def batches(
        self, size: int, generator: torch.Generator, epoch: int = 0
    ) -> Iterator[Batch]:
        """Yield all rows once, in random orders by the streams of the models.

        What a model sees does not depend on the others.
        """
        n_batches, member = self.n_batches(size), torch.arange(len(self.sizes))
        n = -(-max(self.sizes) // n_batches) * n_batches
        orders = [
            functional.pad(torch.randperm(k, generator=own), (0, n - k), value=k)
            for k, own in zip(self.sizes, self.streams, strict=True)
        ]
        # In turn, so that batches are of one size.
        places = torch.stack(orders).unflatten(1, (-1, n_batches))
        for index in places.unbind(2):
            own = {k: value[member[:, None], index] for k, value in self.values.items()}
            yield Batch(**own, epoch=epoch)


def _distinct(rows: Rows) -> dict[str, Tensor]:
    """Each row once, and how often it is in each fold."""
    values = _beside(rows)
    fold = values.pop("fold")
    keys = [value.flatten(1).nan_to_num(torch.inf) for value in values.values()]
    _, place = torch.cat(keys, 1).unique(dim=0, return_inverse=True)
    n_rows, n_folds = int(place.max()) + 1, int(fold.max()) + 1
    count = (place * n_folds + fold).bincount(minlength=n_rows * n_folds)
    first = torch.empty(n_rows, dtype=torch.long).index_copy_(
        0, place, torch.arange(len(place))
    )
    found = {name: value[first] for name, value in values.items()}
    return {**found, "fold": count.view(n_rows, n_folds).float()}


def _filled(values: Tensor, n: int) -> Tensor:
    """Values of n rows: the first ones again behind the last one."""
    return values[torch.arange(n) % len(values)]
