"""Successive mechanisms of a graph, and what a measure of them is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..mechanisms import LinearOperator, MechanismGraph
from ..mechanisms._operators import NoLinearOperator, read_operator
from ._common import PairMeasure


@dataclass(frozen=True)
class MechanismPair:
    """Two successive mechanisms and the hidden node between them; see `Measure`."""

    first: str
    second: str
    node_shape: tuple[int, ...]
    kind: str
    earlier: LinearOperator | None = None
    later: LinearOperator | None = None
    f: Callable[[Tensor], Tensor] | None = None
    hidden: Tensor | None = None
    noise: Tensor | None = None
    normalises: bool = True
    # Why operators are not there.
    unread: str = ""

    @property
    def name(self) -> str:
        return f"{self.first} -> {self.second}"

    @property
    def values(self) -> Tensor:
        """Values of the hidden node, or an error that says that they are needed."""
        if self.hidden is None:
            raise ValueError(
                f"The measure of {self.name} needs the values of the nodes; if it is a "
                "penalty's, call it on Step(graph, nodes)."
            )
        return self.hidden

    def double(self) -> MechanismPair:
        """Return a copy whose operators are detached, in float64 on the CPU."""
        if self.earlier is None or self.later is None:
            return self
        earlier, later = self.earlier.double(), self.later.double()
        return replace(self, earlier=earlier, later=later)


class Measure(ABC):
    """How independent two successive mechanisms are: what a table says of a pair.

    Write ``name``, `applies`, `ratio` and `null_draws`. The tables rank the mean ratio
    among the draws.

    Attributes
    ----------
    name : str
        What the table calls it.
    n_draws : int
        Null draws of a table that is not told how many; few, or 0, if they are slow.
    group : str, InterventionFamily, intervention or object, optional
        Random changes of the hidden node whose response the table tells, as
        `generic_ratio` takes them; None rotates its units.

    Notes
    -----
    A pair, a frozen dataclass, has the names ``first`` (the hidden node) and ``second``
    (the one behind it); of the hidden node ``node_shape``, ``kind`` ("vector", "map",
    "points" or "levels") and its values ``hidden``, (n, ``*node_shape``); and ``f``,
    the later mechanism as a function of such values alone (other parents keep theirs).
    ``earlier`` and ``later`` are the :class:`~sklearn_icm.mechanisms.LinearOperator` of
    both mechanisms, in tables in float64; None unless both have one, and the later no
    other parent. ``normalises`` is False if the scale of hidden units means
    something, as in linear chains.

    In tables of `GraphGenerator` ``second`` is a column, ``noise`` (n, 1) that of its
    mechanism, and ``hidden`` (n, m) what it should be independent of: ``first`` is
    "parents" or "noise". There only draws as large as the ratio count against it.
    """

    n_draws = 199
    group: Any = None

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def applies(self, pair: MechanismPair) -> bool:
        """Whether the measure is one of such pairs."""

    @abstractmethod
    def ratio(self, pair: MechanismPair) -> Tensor:
        """Ratios of a pair, of any shape: positive, and 1 if it is independent."""

    @abstractmethod
    def null_draws(
        self, pair: MechanismPair, n_draws: int, generator: torch.Generator
    ) -> Tensor:
        """Mean ratios after random changes of the pair, (n_draws,)."""

    def described(self, pair: MechanismPair) -> PairMeasure:
        """Ratios, with what a table says beside them."""
        return PairMeasure(self.ratio(pair))

    def measured(
        self, pair: MechanismPair, n_draws: int, generator: torch.Generator
    ) -> PairMeasure:
        """All that a table says; draws only where something could have moved rho."""
        found = self.described(pair)
        if not isinstance(found.rho, Tensor):
            raise TypeError(f"ratio of {self!r} must return a tensor, got {found.rho}.")
        if not n_draws or found.is_isotropic:
            return found
        draws = self.null_draws(pair, n_draws, generator)
        if not isinstance(draws, Tensor) or draws.shape != (n_draws,):
            raise ValueError(
                f"null_draws of {self!r} must return a tensor of shape ({n_draws},), "
                f"got {getattr(draws, 'shape', type(draws))}."
            )
        return replace(found, draws=draws)


def as_measures(measure: Any, known: Mapping[str, tuple[Measure, ...]]) -> list:
    """Measures that a name, a measure, or a list of them stands for."""
    found: list[Measure] = []
    several = isinstance(measure, (list, tuple)) and len(measure) > 0
    for part in measure if several else [measure]:
        if isinstance(part, str) and part in known:
            found += known[part]
        elif isinstance(part, Measure):
            found.append(part)
        else:
            raise ValueError(
                f"measure must be one of {list(known)}, an instance of a Measure, or a "
                f"list of these, got {part!r}."
            )
    return found


def measure_of(pair: MechanismPair, measures: Iterable[Measure]) -> Measure | None:
    """The first of the measures that applies to a pair."""
    return next((m for m in measures if m.applies(pair)), None)


def unmeasured(pairs: Iterable[MechanismPair], measures: Iterable[Measure]) -> list:
    """Why pairs have no measure: a sentence for each."""
    names = list(dict.fromkeys(m.name for m in measures))
    return [
        f"{pair.name}: {pair.unread and pair.unread + ', and '}none of {names} applies "
        f"to a node of shape {pair.node_shape} and kind {pair.kind!r}"
        for pair in pairs
        if measure_of(pair, measures) is None
    ]


def mechanism_pairs(
    graph: MechanismGraph, nodes: Mapping[str, Tensor] | None = None
) -> Iterator[MechanismPair]:
    """Pairs of mechanisms that share a hidden node, some without operators."""
    operators: dict[str, LinearOperator | str] = {}
    for name, module in zip(graph.parents, graph.mechanisms, strict=True):
        try:
            operators[name] = read_operator(module)
        except NoLinearOperator as error:
            operators[name] = f"the mechanism of {name!r} has no operator: {error}"
    for second, parents in graph.parents.items():
        for first in parents:
            if first not in graph.roots:
                yield _pair(graph, first, second, operators, nodes)


def _pair(
    graph: MechanismGraph,
    first: str,
    second: str,
    operators: dict[str, LinearOperator | str],
    nodes: Mapping[str, Tensor] | None,
) -> MechanismPair:
    f, parents = graph.mechanism(second), graph.parents[second]
    found = [operators[first], operators[second]]
    unread = [operator for operator in found if isinstance(operator, str)]
    if len(parents) > 1:
        unread = [f"the mechanism of {second!r} has several parents"]
        f = partial(_beside, f, parents, first, nodes)
    earlier, later = (None, None) if unread else found
    return MechanismPair(
        *(first, second, graph.nodes[first], graph.kinds[first], earlier, later, f),
        hidden=None if nodes is None else nodes.get(first),
        # The units of a linear chain's hidden nodes are part of its mechanisms.
        normalises=not getattr(graph.mechanism(first), "is_linear", False),
        unread=unread[0] if unread else "",
    )


def _beside(
    f: Callable[..., Tensor],
    parents: Iterable[str],
    first: str,
    nodes: Mapping[str, Tensor],
    value: Tensor,
) -> Tensor:
    """A mechanism of one parent's values, where the others keep theirs."""
    return f(*(value if name == first else nodes[name] for name in parents))


def is_of_columns(graph: MechanismGraph) -> bool:
    """Whether the mechanisms of a graph are those of the columns of a table."""
    return any(hasattr(module, "own_noise") for module in graph.mechanisms)


def noise_read(graph: MechanismGraph) -> dict[str, tuple[int, list[str]]]:
    """Of nodes with noise of their own, its place in the root, and what they read."""
    found = {}
    for module, (name, parents) in zip(
        graph.mechanisms, graph.parents.items(), strict=True
    ):
        place = getattr(module, "own_noise", None)
        if place is not None:
            found[name] = place, [p for p in parents if p not in graph.roots]
    return found
