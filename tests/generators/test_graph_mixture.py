"""Columns that are mixtures given their parents."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.generators.graph.kinds._mixture import Mixture
from sklearn_icm.interventions import Shift

N = 600


def rows(seed, n=N):
    """Two branches, of which the upper one is the likelier the larger the cause is."""
    rng = np.random.RandomState(seed)
    cause = rng.randn(n)
    upper = rng.rand(n) < 1 / (1 + np.exp(-1.5 * cause))
    return np.column_stack([cause, cause + 3 * upper + 0.3 * rng.randn(n)])


def made(mechanism="mixture", **params):
    params = {"max_epochs": 30, "random_state": 0, **params}
    return GraphGenerator([(0, 1)], mechanism=mechanism, **params)


@pytest.fixture(scope="module")
def model():
    return made().fit(rows(0))


def test_it_is_denser_than_one_mode(model):
    new = rows(1)
    other = made("location-scale").fit(rows(0))
    assert model.score(new) > other.score(new) + 0.3


def test_draws_have_both_modes_and_little_between(model):
    drawn = model.intervene({"x0": 0.0}, n_samples=4000, random_state=0)[:, 1]
    upper = (drawn > 1.5).mean()
    assert upper == pytest.approx(0.5, abs=0.1)
    assert (abs(drawn - 1.5) < 0.4).mean() < 0.05


def test_abduction_is_exact_and_monotone(model):
    X = rows(0)
    assert_allclose(model.inverse_transform(model.transform(X)), X, atol=2e-3)
    assert_array_equal(model.intervene({"x0": Shift(0.0)}, X=X), X)
    moved = model.intervene({"x0": 1.0}, X=X)[:, 1]
    at_one = made().fit(X).intervene({"x0": 1.0}, X=X)[:, 1]
    assert_array_equal(moved, at_one)
    # A row in the upper branch stays there where this becomes likelier.
    upper = (X[:, 1] > X[:, 0] + 1.5) & (X[:, 0] < 0)
    assert (moved[upper] > 2.5).mean() > 0.95


def test_its_noise_is_independent(model):
    tested = model.independence(rows(2), n_draws=100).set_index("against")
    assert (tested["p_value"] > 0.01).all()


def test_the_density_has_mass_one(model):
    grid = np.linspace(-15, 15, 4001)
    given = np.column_stack([np.full(len(grid), 0.5), grid])
    cause = GraphGenerator(random_state=0).fit(rows(0)[:, :1]).score_samples([[0.5]])
    density = np.exp(model.score_samples(given) - cause)
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1, rel=0.02)


def test_copies_refits_and_streams(model):
    other = pickle.loads(pickle.dumps(model))
    draws = (m.sample(20, random_state=0) for m in (model, other))
    assert_array_equal(*draws)
    few = rows(3, 100)
    boot = BootstrapGenerator(made(max_epochs=2), n_estimators=2).fit(few)
    assert np.isfinite(boot.score(few))
    assert np.isfinite(made().partial_fit(few).partial_fit(few).score(few))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [0.5, 5.0, 500.0])
def test_quantiles_invert_noise(dtype, spread):
    """In gaps between components too, and far from all of them."""
    stream = torch.Generator().manual_seed(0)
    heads = 2 * torch.randn(500, 9, generator=stream, dtype=dtype)
    value = spread * torch.randn(500, 1, generator=stream, dtype=dtype)
    mixture = Mixture(heads)
    error = (mixture.quantile(mixture.noise(value)) - value).abs().max()
    least = 1e-9 if dtype == torch.float64 else 1e-3
    assert error < least * max(1, spread)


@pytest.mark.parametrize("column", [0, 1])
def test_constant_columns(column):
    X = rows(0, 40)
    X[:, column] = 2.0
    drawn = made(max_epochs=2).fit(X).sample(5, random_state=0)
    assert np.isfinite(drawn).all()
