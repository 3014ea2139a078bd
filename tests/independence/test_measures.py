import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.exceptions import DegenerateMechanismWarning
from sklearn_icm.independence import _correlations as correlations
from sklearn_icm.independence import anisotropy, spectral_ratio, trace_ratio
from sklearn_icm.independence._correlations import (
    Lags,
    Resizing,
    kernel_units,
    pooled_units,
)
from sklearn_icm.independence._spectral import spectral_measure
from sklearn_icm.independence._trace import normalised_pair, trace_measure


def ratio_by_fft(w1, w2, up, down, n=24):
    """The definition: mean power spectra on a DFT grid that holds every lag."""
    axes = tuple(range(2, w1.ndim))

    def spectrum(kernels, step):
        shape = (n * step,) * len(axes)
        power = np.abs(np.fft.fftn(kernels, s=shape, axes=axes)) ** 2
        r = np.fft.ifftn(power, axes=axes).real
        r = r[(slice(None), slice(None)) + (slice(None, None, step),) * len(axes)]
        return np.fft.fftn(r, axes=axes).real

    p1, p2 = spectrum(w1, down).sum(1), spectrum(w2, up).sum(0)
    grid = tuple(range(1, p1.ndim))
    return (p1 * p2).mean(grid) / (p1.mean(grid) * p2.mean(grid))


@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3
    ),
    up=st.integers(1, 3),
    down=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_autocorrelation_form_is_the_fft_form(sizes, up, down, seed):
    rng = np.random.RandomState(seed)
    w1 = rng.randn(2, 3, *(a for a, _ in sizes))
    w2 = rng.randn(2, 2, *(b for _, b in sizes))
    found = spectral_ratio(w1, w2, upsample=up, downsample=down)
    assert np.allclose(found, ratio_by_fft(w1, w2, up, down), atol=1e-6)


def half_lags(kernel):
    """Correlations of one kernel: lag zero, then one of each pair by root 2."""
    size = [2 * n - 1 for n in kernel.shape]
    power = np.abs(np.fft.fftn(kernel, s=size, axes=range(len(size)))) ** 2
    r = np.fft.fftshift(np.fft.ifftn(power).real).flatten()
    r = r[len(r) // 2 :]
    return r * np.where(np.arange(len(r)) == 0, 1, np.sqrt(2))


@given(
    size=st.lists(st.integers(1, 5), min_size=1, max_size=3), seed=st.integers(0, 99)
)
def test_units_are_correlations_over_the_power(size, seed):
    kernels = np.random.RandomState(seed).randn(2, 3, *size)
    r = np.stack([[half_lags(k) for k in row] for row in kernels])
    lags, kernels = Lags.of(tuple(size), (1,) * len(size)), torch.from_numpy(kernels)
    assert np.allclose(kernel_units(kernels, lags), (r / r[..., :1])[..., 1:])
    r = r.sum(1)
    assert np.allclose(pooled_units(kernels, lags), (r / r[:, :1])[:, 1:])


@pytest.mark.parametrize("most_entries", [0, 1000])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_large_kernels_are_transformed(monkeypatch, most_entries, mode):
    """By FFT, or by the waves alone, to the same as with all matrices."""
    kernels = torch.from_numpy(np.random.RandomState(0).randn(2, 3, 4, 3))
    lags = Lags.of((4, 3), (2, 1), Resizing(mode, (2, 3))).within((2, 2))
    expected = kernel_units(kernels, lags), pooled_units(kernels, lags)
    monkeypatch.setattr(correlations, "MOST_ENTRIES", most_entries)
    correlations.lag_matrices.cache_clear()
    matrices = correlations.lag_matrices(lags, kernels.dtype, kernels.device)
    assert matrices is None if most_entries == 0 else matrices.products is None
    found = kernel_units(kernels, lags), pooled_units(kernels, lags)
    correlations.lag_matrices.cache_clear()
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b)


def test_pooled_units_can_be_differentiated_twice():
    kernels = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    units = lambda k: pooled_units(k, Lags.of((4,), (1,)))  # noqa: E731
    assert torch.autograd.gradgradcheck(units, kernels)
    # The fixed scale is the one step that has no gradient, and it cancels.
    assert torch.autograd.gradcheck(units, kernels)


@pytest.mark.parametrize("form", ["pooled", "triplet"])
@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_a_silent_channel_at_any_scale_has_a_gradient(form, scale):
    w1, w2 = scale * torch.randn(3, 2, 3), torch.randn(4, 3, 4)
    w1[0] = w2[:, 1] = 0
    w1.requires_grad_()
    w2.requires_grad_()
    measure = spectral_measure(w1, w2, form=form)
    assert (measure.rho[:2] == 1).all()
    measure.rho.log().square().sum().backward()
    assert w1.grad.isfinite().all()
    assert w2.grad.isfinite().all()
    assert w1.grad[2].any()


