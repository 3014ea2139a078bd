"""Penalties: independence of mechanisms as a term of the loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from ..mechanisms import MechanismGraph
from ..mechanisms._modules import tensor_of, versions
from ..rows._batches import Batch
from ._hsic import batch_dependences
from ._pairs import (
    Measure,
    MechanismPair,
    is_of_columns,
    measure_of,
    mechanism_pairs,
    noise_read,
    unmeasured,
)
from ._spectral import SPECTRAL
from ._trace import TRACE

SMALLEST_RATIO = 1e-3
NEEDED = (
    "Spectral penalties need a hidden map, trace penalties a hidden vector, noise "
    "penalties a numeric column with parents (whose mechanism is not 'energy', "
    "'mixture' or an estimator), 'auto' takes any of them, IMAPenalty needs a decoder "
    "of two latents, and a GenericPenalty of a distribution a hidden map with the grid "
    "of the data (such as that of map_decoder), or a node of the graph;"
)


class Step(NamedTuple):
    """What a penalty sees: ``penalty(step)`` returns a 0-d tensor.

    Parameters
    ----------
    graph : MechanismGraph
        The model's graph, which trains.
    nodes : dict of str to Tensor of shape (n,) + node shape, optional
        Values of all its nodes at the rows of the step, noise first.
    batch : Batch, optional
        The rows: ``batch.x`` are values of the data node, ``batch.generator`` is where
        a penalty draws random numbers from, and ``batch.epoch`` counts from 0.

    Examples
    --------
    >>> from sklearn_icm.independence import AutoPenalty, Step
    >>> from sklearn_icm.mechanisms import dense_decoder
    >>> AutoPenalty()(Step(dense_decoder(2, (5,), (4, 4)))).ndim
    0
    """

    graph: MechanismGraph
    nodes: Mapping[str, Tensor] | None = None
    batch: Batch | None = None


class PenaltyValue(BaseEstimator):
    """Base of the penalties: equal parameters make equal penalties."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PenaltyValue) and _key_of(self) == _key_of(other)

    def __hash__(self) -> int:
        return hash(_key_of(self))

    def values_of(self, step: Step) -> Mapping[str, Tensor]:
        """Values of the nodes, which some penalties cannot do without."""
        if step.nodes is None:
            raise ValueError(
                f"{self!r} needs the values of the nodes: call it on "
                "Step(graph, nodes)."
            )
        return step.nodes


def _key_of(penalty: PenaltyValue) -> tuple:
    values = penalty.get_params(deep=False).values()
    return (type(penalty), *(tuple(v) if _is_list(v) else v for v in values))


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


class _PairPenalty(PenaltyValue):
    """Mean over pairs of a function of the generic ratio that is 0 at rho = 1."""

    form = "weights"
    loss = "log"
    # By its form.
    measures: Mapping[str, tuple[Measure, ...]]

    def __call__(self, step: Step) -> Tensor:
        """Penalty of a graph, a differentiable 0-d tensor; 0 without any such pair."""
        self._check()
        pairs = self._pairs(step.graph, step.nodes)
        values = [self._of_pair(measure, pair) for measure, pair in pairs]
        if not values:
            return tensor_of(step.graph).new_zeros(())
        return torch.stack(values).mean()

    def applies_to(self, graph: MechanismGraph) -> bool:
        """Whether the graph has a pair of mechanisms that the penalty can see."""
        self._check()
        return any(True for _ in self._pairs(graph))

    def _pairs(
        self, graph: MechanismGraph, nodes: Mapping[str, Tensor] | None = None
    ) -> Iterator[tuple[Measure, MechanismPair]]:
        for pair in mechanism_pairs(graph, nodes):
            measure = measure_of(pair, self.measures[self.form])
            if measure is not None:
                yield measure, pair

    def _of_pair(self, measure: Measure, pair: MechanismPair) -> Tensor:
        rho = measure.ratio(pair)
        if self.loss == "squared":
            return (rho - 1).square().mean()
        # Bounded near 0, where the logarithm would take over the loss.
        return rho.clamp(min=SMALLEST_RATIO).log().square().mean()

    def _check(self) -> None:
        if self.form not in list(self.measures):
            raise ValueError(
                f"{type(self).__name__}: form must be one of {list(self.measures)}, "
                f"got {self.form!r}."
            )


