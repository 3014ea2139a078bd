"""Forms of the spectral ratio, and penalties that use them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from torch import nn

from sklearn_icm.exceptions import DegenerateMechanismWarning
from sklearn_icm.independence import (
    AutoPenalty,
    SpectralPenalty,
    Step,
    SumPenalty,
    TracePenalty,
    spectral_ratio,
)
from sklearn_icm.independence._spectral import spectral_measure
from sklearn_icm.independence._table import independence_table
from sklearn_icm.mechanisms import MechanismGraph, conv_decoder, dense_decoder

N = 24


def spectra(kernels, axes):
    return np.fft.fftn(kernels, s=(N,) * len(axes), axes=axes)


def kernels(seed, n_axes, hidden=3, n_in=2, n_out=4, size=4):
    rng = np.random.RandomState(seed)
    w1 = rng.randn(hidden, n_in, *(size,) * n_axes)
    return w1, rng.randn(n_out, hidden, *(size + 1,) * n_axes)


def spectral_matrices(w1, w2):
    """S_1 = W_1 W_1^H and W_2^H W_2 on a DFT grid, channels last."""
    axes = tuple(range(2, w1.ndim))
    first, second = (np.moveaxis(spectra(w, axes), (0, 1), (-2, -1)) for w in (w1, w2))
    s1 = first @ first.conj().swapaxes(-1, -2)
    return s1, second.conj().swapaxes(-1, -2) @ second


@given(seed=st.integers(0, 99), n_axes=st.integers(1, 2))
def test_full_form_is_its_definition(seed, n_axes):
    w1, w2 = kernels(seed, n_axes)
    s1, a2 = spectral_matrices(w1, w2)
    mean = lambda m: m.reshape(-1, *m.shape[-2:]).mean(0)  # noqa: E731
    expected = np.trace(mean(a2 @ s1)).real / np.trace(mean(a2) @ mean(s1)).real
    assert spectral_ratio(w1, w2, form="full") == pytest.approx([expected])


@given(seed=st.integers(0, 99), n_axes=st.integers(1, 2))
def test_inverse_of_the_full_form_is_the_mean_gain_of_frequency_shifts(seed, n_axes):
    """Closed form = the average over all shifts of the hidden node's spectrum."""
    w1, w2 = kernels(seed, n_axes)
    s1, a2 = spectral_matrices(w1, w2)

    def power(shift):
        moved = np.roll(s1, shift, axis=tuple(range(n_axes)))
        return np.einsum("...ij,...ji->...", a2, moved).real.mean()

    shifts = list(np.ndindex(*(N,) * n_axes))
    gains = np.array([power(s) for s in shifts]) / power((0,) * n_axes)
    rho = spectral_ratio(w1, w2, form="full")[0]
    assert gains.mean() == pytest.approx(1 / rho)


def test_triplets_are_pooled_ratios_of_single_kernels():
    w1, w2 = kernels(0, 2)
    triplets = spectral_ratio(w1, w2, form="triplet")
    assert triplets.shape == (3, 2, 4)
    for j, i, m in np.ndindex(3, 2, 4):
        single = spectral_ratio(w1[j : j + 1, i : i + 1], w2[m : m + 1, j : j + 1])
        assert triplets[j, i, m] == pytest.approx(single[0])


def test_forms_agree_on_single_channels():
    w1, w2 = kernels(0, 2, hidden=1, n_in=1, n_out=1)
    values = [
        spectral_ratio(w1, w2, form=f).item() for f in ("pooled", "triplet", "full")
    ]
    assert values == pytest.approx([values[0]] * 3)


def test_activation_form_of_white_input_is_the_pooled_form():
    """Maps made by the earlier kernels from white noise have their spectra."""
    rng = np.random.RandomState(0)
    w1, w2 = rng.randn(2, 1, 5), rng.randn(3, 2, 4)
    noise = rng.randn(200, 1, 304)
    maps = np.stack([[np.convolve(z[0], k[0], "valid") for k in w1] for z in noise])
    found = spectral_ratio(maps, w2, form="activation")
    assert found == pytest.approx(spectral_ratio(w1, w2), rel=0.05)
    moved = spectral_ratio(maps + 5.0, w2, form="activation")
    assert moved == pytest.approx(found)


