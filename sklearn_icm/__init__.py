"""Deep generators that answer: what would the data look like under unseen conditions?

Importing the package is light; torch, pandas and matplotlib are imported when a
sub-package that needs them is used.
"""

from importlib import import_module

__version__ = "0.1.0.dev0"

_SUBPACKAGES = [
    "base",
    "compose",
    "datasets",
    "exceptions",
    "generators",
    "independence",
    "inspection",
    "interventions",
    "mechanisms",
    "metrics",
    "model_selection",
    "models",
    "utils",
]

__all__ = ["__version__", *_SUBPACKAGES]


def __getattr__(name):
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_SUBPACKAGES])
