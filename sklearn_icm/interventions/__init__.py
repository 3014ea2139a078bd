"""Interventions: what is changed at a node of a generator."""

from ._base import (
    Intervention,
    apply_intervention,
    as_intervention,
    check_interventions,
)
from ._combine import Compose, Where
from ._geometric import Stretch
from ._soft import Clip, Do, Scale, Shift
from ._units import Ablate, Permute, SignFlip

__all__ = [
    "Ablate",
    "Clip",
    "Compose",
    "Do",
    "Intervention",
    "Permute",
    "Scale",
    "Shift",
    "SignFlip",
    "Stretch",
    "Where",
    "apply_intervention",
    "as_intervention",
    "check_interventions",
]
