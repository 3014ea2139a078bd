"""Columns of a table: what is known of them, and how far they may be set."""

import warnings

import numpy as np
import pandas as pd
import torch

from ..exceptions import FarInterventionWarning
from ..interventions import Clip, Do, Intervention, Scale, Shift
from ..interventions._base import as_intervention, replaces_mechanism, steps_of
from ..utils.rows import is_rounding

__all__ = [
    "Rounded",
    "check_known",
    "is_set",
    "refuse_missing",
    "set_numbers",
    "warn_if_far",
]

# Standard deviations outside the fitted range at which a do-intervention is far.
FAR = 3.0
# Rows in which a mechanism's columns are known, below which a fit warns.
FEW_JOINT = 30


class Rounded(Intervention):
    """What an intervention on columns of whole numbers is given: whole numbers.

    Within the ranges, (low, high), of the columns of a node by position.
    """

    def __init__(self, ranges):
        self.ranges = ranges

    def __repr__(self):
        return "Rounded()"

    def __call__(self, value, here=None):
        rounded = value.clone()
        for k, limits in self.ranges.items():
            rounded[:, k] = value[:, k].round().clamp(*limits)
        return rounded


def is_set(change):
    """Whether an intervention changes values, not just the mechanism behind them."""
    return not all(map(replaces_mechanism, steps_of(change)))


def check_known(X, known, parents, names):
    """Refuse mechanisms of which too few rows are known; warn of few.

    A row counts where the column is `known`, and its parents are not missing.
    """
    there = pd.DataFrame(~(np.isnan(X)), columns=names)
    for k, name in enumerate(names):
        causes = [parent for parent in parents[name] if parent in names]
        n_joint = int((there[causes].all(axis=1) & known[:, k]).sum())
        rows = f"Column {name!r} is known in {n_joint} of {len(X)} rows"
        if causes:
            rows = (
                f"Column {name!r} and its parents {causes} are known together in "
                f"{n_joint} of {len(X)} rows"
            )
        if n_joint < 2:
            raise ValueError(
                f"{rows}; at least 2 are needed to fit its mechanism. Leave out the "
                "column or the edge, or fill in values before."
            )
        if n_joint < min(FEW_JOINT, len(X)):
            warnings.warn(
                f"{rows}, fewer than {FEW_JOINT}: what is fitted to them is not to be "
                "trusted.",
                UserWarning,
                stacklevel=5,
            )


def refuse_missing(X, advice):
    """Say what can be done about missing values, where some are found."""
    if not isinstance(X, (np.ndarray, pd.DataFrame)) or X.ndim != 2:
        return
    missing = pd.DataFrame(X).isna().to_numpy().sum(0)
    if missing.any():
        column = int(np.flatnonzero(missing)[0])
        raise ValueError(
            f"X contains NaN: {missing[column]} missing values in column {column}. "
            f"{advice}"
        )


def set_numbers(interventions, names):
    """``{column: number}`` of the columns that are set to one number."""
    found = {}
    for name, change in interventions.items():
        # Of several steps the last one counts.
        change = steps_of(as_intervention(change, name))[-1]
        if name in names and isinstance(change, Do) and change.value.size == 1:
            found[list(names).index(name)] = change.value.item()
    return found


def warn_if_far(interventions, names, limits, scale):
    """Warn of columns that are set far outside the range that was fitted."""
    for name, change in interventions.items():
        # Unknown names are refused later, whatever is done to them.
        if name not in names:
            continue
        change = as_intervention(change, name)
        affine = (Clip, Do, Scale, Shift)
        if not all(isinstance(step, affine) for step in steps_of(change)):
            continue
        column = list(names).index(name)
        low, high = limits[:, column].tolist()
        # Where the rows at either end of the range are set.
        ends = change(torch.tensor([[low], [high]], dtype=torch.float64))
        outside = max(low - float(ends.min()), float(ends.max()) - high)
        if high > low:
            distance = outside / float(scale[column])
        else:
            # Of a constant column no row tells what another value does.
            is_same = outside == 0 or is_rounding(outside, abs(high))
            distance = 0.0 if is_same else np.inf
        if distance > FAR:
            warnings.warn(
                FarInterventionWarning(name, distance, low, high), stacklevel=4
            )
