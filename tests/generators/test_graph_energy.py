"""Pre-additive mechanisms, and what they say outside the trained range."""

import copy
from functools import cache

import numpy as np
import pytest
import torch

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.generators.graph.columns._energy import MonotoneCurves
from sklearn_icm.metrics import extrapolation_skill
from sklearn_icm.models._noise import N_BLOCKS, KernelNoise, mixtures
from sklearn_icm.utils.streams import Streams

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
        skills.append(extrapolation_skill(truth, made, X[:, 1:], baseline="identity"))
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
    module = copy.deepcopy(est._fitted.model).double()
    rows = torch.tensor(np.column_stack([values, np.full(len(values), effect)]))
    with torch.no_grad():
        return module.log_probs(rows)[:, 0].numpy()


def test_other_columns_may_have_hidden_causes():
    X, _ = world("energy")
    X = np.column_stack([X, X[:, 0] + X[:, 1]])
    est = GraphGenerator(
        [("H", 0), ("H", 2), (0, 1)],
        unobserved={"H": 2},
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
def weighted(residuals):
    return torch.stack([residuals, torch.ones_like(residuals)], 1)


def fitted_noise(residuals):
    noise = KernelNoise(1)
    noise.set([weighted(residuals)], choose=True)
    return noise


def test_normal_residuals_give_normal_noise():
    residuals = torch.randn(600, generator=torch.Generator().manual_seed(0))
    noise = fitted_noise(residuals)
    assert noise.n_blocks.item() == 1
    value = torch.linspace(-3, 3, 30)
    normal = torch.distributions.Normal(residuals.mean(), residuals.std())
    found = noise.log_prob(value[:, None])
    assert torch.allclose(found, normal.log_prob(value), atol=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_residuals_of_two_kinds_keep_their_detail(seed):
    rng = torch.Generator().manual_seed(seed)
    sides = torch.randint(2, (600,), generator=rng) * 2 - 1
    noise = fitted_noise(sides + 0.1 * torch.randn(600, generator=rng))
    assert noise.n_blocks.item() > 1
    draws = noise.draw(1000, Streams(0))
    assert (draws.abs() < 0.5).float().mean() < 0.1


@pytest.mark.parametrize("n_blocks", N_BLOCKS)
@pytest.mark.parametrize("n", [500, 503])
def test_any_number_of_blocks_keeps_mean_and_variance(n_blocks, n):
    rng = torch.Generator().manual_seed(0)
    residuals = torch.rand(n, generator=rng).square() * 3
    own = weighted(residuals.sort().values)[None]
    (part,) = mixtures(own, torch.tensor([n_blocks]))
    points, width, share = part.T
    assert share.sum().item() == pytest.approx(1, 1e-5)
    mean = share @ points
    assert mean.item() == pytest.approx(residuals.mean().item(), 1e-4)
    variance = share @ (width.square() + (points - mean).square())
    assert variance.item() == pytest.approx(residuals.var().item(), 3e-3)


TAILS = {
    "lognormal": lambda rng, n: rng.lognormal(0, 1.5, n),
    "pareto": lambda rng, n: rng.pareto(1.5, n),
    "zero-inflated": lambda rng, n: rng.exponential(1, n) * (rng.rand(n) < 0.6),
    "gamma": lambda rng, n: rng.gamma(0.5, 1, n),
    "two values": lambda rng, n: rng.choice([0.0, 5.0], n, p=[0.9, 0.1]),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("seed", range(3))
def test_few_rows_in_a_tail_do_not_hide_the_shape_of_all_others(tail, seed):
    X = TAILS[tail](np.random.RandomState(seed), 1000)[:, None]
    draws = GraphGenerator(random_state=seed).fit(X).sample(20_000, random_state=0)
    edge = 0.01 * X.std()
    assert np.mean(draws < 0) < 0.05
    assert np.mean(np.abs(draws) < edge) < np.mean(np.abs(X) < edge) + 0.05
    assert np.median(draws) == pytest.approx(np.median(X), rel=0.15, abs=edge)


@pytest.mark.parametrize("tail", ["lognormal", "pareto", "gamma"])
def test_noise_that_is_a_factor_leaves_no_draw_negative(tail):
    rng = np.random.RandomState(0)
    cause = rng.randn(1000)
    effect = np.exp(0.7 * cause) * TAILS[tail](rng, 1000)
    X = np.column_stack([cause, effect])
    est = GraphGenerator([(0, 1)], max_epochs=30, random_state=0).fit(X)
    draws = est.sample(20_000, random_state=0)[:, 1]
    assert np.mean(draws < 0) < 0.05
    assert np.median(draws) == pytest.approx(np.median(effect), rel=0.15)
    assert draws.mean() == pytest.approx(effect.mean(), rel=0.05)
    assert np.allclose(est.inverse_transform(est.transform(X)), X, atol=1e-3)


def test_a_density_has_mass_one_whatever_its_tail():
    X = TAILS["lognormal"](np.random.RandomState(0), 500)
    noise = fitted_noise(torch.from_numpy(X).float())
    grid = torch.linspace(-100, 300, 400_001)
    mass = noise.log_prob(grid[:, None]).exp().sum() * (grid[1] - grid[0])
    assert mass.item() == pytest.approx(1, abs=0.01)


def test_constant_residuals_stay_constant():
    noise = fitted_noise(torch.full((20,), 0.5))
    draws = noise.draw(10, Streams(0))
    assert (draws == 0.5).all()
    assert not noise.varies.any()
