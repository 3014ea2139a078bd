"""What a fitted thing is: what the model of a family has, may have, and must write."""

from ..mechanisms._likelihood import ExactLikelihood
from ._base import Exogenous, Explains, GenerativeModel, Scores

__all__ = ["ExactLikelihood", "Exogenous", "Explains", "GenerativeModel", "Scores"]
