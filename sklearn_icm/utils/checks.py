"""Checks of parameters that several folders have."""

from numbers import Real


def check_level(level):
    """Raise if a level of significance or coverage is no number between 0 and 1."""
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1, got {level!r}.")
