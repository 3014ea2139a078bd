"""Checks of what the metrics are given."""

from collections.abc import Mapping

import numpy as np
from sklearn.utils import check_array, check_random_state

from ..utils.checks import is_count
from ..utils.units import in_units

__all__ = [
    "check_integer",
    "check_samples",
    "direction_stream",
    "name_changes",
]


def check_samples(
    X_real, X_gen, *, smallest=1, needed_by="The distance", advice="", units=None
):
    """Two finite float arrays with the same columns and at least `smallest` rows.

    They are divided by the units of the columns.
    """
    dtypes = [np.float64, np.float32]
    X_real = check_array(X_real, dtype=dtypes, input_name="X_real")
    X_gen = check_array(X_gen, dtype=dtypes, input_name="X_gen")
    if X_real.shape[1] != X_gen.shape[1]:
        raise ValueError(
            "X_real and X_gen must have the same number of features, got "
            f"{X_real.shape[1]} and {X_gen.shape[1]}."
        )
    if min(len(X_real), len(X_gen)) < smallest:
        raise ValueError(
            f"{needed_by} needs at least {smallest} rows of each sample, got "
            f"{len(X_real)} and {len(X_gen)}. Give more rows{advice}."
        )
    return in_units(X_real, units), in_units(X_gen, units)


def check_integer(name, value, least=1):
    """An int that is at least so large."""
    if not is_count(value, least):
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}.")
    return int(value)


def direction_stream(random_state):
    """Random stream; None is a fixed one, so that a score does not change by chance."""
    return check_random_state(0 if random_state is None else random_state)


def name_changes(interventions):
    """Return ``{name: {node: intervention}}``; a single change gets a name."""
    if not isinstance(interventions, Mapping) or not interventions:
        raise TypeError(
            "interventions must be a non-empty dict {name: {node: intervention}} or "
            f"{{node: intervention}}, got {interventions!r}."
        )
    single = [k for k, v in interventions.items() if not isinstance(v, Mapping)]
    if len(single) == len(interventions):
        return {"intervention": dict(interventions)}
    if single:
        raise TypeError(
            "interventions must be {name: {node: intervention}} throughout or {node: "
            f"intervention}} throughout, got a mixture: {single[0]!r} is not a dict."
        )
    return dict(interventions)
