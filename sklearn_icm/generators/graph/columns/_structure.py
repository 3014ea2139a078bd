"""Which mechanisms a table has: their kinds, and the graph that they form."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn

from ....mechanisms import MechanismGraph
from ....rows._columns import column_name
from ....utils.checks import plain
from ..kinds._mixture import MixtureColumn
from ..kinds._own import own_column
from ._energy import PreAdditiveColumn
from ._hidden import HiddenMechanism
from ._mechanisms import (
    CategoricalColumn,
    CategoricalReader,
    ColumnMechanism,
    NumericColumn,
)

# From simple to rich: an earlier one is kept unless a later one is clearly better.
AUTO = ("linear", "polynomial", "additive", "location-scale")
KINDS = (*AUTO, "categorical", "energy", "mixture", "own")
# Those that a column without parents does not have.
BY_NAME = ("polynomial", "energy", "mixture", "own")
MECHANISMS = ("auto", *AUTO, "energy", "mixture", "categorical")


class Columns(nn.Module):
    """The data node: the columns side by side."""

    def forward(self, *columns: Tensor) -> Tensor:
        return torch.cat(columns, 1)


class ChangedColumn(nn.Module):
    """A column's mechanism, and its value changed to ``slope * value + offset``.

    It explains given values, those after the change. With slope 0 it sets the column,
    which leaves nothing to explain.
    """

    def __init__(self, mechanism: ColumnMechanism, slope: float, offset: float) -> None:
        super().__init__()
        self.mechanism, self.index = mechanism, mechanism.index
        self.slope, self.offset = slope, offset

    def explain(
        self, value: Tensor, parents: Sequence[Tensor], place: Tensor | None = None
    ) -> tuple:
        """Noise behind a value, and the log of d noise / d value; each (n, 1)."""
        if self.slope == 0:
            return (torch.full_like(value, torch.nan),) * 2
        before = (value - self.offset) / self.slope
        noise, log_slope = self.mechanism.explain(before, parents, place)
        return noise, log_slope - math.log(abs(self.slope))


CLASSES = {
    "energy": PreAdditiveColumn,
    "mixture": MixtureColumn,
}


def column_graph(
    parents: Mapping[str, Sequence[str]],
    readers: Mapping[str, nn.Module],
    kinds: Mapping[str, Sequence[str]],
    n_units: int,
    given: Mapping[str, Any],
) -> MechanismGraph:
    """Graph from the noise to the data by way of columns and unobserved nodes."""
    noise, data = unused_names(list(readers))
    # Noise has one entry per column, and then those of the unobserved nodes.
    mechanisms, starts, n_noise = {}, {}, 0
    for name, reader in readers.items():
        starts[name] = n_noise
        n_noise += 1 if name in kinds else reader.width
    for name, read in parents.items():
        seen = [readers[p] for p in read]
        if name in kinds:
            kind = kinds[name][0]
            own = starts[name], readers[name], seen
            options = (n_units,) if kind == "energy" else ()
            made = CLASSES.get(kind, NumericColumn)
            if isinstance(readers[name], CategoricalReader):
                made = CategoricalColumn
            mechanism = made(*own, *options)
            if kind == "own":
                mechanism = own_column(name, given[name], made, *own)
        else:
            width = readers[name].width
            mechanism = HiddenMechanism(starts[name], width, seen, n_units)
        mechanisms[name] = ((*read, noise), mechanism)
    mechanisms[data] = (list(kinds), Columns())
    levels = [k for k in kinds if isinstance(readers[k], CategoricalReader)]
    return MechanismGraph(
        {noise: (n_noise,)}, mechanisms, dict.fromkeys(levels, "levels")
    )


def allowed_kinds(
    mechanism: str | Mapping[str | int, Any],
    parents: Mapping[str, Sequence[str]],
    names: Sequence[str],
    categorical: Collection[str],
    hidden: Set[str] = frozenset(),
) -> dict[str, tuple[str, ...]]:
    """Kinds of mechanism that each column may have, or say what is allowed."""
    if isinstance(mechanism, str):
        kinds = dict.fromkeys(names, mechanism)
    else:
        kinds = _kinds_by_name(mechanism, names, categorical)
    allowed = {k: AUTO if v == "auto" else (v,) for k, v in kinds.items()}
    for name in names:
        if not hidden.isdisjoint(parents[name]):
            allowed[name] = _with_likelihood(name, kinds[name])
    for name in categorical:
        if allowed[name] != ("own",) or not parents[name]:
            allowed[name] = ("categorical",)
    # Without parents there is only noise, which all kinds describe alike.
    for name, kinds in allowed.items():
        if not parents[name]:
            allowed[name] = ("linear",) if kinds[0] in BY_NAME else kinds[:1]
    return allowed


def _kinds_by_name(
    mechanism: Mapping[str | int, Any],
    names: Sequence[str],
    categorical: Collection[str],
) -> dict[str, str]:
    kinds = dict.fromkeys(names, "auto")
    for column, kind in mechanism.items():
        if not isinstance(kind, str):
            kinds[column_name(column, names, "mechanism")] = "own"
            continue
        if kind not in MECHANISMS:
            raise ValueError(
                f"mechanism must map columns to one of {list(MECHANISMS)}, or to a "
                "regressor, a classifier or a torch.nn.Module, got "
                f"{plain(column)!r}: {plain(kind)!r}."
            )
        name = column_name(column, names, "mechanism")
        if name in categorical and kind not in ("auto", "categorical"):
            raise ValueError(
                f"mechanism of the column {name!r}, which has levels, must be 'auto' "
                f"or 'categorical', got {kind!r}. Leave it out, or make the column "
                "numeric."
            )
        kinds[name] = kind
    return kinds


def _with_likelihood(name: str, kind: str) -> tuple[str, ...]:
    """Kind of mechanism of an effect of unobserved nodes."""
    if kind in BY_NAME:
        is_solved = kind == "polynomial"
        reason = "it is solved" if is_solved else "inference needs a likelihood"
        allowed = [own for own in AUTO if own != "polynomial"]
        raise ValueError(
            f"mechanism of the column {name!r} cannot be {kind!r}, as a cause of it is "
            f"hidden: {reason}. Choose one of {allowed}."
        )
    return ("additive",) if kind == "auto" else (kind,)


def unused_names(names: Sequence[str]) -> tuple[str, str]:
    """Names of the noise and the data node: underscored where a column has them."""
    made = []
    for name in ("noise", "data"):
        while name in names:
            name += "_"
        made.append(name)
    return tuple(made)
