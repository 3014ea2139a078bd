"""What several test files share."""

import numpy as np

from sklearn_icm.generators import VAEGenerator

TABLE = np.random.RandomState(0).uniform(size=(40, 4))


def small(**params):
    """A generator that trains in milliseconds."""
    defaults = {"hidden": (8,), "n_latents": 2, "max_epochs": 2, "random_state": 0}
    return VAEGenerator(**{**defaults, **params})


def label(value):
    """Name of a parametrised case that is the same in every process."""
    return getattr(value, "__qualname__", None) or repr(value)
