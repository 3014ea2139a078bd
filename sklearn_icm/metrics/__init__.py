"""How good: distances between samples, and scores of extrapolation."""

from ._distances import energy_distance
from ._extrapolation import (
    ExtrapolationScorer,
    extrapolation_skill,
    make_extrapolation_scorer,
)

__all__ = [
    "ExtrapolationScorer",
    "energy_distance",
    "extrapolation_skill",
    "make_extrapolation_scorer",
]
