"""Rows of a fitted module, with and without interventions, in bounded memory."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..exceptions import ClippedInterventionWarning, UnexplainedRowsWarning
from ..interventions._base import Intervention, acting_inside
from ..utils.checks import check_scalar
from ..utils.streams import Streams
from . import Exogenous, GenerativeModel

ABDUCTIONS = ("encode", "optimise")
Interventions = Mapping[str, Intervention]
Nodes = Mapping[str, Tensor]
Pair = tuple[np.ndarray | None, np.ndarray]
# Values of every node without and with interventions, chunk by chunk.
Record = list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]
# Larger chunks are no faster; those of images would leave the processor's cache.
MOST_ROWS, FEWEST_ROWS = 32768, 32
VALUES_PER_CHUNK = 2**21
WHOLE = 16
# Of the range, on average over all entries.
NOTICEABLE = 0.05
# Share of given rows: where more is unexplained, dropping it was usually better.
MOST_UNEXPLAINED = 0.25


class RowQueries:
    """Run a module's graph and return float64 rows.

    Parameters
    ----------
    module : GenerativeModel
    bounds : ndarray of shape (2, 1) or (2, n_features), or None
        Range to which values are clipped.
    """

    def __init__(self, module: GenerativeModel, bounds: np.ndarray | None) -> None:
        self.module = module
        # It is where the model computes, and how.
        self.device, self.dtype = module.spread.device, module.spread.dtype
        self.data_node = module.graph.data_node
        self.low, self.high = (-np.inf, np.inf) if bounds is None else bounds
        # Rows that are asked about, once they are checked.
        self.given: np.ndarray | None = None
        self.excess: list[float] = []
        # Interventions with `doubts`, warnings of what they did.
        self.watched: list[Any] = []
        self._unexplained: list[np.ndarray] = []
        per_row = sum(math.prod(shape) for shape in module.graph.nodes.values())
        fitting = 2 ** int(math.log2(max(1, VALUES_PER_CHUNK / per_row)))
        self.chunk = min(MOST_ROWS, max(FEWEST_ROWS, fitting))

    @torch.no_grad()
    def prior(
        self,
        interventions: Interventions,
        n: int,
        streams: Streams,
        *,
        noisy: bool,
        paired: bool,
        record: Record | None = None,
    ) -> Iterator[Pair]:
        """Yield (factual, intervened) draws that share latents and noise.

        Factual ones are None unless they are asked for (``paired``).
        """
        needs_factual = paired or record is not None
        for rows in self._chunks_of(n):
            noise = self.module.draw(rows.stop - rows.start, streams, noisy=noisy)
            before = self.module.graph(noise.roots) if needs_factual else None
            ask = _Question(self, noise, before, (self.low, self.high))
            changed = ask.changed(interventions, rows, streams, record)
            factual = ask.factual() if paired else None
            # The next chunk takes the memory of this one.
            del noise, before, ask
            yield factual, changed

    @torch.no_grad()
    def counterfactual(
        self,
        interventions: Interventions,
        X: np.ndarray,
        streams: Streams,
        *,
        keep: bool,
        noise: np.ndarray | None = None,
        record: Record | None = None,
    ) -> Iterator[Pair]:
        """Yield (factual, intervened) versions of given rows.

        The noise that explains them is abducted, unless it is given.
        """
        inside = acting_inside(interventions, self.data_node)
        for rows in self._chunks_of(len(X)):
            given = X[rows].astype(np.float64)
            x = self.to_node(given).to(self.device)
            roots = (
                self.module.abduct(x) if noise is None else self.to_noise(noise[rows])
            )
            before = self.module.factual(roots, x)
            scatter, limits = None, (self.low, self.high)
            if keep:
                means = self.to_rows(before[self.data_node])
                if inside:
                    self._unexplained.append(self.unexplained(given, means))
                scatter = self._carrying(given, before[self.data_node])
                # A row's own values are possible values, even outside the bounds.
                limits = np.minimum(self.low, given), np.maximum(self.high, given)
            ask = _Question(self, Exogenous(roots, scatter), before, limits)
            changed = ask.changed(interventions, rows, streams, record)
            yield ask.factual(), changed

    def _carrying(self, rows: np.ndarray, factual: Tensor) -> Callable:
        """How given rows scatter about their means, in float64."""
        given = self.module.layout.to_node(torch.from_numpy(rows))
        factual = factual.cpu().double()

        def scatter(mean: Tensor) -> Tensor:
            return self.module.likelihood.carry(mean.cpu().double(), given, factual)

        return scatter

    @torch.no_grad()
    def decode(self, noise: np.ndarray) -> np.ndarray:
        """Mean rows of given values of the noise node."""
        z = self.to_noise(noise)
        means = [self.module.graph(c)[self.data_node] for c in z.split(self.chunk)]
        return self.clip(np.concatenate([self.to_rows(m) for m in means]))

    def nodes_of_prior(self, n: int, streams: Streams) -> dict[str, np.ndarray]:
        """Values of every node for draws from the prior, with the noise of `prior`."""
        sizes = (rows.stop - rows.start for rows in self._chunks_of(n))
        draws = (self.module.draw(size, streams, noisy=False) for size in sizes)
        return stacked(self._values(draw.roots) for draw in draws)

    def nodes_of_rows(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Values of every node for the noise that explains given rows."""
        return stacked(self._values(self.module.abduct(x)) for x in self._chunks(X))

    @torch.no_grad()
    def noise_of_draw(self, X: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Noise behind rows, drawn by standard normal numbers (n, n_latents)."""
        shape = next(iter(self.module.graph.roots.values()))
        parts = [
            self.module.posterior_draw(
                self.to_node(X[rows]).to(self.device),
                self.to_noise(normal[rows].reshape(-1, *shape)),
            )
            for rows in self._chunks_of(len(X))
        ]
        return torch.cat(parts).cpu().numpy()

    @torch.no_grad()
    def encoder_nodes(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Values of the encoder's nodes for given rows."""
        standardised = map(self.module.likelihood.standardised, self._chunks(X))
        return stacked(_to_numpy(self.module.encoder(x)) for x in standardised)

    @torch.no_grad()
    def _values(self, noise: Tensor) -> dict[str, np.ndarray]:
        return _to_numpy(self.module.graph(noise))

    def _chunks(self, X: np.ndarray) -> Iterator[Tensor]:
        for rows in self._chunks_of(len(X)):
            yield self.to_node(X[rows]).to(self.device)

    def _chunks_of(self, n: int) -> Iterator[slice]:
        """Chunks of n rows, wholes of 16 but for the last one, which has no fewer.

        In these torch draws normal numbers, so that chunks change none.
        """
        size = -(-self.chunk // WHOLE) * WHOLE
        starts = range(0, max(n - WHOLE + 1, 1), size)
        for start, stop in zip(starts, (*starts[1:], n), strict=True):
            yield slice(start, stop)

    def unexplained(self, rows: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Share that is left of each row: squares over the fitted rows' spread."""
        spread = float(self.module.spread)
        if not spread:
            return np.zeros(len(rows))
        left = self.to_node(rows - means).to(self.device)
        squared = self.module.likelihood.squared(left).flatten(1).mean(1)
        return squared.cpu().numpy().astype(np.float64) / spread

    def warn_of_doubt(self) -> None:
        """Say what makes the answers doubtful: bounds, or rows that are not explained.

        Bounds that took back much of what interventions did; and rows of which much is
        kept as it is, since the model does not explain it. Before, what those say that
        are `watched`.
        """
        for doubt in (doubt for change in self.watched for doubt in change.doubts()):
            warnings.warn(doubt, stacklevel=3)
        excess = float(np.mean(self.excess)) if self.excess else 0.0
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


class _Question:
    """What one chunk of rows is, and would be: one pass of the graph each."""

    def __init__(
        self,
        queries: RowQueries,
        noise: Exogenous,
        before: Nodes | None,
        limits: tuple[np.ndarray | float, np.ndarray | float],
    ) -> None:
        self.queries, self.graph = queries, queries.module.graph
        self.noise, self.before, self.limits = noise, before, limits
        self.data = queries.data_node
        # Of the last observation: means of the rows, and how far they were outside.
        self.mean: Tensor | None = None
        self.outside = 0.0
        self._factual: np.ndarray | None = None

    def observe(self, mean: Tensor) -> Tensor:
        """What is seen of the data node, within the limits, in float64."""
        seen = mean if self.noise.scatter is None else self.noise.scatter(mean)
        rows, self.outside = _clipped(self.queries.to_rows(seen), *self.limits)
        self.mean = mean
        return self.queries.module.layout.to_node(torch.from_numpy(rows))

    def factual(self) -> np.ndarray:
        """Rows without interventions."""
        if self._factual is None:
            if self.before is None:
                self.before = self.graph(self.noise.roots)
            self._factual = self.queries.to_rows(self.observe(self.before[self.data]))
        return self._factual

    def changed(
        self,
        interventions: Interventions,
        rows: slice,
        streams: Streams,
        record: Record | None,
    ) -> np.ndarray:
        """Rows under interventions; nodes are recorded, rows outside counted."""
        if not interventions:
            result, after = self.factual(), self.before
        else:
            after = self.graph(
                self.noise.roots,
                interventions,
                factual=self.before,
                observe=self.observe,
                rows=rows,
                streams=streams,
            )
            result = self._finished(after[self.data], interventions)
        if record is not None:
            means = {**after, self.data: self.mean}
            record.append((_to_numpy(self.before), _to_numpy(means)))
        return result

    def _finished(self, node: Tensor, interventions: Interventions) -> np.ndarray:
        """Rows within the limits; what interventions moved beyond is counted."""
        outside, more, mean = self.outside, 0.0, self.mean
        rows = self.queries.to_rows(node)
        if self.data in interventions:
            rows, more = _clipped(rows, *self.limits)
        # What is outside may have been there before.
        if not acting_inside(interventions, self.data):
            outside = 0.0
        elif self.before is not None or outside > NOTICEABLE:
            self.factual()
            outside -= self.outside
        self.mean = mean
        self.queries.excess.append(outside + more)
        return rows


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


def check_rows_or_number(X: Any, n_samples: Any, verb: str) -> None:
    """Refuse both of rows and a number of draws, or neither."""
    if (X is None) == (n_samples is None):
        raise ValueError(
            f"{verb} needs either n_samples (draws from the prior) or X (rows), got "
            f"{'neither' if X is None else 'both'}."
        )
    if X is None:
        check_scalar(n_samples, "n_samples", Integral, min_val=1)


def check_abduction(abduction: Any) -> None:
    """Refuse what is neither a way to abduct nor the result of one."""
    known = isinstance(abduction, str) and abduction in ABDUCTIONS
    if not known and getattr(abduction, "noise", None) is None:
        raise ValueError(
            f"abduction must be one of {list(ABDUCTIONS)} or what abduct(X) "
            f"returns, got {abduction!r}."
        )
