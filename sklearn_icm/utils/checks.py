"""Checks of parameters that several folders have."""

from numbers import Real

import numpy as np

__all__ = ["check_level", "plain"]


def check_level(level):
    """Raise if a level of significance or coverage is no number between 0 and 1."""
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1, got {level!r}.")


def plain(value):
    """Numpy's numbers and strings, also in sequences, as Python's: for messages."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value
