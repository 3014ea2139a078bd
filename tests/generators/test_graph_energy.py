"""Pre-additive mechanisms, and what they say outside the trained range."""

import copy
from functools import cache

import numpy as np
import pytest
import torch

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.generators._energy_module import MonotoneCurves
from sklearn_icm.generators._noise_module import SMOOTHINGS, KernelNoise
from sklearn_icm.metrics import extrapolation_skill

N = 1000


def effect_of(cause, seed):
    noise = np.random.RandomState(seed + 100).randn(N)
    inner = cause + noise
    return inner + 0.15 * inner**3


@cache
def world(mechanism, seed=0):
    cause = np.random.RandomState(seed).uniform(-1.7, 1.7, N)
    X = np.column_stack([cause, effect_of(cause, seed)])
    est = GraphGenerator([(0, 1)], mechanism=mechanism, random_state=seed)
    return X, est.fit(X)


def skill_outside(mechanism, seed=0):
    """Mean over both values two standard deviations outside the range."""
    X, est = world(mechanism, seed)
    skills = []
    for value in (X[:, 0].min() - 2 * X[:, 0].std(), X[:, 0].max() + 2 * X[:, 0].std()):
        made = est.intervene({"x0": value}, n_samples=N, random_state=0)[:, 1:]
        truth = effect_of(np.full(N, value), seed)[:, None]
        skills.append(extrapolation_skill(truth, made, X[:, 1:]))
    return np.mean(skills)


def test_noise_before_the_curve_tells_of_what_is_outside_the_range():
    outside = skill_outside("energy")
    assert outside > 0.7
    assert outside > skill_outside("additive") + 0.1


def test_draws_have_the_quantiles_of_the_rows():
    X, est = world("energy")
    draws = est.sample(4000, random_state=0)[:, 1]
    levels = [0.1, 0.25, 0.5, 0.75, 0.9]
    errors = np.quantile(draws, levels) - np.quantile(X[:, 1], levels)
    assert np.abs(errors).max() < 0.2 * X[:, 1].std()


def test_abduction_is_exact_and_counterfactuals_are_near_the_truth():
    X, est = world("energy")
    assert np.allclose(est.inverse_transform(est.transform(X)), X, atol=1e-3)
    assert np.array_equal(est.intervene({}, X=X), X)
    made = est.intervene({"x0": 1.0}, X=X)[:, 1]
    truth = effect_of(np.ones(N), 0)
    error = np.square(made - truth).mean() / np.square(X[:, 1] - truth).mean()
    assert error < 0.1


def test_the_density_of_an_effect_has_mass_one():
    X, est = world("energy")
    grid = np.linspace(-60, 60, 8001)
    given = np.column_stack([np.full(len(grid), 0.5), grid])
    total = np.exp(est.score_samples(given)).sum() * (grid[1] - grid[0])
    others = np.linspace(-4, 4, 801)
    cause = np.exp(_scores_of_cause(est, others, X[:, 1].mean()))
    share = cause[np.argmin(np.abs(others - 0.5))]
    assert total == pytest.approx(share, rel=0.02)


def _scores_of_cause(est, values, effect):
    """Log density of the cause alone: of rows, less that of effects given causes."""
    module = copy.deepcopy(est._module).double()
    rows = torch.tensor(np.column_stack([values, np.full(len(values), effect)]))
    with torch.no_grad():
        return module.log_prob(rows)[:, 0].numpy()


def test_other_columns_may_have_hidden_causes():
    X, _ = world("energy")
    X = np.column_stack([X, X[:, 0] + X[:, 1]])
    est = GraphGenerator(
        [("H", 0), ("H", 2), (0, 1)],
        hidden={"H": 2},
        mechanism={1: "energy"},
        max_epochs=2,
        random_state=0,
    ).fit(X)
    assert est.mechanism_kinds_["x1"] == "energy"
    assert np.array_equal(est.intervene({}, X=X), X)


def test_columns_without_parents_have_only_noise():
    _, est = world("energy")
    assert est.mechanism_kinds_ == {"x0": "linear", "x1": "energy"}


def test_auto_does_not_choose_it():
    _, est = world("auto")
    assert est.mechanism_kinds_["x1"] != "energy"
    assert "energy" not in est.history_


@pytest.mark.parametrize("n_units", [1, 2, 7])
@pytest.mark.parametrize("seed", range(3))
def test_curves_increase_and_can_be_inverted(n_units, seed):
    torch.manual_seed(seed)
    curves = MonotoneCurves(3, n_units).double()
    with torch.no_grad():
        for weight in curves.parameters():
            weight += 0.3 * torch.randn_like(weight)
        value = (4 * torch.randn(50, 3).double()).sort(0).values
        assert (curves(value).diff(dim=0) > 0).all()
        assert torch.allclose(curves.inverse(curves(value)), value, atol=1e-6)
    value.requires_grad_()
    (slopes,) = torch.autograd.grad(curves(value).sum(), value)
    assert torch.allclose(slopes, curves.slopes(value))


# ------------------------------------------------------------------------ noise
def choose(residuals, held_out):
    noise = KernelNoise(1)
    noise.clear(len(residuals))
    noise.choose(0, residuals, held_out)
    noise.set(0, residuals)
    return noise


def test_normal_residuals_give_normal_noise():
    rng = torch.Generator().manual_seed(0)
    residuals, held_out = torch.randn(2, 600, generator=rng)
    noise = choose(residuals, held_out)
    assert noise.smoothing.item() == SMOOTHINGS[0]
    value = torch.linspace(-3, 3, 30)
    normal = torch.distributions.Normal(residuals.mean(), residuals.std())
    found = noise.log_prob(value[:, None])
    assert torch.allclose(found, normal.log_prob(value), atol=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_residuals_of_two_kinds_keep_their_detail(seed):
    rng = torch.Generator().manual_seed(seed)
    sides = torch.randint(2, (2, 600), generator=rng) * 2 - 1
    residuals, held_out = sides + 0.1 * torch.randn(2, 600, generator=rng)
    noise = choose(residuals, held_out)
    assert noise.smoothing.item() < 2
    draws = noise.draw(1000, rng)
    assert (draws.abs() < 0.5).float().mean() < 0.1


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_any_smoothing_keeps_mean_and_variance(smoothing):
    rng = torch.Generator().manual_seed(0)
    residuals = torch.rand(500, generator=rng).square() * 3
    noise = KernelNoise(1)
    noise.clear(500)
    noise.smoothing[0] = smoothing
    noise.set(0, residuals)
    assert noise.points.mean().item() == pytest.approx(residuals.mean().item(), 1e-4)
    variance = noise.points.var() + noise.width[0].square()
    assert variance.item() == pytest.approx(residuals.var().item(), 1e-3)


def test_constant_residuals_stay_constant():
    noise = choose(torch.full((20,), 0.5), torch.full((5,), 0.5))
    draws = noise.draw(10, torch.Generator().manual_seed(0))
    assert (draws == 0.5).all()
