import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sklearn_icm.independence import IMAPenalty, Step, ima_contrast, jacobian
from sklearn_icm.independence._ima import RIDGE_IN_EPS
from sklearn_icm.mechanisms import (
    MechanismGraph,
    conv_decoder,
    dense_decoder,
    dense_encoder,
)

SHAPES = st.tuples(st.integers(1, 4), st.integers(0, 3))
SEEDS = st.integers(0, 999)
PENALTY = IMAPenalty()


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def net(activation=nn.Tanh, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), activation(), nn.Linear(5, 4)).double()


def decoder(n_features=6):
    torch.manual_seed(0)
    return dense_decoder(3, (n_features,), (8,), activation="tanh").double()


def nodes_of(graph):
    return graph(randn(8, *graph.roots["noise"]))


def two_roots():
    module = nn.Bilinear(2, 2, 6)
    return MechanismGraph({"a": (2,), "b": (2,)}, {"data": (("a", "b"), module)})


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.Softplus])
def test_jacobian_is_that_of_autograd(activation):
    f, z = net(activation), randn(5, 3)
    expected = [
        torch.autograd.functional.jacobian(lambda r: f(r[None])[0], row) for row in z
    ]
    assert torch.allclose(jacobian(f, z), torch.stack(expected))


def test_jacobian_of_a_linear_map_is_its_matrix():
    w = randn(2, 4, 3, 5)
    found = jacobian(lambda z: torch.einsum("abij,nij->nab", w, z), randn(6, 3, 5))
    assert torch.allclose(found, w.reshape(8, 15).expand(6, 8, 15))
    scalar = jacobian(lambda z: 3 * z, torch.tensor([1.0, 2.0]))
    assert torch.equal(scalar, torch.full((2, 1, 1), 3.0))


def test_gradients_reach_parameters_and_rows():
    f, z = net(), randn(2, 3).requires_grad_()
    jacobian(f, z).square().sum().backward()
    for value in (z, f[0].weight, f[0].bias, f[2].weight):
        assert 0 < value.grad.abs().sum() < math.inf


def test_gradients_of_maps_in_double_precision():
    w = randn(4, 3).requires_grad_()
    z = randn(2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda w, z: jacobian(lambda x: torch.tanh(x @ w.T), z), (w, z)
    )


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Softplus, nn.Tanh])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_maps_are_the_same_without_gradients(activation, context):
    f, z = net(activation), randn(2, 3)
    expected = jacobian(f, z).detach()
    with context():
        found = jacobian(f, z)
    assert torch.allclose(found, expected)
    assert not found.requires_grad


@given(shape=SHAPES, seed=SEEDS)
def test_ima_contrast_is_the_definition_and_not_negative(shape, seed):
    k, extra = shape
    j = randn(3, k + extra, k, seed=seed)
    expected = j.norm(dim=1).log().sum(1) - torch.logdet(j.mT @ j) / 2
    found = ima_contrast(j)
    assert (found >= 0).all()
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-9)


@given(shape=SHAPES, seed=SEEDS, log_scale=st.floats(-30, 30))
def test_orthogonal_columns_of_any_length_are_the_zero(shape, seed, log_scale):
    k, extra = shape
    q = torch.linalg.qr(randn(k + extra, k, seed=seed)).Q
    j = q * torch.linspace(1, math.exp(log_scale), k, dtype=torch.float64)
    assert ima_contrast(j).item() == pytest.approx(0, abs=1e-12)


@given(seed=SEEDS)
def test_ima_contrast_ignores_rotations_of_outputs_and_lengths_of_columns(seed):
    j, scale = randn(2, 5, 3, seed=seed), randn(3, seed=seed + 1).exp()
    rotation = torch.linalg.qr(randn(5, 5, seed=seed)).Q
    expected = ima_contrast(j)
    assert torch.allclose(ima_contrast(rotation @ j * -scale), expected)
    assert torch.allclose(ima_contrast(j * 1e250), expected)


@given(angle=st.floats(0.05, math.pi - 0.05))
def test_ima_contrast_of_two_columns_is_minus_log_sine(angle):
    j = np.array([[2.0, math.cos(angle)], [0.0, math.sin(angle)]])
    assert ima_contrast(j) == pytest.approx(-math.log(math.sin(angle)), abs=1e-9)