class SpectralPenalty(_PairPenalty):
    """Spectral independence of mechanisms that share a hidden map.

    Parameters
    ----------
    form : {"pooled", "triplet", "full", "activation"}, default="pooled"
        Which ratio is drawn to 1, see
        :func:`~sklearn_icm.independence.spectral_ratio`.
    loss : {"log", "squared"}, default="log"
        Distance from independence: ``(log rho)^2`` or ``(rho - 1)^2`` of each ratio.

    Notes
    -----
    "log" takes twice the power for as bad as half of it. "squared" punishes large
    ratios more and small ones less, and for triplets it is much faster: the sum over
    all of them has a closed form whose cost grows with the number of kernels, not of
    triplets, and it needs a fraction of the memory.

    The value is the mean over ratios of that distance, then over pairs. At fresh
    default decoders it is 0.02 to 0.08 in the pooled and the activation form, 0.04 to
    0.1 in the triplet form and below 0.04 in the full form (0.6 was seen after training
    without it). Beside a loss per feature, weights from 0.1 to 10 matter.
    """

    measures = {form: (measure,) for form, measure in SPECTRAL.items()}
    losses = ("log", "squared")

    def __init__(self, form="pooled", *, loss="log"):
        self.form = form
        self.loss = loss

    def _of_pair(self, measure: Measure, pair: MechanismPair) -> Tensor:
        if (self.form, self.loss) == ("triplet", "squared"):
            return measure.mean_square_excess(pair)
        return super()._of_pair(measure, pair)

    def _check(self) -> None:
        super()._check()
        if self.loss not in self.losses:
            raise ValueError(
                f"SpectralPenalty: loss must be one of {list(self.losses)}, got "
                f"{self.loss!r}."
            )


class TracePenalty(_PairPenalty):
    """Trace condition of mechanisms that share a hidden vector.

    Parameters
    ----------
    form : {"weights", "activation"}, default="weights"
        The covariance of the hidden node is that of the earlier weights at white
        input (hidden units are scaled to unit input weights first) or, for
        "activation", that of the node's values.

    Notes
    -----
    See :func:`~sklearn_icm.independence.trace_ratio` for formula and source. The value
    is the mean over pairs of ``(log rho)^2``, about 0.001 at a fresh dense decoder and
    1 after training without it, so that weights from 0.01 to 1 matter.
    """

    measures = {form: (measure,) for form, measure in TRACE.items()}

    def __init__(self, form="weights"):
        self.form = form


class NoisePenalty(PenaltyValue):
    """Independence of the noise of columns: of what they read, and of other noise.

    Notes
    -----
    Each mechanism's residual is compared with the values of its parents (where it has
    some) and with the residuals of the other columns, by the normalised Hilbert-Schmidt
    independence criterion: 0 if they are independent, 1 if they tell each other. The
    value is the mean over these, which ``GraphGenerator.independence(X)`` lists.
    Neither units nor the size of the noise matter. Gaussian kernels are of random
    features, drawn anew for each batch, and as wide as the median distance of
    neighbouring rows of the batch. Chance gives about 0.03 in batches of 128 rows and
    0.2 in those of 16, so that small batches tell little. Beside losses of about 0.5
    per column, weights from 1 to 30 matter in tables of five columns.

    Left out is noise that no formula gives: of columns of levels, of "energy"
    mechanisms and of unobserved nodes (values of all of them are read, though, where
    they are parents). Rows in which a column or what it reads is missing, or made by
    another mechanism, are left out too.

    References
    ----------
    Mooij, Janzing, Peters, Schölkopf (2009), *Regression by dependence minimization and
    its application to causal inference in additive noise models*, ICML. Greenfeld,
    Shalit (2020), *Robust learning with the Hilbert-Schmidt independence criterion*,
    arXiv 1910.00270 (right mechanisms are found under any shift of the parents).
    """

    def __call__(self, step: Step) -> Tensor:
        """Mean dependence of noise in a batch's node values, a 0-d tensor."""
        nodes, batch = self.values_of(step), step.batch
        (root,) = step.graph.roots
        read = noise_read(step.graph)
        noise = nodes[root][:, [place for place, _ in read.values()]]
        names = list(dict.fromkeys(p for _, parents in read.values() for p in parents))
        if not names:
            return noise.new_zeros(())
        reads = [
            [float(k in parents) for k in names for _ in range(nodes[k].shape[1])]
            for _, parents in read.values()
        ]
        values = torch.cat([nodes[name] for name in names], 1)
        if batch is None:
            batch = Batch(values, torch.Generator().manual_seed(0))
        found = batch_dependences(noise, values, torch.tensor(reads), batch)
        n_found = sum(bool(p) for _, p in read.values()) + len(read) * (len(read) > 1)
        return torch.cat(found).sum() / n_found

    def applies_to(self, graph: MechanismGraph) -> bool:
        """Whether a column with noise of its own reads others."""
        return any(parents for _, parents in noise_read(graph).values())


