"""Successive mechanisms of a graph, and which measure applies to each pair."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..interventions._checks import kind_of
from ..interventions._mixing import haar_rotation
from ..mechanisms import LinearOperator, MechanismGraph
from ..mechanisms._operators import NoLinearOperator, read_operator
from ._common import PairMeasure
from ._correlations import Resizing
from ._null import spectral_draws, trace_draws
from ._spectral import (
    FORMS,
    lags_of_pair,
    mean_square_excess,
    spectral_measure,
)
from ._trace import normalised_pair, squared_norms, trace_measure


@dataclass(frozen=True)
class MechanismPair:
    """Two successive mechanisms and the hidden node between them.

    ``normalises``: whether hidden units are scaled to unit input weights before the
    trace condition is measured, as the gauge of ReLU networks asks for.
    """

    first: str
    second: str
    node_shape: tuple[int, ...]
    earlier: LinearOperator
    later: LinearOperator
    normalises: bool = True

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
            w1, w2 = self.earlier.taps.flatten(1), self.later.taps
            return normalised_pair(w1, w2) if self.normalises else (w1, w2)
        return (
            self.earlier.kernels_into(self.node_shape),
            self.later.kernels_out_of(self.node_shape),
        )

    def measure(
        self,
        form: str = "weights",
        *,
        hidden: Tensor | None = None,
        described: bool = True,
    ) -> PairMeasure:
        """Measure of the pair.

        Parameters
        ----------
        form : str
            Of `spectral_ratio`; "weights" is its pooled form. Where the hidden node is
            a vector all forms but "activation" are the same.
        hidden : Tensor of shape (n,) + node shape, optional
            Values of the hidden node; "activation" needs them.
        described : bool
            False leaves out what only a report reads.
        """
        if self.measure_name == "trace":
            if form == "activation":
                w2 = self.later.taps
                return trace_measure(w2, _covariance(hidden.to(w2)), described)
            w1, w2 = self.weights()
            return trace_measure(w2, w1 @ w1.T, described)
        up, down = self.later.upsample, self.earlier.downsample
        if form == "full":
            return spectral_measure(*self.weights(), up, down, form)
        w1, w2, *resizings = self._unresized()
        if form == "activation":
            w1, down, resizings[0] = hidden.to(w2), None, None
        elif form not in FORMS:
            form = "pooled"
        options = {"resizings": tuple(resizings), "described": described}
        return spectral_measure(w1, w2, up, down, form, **options)

    def mean_square_excess(self) -> Tensor:
        """Mean of ``(rho - 1)^2`` over the triplets of channels of a hidden map."""
        w1, w2, *resizings = self._unresized()
        up, down = self.later.upsample, self.earlier.downsample
        return mean_square_excess(w1, w2, up, down, resizings=tuple(resizings))

    def _unresized(self) -> tuple[Tensor, Tensor, Resizing | None, Resizing | None]:
        """Kernels without their resizing filters, and the filters.

        Folding a filter into a few correlations is much cheaper than into all kernels.
        """
        earlier, later = self.earlier, self.later
        return (
            _without_resizing(earlier).kernels_into(self.node_shape),
            _without_resizing(later).kernels_out_of(self.node_shape),
            _resizing(earlier),
            _resizing(later),
        )

    def double(self) -> MechanismPair:
        """Return a detached copy in float64 on the CPU."""
        earlier, later = self.earlier.double(), self.later.double()
        return replace(self, earlier=earlier, later=later)

    def null_draws(
        self,
        n_draws: int,
        generator: torch.Generator,
        *,
        form: str = "weights",
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Mean ratio after random elements of the pair's group, shape (n_draws,).

        The group rotates the hidden node (trace: the mechanism of lower rank, on its
        side of it), or the taps of the later mechanism, for each hidden channel on its
        own (spectral): real kernels have symmetric spectra, so that frequency shifts
        would not give uniform p-values.
        """
        if self.measure_name == "trace":
            w, scale = self.later.taps, None
            if form == "activation":
                s = _covariance(hidden.to(w))
            else:
                w1 = self.earlier.taps.flatten(1)
                s = w1 @ w1.T
                scale = squared_norms(w1) if self.normalises else None
            return trace_draws(w, s, scale, n_draws, generator)
        if form == "full":
            draws = (self._turned(generator) for _ in range(n_draws))
            return torch.stack([pair.measure(form).rho.mean() for pair in draws])
        w1, w2, *resizings = self._unresized()
        up, down = self.later.upsample, self.earlier.downsample
        if form == "activation":
            w1, down, resizings[0] = hidden.to(w2), None, None
        lags = lags_of_pair(w1, w2, up, down, tuple(resizings))
        return spectral_draws(w1, w2, lags, form, n_draws, generator)

    def _turned(self, generator: torch.Generator) -> MechanismPair:
        """Return the pair after the taps of the later mechanism are rotated."""
        taps = self.later.taps
        rows = taps.reshape(len(taps), self.node_shape[0], -1).transpose(0, 1)
        n_taps = rows.shape[-1]
        rotation = haar_rotation((len(rows), n_taps, n_taps), generator).to(taps)
        turned = (rows @ rotation).transpose(0, 1).reshape(taps.shape)
        return replace(self, later=replace(self.later, taps=turned))


