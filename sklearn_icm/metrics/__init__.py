"""How good: distances between samples, and scores of extrapolation."""

from ._distances import energy_distance, mmd2
from ._extrapolation import (
    ExtrapolationScorer,
    extrapolation_skill,
    make_extrapolation_scorer,
)
from ._neighbours import precision_recall_density_coverage
from ._sliced import sliced_wasserstein

__all__ = [
    "ExtrapolationScorer",
    "energy_distance",
    "extrapolation_skill",
    "make_extrapolation_scorer",
    "mmd2",
    "precision_recall_density_coverage",
    "sliced_wasserstein",
]
