"""The table of `est.independence()`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..exceptions import DegenerateMechanismWarning, UnreadMechanismWarning
from ..mechanisms import MechanismGraph
from ._generic import response
from ._groups import Orthogonal
from ._pairs import MechanismPair, mechanism_pairs, unread_pairs
from ._spectral import FORMS

# Below this spread in every hidden channel nothing could have moved rho away from 1.
DEGENERATE_SD = 1e-4
# Below this change of its output a mechanism ignores the hidden node.
DEGENERATE_RESPONSE = 1e-3
N_RESPONSE_DRAWS = 8

COLUMNS = [
    "pair",
    "measure",
    "rho",
    "power_ratio",
    "anisotropy_in",
    "anisotropy_out",
    "response",
    "null_sd",
    "null_low",
    "null_high",
    "z",
    "p_value",
    "degenerate",
]


def independence_table(
    graph: MechanismGraph,
    nodes: Mapping[str, Tensor] | None = None,
    *,
    form: str = "weights",
    n_draws: int = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per pair of successive mechanisms.

    Parameters
    ----------
    graph : MechanismGraph
    nodes : dict of str to Tensor, optional
        Values of the nodes, for the response and the activation form.
    form : {"weights", "pooled", "triplet", "full", "activation"}
        "weights" is the pooled form.
    n_draws : int
        Random group elements per pair for the p-value.
    seed : int
        Of the draws.
    """
    forms = ("weights", *FORMS, "activation")
    if form not in forms:
        raise ValueError(f"form must be one of {list(forms)}, got {form!r}.")
    left_out = unread_pairs(graph)
    if left_out:
        warnings.warn(UnreadMechanismWarning(left_out), stacklevel=3)
    rows = [_row(p, graph, nodes, form, n_draws, seed) for p in mechanism_pairs(graph)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    degenerate = table.loc[table["degenerate"].astype(bool), "pair"]
    if len(degenerate):
        warnings.warn(DegenerateMechanismWarning(degenerate), stacklevel=3)
    return table


def _row(
    pair: MechanismPair,
    graph: MechanismGraph,
    nodes: Mapping[str, Tensor] | None,
    form: str,
    n_draws: int,
    seed: int,
) -> dict:
    hidden = None if nodes is None else nodes[pair.first].detach()
    exact = pair.double()
    measure = exact.measure(form, hidden=hidden, with_sd=False)
    rho, sd = float(measure.rho.mean()), float(measure.mean_null_sd)
    if not np.isfinite(rho):
        raise ValueError(
            f"The ratio of the pair {pair.name!r} is {rho}: its weights or values are "
            "not finite."
        )
    moved = np.nan
    if hidden is not None:
        moved = response_of_pair(graph.mechanism(pair.second), hidden, seed)
    isotropic = float(measure.channel_null_sd.max()) < DEGENERATE_SD
    degenerate = isotropic or moved < DEGENERATE_RESPONSE
    p_value = low = high = np.nan
    if n_draws and not degenerate:
        generator = torch.Generator().manual_seed(seed)
        draws = exact.null_draws(n_draws, generator, form=form, hidden=hidden).numpy()
        p_value = two_sided_p_value(rho, draws)
        low, high = np.quantile(draws, [0.025, 0.975])
    return {
        "pair": pair.name,
        "measure": pair.measure_name,
        "rho": rho,
        "power_ratio": 1 / rho if rho > 0 else np.inf,
        "anisotropy_in": float(measure.anisotropy_in.mean()),
        "anisotropy_out": float(measure.anisotropy_out.mean()),
        "response": moved,
        "null_sd": sd,
        "null_low": low,
        "null_high": high,
        "z": np.nan if degenerate else (rho - 1) / sd,
        "p_value": p_value,
        "degenerate": degenerate,
    }


@dataclass(frozen=True)
class _Negation:
    """The one change that a single unit allows; a random rotation may be none."""

    def check(self, node_shape: tuple[int, ...]) -> None:
        pass

    def draw(self, node_shape: tuple[int, ...], generator: torch.Generator) -> Any:
        return torch.neg


@torch.no_grad()
def response_of_pair(f: Any, hidden: Tensor, seed: int = 0) -> float:
    """Relative change of the later mechanism's output when its input is rotated."""
    group = Orthogonal() if hidden.shape[1] > 1 else _Negation()
    return float(
        response(f, hidden, group, n_draws=N_RESPONSE_DRAWS, random_state=seed)
    )


def two_sided_p_value(rho: float, draws: np.ndarray) -> float:
    """Rank of rho among null draws, ties counted with a tolerance."""
    tolerance = 1e-9 * max(1.0, abs(rho))
    above = (1 + np.sum(draws >= rho - tolerance)) / (1 + len(draws))
    below = (1 + np.sum(draws <= rho + tolerance)) / (1 + len(draws))
    return float(min(1.0, 2 * min(above, below)))
