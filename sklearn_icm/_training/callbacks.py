"""Who watches a training: skorch's callbacks, and a line of progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, PrintLog
from torch import Tensor, nn

from ..rows._batches import Batch, Rows

# What skorch's callbacks monitor by default, beside "..._best".
MONITORED = ("train_loss", "valid_loss")


class WatchedNet(NeuralNet):
    """What skorch's callbacks see of a training: module, optimiser, history, options.

    It trains nothing itself.
    """

    def __init__(self, module: nn.Module, optimiser: Any, **kwargs: Any) -> None:
        # skorch builds an optimiser from a class: here is one that is built.
        super().__init__(
            module,
            criterion=nn.Identity,
            train_split=None,
            optimizer=lambda *args, **options: optimiser,
            **kwargs,
        )

    @property
    def _default_callbacks(self) -> list:
        return []

    def infer(self, x: Tensor, **fit_params: Any) -> Tensor:
        """Refuse what scorers of predictions ask for."""
        raise TypeError(
            "A generator predicts nothing that a scoring callback could compare: "
            "give it a function scoring(net, X, y) that asks net.module_."
        )


class Watchers:
    """Tell callbacks what happens; they see the rows alone.

    Parameters
    ----------
    callbacks : list of skorch callbacks
    rows, held_out : Rows
    module : nn.Module
    optimiser : torch.optim.Optimizer
    line : ProgressLine or None
    **options
        Of the training, as skorch names them.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        rows: Rows,
        held_out: Rows | None,
        module: nn.Module,
        optimiser: Any,
        line: ProgressLine | None,
        **options: Any,
    ) -> None:
        self.callbacks, self.line, self.net = checked_callbacks(callbacks), line, None
        self.x = rows.x
        self.told = {"dataset_train": rows.x, "dataset_valid": held_out and held_out.x}
        self.best: dict[str, float] = {}
        if not self.callbacks:
            return
        self.net = WatchedNet(
            module,
            optimiser,
            callbacks=self.callbacks,
            # skorch's own messages, among them the table that is asked for.
            verbose=int(any(isinstance(c, PrintLog) for c in self.callbacks)),
            **options,
        ).initialize()
        self._check_monitors(held_out)

    def _check_monitors(self, held_out: Rows | None) -> None:
        """Refuse callbacks that wait for the loss of rows which nobody held out."""
        for callback in self.callbacks:
            monitor = getattr(callback, "monitor", None)
            waits = isinstance(monitor, str) and monitor.startswith("valid_")
            if waits and held_out is None:
                instead = monitor.replace("valid_", "train_", 1)
                raise ValueError(
                    f"{type(callback).__name__} in callbacks monitors {monitor!r}, but "
                    "no rows are held out (never in partial_fit). Set "
                    f"validation_fraction to more than 0, or monitor={instead!r}."
                )

    @property
    def ended_training(self) -> bool:
        """Whether a callback stopped early, as it was asked to."""
        return any(
            isinstance(c, EarlyStopping) and c.misses_ == c.patience
            for c in self.callbacks
        )

    def begin(self, history: Sequence[Mapping[str, float]]) -> None:
        """Tell of earlier epochs, and that training begins."""
        if self.line is not None:
            self.line.begin()
        if self.net is not None:
            for row in history:
                self.net.history.new_epoch()
                self._record(row)
            self.net.notify("on_train_begin", X=self.x, y=None)

    def end(self) -> None:
        """Tell that training ends."""
        if self.line is not None:
            self.line.end()
        if self.net is not None:
            self.net.notify("on_train_end", X=self.x, y=None)

    def epoch_begins(self) -> None:
        """Tell that an epoch begins."""
        if self.net is not None:
            self.net.notify("on_epoch_begin", **self.told)

    def epoch_ends(self, row: Mapping[str, float]) -> None:
        """Tell the losses of an epoch."""
        if self.line is not None:
            self.line.show(row)
        if self.net is not None:
            self._record(row)
            self.net.notify("on_epoch_end", **self.told)

    def batch(self, event: str, batch: Batch, **told: Any) -> None:
        """Tell of a batch."""
        if self.net is not None:
            told = {"training": True, "batch": (batch.x, None), **told}
            self.net.notify(event, **told)

    def grads_computed(self, batch: Batch) -> None:
        """Tell the weights that have gradients."""
        if self.net is not None:
            weights = list(self.net.get_all_learnable_params())
            self.batch("on_grad_computed", batch, named_parameters=weights)

    def batch_ends(self, batch: Batch, loss: Tensor, nodes: Any) -> None:
        """Tell the loss and the output of a batch; some families have none."""
        if self.net is not None:
            output = None
            if isinstance(nodes, Mapping):
                output = nodes[self.net.module_.graph.data_node].detach()
            self.net.history.record_batch("train_loss", float(loss.detach()))
            self.net.history.record_batch("train_batch_size", len(batch.x))
            self.batch("on_batch_end", batch, loss=loss.detach(), y_pred=output)

    def _record(self, row: Mapping[str, float]) -> None:
        """Put an epoch in the history, with the names that callbacks monitor too."""
        row = {**row, "train_loss": row["loss"]}
        for name in filter(row.__contains__, MONITORED):
            best = self.best.get(name, float("inf"))
            self.best[name] = min(row[name], best)
            row[f"{name}_best"] = row[name] < best
        for name, value in row.items():
            self.net.history.record(name, value)


def checked_callbacks(callbacks: Any) -> list:
    """Callbacks of skorch, as instances."""
    for callback in callbacks or []:
        if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                "callbacks must be a list of skorch callbacks (instances of "
                f"skorch.callbacks.Callback), got {callback!r}."
            )
    return list(callbacks or [])


class ProgressLine:
    """Show epoch, loss, penalty and time left on stderr.

    On a terminal one line is rewritten; elsewhere (a file, a notebook's log) about ten
    lines are written in all.
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs
        self.begin()

    def begin(self) -> None:
        """Start the clock."""
        self.start, self.done = time.monotonic(), 0

    def show(self, row: Mapping[str, float]) -> None:
        """Show the losses of an epoch."""
        self.done += 1
        live = sys.stderr.isatty()
        every = max(1, self.n_epochs // 10)
        if live or self.done % every == 0 or self.done == self.n_epochs:
            text = self._text(row)
            sys.stderr.write(f"\r{text}\x1b[K" if live else f"{text}\n")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self.done and sys.stderr.isatty():
            sys.stderr.write("\n")

    def _text(self, row: Mapping[str, float]) -> str:
        spent = time.monotonic() - self.start
        left = spent / self.done * (self.n_epochs - self.done)
        parts = [f"epoch {self.done}/{self.n_epochs}", f"loss {row['loss']:.4f}"]
        if "valid_loss" in row:
            parts.append(f"valid loss {row['valid_loss']:.4f}")
        if "penalty" in row:
            parts.append(f"penalty {row['penalty']:.3g}")
        return "  ".join([*parts, f"{left:.0f} s left"])
