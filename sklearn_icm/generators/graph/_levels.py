"""Interventions on columns of levels: a level is what it is everywhere."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...exceptions import UnseenLevelsWarning
from ...interventions import (
    Compose,
    Do,
    Intervention,
    Resample,
    Units,
    Where,
)
from ...interventions._base import (
    _Function,
    applied,
    as_intervention,
    asked,
    replaces_mechanism,
    steps_of,
)
from ...interventions._mechanisms import swaps_of
from ...interventions._places import EachRow
from ...interventions._policies import Policy, rebound
from ...rows._levels import codes_of, levels_of
from ...utils.checks import plain

__all__ = [
    "in_codes",
    "keeping_levels",
    "levels_in_rows",
    "reading_columns",
    "refuse_other_columns",
    "refuse_rows_of_levels",
    "warn_of_unseen",
]


def in_codes(name, change, levels):
    """Intervention on the codes of a column, for one that speaks of its levels.

    `Do` and `Resample` hold levels; a callable is given levels, a tensor of numbers or
    truth values and otherwise an array of objects, and returns levels.
    """
    # Names of levels are no numbers for `as_intervention`.
    change = as_intervention(change, name) if callable(change) else Do(change)
    if isinstance(change, Do):
        if change.value.size != 1:
            raise ValueError(
                f"Do: node {name!r} can be set to one of its levels, {plain(levels)}, "
                f"got {change!r}."
            )
        return Do(_codes(name, change.value, levels))
    if isinstance(change, Resample):
        return Resample(_codes(name, change.from_, levels))
    if isinstance(change, Compose):
        return Compose([in_codes(name, step, levels) for step in change.steps])
    if isinstance(change, (Where, Units)):
        return replace(change, then=in_codes(name, change.then, levels))
    if replaces_mechanism(change) or isinstance(change, (EachRow, Policy)):
        return change
    if not isinstance(change, _Function):
        raise ValueError(
            f"{type(change).__name__} has no meaning for the levels of node {name!r}, "
            f"{plain(levels)}, got {change!r}. Give a level, Do(level), "
            "Resample([[level], ...]), or a callable that maps levels to levels."
        )
    return _OnLevels(name, change.function, levels)


def levels_in_rows(levels, name, values):
    """Codes of a level for each row."""
    return _codes(name, values, levels)


def refuse_rows_of_levels(name, values):
    """Raise ValueError for whole rows, whose levels would have to be codes."""
    raise ValueError(
        f"The values for node {name!r} must not hold whole rows, for some of its "
        "columns have levels: set the columns one by one."
    )


def reading_columns(change, columns, whole):
    """An intervention whose policies are given columns as the rows show them.

    Parameters
    ----------
    change : Intervention, callable, number or array
    columns : dict of str to array or None
        Levels of each column that has some.
    whole : dict of str to (low, high)
        Columns of whole numbers, and the range that these keep to.
    """
    if not isinstance(change, Intervention):
        return change
    return rebound(
        change,
        lambda policy: _OfColumns(
            policy.function,
            reads=policy.reads,
            strength=policy.strength,
            columns=columns,
            whole=whole,
        ),
    )


def refuse_other_columns(interventions, estimator):
    """Raise ValueError if a swapped mechanism is of another place, or other levels."""
    for name, swap in swaps_of(interventions):
        made_by = (estimator, name), (swap.estimator, swap.name)
        here, there = (
            getattr(generator.graph_.mechanism(node), "index", None)
            for generator, node in made_by
        )
        if None not in (here, there) and here != there:
            # It reads its own noise alone, else two columns would share one.
            raise ValueError(
                f"SwapMechanism: {swap.name!r} is column {there} of the other "
                f"generator, whose noise its mechanism reads, and node {name!r} is "
                f"column {here}: take that of a column in the same place."
            )
        families = [(node, *made.mechanisms_[node]) for made, node in made_by]
        theirs = getattr(swap.estimator, "categories_", {})
        for own, other in zip(*families, strict=True):
            levels = [
                plain(known.get(node))
                for known, node in ((estimator.categories_, own), (theirs, other))
            ]
            if levels[0] != levels[1]:
                raise ValueError(
                    f"SwapMechanism: the levels of {other!r} in the other "
                    f"generator, {levels[1]}, are not those of {own!r} here, "
                    f"{levels[0]}. Declare the same ones before both are fitted, "
                    "by X[column].astype(pandas.CategoricalDtype([...]))."
                )


def warn_of_unseen(name, change, levels, n_rows):
    """Warn if a level is set that no fitted row had, given their rows of each level."""
    step = None if change is None else steps_of(change)[-1]
    if isinstance(step, (Do, Resample, EachRow)):
        kinds = {Do: "value", Resample: "from_", EachRow: "values"}
        codes = getattr(step, kinds[type(step)])
        unseen = levels[[k for k in np.unique(codes).astype(int) if n_rows[k] == 0]]
        if len(unseen):
            warnings.warn(
                f"The intervention on node {name!r} sets the levels {plain(unseen)}, "
                "which no fitted row had: what its children make of them is a guess.",
                UnseenLevelsWarning,
                stacklevel=4,
            )


def _codes(name, values, levels):
    codes = codes_of(values.ravel(), levels)
    if (codes < 0).any():
        raise ValueError(
            f"The intervention on node {name!r} must be one of its levels, "
            f"{plain(levels)}, got {plain(values.ravel()[codes < 0][0])!r}."
        )
    return codes.reshape(values.shape)


def keeping_levels(node, change, levels):
    """Intervention on the data node that may not change columns of levels.

    ``levels`` has the names of these columns by position.
    """
    if not levels:
        return change
    steps = steps_of(change)
    return Compose([s if _keeps(s) else _LevelsKept(node, s, levels) for s in steps])


def _keeps(step):
    """Whether a step may be trusted with levels: mechanisms, and codes of rows."""
    given = step.then if isinstance(step, Units) else step
    return replaces_mechanism(step) or isinstance(given, EachRow)


@dataclass(frozen=True, eq=False)
class _LevelsKept(Intervention):
    """An intervention on the data node, if it leaves the columns of levels alone."""

    node: str
    change: Intervention
    levels: Mapping[int, str]

    def __repr__(self):
        return repr(self.change)

    @property
    def reads(self):
        return self.change.reads

    def check(self, node, shape, kind=None):
        self.change.check(node, shape, kind)

    def __call__(self, value, here=None):
        changed = applied(self.change, value, here)
        for k, name in self.levels.items():
            if not bool((changed[:, k] == value[:, k]).all()):
                raise ValueError(
                    f"The intervention on node {self.node!r} changes column {name!r}, "
                    f"whose levels are no numbers there: intervene on node {name!r}, "
                    "or restrict it to other columns, by Units([...], ...)."
                )
        return changed


@dataclass(frozen=True, eq=False, repr=False)
class _OfColumns(Policy):
    """A policy on columns of a table, which it is given as the rows show them."""

    columns: Mapping[str, np.ndarray | None] = field(kw_only=True)
    whole: Mapping[str, tuple] = field(kw_only=True)

    def check(self, node, shape, kind=None):
        if self.columns.get(node) is not None and self.strength != 1:
            raise ValueError(
                f"{self!r}: the levels of node {node!r} are set or not, they have no "
                "strength."
            )

    def asked(self, here, values):
        shown = map(self._shown, self.reads, values)
        return super().asked(here, list(shown))

    def _shown(self, name, value):
        if name not in self.columns:
            return value
        values = value[:, 0].double().cpu().numpy()
        if self.columns[name] is not None:
            return levels_of(values, self.columns[name])
        if name in self.whole:
            return np.clip(np.rint(values), *self.whole[name])
        return values

    def moved(self, value, made, here):
        levels = self.columns.get(here.node)
        if levels is not None:
            made = np.asarray(made)
            if made.ndim and made.shape != (len(value),):
                raise ValueError(
                    f"The policy on node {here.node!r} must return a level for each of "
                    f"{len(value)} rows, or a single one, got shape {made.shape}."
                )
            made = np.broadcast_to(made, (len(value),))
            made = _codes(here.node, made, levels)
        return super().moved(value, made, here)


@dataclass(frozen=True, eq=False)
class _OnLevels(Intervention):
    """A callable on levels, as one on codes."""

    name: str
    change: Callable
    levels: np.ndarray

    def __repr__(self):
        return repr(self.change)

    def __call__(self, value, here=None):
        given = levels_of(value.cpu().numpy(), self.levels)
        if given.dtype.kind in "bif":
            given = torch.from_numpy(given)
        what = f"The intervention on node {self.name!r}"
        made = asked(self.change, given, what)
        if np.shape(made) != np.shape(given):
            raise ValueError(
                f"{what} must return one level for each that it is given, shape "
                f"{np.shape(given)}, got {np.shape(made)}."
            )
        codes = _codes(self.name, np.asarray(made), self.levels)
        return torch.from_numpy(codes).to(value)
