"""What several folders check, or keep when something fails."""

import copy
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils import check_scalar as _check_scalar

__all__ = [
    "check_choice",
    "check_level",
    "check_scalar",
    "is_count",
    "new_stream",
    "plain",
    "unchanged_on_error",
]


def check_scalar(x, name, target_type, **limits):
    """scikit-learn's check of a number, which refuses booleans too."""
    if isinstance(x, bool):
        kind = "a number" if target_type is Real else "an int"
        raise TypeError(f"{name} must be {kind}, not a bool, got {x!r}.")
    return _check_scalar(x, name, target_type, **limits)


def check_choice(name, value, allowed):
    """Raise ValueError unless a value is one of the allowed names."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {list(allowed)}, got {value!r}.")


def is_count(value, least=1):
    """Whether a value is an int, of any library, that is at least so large."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and value >= least


def check_level(level, name="level"):
    """Raise if a level of coverage, or of significance, is no number in (0, 1)."""
    if isinstance(level, bool) or not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, got {level!r}.")


def new_stream(random_state):
    """RandomState of a seed; None starts a new one, and leaves numpy's global alone."""
    if random_state is None:
        return np.random.RandomState()
    return check_random_state(random_state)


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
