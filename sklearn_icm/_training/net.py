"""The skorch net behind every estimator, with one lean epoch loop of its own.

skorch supplies the optimiser, the callbacks and the history; its DataLoader, which
costs two thirds of a small model's training time, is replaced by batches that are
gathered once per epoch. Losses are summed on the device and read once per epoch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from torch import Tensor, nn

from ..exceptions import FitDivergedError
from ..rows._batches import Batch, Rows
from .history import continue_optimizer, to_columns, to_rows
from .penalty import PenaltyTerms
from .state import is_spoiled, snapshot

HELD_OUT_CHUNK = 4096
# What skorch's callbacks monitor by default, beside "..._best".
MONITORED = ("train_loss", "valid_loss")
OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


class GeneratorNet(NeuralNet):
    """Train a module whose ``loss_terms`` returns the terms and the node values.

    That writes to nothing: what moves beside the weights does so in ``track``.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        penalty: PenaltyTerms,
        weight: float,
        warmup: int,
        generator: torch.Generator,
        one_cycle: bool = False,
        notifies_batches: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion=nn.Identity, train_split=None, **kwargs)
        self.penalty = penalty
        self.weight, self.warmup = weight, warmup
        self.generator = generator
        self.one_cycle = one_cycle
        self.notifies_batches = notifies_batches

    @property
    def _default_callbacks(self) -> list:
        return []

    def train_epochs(
        self, rows: Rows, held_out: Rows | None, epochs: int
    ) -> FitDivergedError | None:
        """Train for some epochs more; Ctrl-C ends training and keeps the model.

        Returns the error of a training that diverged but leaves a model to keep;
        without one, it is raised.
        """
        self._check_monitors(held_out)
        try:
            self.partial_fit(rows.x, epochs=epochs, rows=rows, held_out=held_out)
            # By a callback, or in an epoch that Ctrl-C ended.
            if is_spoiled(self.module_, self._good):
                self.module_.load_state_dict(self._good)
                done = len(self.history_columns()["loss"])
                raise FitDivergedError(done + 1, "weights")
        except FitDivergedError as error:
            if not error.keeps_model:
                raise
            return error
        finally:
            self.__dict__.pop("_good", None)
        return None

    def _check_monitors(self, held_out: Rows | None) -> None:
        """Refuse callbacks that wait for the loss of rows which nobody held out."""
        for _, callback in self.callbacks_:
            monitor = getattr(callback, "monitor", None)
            waits = isinstance(monitor, str) and monitor.startswith("valid_")
            if waits and held_out is None:
                instead = monitor.replace("valid_", "train_", 1)
                raise ValueError(
                    f"{type(callback).__name__} in callbacks monitors {monitor!r}, but "
                    "no rows are held out (never in partial_fit). Set "
                    f"validation_fraction to more than 0, or monitor={instead!r}."
                )

    def infer(self, x: Tensor, **fit_params: Any) -> Tensor:
        """Refuse what scorers of predictions ask for."""
        raise TypeError(
            "A generator predicts nothing that a scoring callback could compare: "
            "give it a function scoring(net, X, y) that asks net.module_."
        )

    def continued(
        self, before: GeneratorNet | None, history: Mapping[str, Any]
    ) -> GeneratorNet:
        """Initialise, and take over optimiser and history of earlier training."""
        self.initialize()
        self._best: dict[str, float] = {}
        self.epochs_done = 0
        for row in to_rows(history):
            self.history.new_epoch()
            self._record(row)
        if before is not None:
            self.generator.set_state(before.generator.get_state())
            continue_optimizer(self.optimizer_, before.optimizer_)
        return self

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping ended the last training."""
        return any(
            isinstance(c, EarlyStopping) and c.misses_ == c.patience
            for _, c in self.callbacks_
        )

    def fit_loop(self, X, y=None, *, epochs, rows, held_out, **kwargs):
        """Train for ``epochs`` on rows, and evaluate others; callbacks see X alone."""
        told = {"dataset_train": X, "dataset_valid": held_out and held_out.x}
        scheduler = self._scheduler(rows, epochs)
        self._good = snapshot(self.module_)
        first = len(self.history)
        for epoch in range(first, first + epochs):
            start = time.perf_counter()
            self.notify("on_epoch_begin", **told)
            row = self._train_epoch(rows, epoch, scheduler)
            if held_out is not None:
                row |= {f"valid_{k}": v for k, v in self._evaluate(held_out).items()}
            self._check_finite(row, epoch)
            self._good = snapshot(self.module_)
            row["duration"] = time.perf_counter() - start
            self._record(row)
            self.epochs_done += 1
            self.notify("on_epoch_end", **told)
        return self

    def _weight(self, epoch: int) -> float:
        """Weight of the penalty, which rises linearly from 0."""
        if epoch + 1 >= self.warmup:
            return self.weight
        return self.weight * (epoch + 1) / self.warmup

    def _record(self, row: Mapping[str, float]) -> None:
        """Put an epoch in the history, with the names that callbacks monitor too."""
        row = {**row, "train_loss": row["loss"]}
        for name in filter(row.__contains__, MONITORED):
            best = self._best.get(name, float("inf"))
            self._best[name] = min(row[name], best)
            row[f"{name}_best"] = row[name] < best
        for name, value in row.items():
            self.history.record(name, value)

    def _scheduler(self, rows: Rows, epochs: int) -> Any:
        if not self.one_cycle:
            return None
        steps = epochs * rows.n_batches(self.batch_size)
        return torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer_, max_lr=self.lr, total_steps=steps + 1
        )

    def history_columns(self) -> dict[str, np.ndarray]:
        """Losses of the finished epochs, one array per column."""
        skipped = {"batches", "epoch", "train_loss", *(f"{k}_best" for k in MONITORED)}
        return to_columns(
            [
                {name: value for name, value in row.items() if name not in skipped}
                for row in self.history
                if "loss" in row
            ]
        )

    def _train_epoch(self, rows: Rows, epoch: int, scheduler: Any) -> dict[str, float]:
        self.module_.train()
        weight, sums = self._weight(epoch), 0.0
        for batch in rows.batches(self.batch_size, self.generator, epoch):
            names, values = self._train_batch(batch, weight)
            if scheduler is not None:
                scheduler.step()
            sums = sums + values * len(batch.x)
        means = dict(zip(names, (sums / len(rows)).tolist(), strict=True))
        return means | {"icm_weight": weight}

    def _train_batch(self, batch: Batch, weight: float) -> tuple[list[str], Tensor]:
        self._notify_batch("on_batch_begin", batch=(batch.x, None))
        self.optimizer_.zero_grad(set_to_none=True)
        terms, nodes = self.module_.loss_terms(batch)
        logged = self.penalty.added(terms, self.module_.graph, nodes, batch, weight)
        loss = logged["loss"]
        if loss.requires_grad:
            loss.backward()
        if self.notifies_batches:
            weights = list(self.get_all_learnable_params())
            self._notify_batch(
                "on_grad_computed", named_parameters=weights, batch=(batch.x, None)
            )
        self.optimizer_.step()
        self.module_.track(batch, nodes)
        if self.notifies_batches:
            self.history.record_batch("train_loss", float(loss.detach()))
            self.history.record_batch("train_batch_size", len(batch.x))
            # A family whose mechanisms are trained side by side has no output.
            output = None
            if isinstance(nodes, Mapping):
                output = nodes[self.module_.graph.data_node].detach()
            self._notify_batch(
                "on_batch_end", batch=(batch.x, None), loss=loss.detach(), y_pred=output
            )
        return list(logged), torch.stack(list(logged.values())).detach()

    def _notify_batch(self, event: str, **kwargs: Any) -> None:
        """Tell given callbacks, for whose sake alone batches are in the history."""
        if self.notifies_batches:
            self.notify(event, training=True, **kwargs)

    @torch.no_grad()
    def _evaluate(self, rows: Rows) -> dict[str, float]:
        self.module_.eval()
        fixed = torch.Generator().manual_seed(0)
        totals: dict[str, float] = {}
        for batch in rows.chunks(HELD_OUT_CHUNK, fixed):
            terms, _ = self.module_.loss_terms(batch)
            for name, value in terms.items():
                share = float(value) * len(batch.x) / len(rows)
                totals[name] = totals.get(name, 0.0) + share
        return {"loss": sum(totals.values())} | totals

    def _check_finite(self, row: Mapping[str, float], epoch: int) -> None:
        bad = [name for name, value in row.items() if not abs(value) < float("inf")]
        # The last step of an epoch shows in no loss of it.
        if not bad and not is_spoiled(self.module_, self._good):
            return
        bad = bad or ["loss"]
        self.module_.load_state_dict(self._good)
        term = next((k for k in bad if k != "loss"), bad[0])
        raise FitDivergedError(epoch + 1, term)
