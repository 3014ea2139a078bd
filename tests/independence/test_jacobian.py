import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from torch import nn

from sklearn_icm.independence._jacobian import (
    RIDGE_IN_EPS,
    compositional_contrast,
    hessian_penalty,
    ima_contrast,
    jacobian,
    orthogonal_jacobian,
)
from sklearn_icm.independence._jacobian_penalties import (
    PIECEWISE_LINEAR,
    CompositionalPenalty,
    HessianPenalty,
    IMAPenalty,
    OrthogonalJacobianPenalty,
)
from sklearn_icm.mechanisms import (
    MechanismGraph,
    conv_decoder,
    dense_decoder,
    dense_encoder,
)

SHAPES = st.tuples(st.integers(1, 4), st.integers(0, 3))
SEEDS = st.integers(0, 999)
OF_MATRIX = {
    "ima": ima_contrast,
    "orthogonal": orthogonal_jacobian,
    "compositional": lambda j: compositional_contrast(j, 1),
}
PENALTIES = [
    IMAPenalty(),
    OrthogonalJacobianPenalty(),
    HessianPenalty(),
    CompositionalPenalty(),
    CompositionalPenalty(group_sizes=(1, 2)),
]
by_repr = {"ids": repr}


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


def signs(k):
    corners = itertools.product([-1.0, 1.0], repeat=k)
    return torch.tensor(list(corners), dtype=torch.float64)


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


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 99])
def test_chunks_change_nothing(chunk_size):
    f, z = net(), randn(5, 3)
    for g in (jacobian, hessian_penalty):
        assert torch.allclose(g(f, z, chunk_size=chunk_size), g(f, z), atol=1e-12)


@pytest.mark.parametrize("of_map", [jacobian, hessian_penalty])
def test_gradients_reach_parameters_and_rows(of_map):
    f, z = net(), randn(2, 3).requires_grad_()
    of_map(f, z).square().sum().backward()
    for value in (z, f[0].weight, f[0].bias, f[2].weight):
        assert 0 < value.grad.abs().sum() < math.inf


def test_gradients_of_maps_in_double_precision():
    w = randn(4, 3).requires_grad_()
    z = randn(2, 3, seed=1).requires_grad_()
    for of_map in (jacobian, hessian_penalty):
        assert torch.autograd.gradcheck(
            lambda w, z, g=of_map: g(lambda x: torch.tanh(x @ w.T), z), (w, z)
        )


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Softplus, nn.Tanh])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_maps_are_the_same_without_gradients(activation, context):
    f, z = net(activation), randn(2, 3)
    for of_map in (jacobian, hessian_penalty):
        expected = of_map(f, z).detach()
        with context():
            found = of_map(f, z)
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
    relative = orthogonal_jacobian(j) / j.square().sum() ** 2
    assert relative.item() == pytest.approx(0, abs=1e-24)


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


@given(shape=SHAPES, seed=SEEDS)
def test_orthogonal_jacobian_is_the_variance_over_signs(shape, seed):
    k, extra = shape
    j = randn(3, k + extra, k, seed=seed)
    powers = (j @ signs(k).T).square().sum(1)
    expected = powers.var(1, correction=0)
    assert torch.allclose(orthogonal_jacobian(j), expected, atol=1e-9)


@given(seed=SEEDS)
def test_hessian_penalty_is_half_the_variance_over_signs(seed):
    f, z = net(seed=seed), randn(2, 3, seed=seed)
    hessians = [
        torch.autograd.functional.hessian(lambda r, i=i: f(r[None])[0, i], row)
        for row in z
        for i in range(4)
    ]
    v = signs(3)
    forms = torch.einsum("vi,hij,vj->hv", v, torch.stack(hessians), v)
    expected = forms.var(1, correction=0).reshape(2, 4).sum(1) / 2
    assert torch.allclose(hessian_penalty(f, z), expected)


def test_hessian_penalty_of_an_additive_map_is_zero():
    w = randn(4, 3)
    found = hessian_penalty(lambda z: torch.sin(3 * z) @ w.T, randn(5, 3))
    assert torch.allclose(found, torch.zeros(5, dtype=torch.float64), atol=1e-20)


