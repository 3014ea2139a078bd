"""One updating line that shows how training goes."""

from __future__ import annotations

import sys
import time

from skorch.callbacks import Callback


class ProgressLine(Callback):
    """Show epoch, loss, penalty and time left on stderr.

    On a terminal one line is rewritten; elsewhere (a file, a notebook's log) about ten
    lines are written in all.
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.start_ = time.monotonic()
        self.done_ = 0

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.done_ += 1
        live = sys.stderr.isatty()
        every = max(1, self.n_epochs // 10)
        if live or self.done_ % every == 0 or self.done_ == self.n_epochs:
            text = self._text(net.history[-1])
            sys.stderr.write(f"\r{text}\x1b[K" if live else f"{text}\n")
            sys.stderr.flush()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        if self.done_ and sys.stderr.isatty():
            sys.stderr.write("\n")

    def _text(self, row) -> str:
        spent = time.monotonic() - self.start_
        left = spent / self.done_ * (self.n_epochs - self.done_)
        parts = [f"epoch {self.done_}/{self.n_epochs}", f"loss {row['loss']:.4f}"]
        if "valid_loss" in row:
            parts.append(f"valid loss {row['valid_loss']:.4f}")
        if "penalty" in row:
            parts.append(f"penalty {row['penalty']:.3g}")
        return "  ".join([*parts, f"{left:.0f} s left"])
