"""Are the residuals of mechanisms independent, of their parents and of each other?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..independence import genericity_test, trace_ratio
from ..independence._hsic import hsic_test

__all__ = ["generic_row", "residual_table"]


def residual_table(
    families: Mapping[str, tuple[int, np.ndarray]],
    noise: np.ndarray,
    n_draws: int,
    rng: np.random.RandomState,
) -> pd.DataFrame:
    """Dependence of each column's noise on its parents and on the others' noise.

    ``families`` maps a column to its position and the values of its parents.
    """
    found = []
    for name, (k, parents) in families.items():
        sides = {"parents": parents, "noise": np.delete(noise, k, 1)}
        for against, values in sides.items():
            if values.shape[1]:
                test = hsic_test(noise[:, [k]], values, n_draws, rng)
                found.append((name, against, *test, len(noise)))
    columns = ["mechanism", "against", "dependence", "p_value", "n_rows"]
    return pd.DataFrame(found, columns=columns)


def generic_row(
    name: str,
    values: np.ndarray,
    readings: np.ndarray,
    n_draws: int,
    rng: np.random.RandomState,
) -> dict:
    """How generic the effects of an unobserved node read it, under rotations.

    Its values, (n_samples, n_dims), have the covariance that its own mechanism makes;
    readings, (n_readings, n_dims), are the first weights of the mechanisms behind it.
    """
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    scales, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(np.clip(scales, 0, None))
    rho, p_value = float(trace_ratio(readings, covariance)), np.nan
    if n_draws and values.shape[1] > 1:
        test = genericity_test((root, readings), n_draws=n_draws, random_state=rng)
        p_value = float(test["p_value"].item())
    return {
        "mechanism": name,
        "against": "effects",
        "dependence": abs(np.log(rho)),
        "p_value": p_value,
        "n_rows": len(values),
    }
