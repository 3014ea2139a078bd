"""Penalty of the genericity of mechanisms at the values of hidden nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..interventions._groups import as_group
from ..mechanisms import MechanismGraph
from ..mechanisms._modules import called_apart, deterministic, tensor_of
from ..rows._batches import Batch
from ._contrasts import power
from ._generic import (
    acts_on,
    changed_values,
    check_acts,
    check_parts,
    contrast_of,
    ratio_to_mean,
    relative_change,
)
from ._pairs import is_of_columns
from ._penalties import SMALLEST_RATIO, PenaltyValue, Step
from ._relative import refuse_units, resolved


class GenericPenalty(PenaltyValue):
    r"""Genericity of every mechanism at the values of its hidden node.

    For every node that a mechanism produces, that is the only parent of exactly one
    child, and that the group acts on: the generic ratio of the child's mechanism at
    the batch's values of the node. With a contrast that is a distribution, for one
    node: how far what all mechanisms behind it make of the changed node is from the
    rows of the batch. A value object.

    Parameters
    ----------
    group : str, InterventionFamily, intervention or object
        As `generic_ratio` takes it. The bounds of a family are the strengths that are
        drawn, such as ``InterventionFamily(Stretch, {"factor": (1 / 1.5, 1.5)})``.
    contrast : callable, PatchDistribution or Marginals, optional
        As `generic_ratio` takes it; differentiable. Or a distribution.
    n_draws : int
        Number of group elements per node and call. With a distribution each is drawn
        for other rows, so that more of them cost nothing.
    node : str, optional
        The one node that is changed. None is every one, as above; with a distribution
        the first hidden one that the group acts on and that has the grid of the data:
        a coarser map cannot say where parts are to the pixel.

    Notes
    -----
    Draws come from the generator of the step's batch; without a batch all calls share
    the same draws. The mean over nodes of :math:`(\log \rho)^2`, with

    .. math:: \rho = C(f(v)) / \mathrm{E}_{g \sim \mu}\, C(f(g v))

    bounded below at 0.001. With few draws its expectation exceeds that of the exact
    ratio by the variance of the logarithm of the mean over draws, of order
    ``1 / n_draws``: it is not zero for independent mechanisms, and its minimisation
    also favours isotropic mechanisms a little. For dense or convolutional pairs
    `TracePenalty` and `SpectralPenalty` have no such term.

    With a distribution P it is, D being all mechanisms behind the node,

    .. math:: \mathrm{E}_{g \sim \mu}\, d(P(D(g v)), P(x))

    without unit, beside a loss per feature: weights from 1 to 30 matter. Large ones
    from the start spoil the fit, so let them rise all along, ``icm_warmup=max_epochs``.
    A decoder that ignores the node has no distance either. So `history_` has, beside
    the "penalty", the "penalty response": how much the output changes, see `response`.
    Patches do not tell where they are, so that translations of a map, with which
    convolutions commute, are seen at the border alone.

    References
    ----------
    Besserve, Shajarisales, Schölkopf, Janzing (2018), *Group invariance principles for
    causal generative models*, AISTATS, arXiv 1705.02212. Besserve, Sun, Janzing,
    Schölkopf (2021), *A theory of independent mechanisms for extrapolation in
    generative models*, arXiv 2004.00184 (images whose hidden maps are stretched).

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn_icm.independence import PatchDistribution
    >>> from sklearn_icm.interventions import InterventionFamily, Stretch
    >>> wider = InterventionFamily(
    ...     partial(Stretch, axis="width"), {"factor": (1 / 1.5, 1.5)}
    ... )
    >>> GenericPenalty(wider, PatchDistribution((7,)), node="map").node
    'map'
    """

    def __init__(self, group="orthogonal", contrast=None, n_draws=4, *, node=None):
        self.group = group
        self.contrast = contrast
        self.n_draws = n_draws
        self.node = node

    def __call__(self, step: Step) -> Tensor:
        """Penalty of a graph, a differentiable 0-d tensor; 0 without any such node."""
        return self.weighted(self.terms(step))

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Penalty, and beside it the response, 0-d tensors.

        Parameters
        ----------
        step : Step
        """
        self._check()
        graph, batch = step.graph, step.batch
        compare = self._distance if is_distribution(self.contrast) else self._genericity
        names = compare.__name__.removeprefix("_"), "response"
        nodes = list(self._nodes(graph))
        if not nodes:
            return dict.fromkeys(names, tensor_of(graph).new_zeros(()))
        step = step._replace(nodes=self.values_of(step))
        if batch is None:
            batch = Batch(torch.empty(0), torch.Generator().manual_seed(0))
            step = step._replace(batch=batch)
        found = [compare(step, node, child) for node, child in nodes]
        means = [torch.stack(parts).mean() for parts in zip(*found, strict=True)]
        return dict(zip(names, means, strict=True))

    def weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The penalty among the values that `terms` returns.

        Parameters
        ----------
        terms : dict of str to Tensor
        """
        return next(iter(terms.values()))

    def applies_to(self, graph: MechanismGraph) -> bool:
        """Whether the graph has a node that the penalty can see.

        Parameters
        ----------
        graph : MechanismGraph
        """
        self._check()
        nodes = [node for node, _ in self._nodes(graph)]
        for node in nodes:
            refuse_units(as_group(self.group, graph.nodes[node]), graph.nodes[node])
        return bool(nodes)

    def _check(self) -> None:
        scalar = power if is_distribution(self.contrast) else self._scalar
        check_parts(None, self.group, scalar, self.n_draws)

    @property
    def _scalar(self) -> Any:
        return power if self.contrast is None else self.contrast

    def _nodes(self, graph: MechanismGraph) -> Iterator[tuple[str, str | None]]:
        """Nodes that are changed, of ratios with their only children."""
        if self.node is not None:
            if self.node not in graph.parents or self.node == graph.data_node:
                hidden = [name for name in graph.parents if name != graph.data_node]
                raise ValueError(
                    f"GenericPenalty: node must be one of the hidden nodes {hidden}, "
                    f"got {self.node!r}."
                )
            known = graph.nodes[self.node], graph.kinds[self.node]
            check_acts(self.group, self.node, *known)
        if is_distribution(self.contrast):
            return self._compared(graph)
        pairs = _only_children(graph, self.group)
        return (pair for pair in pairs if self.node in (None, pair[0]))

    def _compared(self, graph: MechanismGraph) -> Iterator[tuple[str, None]]:
        """The node whose changes are compared with the rows of the data, if any."""
        if is_of_columns(graph):
            return
        shape = graph.nodes[graph.data_node]
        self.contrast.check(shape)
        named = self.node is not None
        full = [
            node
            for node in graph.parents
            if node != graph.data_node and graph.nodes[node][1:] == shape[1:]
        ]
        for node in [self.node] if named else full:
            known = graph.nodes[node], graph.kinds[node]
            if named or acts_on(self.group, node, *known):
                yield node, None
                return
        if full and len(shape) > 1:
            # Says why not.
            check_acts(self.group, full[0], graph.nodes[full[0]], graph.kinds[full[0]])

    def _genericity(self, step: Step, node: str, child: str) -> tuple[Tensor, Tensor]:
        """Squared logarithm of a ratio, and the response."""
        module, value = step.graph.mechanism(child), step.nodes[node]
        group = resolved(self.group, value)
        with deterministic(module):
            output = called_apart(module, value)
            changed = [
                module(own)
                for own in changed_values(
                    value, group, self.n_draws, step.batch.generator
                )
            ]
        outputs = [output, *changed]
        observed, *draws = (contrast_of(self._scalar, own) for own in outputs)
        rho = ratio_to_mean(observed, torch.stack(draws))
        penalty = rho.clamp(min=SMALLEST_RATIO).log().square()
        return penalty, relative_change(output.detach(), [v.detach() for v in changed])

    def _distance(self, step: Step, node: str, _: None) -> tuple[Tensor, Tensor]:
        """Distance of what is behind a changed node from the data, and the response."""
        graph, nodes, contrast = step.graph, step.nodes, self.contrast
        x, generator = step.batch.x, step.batch.generator
        if x.shape != nodes[graph.data_node].shape:
            # Those of chains are second moments.
            raise ValueError(
                f"{self!r} compares with rows of the data, of shape "
                f"{tuple(nodes[graph.data_node].shape)}, which ChainGenerator does not "
                f"train on: fit a VAEGenerator, or call it on Step(graph, nodes, batch)"
                f" with batch.x of that shape; got {tuple(x.shape)}."
            )
        # Of small batches half, or the penalty would cost as much as the rest.
        value = nodes[node][: min(contrast.n_rows, -(-len(x) // 2))]
        group, n = resolved(self.group, value), min(self.n_draws, len(value))
        parts = value.tensor_split(n)
        changed = torch.cat(
            [next(changed_values(part, group, 1, generator)) for part in parts]
        )
        with deterministic(graph):
            output = _behind(graph, nodes, node, changed)
        made = output.split([len(part) for part in parts])
        found = [contrast.distance(own, x, generator) for own in made]
        before = nodes[graph.data_node][: len(value)].detach()
        return torch.stack(found).mean(), relative_change(before, [output.detach()])


def _behind(
    graph: MechanismGraph, nodes: Mapping[str, Tensor], node: str, value: Tensor
) -> Tensor:
    """The data node where a node has other values, for the first rows."""
    # Not the graph's own pass, which looks at numbers.
    stale = graph.descendants([node])
    nodes = {k: v[: len(value)] for k, v in nodes.items()} | {node: value}
    for name in graph.parents:
        if name in stale and name != node:
            read = (nodes[parent] for parent in graph.parents[name])
            nodes[name] = called_apart(graph.mechanism(name), *read)
    return nodes[graph.data_node]


def is_distribution(contrast: Any) -> bool:
    """Whether a contrast compares outputs with rows."""
    return hasattr(contrast, "distance")


def _only_children(graph: MechanismGraph, group: Any) -> Iterator[tuple[str, str]]:
    """Nodes between two mechanisms that the group acts on, with their children."""
    for node in graph.parents:
        children = [k for k, parents in graph.parents.items() if node in parents]
        if len(children) != 1 or len(graph.parents[children[0]]) != 1:
            continue
        if acts_on(group, node, graph.nodes[node], graph.kinds[node]):
            yield node, children[0]
