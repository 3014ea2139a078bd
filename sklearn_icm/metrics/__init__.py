"""How good: distances between samples, and scores of extrapolation."""

from ..utils.units import column_units
from ._agreement import extrapolation_agreement, make_agreement_scorer
from ._alignment import alignment_r2, ood_r2
from ._consistency import latent_consistency, make_consistency_scorer
from ._counterfactual_errors import counterfactual_errors
from ._disentanglement import dci_scores, mig_score
from ._distances.neighbours import precision_recall_density_coverage
from ._distances.pairwise import energy_distance, mmd2
from ._distances.sliced import sliced_wasserstein
from ._distances.two_sample import two_sample_test
from ._effects import AverageEffect, average_effect
from ._evaluate import evaluate
from ._extrapolation import ExtrapolationScorer, make_extrapolation_scorer
from ._factor_scorers import IdentifiabilityScorer, make_identifiability_scorer
from ._identifiability import amari_distance, block_mcc_score
from ._image_statistics import layout_distance, patch_distance
from ._levels import mcc_score
from ._mechanism_shift import mechanism_shift
from ._refits import RefitScorer, fit_refits
from ._registry import get_scorer, get_scorer_names
from ._skill import extrapolation_skill
from ._skill_interval import skill_interval

__all__ = [
    "AverageEffect",
    "ExtrapolationScorer",
    "IdentifiabilityScorer",
    "RefitScorer",
    "alignment_r2",
    "amari_distance",
    "average_effect",
    "block_mcc_score",
    "column_units",
    "counterfactual_errors",
    "dci_scores",
    "energy_distance",
    "evaluate",
    "extrapolation_agreement",
    "extrapolation_skill",
    "fit_refits",
    "get_scorer",
    "get_scorer_names",
    "latent_consistency",
    "layout_distance",
    "make_agreement_scorer",
    "make_consistency_scorer",
    "make_extrapolation_scorer",
    "make_identifiability_scorer",
    "mcc_score",
    "mechanism_shift",
    "mig_score",
    "mmd2",
    "ood_r2",
    "patch_distance",
    "precision_recall_density_coverage",
    "skill_interval",
    "sliced_wasserstein",
    "two_sample_test",
]