def test_matrices_made_in_inference_mode_serve_training():
    correlations.lag_matrices.cache_clear()
    w1, w2 = torch.randn(2, 1, 3, 3), torch.randn(1, 2, 3, 3)
    with torch.inference_mode():
        spectral_measure(w1, w2)
    w1.requires_grad_()
    spectral_measure(w1, w2).rho.sum().backward()
    assert w1.grad.isfinite().all()


def test_spectral_ratio_is_gauge_free():
    """Scaling a channel, or flipping its kernels, changes nothing."""
    rng = np.random.RandomState(0)
    w1, w2 = rng.randn(3, 2, 5, 5), rng.randn(4, 3, 3, 3)
    rho = spectral_ratio(w1, w2)
    scale = np.array([0.1, 2.0, 30.0])[:, None, None, None]
    assert np.allclose(
        spectral_ratio(w1 * scale, w2 / scale.transpose(1, 0, 2, 3)), rho
    )
    assert np.allclose(spectral_ratio(w1[..., ::-1, ::-1].copy(), w2), rho)


def test_isotropic_kernel_gives_one_and_zero_spread():
    delta = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    delta[0, 0, 1, 1] = 1
    measure = spectral_measure(delta, torch.randn(2, 1, 5, 5, dtype=torch.float64))
    assert measure.rho.item() == pytest.approx(1)
    assert measure.null_sd.item() == pytest.approx(0, abs=1e-15)
    assert measure.anisotropy_in.item() == pytest.approx(0, abs=1e-15)


def test_kernel_no_longer_than_the_stride_gives_one():
    w1, w2 = torch.randn(2, 1, 3), torch.randn(1, 2, 2)
    measure = spectral_measure(w1, w2, upsample=(2,))
    assert torch.equal(measure.rho, torch.ones(2))
    assert torch.equal(measure.null_sd, torch.zeros(2))


def test_aligned_spectra_are_seen():
    smooth = np.ones((1, 1, 5))
    assert spectral_ratio(smooth, smooth)[0] > 2
    wiggly = smooth * [1, -1, 1, -1, 1]
    assert spectral_ratio(smooth, wiggly)[0] < 0.4


@pytest.mark.parametrize(
    ("size", "mean_sd"), [((3, 3), 0.23), ((5, 5), 0.17), ((3,), 0.29), ((65,), 0.14)]
)
def test_null_spread_of_theory_2b(size, mean_sd):
    """Published spreads of iid kernels, which were estimated from few draws."""
    generator = torch.Generator().manual_seed(0)
    options = {"generator": generator, "dtype": torch.float64}
    w1 = torch.randn(2000, 1, *size, **options)
    w2 = torch.randn(1, 2000, *size, **options)
    measure = spectral_measure(w1, w2)
    sd = measure.rho.std().item()
    assert measure.rho.mean().item() == pytest.approx(1, abs=5 * sd / 2000**0.5)
    assert sd == pytest.approx(mean_sd, abs=0.03)
    predicted = measure.null_sd.square().mean().sqrt().item()
    assert predicted == pytest.approx(sd, rel=0.12)


def test_trace_null_deviation_over_rotations():
    """The closed form is the spread over Haar rotations, for fixed factors."""
    torch.manual_seed(0)
    w = torch.randn(4, 6, dtype=torch.float64)
    a = torch.randn(6, 6, dtype=torch.float64)
    s, n = a @ a.T, 4000
    q, r = torch.linalg.qr(torch.randn(n, 6, 6, dtype=torch.float64))
    q = q * torch.diagonal(r, dim1=1, dim2=2).sign()[:, None]
    rho = torch.stack([trace_measure(w @ g, s).rho[0] for g in q])
    sd = trace_measure(w, s).null_sd.item()
    assert rho.mean().item() == pytest.approx(1, abs=5 * sd / n**0.5)
    assert rho.std().item() == pytest.approx(sd, rel=5 * (1.5 / n) ** 0.5)


def test_trace_ratio_is_the_definition():
    rng = np.random.RandomState(0)
    w, a = rng.randn(3, 5), rng.randn(5, 5)
    s = a @ a.T
    tau = lambda m: np.trace(m) / len(m)  # noqa: E731
    expected = tau(w @ s @ w.T) / (tau(w @ w.T) * tau(s))
    assert trace_ratio(w, s) == pytest.approx(expected)


def test_forward_and_backward_ratios_multiply_as_in_theory_2a():
    rng = np.random.RandomState(0)
    a, b = rng.randn(4, 4), rng.randn(4, 4)
    s = b @ b.T
    tau = lambda m: np.trace(m) / len(m)  # noqa: E731
    forward = trace_ratio(a, s)
    backward = trace_ratio(np.linalg.inv(a), a @ s @ a.T)
    expected = 1 / (tau(a @ a.T) * tau(np.linalg.inv(a.T @ a)))
    assert forward * backward == pytest.approx(expected)


