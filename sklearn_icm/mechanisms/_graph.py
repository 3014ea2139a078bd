"""A generator is a graph of named mechanisms; this is its one forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..interventions._base import (
    Here,
    Intervention,
    applied,
    check_interventions,
    replaces_mechanism,
)
from ..interventions._checks import kinds_of
from ..utils.streams import Streams
from ._drawing import as_svg
from ._modules import LinkedMechanism, called_apart, deterministic

# Rows that are tried: more than the channels that convolutions without rows often have.
PROBED = 5
Nodes = dict[str, Tensor]
Interventions = Mapping[str, Intervention]


class MechanismGraph(nn.Module):
    """Directed acyclic graph of named mechanisms between named nodes.

    Parameters
    ----------
    roots : dict of str to tuple of int
        Noise nodes and the shapes of one draw, e.g. ``{"noise": (16,)}``.
    mechanisms : dict of str to (str or tuple of str, torch.nn.Module)
        For every other node, in topological order: its parents and the module that
        is called with their values (one tensor of shape ``(n, *shape)`` each) and
        returns the node's. The last node is the data.
    kinds : dict of str to {"vector", "map", "points", "levels"}, optional
        What nodes are; of those that are not named, nodes with two or three axes are
        maps, channels first, and others vectors. Points are ``(n, coordinates)``, in
        pixels from the middle, in the order of the axes.

    Attributes
    ----------
    nodes : dict of str to tuple of int
        Shape of every node, in topological order.
    parents : dict of str to tuple of str
        Parents of every node that a mechanism produces.
    data_node : str
        Name of the node that is observed: the last one.
    kinds : dict of str to str
        What every node is.

    Examples
    --------
    >>> from torch import nn, zeros
    >>> graph = MechanismGraph(
    ...     {"noise": (2,)},
    ...     {"dense1": ("noise", nn.Linear(2, 5)), "data": ("dense1", nn.Linear(5, 3))},
    ... )
    >>> graph.nodes
    {'noise': (2,), 'dense1': (5,), 'data': (3,)}
    >>> graph(zeros(4, 2))["data"].shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        roots: Mapping[str, Sequence[int]],
        mechanisms: Mapping[str, tuple[str | Sequence[str], nn.Module]],
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        if not roots or not mechanisms:
            raise ValueError(
                "MechanismGraph needs at least one root and one mechanism, got "
                f"roots={list(roots)} and mechanisms={list(mechanisms)}."
            )
        self.roots = {name: tuple(shape) for name, shape in roots.items()}
        self.parents: dict[str, tuple[str, ...]] = {}
        known = set(self.roots)
        for name, (parents, module) in mechanisms.items():
            parents = (parents,) if isinstance(parents, str) else tuple(parents)
            _check_node(name, parents, module, known)
            self.parents[name] = parents
            known.add(name)
        # A list, not a ModuleDict: node names may be any string, such as "a.b".
        self.mechanisms = nn.ModuleList(m for _, m in mechanisms.values())
        self.data_node = name
        # Whether rows whose parents did not change are taken from the factual ones.
        self.keeps_rows = False
        self.nodes = self._infer_shapes()
        self.kinds = kinds_of(self.nodes, kinds or {})

    def mechanism(self, name: str) -> nn.Module:
        """Module that produces the node ``name``."""
        if name not in self.parents:
            raise ValueError(
                f"name must be a node that a mechanism produces, one of "
                f"{list(self.parents)}, got {name!r}."
            )
        return self.mechanisms[list(self.parents).index(name)]

    def descendants(self, names: Sequence[str]) -> set[str]:
        """Return the named nodes and every node that depends on one of them."""
        found = set(names)
        for name, parents in self.parents.items():
            if found.intersection(parents):
                found.add(name)
        return found

    def check_interventions(
        self, interventions: Mapping[str, Any]
    ) -> dict[str, Intervention]:
        """Wrap interventions, and check that each has a node which it fits.

        Parameters
        ----------
        interventions : dict of node name to intervention, callable, number or array
        """
        checked = check_interventions(interventions, self.nodes, self.kinds)
        for name, change in checked.items():
            if replaces_mechanism(change):
                if name in self.roots:
                    raise ValueError(
                        f"{type(change).__name__}: node {name!r} is a root, which no "
                        f"mechanism produces. The mechanisms are {list(self.parents)}."
                    )
                shapes = [self.nodes[parent] for parent in self.parents[name]]
                change.check_mechanism(name, self.mechanism(name), shapes)
        self._order(checked)
        return checked

    def _order(self, interventions: Interventions) -> list[str]:
        """All nodes in an order in which each comes after what made or changes it."""
        reads = {k: set(change.reads) for k, change in interventions.items()}
        order, waiting = [], [*self.roots, *self.parents]
        if not any(reads.values()):
            return waiting
        unknown = set().union(*reads.values()) - self.nodes.keys()
        if unknown:
            raise ValueError(
                f"Interventions read the nodes {sorted(unknown)}, which do not exist; "
                f"the nodes are {list(self.nodes)}."
            )
        while waiting:
            done = set(order)
            ready = (
                name
                for name in waiting
                if done.issuperset(self.parents.get(name, ()))
                and done.issuperset(reads.get(name, ()))
            )
            name = next(ready, None)
            if name is None:
                stuck = next(
                    k for k in waiting if not done.issuperset(reads.get(k, ()))
                )
                raise ValueError(
                    f"The intervention on node {stuck!r} reads {sorted(reads[stuck])}, "
                    f"of which some depend on {stuck!r} themselves. It may read nodes "
                    "that come before it."
                )
            waiting.remove(name)
            order.append(name)
        return order

    def forward(
        self,
        noise: Tensor | Nodes,
        interventions: Interventions | None = None,
        *,
        factual: Nodes | None = None,
        observe: Callable[[Tensor], Tensor] | None = None,
        rows: slice | None = None,
        streams: Streams | None = None,
    ) -> Nodes:
        """Values of all nodes.

        Parameters
        ----------
        noise : Tensor of shape (n,) + root shape, or dict with one per root
        interventions : dict of node name to intervention, optional
            Each is applied to the value of its node, before any child reads it.
        factual : dict of node name to Tensor, optional
            Result of a call with the same noise, no intervention and no `observe`, or
            what rounding makes it differ from. Nodes upstream of the first changed one
            are then taken from it, and further down those rows whose parents are those
            of it.
        observe : callable, optional
            From the data node to what is seen of it, before an intervention on it.
        rows : slice, optional
            Which rows of a query these are; interventions may ask.
        streams : Streams, optional
            Where random interventions draw from.
        """
        if isinstance(noise, Tensor):
            noise = {next(iter(self.roots)): noise}
        missing = self.roots.keys() - noise.keys()
        if missing:
            raise ValueError(
                f"noise must hold a value of every root, {list(self.roots)}, got "
                f"{list(noise)}: give a dict with {sorted(missing)} too."
            )
        if not interventions:
            nodes = dict(factual) if factual else self._run(noise)
            if observe is not None:
                nodes[self.data_node] = observe(nodes[self.data_node])
            return nodes
        interventions = self.check_interventions(interventions)
        stale = self.descendants(list(interventions))
        nodes: Nodes = {}
        n = len(next(iter(noise.values())))
        rows = rows or slice(0, n)
        streams = streams or Streams(0)
        modules = dict(zip(self.parents, self.mechanisms, strict=True))
        for name in self._order(interventions):
            change = interventions.get(name)
            if name in self.roots:
                value = noise[name]
            else:
                own, parents = modules[name], self.parents[name]
                module = own if change is None else change.mechanism(own)
                known = factual is not None and module is own
                if known and not stale.intersection(parents):
                    value = factual[name]
                else:
                    value = _value_of(name, module, parents, nodes)
                    if known and self.keeps_rows:
                        value = _kept(value, name, parents, nodes, factual)
                if module is not own:
                    _check_made(change, name, value, (n, *self.nodes[name]))
            if name == self.data_node and observe is not None:
                value = observe(value)
            if change is not None:
                read = {k: nodes[k].clone() for k in change.reads}
                here = Here(name, rows, read, streams, kind=self.kinds[name])
                value = _finite(name, applied(change, value, here))
            nodes[name] = value
        return nodes

    def _run(self, noise: Nodes) -> Nodes:
        nodes = dict(noise)
        for (name, parents), module in zip(
            self.parents.items(), self.mechanisms, strict=True
        ):
            nodes[name] = _value_of(name, module, parents, nodes)
        return nodes

    def with_link(self, link: nn.Module) -> MechanismGraph:
        """Return the graph with a fixed elementwise map at the end of its data node."""
        modules = dict(zip(self.parents, self.mechanisms, strict=True))
        modules[self.data_node] = LinkedMechanism(modules[self.data_node], link)
        mechanisms = {k: (p, modules[k]) for k, p in self.parents.items()}
        return MechanismGraph(self.roots, mechanisms, self.kinds)

    def _infer_shapes(self) -> dict[str, tuple[int, ...]]:
        values = {k: torch.zeros(PROBED, *s) for k, s in self.roots.items()}
        for (name, parents), module in zip(
            self.parents.items(), self.mechanisms, strict=True
        ):
            try:
                # In eval mode: no statistics change, and no random numbers are drawn.
                with torch.no_grad(), deterministic(module):
                    value = _value_of(name, module, parents, values)
            except Exception as error:
                shapes = [tuple(values[p].shape[1:]) for p in parents]
                raise ValueError(
                    f"The mechanism of node {name!r} fails on rows of the shape of "
                    f"its parents {list(parents)}, {shapes}: {error}"
                ) from error
            values[name] = value
            if not isinstance(value, Tensor) or value.shape[:1] != (PROBED,):
                raise ValueError(
                    f"The mechanism of node {name!r} must return a tensor with one row "
                    f"per row of its parents, got {type(value).__name__} of shape "
                    f"{tuple(getattr(value, 'shape', ()))} for {PROBED} rows."
                )
        return {name: tuple(value.shape[1:]) for name, value in values.items()}

    def extra_repr(self) -> str:
        """Size of every node, and the nodes that it is made of."""
        sizes = {k: f"{k}: {math.prod(s)}" for k, s in self.nodes.items()}
        made = {k: f"{sizes[k]} <- {', '.join(p)}" for k, p in self.parents.items()}
        return "\n".join((sizes | made).values())

    def _repr_html_(self) -> str:
        return as_svg(self.nodes, self.parents)


