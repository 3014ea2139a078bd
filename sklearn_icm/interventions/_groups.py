"""Groups of random interventions, over which genericity is defined."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ._base import Compose, Intervention
from ._checks import Shape, axis_lengths, kind_of
from ._families import InterventionFamily, as_family
from ._geometric import Stretch, Translate
from ._mixing import Orthogonal, Permute
from ._soft import Scale

# Stretches have no Haar measure: they are log-uniform between these.
STRETCHES = (0.7, 1.4)


@dataclass(frozen=True)
class Group:
    """Random changes of a node that no bounded numbers stand for.

    Parameters
    ----------
    name : str
    element : callable
        From the shape of a node and a generator to a random intervention.
    kinds : tuple of str
        Of the nodes that it acts on.
    """

    name: str
    element: Callable[[Shape, torch.Generator], Intervention]
    kinds: tuple[str, ...] = ("vector", "map")

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        """Raise ValueError if the group does not act on such nodes."""
        fits = kind_of(shape, kind) in self.kinds
        if not fits or not shape or min(shape) < 1:
            needs = "a vector (units,) or " if "vector" in self.kinds else ""
            raise ValueError(
                f"The group {self.name!r} does not act on node {node!r} of shape "
                f"{tuple(shape)} and kind {kind_of(shape, kind)!r}: it needs {needs}a "
                "map, (channels, length) or (channels, height, width), each size at "
                "least 1."
            )

    def draw(self, node_shape: Shape, generator: torch.Generator) -> Intervention:
        """Draw an element, which changes all rows alike."""
        self.check("node", node_shape)
        return self.element(node_shape, generator)


def _rotation(shape: Shape, generator: torch.Generator) -> Intervention:
    # By its seed, since a matrix would be checked.
    return Orthogonal(int(torch.randint(2**63 - 1, (), generator=generator)))


def _permutation(shape: Shape, generator: torch.Generator) -> Intervention:
    return Permute(torch.randperm(shape[0], generator=generator).tolist())


def _signs(shape: Shape, generator: torch.Generator) -> Intervention:
    bits = torch.randint(2, (shape[0],), generator=generator)
    return Scale((1 - 2 * bits).view(-1, *[1] * (len(shape) - 1)).numpy())


def _translation(shape: Shape, generator: torch.Generator) -> Intervention:
    moves = [
        Translate(int(torch.randint(n, (), generator=generator)), axis, cyclic=True)
        for axis, n in axis_lengths(shape).items()
    ]
    return Compose(moves)


def _stretch(shape: Shape, generator: torch.Generator) -> Intervention:
    uniform = torch.rand(len(shape) - 1, generator=generator, dtype=torch.float64)
    low, high = map(math.log, STRETCHES)
    factors = (low + (high - low) * uniform).exp().tolist()
    return Compose(
        [Stretch(f, a) for f, a in zip(factors, axis_lengths(shape), strict=True)]
    )


GROUPS = {
    group.name: group
    for group in (
        Group("orthogonal", _rotation),
        Group("permute", _permutation, ("vector", "map", "points")),
        Group("flip_signs", _signs),
        Group("translate", _translation, ("map",)),
        Group("stretch", _stretch, ("map",)),
    )
}


def as_group(value: Any, shape: Shape) -> Any:
    """Return what random changes of a node are drawn from: by name, or as given."""
    if isinstance(value, (InterventionFamily, Intervention)):
        return as_family(value, shape)
    if isinstance(value, str):
        return GROUPS[value] if value in GROUPS else as_family(value, shape, GROUPS)
    methods = [getattr(value, name, None) for name in ("check", "draw")]
    if isinstance(value, type) or not all(map(callable, methods)):
        raise TypeError(
            f"group must be one of {list(GROUPS)}, an InterventionFamily, or an "
            "instance with the methods check(node, shape, kind) and draw(shape, "
            f"generator), got {value!r}."
        )
    return value
