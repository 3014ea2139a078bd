"""Displays; matplotlib is imported when one is plotted."""

from ._curves import IndependenceDisplay, TrainingDisplay
from ._extrapolation import ExtrapolationDisplay
from ._graphs import GraphInterventionDisplay
from ._images import SamplesDisplay
from ._influence import InfluenceMapDisplay
from ._interventions import InterventionDisplay, NodeTraversalDisplay
from ._path import ICMPathDisplay
from ._reports import identifiability_report

__all__ = [
    "GraphInterventionDisplay",
    "ExtrapolationDisplay",
    "identifiability_report",
    "ICMPathDisplay",
    "IndependenceDisplay",
    "InfluenceMapDisplay",
    "InterventionDisplay",
    "NodeTraversalDisplay",
    "SamplesDisplay",
    "TrainingDisplay",
]
