"""Interventions: what is changed at a node of a generator."""

from ._base import (
    Intervention,
    apply_intervention,
    as_intervention,
    check_interventions,
)
from ._geometric import Stretch
from ._soft import Ablate, Do, Scale, Shift

__all__ = [
    "Ablate",
    "Do",
    "Intervention",
    "Scale",
    "Shift",
    "Stretch",
    "apply_intervention",
    "as_intervention",
    "check_interventions",
]
