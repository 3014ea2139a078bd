import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from sklearn_icm.models import BernoulliLikelihood, GaussianLikelihood
from sklearn_icm.models._noise import MixtureNoise
from sklearn_icm.utils.streams import Streams


def test_noise_starts_as_a_standard_normal():
    z = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    expected = norm.logpdf(z.numpy()).sum(1)
    assert np.allclose(MixtureNoise(3).log_prob(z), expected, atol=1e-5)


def test_mixture_density_and_moments_are_closed_form():
    rng = np.random.RandomState(0)
    weights, means = np.array([0.3, 0.7]), rng.randn(2, 2)
    factors = rng.randn(2, 2, 2)
    covariances = factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(2)
    noise = MixtureNoise(2).double()
    noise.set(*(torch.from_numpy(a) for a in (weights, means, covariances)))
    z = rng.randn(5, 2)
    parts = [
        w * multivariate_normal.pdf(z, m, c)
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    expected = np.log(sum(parts))
    assert np.allclose(noise.log_prob(torch.from_numpy(z)), expected)

    n = 20_000
    draws = noise.draw(n, Streams(0)).numpy()
    mean = weights @ means
    second = sum(
        w * (c + np.outer(m, m))
        for w, m, c in zip(weights, means, covariances, strict=True)
    )
    sd = np.sqrt(np.diag(second - np.outer(mean, mean)))
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * sd / np.sqrt(n))


def fit_variance(likelihood, x, mean):
    squared = likelihood.squared(x - mean)
    means = likelihood.standardised(mean.expand_as(x))
    likelihood.fit_variance(means.flatten(), squared.flatten())


@pytest.mark.parametrize("offset", [0.0, 5.0, 1e4])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_gaussian_log_prob_is_scipys(offset, scale):
    generator = torch.Generator().manual_seed(0)
    x = scale * (offset + torch.randn(50, 3, generator=generator).double())
    likelihood = GaussianLikelihood((3,)).double()
    likelihood.set_units(x)
    fit_variance(likelihood, x, x.mean(0))
    sd = (likelihood.link.scale * likelihood.variance.sqrt()).numpy()
    expected = norm.logpdf(x.numpy(), x.mean(0).numpy(), sd).sum(1)
    assert np.allclose(likelihood.log_prob(x, x.mean(0).expand_as(x)), expected)


def test_fitted_variance_maximises_the_likelihood():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    likelihood = GaussianLikelihood((4,))
    likelihood.set_units(x)
    mean = torch.zeros_like(x)
    fit_variance(likelihood, x, mean)
    best = likelihood.log_prob(x, mean).mean()
    for factor in (0.9, 1.1):
        likelihood.variances.mul_(factor)
        assert likelihood.log_prob(x, mean).mean() < best
        likelihood.variances.div_(factor)


def test_variance_follows_the_mean_until_training_goes_on():
    generator = torch.Generator().manual_seed(0)
    mean = torch.rand(2000, 1, 5, generator=generator)
    likelihood = GaussianLikelihood((1, 5))
    likelihood.set_units(mean)
    sd = 0.1 + mean
    x = mean + sd * torch.randn(mean.shape, generator=generator)
    common = likelihood.log_prob(x, mean).mean()
    fit_variance(likelihood, x, mean)
    found = likelihood.link.scale * likelihood.variance_at(mean).sqrt()
    assert (found / sd - 1).abs().mean() < 0.05
    expected = norm.logpdf(x, mean, found).sum((1, 2))
    assert np.allclose(likelihood.log_prob(x, mean), expected, atol=1e-4)
    assert expected.mean() > common + 0.1
    draw = likelihood.draw(len(mean), generator)
    assert torch.allclose(likelihood.observe(mean, draw), mean + found * draw)
    # Beyond the data it stays as it is at their ends.
    for far, end in ((-9.0, 0), (9.0, -1)):
        variance = likelihood.variance_at(torch.full((1, 1, 5), far))
        assert torch.all(variance == likelihood.variances[end])
    likelihood.track(x, mean)
    assert torch.equal(likelihood.variance_at(mean), likelihood.variance)


@pytest.mark.parametrize("sd", [1e-3, 0.3, 50.0])
def test_score_of_two_values_is_the_mean_density_about_them(sd):
    mean = torch.linspace(-2, 3, 60, dtype=torch.float64)[:, None].expand(-1, 2)
    x = torch.tensor([[1.0, 3.0], [2.0, 7.0]]).double().repeat(30, 1)
    likelihood = GaussianLikelihood((2,)).double()
    likelihood.variance.fill_(sd**2)
    likelihood.find_levels(x)
    far, gap = (x - mean).abs().numpy(), np.array([1.0, 4.0])
    mass = norm.sf((far - gap / 2) / sd) - norm.sf((far + gap / 2) / sd)
    found = likelihood.log_score(x, mean).numpy()
    seen = (mass > 0).all(1)
    assert seen.any()
    assert np.allclose(found[seen], np.log(mass[seen] / gap).sum(1))
    assert np.isfinite(found).all()


def test_variance_has_a_finite_gradient_where_means_are_equal():
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    likelihood = GaussianLikelihood((4,))
    mean = torch.zeros(300, 4)
    mean[:20] = 1e-8
    fit_variance(likelihood, x, mean)
    mean.requires_grad_()
    likelihood.log_prob(x, mean).sum().backward()
    assert mean.grad.isfinite().all()
    assert likelihood.variances.isfinite().all()


@pytest.mark.parametrize("offset", [1e8, -1e8])
def test_columns_that_float32_cannot_resolve_are_refused(offset):
    x = offset + torch.randn(50, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="Column 0.*float32 cannot resolve.*Subtract"):
        GaussianLikelihood((3,)).set_units(x)


def test_constant_columns_keep_a_unit():
    likelihood = GaussianLikelihood((2,))
    likelihood.set_units(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    assert likelihood.link.scale.tolist() == [1.0, 1.0]
    assert likelihood.link.offset.tolist() == [2.0, 7.0]


def test_bernoulli_log_prob_and_draws():
    likelihood = BernoulliLikelihood((2,))
    x, p = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.3]])
    assert likelihood.log_prob(x, p).item() == pytest.approx(np.log(0.8 * 0.7))
    n = 20_000
    draw = likelihood.draw(n, torch.Generator().manual_seed(0))
    means = likelihood.observe(p.expand(n, 2), draw).mean(0)
    assert torch.all((means - p).abs() < 5 * 0.5 / n**0.5)


def test_bernoulli_refuses_other_values():
    with pytest.raises(ValueError, match=r"bernoulli.*\[0, 1\].*from 0 to 2"):
        BernoulliLikelihood((1,)).set_units(torch.tensor([[0.0], [2.0]]))
