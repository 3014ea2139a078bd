"""What several test files share."""

import numpy as np
import pandas as pd

from sklearn_icm.generators import VAEGenerator

TABLE = np.random.RandomState(0).uniform(size=(40, 4))
NAMES = ["cause", "middle", "effect", "alone"]
EDGES = [("cause", "middle"), ("cause", "effect"), ("middle", "effect")]


def small(**params):
    """A generator that trains in milliseconds."""
    defaults = {"hidden": (8,), "n_latents": 2, "max_epochs": 2, "random_state": 0}
    return VAEGenerator(**{**defaults, **params})


def label(value):
    """Name of a parametrised case that is the same in every process."""
    return getattr(value, "__qualname__", None) or repr(value)


def graph_table(n=400, seed=0):
    """Rows of the graph with these edges, in columns of these names."""
    rng = np.random.RandomState(seed)
    cause = rng.gumbel(size=n)
    middle = np.tanh(cause) + 0.3 * rng.randn(n)
    effect = 50 + 10 * (middle - cause) + rng.randn(n)
    return pd.DataFrame(
        np.column_stack([cause, middle, effect, rng.rand(n)]), columns=NAMES
    )
