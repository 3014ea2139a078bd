"""Rows of a fitted module, with and without interventions, in bounded memory."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from ..exceptions import ClippedInterventionWarning, UnexplainedRowsWarning
from ..interventions._base import apply_intervention, is_random, started
from ..mechanisms._modules import tensor_of
from .seeds import torch_stream

Interventions = Mapping[str, Callable[[Tensor], Tensor]]
Nodes = Mapping[str, Tensor]
Pair = tuple[np.ndarray | None, np.ndarray]
# Values of every node without and with interventions, chunk by chunk.
Record = list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]
# Larger chunks are no faster; those of images would leave the processor's cache.
MOST_ROWS, FEWEST_ROWS = 32768, 32
VALUES_PER_CHUNK = 2**21
# Of the range, on average over all entries.
NOTICEABLE = 0.05
# Share of given rows: where more is unexplained, dropping it was usually better.
MOST_UNEXPLAINED = 0.25


class RowQueries:
    """Run a module's graph and return float64 rows.

    Parameters
    ----------
    module : torch.nn.Module
        With ``graph``, ``layout``, ``noise``, ``likelihood`` and ``abduct``.
    bounds : ndarray of shape (2, 1) or (2, n_features), or None
        Range to which values are clipped.
    """

    def __init__(self, module: nn.Module, bounds: np.ndarray | None) -> None:
        self.module = module
        self.device, self.dtype = tensor_of(module).device, tensor_of(module).dtype
        self.data_node = module.graph.data_node
        self.is_exact = getattr(module.likelihood, "is_exact", False)
        self.low, self.high = (-np.inf, np.inf) if bounds is None else bounds
        # Rows that are asked about, once they are checked.
        self.given: np.ndarray | None = None
        self._excess: list[float] = []
        self._unexplained: list[np.ndarray] = []
        per_row = sum(math.prod(shape) for shape in module.graph.nodes.values())
        fitting = 2 ** int(math.log2(max(1, VALUES_PER_CHUNK / per_row)))
        self.chunk = min(MOST_ROWS, max(FEWEST_ROWS, fitting))

    @torch.no_grad()
    def prior(
        self,
        interventions: Interventions,
        n: int,
        entropy: int,
        *,
        noisy: bool,
        paired: bool,
        record: Record | None = None,
    ) -> Iterator[Pair]:
        """Yield (factual, intervened) draws that share latents and noise.

        Factual ones are None unless they are asked for (``paired``).
        """
        interventions = _started(interventions, entropy)
        latents = torch_stream(entropy, "latents")
        observations = torch_stream(entropy, "observations")
        likelihood = self.module.likelihood

        def rows_of(nodes: Nodes, draw: Tensor | None) -> np.ndarray:
            mean = nodes[self.data_node]
            if draw is not None:
                mean = likelihood.observe(mean, draw)
            return self.to_rows(mean)

        for size in self._sizes(n):
            noise, draw = self.module.noise.draw(size, latents), None
            if noisy:
                draw = likelihood.draw(size, observations).to(self.device)
            before, after = self._nodes(noise, interventions, record, paired=paired)
            factual = changed = rows_of(after, draw)
            if after is not before:
                # What is outside the bounds may have been there before.
                doubtful = _clipped(changed, self.low, self.high)[1] > NOTICEABLE
                before = before or (self.module.graph(noise) if doubtful else None)
                factual = rows_of(before, draw) if before else None
            limits = self.low, self.high
            finished = self._finished(factual, changed, interventions, *limits)
            if paired:
                factual = finished if not interventions else self.clip(factual)
            # The next chunk takes the memory of this one.
            del noise, draw, before, after, changed
            yield factual if paired else None, finished

    @torch.no_grad()
    def counterfactual(
        self,
        interventions: Interventions,
        X: np.ndarray,
        entropy: int,
        *,
        keep: bool,
        noise: np.ndarray | None = None,
        record: Record | None = None,
    ) -> Iterator[Pair]:
        """Yield (factual, intervened) versions of given rows.

        The noise that explains them is abducted, unless it is given.
        """
        interventions = _started(interventions, entropy)
        for start in range(0, len(X), self.chunk):
            rows = X[start : start + self.chunk].astype(np.float64)
            if noise is None:
                z = self.module.abduct(self.to_node(rows).to(self.device))
            else:
                z = self.to_noise(noise[start : start + self.chunk])
            pair = self._nodes(z, interventions, record)
            factual, changed = (self.to_rows(nodes[self.data_node]) for nodes in pair)
            low, high = self.low, self.high
            if keep:
                if acting_inside(interventions, self.data_node):
                    self._unexplained.append(self.unexplained(rows, factual))
                # Where nothing changed, the row itself. Elsewhere a difference is added
                # to it, unless the model explains all of a row.
                moved = changed if self.is_exact else rows + (changed - factual)
                changed = np.where(changed == factual, rows, moved)
                factual = rows
                # A row's own values are possible values, even outside the bounds.
                low, high = np.minimum(low, rows), np.maximum(high, rows)
            yield (
                np.clip(factual, low, high),
                self._finished(factual, changed, interventions, low, high),
            )

    @torch.no_grad()
    def decode(self, noise: np.ndarray) -> np.ndarray:
        """Mean rows of given values of the noise node."""
        z = self.to_noise(noise)
        means = [self.module.graph(c)[self.data_node] for c in z.split(self.chunk)]
        return self.clip(np.concatenate([self.to_rows(m) for m in means]))

    def nodes_of_prior(self, n: int, entropy: int) -> dict[str, np.ndarray]:
        """Values of every node for draws from the prior, with the noise of `prior`."""
        latents = torch_stream(entropy, "latents")
        draws = (self.module.noise.draw(size, latents) for size in self._sizes(n))
        return stacked(map(self._values, draws))

    def nodes_of_rows(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Values of every node for the noise that explains given rows."""
        return stacked(self._values(self.module.abduct(x)) for x in self._chunks(X))

    @torch.no_grad()
    def encoder_nodes(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Values of the encoder's nodes for given rows."""
        standardised = map(self.module.likelihood.standardised, self._chunks(X))
        return stacked(_to_numpy(self.module.encoder(x)) for x in standardised)

    @torch.no_grad()
    def _values(self, noise: Tensor) -> dict[str, np.ndarray]:
        return _to_numpy(self.module.graph(noise))

    def _chunks(self, X: np.ndarray) -> Iterator[Tensor]:
        for start in range(0, len(X), self.chunk):
            yield self.to_node(X[start : start + self.chunk]).to(self.device)

    def _sizes(self, n: int) -> list[int]:
        """Sizes of the chunks of n rows."""
        return [min(self.chunk, n - start) for start in range(0, n, self.chunk)]

    def _nodes(
        self,
        noise: Tensor,
        interventions: Interventions,
        record: Record | None,
        *,
        paired: bool = True,
    ) -> tuple[Nodes | None, Nodes]:
        """Nodes without and with the interventions inside; the same if there are none.

        The factual pass is run only where it is needed: else its nodes are None.
        """
        graph = self.module.graph
        hidden = acting_inside(interventions, self.data_node)
        with_factual = paired or record is not None or not hidden
        before = graph(noise) if with_factual else None
        after = graph(noise, hidden, factual=before) if hidden else before
        if record is not None:
            record.append((_to_numpy(before), _to_numpy(after)))
        return before, after

    def _finished(
        self,
        factual: np.ndarray | None,
        changed: np.ndarray,
        interventions: Interventions,
        low: np.ndarray | float,
        high: np.ndarray | float,
    ) -> np.ndarray:
        """Clip, and apply an intervention on the data node to observed values."""
        if not interventions:
            return np.clip(changed, low, high)
        rows, excess = _clipped(changed, low, high)
        if factual is not None:
            excess -= _clipped(factual, low, high)[1]
        if self.data_node in interventions:
            node = self.module.layout.to_node(torch.from_numpy(rows))
            node = apply_intervention(interventions, self.data_node, node)
            rows, more = _clipped(self.to_rows(node), low, high)
            excess += more
        self._excess.append(excess)
        return rows

    def unexplained(self, rows: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Share of each row that is left of it: squares over the fitted rows' spread.

        A module that has no ``spread`` explains every row.
        """
        spread = float(getattr(self.module, "spread", 0.0))
        if not spread:
            return np.zeros(len(rows))
        left = self.to_node(rows - means).to(self.device)
        squared = self.module.likelihood.squared(left).flatten(1).mean(1)
        return squared.cpu().numpy().astype(np.float64) / spread

    def warn_of_doubt(self) -> None:
        """Say what makes the answers doubtful: bounds, or rows that are not explained.

        Bounds that took back much of what interventions did; and rows of which much is
        kept as it is, since the model does not explain it.
        """
        excess = float(np.mean(self._excess)) if self._excess else 0.0
        if excess > NOTICEABLE:
            warnings.warn(ClippedInterventionWarning(excess), stacklevel=3)
        shares = np.concatenate([np.zeros(0), *self._unexplained])
        if len(shares) and shares.mean() > MOST_UNEXPLAINED:
            share = float(shares.mean())
            warnings.warn(UnexplainedRowsWarning(share), stacklevel=3)

    def to_node(self, rows: np.ndarray) -> Tensor:
        """Rows as values of the data node, in the module's precision, on the CPU."""
        return self.module.layout.to_node(self._tensor(rows))

    def to_noise(self, noise: np.ndarray) -> Tensor:
        """Values of the noise node as the module takes them."""
        return self._tensor(noise).to(self.device)

    def _tensor(self, values: np.ndarray) -> Tensor:
        # torch takes no views that run backwards.
        return torch.tensor(np.ascontiguousarray(values), dtype=self.dtype)

    def to_rows(self, node: Tensor) -> np.ndarray:
        """Values of the data node as float64 rows."""
        rows = self.module.layout.to_rows(node).cpu().numpy().astype(np.float64)
        if not np.isfinite(rows).all():
            raise ValueError(
                "The model's answer holds values that are NaN or infinite: noise or an "
                "intervention is so large that float32 overflows. Give smaller values."
            )
        return rows

    def clip(self, rows: np.ndarray) -> np.ndarray:
        """Rows inside the bounds."""
        return np.clip(rows, self.low, self.high)


def acting_inside(interventions: Interventions, data_node: str) -> Interventions:
    """What acts inside a graph: at the data node, only on its mechanism."""
    inside = {k: v for k, v in interventions.items() if k != data_node}
    change = interventions.get(data_node)
    if getattr(change, "acts_on_mechanism", False):
        inside[data_node] = change.mechanism_part()
    return inside


def _started(interventions: Interventions, entropy: int) -> Interventions:
    """Give the random interventions of one query their streams."""
    if not any(map(is_random, interventions.values())):
        return interventions
    return {
        name: started(
            change,
            (torch_stream(entropy, f"intervention {name} {k}") for k in count()),
        )
        for name, change in interventions.items()
    }


def _to_numpy(nodes: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().numpy() for name, value in nodes.items()}


def stacked(chunks: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Values by name of chunks of rows, put together."""
    chunks = list(chunks)
    return {k: np.concatenate([chunk[k] for chunk in chunks]) for k in chunks[0]}


def _clipped(
    rows: np.ndarray, low: np.ndarray | float, high: np.ndarray | float
) -> tuple[np.ndarray, float]:
    """Rows within the bounds, and how far they were outside on average.

    The latter is in units of the range, over the entries that have one.
    """
    if np.all(np.isinf(low) & np.isinf(high)):
        return rows, 0.0
    clipped = np.clip(rows, low, high)
    span = np.subtract(high, low)
    outside = np.abs(rows - clipped)
    if span.size == 1:
        # One range for all entries: no arrays of ranges.
        return clipped, float(outside.mean() / span.item()) if span.item() > 0 else 0.0
    outside = outside / np.where(span > 0, span, np.inf)
    has_range = np.broadcast_to(np.isfinite(span), outside.shape)
    return clipped, float(outside[has_range].mean()) if has_range.any() else 0.0
