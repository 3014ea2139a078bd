"""Columns of a table: their containers, and how far they may be set."""

import warnings

import numpy as np
import pandas as pd

from ..exceptions import FarInterventionWarning
from ..interventions import Do, Shift, as_intervention

__all__ = [
    "are_names",
    "check_known",
    "plain_columns",
    "refuse_missing",
    "set_numbers",
    "warn_if_far",
]

# Standard deviations outside the fitted range at which a do-intervention is far.
FAR = 3.0


def plain_columns(X):
    """A DataFrame with names that are no positions, and numbers that are no objects.

    Anything else is returned as it is.
    """
    if not isinstance(X, pd.DataFrame):
        return X
    names = list(X.columns)
    if not are_names(names) and names != list(range(len(names))):
        raise ValueError(
            f"The columns of X must be named by strings, got {names[:5]}: numbers "
            "would be taken for positions. Set X.columns = X.columns.astype(str)."
        )
    has_objects = any(map(pd.api.types.is_object_dtype, X.dtypes))
    return X.infer_objects() if has_objects else X


def are_names(names):
    return all(isinstance(name, str) for name in names)


def check_known(X):
    """Refuse columns with too few values that are not missing."""
    unknown = np.flatnonzero((~np.isnan(X)).sum(0) < 2)
    if len(unknown):
        raise ValueError(
            "Every column of X needs at least 2 known values, but column "
            f"{unknown[0]} has fewer. Leave it out."
        )


def refuse_missing(X, advice):
    """Say what can be done about missing values, where some are found."""
    if not isinstance(X, (np.ndarray, pd.DataFrame)) or X.ndim != 2:
        return
    missing = pd.DataFrame(X).isna().to_numpy().sum(0)
    if missing.any():
        column = int(np.flatnonzero(missing)[0])
        raise ValueError(
            f"X contains NaN: {missing[column]} missing values in column {column}. "
            f"{advice}"
        )


def set_numbers(interventions, names):
    """``{column: number}`` of the columns that are set to one number."""
    found = {}
    for name, change in interventions.items():
        change = as_intervention(change, name)
        if name in names and isinstance(change, Do) and change.value.size == 1:
            found[list(names).index(name)] = change.value.item()
    return found


def warn_if_far(interventions, names, limits, scale):
    """Warn of columns that are set far outside the range that was fitted."""
    for name, change in interventions.items():
        # Unknown names are refused later, whatever is done to them.
        change = as_intervention(change, name) if name in names else None
        if not isinstance(change, (Do, Shift)):
            continue
        column = list(names).index(name)
        low, high = limits[:, column]
        if isinstance(change, Shift):
            # Of the rows that were at the end of the range.
            outside = np.abs(change.value).max()
        else:
            outside = max(low - change.value.min(), change.value.max() - high)
        distance = outside / float(scale[column])
        if distance > FAR:
            warnings.warn(
                FarInterventionWarning(name, distance, low, high), stacklevel=4
            )
