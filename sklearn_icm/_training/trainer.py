"""One loop that trains every model: its players take turns."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..exceptions import FitDivergedError
from ..independence._penalties import checked_penalty
from ..models import GenerativeModel, Player
from ..models._state import places, restore
from ..rows._batches import Batch, Rows
from ..utils.streams import Streams
from . import seeds
from .callbacks import ProgressLine, Watchers
from .penalty import PenaltyTerms
from .progress import Going, Progress, is_spoiled, snapshot

HELD_OUT_CHUNK = 4096
# Between states from which a training that is stopped within an epoch can go on.
SECONDS_BETWEEN = 1.0
OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
ADAM_EPS = 1e-8
# What "auto" stands for: so many epochs of the least batches. Of many rows batches
# grow at first, and then there are fewer epochs, so that there are no more steps.
AUTO_EPOCHS, AUTO_STEPS, LEAST_BATCH, MOST_BATCH = 60, 3000, 128, 512


@dataclass(frozen=True)
class Trainer:
    """Parameters of training with their defaults: a family has those that it names."""

    max_epochs: int | str = 200
    batch_size: int | str | None = 128
    lr: float = 2e-3
    lr_schedule: str = "one-cycle"
    optimizer: str = "adam"
    weight_decay: float = 0.0
    icm_penalty: Any = None
    icm_weight: float = 0.0
    icm_warmup: int = 0
    early_stopping: bool = False
    validation_fraction: float | str = "auto"
    n_iter_no_change: int = 10
    tol: float = 1e-4
    callbacks: list | None = None
    verbose: int = 0

    @classmethod
    def of(cls, estimator: Any) -> Trainer:
        """Trainer with those parameters that an estimator has."""
        names = [f.name for f in fields(cls) if hasattr(estimator, f.name)]
        given = {name: getattr(estimator, name) for name in names}
        # Numbers of numpy have arithmetic of their own.
        return cls(
            **{
                k: v.item() if isinstance(v, np.generic) else v
                for k, v in given.items()
            }
        )

    def one_pass(self) -> Trainer:
        """Trainer of one pass over rows, of which none is held out."""
        return replace(
            self,
            max_epochs=1,
            lr_schedule="constant",
            early_stopping=False,
            validation_fraction=0,
        )

    def over(self, rows: Rows) -> Trainer:
        """Trainer whose epochs and batches are numbers, which may go by the rows."""
        size, n_epochs = self.batch_size, self.max_epochs
        if size == "auto":
            size = -(-len(rows) * AUTO_EPOCHS // AUTO_STEPS)
            size = min(max(size, LEAST_BATCH), MOST_BATCH)
        if n_epochs == "auto":
            n_epochs = AUTO_STEPS // rows.n_batches(size)
            n_epochs = min(max(n_epochs, 1), AUTO_EPOCHS)
        return replace(self, max_epochs=n_epochs, batch_size=size)

    def plan(self) -> dict[str, Any]:
        """The numbers and names among the parameters."""
        others = {"icm_penalty", "callbacks", "verbose"}
        return {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in others
        }

    def split(self, rows: Rows, streams: Streams) -> tuple[Rows, Rows | None]:
        """Rows to fit, and those that are held out, if any are."""
        fraction = self.validation_fraction
        if fraction == "auto":
            fraction = 0.1 if self.early_stopping else 0
        if self.early_stopping and fraction == 0:
            raise ValueError(
                "early_stopping=True needs held-out rows: set validation_fraction to "
                "more than 0 (or 'auto'), got 0."
            )
        if not fraction:
            return rows, None
        return rows.split(fraction, streams.torch("validation"))

    def fit(
        self,
        model: GenerativeModel,
        rows: Rows,
        held_out: Rows | None,
        streams: Streams,
        before: Progress | None = None,
    ) -> tuple[Progress, FitDivergedError | None]:
        """Train a model in place, for ``max_epochs`` or what is left of them.

        Returns
        -------
        progress : Progress
            It goes on ``before``, and can be gone on from, as if there was no break.
        diverged : FitDivergedError or None
            Of a training that leaves the model of an earlier epoch.

        Raises
        ------
        FitDivergedError
            If there is no model to keep.
        """
        before = before or Progress()
        opened = {name: streams.torch(name) for name in ("penalty", "batches")}
        with seeds.foreign_draws(model, self.icm_penalty, streams.entropy) as stream:
            penalty = checked_penalty(self.icm_penalty, model.graph, self.icm_weight)
            if stream is not None:
                opened["modules"] = stream
            run = _Run(self, model, penalty, opened, before)
            try:
                run.train(rows, held_out)
            except FitDivergedError as error:
                if not error.keeps_model:
                    raise
                return Progress(run.history), error
            return Progress(run.history, run.mark), None

    def optimiser(self, player: Player) -> torch.optim.Optimizer | None:
        """Optimiser of a player, if it has weights to move."""
        weights = list(player.parameters)
        if not any(weight.requires_grad for weight in weights):
            return None
        # A step of Adam has the unit of a weight, a gradient its inverse.
        is_adam = self.optimizer != "sgd"
        rate = self.lr * player.unit ** (1 if is_adam else 2)
        options = {"eps": ADAM_EPS / player.unit} if is_adam else {}
        fused = weights[0].device.type in {"cpu", "cuda"} or None
        return OPTIMIZERS[self.optimizer](
            weights,
            lr=float(rate),
            weight_decay=float(self.weight_decay),
            fused=fused,
            **options,
        )


@dataclass
class _Stopping:
    """Early stopping: waits for the held-out loss to fall, and keeps the best model."""

    threshold: float = math.inf
    misses: int = 0
    best: Mapping[str, Tensor] | None = None

    def sees(self, loss: float, weights: Mapping[str, Tensor], tol: float) -> None:
        if loss < self.threshold:
            self.threshold, self.misses, self.best = loss - tol, 0, weights
        else:
            self.misses += 1


class _Run:
    """One training of a model: all that changes from step to step."""

    def __init__(
        self,
        trainer: Trainer,
        model: GenerativeModel,
        penalty: Any,
        streams: Mapping[str, Any],
        before: Progress,
    ) -> None:
        self.trainer, self.model, self.streams = trainer, model, streams
        self.penalty = PenaltyTerms(penalty, streams["penalty"])
        self.players = model.players()
        self.optimisers = {k: trainer.optimiser(p) for k, p in self.players.items()}
        self.schedules: list[Any] = []
        self.stopping = _Stopping(**before.going.stopping)
        self.history, self.before = list(before.history), before.going
        self.n_epochs, self.between = self._n_epochs(), True
        self.mark = Going()

    def _n_epochs(self) -> int:
        """How many epochs to make."""
        if not any(self.optimisers.values()):
            # Nothing is trained: one pass for the history.
            return len(self.players)
        return self.before.left or int(self.trainer.max_epochs)

    def train(self, rows: Rows, held_out: Rows | None) -> None:
        """Train for some epochs more; Ctrl-C ends training and keeps the model."""
        self._go_on(rows)
        if self.before.left:
            del self.history[self.before.epoch :]
        self.watchers = self._watchers(rows, held_out)
        self.places = places(self.model)
        self.good = self.better = snapshot(self.places)
        self.last = len(self.history) + self.n_epochs
        self._set_mark()
        self._tell("begin", self.history)
        stopped = False
        try:
            while len(self.history) < self.last and not stopped:
                self._epoch(rows, held_out)
                stopped = self._stops_early()
        except KeyboardInterrupt:
            stopped = self.watchers is not None and self.watchers.ended_training
        if self.between:
            self._set_mark()
        self._tell("end")
        if stopped or len(self.history) == self.last:
            self.mark = Going(self.mark.optimisers, self.mark.streams)
        if self.stopping.best is not None:
            restore(self.model, self.stopping.best)
        self._check_end()

    def _go_on(self, rows: Rows) -> None:
        """Take over what an earlier training left."""
        going, trainer = self.before, self.trainer
        for name, state in going.streams.items():
            if name in self.streams:
                self.streams[name].set_state(state)
        if trainer.lr_schedule == "one-cycle":
            whole = int(trainer.max_epochs) if going.left else self.n_epochs
            n_steps = whole * rows.n_batches(trainer.batch_size)
            self.schedules = [
                torch.optim.lr_scheduler.OneCycleLR(
                    own, max_lr=own.param_groups[0]["lr"], total_steps=n_steps + 1
                )
                for own in filter(None, self.optimisers.values())
            ]
        for name, own in self.optimisers.items():
            earlier = going.optimisers.get(name)
            if own is not None and earlier and earlier["kind"] == trainer.optimizer:
                # A copy: a training that fails must leave the earlier one as it was.
                state = copy.deepcopy(earlier["state"])
                if not going.left:
                    state["param_groups"] = own.state_dict()["param_groups"]
                own.load_state_dict(state)
        for schedule, state in zip(self.schedules, going.schedules, strict=False):
            schedule.load_state_dict(copy.deepcopy(state))

    def _set_mark(self) -> None:
        """Keep all that it takes to go on from here."""
        self.marked = time.perf_counter()
        self.mark = Going(
            optimisers={
                name: {
                    "kind": self.trainer.optimizer,
                    "state": copy.deepcopy(own.state_dict()),
                }
                for name, own in self.optimisers.items()
                if own is not None
            },
            streams={name: stream.get_state() for name, stream in self.streams.items()},
            left=self.last - len(self.history),
            epoch=len(self.history),
            plan=self.trainer.plan(),
            schedules=[copy.deepcopy(own.state_dict()) for own in self.schedules],
            stopping=vars(self.stopping).copy(),
            weights=self.good,
        )

    def _watchers(self, rows: Rows, held_out: Rows | None) -> Watchers | None:
        """Who watches, if anybody does."""
        trainer = self.trainer
        if not (trainer.callbacks or trainer.verbose):
            return None
        return Watchers(
            trainer.callbacks,
            rows,
            held_out,
            self.model,
            next(iter(self.optimisers.values()), None),
            ProgressLine(self.n_epochs) if trainer.verbose else None,
            lr=float(trainer.lr),
            batch_size=trainer.batch_size,
            max_epochs=self.n_epochs,
            device=self.model.spread.device,
        )

    def _tell(self, event: str, *told: Any) -> None:
        if self.watchers is not None:
            getattr(self.watchers, event)(*told)

    def _epoch(self, rows: Rows, held_out: Rows | None) -> None:
        start = time.perf_counter()
        self._tell("epoch_begins")
        self.between = False
        row = self._pass(rows)
        if held_out is not None:
            row |= {f"valid_{k}": v for k, v in self._evaluate(held_out).items()}
        self._check_losses(row)
        self.better, self.good = self.good, snapshot(self.places)
        row["duration"] = time.perf_counter() - start
        if self.trainer.early_stopping:
            self.stopping.sees(row["valid_loss"], self.good, self.trainer.tol)
        self.history.append(row)
        self.between = True
        if time.perf_counter() - self.marked > SECONDS_BETWEEN:
            self._set_mark()
        self._tell("epoch_ends", row)

    def _stops_early(self) -> bool:
        waits = self.stopping.misses < self.trainer.n_iter_no_change
        return self.trainer.early_stopping and not waits

    def _weight(self) -> float:
        """Weight of the penalty, which rises linearly from 0."""
        share = (len(self.history) + 1) / max(1, self.trainer.icm_warmup)
        return self.trainer.icm_weight * min(1.0, share)

    def _pass(self, rows: Rows) -> dict[str, float]:
        if not self.model.training:
            self.model.train()
        weight, sums, n_rows, self.first = self._weight(), 0.0, 0, None
        size, stream = self.trainer.batch_size, self.streams["batches"]
        for batch in rows.batches(size, stream, len(self.history)):
            self.first = self.first or batch
            self._tell("batch", "on_batch_begin", batch)
            logged = {}
            for name in self.players:
                logged |= self._turn(name, batch, weight)
            for schedule in self.schedules:
                schedule.step()
            values = torch.stack(list(logged.values())).detach()
            sums, n_rows = sums + values * len(batch.x), n_rows + len(batch.x)
        means = dict(zip(logged, (sums / n_rows).tolist(), strict=True))
        return means | {"icm_weight": weight}

    def _turn(self, name: str, batch: Batch, weight: float) -> dict[str, Tensor]:
        """Step of one player; the penalty is for the first, whom callbacks see."""
        player, optimiser = self.players[name], self.optimisers[name]
        is_first = name == next(iter(self.players))
        if optimiser is not None:
            optimiser.zero_grad(set_to_none=True)
        terms, nodes = player.loss_terms(batch)
        if is_first:
            terms = self.penalty.added(terms, self.model.graph, nodes, batch, weight)
            loss = terms["loss"]
        else:
            loss = sum(terms.values())
        if loss.requires_grad and optimiser is not None:
            # Of several players each moves its own weights alone.
            alone = len(self.players) == 1
            # (Models that are trained together have a loss each.)
            loss.sum().backward(inputs=None if alone else list(player.parameters))
        if is_first:
            self._tell("grads_computed", batch)
        if optimiser is not None:
            optimiser.step()
        if is_first:
            self.model.track(batch, nodes)
            self._tell("batch_ends", batch, loss, nodes)
        return terms

    @torch.no_grad()
    def _evaluate(self, rows: Rows) -> dict[str, float]:
        self.model.eval()
        fixed = torch.Generator().manual_seed(0)
        first, totals = next(iter(self.players.values())), {}
        for batch in rows.chunks(HELD_OUT_CHUNK, fixed):
            terms, _ = first.loss_terms(batch)
            for name, value in terms.items():
                share = float(value) * len(batch.x) / len(rows)
                totals[name] = totals.get(name, 0.0) + share
        return {"loss": sum(totals.values())} | totals

    def _check_losses(self, row: Mapping[str, float]) -> None:
        """Go back to the last model of finite losses if those of a row are not."""
        bad = [name for name, value in row.items() if not np.isfinite(value).all()]
        if not bad:
            return
        restore(self.model, self.good)
        # (Numbers that are too large for a loss are better than no model.)
        spoiled = is_spoiled(self.good, self.better)
        if spoiled or (len(self.history) > 1 and not self._is_sound()):
            self._go_back()
        term = next((k for k in bad if k != "loss"), bad[0])
        raise FitDivergedError(len(self.history) + 1, term)

    def _go_back(self) -> None:
        """Drop the last epoch, whose last step led where no loss is finite."""
        restore(self.model, self.better)
        self.history.pop()

    def _check_end(self) -> None:
        """Look for weights that no loss has seen: of the last step, or a callback's."""
        if is_spoiled(snapshot(self.places), self.good):
            restore(self.model, self.good)
            raise FitDivergedError(len(self.history) + 1, "weights")
        if is_spoiled(self.good, self.better):
            self._go_back()
            raise FitDivergedError(len(self.history) + 1, "loss")

    @torch.no_grad()
    def _is_sound(self) -> bool:
        """Whether the model has finite losses where the last epoch began."""
        self.model.train()
        players = self.players.values()
        found = [player.loss_terms(self.first)[0].values() for player in players]
        return all(bool(v.isfinite().all()) for terms in found for v in terms)
