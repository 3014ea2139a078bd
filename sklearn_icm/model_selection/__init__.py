"""Which model: splitters with named protocols, and interventions that are fitted."""

from ._combination import LeaveCombinationOut
from ._family_fit import FamilyFit
from ._fit_intervention import fit_intervention
from ._fit_perturbations import fit_perturbations
from ._results import search_results
from ._split import LeaveEnvironmentOut
from ._support import SupportExtrapolationSplit

__all__ = [
    "FamilyFit",
    "LeaveCombinationOut",
    "LeaveEnvironmentOut",
    "SupportExtrapolationSplit",
    "fit_intervention",
    "fit_perturbations",
    "search_results",
]
