"""Interventions on mechanisms: the map that produces a node is replaced."""

from __future__ import annotations

import copy
import pickle
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ._base import Here, Intervention, steps_of
from ._checks import Shape, as_array

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
SIDES = ("output", "input")


class MechanismIntervention(Intervention):
    """Interventions that replace the mechanism of a node and leave its value alone."""

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        return value

    @abstractmethod
    def mechanism(self, f: nn.Module) -> nn.Module:
        """What stands in for the mechanism that produces the node."""


@dataclass(frozen=True, eq=False)
class SwapMechanism(MechanismIntervention):
    """Take the mechanism of a node from another fitted generator.

    Parameters
    ----------
    estimator : fitted generator
        One whose node has the same shape and the same parents' shapes.
    name : str
        Name of the mechanism (and node) in that generator.

    Notes
    -----
    It acts before other interventions on the node. JSON cannot hold it; pickle can.
    """

    estimator: Any
    name: str

    def __post_init__(self) -> None:
        nodes = getattr(self.estimator, "nodes_", None)
        mechanisms = getattr(self.estimator, "mechanisms_", {})
        if nodes is None or self.name not in mechanisms:
            has = "it is not a fitted generator"
            if nodes is not None:
                has = f"its mechanisms are {list(mechanisms)}"
            raise ValueError(
                "SwapMechanism: estimator must be a fitted generator with a mechanism "
                f"{self.name!r}, got {type(self.estimator).__name__}: {has}."
            )

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        other = self.estimator.nodes_[self.name]
        if tuple(other) != tuple(shape):
            raise ValueError(
                f"SwapMechanism: the mechanism {self.name!r} makes values of shape "
                f"{other}, which do not fit node {node!r} of shape {shape}."
            )

    def check_mechanism(
        self, node: str, module: nn.Module, parents: Sequence[Shape]
    ) -> None:
        nodes = self.estimator.nodes_
        read = [tuple(nodes[p]) for p in self.estimator.mechanisms_[self.name]]
        if read != [tuple(shape) for shape in parents]:
            raise ValueError(
                f"SwapMechanism: the mechanism {self.name!r} reads values of shapes "
                f"{read}, but the parents of node {node!r} have {list(parents)}."
            )

    def check_order(self, node: str, generator: Any) -> None:
        """Raise ValueError if it reads or makes columns in another order than here."""
        makers = (generator, node), (self.estimator, self.name)
        orders = [[list(made.mechanisms_[name]) for made, name in makers]]
        if node == list(generator.nodes_)[-1]:
            named = [getattr(made, "feature_names_in_", ()) for made, _ in makers]
            orders.append(list(map(list, named)))
        for own, other in orders:
            if own != other and sorted(own) == sorted(other):
                raise ValueError(
                    f"SwapMechanism: the mechanism {self.name!r} of the other "
                    f"generator takes or makes {other}, which are {own} here. Fit both "
                    "to columns in the same order."
                )

    def mechanism(self, f: nn.Module) -> nn.Module:
        other = self.estimator.graph_.mechanism(self.name)
        like = next(iter(f.state_dict().values()), None)
        own = next(iter(other.state_dict().values()), None)
        if like is None or own is None or like.device == own.device:
            return other
        return copy.deepcopy(other).to(like.device)

    def to_dict(self) -> dict[str, Any]:
        """Raise TypeError: a fitted mechanism does not fit into JSON."""
        raise TypeError(
            "SwapMechanism holds a fitted estimator, which cannot be described as "
            "JSON: pickle the intervention."
        )

    def key(self) -> tuple:
        """Return what equality and hash compare."""
        # By the values of the weights, so that a pickled copy is equal.
        state = self.estimator.graph_.mechanism(self.name).state_dict()
        weights = (_bytes_of(value) for value in state.values())
        return (type(self), self.name, *state, *weights)


