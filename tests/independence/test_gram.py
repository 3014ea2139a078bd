"""The exact mean over triplets without triplets: value, gradient, limits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from torch.profiler import profile

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import SpectralPenalty, Step
from sklearn_icm.independence import _correlations as correlations
from sklearn_icm.independence._correlations import Resizing
from sklearn_icm.independence._pairs import mechanism_pairs
from sklearn_icm.independence._spectral import (
    SPECTRAL,
    mean_square_excess,
    spectral_measure,
)
from sklearn_icm.mechanisms import LinearOperator, conv_decoder


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


def by_definition(w1, w2, up, down):
    """Power spectra of every triplet on a grid that holds all lags, by FFT."""
    axes = tuple(range(2, w1.ndim))
    size = [2 * (a + b) for a, b in zip(w1.shape[2:], w2.shape[2:], strict=True)]

    def spectrum(kernels, step):
        """Of every step-th lag."""
        whole = [n * s for n, s in zip(size, step, strict=True)]
        power = torch.fft.fftn(kernels, s=whole, dim=axes).abs().square()
        r = torch.fft.ifftn(power, dim=axes).real
        r = r[(..., *(slice(None, None, s) for s in step))]
        return torch.fft.fftn(r, dim=axes).real.flatten(2)

    p1, p2 = spectrum(w1, down), spectrum(w2.transpose(0, 1), up)
    products = torch.einsum("jif,jmf->jim", p1, p2) / p1.shape[-1]
    rho = products / (p1.mean(2)[:, :, None] * p2.mean(2)[:, None])
    return (rho - 1).square().mean()


@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3
    ),
    steps=st.tuples(*(st.integers(1, 3) for _ in range(3))),
    modes=st.tuples(*(st.sampled_from([None, "nearest", "linear"]) for _ in range(2))),
    seed=st.integers(0, 99),
)
def test_value_is_the_definition_on_a_grid(sizes, steps, modes, seed):
    """With both mechanisms' resizing filters folded into their kernels."""
    w1, w2 = kernels(sizes, seed)
    up, down, own = ((s,) * len(sizes) for s in steps)
    first = LinearOperator(w1, own, resize=modes[0])
    second = LinearOperator(w2, up, resize=modes[1])
    resizings = tuple(
        None if op.resize is None else Resizing(op.resize, op.upsample)
        for op in (first, second)
    )
    found = mean_square_excess(w1, w2, up, down, resizings=resizings)
    expected = by_definition(first.weight, second.weight, up, down)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", [[(5, 4)], [(3, 3), (2, 4)]])
def test_gradcheck(sizes):
    w1, w2 = kernels(sizes, 0)
    steps = (1,) * len(sizes)
    assert torch.autograd.gradcheck(
        lambda a, b: mean_square_excess(a, b, steps, steps), (w1, w2)
    )


def test_kernels_of_very_many_taps(monkeypatch):
    w1, w2 = kernels([(4, 3), (4, 3)], 0)
    expected = mean_square_excess(w1, w2)
    gradients = torch.autograd.grad(expected, (w1, w2))
    monkeypatch.setattr(correlations, "MOST_ENTRIES", 0)
    correlations.lag_matrices.cache_clear()
    found = mean_square_excess(w1, w2)
    correlations.lag_matrices.cache_clear()
    assert torch.allclose(found, expected)
    for a, b in zip(torch.autograd.grad(found, (w1, w2)), gradients, strict=True):
        assert torch.allclose(a, b)


def peak_bytes(call):
    """Most bytes of tensors allocated during a call that were not there before."""
    with profile(profile_memory=True) as profiler:
        call()
    events = profiler.profiler.kineto_results.events()
    now = peak = 0
    for event in events:
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


@pytest.mark.parametrize("channels", [(3, 7, 5), (30, 2, 40)])
def test_neither_order_of_the_products_changes_anything(channels):
    """Few kernels are multiplied with each other, many over lags; twice as well."""
    w1, w2 = kernels([(3, 2)], 0, channels=channels)
    gradients = [
        torch.autograd.grad(f(w1, w2), (w1, w2), create_graph=True)
        for f in (mean_square_excess, lambda a, b: by_triplets(a, b, None, None))
    ]
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs)
    assert torch.autograd.gradgradcheck(mean_square_excess, kernels([(3, 3)], 0))


def test_memory_does_not_grow_with_the_triplets():
    generator = torch.Generator().manual_seed(0)
    w1, w2 = (
        torch.randn(*shape, 4, 4, generator=generator, requires_grad=True)
        for shape in ((64, 128), (128, 64))
    )
    steps = ((2, 2), (1, 1))
    peak = peak_bytes(lambda: mean_square_excess(w1, w2, *steps).backward())
    assert peak < 0.5 * peak_bytes(lambda: by_triplets(w1, w2, *steps).backward())


@pytest.mark.parametrize("scale", [1e-15, 1.0])
def test_channels_without_power_count_as_independent(scale):
    w1, w2 = (scale * w.detach().float() for w in kernels([(3, 3)], 0))
    w1[0] = w2[:, 1] = 0
    w1.requires_grad_()
    w2.requires_grad_()
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
    found = SpectralPenalty("triplet", loss="squared")(Step(graph))
    values = [
        (SPECTRAL["triplet"].ratio(pair) - 1).square().mean()
        for pair in mechanism_pairs(graph)
    ]
    assert torch.allclose(found, torch.stack(values).mean())


@pytest.mark.parametrize("form", ["pooled", "full"])
def test_squared_loss_of_the_other_forms(form):
    graph = conv_decoder(4, (1, 14, 14), (6, 4)).double()
    rhos = [SPECTRAL[form].ratio(pair) for pair in mechanism_pairs(graph)]
    expected = torch.stack([(rho - 1).square().mean() for rho in rhos]).mean()
    assert torch.allclose(SpectralPenalty(form, loss="squared")(Step(graph)), expected)


def test_parameters_of_the_loss():
    penalty = clone(SpectralPenalty("triplet", loss="squared"))
    assert penalty == SpectralPenalty("triplet", loss="squared")
    graph = conv_decoder(4, (1, 14, 14), (6, 4))
    with pytest.raises(ValueError, match="loss must be one of"):
        SpectralPenalty(loss="cubic")(Step(graph))


def test_loss_can_be_searched():
    model = VAEGenerator(
        data_shape=(8, 8, 1),
        hidden=(3, 2),
        max_epochs=1,
        icm_penalty=SpectralPenalty("triplet"),
        icm_weight=1.0,
        random_state=0,
    )
    X = torch.rand(30, 64, generator=torch.Generator().manual_seed(0)).numpy()
    grid = {"icm_penalty__loss": ["log", "squared"]}
    search = GridSearchCV(model, grid, cv=KFold(2), refit=False).fit(X)
    assert search.cv_results_["mean_test_score"].shape == (2,)
