"""The one table of how generic successive mechanisms are, and how sure that is."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import false_discovery_control
from torch import Tensor

from ..exceptions import DegenerateMechanismWarning, UnreadMechanismWarning
from ..interventions import Scale
from ..interventions._checks import kind_of
from ..interventions._groups import Group
from ..mechanisms import LinearOperator, MechanismGraph
from ..mechanisms._modules import tensor_of
from ..utils.checks import check_scalar
from ._common import as_tensors, refuse_all_zero
from ._generic import GenericMeasure, as_values, response, seeded
from ._pairs import (
    Measure,
    MechanismPair,
    as_measures,
    measure_of,
    mechanism_pairs,
    unmeasured,
)
from ._spectral import SPECTRAL
from ._trace import TRACE

# The first that applies to a pair is taken.
MEASURES = {
    "weights": (TRACE["weights"], SPECTRAL["pooled"]),
    "triplet": (TRACE["weights"], SPECTRAL["triplet"]),
    "full": (TRACE["weights"], SPECTRAL["full"]),
    "activation": (TRACE["activation"], SPECTRAL["activation"]),
}
# Below this change of its output a mechanism ignores the hidden node.
DEGENERATE_RESPONSE = 1e-3
N_RESPONSE_DRAWS = 4
# The one change that a single unit allows; a random rotation may be none.
NEGATION = Group("negate", lambda shape, generator: Scale(-1))
NO_WEIGHTS = "a pair (f, v) has no weights"
NO_VALUES = "a pair of weights has no mechanism that a group or contrast acts through"

COLUMNS = [
    "pair",
    "measure",
    "power_change",
    "low",
    "high",
    "rho",
    "anisotropy_in",
    "anisotropy_out",
    "response",
    "p_value",
    "p_adjusted",
    "degenerate",
]


def independence_table(
    graph: MechanismGraph,
    nodes: Mapping[str, Tensor] | None = None,
    *,
    measure: Any = "weights",
    n_draws: int | None = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per pair of successive mechanisms that a measure applies to.

    Parameters
    ----------
    graph : MechanismGraph
    nodes : dict of str to Tensor, optional
        Values of the nodes, for the response and measures of values.
    measure : str, Measure, or list of them
        A key of `MEASURES`, or a measure of one's own.
    n_draws : int or None
        Null draws per pair; None for as many as each measure takes.
    seed : int
        Of the draws.
    """
    measures = as_measures(measure, MEASURES)
    if nodes is not None:
        nodes = {name: value.detach() for name, value in nodes.items()}
    pairs = list(mechanism_pairs(graph, nodes))
    left_out = unmeasured(pairs, measures)
    if left_out:
        warnings.warn(UnreadMechanismWarning(left_out), stacklevel=3)
    return _table(_rows(pairs, measures, n_draws, seed))


