"""Interventions: what is changed at a node of a generator."""

from ._base import (
    Intervention,
    apply_intervention,
    as_intervention,
    check_interventions,
)
from ._combine import Compose, Units, Where, inverse_of, is_random, started
from ._families import InterventionFamily, as_family, families_for
from ._geometric import Flip, Rotate, Stretch, Translate
from ._mechanisms import Reparametrise, SwapMechanism
from ._mixing import Orthogonal, haar_rotation
from ._soft import Affine, Clip, Do, Scale, Shift
from ._stochastic import Noise, Resample
from ._units import Ablate, Permute, SignFlip

__all__ = [
    "Ablate",
    "Affine",
    "Clip",
    "Compose",
    "Do",
    "Flip",
    "Intervention",
    "InterventionFamily",
    "Noise",
    "Orthogonal",
    "Permute",
    "Reparametrise",
    "Resample",
    "Rotate",
    "Scale",
    "Shift",
    "SignFlip",
    "Stretch",
    "SwapMechanism",
    "Translate",
    "Units",
    "Where",
    "apply_intervention",
    "as_family",
    "as_intervention",
    "check_interventions",
    "families_for",
    "haar_rotation",
    "inverse_of",
    "is_random",
    "started",
]
