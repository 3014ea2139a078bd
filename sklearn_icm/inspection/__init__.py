"""Displays; matplotlib is imported when one is plotted."""

from ._curves import IndependenceDisplay, TrainingDisplay
from ._extrapolation import ExtrapolationDisplay
from ._graphs import GraphInterventionDisplay
from ._images import SamplesDisplay
from ._interventions import InterventionDisplay, NodeTraversalDisplay
from ._reports import identifiability_report
from ._search import SearchDisplay
from ._what_if import what_if_report

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
    "what_if_report",
]
