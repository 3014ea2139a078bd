"""The table of `est.independence()`."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch

from ..exceptions import DegenerateMechanismWarning
from ..mechanisms import MechanismGraph
from ._pairs import MechanismPair, mechanism_pairs

# Below this spread over the group no data could have moved rho away from 1.
DEGENERATE_SD = 1e-3


def independence_table(
    graph: MechanismGraph, n_draws: int, generator: torch.Generator
) -> pd.DataFrame:
    """One row per pair of successive mechanisms; columns as in `independence`."""
    rows = [_row(pair, n_draws, generator) for pair in mechanism_pairs(graph)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    degenerate = table.loc[table["degenerate"].astype(bool), "pair"]
    if len(degenerate):
        warnings.warn(DegenerateMechanismWarning(degenerate), stacklevel=3)
    return table


COLUMNS = [
    "pair",
    "measure",
    "rho",
    "power_ratio",
    "anisotropy_in",
    "anisotropy_out",
    "null_sd",
    "z",
    "p_value",
    "degenerate",
]


def _row(pair: MechanismPair, n_draws: int, generator: torch.Generator) -> dict:
    w1, w2 = (w.detach().double().cpu() for w in pair.weights())
    measure = pair.measure(w1, w2)
    rho = float(measure.rho.mean())
    sd = float(measure.null_sd.square().sum().sqrt() / len(measure.rho))
    degenerate = sd < DEGENERATE_SD
    p_value = np.nan
    if n_draws and not degenerate:
        p_value = _two_sided(rho, pair.null_draws(n_draws, generator).numpy())
    return {
        "pair": pair.name,
        "measure": pair.measure_name,
        "rho": rho,
        "power_ratio": 1 / rho if rho > 0 else np.inf,
        "anisotropy_in": float(measure.anisotropy_in.mean()),
        "anisotropy_out": float(measure.anisotropy_out.mean()),
        "null_sd": sd,
        "z": np.nan if degenerate else (rho - 1) / sd,
        "p_value": p_value,
        "degenerate": degenerate,
    }


def _two_sided(rho: float, draws: np.ndarray) -> float:
    tolerance = 1e-9 * max(1.0, abs(rho))
    above = (1 + np.sum(draws >= rho - tolerance)) / (1 + len(draws))
    below = (1 + np.sum(draws <= rho + tolerance)) / (1 + len(draws))
    return float(min(1.0, 2 * min(above, below)))
