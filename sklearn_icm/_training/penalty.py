"""A penalty as the training loop sees it: named terms, random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..independence._penalties import Step, call_penalty
from ..mechanisms import MechanismGraph
from ..rows._batches import Batch


@dataclass(frozen=True)
class PenaltyTerms:
    """Add a penalty to a loss as ``{"penalty": total, ...}``, a term per part of a sum.

    (It also hides penalties that are torch modules from skorch, which would take them
    for a part of the model.)
    """

    penalty: Callable[[Step], Tensor] | None
    generator: torch.Generator

    def added(
        self,
        terms: Mapping[str, Tensor],
        graph: MechanismGraph,
        nodes: Mapping[str, Tensor] | list[Mapping[str, Tensor]] | None,
        batch: Batch,
        weight: float,
    ) -> dict[str, Tensor]:
        """Terms of a loss and of the penalty, behind the "loss" that sums them up.

        At weight 0 a penalty is not computed. Of several versions of a graph that are
        trained side by side, each with its nodes, it is the mean.
        """
        first, *others = terms.values()
        loss, parts = sum(others, first), {}
        if self.penalty is not None and weight > 0:
            # A stream of its own, so that a penalty moves no noise of the model.
            batch = batch._replace(generator=self.generator)
            versions = nodes if isinstance(nodes, list) else [nodes]
            found = [self._terms(Step(graph, own, batch)) for own in versions]
            parts = {k: sum(own[k] for own in found) / len(found) for k in found[0]}
            loss = loss + weight * parts["penalty"]
        return {"loss": loss, **terms, **parts}

    def _terms(self, step: Step) -> dict[str, Tensor]:
        if not hasattr(self.penalty, "terms"):
            return {"penalty": call_penalty(self.penalty, step)}
        parts = self.penalty.terms(step)
        total = self.penalty.weighted(parts)
        return {"penalty": total} | {f"penalty {k}": v for k, v in parts.items()}
