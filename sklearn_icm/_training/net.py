"""The skorch net behind every estimator, with one lean epoch loop of its own.

skorch supplies the optimiser, the callbacks and the history; its DataLoader, which
costs two thirds of a small model's training time, is replaced by batches that are
gathered once per epoch. Losses are summed on the device and read once per epoch.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from torch import Tensor, nn

from ..exceptions import FitDivergedError
from ..independence._penalties import blind_part
from .history import continue_optimizer, to_columns, to_rows
from .mapped import MappedRows, batch_sizes, epoch_batches
from .penalty import PenaltyTerms
from .seeds import torch_stream
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
    """Train a module whose ``loss_terms`` returns the terms and the node values."""

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
        self,
        x: Tensor | MappedRows,
        x_valid: Tensor | MappedRows | None,
        epochs: int,
    ) -> FitDivergedError | None:
        """Train for some epochs more; Ctrl-C ends training and keeps the model.

        Returns the error of a training that diverged but leaves a model to keep;
        without one, it is raised.
        """
        self._check_monitors(x_valid)
        try:
            self.partial_fit(x, x_valid, epochs=epochs)
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

    def _check_monitors(self, x_valid: Tensor | MappedRows | None) -> None:
        """Refuse callbacks that wait for the loss of rows which nobody held out."""
        for _, callback in self.callbacks_:
            monitor = getattr(callback, "monitor", None)
            held_out = isinstance(monitor, str) and monitor.startswith("valid_")
            if held_out and x_valid is None:
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

    def fit_loop(self, X, y=None, epochs=None, **kwargs):
        """Train for ``epochs``; ``X`` and ``y`` are training and held-out tensors."""
        scheduler = self._scheduler(len(X), epochs)
        self._good = snapshot(self.module_)
        first = len(self.history)
        for epoch in range(first, first + epochs):
            start = time.perf_counter()
            self.notify("on_epoch_begin", dataset_train=X, dataset_valid=y)
            row = self._train_epoch(X, self._weight(epoch), scheduler)
            if y is not None:
                row |= {f"valid_{k}": v for k, v in self._evaluate(y).items()}
            self._check_finite(row, epoch)
            self._good = snapshot(self.module_)
            row["duration"] = time.perf_counter() - start
            self._record(row)
            self.epochs_done += 1
            self.notify("on_epoch_end", dataset_train=X, dataset_valid=y)
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

    def _scheduler(self, n_rows: int, epochs: int) -> Any:
        if not self.one_cycle:
            return None
        steps = epochs * len(batch_sizes(n_rows, self.batch_size))
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

    def _train_epoch(
        self, x: Tensor | MappedRows, weight: float, scheduler: Any
    ) -> dict[str, float]:
        self.module_.train()
        order = torch.randperm(len(x), generator=self.generator)
        sums, nodes = None, None
        for batch in epoch_batches(x, order, self.batch_size):
            values, nodes = self._train_batch(batch, weight)
            if scheduler is not None:
                scheduler.step()
            values = values * len(batch)
            sums = values if sums is None else sums + values
        means = dict(zip(self._names, (sums / len(x)).tolist(), strict=True))
        if weight == 0:
            means |= self._unweighted_penalty(nodes)
        return means | {"icm_weight": weight}

    @torch.no_grad()
    def _unweighted_penalty(self, nodes: Any) -> dict[str, float]:
        """Penalty that is only logged: NaN where it fails, or sees nothing."""
        penalty, graph = self.penalty.penalty, self.module_.graph
        try:
            parts = self.penalty(graph, nodes)
            if penalty is not None and blind_part(penalty, graph) is penalty:
                return {"penalty": float("nan")}
            return {name: float(value) for name, value in parts.items()}
        except Exception as error:
            # The weights of a training that diverged are no fault of the penalty.
            if all(bool(value.isfinite().all()) for value in nodes.values()):
                warnings.warn(
                    f"icm_penalty failed: {error!r}. Its weight is 0, so that training "
                    "goes on without it, and its values in history_ are NaN. Mend it, "
                    "or set icm_penalty=None.",
                    stacklevel=2,
                )
            return {"penalty": float("nan")}

    def _train_batch(self, batch: Tensor, weight: float) -> tuple[Tensor, Any]:
        self._notify_batch("on_batch_begin", batch=(batch, None))
        self.optimizer_.zero_grad(set_to_none=True)
        terms, nodes = self.module_.loss_terms(batch, self.generator)
        logged = self.penalty.added(terms, self.module_.graph, nodes, weight)
        loss = logged["loss"]
        if loss.requires_grad:
            loss.backward()
        if self.notifies_batches:
            weights = list(self.get_all_learnable_params())
            self._notify_batch(
                "on_grad_computed", named_parameters=weights, batch=(batch, None)
            )
        self.optimizer_.step()
        if self.notifies_batches:
            self.history.record_batch("train_loss", float(loss.detach()))
            self.history.record_batch("train_batch_size", len(batch))
            # A family whose mechanisms are trained side by side has no output.
            output = None
            if nodes is not None:
                output = nodes[self.module_.graph.data_node].detach()
            self._notify_batch(
                "on_batch_end", batch=(batch, None), loss=loss.detach(), y_pred=output
            )
        self._names = list(logged)
        return torch.stack(list(logged.values())).detach(), nodes

    def _notify_batch(self, event: str, **kwargs: Any) -> None:
        """Tell given callbacks, for whose sake alone batches are in the history."""
        if self.notifies_batches:
            self.notify(event, training=True, **kwargs)

    @torch.no_grad()
    def _evaluate(self, x: Tensor | MappedRows) -> dict[str, float]:
        self.module_.eval()
        fixed = torch.Generator().manual_seed(0)
        totals: dict[str, float] = {}
        for chunk in x.split(HELD_OUT_CHUNK):
            terms, _ = self.module_.loss_terms(chunk, fixed)
            for name, value in terms.items():
                share = float(value) * len(chunk) / len(x)
                totals[name] = totals.get(name, 0.0) + share
        return {"loss": sum(totals.values())} | totals

    def _check_finite(self, row: Mapping[str, float], epoch: int) -> None:
        ignored = "penalty" if row["icm_weight"] == 0 else ()
        bad = [
            name
            for name, value in row.items()
            if not abs(value) < float("inf") and not name.startswith(ignored)
        ]
        # The last step of an epoch shows in no loss of it.
        if not bad and not is_spoiled(self.module_, self._good):
            return
        bad = bad or ["loss"]
        self.module_.load_state_dict(self._good)
        term = next((k for k in bad if k != "loss"), bad[0])
        raise FitDivergedError(epoch + 1, term)


def split_rows(
    x: Tensor | MappedRows, fraction: float | str, early_stopping: bool, entropy: int
) -> tuple[Tensor | MappedRows, Tensor | MappedRows | None]:
    """Split off held-out rows, where they are asked for."""
    if fraction == "auto":
        fraction = 0.1 if early_stopping else 0.0
    if early_stopping and fraction == 0:
        raise ValueError(
            "early_stopping=True needs held-out rows: set validation_fraction to more "
            "than 0 (or 'auto'), got 0."
        )
    if fraction == 0:
        return x, None
    n_valid = max(1, round(float(fraction) * len(x)))
    if n_valid > len(x) - 2:
        raise ValueError(
            f"validation_fraction={fraction} leaves {len(x) - n_valid} of {len(x)} "
            "rows to fit; at least 2 are needed. Give more rows, or "
            "validation_fraction=0 to hold out none."
        )
    order = torch.randperm(len(x), generator=torch_stream(entropy, "validation"))
    return x[order[n_valid:]], x[order[:n_valid]]
