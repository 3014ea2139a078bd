"""The exact mean over triplets without triplets: value, gradient, limits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from sklearn_icm.independence import SpectralPenalty
from sklearn_icm.independence import _gram as gram
from sklearn_icm.independence._correlations import Resizing
from sklearn_icm.independence._gram import mean_square_excess
from sklearn_icm.independence._pairs import mechanism_pairs
from sklearn_icm.independence._spectral import spectral_measure
from sklearn_icm.mechanisms import conv_decoder


def kernels(sizes, seed, channels=(2, 3, 4)):
    n_in, hidden, n_out = channels
    generator = torch.Generator().manual_seed(seed)
    w1 = torch.randn(
        hidden, n_in, *(a for a, _ in sizes), generator=generator, dtype=torch.float64
    )
    w2 = torch.randn(
        n_out, hidden, *(b for _, b in sizes), generator=generator, dtype=torch.float64
    )
    return w1.requires_grad_(), w2.requires_grad_()


def by_triplets(w1, w2, up, down, resizings=(None, None)):
    measure = spectral_measure(w1, w2, up, down, "triplet", resizings=resizings)
    return (measure.rho - 1).square().mean()


CASES = {
    "sizes": st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3
    ),
    "steps": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "resize": st.sampled_from([None, "nearest", "linear"]),
    "seed": st.integers(0, 99),
}


@given(**CASES)
def test_value_and_gradient_are_those_of_the_triplets(sizes, steps, resize, seed):
    w1, w2 = kernels(sizes, seed)
    up, down = ((s,) * len(sizes) for s in steps)
    resizings = (None, None if resize is None else Resizing(resize, up))
    found = mean_square_excess(w1, w2, up, down, resizings=resizings)
    expected = by_triplets(w1, w2, up, down, resizings)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)
    ours = torch.autograd.grad(found, (w1, w2))
    theirs = torch.autograd.grad(expected, (w1, w2), materialize_grads=True)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("sizes", [[(5, 4)], [(3, 3), (2, 4)]])
def test_gradcheck(sizes):
    w1, w2 = kernels(sizes, 0)
    steps = (1,) * len(sizes)
    assert torch.autograd.gradcheck(
        lambda a, b: mean_square_excess(a, b, steps, steps), (w1, w2)
    )


def test_blocks_change_nothing(monkeypatch):
    w1, w2 = kernels([(4, 3), (4, 3)], 0, channels=(3, 7, 5))
    whole = torch.autograd.grad(mean_square_excess(w1, w2), (w1, w2))
    monkeypatch.setattr(gram, "ENTRIES_PER_BLOCK", 1)
    blocked = torch.autograd.grad(mean_square_excess(w1, w2), (w1, w2))
    for a, b in zip(whole, blocked, strict=True):
        assert torch.allclose(a, b)


def test_channels_without_power_count_as_independent():
    w1, w2 = kernels([(3, 3)], 0)
    w1 = w1.detach().clone()
    w1[0] = 0
    w1.requires_grad_()
    found = mean_square_excess(w1, w2)
    assert torch.allclose(found, by_triplets(w1, w2, None, None))
    for gradient in torch.autograd.grad(found, (w1, w2)):
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_float32_is_exact_to_rounding_at_any_scale(scale):
    w1, w2 = kernels([(5, 4), (5, 4)], 0, channels=(16, 12, 8))
    expected = by_triplets(w1, w2, None, None)
    found = mean_square_excess((scale * w1).float(), w2.float() / scale)
    assert torch.allclose(found.double(), expected, rtol=1e-5)


def test_penalty_is_the_mean_over_the_triplets_of_real_mechanisms():
    graph = conv_decoder(4, (1, 14, 14), (6, 4)).double()
    found = SpectralPenalty("triplet", loss="squared")(graph)
    values = [
        (pair.measure("triplet").rho - 1).square().mean()
        for pair in mechanism_pairs(graph)
    ]
    assert torch.allclose(found, torch.stack(values).mean())


@pytest.mark.parametrize("form", ["pooled", "full"])
def test_squared_loss_of_the_other_forms(form):
    graph = conv_decoder(4, (1, 14, 14), (6, 4)).double()
    rhos = [pair.measure(form).rho for pair in mechanism_pairs(graph)]
    expected = torch.stack([(rho - 1).square().mean() for rho in rhos]).mean()
    assert torch.allclose(SpectralPenalty(form, loss="squared")(graph), expected)


def test_parameters_of_the_loss():
    penalty = clone(SpectralPenalty("triplet", loss="squared"))
    assert penalty == SpectralPenalty("triplet", loss="squared")
    graph = conv_decoder(4, (1, 14, 14), (6, 4))
    with pytest.raises(ValueError, match="loss must be one of"):
        SpectralPenalty(loss="cubic")(graph)
    with pytest.raises(ValueError, match="dead_band"):
        SpectralPenalty("triplet", loss="squared", dead_band=1.0)(graph)
