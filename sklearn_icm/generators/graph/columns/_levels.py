"""Chances of levels while they are trained, with the rows of a prior beside them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Rows that a column has beside its own: everywhere, with the levels of all rows. As
# data they keep a network from being sure of what few rows show (Clogg, Rubin,
# Schenker, Schultz, Weidman, 1991). Of 300 rows without them effects on a chance
# were too large by a third of their standard error.
PRIOR_ROWS = 6.0


def levels_of_prior(counts: Tensor) -> Tensor:
    """Rows of each level that the prior adds to one row, for the rows of each level."""
    n_rows = counts.sum().clamp(min=1)
    return PRIOR_ROWS / n_rows * (counts / n_rows)


def cross_entropies(
    heads: Tensor, codes: Tensor, prior: Tensor, widths: Sequence[int]
) -> Tensor:
    """Of the levels of every column, and of those of the prior, (..., n, n_columns)."""
    parts = heads.split(widths, -1), codes.split(1, -1), prior.split(widths, -1)
    losses = []
    for own, code, others in zip(*parts, strict=True):
        logs = own.log_softmax(-1)
        losses.append(-logs.gather(-1, code.long()) - (logs * others).sum(-1, True))
    return torch.cat(losses, -1)
