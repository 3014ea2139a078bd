"""Test whether successive mechanisms are generic with respect to each other."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import false_discovery_control
from torch import Tensor

from ..exceptions import DegenerateMechanismWarning
from ..mechanisms import LinearOperator, tensor_of
from ..utils.checks import check_scalar
from ._common import as_tensors, refuse_all_zero
from ._contrasts import Power
from ._generic import (
    _check_parts,
    _generator,
    _node_values,
    contrasts_over_group,
    ratio_to_mean,
    response,
)
from ._groups import Orthogonal
from ._pairs import MechanismPair, mechanism_pairs
from ._report import DEGENERATE_RESPONSE, response_of_pair, two_sided_p_value

N_RESPONSE_DRAWS = 8
ROUNDING = 1e-9


@dataclass(frozen=True)
class GenericityResult:
    """Result of `genericity_test`.

    Parameters
    ----------
    table : DataFrame
        One row per pair: ``pair``, ``measure``, ``rho``, ``response`` (relative change
        of the output under the group; NaN where only weights are known), ``z``,
        two-sided ``p_value``, ``p_adjusted`` (Benjamini-Hochberg over the pairs),
        ``degenerate`` (no response, or no spread under the group).
    null_draws : dict of str to ndarray of shape (n_draws,)
        Ratios after random group elements, by pair.
    """

    table: pd.DataFrame
    null_draws: dict[str, np.ndarray] = field(repr=False)


def genericity_test(
    model: Any,
    X: Any = None,
    *,
    group: Any = None,
    contrast: Any = None,
    n_draws: int = 999,
    n_samples: int = 256,
    random_state: int | np.random.RandomState | None = 0,
) -> GenericityResult:
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
        output. With neither, closed forms on the weights: rotations of hidden vectors
        and the trace condition; rotations of the later mechanism's taps at hidden maps
        and the spectral ratio. With one of them, the other is `Orthogonal` or `Power`.
    n_draws : int
        Random group elements per pair; p-values are at least ``2 / (n_draws + 1)``.
    n_samples : int
    random_state : int, RandomState or None

    Returns
    -------
    GenericityResult

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

    References
    ----------
    Besserve, Shajarisales, Schölkopf, Janzing (2018), *Group invariance principles for
    causal generative models*, arXiv 1705.02212. Benjamini, Hochberg (1995),
    *Controlling the false discovery rate*, JRSS B 57.

    Examples
    --------
    >>> import numpy as np
    >>> aligned = np.diag(np.linspace(0.1, 3.0, 8))
    >>> genericity_test((aligned, aligned), n_draws=199).table["p_value"].item()
    0.01
    """
    check_scalar(n_draws, "n_draws", numbers.Integral, min_val=1)
    check_scalar(n_samples, "n_samples", numbers.Integral, min_val=2)
    generator = _generator(random_state)
    rows, null_draws = [], {}
    for name, tested in _cases(model, X, group, contrast, n_samples, generator):
        measure, rho, draws, moved = tested(n_draws, generator)
        if not np.isfinite([rho, *draws]).all():
            raise ValueError(
                f"The ratios of {name!r} are not finite: check its weights or values."
            )
        sd = draws.std()
        seen = sd > ROUNDING * abs(rho)
        null_draws[name] = draws
        rows.append(
            {
                "pair": name,
                "measure": measure,
                "rho": rho,
                "response": moved,
                "z": (rho - draws.mean()) / sd if seen else np.nan,
                "p_value": two_sided_p_value(rho, draws),
                "degenerate": bool(moved < DEGENERATE_RESPONSE or not seen),
            }
        )
    columns = ["pair", "measure", "rho", "response", "z", "p_value", "degenerate"]
    table = pd.DataFrame(rows, columns=columns)
    adjusted = false_discovery_control(table["p_value"]) if len(table) else []
    table.insert(6, "p_adjusted", adjusted)
    degenerate = table.loc[table["degenerate"].astype(bool), "pair"]
    if len(degenerate):
        warnings.warn(DegenerateMechanismWarning(degenerate), stacklevel=2)
    return GenericityResult(table, null_draws)


def _cases(
    model: Any, X: Any, group: Any, contrast: Any, n_samples: int, generator: Any
) -> Iterator[tuple[str, Any]]:
    """Names of the pairs and functions that test them."""
    by_weights = group is None and contrast is None
    group = Orthogonal() if group is None else group
    contrast = Power() if contrast is None else contrast
    _check_parts(None, group, contrast, 1)
    if isinstance(model, tuple):
        if len(model) != 2:
            raise ValueError(f"A pair has two members, got {len(model)}.")
        if X is not None:
            raise ValueError("X is for a fitted generator; a pair has its own values.")
        if callable(model[0]):
            f, v = model
            yield "pair", _test_of_values(f, _node_values(f, v, group), group, contrast)
        elif by_weights:
            yield "pair", _test_of_weights(_pair_of_weights(*model), None, None)
        else:
            raise ValueError(
                "A group or contrast needs a mechanism to act through: give the pair "
                "(f, v) of a torch callable and values of its input, not weights."
            )
        return
    if not hasattr(model, "graph_") or not hasattr(model, "node_values"):
        raise TypeError(
            "genericity_test needs a fitted generator, or a pair (w1, w2) or (f, v), "
            f"got {type(model).__name__}."
        )
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    draws = {"n_samples": n_samples, "random_state": seed} if X is None else {}
    values = model.node_values(X, **draws)
    graph = model.graph_
    device = tensor_of(graph).device
    for pair in mechanism_pairs(graph):
        hidden = torch.from_numpy(values[pair.first]).to(device)
        f = graph.mechanism(pair.second)
        if by_weights:
            yield pair.name, _test_of_weights(pair, f, hidden)
        else:
            yield pair.name, _test_of_values(f, hidden, group, contrast)


def _test_of_weights(pair: MechanismPair, f: Any, hidden: Tensor | None) -> Any:
    def test(n_draws: int, generator: torch.Generator) -> tuple:
        exact = pair.double()
        rho = float(exact.measure().rho.mean())
        draws = exact.null_draws(n_draws, generator).numpy()
        moved = np.nan
        if f is not None:
            moved = response_of_pair(f, hidden)
        return pair.measure_name, rho, draws, moved

    return test


def _test_of_values(f: Any, v: Tensor, group: Any, contrast: Any) -> Any:
    @torch.no_grad()
    def test(n_draws: int, generator: torch.Generator) -> tuple:
        group.check(tuple(v.shape[1:]))
        observed, draws = contrasts_over_group(
            f, v, group, contrast, n_draws, generator
        )
        rho, mean = float(ratio_to_mean(observed, draws)), draws.mean()
        null = torch.stack([ratio_to_mean(d, mean[None]) for d in draws])
        name = f"{type(group).__name__}, {_name_of(contrast)}"
        return name, rho, null.double().cpu().numpy(), _response(f, v, group)

    return test


@torch.no_grad()
def _response(f: Any, v: Tensor, group: Any) -> float:
    return float(response(f, v, group, n_draws=N_RESPONSE_DRAWS, random_state=0))


def _name_of(contrast: Any) -> str:
    return getattr(contrast, "__name__", type(contrast).__name__)


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
