"""Draws that fulfil conditions on their columns."""

import warnings
from collections.abc import Mapping
from functools import reduce
from numbers import Integral, Real

import numpy as np
import pandas as pd

from .interventions._places import EachRow
from .rows._frames import as_frame
from .utils.checks import check_scalar, plain
from .utils.pipelines import last_step
from .utils.streams import query_entropy

__all__ = ["intervened_given"]

# Of draws at a time: rows, and values.
MOST_ROWS, MOST_VALUES = 2**17, 2**24
# Draws after which a condition is given up if fewer than one in RAREST fulfils it.
ENOUGH, RAREST = 1_000_000, 100_000


class Conditions:
    """Which rows fulfil conditions on columns.

    Parameters
    ----------
    given : dict of str to condition
        A tuple (low, high) is a closed interval of numbers, None an open end; a list a
        set of numbers or levels; all else a single one.
    names : list of str
        Columns of the rows.
    levels : dict of str to array
        Known levels of columns.
    """

    def __init__(self, given, names, levels):
        if not isinstance(given, Mapping) or not given:
            raise TypeError(
                "given must be a dict {column: condition} of at least one condition, "
                f"got {given!r}."
            )
        self.names, self.levels = list(names), levels
        self.given = dict(given)
        # Columns that the interventions set, or change.
        self.set = []
        for name, condition in self.given.items():
            if name not in self.names:
                raise ValueError(
                    f"given names the column {plain(name)!r}, which there is not; the "
                    f"columns are {self.names}."
                )
            self._check(name, condition)

    def _check(self, name, condition):
        known = self.levels.get(name)
        if isinstance(condition, tuple):
            ends = [end for end in condition if end is not None]
            numbers = all(isinstance(end, Real) and end == end for end in ends)
            if known is not None or len(condition) != 2 or not ends or not numbers:
                raise ValueError(
                    f"given[{name!r}] must be (low, high) at a column of numbers, two "
                    f"of which one may be None, got {condition!r}. A list is a set."
                )
            if len(ends) == 2 and ends[0] > ends[1]:
                raise ValueError(
                    f"given[{name!r}] must be (low, high) with low <= high, got "
                    f"{condition!r}: nothing is between them."
                )
        elif isinstance(condition, list) and not condition:
            raise ValueError(
                f"given[{name!r}] is an empty list, which nothing fulfils."
            )
        elif known is not None:
            asked = condition if isinstance(condition, list) else [condition]
            unknown = [value for value in asked if value not in list(known)]
            if unknown:
                raise ValueError(
                    f"given[{name!r}] must be one of the levels {plain(known)}, or a "
                    f"list of them, got {plain(unknown[0])!r}."
                )

    def fulfilled(self, rows):
        """Boolean array (n,) of rows in an array or a frame."""
        mask = np.ones(len(rows), bool)
        for name, condition in self.given.items():
            values = self._column(rows, name)
            is_number = values.dtype == np.float64
            if isinstance(condition, tuple) and not is_number:
                raise ValueError(
                    f"given[{name!r}] must be a level or a list of levels, for the "
                    f"column holds some, such as {values[0]!r}, got {condition!r}."
                )
            if isinstance(condition, tuple):
                low, high = condition
                mask &= True if low is None else values >= low
                mask &= True if high is None else values <= high
                continue
            asked = condition if isinstance(condition, list) else [condition]
            if is_number and np.any(values != np.rint(values)):
                raise ValueError(
                    f"given[{name!r}] must be an interval (low, high): the column "
                    f"varies continuously and is never just {asked[0]!r}."
                )
            mask &= pd.Series(values).isin(asked).to_numpy()
        return mask

    def _column(self, rows, name):
        if isinstance(rows, np.ndarray):
            column = rows[:, self.names.index(name)]
        else:
            column = as_frame(rows)[name].to_numpy()
        if name in self.levels:
            return column.astype(object)
        try:
            return column.astype(np.float64)
        except (TypeError, ValueError):
            return column.astype(object)


