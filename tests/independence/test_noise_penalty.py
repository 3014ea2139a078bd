"""The dependence of noise in a batch: what it measures, and what it does not see."""

import numpy as np
import pytest
import torch
from helpers import hsic_test

from sklearn_icm.independence import AutoPenalty, NoisePenalty, _hsic
from sklearn_icm.independence._hsic import batch_dependences
from sklearn_icm.mechanisms import dense_decoder
from sklearn_icm.rows._batches import Batch


def rng():
    return torch.Generator().manual_seed(0)


def batch_of(noise):
    return Batch(noise, rng())


def rows_of(n=200, bend=1.0):
    """Noise of two columns, of which the first bends with its two parents."""
    own = torch.randn(n, 4, generator=rng())
    values, noise = own[:, :2], own[:, 2:].clone()
    noise[:, 0] += bend * values[:, 0] ** 2
    return noise, values


READS = torch.tensor([[1.0, 1.0], [0.0, 0.0]])


def mean_of_draws(noise, values, n_draws=60):
    drawn = batch_of(noise)
    found = [batch_dependences(noise, values, READS, drawn) for _ in range(n_draws)]
    return torch.stack([torch.stack(pair) for pair in found]).mean(0)


def test_it_is_the_measure_of_the_table(monkeypatch):
    noise, values = rows_of(1000)
    coarse = mean_of_draws(noise, values)[:, 0]
    monkeypatch.setattr(_hsic, "N_OWN", 16)
    monkeypatch.setattr(_hsic, "N_OTHERS", 200)
    fine = mean_of_draws(noise, values, 5)[:, 0]
    stream = np.random.RandomState(0)
    for k, against in enumerate((values, noise[:, 1:])):
        test = hsic_test(noise[:, :1].numpy(), against.numpy(), 0, stream)[0]
        assert float(fine[k]) == pytest.approx(test, abs=0.012)
        # The few frequencies of a step give a bit less.
        assert 0.6 * test - 1e-3 < float(coarse[k]) < test + 1e-3


def test_it_tells_dependent_noise_from_independent():
    bent, straight = (mean_of_draws(*rows_of(bend=bend))[0] for bend in (3.0, 0.0))
    assert bent[0] > 0.1 > 0.03 > straight[0]
    # Without parents there is nothing to depend on.
    assert bent[1] == pytest.approx(0, abs=1e-6)
    copied = torch.randn(200, 1, generator=rng())
    shared = mean_of_draws(torch.cat([copied, 3 * copied], 1), rows_of()[1])[1]
    assert shared.tolist() == pytest.approx([0.9, 0.9], abs=0.1)


def test_neither_units_nor_the_size_of_noise_matter():
    noise, values = rows_of()
    found = batch_dependences(noise, values, READS, batch_of(noise))
    scaled = batch_dependences(
        5 + 300 * noise, 7 - 0.02 * values, READS, batch_of(noise)
    )
    assert torch.allclose(*(torch.stack(x) for x in (found, scaled)), rtol=1e-3)
    noise.requires_grad_(True)
    sum(
        x.sum() for x in batch_dependences(noise, values, READS, batch_of(noise))
    ).backward()
    assert noise.grad.abs().max() > 1e-4
    for direction in (torch.ones_like(noise), noise.detach()):
        assert (noise.grad * direction).sum(0).abs().max() < 1e-5


def test_descent_makes_noise_independent_of_what_bends_it():
    noise, values = rows_of()
    weight = torch.zeros((), requires_grad=True)
    optimiser, drawn = torch.optim.Adam([weight], lr=0.1), batch_of(noise)
    for _ in range(30):
        optimiser.zero_grad()
        left = torch.stack([noise[:, 0] - weight * values[:, 0] ** 2, noise[:, 1]], 1)
        batch_dependences(left, values, READS, drawn)[0][0].backward()
        optimiser.step()
    assert weight.item() == pytest.approx(1, abs=0.2)


def test_rows_that_are_not_known_are_left_out():
    noise, values = rows_of()
    expected = torch.stack(batch_dependences(noise, values, READS, batch_of(noise)))
    more = torch.cat([noise, torch.full((50, 2), torch.nan)]).requires_grad_(True)
    given = torch.cat([values, torch.full((50, 2), torch.nan)])
    found = torch.stack(batch_dependences(more, given, READS, batch_of(noise)))
    assert torch.allclose(found, expected, atol=0.02)
    found.sum().backward()
    assert not more.grad[200:].any()
    assert more.grad.isfinite().all()
    # What is known of one column alone still counts against its parents.
    noise[:, 1] = torch.nan
    parents, others = batch_dependences(noise, values, READS, batch_of(noise))
    assert parents[0].item() == pytest.approx(expected[0, 0].item(), abs=0.02)
    assert not others.any()


def test_rounding_is_no_noise():
    noise, values = rows_of()
    noise = (1e-7 * noise).requires_grad_(True)
    found = batch_dependences(noise, values, READS, batch_of(noise))
    sum(x.sum() for x in found).backward()
    assert not noise.grad.any()


@pytest.mark.parametrize("n", [1, 2, 50])
def test_constant_samples_have_neither_dependence_nor_gradient(n):
    noise, values = torch.full((n, 2), 3.0, requires_grad=True), torch.ones(n, 2)
    found = torch.stack(batch_dependences(noise, values, READS, batch_of(noise)))
    assert not found.any()
    found.sum().backward()
    assert not noise.grad.any()


def test_rows_count_by_their_weights():
    noise, values = rows_of()
    twice = torch.cat([noise[:50], noise]), torch.cat([values[:50], values])
    weights = 1.0 + (torch.arange(200) < 50)
    found = batch_dependences(
        noise, values, READS, batch_of(noise)._replace(weights=weights)
    )
    expected = batch_dependences(*twice, READS, batch_of(noise))
    assert torch.allclose(torch.stack(found), torch.stack(expected), atol=0.02)


def test_it_sees_nothing_in_a_decoder():
    graph = dense_decoder(3, (5,), (4,))
    assert not NoisePenalty().applies_to(graph)
    assert AutoPenalty().applies_to(graph)
