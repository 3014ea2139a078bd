"""Penalties: independence of mechanisms as a term of the loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from ..mechanisms import MechanismGraph
from ._pairs import mechanism_pairs

SMALLEST_RATIO = 1e-3


class _PairPenalty(BaseEstimator):
    """Mean over pairs of the squared logarithm of rho, pooled per hidden channel.

    A value object: equal parameters make equal penalties.
    """

    measures: tuple[str, ...] = ()

    def __call__(self, graph: MechanismGraph, nodes: Any = None) -> Tensor:
        """Penalty of a graph, a differentiable 0-d tensor; 0 without any such pair."""
        values = [
            pair.measure().rho.clamp(min=SMALLEST_RATIO).log().square().mean()
            for pair in mechanism_pairs(graph)
            if pair.measure_name in self.measures
        ]
        if not values:
            return next(graph.parameters()).new_zeros(())
        return torch.stack(values).mean()

    def applies_to(self, graph: MechanismGraph) -> bool:
        """Whether the graph has a pair of mechanisms that the penalty can see."""
        return any(p.measure_name in self.measures for p in mechanism_pairs(graph))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_params() == other.get_params()

    def __hash__(self) -> int:
        return hash((type(self), *sorted(self.get_params().items())))


class SpectralPenalty(_PairPenalty):
    """Spectral independence of mechanisms that share a hidden map.

    Parameters
    ----------
    form : {"pooled"}
        Which spectra are compared: "pooled" sums the power of a hidden channel over
        its inputs and over its outputs, and takes the mean of ``(log rho)^2`` over
        channels, then over pairs.

    Notes
    -----
    See :func:`sklearn_icm.independence.spectral_ratio` for formula and source. The
    pooled value of a fresh decoder is about 0.001 to 0.1, so that weights from 1 to
    100 matter beside a loss per feature.
    """

    measures = ("spectral",)

    def __init__(self, form="pooled"):
        self.form = form

    def __call__(self, graph, nodes=None):
        if self.form != "pooled":
            raise ValueError(
                f"SpectralPenalty: form must be 'pooled', got {self.form!r}."
            )
        return super().__call__(graph, nodes)


class TracePenalty(_PairPenalty):
    """Trace condition of mechanisms that share a hidden vector.

    Hidden units are scaled to unit input weights first; see
    :func:`sklearn_icm.independence.trace_ratio` for formula and source.
    """

    measures = ("trace",)


class AutoPenalty(_PairPenalty):
    """Spectral for pairs that share a map, trace for pairs that share a vector."""

    measures = ("spectral", "trace")


PENALTIES = {
    "auto": AutoPenalty,
    "spectral": SpectralPenalty,
    "trace": TracePenalty,
}


def resolve_penalty(penalty: Any) -> Any:
    """Return the penalty for a name, or the object itself; None means none."""
    if isinstance(penalty, str):
        if penalty not in PENALTIES:
            raise ValueError(
                f"icm_penalty must be one of {sorted(PENALTIES)}, a penalty such as "
                f"SpectralPenalty(), or None, got {penalty!r}."
            )
        return PENALTIES[penalty]()
    if penalty is not None and (not callable(penalty) or isinstance(penalty, type)):
        raise TypeError(
            f"icm_penalty must be one of {sorted(PENALTIES)}, a callable "
            f"penalty(graph, nodes) -> 0-d tensor, or None, got {penalty!r}."
        )
    return penalty


@torch.no_grad()
def check_penalty(penalty: Any, graph: MechanismGraph, weight: float) -> None:
    """Call a penalty once, so that a wrong one is refused before training starts."""
    if not math.isfinite(weight):
        raise ValueError(f"icm_weight must be finite, got {weight!r}.")
    if penalty is None:
        return
    if (
        weight > 0
        and isinstance(penalty, _PairPenalty)
        and not penalty.applies_to(graph)
    ):
        raise ValueError(
            f"icm_weight={weight} has no effect: icm_penalty={penalty!r} sees no pair "
            f"of mechanisms among the nodes {graph.nodes}. Spectral penalties need a "
            "hidden map, trace penalties a hidden vector; icm_penalty='auto' takes "
            "either; icm_weight=0 switches the penalty off."
        )
    device = next(graph.parameters()).device
    noise = {k: torch.zeros(2, *s, device=device) for k, s in graph.roots.items()}
    value = penalty(graph, graph(noise))
    if not isinstance(value, Tensor) or value.ndim != 0:
        got = type(value).__name__
        if isinstance(value, Tensor):
            got += f" of shape {tuple(value.shape)}"
        raise TypeError(
            "icm_penalty must be a callable penalty(graph, nodes) that returns a 0-d "
            f"tensor, got {got}."
        )
    if not bool(torch.isfinite(value)):
        raise ValueError(
            f"icm_penalty={penalty!r} is {float(value)} before training has started."
        )
