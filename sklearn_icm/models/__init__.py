"""What a fitted thing is: what the model of a family has, may have, and must write."""

from ._base import Exogenous, Explains, GenerativeModel, Player, Scores
from ._likelihood import BernoulliLikelihood, ExactLikelihood, GaussianLikelihood

__all__ = [
    "BernoulliLikelihood",
    "ExactLikelihood",
    "Exogenous",
    "Explains",
    "GaussianLikelihood",
    "GenerativeModel",
    "Player",
    "Scores",
]
