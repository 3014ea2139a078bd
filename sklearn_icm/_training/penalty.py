"""A penalty as the training loop sees it: named terms, random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..independence._penalties import call_penalty
from ..mechanisms import MechanismGraph
from ..mechanisms._modules import tensor_of


@dataclass(frozen=True)
class PenaltyTerms:
    """Evaluate a penalty as ``{"penalty": total, ...}`` with a term per part of a sum.

    (It also hides penalties that are torch modules from skorch, which would take them
    for a part of the model.)
    """

    penalty: Callable[..., Tensor] | None
    generator: torch.Generator

    def __call__(self, graph: MechanismGraph, nodes: Any) -> dict[str, Tensor]:
        if self.penalty is None:
            return {"penalty": tensor_of(graph).new_zeros(())}
        if not hasattr(self.penalty, "terms"):
            return {"penalty": call_penalty(self.penalty, graph, nodes, self.generator)}
        parts = self.penalty.terms(graph, nodes, self.generator)
        total = self.penalty.weighted(parts)
        return {"penalty": total} | {f"penalty {k}": v for k, v in parts.items()}

    def added(
        self,
        terms: Mapping[str, Tensor],
        graph: MechanismGraph,
        nodes: Any,
        weight: float,
    ) -> dict[str, Tensor]:
        """Terms of a loss and of the penalty, behind the "loss" that sums them up."""
        first, *others = terms.values()
        loss, parts = sum(others, first), {}
        if weight > 0:
            parts = self(graph, nodes)
            loss = loss + weight * parts["penalty"]
        return {"loss": loss, **terms, **parts}
