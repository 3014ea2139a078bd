"""What a fitted thing is: what the model of a family has, may have, and must write."""

from ._base import Exogenous, Explains, GenerativeModel, Player, Scores

__all__ = ["Exogenous", "Explains", "GenerativeModel", "Player", "Scores"]
