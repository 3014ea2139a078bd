"""What several folders check, or keep when something fails."""

import copy
from contextlib import contextmanager
from numbers import Real

import numpy as np

__all__ = ["check_level", "plain", "unchanged_on_error"]


def check_level(level):
    """Raise if a level of significance or coverage is no number between 0 and 1."""
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1, got {level!r}.")


def plain(value):
    """Numpy's numbers and strings, also in sequences, as Python's: for messages."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


@contextmanager
def unchanged_on_error(estimator, *parts):
    """Undo every change of attributes if a fit fails, so nothing is half-fitted.

    Its ``parts`` may change what their attributes hold, so these are copied.
    """
    before = [dict(vars(estimator)), *(copy.deepcopy(vars(part)) for part in parts)]
    try:
        yield
    except BaseException as error:
        if not getattr(error, "keeps_model", False):
            for changed, kept in zip((estimator, *parts), before, strict=True):
                vars(changed).clear()
                vars(changed).update(kept)
        raise
