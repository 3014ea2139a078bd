"""Columns of a table: what is known of them, and how far they may be set."""

import warnings

import numpy as np
import pandas as pd
import torch

from ...exceptions import FarInterventionWarning, FewRowsWarning, SupportWarning
from ...interventions import Compose, Do, Intervention
from ...interventions._base import applied, replaces_mechanism, steps_of
from ...interventions._places import EachRow
from ...utils.rows import is_rounding

__all__ = [
    "Rounded",
    "Watched",
    "as_columns_hold",
    "check_known",
    "going_on",
    "is_set",
    "refuse_missing",
    "set_numbers",
    "warn_of_other_constants",
]

# Standard deviations outside the fitted range at which a value that is set is far.
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
                FewRowsWarning,
                stacklevel=6,
            )


def going_on(name, form, *, is_chosen=True):
    """What an answer relies on where the parents of a column left the fitted rows.

    `form` is the kind of the mechanism, or of its mean.
    """
    known = {
        "categorical": "the chances of {} becoming level",
        "energy": "the curve of {} going on as a line",
        "additive": "the network of {} becoming level",
    }
    if form in known:
        return known[form].format(name)
    if form in ("linear", "polynomial"):
        what = {"linear": "line"}.get(form, form)
        why = "the rows do not refute it" if is_chosen else "it was given"
        return f"the {what} of {name} going on ({why})"
    return f"the mechanism of {name} ({form}) going on"


def refuse_missing(X, advice):
    """Say what can be done about missing values, where some are found."""
    if not isinstance(X, (np.ndarray, pd.DataFrame)) or X.ndim != 2:
        return
    is_float = isinstance(X, np.ndarray) and X.dtype.kind == "f"
    missing = (np.isnan(X) if is_float else pd.DataFrame(X).isna().to_numpy()).sum(0)
    if missing.any():
        column = int(np.flatnonzero(missing)[0])
        raise ValueError(
            f"X contains NaN: {missing[column]} missing values in column {column}. "
            f"{advice}"
        )


def set_numbers(interventions, names):
    """``{column: number}`` of those that are set to one, or an array of one per row."""
    found = {}
    for name, change in interventions.items():
        # Of several steps the last one counts.
        change = steps_of(change)[-1]
        if name in names and isinstance(change, Do) and change.value.size == 1:
            found[list(names).index(name)] = change.value.item()
        elif name in names and isinstance(change, EachRow):
            found[list(names).index(name)] = change.values[:, 0]
    return found


def as_columns_hold(chunks, numbers, ranges, free, places):
    """Chunks as the columns hold them: numbers that are set, whole numbers in ranges.

    A column that is set has the numbers themselves, not in float32. Columns of whole
    numbers that are set, and not ``free``, remain as they were set. Of given rows what
    did not change stays; the rest is rounded up or down by their places, uniform draws.
    """
    start = 0
    for before, after in chunks:
        rows = slice(start, start + len(after))
        start = rows.stop
        for k in ranges.keys() - set(free):
            near = np.isclose(after[:, k], np.rint(after[:, k]), rtol=1e-6, atol=1e-6)
            after[near, k] = np.rint(after[near, k])
        for j, k in enumerate(free):
            if places is None:
                after[:, k] = np.rint(after[:, k])
            else:
                made = np.rint(after[:, k] + places[rows, j] - 0.5)
                after[:, k] = np.where(after[:, k] == before[:, k], after[:, k], made)
        if before is not None and places is None:
            for k, limits in ranges.items():
                before[:, k] = np.clip(np.rint(before[:, k]), *limits)
        for k, number in numbers.items():
            number = number[rows] if np.ndim(number) else np.float64(number)
            is_set = after[:, k].astype(np.float32) == number.astype(np.float32)
            after[:, k] = np.where(is_set, number, after[:, k])
        yield before, after


class Watched(Compose):
    """An intervention on a column that keeps how far outside its range it went.

    Parameters
    ----------
    name : str
    change : Intervention
    low, high : float
        Range of the column in the fit.
    scale : float
        Its standard deviation.
    """

    def __init__(self, name, change, low, high, scale):
        super().__init__(steps_of(change))
        known = {"change": change, "low": low, "high": high, "scale": scale}
        vars(self).update(known, name=name, farthest=0.0)

    def __call__(self, value, here=None):
        changed = applied(self.change, value, here)
        is_new = (changed != value) | replaces_mechanism(self)
        outside = torch.maximum(self.low - changed, changed - self.high)[is_new]
        if outside.numel():
            self._keep(float(outside.max()))
        return changed

    def _keep(self, outside):
        if self.high > self.low:
            distance = outside / self.scale
        else:
            # Of a constant column no row tells what another value does.
            is_same = outside == 0 or is_rounding(outside, abs(self.high))
            distance = 0.0 if is_same else np.inf
        vars(self)["farthest"] = max(self.farthest, distance)

    def doubts(self):
        """Return a warning if some value was far outside."""
        known = self.name, self.farthest, self.low, self.high
        return [FarInterventionWarning(*known)] if self.farthest > FAR else []


def warn_of_other_constants(rows, limits, names):
    """Warn of rows whose value of a column is another one than in all fitted rows.

    `names` has those of the columns that are asked about, by position.
    """
    for k, name in names.items():
        low, high = limits[:, k]
        error = abs(rows[:, k] - low)
        other = (low == high) & (error > 0) & ~is_rounding(error, abs(low))
        if other.any():
            warnings.warn(
                f"Column {name!r} was {low:g} in all fitted rows, but is not so in "
                f"{int(other.sum())} of {len(rows)} rows: it counts for nothing in "
                "their scores, though the model gives no such row.",
                SupportWarning,
                stacklevel=6,
            )
