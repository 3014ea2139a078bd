"""Displays; matplotlib is imported when one is plotted."""

from ._curves import IndependenceDisplay, TrainingDisplay
from ._extrapolation import ExtrapolationDisplay
from ._graphs import GraphInterventionDisplay
from ._images import SamplesDisplay
from ._interventions import InterventionDisplay, NodeTraversalDisplay
from ._reports import identifiability_report
from ._search import SearchDisplay

__all__ = [
    "GraphInterventionDisplay",
    "ExtrapolationDisplay",
    "identifiability_report",
    "IndependenceDisplay",
    "InterventionDisplay",
    "NodeTraversalDisplay",
    "SamplesDisplay",
    "SearchDisplay",
    "TrainingDisplay",
]