def test_activation_form_by_products_of_shifted_maps():
    rng = np.random.RandomState(0)
    maps, w2 = rng.randn(5, 1, 9), rng.randn(1, 1, 3)
    centred = (maps - maps.mean())[:, 0]
    r1 = [np.mean([v[: 9 - t] @ v[t:] for v in centred]) for t in range(3)]
    k = w2[0, 0]
    r2 = [k[: 3 - t] @ k[t:] for t in range(3)]
    expected = (r1[0] * r2[0] + 2 * (r1[1] * r2[1] + r1[2] * r2[2])) / (r1[0] * r2[0])
    assert spectral_ratio(maps, w2, form="activation") == pytest.approx([expected])


@pytest.mark.parametrize("form", ["pooled", "triplet", "full"])
def test_gradients_of_every_form(form):
    w1, w2 = (torch.from_numpy(w).requires_grad_() for w in kernels(0, 2, size=2))
    ratio = lambda a, b: spectral_ratio(a, b, form=form)  # noqa: E731
    assert torch.autograd.gradcheck(ratio, (w1, w2))


def test_gradient_of_the_activation_form():
    maps = torch.randn(2, 2, 6, dtype=torch.float64, requires_grad=True)
    w2 = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    ratio = lambda a, b: spectral_ratio(a, b, form="activation")  # noqa: E731
    assert torch.autograd.gradcheck(ratio, (maps, w2))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: spectral_ratio(*kernels(0, 1), form="x"), "form must be one of"),
        (
            lambda: spectral_ratio(np.ones((0, 1, 3)), np.ones((1, 0, 3))),
            "not be empty",
        ),
        (
            lambda: spectral_ratio(
                np.ones((5, 2, 9)), np.ones((1, 3, 3)), form="activation"
            ),
            "equal hidden channels",
        ),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# ------------------------------------------------------------------ penalties
FORMS = [
    SpectralPenalty(),
    SpectralPenalty("triplet"),
    SpectralPenalty("full"),
    SpectralPenalty("activation"),
    SpectralPenalty("triplet", loss="squared"),
    SpectralPenalty(loss="squared"),
]
TRACE_FORMS = [TracePenalty(), TracePenalty("activation")]


def conv():
    torch.manual_seed(0)
    return conv_decoder(3, (1, 12, 9), (6, 4)).double()


def dense():
    torch.manual_seed(0)
    return dense_decoder(3, (9,), (6, 5)).double()


def batch(graph, n=40):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return graph(noise)


def test_isotropy_satisfies_the_ratio_but_not_in_null_deviations():
    """Theory 2c: shrinking anisotropy brings rho to 1, and leaves z where it was."""
    w1, w2 = (torch.from_numpy(w) for w in kernels(0, 1, hidden=1, n_in=1, n_out=1))
    delta = torch.zeros_like(w2)
    delta[..., 2] = 1.0

    def both(share):
        measure = spectral_measure(w1, share * w2 + (1 - share) * delta)
        rho = measure.rho.item()
        return abs(rho - 1), abs(rho - 1) / measure.null_sd.item()

    (distance, z), (smaller, same_z) = both(1e-2), both(1e-4)
    assert smaller < 0.02 * distance
    assert same_z == pytest.approx(z, rel=0.1)
    assert z > 0.1


def test_activation_form_needs_node_values():
    with pytest.raises(ValueError, match="call it on Step.graph, nodes."):
        SpectralPenalty("activation")(Step(conv()))


EXTREMES = [*FORMS, *TRACE_FORMS, AutoPenalty()]


