import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import circulant

from sklearn_icm.datasets import make_conv_chain, make_linear_chain
from sklearn_icm.independence import spectral_ratio, trace_ratio
from sklearn_icm.independence._pairs import mechanism_pairs

LINEAR = make_linear_chain(200, n_features=6, n_layers=3, random_state=0)
CONV = make_conv_chain(200, random_state=0)


def test_linear_data_are_the_product_of_the_weights():
    w1, w2, w3 = LINEAR.weights
    assert np.allclose(LINEAR.render(), LINEAR.factors["z"] @ (w3 @ w2 @ w1).T)
    turned = LINEAR.factors["z"] @ (w3 @ w2 @ LINEAR.rotation @ w1).T
    assert np.allclose(LINEAR.data[LINEAR.pairs[1]], turned)


def test_transforms_at_each_hidden_node():
    w1, w2, w3 = LINEAR.weights
    g = np.random.RandomState(0).randn(6, 6)
    z = LINEAR.factors["z"]
    assert np.allclose(LINEAR.render(g), z @ (w3 @ w2 @ g @ w1).T)
    assert np.allclose(LINEAR.render(g, node="dense2"), z @ (w3 @ g @ w2 @ w1).T)
    assert np.allclose(LINEAR.render(np.eye(6)), LINEAR.render())


@given(n_features=st.integers(2, 12), seed=st.integers(0, 99))
def test_the_rotation_keeps_the_hidden_node_s_power(n_features, seed):
    world = make_linear_chain(5, n_features=n_features, random_state=seed)
    noise = torch.from_numpy(world.noise).float()
    before = world.mechanisms(noise)["dense1"].norm(dim=1)
    after = world.mechanisms(noise, world.interventions["rotated"])["dense1"]
    assert torch.allclose(before, after.norm(dim=1), rtol=1e-4)


def test_successive_weights_are_generic():
    """The trace ratio is 1 on average, with the deviation of the closed-form null."""
    n, n_seeds = 20, 200
    worlds = (
        make_linear_chain(1, n_features=n, random_state=s) for s in range(n_seeds)
    )
    ratios = [trace_ratio(b, a @ a.T) for a, b in (w.weights for w in worlds)]
    sd = np.sqrt(2 / ((n - 1) * (n + 2)))
    assert np.mean(ratios) == pytest.approx(1, abs=5 * sd / np.sqrt(n_seeds))
    assert np.std(ratios) == pytest.approx(sd, rel=5 / np.sqrt(2 * n_seeds))


def test_each_mechanism_keeps_the_expected_power():
    worlds = (make_linear_chain(1, n_features=10, random_state=s) for s in range(200))
    powers = [np.mean(w.weights[0] ** 2) * 10 for w in worlds]
    # The mean of 100 squares of standard normals, of 200 seeds.
    assert np.mean(powers) == pytest.approx(1, abs=5 * np.sqrt(2 / 100 / 200))


def test_convolutions_are_circular_with_lag_0_at_the_middle():
    matrices = [circulant(np.roll(k, -(len(k) // 2))) for k in CONV.kernels]
    means = CONV.factors["z"] @ (matrices[1] @ matrices[0]).T
    assert np.allclose(CONV.render() - CONV.observation_noise, means)


def test_kernels_are_those_of_the_theory():
    k1, k2 = CONV.kernels
    assert np.flatnonzero(k1).tolist() == [24, 40]
    assert np.linalg.norm(k1) == pytest.approx(1)
    assert np.linalg.norm(k2) == pytest.approx(1)
    lags = np.arange(64) - 32
    hat = np.exp(-(lags**2) / 8) * (1 - 0.9 * np.exp(-(lags**2) / (2 * 0.8**2)))
    assert np.allclose(k2, hat / np.linalg.norm(hat))
    stretched = np.zeros(64)
    stretched[[21, 43, 19, 45]] = np.sqrt(0.5) / 3
    stretched[[20, 44]] = np.sqrt(0.5)
    assert np.allclose(CONV.stretched_kernel, stretched)


@given(n_features=st.integers(32, 80))
def test_kernels_are_spectrally_independent(n_features):
    kernels = make_conv_chain(2, n_features=n_features, random_state=0).kernels
    power = [np.abs(np.fft.fft(k)) ** 2 for k in kernels]
    circular = (power[0] * power[1]).mean() / (power[0].mean() * power[1].mean())
    assert circular == pytest.approx(1, abs=1e-5)
    k1, k2 = (k[None, None] for k in kernels)
    assert spectral_ratio(k1, k2) == pytest.approx(1, abs=1e-5)


def test_the_mechanisms_know_their_kernels():
    (pair,) = mechanism_pairs(CONV.mechanisms)
    for operator, kernel in zip((pair.earlier, pair.later), CONV.kernels, strict=True):
        assert np.allclose(operator.taps.detach().flatten(), kernel)


@given(stretch=st.floats(0.5, 4.0))
def test_a_stretched_first_kernel_is_the_intervention(stretch):
    world = make_conv_chain(5, stretch=stretch, random_state=0)
    graph = copy.deepcopy(world.mechanisms)
    with torch.no_grad():
        kernel = torch.from_numpy(world.stretched_kernel).flip(0)
        graph.mechanism("conv1")[1].weight.copy_(kernel[None, None])
        means = graph(torch.from_numpy(world.noise).float())["data"].flatten(1)
    rows = means.numpy() + world.observation_noise
    assert np.allclose(rows, world.data[5:], atol=1e-5)
    assert np.array_equal(CONV.render(1.0), CONV.data[:200])


def test_label_noise_is_shared_by_the_pairs():
    quiet = make_conv_chain(200, label_noise=0, random_state=0)
    differences = [w.data[w.pairs[1]] - w.data[w.pairs[0]] for w in (CONV, quiet)]
    assert np.allclose(*differences)
    assert not quiet.observation_noise.any()
    sd = CONV.observation_noise.std()
    assert sd == pytest.approx(0.5, rel=5 / np.sqrt(2 * CONV.data[:200].size))


@pytest.mark.parametrize(
    ("make", "params", "match"),
    [
        (make_linear_chain, {"n_features": 1}, "n_features == 1, must be >= 2"),
        (make_linear_chain, {"n_layers": 1}, "n_layers == 1, must be >= 2"),
        (make_conv_chain, {"n_features": 31}, "n_features == 31, must be >= 32"),
        (make_conv_chain, {"stretch": 0}, "stretch == 0, must be > 0"),
        (make_conv_chain, {"stretch": np.nan}, "stretch must be finite"),
        (make_conv_chain, {"label_noise": -1}, "label_noise == -1, must be >= 0"),
    ],
)
def test_bad_parameters(make, params, match):
    with pytest.raises(ValueError, match=match):
        make(5, **params)


@pytest.mark.parametrize("transform", [np.ones(6), np.eye(5), np.full((6, 6), np.inf)])
def test_bad_transform(transform):
    with pytest.raises(ValueError, match=r"transform must be .* \(6, 6\), got"):
        LINEAR.render(transform)


@pytest.mark.parametrize("node", ["noise", "data", "dense3"])
def test_bad_node(node):
    with pytest.raises(ValueError, match=r"node must be .*dense1.*dense2.*got"):
        LINEAR.render(np.eye(6), node=node)


def test_bad_stretch_of_render():
    with pytest.raises(ValueError, match="stretch == -1, must be > 0"):
        CONV.render(-1)
