"""What several test files share."""

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA

from sklearn_icm.base import GeneratorMixin
from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
)
from sklearn_icm.independence._hsic import NoiseMeasure, p_value_of_dependence
from sklearn_icm.independence._pairs import MechanismPair
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import make_extrapolation_scorer

TABLE = np.random.RandomState(0).uniform(size=(40, 4))
NAMES = ["cause", "middle", "effect", "alone"]
EDGES = [("cause", "middle"), ("cause", "effect"), ("middle", "effect")]

# One generator of every family that trains in no time, and rows that it is fitted to.
FAMILY_ROWS = np.random.RandomState(0).normal(size=(40, 4))
FAMILIES = {
    "table": VAEGenerator(n_latents=3, hidden=(4, 4), max_epochs=1, bounds=None),
    "image": VAEGenerator((2, 2), n_latents=3, hidden=(4, 4), max_epochs=1),
    "simulator": FixedGenerator(),
    "chain": ChainGenerator(n_layers=3, max_iter=5),
    "columns": GraphGenerator([(0, 1), (1, 2), (0, 3)], n_units=4, max_epochs=1),
}


def fitted_families():
    """All of them, fitted."""
    return {
        name: clone(model).set_params(random_state=0).fit(FAMILY_ROWS)
        for name, model in FAMILIES.items()
    }


def small(**params):
    """A generator that trains in milliseconds."""
    defaults = {"hidden": (8,), "n_latents": 2, "max_epochs": 2, "random_state": 0}
    return VAEGenerator(**{**defaults, **params})


def hsic_test(first, second, n_draws, rng):
    """Dependence of two samples of paired rows, and its permutation p-value."""
    hidden, noise = torch.from_numpy(second), torch.from_numpy(first)
    pair = MechanismPair(
        "rest", "x", second.shape[1:], "vector", hidden=hidden, noise=noise
    )
    found = NoiseMeasure(rng).measured(pair, n_draws, None)
    return found.rho.item(), p_value_of_dependence(found)


def shifted(n=60, shift=2.0, seed=0):
    """A table in two environments; in the other one all columns are shifted."""
    rng = np.random.RandomState(seed)
    X = rng.randn(2 * n, 3)
    X[n:] += shift
    return X, np.repeat(["seen", "moved"], n)


def table_model(**params):
    """A generator of such a table, fitted to what is seen."""
    return small(max_epochs=3, observational="seen", bounds=None, **params)


def table_scorer(shift, **params):
    """Scorer that takes this shift for what was changed."""
    return make_extrapolation_scorer(
        {"moved": {"data": Shift(shift)}}, observational="seen", **params
    )


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


# Mean 0 and covariance 1 exactly, so that a rotation's entries are correlations.
ROWS = PCA(whiten=True).fit_transform(
    np.random.RandomState(0).standard_normal((200, 2))
)
BEND = {"hidden": lambda h: h * [4.0, 1.0]}


class Chain(GeneratorMixin, TransformerMixin, BaseEstimator):
    """x = W' W z with a rotation W: every W draws the same, none extrapolates alike."""

    def __init__(self, turned=True, random_state=None):
        self.turned = turned
        self.random_state = random_state

    def fit(self, X, y=None):
        stream = np.random.RandomState(self.random_state if self.turned else 0)
        angle = stream.uniform(0, np.pi)
        self.W_ = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        self.rows_, self.labels_ = np.asarray(X), y
        return self

    def transform(self, X):
        return np.asarray(X) @ self.W_.T

    def intervene(self, interventions, X=None, *, n_samples, random_state):
        z = np.random.RandomState(random_state).standard_normal((n_samples, 2))
        value = z @ self.W_.T
        for node, step in (("hidden", self.W_), ("data", np.eye(2))):
            value = interventions.get(node, lambda v: v)(value) @ step
        return value


def line(n=100, seed=0, moved=0.0):
    """Rows of a linear pair with normal noise."""
    rng = np.random.RandomState(seed)
    cause = rng.randn(n) + moved
    effect = 0.8 * cause + 0.6 * rng.randn(n)
    return pd.DataFrame({"cause": cause, "effect": effect})


def linear(**params):
    """A graph of that pair."""
    edges = [("cause", "effect")]
    return GraphGenerator(edges, mechanism="linear", random_state=0, **params)


def bootstrap_of(estimator, n_estimators=5, **params):
    return BootstrapGenerator(
        estimator, n_estimators=n_estimators, random_state=0, **params
    )