def genericity_test(
    model: Any,
    X: Any = None,
    *,
    measure: Any = None,
    n_draws: int = 999,
    n_samples: int = 256,
    random_state: int | np.random.RandomState | None = 0,
) -> pd.DataFrame:
    r"""Test genericity of mechanisms: is C(f(v)) unusual among C(f(g v))?

    Parameters
    ----------
    model : fitted generator, or a pair
        A generator is tested at every pair of successive mechanisms. A pair is
        ``(w1, w2)`` of weights, earlier first (matrices, or kernels as
        `spectral_ratio` takes them), or ``(f, v)``: a torch callable and values of its
        input, (n, ``*node_shape``).
    X : array-like of shape (n_samples, n_features), optional
        Rows whose hidden values are used; None draws `n_samples` from the prior. Only
        for a generator.
    measure : str, Measure, or list of them, optional
        As ``independence()`` of a generator takes it: "weights" by default, the closed
        forms. Of a pair (f, v) it is `GenericMeasure`, rotations and the power, for
        other groups and contrasts too.
    n_draws : int
        Random group elements per pair; p-values are at least ``2 / (n_draws + 1)``.
    n_samples : int
    random_state : int, RandomState or None

    Returns
    -------
    DataFrame
        The table of a generator's ``independence()``, one row per pair: ``pair``,
        ``measure``, ``power_change`` (``1 / rho - 1``: the share of the power, or
        contrast, that a random group element gains, or loses if negative), ``low`` and
        ``high`` (95 % of what it is after random group elements), ``rho``,
        ``anisotropy_in`` and ``anisotropy_out`` (by weights alone), ``response``
        (relative change of the output under the group; NaN where only weights are
        known), two-sided ``p_value``, ``p_adjusted`` (Benjamini-Hochberg over the
        pairs), ``degenerate`` (no response, or no spread under the group; then there
        is no band and no p-value).

    Notes
    -----
    The p-value is the two-sided rank of the observed value among the draws, ties
    counted; it is uniform if the law of the mechanisms is invariant under the group
    (and conservative for small finite groups, whose draws repeat). An output that
    ignores the group's action passes every test: read the response.

    Warns
    -----
    DegenerateMechanismWarning
        For pairs without a response, or whose ratio the group does not change.
    UnreadMechanismWarning
        For pairs of a generator whose weights cannot be measured.

    References
    ----------
    Besserve, Shajarisales, Schölkopf, Janzing (2018), *Group invariance principles for
    causal generative models*, arXiv 1705.02212. Benjamini, Hochberg (1995),
    *Controlling the false discovery rate*, JRSS B 57.

    Examples
    --------
    >>> import numpy as np
    >>> aligned = np.diag(np.linspace(0.1, 3.0, 8))
    >>> genericity_test((aligned, aligned), n_draws=199)["p_value"].item()
    0.01
    """
    check_scalar(n_draws, "n_draws", numbers.Integral, min_val=1)
    check_scalar(n_samples, "n_samples", numbers.Integral, min_val=2)
    generator = seeded(random_state)
    if not isinstance(model, tuple):
        graph, nodes, seed = _nodes_of(model, X, n_samples, generator)
        measure = "weights" if measure is None else measure
        return independence_table(
            graph, nodes, measure=measure, n_draws=n_draws, seed=seed
        )
    if X is not None:
        raise ValueError("X is for a fitted generator; a pair has its own values.")
    if len(model) != 2:
        raise ValueError(f"A pair has two members, got {len(model)}.")
    of_values = callable(model[0])
    if measure is None:
        measure = GenericMeasure() if of_values else "weights"
    pair = (_pair_of_values if of_values else _pair_of_weights)(*model)
    measures = as_measures(measure, MEASURES)
    left_out = unmeasured([pair], measures)
    if left_out:
        raise ValueError(f"The pair cannot be measured: {left_out[0]}.")
    return _table(_rows([pair], measures, n_draws, generator.initial_seed()))


def _pair_of_values(f: Any, v: Any) -> MechanismPair:
    v = as_values(f, v)
    shape = tuple(v.shape[1:])
    return MechanismPair(
        *("v", "f(v)", shape, kind_of(shape)), f=f, hidden=v, unread=NO_WEIGHTS
    )


def _nodes_of(
    model: Any, X: Any, n_samples: int, generator: torch.Generator
) -> tuple[MechanismGraph, dict[str, Tensor], int]:
    """Graph of a generator, values of its nodes, and a seed."""
    if not hasattr(model, "graph_") or not hasattr(model, "node_values"):
        raise TypeError(
            "genericity_test needs a fitted generator, or a pair (w1, w2) or (f, v), "
            f"got {type(model).__name__}."
        )
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    draws = {"n_samples": n_samples, "random_state": seed} if X is None else {}
    device = tensor_of(model.graph_).device
    values = model.node_values(X, **draws).items()
    return model.graph_, {k: torch.from_numpy(v).to(device) for k, v in values}, seed


