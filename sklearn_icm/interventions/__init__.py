"""Interventions: what is changed at a node of a generator."""

from ._base import Compose, Do, Here, Intervention
from ._families import InterventionFamily, families_for
from ._geometric import Flip, Rotate, Stretch, Translate
from ._mechanisms import Reparametrise, SwapMechanism
from ._mixing import Orthogonal, Permute
from ._places import Units, Where
from ._policies import Policy
from ._soft import Clip, Scale, Shift
from ._stochastic import Noise, Resample

__all__ = [
    "Clip",
    "Compose",
    "Do",
    "Flip",
    "Here",
    "Intervention",
    "InterventionFamily",
    "Noise",
    "Orthogonal",
    "Permute",
    "Policy",
    "Reparametrise",
    "Resample",
    "Rotate",
    "Scale",
    "Shift",
    "Stretch",
    "SwapMechanism",
    "Translate",
    "Units",
    "Where",
    "families_for",
]