def _value_of(
    name: str, module: Callable[..., Tensor], parents: tuple[str, ...], nodes: Nodes
) -> Tensor:
    what = f"The mechanism of node {name!r}"
    return called_apart(module, *(nodes[p] for p in parents), what=what)


def _kept(
    value: Tensor, name: str, parents: tuple[str, ...], nodes: Nodes, factual: Nodes
) -> Tensor:
    """A value, but that of the factual node in rows whose parents are the same."""
    pairs = [(nodes[p], factual[p]) for p in parents if nodes[p] is not factual[p]]
    if not pairs:
        return factual[name]
    same = torch.stack([(a == b).flatten(1).all(1) for a, b in pairs]).all(0)
    return torch.where(same.view(-1, *[1] * (value.ndim - 1)), factual[name], value)


def _check_made(
    change: Intervention, name: str, value: Any, shape: tuple[int, ...]
) -> None:
    if not isinstance(value, Tensor) or value.shape != shape:
        raise ValueError(
            f"The mechanism that {change!r} gives node {name!r} must return a tensor "
            f"of shape {shape}, got {type(value).__name__} of shape "
            f"{tuple(getattr(value, 'shape', ()))}."
        )


def _finite(name: str, value: Tensor) -> Tensor:
    # A finite sum of all values is quick to see, and enough; an infinite one is not.
    if not (bool(value.sum().isfinite()) or bool(value.isfinite().all())):
        raise ValueError(
            f"The intervention on node {name!r} returned values that are not finite."
        )
    return value


def _check_node(
    name: str, parents: tuple[str, ...], module: nn.Module, known: set[str]
) -> None:
    if name in known:
        raise ValueError(f"Node names must be unique, got {name!r} twice.")
    missing = [p for p in parents if p not in known]
    if missing:
        raise ValueError(
            f"The parents of a node must come before it (no cycles): node {name!r} has "
            f"parents {missing}, which are not among the nodes so far: {sorted(known)}."
        )
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"The mechanism of node {name!r} must be a torch.nn.Module, got "
            f"{type(module).__name__}."
        )