def _pair_of_weights(w1: Any, w2: Any) -> MechanismPair:
    t1, t2 = (t.detach().double() for t in as_tensors(w1, w2))
    if t1.ndim != t2.ndim or t1.ndim < 2 or t1.shape[0] != t2.shape[1]:
        raise ValueError(
            "w1 must be (hidden, in, *kernel) and w2 (out, hidden, *kernel), got "
            f"{tuple(t1.shape)} and {tuple(t2.shape)}."
        )
    if 0 in t1.shape or 0 in t2.shape:
        raise ValueError("The weights of a pair must not be empty.")
    refuse_all_zero(w1=t1, w2=t2)
    n_axes = t1.ndim - 2
    # Kernels do not say how large the map is; no measure of kernels needs it.
    node_shape = (t1.shape[0], *(1,) * n_axes)
    first, second = (LinearOperator(t, (1,) * n_axes, (1,) * n_axes) for t in (t1, t2))
    names = ("w1", "w2", node_shape, kind_of(node_shape))
    return MechanismPair(*names, first, second, unread=NO_VALUES, normalises=False)


def _rows(
    pairs: Iterable[MechanismPair],
    measures: Sequence[Measure],
    n_draws: int | None,
    seed: int,
) -> list[dict]:
    found = ((measure_of(pair, measures), pair) for pair in pairs)
    return [_row(m, pair, n_draws, seed) for m, pair in found if m is not None]


@torch.no_grad()
def _row(measure: Measure, pair: MechanismPair, n_draws: int | None, seed: int) -> dict:
    moved = _response(measure, pair, seed)
    is_ignored = moved < DEGENERATE_RESPONSE
    n_draws = measure.n_draws if n_draws is None else n_draws
    generator = torch.Generator().manual_seed(seed)
    found = measure.measured(pair.double(), 0 if is_ignored else n_draws, generator)
    rho, draws = float(found.rho.mean()), found.draws
    if draws is not None:
        draws = draws.double().cpu().numpy()
    sides = {
        "anisotropy_in": found.anisotropy_in,
        "anisotropy_out": found.anisotropy_out,
    }
    return {
        "pair": pair.name,
        "measure": measure.name,
        **{k: float(side.mean()) for k, side in sides.items() if side is not None},
        "response": moved,
        **_ranked(pair.name, rho, draws),
        "degenerate": is_ignored or found.is_isotropic,
    }


def _ranked(name: str, rho: float, draws: np.ndarray | None) -> dict:
    """The ratio, and its place among those after random group elements."""
    if not np.isfinite([rho, *(() if draws is None else draws)]).all():
        raise ValueError(
            f"The ratios of the pair {name!r} are not finite: check its weights or "
            "values."
        )
    place = {"rho": rho, "power_change": float(_change(rho))}
    if draws is not None:
        place["low"], place["high"] = np.quantile(_change(draws), [0.025, 0.975])
        place["p_value"] = two_sided_p_value(rho, draws)
    return place


def _change(rho: float | np.ndarray) -> np.ndarray:
    """What a random group element gains, as a share; infinite from nothing."""
    rho = np.asarray(rho)
    return np.divide(1, rho, out=np.full(rho.shape, np.inf), where=rho > 0) - 1


def _table(rows: list[dict]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=COLUMNS)
    degenerate = table["degenerate"].astype(bool)
    table.loc[degenerate, ["low", "high", "p_value"]] = np.nan
    known = table["p_value"].notna()
    if known.any():
        p_values = table.loc[known, "p_value"].astype(float)
        table.loc[known, "p_adjusted"] = false_discovery_control(p_values)
    if degenerate.any():
        pairs = table.loc[degenerate, "pair"]
        warnings.warn(DegenerateMechanismWarning(pairs), stacklevel=4)
    return table


def _response(measure: Measure, pair: MechanismPair, seed: int) -> float:
    """Relative change of the later mechanism's output when its input is changed."""
    if pair.f is None or pair.hidden is None:
        return np.nan
    group = measure.group
    if group is None:
        group = "orthogonal" if pair.node_shape[0] > 1 else NEGATION
    options = {"n_draws": N_RESPONSE_DRAWS, "random_state": seed}
    return float(response(pair.f, pair.hidden, group, **options))


def two_sided_p_value(rho: float, draws: np.ndarray) -> float:
    """Rank of rho among null draws, ties counted with a tolerance."""
    tolerance = 1e-9 * max(1.0, abs(rho))
    above = (1 + np.sum(draws >= rho - tolerance)) / (1 + len(draws))
    below = (1 + np.sum(draws <= rho + tolerance)) / (1 + len(draws))
    return float(min(1.0, 2 * min(above, below)))