class AutoPenalty(_PairPenalty):
    """Pooled spectral penalty at hidden maps, trace penalty at hidden vectors.

    In a graph of columns it is the noise penalty.
    """

    measures = {"weights": (TRACE["weights"], SPECTRAL["pooled"])}

    def __call__(self, step: Step) -> Tensor:
        """Penalty of a graph, a differentiable 0-d tensor; 0 where it sees nothing."""
        noise = NoisePenalty()
        return noise(step) if noise.applies_to(step.graph) else super().__call__(step)

    def applies_to(self, graph: MechanismGraph) -> bool:
        """Whether the graph has something that one of them can see."""
        return NoisePenalty().applies_to(graph) or super().applies_to(graph)


class SumPenalty(PenaltyValue):
    """Weighted sum of penalties, each of them logged.

    Parameters
    ----------
    penalties : list of penalties
        Callables ``penalty(step) -> 0-d tensor``, see `Step`.
    weights : list of float, default=None
        One per penalty, at least 0; None weighs all by 1. Penalties of weight 0 are
        switched off: neither checked nor logged.

    Examples
    --------
    >>> SumPenalty([SpectralPenalty(), TracePenalty()], weights=[1.0, 0.1])
    SumPenalty(penalties=[SpectralPenalty(), TracePenalty()], weights=[1.0, 0.1])
    """

    def __init__(self, penalties, weights=None):
        self.penalties = penalties
        self.weights = weights

    def get_params(self, deep=True):
        """Parameters; deep ones are the penalties, ``0``, and theirs, ``0__form``.

        Parameters
        ----------
        deep : bool
        """
        params = super().get_params(deep=False)
        if deep and _is_list(self.penalties):
            for k, penalty in enumerate(self.penalties):
                params[str(k)] = penalty
                if hasattr(penalty, "get_params") and not isinstance(penalty, type):
                    own = penalty.get_params().items()
                    params |= {f"{k}__{name}": value for name, value in own}
        return params

    def set_params(self, **params):
        """Set parameters; ``0`` is the first penalty, ``0__form`` its form.

        Parameters
        ----------
        **params : dict
        """
        own = {key: params[key] for key in params if key in ("penalties", "weights")}
        super().set_params(**own)
        # Whole penalties before the parameters that they may have.
        for key in sorted(params.keys() - own.keys(), key=lambda key: "__" in key):
            position, _, name = key.partition("__")
            known = position.isdigit() and int(position) < len(self.penalties)
            if not known:
                raise ValueError(
                    f"SumPenalty has no parameter {key!r}: its penalties are numbered "
                    f"from 0 to {len(self.penalties) - 1}."
                )
            if name:
                self.penalties[int(position)].set_params(**{name: params[key]})
            else:
                self.penalties = list(self.penalties)
                self.penalties[int(position)] = params[key]
        return self

    def __call__(self, step: Step) -> Tensor:
        """Weighted sum, a differentiable 0-d tensor."""
        return self.weighted(self.terms(step))

    def weighted(self, terms: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the values that `terms` returns."""
        weights = [weight for _, weight, _ in self.active()]
        parts = (w * v for w, v in zip(weights, terms.values(), strict=True))
        return sum(parts, start=torch.zeros(()))

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Value of each penalty before it is weighted, by position and name."""
        return {
            f"{k} {type(penalty).__name__}": call_penalty(penalty, step)
            for k, _, penalty in self.active()
        }

    def applies_to(self, graph: MechanismGraph) -> bool:
        """Whether each of the penalties that count can see something in the graph."""
        return self.blind_part(graph) is None

    def blind_part(self, graph: MechanismGraph) -> Any:
        """First of the penalties that count which sees nothing in the graph, or None.

        Without any that counts it is the sum itself.
        """
        active = self.active()
        blind = (blind_part(penalty, graph) for *_, penalty in active)
        found = next((part for part in blind if part is not None), None)
        return found if active else self

    def active(self) -> list[tuple[int, float, Any]]:
        """Position, weight and penalty of those that count."""
        numbered = enumerate(zip(self._weights(), self.penalties, strict=True))
        return [(k, weight, penalty) for k, (weight, penalty) in numbered if weight > 0]

    def _weights(self) -> list[float]:
        penalties = self.penalties
        listed = isinstance(penalties, (list, tuple)) and len(penalties) > 0
        if not listed or not all(callable(p) for p in penalties):
            raise TypeError(
                "SumPenalty: penalties must be a non-empty list of penalty objects, "
                f"such as [SpectralPenalty(), TracePenalty()], got {penalties!r}."
            )
        weights = [1.0] * len(penalties) if self.weights is None else self.weights
        listed = isinstance(weights, (list, tuple, np.ndarray))
        ok = listed and len(weights) == len(penalties)
        if not ok or not all(
            isinstance(w, Real) and 0 <= w < math.inf for w in weights
        ):
            raise ValueError(
                f"SumPenalty: weights must be {len(self.penalties)} finite numbers "
                f">= 0 (one per penalty, at least one), got {self.weights!r}."
            )
        return list(weights)


def blind_part(penalty: Any, graph: MechanismGraph) -> Any:
    """The penalty, or the part of a sum, that sees nothing in a graph; else None."""
    if isinstance(penalty, SumPenalty):
        return penalty.blind_part(graph)
    sees = getattr(penalty, "applies_to", lambda graph: True)
    return None if sees(graph) else penalty


def call_penalty(penalty: Any, step: Step) -> Tensor:
    """Call a penalty, which may not write into the values that it sees."""
    nodes = step.nodes or {}
    before = versions(nodes.values())
    # A dict of its own; the loss, and other penalties, read the same tensors.
    result = penalty(step._replace(nodes=dict(nodes) or None))
    if versions(nodes.values()) != before:
        raise ValueError(
            f"The penalty {penalty!r} wrote into the values of nodes, which others "
            "read: clone what it changes in place."
        )
    if not isinstance(result, Tensor) or result.ndim:
        got = type(result).__name__
        if isinstance(result, Tensor):
            got += f" of shape {tuple(result.shape)}"
        raise TypeError(f"{penalty!r} returned {got}")
    return result


PENALTIES = {
    "auto": AutoPenalty,
    "noise": NoisePenalty,
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
            f"penalty(step) -> 0-d tensor, or None, got {penalty!r}."
        )
    return penalty


@torch.no_grad()
def checked_penalty(penalty: Any, graph: MechanismGraph, weight: float) -> Any:
    """Penalty for a name, or the object itself, once it was called on a graph.

    So that a wrong one is refused before training starts.
    """
    penalty = resolve_penalty(penalty)
    if not math.isfinite(weight):
        raise ValueError(f"icm_weight must be finite, got {weight!r}.")
    if penalty is None or weight == 0:
        return penalty
    blind = blind_part(penalty, graph)
    if blind is not None:
        # Not a hidden node is missing where no operator was found.
        of_pairs = isinstance(blind, _PairPenalty) and not is_of_columns(graph)
        known = AutoPenalty.measures["weights"]
        unread = unmeasured(mechanism_pairs(graph), known) if of_pairs else ()
        why = f"It cannot read {'; '.join(unread)}." if unread else NEEDED
        raise ValueError(
            f"icm_weight={weight} has no effect by {blind!r}: it sees nothing in a "
            f"graph with the nodes {graph.nodes}. {why} icm_weight=0 (in a sum: a "
            "weight of 0) switches it off."
        )
    device = tensor_of(graph).device
    start = torch.Generator().manual_seed(0)
    noise = {
        name: torch.randn(8, *shape, generator=start).to(device)
        for name, shape in graph.roots.items()
    }
    nodes = graph(noise)
    batch = Batch(nodes[graph.data_node], start)
    try:
        value = call_penalty(penalty, Step(graph, nodes, batch))
    except (AttributeError, TypeError) as error:
        raise TypeError(
            "icm_penalty must be a callable penalty(step) of one argument, with "
            "step.graph, step.nodes and step.batch, that returns a 0-d tensor, got "
            f"{penalty!r}, which fails: {error}."
        ) from error
    if not bool(torch.isfinite(value)):
        raise ValueError(
            f"icm_penalty={penalty!r} is {float(value)} before training has started."
        )
    return penalty
