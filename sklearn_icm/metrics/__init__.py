"""How good: distances between samples, and scores of extrapolation."""

from ..utils.units import column_units
from ._alignment import alignment_r2
from ._appearance import make_appearance_scorer
from ._compare import compare_models
from ._counterfactual_errors import counterfactual_errors
from ._density_scorer import make_density_scorer
from ._disentanglement import dci_scores, mig_score
from ._distances.neighbours import precision_recall_density_coverage
from ._distances.pairwise import energy_distance, mmd2
from ._distances.sliced import sliced_wasserstein
from ._distances.transport import transport_distance
from ._distances.two_sample import two_sample_test
from ._effects import average_effect
from ._evaluate import evaluate
from ._extrapolation import make_extrapolation_scorer
from ._factor_scorers import make_identifiability_scorer
from ._graph_test import graph_test
from ._identifiability import amari_distance
from ._image_statistics import layout_distance, patch_distance
from ._levels import mcc_score
from ._mechanism_shift import mechanism_shift
from ._refits import fit_refits, make_refit_scorer, refit_agreement
from ._skill import extrapolation_skill, skill_interval

__all__ = [
    "alignment_r2",
    "amari_distance",
    "average_effect",
    "column_units",
    "compare_models",
    "counterfactual_errors",
    "dci_scores",
    "energy_distance",
    "evaluate",
    "extrapolation_skill",
    "fit_refits",
    "graph_test",
    "layout_distance",
    "make_appearance_scorer",
    "make_density_scorer",
    "make_extrapolation_scorer",
    "make_identifiability_scorer",
    "make_refit_scorer",
    "mcc_score",
    "mechanism_shift",
    "mig_score",
    "mmd2",
    "patch_distance",
    "precision_recall_density_coverage",
    "refit_agreement",
    "skill_interval",
    "transport_distance",
    "sliced_wasserstein",
    "two_sample_test",
]
