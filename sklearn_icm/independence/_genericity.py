"""Test whether successive mechanisms are generic with respect to each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import false_discovery_control
from torch import Tensor

from ..mechanisms import LinearOperator
from ._common import as_tensors
from ._contrasts import Power
from ._generic import _generator, contrasts_over_group, ratio_to_mean, response
from ._groups import Orthogonal
from ._pairs import MechanismPair, mechanism_pairs
from ._report import two_sided_p_value

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
        two-sided ``p_value``, ``p_adjusted`` (Benjamini-Hochberg over the pairs).
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
    counted; it is uniform if the law of the mechanisms is invariant under the group. An
    output that ignores the group's action passes every test: read the response.

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
    if n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, got {n_draws!r}.")
    generator = _generator(random_state)
    rows, null_draws = [], {}
    for name, tested in _cases(model, X, group, contrast, n_samples, generator):
        measure, rho, draws, moved = tested(n_draws, generator)
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
            }
        )
    columns = ["pair", "measure", "rho", "response", "z", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    adjusted = false_discovery_control(table["p_value"]) if len(table) else []
    return GenericityResult(table.assign(p_adjusted=adjusted), null_draws)


def _cases(
    model: Any, X: Any, group: Any, contrast: Any, n_samples: int, generator: Any
) -> Iterator[tuple[str, Any]]:
    """Names of the pairs and functions that test them."""
    by_weights = group is None and contrast is None
    group = Orthogonal() if group is None else group
    contrast = Power() if contrast is None else contrast
    if isinstance(model, tuple):
        if len(model) != 2:
            raise ValueError(f"A pair has two members, got {len(model)}.")
        if callable(model[0]):
            f, v = model
            yield "pair", _test_of_values(f, _as_values(v), group, contrast)
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
    device = next(graph.parameters()).device
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
            moved = _response(f, hidden, Orthogonal())
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


def _as_values(v: Any) -> Tensor:
    return v if isinstance(v, Tensor) else torch.as_tensor(np.asarray(v))


def _pair_of_weights(w1: Any, w2: Any) -> MechanismPair:
    t1, t2 = (t.detach().double() for t in as_tensors(w1, w2))
    if t1.ndim != t2.ndim or t1.ndim < 2 or t1.shape[0] != t2.shape[1]:
        raise ValueError(
            "w1 must be (hidden, in, *kernel) and w2 (out, hidden, *kernel), got "
            f"{tuple(t1.shape)} and {tuple(t2.shape)}."
        )
    n_axes = t1.ndim - 2
    # Kernels do not say how large the map is; no measure of kernels needs it.
    node_shape = (t1.shape[0], *(1,) * n_axes)
    first, second = (LinearOperator(t, (1,) * n_axes, (1,) * n_axes) for t in (t1, t2))
    return MechanismPair("w1", "w2", node_shape, first, second, normalises=False)