def _bytes_of(value: Any) -> bytes:
    """Of a tensor, or of what else is the state of a mechanism."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy().tobytes()
    # Of a copy, in which names that were shared are so no more, as in other copies.
    return pickle.dumps(pickle.loads(pickle.dumps(value)))


def swaps_of(interventions: Mapping[str, Intervention]) -> Iterator[tuple]:
    """Yield (node, swap) of the mechanisms that are taken from another generator."""
    for node, change in interventions.items():
        for step in steps_of(change):
            if isinstance(step, SwapMechanism):
                yield node, step


@dataclass(frozen=True, eq=False, repr=False)
class Reparametrise(MechanismIntervention):
    """Multiply the linear layer of a node's mechanism by a matrix.

    With the default side, weights ``W`` become ``matrix @ W``: the units of the result
    are mixed before the bias and the activation, alike at every position of a map; with
    "input" they become ``W @ matrix``. A rotation of the colours of an image, say, is
    one of the output side.

    Parameters
    ----------
    matrix : array-like of shape (n_units, n_units)
        Units of the node ("output"), or of its parent ("input").
    side : {"output", "input"}

    Notes
    -----
    It acts before other interventions on the node, in the units of the mechanism: a
    generator's data node is standardised, as its ``graph_`` shows.

    References
    ----------
    Besserve, Sun, Janzing, Schölkopf (2021), *A theory of independent mechanisms for
    extrapolation in generative models*, arXiv 2004.00184.
    """

    matrix: Any
    side: str = "output"

    def __post_init__(self) -> None:
        matrix = as_array(self, "matrix", self.matrix)
        if matrix.ndim != 2 or len(matrix) != matrix.shape[-1] or not len(matrix):
            raise ValueError(
                "Reparametrise: matrix must be square, (n_units, n_units), got an "
                f"array of shape {matrix.shape}."
            )
        if self.side not in SIDES:
            raise ValueError(
                f"Reparametrise: side must be one of {list(SIDES)}, got {self.side!r}."
            )
        object.__setattr__(self, "matrix", matrix)

    def __repr__(self) -> str:
        return f"Reparametrise({self.matrix.tolist()}, side={self.side!r})"

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        if self.side == "output":
            self._check_units(f"node {node!r}", shape)

    def check_mechanism(
        self, node: str, module: nn.Module, parents: Sequence[Shape]
    ) -> None:
        if self.side == "input":
            for shape in parents:
                self._check_units(f"the parent of node {node!r}", shape)
        _linear_layer(node, module)

    def _check_units(self, where: str, shape: Shape) -> None:
        if len(self.matrix) != shape[0]:
            raise ValueError(
                f"Reparametrise: a matrix for {len(self.matrix)} units does not fit "
                f"{where}, which has {shape[0]}."
            )

    def mechanism(self, f: nn.Module) -> nn.Module:
        name, layer = _linear_layer("", f)
        weight, axis = layer.weight.detach(), SIDES.index(self.side)
        matrix = torch.tensor(self.matrix).to(weight)
        # A dense layer of a map holds all positions of one unit after the other.
        units = weight.unflatten(axis, (len(matrix), -1))
        mixed = torch.tensordot(
            matrix if axis == 0 else matrix.T, units, dims=([1], [axis])
        )
        mixed = mixed.movedim(0, axis).reshape(weight.shape)
        # A copy that shares everything else: the model is others' to read meanwhile.
        shared = {id(t): t for t in chain(f.parameters(), f.buffers())}
        changed = copy.deepcopy(f, shared)
        changed.get_submodule(name).weight = nn.Parameter(mixed, requires_grad=False)
        return changed


def _linear_layer(node: str, module: nn.Module) -> tuple[str, nn.Module]:
    layers = [(k, m) for k, m in module.named_modules() if isinstance(m, LINEAR)]
    if len(layers) != 1:
        raise ValueError(
            "Reparametrise needs a mechanism with exactly one linear layer or "
            f"convolution, but that of node {node!r} has {len(layers)}."
        )
    if "weight" not in dict(layers[0][1].named_parameters(recurse=False)):
        raise ValueError(
            f"Reparametrise needs plain weights, but those of node {node!r} are "
            "computed from others, such as by weight_norm: remove that first."
        )
    return layers[0]