@given(seed=SEEDS)
def test_compositional_contrast_is_the_definition(seed):
    j = randn(2, 4, 5, seed=seed)
    slots = [j[..., :2], j[..., 2:3], j[..., 3:]]
    norms = [s.norm(dim=-1) for s in slots]
    expected = sum((a * b).sum(1) for a, b in itertools.combinations(norms, 2))
    assert torch.allclose(compositional_contrast(j, (2, 1, 2)), expected)


@given(seed=SEEDS)
def test_disjoint_supports_are_the_zero_of_the_compositional_contrast(seed):
    j = torch.zeros(6, 4, dtype=torch.float64)
    j[:3, :2], j[3:, 2:] = randn(3, 2, seed=seed), randn(3, 2, seed=seed + 1)
    shuffled = j[torch.randperm(6, generator=torch.Generator().manual_seed(seed))]
    assert compositional_contrast(shuffled, 2) == 0
    assert compositional_contrast(shuffled, 1) > 0
    assert compositional_contrast(shuffled, 4) == 0


@pytest.mark.parametrize(
    "measure", [*OF_MATRIX.values(), lambda j: compositional_contrast(j, [2, 1])]
)
def test_gradients_of_measures_in_double_precision(measure):
    assert torch.autograd.gradcheck(measure, (randn(2, 5, 3).requires_grad_(),))


@pytest.mark.parametrize("name", OF_MATRIX)
def test_results_are_like_the_input(name):
    f, j = OF_MATRIX[name], randn(2, 5, 3)
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
@pytest.mark.parametrize("name", OF_MATRIX)
def test_degenerate_matrices_have_finite_values_and_gradients(name, dtype):
    j = degenerate_matrices().to(dtype).requires_grad_()
    value = OF_MATRIX[name](j)
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
    j = randn(4, 1).numpy()
    assert [f(j) for f in OF_MATRIX.values()] == [0, 0, 0]


