"""A penalty as the training loop sees it: named terms, random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable
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