def test_gradient_of_the_contrast_in_double_precision():
    assert torch.autograd.gradcheck(ima_contrast, (randn(2, 5, 3).requires_grad_(),))


def test_results_are_like_the_input():
    f, j = ima_contrast, randn(2, 5, 3)
    found = f(j.numpy())
    assert isinstance(found, np.ndarray)
    assert np.allclose(found, f(j).numpy())
    assert isinstance(f(j[0].numpy()), float)
    assert f(j[0].numpy()) == pytest.approx(found[0])
    assert f(j[0]).ndim == 0
    assert f(j.float()).dtype == torch.float32


def degenerate_matrices():
    """Zero, an unused input, twins, rank one, next to zero, one entry, almost twins."""
    j = randn(7, 5, 3)
    j[0], j[1, :, 0], j[5, 1:], j[5, :, 1:] = 0, 0, 0, 0
    j[2, :, 1], j[3], j[4] = j[2, :, 0], j[3, :, :1], 1e-200 * j[4]
    j[6, :, 1] = j[6, :, 0] * (1 + 1e-14)
    return j


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_matrices_have_finite_values_and_gradients(dtype):
    j = degenerate_matrices().to(dtype).requires_grad_()
    value = ima_contrast(j)
    value.sum().backward()
    assert value.isfinite().all()
    assert (value >= 0).all()
    assert j.grad.isfinite().all()


def test_ima_contrast_of_rank_deficient_matrices_is_the_stated_bound():
    zero, one_dead, twins, rank_one, *_ = ima_contrast(degenerate_matrices()).tolist()
    delta = RIDGE_IN_EPS * 3 * torch.finfo(torch.float64).eps
    alive = ima_contrast(degenerate_matrices()[1, :, 1:]).item()
    assert zero == 0
    assert one_dead == pytest.approx(alive)
    assert alive < twins < rank_one < math.log(1 / delta)
    assert rank_one == pytest.approx(math.log(1 / delta) - math.log(3) / 2, abs=0.01)


def test_a_single_column_has_nothing_to_compare():
    assert ima_contrast(randn(4, 1).numpy()) == 0


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_penalties_do_not_depend_on_the_unit_of_the_data(scale):
    graph = decoder()
    before = PENALTY(Step(graph, nodes_of(graph))).item()
    with torch.no_grad():
        for parameter in graph.mechanisms[-1].parameters():
            parameter *= scale
    assert PENALTY(Step(graph, nodes_of(graph))).item() == pytest.approx(before)


def linear_decoder(weight):
    graph = dense_decoder(weight.shape[1], (len(weight),), ()).double()
    with torch.no_grad():
        graph.mechanisms[0].linear.weight.copy_(weight)
    return graph


def test_perfect_decoders_cost_nothing_and_the_worst_cost_the_bound():
    graph = linear_decoder(torch.eye(6)[:, [4, 0, 2]] * 7)
    assert PENALTY(Step(graph, nodes_of(graph))) == 0
    graph = linear_decoder(torch.full((6, 3), -0.3))
    delta = RIDGE_IN_EPS * 3 * torch.finfo(torch.float64).eps
    worst = PENALTY(Step(graph, nodes_of(graph)))
    assert math.log(1 / delta) / 4 < worst < math.log(1 / delta) / 3


def test_the_penalty_is_the_mean_of_the_contrast_over_the_first_rows():
    graph = decoder()
    nodes = nodes_of(graph)
    j = jacobian(lambda z: graph(z)["data"], nodes["noise"][:3])
    expected = ima_contrast(j).mean().item() / 3
    assert IMAPenalty(n_rows=3)(Step(graph, nodes)).item() == pytest.approx(expected)


def value_with_finite_gradients(graph, nodes):
    value = PENALTY(Step(graph, nodes))
    graph.zero_grad()
    # The second term is that of a loss: a penalty of 0 may have no gradient.
    (value + sum(p.sum() for p in graph.parameters())).backward()
    assert value.isfinite()
    assert all(p.grad.isfinite().all() for p in graph.parameters())
    return value.item()