def _covariance(hidden: Tensor) -> Tensor:
    centred = hidden - hidden.mean(0)
    return centred.T @ centred / len(hidden)


def mechanism_pairs(graph: MechanismGraph) -> Iterator[MechanismPair]:
    """Pairs that share a hidden node and whose mechanisms each have one operator."""
    return (p for p in _read_pairs(graph) if isinstance(p, MechanismPair))


def unread_pairs(graph: MechanismGraph) -> list[str]:
    """Why pairs that share a hidden node have no measure: a sentence for each."""
    return [p for p in _read_pairs(graph) if isinstance(p, str)]


def _read_pairs(graph: MechanismGraph) -> Iterator[MechanismPair | str]:
    operators: dict[str, LinearOperator | str] = {}
    for name, module in zip(graph.parents, graph.mechanisms, strict=True):
        try:
            operators[name] = read_operator(module)
        except NoLinearOperator as error:
            operators[name] = f"the mechanism of {name!r} has no operator: {error}"
    for second, parents in graph.parents.items():
        for first in parents:
            if first not in graph.roots:
                yield _read_pair(graph, first, second, operators)


def _read_pair(
    graph: MechanismGraph,
    first: str,
    second: str,
    operators: dict[str, LinearOperator | str],
) -> MechanismPair | str:
    """The pair, or why it has no measure."""
    name = f"{first} -> {second}"
    if len(graph.parents[second]) > 1:
        return f"{name}: the mechanism of {second!r} has several parents"
    earlier, later = operators[first], operators[second]
    for operator in (earlier, later):
        if isinstance(operator, str):
            return f"{name}: {operator}"
    shape, kind = graph.nodes[first], graph.kinds[first]
    if kind != kind_of(shape):
        return (
            f"{name}: no measure is known of a node of shape {shape} and kind {kind!r}"
        )
    # The units of a linear chain's hidden nodes are part of its mechanisms.
    linear = getattr(graph.mechanism(first), "is_linear", False)
    pair = MechanismPair(first, second, shape, earlier, later, normalises=not linear)
    if _composes(pair):
        return pair
    return f"{name}: their operators do not meet in units of the shape {shape}"


def _composes(pair: MechanismPair) -> bool:
    earlier, later = pair.earlier, pair.later
    units, *grid = pair.node_shape
    if not grid and not earlier.is_dense:
        return False
    # A dense mechanism has kernels of the map that it produces or reads.
    whole = math.prod(pair.node_shape)
    fits_earlier = earlier.taps.shape[0] == (whole if earlier.is_dense else units)
    fits_later = later.taps.shape[1] == (whole if later.is_dense else units)
    if not grid:
        return fits_earlier and fits_later
    n_axes = {len(grid) if op.is_dense else op.taps.ndim - 2 for op in (earlier, later)}
    return fits_earlier and fits_later and len(n_axes) == 1


def _resizing(operator: LinearOperator) -> Resizing | None:
    if operator.resize is None:
        return None
    return Resizing(operator.resize, tuple(operator.upsample))


def _without_resizing(operator: LinearOperator) -> LinearOperator:
    return operator if operator.resize is None else replace(operator, resize=None)


def is_of_columns(graph: MechanismGraph) -> bool:
    """Whether the mechanisms of a graph are those of the columns of a table."""
    return any(hasattr(module, "own_noise") for module in graph.mechanisms)


def noise_read(graph: MechanismGraph) -> dict[str, tuple[int, list[str]]]:
    """Of nodes with noise of their own, its place in the root, and what they read."""
    found = {}
    for module, (name, parents) in zip(
        graph.mechanisms, graph.parents.items(), strict=True
    ):
        place = getattr(module, "own_noise", None)
        if place is not None:
            found[name] = place, [p for p in parents if p not in graph.roots]
    return found
