"""What one training hands to the next: losses by epoch or step, and the optimiser."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch

Epochs = Sequence[Mapping[str, float]]


def to_columns(rows: Epochs) -> dict[str, np.ndarray]:
    """Rows of numbers as columns, in which NaN stands for what a row lacks."""
    names = dict.fromkeys(["loss", *(name for row in rows for name in row)])
    return {k: np.array([row.get(k, np.nan) for row in rows]) for k in names}


def to_rows(columns: Mapping[str, np.ndarray]) -> Epochs:
    """Columns of numbers as rows."""
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def continue_optimizer(
    optimizer: torch.optim.Optimizer, before: torch.optim.Optimizer
) -> None:
    """Take over the state of an earlier optimiser of the same kind, not its options."""
    if type(before) is type(optimizer):
        # A copy: a training that fails must leave the earlier one as it was.
        kept = copy.deepcopy(before.state_dict())
        own = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({**kept, "param_groups": own})
