"""The one table of how generic successive mechanisms are, and how sure that is."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import false_discovery_control
from torch import Tensor

from ..exceptions import DegenerateMechanismWarning, UnreadMechanismWarning
from ..interventions import Scale
from ..interventions._groups import Group
from ..mechanisms import LinearOperator, MechanismGraph
from ..mechanisms._modules import tensor_of
from ..utils.checks import check_scalar
from ._common import as_tensors, refuse_all_zero
from ._contrasts import power
from ._generic import (
    check_parts,
    contrasts_over_group,
    node_values,
    ratio_to_mean,
    response,
    seeded,
)
from ._pairs import MechanismPair, mechanism_pairs, unread_pairs
from ._spectral import FORMS

# Below this spread in every hidden channel nothing could have moved rho away from 1.
DEGENERATE_SD = 1e-4
# Below this change of its output a mechanism ignores the hidden node.
DEGENERATE_RESPONSE = 1e-3
N_RESPONSE_DRAWS = 4
N_NULL_DRAWS = 199
ROUNDING = 1e-9
# The one change that a single unit allows; a random rotation may be none.
NEGATION = Group("negate", lambda shape, generator: Scale(-1))

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
    form: str = "weights",
    n_draws: int | None = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per pair of successive mechanisms, by closed forms of their weights.

    Parameters
    ----------
    graph : MechanismGraph
    nodes : dict of str to Tensor, optional
        Values of the nodes, for the response and the activation form.
    form : {"weights", "pooled", "triplet", "full", "activation"}
        "weights" is the pooled form.
    n_draws : int or None
        Random group elements per pair for the null band; None for as many as are cheap.
    seed : int
        Of the draws.
    """
    forms = ("weights", *FORMS, "activation")
    if form not in forms:
        raise ValueError(f"form must be one of {list(forms)}, got {form!r}.")
    if n_draws is None:
        # Each draw of the full form costs a measure.
        n_draws = 0 if form == "full" else N_NULL_DRAWS
    left_out = unread_pairs(graph)
    if left_out:
        warnings.warn(UnreadMechanismWarning(left_out), stacklevel=3)
    rows = []
    for pair in mechanism_pairs(graph):
        hidden, moved = None, np.nan
        if nodes is not None:
            hidden = nodes[pair.first].detach()
            moved = _response_of_pair(graph.mechanism(pair.second), hidden, seed)
        rows.append(_row_of_weights(pair, hidden, moved, form, n_draws, seed))
    return _table(rows)


def genericity_test(
    model: Any,
    X: Any = None,
    *,
    group: Any = None,
    contrast: Any = None,
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
    group, contrast : optional
        Group that acts on the hidden values, and contrast of the later mechanism's
        output, as `generic_ratio` takes them. With neither, closed forms on the
        weights: rotations of hidden vectors and the trace condition; rotations of the
        later mechanism's taps at hidden maps and the spectral ratio. With one of them,
        the other is "orthogonal" or the power.
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
    by_weights = group is None and contrast is None
    group = "orthogonal" if group is None else group
    contrast = power if contrast is None else contrast
    check_parts(None, group, contrast, n_draws)
    generator = seeded(random_state)
    if isinstance(model, tuple):
        if X is not None:
            raise ValueError("X is for a fitted generator; a pair has its own values.")
        if by_weights and not callable(model[0]):
            pair, seed = _pair_of_weights(*_two(model)), generator.initial_seed()
            row = _row_of_weights(pair, None, np.nan, "weights", n_draws, seed)
            return _table([row])
        cases = [_values_of_pair(model)]
    else:
        graph, nodes, seed = _nodes_of(model, X, n_samples, generator)
        if by_weights:
            return independence_table(graph, nodes, n_draws=n_draws, seed=seed)
        cases = _values_of_graph(graph, nodes)
    return _table(
        [
            _row_of_values(name, f, v, group, contrast, n_draws, generator)
            for name, f, v in cases
        ]
    )


def _two(model: tuple) -> tuple:
    if len(model) != 2:
        raise ValueError(f"A pair has two members, got {len(model)}.")
    return model


def _values_of_pair(model: tuple) -> tuple[str, Any, Any]:
    f, v = _two(model)
    if not callable(f):
        raise ValueError(
            "A group or contrast needs a mechanism to act through: give the pair "
            "(f, v) of a torch callable and values of its input, not weights."
        )
    return "pair", f, v


def _values_of_graph(
    graph: MechanismGraph, nodes: Mapping[str, Tensor]
) -> Iterator[tuple[str, Any, Any]]:
    for pair in mechanism_pairs(graph):
        yield pair.name, graph.mechanism(pair.second), nodes[pair.first]


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
    return MechanismPair("w1", "w2", node_shape, first, second, normalises=False)


def _row_of_weights(
    pair: MechanismPair,
    hidden: Tensor | None,
    moved: float,
    form: str,
    n_draws: int,
    seed: int,
) -> dict:
    exact = pair.double()
    measure = exact.measure(form, hidden=hidden)
    isotropic = float(measure.null_sd.max()) < DEGENERATE_SD
    degenerate, draws = isotropic or moved < DEGENERATE_RESPONSE, None
    if n_draws and not degenerate:
        generator = torch.Generator().manual_seed(seed)
        draws = exact.null_draws(n_draws, generator, form=form, hidden=hidden).numpy()
    return {
        "pair": pair.name,
        "measure": pair.measure_name,
        "anisotropy_in": float(measure.anisotropy_in.mean()),
        "anisotropy_out": float(measure.anisotropy_out.mean()),
        "response": moved,
        "degenerate": degenerate,
        **_ranked(pair.name, float(measure.rho.mean()), draws),
    }


@torch.no_grad()
def _row_of_values(
    name: str,
    f: Any,
    v: Any,
    group: Any,
    contrast: Any,
    n_draws: int,
    generator: torch.Generator,
) -> dict:
    v, group = node_values(f, v, group)
    observed, draws = contrasts_over_group(f, v, group, contrast, n_draws, generator)
    rho, mean = float(ratio_to_mean(observed, draws)), draws.mean()
    null = torch.stack([ratio_to_mean(d, mean[None]) for d in draws])
    null = null.double().cpu().numpy()
    moved = float(response(f, v, group, n_draws=N_RESPONSE_DRAWS, random_state=0))
    return {
        "pair": name,
        "measure": f"{_name_of(group)}, {_name_of(contrast)}",
        "response": moved,
        "degenerate": not null.std() > ROUNDING * abs(rho)
        or moved < DEGENERATE_RESPONSE,
        **_ranked(name, rho, null),
    }


def _name_of(value: Any) -> str:
    return getattr(value, "name", getattr(value, "__name__", type(value).__name__))


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


@torch.no_grad()
def _response_of_pair(f: Any, hidden: Tensor, seed: int = 0) -> float:
    """Relative change of the later mechanism's output when its input is rotated."""
    group = "orthogonal" if hidden.shape[1] > 1 else NEGATION
    return float(
        response(f, hidden, group, n_draws=N_RESPONSE_DRAWS, random_state=seed)
    )


def two_sided_p_value(rho: float, draws: np.ndarray) -> float:
    """Rank of rho among null draws, ties counted with a tolerance."""
    tolerance = 1e-9 * max(1.0, abs(rho))
    above = (1 + np.sum(draws >= rho - tolerance)) / (1 + len(draws))
    below = (1 + np.sum(draws <= rho + tolerance)) / (1 + len(draws))
    return float(min(1.0, 2 * min(above, below)))