def intervened_given(
    generator,
    space,
    given,
    interventions,
    X,
    n_samples,
    random_state,
    *,
    proposal=None,
    **options,
):
    """Answer of `intervene` under conditions: those of many draws that fulfil them.

    Parameters
    ----------
    generator : generator, or pipeline that ends in one
    space : Space
        Of its rows.
    given : dict of str to condition
    interventions, X, n_samples, random_state, **options
        As `intervene` takes them.
    proposal : callable, optional
        ``proposal(interventions, given)`` is a generator that draws what `generator`
        does, but for rows that do not fulfil the conditions.
    """
    if X is not None:
        raise ValueError(
            "given must be None where X is, for it is rows that are drawn: draw them, "
            "intervene(changes, X=model.sample(n, given=...)), or choose them from X."
        )
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    if any(isinstance(change, EachRow) for change in interventions.values()):
        raise ValueError(
            "given must be None where an intervention has a value for each row, for no "
            "row is there before it is drawn: write a Policy."
        )
    names = space.names or [f"x{k}" for k in range(generator.n_features_in_)]
    levels = {names[k]: known for k, known in space.levels.items()}
    conditions = Conditions(given, names, levels)
    conditions.set = [name for name in given if name in interventions]
    stream = np.random.RandomState(query_entropy(last_step(generator), random_state))
    drawing = generator if proposal is None else proposal(interventions, given)

    def ask(n):
        return drawing.intervene(
            interventions, n_samples=n, random_state=stream, **options
        )

    return _drawn(ask, n_samples, conditions)


def _drawn(ask, n_samples, conditions):
    """Of ``ask(n)``, n draws, so many times that enough fulfil the conditions."""
    kept, n_kept, n_drawn, size = [], 0, 0, min(max(2 * n_samples, 1024), MOST_ROWS)
    while n_kept < n_samples:
        with warnings.catch_warnings():
            if n_drawn:
                # What is doubtful is said once.
                warnings.simplefilter("ignore", UserWarning)
            parts = ask(size)
        parts = parts if isinstance(parts, tuple) else (parts,)
        rows = [part for part in parts if not isinstance(part, dict)][-1]
        mask = conditions.fulfilled(rows)
        n_kept, n_drawn = n_kept + int(mask.sum()), n_drawn + size
        kept.append([_chosen(part, mask) for part in parts])
        if n_drawn >= ENOUGH and n_kept * RAREST < n_drawn:
            found = (
                f"{n_kept} of {n_drawn} draws" if n_kept else f"none of {n_drawn} draws"
            )
            advice = (
                f"It is on rows after the change, and the interventions are on "
                f"{plain(conditions.set)} too: do they exclude each other?"
                if conditions.set
                else "Widen it, or set the columns by an intervention if that is what "
                "is asked."
            )
            raise ValueError(
                f"given is too rare: {found} fulfil {conditions.given!r}. {advice}"
            )
        share = max(n_kept, 1) / n_drawn
        fitting = max(MOST_VALUES // max(rows.shape[1], 1), 1)
        wanted = int(1.1 * (n_samples - n_kept) / share) + 1
        size = max(16, min(wanted, MOST_ROWS, fitting))
    parts = tuple(_joined(values, n_samples) for values in zip(*kept, strict=True))
    return parts if len(parts) > 1 else parts[0]


def _chosen(part, mask):
    """Rows of a mask, of an array, a frame, or pairs of arrays by name."""
    if isinstance(part, dict):
        return {k: tuple(values[mask] for values in pair) for k, pair in part.items()}
    return part.filter(mask) if hasattr(part, "clone") else part[mask]


def _joined(parts, n):
    """The first n rows of several parts."""
    first = parts[0]
    if isinstance(first, dict):
        return {
            name: tuple(np.concatenate(side)[:n] for side in zip(*pairs, strict=True))
            for name, pairs in ((k, [part[k] for part in parts]) for k in first)
        }
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)[:n]
    if isinstance(first, pd.DataFrame):
        return pd.concat(parts, ignore_index=True)[:n]
    # Of polars, which is imported by those who use it.
    return reduce(lambda above, below: above.vstack(below), parts)[:n]