@pytest.mark.parametrize("penalty", PENALTIES, **by_repr)
def test_descent_lowers_every_penalty(penalty):
    graph, z = decoder(), randn(8, 3).requires_grad_()
    start = penalty(graph, graph(z))
    optimiser = torch.optim.Adam(graph.parameters(), lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        value = penalty(graph, graph(z))
        value.backward()
        optimiser.step()
    assert value.ndim == 0
    assert 0 < value < 0.5 * start
    assert all(m.linear.weight.grad.abs().sum() > 0 for m in graph.mechanisms)
    assert z.grad is None


@pytest.mark.parametrize("penalty", PENALTIES, **by_repr)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_penalties_do_not_depend_on_the_unit_of_the_data(penalty, scale):
    graph = decoder()
    before = penalty(graph, nodes_of(graph)).item()
    with torch.no_grad():
        for parameter in graph.mechanisms[-1].parameters():
            parameter *= scale
    assert penalty(graph, nodes_of(graph)).item() == pytest.approx(before)


def linear_decoder(weight):
    graph = dense_decoder(weight.shape[1], (len(weight),), ()).double()
    with torch.no_grad():
        graph.mechanisms[0].linear.weight.copy_(weight)
    return graph


class Product(nn.Module):
    """Only mixed second derivatives, with slopes equal to the other latents."""

    def forward(self, z):
        return z.prod(1, keepdim=True)


def test_perfect_decoders_cost_nothing_and_the_worst_cost_one():
    graph = linear_decoder(torch.eye(6)[:, [4, 0, 2]] * 7)
    assert [p(graph, nodes_of(graph)).item() for p in PENALTIES] == [0] * 5
    graph = linear_decoder(torch.full((6, 3), -0.3))
    ima, orthogonal, hessian, *slots = (p(graph, nodes_of(graph)) for p in PENALTIES)
    delta = RIDGE_IN_EPS * 3 * torch.finfo(torch.float64).eps
    assert math.log(1 / delta) / 4 < ima < math.log(1 / delta) / 3
    assert hessian == 0
    assert orthogonal.item() == pytest.approx(1)
    assert slots[0].item() == pytest.approx(1)


def test_hessian_penalty_is_a_half_where_a_unit_step_doubles_a_slope():
    graph = MechanismGraph({"noise": (2,)}, {"data": ("noise", Product())})
    nodes = {"noise": torch.ones(1, 2)}
    assert HessianPenalty()(graph, nodes).item() == pytest.approx(0.5)
    at_critical_point = {"noise": torch.zeros(1, 2)}
    assert HessianPenalty()(graph, at_critical_point).item() == 1


def test_penalties_are_means_of_the_measures_over_the_first_rows():
    graph = decoder()
    nodes = nodes_of(graph)
    f, z = (lambda z: graph(z)["data"]), nodes["noise"][:3]
    j, mixed = jacobian(f, z), hessian_penalty(f, z) / 6
    power = j.square().sum((1, 2)) / 3
    slots = torch.stack([j[..., 0].abs(), j[..., 1:].norm(dim=-1)], -1)
    total = slots.sum(-1).square().sum(1) / 4
    contrast = compositional_contrast(j, [1, 2])
    expected = {
        IMAPenalty(n_rows=3): ima_contrast(j) / 3,
        OrthogonalJacobianPenalty(n_rows=3): orthogonal_jacobian(j) / 12 / power**2,
        HessianPenalty(n_rows=3): mixed / (mixed + power),
        CompositionalPenalty([1, 2], n_rows=3): contrast / total,
    }
    for penalty, rows in expected.items():
        assert penalty(graph, nodes).item() == pytest.approx(rows.mean().item())


def value_with_finite_gradients(penalty, graph, nodes):
    value = penalty(graph, nodes)
    graph.zero_grad()
    # The second term is that of a loss: a penalty of 0 may have no gradient.
    (value + sum(p.sum() for p in graph.parameters())).backward()
    assert value.isfinite()
    assert all(p.grad.isfinite().all() for p in graph.parameters())
    return value.item()


@pytest.mark.parametrize("penalty", PENALTIES, **by_repr)
def test_zero_jacobians_cost_nothing_and_unused_latents_are_defined(penalty):
    graph = decoder()
    nn.init.zeros_(graph.mechanisms[0].linear.weight[:, 1])
    assert value_with_finite_gradients(penalty, graph, nodes_of(graph)) >= 0
    nn.init.zeros_(graph.mechanisms[-1].linear.weight)
    assert value_with_finite_gradients(penalty, graph, nodes_of(graph)) == 0


@pytest.mark.parametrize("penalty", PENALTIES, **by_repr)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_rows_are_left_out(penalty, bad):
    graph, rows = decoder(), randn(2, 3)
    rows[1, 0] = bad
    value = value_with_finite_gradients(penalty, graph, {"noise": rows})
    assert value == pytest.approx(penalty(graph, {"noise": rows[:1]}).item())
    assert penalty(graph, {"noise": rows[1:]}) == 0
    assert penalty(graph, {"noise": rows[:0]}) == 0
    nn.init.constant_(graph.mechanisms[-1].linear.weight, bad)
    assert penalty(graph, {"noise": rows}) == 0


class Root(nn.Module):
    """Signed square root, whose slope is infinite at 0."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)

    def forward(self, z):
        z = self.linear(z)
        return z.sign() * z.abs().sqrt()


@pytest.mark.parametrize("penalty", PENALTIES, **by_repr)
def test_non_finite_jacobians_are_left_out(penalty):
    torch.manual_seed(0)
    graph = MechanismGraph({"noise": (3,)}, {"data": ("noise", Root())}).double()
    rows = randn(2, 3) * torch.tensor([[0.0], [1.0]])
    value = value_with_finite_gradients(penalty, graph, {"noise": rows})
    assert value == pytest.approx(penalty(graph, {"noise": rows[1:]}).item())


@pytest.mark.parametrize("penalty", PENALTIES, **by_repr)
def test_penalties_are_value_objects(penalty):
    assert clone(penalty) == pickle.loads(pickle.dumps(penalty)) == penalty
    assert len({penalty, clone(penalty)}) == 1
    assert clone(penalty).set_params(n_rows=5) != penalty
    assert len({*PENALTIES, penalty}) == len(PENALTIES)
    assert type(penalty).__name__ in repr(penalty)


def test_group_sizes_are_equal_as_list_tuple_and_array():
    forms = [[1, 2], (1, 2), np.array([1, 2])]
    same = [CompositionalPenalty(group_sizes=g) for g in forms]
    assert len(set(same)) == 1
    assert len({p(decoder(), nodes_of(decoder())).item() for p in same}) == 1


def test_penalties_apply_where_there_is_something_to_see():
    one_latent = dense_decoder(1, (6,), (8,))
    narrow = dense_decoder(3, (2,), (8,))
    for penalty in PENALTIES:
        assert penalty.applies_to(decoder())
        assert not penalty.applies_to(one_latent)
        assert not penalty.applies_to(two_roots())
        assert penalty.applies_to(narrow) == (type(penalty) is not IMAPenalty)
    assert not CompositionalPenalty(group_sizes=3).applies_to(decoder())


@pytest.mark.parametrize("penalty", PENALTIES[:4], **by_repr)
def test_a_single_latent_costs_nothing(penalty):
    torch.manual_seed(0)
    graph = dense_decoder(1, (6,), (8,), activation="tanh").double()
    assert value_with_finite_gradients(penalty, graph, nodes_of(graph)) == 0


@pytest.mark.parametrize("penalty", PENALTIES[:4], **by_repr)
def test_penalties_take_images_and_single_precision(penalty):
    torch.manual_seed(0)
    graph = conv_decoder(3, (1, 6, 5), (3, 2))
    assert penalty(graph, graph(randn(8, 3).float())) > 0
    encoder = dense_encoder((1, 2, 2), 6, (4,))
    assert penalty(encoder, encoder(randn(8, 1, 2, 2).float())) > 0


J = np.ones((3, 2))
NAN = np.full((3, 2), np.nan)
Z = torch.ones(2, 3)
NODES = {"noise": Z.double()}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ima_contrast(J.T), r"at least as many rows .* got shape \(2, 3\)"),
        *[(lambda f=f: f(NAN), "jacobian must be finite") for f in OF_MATRIX.values()],
        *[(lambda f=f: f(J[0]), r"\(n, d, k\) or") for f in OF_MATRIX.values()],
        (lambda: orthogonal_jacobian(np.ones((3, 0))), "d, k >= 1"),
        *[
            (lambda g=g: compositional_contrast(J, g), "group_sizes must be a positive")
            for g in (0, -1, 3, 1.5, "ab", [1], [3], [1, 2], [2, 0], [1.0, 1.0], [])
        ],
        (lambda: jacobian(torch.sin, Z[:0]), r"at least one row, got shape \(0, 3\)"),
        (lambda: jacobian(torch.sin, Z, chunk_size=0), "chunk_size must be a positive"),
        (lambda: hessian_penalty(torch.sin, Z, chunk_size=1.5), "chunk_size must be"),
        (lambda: jacobian(torch.sum, Z), r"one row per row of z, got Tensor of shape"),
        (lambda: jacobian(lambda z: (z, z), Z), "one row per row of z, got tuple"),
        (
            lambda: IMAPenalty(n_rows=0)(decoder(), {}),
            "n_rows must be an int > 0, got 0",
        ),
        (lambda: HessianPenalty(n_rows=1.5)(decoder(), {}), "HessianPenalty: n_rows"),
        (lambda: IMAPenalty()(decoder(), None), r"value of the root 'noise', got \[\]"),
        (lambda: IMAPenalty()(decoder(n_features=2), NODES), "at least as many"),
        (lambda: HessianPenalty()(two_roots(), {}), r"one root, got .* \['a', 'b'\]"),
        (lambda: CompositionalPenalty(2)(decoder(), NODES), "got 2 for 3 inputs"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("z", [np.ones((2, 3)), torch.ones(2, 3, dtype=torch.int)])
def test_rows_must_be_a_floating_point_tensor(z):
    with pytest.raises(TypeError, match="z must be a floating point tensor"):
        jacobian(torch.sin, z)


@pytest.mark.parametrize("kind", PIECEWISE_LINEAR)
def test_hessian_penalty_refuses_piecewise_linear_activations(kind):
    activation = kind(0.1, 0.0) if kind is nn.Threshold else kind()
    module = nn.Sequential(nn.Linear(3, 4), activation)
    graph = MechanismGraph({"noise": (3,)}, {"data": ("noise", module)})
    match = f"piecewise linear {kind.__name__}, .*'softplus', 'silu' or 'tanh'"
    with pytest.raises(ValueError, match=match):
        HessianPenalty()(graph, graph(torch.ones(2, 3)))