def test_zero_jacobians_cost_nothing_and_unused_latents_are_defined():
    graph = decoder()
    nn.init.zeros_(graph.mechanisms[0].linear.weight[:, 1])
    assert value_with_finite_gradients(graph, nodes_of(graph)) >= 0
    nn.init.zeros_(graph.mechanisms[-1].linear.weight)
    assert value_with_finite_gradients(graph, nodes_of(graph)) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_rows_are_left_out(bad):
    graph, rows = decoder(), randn(2, 3)
    rows[1, 0] = bad
    value = value_with_finite_gradients(graph, {"noise": rows})
    assert value == pytest.approx(PENALTY(Step(graph, {"noise": rows[:1]})).item())
    assert PENALTY(Step(graph, {"noise": rows[1:]})) == 0
    assert PENALTY(Step(graph, {"noise": rows[:0]})) == 0
    nn.init.constant_(graph.mechanisms[-1].linear.weight, bad)
    assert PENALTY(Step(graph, {"noise": rows})) == 0


class Root(nn.Module):
    """Signed square root, whose slope is infinite at 0."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)

    def forward(self, z):
        z = self.linear(z)
        return z.sign() * z.abs().sqrt()


def test_non_finite_jacobians_are_left_out():
    torch.manual_seed(0)
    graph = MechanismGraph({"noise": (3,)}, {"data": ("noise", Root())}).double()
    rows = randn(2, 3) * torch.tensor([[0.0], [1.0]])
    value = value_with_finite_gradients(graph, {"noise": rows})
    assert value == pytest.approx(PENALTY(Step(graph, {"noise": rows[1:]})).item())


def test_the_penalty_applies_where_there_is_something_to_see():
    assert PENALTY.applies_to(decoder())
    for blind in (
        dense_decoder(1, (6,), (8,)),
        dense_decoder(3, (2,), (8,)),
        two_roots(),
    ):
        assert not PENALTY.applies_to(blind)


def test_a_single_latent_costs_nothing():
    torch.manual_seed(0)
    graph = dense_decoder(1, (6,), (8,), activation="tanh").double()
    assert value_with_finite_gradients(graph, nodes_of(graph)) == 0


def test_penalties_take_images_and_single_precision():
    torch.manual_seed(0)
    graph = conv_decoder(3, (1, 6, 5), (3, 2))
    assert PENALTY(Step(graph, graph(randn(8, 3).float()))) > 0
    encoder = dense_encoder((1, 2, 2), 6, (4,))
    assert PENALTY(Step(encoder, encoder(randn(8, 1, 2, 2).float()))) > 0


J = np.ones((3, 2))
NAN = np.full((3, 2), np.nan)
Z = torch.ones(2, 3)
NODES = {"noise": Z.double()}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ima_contrast(J.T), r"at least as many rows .* got shape \(2, 3\)"),
        (lambda: ima_contrast(NAN), "jacobian must be finite"),
        (lambda: ima_contrast(J[0]), r"\(n, d, k\) or"),
        (lambda: ima_contrast(np.ones((3, 0))), "d, k >= 1"),
        (lambda: jacobian(torch.sin, Z[:0]), r"at least one row, got shape \(0, 3\)"),
        (lambda: jacobian(torch.sum, Z), r"one row per row of z, got Tensor of shape"),
        (lambda: jacobian(lambda z: (z, z), Z), "one row per row of z, got tuple"),
        (
            lambda: IMAPenalty(n_rows=0)(Step(decoder(), {})),
            "n_rows must be an int > 0, got 0",
        ),
        (lambda: IMAPenalty(n_rows=1.5)(Step(decoder(), {})), "IMAPenalty: n_rows"),
        (
            lambda: IMAPenalty()(Step(decoder(), None)),
            r"value of the root 'noise', got \[\]",
        ),
        (lambda: IMAPenalty()(Step(decoder(n_features=2), NODES)), "at least as many"),
        (lambda: IMAPenalty()(Step(two_roots(), {})), r"one root, got .* \['a', 'b'\]"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("z", [np.ones((2, 3)), torch.ones(2, 3, dtype=torch.int)])
def test_rows_must_be_a_floating_point_tensor(z):
    with pytest.raises(TypeError, match="z must be a floating point tensor"):
        jacobian(torch.sin, z)