def test_normalising_hidden_units_removes_the_gauge_of_relu_networks():
    rng = np.random.RandomState(0)
    w1, w2 = torch.from_numpy(rng.randn(4, 3)), torch.from_numpy(rng.randn(2, 4))
    d = torch.tensor([0.1, 1.0, 5.0, 20.0], dtype=torch.float64)
    for a, b in zip(
        normalised_pair(w1, w2), normalised_pair(w1 * d[:, None], w2 / d), strict=True
    ):
        # The ratios do not see an overall scale, which keeps large weights finite.
        assert torch.allclose(a / a.abs().max(), b / b.abs().max())


def test_single_unit_and_silent_channels_are_defined():
    assert trace_ratio(np.ones((3, 1)), np.eye(1)) == 1.0
    w1, w2 = np.ones((2, 1, 3)), np.ones((1, 2, 3))
    w1[1] = 0
    with pytest.warns(DegenerateMechanismWarning, match="hidden channel 1"):
        rho = spectral_ratio(w1, w2)
    assert rho[0] > 1.5
    assert rho[1] == 1


def test_zero_power_has_a_value_and_a_gradient():
    """In a loss neither is ever NaN."""
    w1 = torch.zeros(2, 1, 3, requires_grad=True)
    w2 = torch.ones(1, 2, 3, requires_grad=True)
    measure = spectral_measure(w1, w2)
    measure.rho.log().square().sum().backward()
    assert measure.rho.tolist() == [1, 1]
    assert w1.grad.isfinite().all()
    assert w2.grad.isfinite().all()
    w = torch.zeros(3, 2, requires_grad=True)
    measure = trace_measure(w, torch.eye(2))
    measure.rho.log().square().sum().backward()
    assert w.grad.isfinite().all()


def test_anisotropy_extremes():
    assert anisotropy(np.eye(7)) == 0
    assert anisotropy(np.diag([1.0, 0, 0, 0])) == pytest.approx(0.75)
    assert anisotropy(np.zeros((2, 2))) == 0


def test_gradients_in_double_precision():
    torch.manual_seed(0)
    options = {"dtype": torch.float64, "requires_grad": True}
    w1, w2 = torch.randn(2, 2, 3, 3, **options), torch.randn(3, 2, 4, 4, **options)
    assert torch.autograd.gradcheck(
        lambda a, b: spectral_ratio(a, b, upsample=2), (w1, w2)
    )
    w, s = torch.randn(3, 4, **options), torch.randn(4, 4, **options)
    assert torch.autograd.gradcheck(lambda a, b: trace_ratio(a, b @ b.T), (w, s))


def test_gradient_of_the_dense_form_is_theory_3():
    """d log rho / dW_1 = 2 W_2^T M / ||M||^2 - 2 W_1 / ||W_1||^2, M = W_2 W_1."""
    torch.manual_seed(0)
    w1 = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    w2 = torch.randn(4, 4, dtype=torch.float64)
    trace_ratio(w2, w1 @ w1.T).log().backward()
    m = (w2 @ w1).detach()
    first = w1.detach()
    expected = 2 * w2.T @ m / m.square().sum() - 2 * first / first.square().sum()
    assert torch.allclose(w1.grad, expected)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: spectral_ratio(np.ones((2, 1, 3)), np.ones((1, 3, 3))),
            "equal hidden",
        ),
        (
            lambda: spectral_ratio(np.ones((2, 3)), np.ones((1, 2))),
            "1 to 3 kernel axes",
        ),
        (
            lambda: spectral_ratio(np.full((1, 1, 3), np.nan), np.ones((1, 1, 3))),
            "finite",
        ),
        (
            lambda: spectral_ratio(np.ones((1, 1, 3)), np.ones((1, 1, 3)), upsample=0),
            "upsample must be a positive int",
        ),
        (lambda: trace_ratio(np.ones((2, 3)), np.eye(2)), r"w must be \(e, d\)"),
        (lambda: anisotropy(np.ones((2, 3))), "must be square"),
        (lambda: trace_ratio(np.zeros((3, 2)), np.eye(2)), "w must not be all zero"),
        (
            lambda: spectral_ratio(np.ones((1, 1, 3)), np.zeros((1, 1, 3))),
            "w2 must not be all zero",
        ),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_maps_have_no_stride_of_the_earlier_mechanism():
    maps, later = np.ones((4, 2, 9)), np.ones((1, 2, 3))
    with pytest.raises(ValueError, match="downsample must be 1 with form=.activation"):
        spectral_ratio(maps, later, form="activation", downsample=3)
