"""Successive mechanisms of a graph, and which measure applies to each pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..mechanisms import LinearOperator, MechanismGraph, linear_operator
from ._common import PairMeasure
from ._spectral import spectral_measure
from ._trace import normalised_pair, trace_measure


@dataclass(frozen=True)
class MechanismPair:
    """Two successive mechanisms and the hidden node between them."""

    first: str
    second: str
    node_shape: tuple[int, ...]
    earlier: LinearOperator
    later: LinearOperator

    @property
    def name(self) -> str:
        return f"{self.first} -> {self.second}"

    @property
    def measure_name(self) -> str:
        """ "trace" where the hidden node is a vector, "spectral" where it is a map."""
        return "trace" if len(self.node_shape) == 1 else "spectral"

    def weights(self) -> tuple[Tensor, Tensor]:
        """Weights as the hidden node sees them: matrices, or its channels' kernels."""
        if self.measure_name == "trace":
            first, second = self.earlier.weight, self.later.weight
            return normalised_pair(first.flatten(1), second)
        return (
            self.earlier.kernels_into(self.node_shape),
            self.later.kernels_out_of(self.node_shape),
        )

    def measure(
        self, w1: Tensor | None = None, w2: Tensor | None = None
    ) -> PairMeasure:
        """Measure of the pair; other weights may be put in its mechanisms' place."""
        own1, own2 = self.weights()
        w1, w2 = own1 if w1 is None else w1, own2 if w2 is None else w2
        if self.measure_name == "trace":
            return trace_measure(w2, w1 @ w1.T)
        return spectral_measure(w1, w2, self.later.upsample, self.earlier.downsample)

    def null_draws(self, n_draws: int, generator: torch.Generator) -> Tensor:
        """Mean rho over channels after random group elements act, shape (n_draws,).

        The group rotates the hidden node (trace) or the taps of the later mechanism's
        kernels, each hidden channel on its own (spectral): real kernels have
        symmetric spectra, so that frequency shifts would not give uniform p-values.
        """
        w1, w2 = (w.detach().double().cpu() for w in self.weights())
        draws = []
        for _ in range(n_draws):
            if self.measure_name == "trace":
                rotated = w2 @ haar_rotation(w2.shape[1], 1, generator)[0]
            else:
                taps = w2.flatten(2).transpose(0, 1)
                q = haar_rotation(taps.shape[-1], len(taps), generator)
                rotated = (taps @ q).transpose(0, 1).reshape(w2.shape)
            draws.append(self.measure(w1, rotated).rho.mean())
        return torch.stack(draws)


def haar_rotation(n: int, n_draws: int, generator: torch.Generator) -> Tensor:
    """Orthogonal matrices (n_draws, n, n) from the Haar measure, float64."""
    normal = torch.randn(n_draws, n, n, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    return q * torch.diagonal(r, dim1=-2, dim2=-1).sign()[:, None]


def mechanism_pairs(graph: MechanismGraph) -> Iterator[MechanismPair]:
    """Pairs that share a hidden node and whose mechanisms each have one operator."""
    operators = {k: linear_operator(graph.mechanism(k)) for k in graph.parents}
    for second, parents in graph.parents.items():
        for first in parents:
            if first in graph.roots or len(parents) > 1:
                continue
            earlier, later = operators[first], operators[second]
            if earlier is not None and later is not None:
                pair = MechanismPair(first, second, graph.nodes[first], earlier, later)
                if _composes(pair):
                    yield pair


def _composes(pair: MechanismPair) -> bool:
    units = pair.node_shape[0]
    if pair.measure_name == "trace":
        return pair.earlier.is_dense and pair.later.weight.shape[1] == units
    w1, w2 = pair.weights()
    return w1.ndim == w2.ndim and w1.shape[0] == w2.shape[1] == units
