"""Displays; matplotlib is imported when one is plotted."""

from ._curves import IndependenceDisplay, TrainingDisplay
from ._images import InterventionDisplay, SamplesDisplay

__all__ = [
    "IndependenceDisplay",
    "InterventionDisplay",
    "SamplesDisplay",
    "TrainingDisplay",
]
