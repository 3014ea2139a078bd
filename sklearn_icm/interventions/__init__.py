"""Interventions: what is changed at a node of a generator."""

from ._base import (
    Intervention,
    apply_intervention,
    as_intervention,
    check_interventions,
)
from ._combine import Compose, Where
from ._geometric import Flip, Rotate, Stretch, Translate
from ._soft import Clip, Do, Scale, Shift
from ._units import Ablate, Permute, SignFlip

__all__ = [
    "Ablate",
    "Clip",
    "Compose",
    "Do",
    "Flip",
    "Intervention",
    "Permute",
    "Rotate",
    "Scale",
    "Shift",
    "SignFlip",
    "Stretch",
    "Translate",
    "Where",
    "apply_intervention",
    "as_intervention",
    "check_interventions",
]
