"""Find the public estimators of the package."""

import inspect
from importlib import import_module

from sklearn.base import BaseEstimator

__all__ = ["all_estimators"]

SUBPACKAGES = ("generators", "compose")


def all_estimators():
    """Return the public estimators that can be fitted.

    Returns
    -------
    list of (str, type)
        Sorted by name.

    Examples
    --------
    >>> "VAEGenerator" in dict(all_estimators())
    True
    """
    root, found = __package__.rpartition(".")[0], {}
    for name in SUBPACKAGES:
        package = import_module(f"{root}.{name}")
        for member in package.__all__:
            value = getattr(package, member)
            if inspect.isclass(value) and issubclass(value, BaseEstimator):
                found[member] = value
    return sorted(found.items())