@pytest.mark.parametrize("penalty", EXTREMES, ids=repr)
@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_huge_and_tiny_weights_in_single_precision(penalty, scale):
    """Ratios do not depend on the scale of the weights, nor do they overflow."""
    make = dense if isinstance(penalty, TracePenalty) else conv
    values = []
    for factor in (1.0, scale):
        graph = make().float()
        with torch.no_grad():
            for module in graph.mechanisms:
                next(module.parameters()).mul_(factor)
        nodes = batch(make())
        nodes = {k: factor * v.float() for k, v in nodes.items()}
        values.append(penalty(Step(graph, nodes)))
        values[-1].backward()
        assert all(
            p.grad is None or p.grad.isfinite().all() for p in graph.parameters()
        )
    assert values[1].item() == pytest.approx(values[0].item(), rel=1e-3)


@pytest.mark.parametrize("form", ["pooled", "triplet", "full"])
def test_nan_weights_are_not_independent(form):
    graph = conv()
    with torch.no_grad():
        next(graph.mechanisms[1].parameters()).view(-1)[0] = np.nan
    assert SpectralPenalty(form)(Step(graph)).isnan()
    with pytest.raises(ValueError, match="conv1 -> conv2.*not finite"):
        independence_table(graph)


def test_single_channels_are_not_flagged():
    torch.manual_seed(0)
    graph = conv_decoder(3, (1, 12, 9), (6, 1))
    nodes = {k: v.detach() for k, v in graph(torch.randn(20, 3)).items()}
    for seed in (0, 320, 424):
        assert not independence_table(graph, nodes, seed=seed)["degenerate"].any()


def test_opposite_kernels_average_to_white():
    """Every triplet is far from 1, and their mean cannot be: flagged, not divided."""
    graph = MechanismGraph(
        {"noise": (2, 9)},
        {
            "hidden": ("noise", nn.Conv1d(2, 1, 2)),
            "data": ("hidden", nn.Conv1d(1, 1, 2)),
        },
    )
    first, second = graph.mechanisms
    with torch.no_grad():
        first.weight[0] = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        second.weight[0] = torch.tensor([[1.0, 2.0]])
    with pytest.warns(DegenerateMechanismWarning):
        row = independence_table(graph, measure="triplet", n_draws=9).iloc[0]
    assert row["rho"] == pytest.approx(1)
    assert np.isnan(row["low"])


def test_sum_of_penalties_and_its_terms():
    graph = conv()
    nodes = batch(graph)
    parts = [SpectralPenalty(), SpectralPenalty("triplet")]
    total = SumPenalty(parts, weights=[2.0, 0.5])
    values = [p(Step(graph, nodes)) for p in parts]
    assert total(Step(graph, nodes)).item() == pytest.approx(
        (2 * values[0] + 0.5 * values[1]).item()
    )
    assert list(total.terms(Step(graph, nodes))) == [
        "0 SpectralPenalty",
        "1 SpectralPenalty",
    ]
    assert clone(total) == total
    assert total.applies_to(graph)
    assert not SumPenalty([TracePenalty()]).applies_to(graph)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan]])
def test_bad_weights_of_a_sum(weights):
    total = SumPenalty([SpectralPenalty(), TracePenalty()], weights)
    with pytest.raises(ValueError, match="2 finite numbers >= 0"):
        total(Step(conv()))


@pytest.mark.parametrize(
    "forms",
    [["weights", "triplet"], pytest.param(["full"], marks=pytest.mark.slow)],
    ids=str,
)
def test_measures_of_wide_generators_stay_within_a_gibibyte(forms):
    """512, 256 and 128 channels: the whole process, in one of its own."""
    code = f"""
import resource, torch
from sklearn_icm.independence._table import independence_table
from sklearn_icm.mechanisms import conv_decoder
torch.set_num_threads(1)
graph = conv_decoder(8, (3, 32, 32), (512, 256, 128), kernel_size=5)
for form in {forms}:
    independence_table(graph, measure=form)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert float(output) < 1


def test_blocks_of_channels_change_no_triplet():
    w1, w2 = kernels(0, 1, hidden=70)
    blocked = spectral_measure(
        torch.from_numpy(w1), torch.from_numpy(w2), form="triplet"
    )
    for j in (0, 31, 32, 69):
        single = spectral_ratio(w1[j : j + 1], w2[:, j : j + 1], form="triplet")
        assert blocked.rho[j].numpy() == pytest.approx(single[0])
    assert blocked.null_sd.shape == (70,)
