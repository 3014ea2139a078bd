"""A generator is a graph of named mechanisms; this is its one forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..interventions._apart import called_apart
from ..interventions._base import apply_intervention, check_interventions
from ._modules import LinkedMechanism, deterministic

# Rows that are tried: more than the channels that convolutions without rows often have.
PROBED = 5
Nodes = dict[str, Tensor]
Interventions = Mapping[str, Callable[[Tensor], Tensor]]


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

    Attributes
    ----------
    nodes : dict of str to tuple of int
        Shape of every node, in topological order.
    parents : dict of str to tuple of str
        Parents of every node that a mechanism produces.

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
        self.nodes = self._infer_shapes()

    @property
    def data_node(self) -> str:
        """Name of the node that is observed: the last one."""
        return next(reversed(self.parents))

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
    ) -> dict[str, Callable[[Tensor], Tensor]]:
        """Wrap interventions, and check that each has a node which it fits.

        Parameters
        ----------
        interventions : dict of node name to intervention, callable, number or array
        """
        checked = check_interventions(interventions, self.nodes)
        for name, change in checked.items():
            if getattr(change, "acts_on_mechanism", False):
                if name in self.roots:
                    raise ValueError(
                        f"{type(change).__name__}: node {name!r} is a root, which no "
                        f"mechanism produces. The mechanisms are {list(self.parents)}."
                    )
                shapes = [self.nodes[parent] for parent in self.parents[name]]
                change.check_mechanism(name, self.mechanism(name), shapes)
        return checked

    def forward(
        self,
        noise: Tensor | Nodes,
        interventions: Interventions | None = None,
        factual: Nodes | None = None,
    ) -> Nodes:
        """Values of all nodes.

        Parameters
        ----------
        noise : Tensor of shape (n,) + root shape, or dict with one per root
        interventions : dict of node name to callable, optional
            Each is applied to the value of its node, before any child reads it.
        factual : dict of node name to Tensor, optional
            Result of a call with the same noise and no intervention. Nodes upstream
            of the first changed one are then taken from it, not computed again.
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
            return self._run(noise)
        interventions = self.check_interventions(interventions)
        stale = self.descendants(list(interventions))
        nodes: Nodes = {}
        for name, value in noise.items():
            nodes[name] = apply_intervention(interventions, name, value)
        for (name, parents), module in zip(
            self.parents.items(), self.mechanisms, strict=True
        ):
            swapped = getattr(interventions.get(name), "acts_on_mechanism", False)
            if swapped:
                module = interventions[name].replaced(module)
            unread = factual is None or swapped or stale.intersection(parents)
            value = _value_of(name, module, parents, nodes) if unread else factual[name]
            nodes[name] = apply_intervention(interventions, name, value)
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
        return MechanismGraph(
            self.roots, {k: (p, modules[k]) for k, p in self.parents.items()}
        )

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


def _value_of(
    name: str, module: Callable[..., Tensor], parents: tuple[str, ...], nodes: Nodes
) -> Tensor:
    what = f"The mechanism of node {name!r}"
    return called_apart(module, *(nodes[p] for p in parents), what=what)


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
