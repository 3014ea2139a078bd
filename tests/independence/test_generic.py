import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.base import clone
from torch import nn
from torch.nn import functional

from sklearn_icm.independence import (
    GenericPenalty,
    Kurtosis,
    PatchStatistics,
    Step,
    generic_ratio,
    response,
    trace_ratio,
)
from sklearn_icm.interventions import Clip, InterventionFamily, Scale, Shift
from sklearn_icm.interventions._families import as_family
from sklearn_icm.mechanisms import MechanismGraph, conv_decoder, dense_decoder
from sklearn_icm.rows._batches import Batch

UNIT_GROUPS = ["orthogonal", "permute", "flip_signs"]
MAP_GROUPS = ["translate", "stretch"]
CONTRASTS = [None, Kurtosis(), PatchStatistics(2)]
FAMILY = InterventionFamily(Scale, {"value": (0.5, 2.0)})
VALUES = [
    *CONTRASTS[1:],
    PatchStatistics(),
    GenericPenalty(),
    GenericPenalty("permute", Kurtosis(), n_draws=7),
    GenericPenalty(FAMILY),
]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def standard_error(draws):
    """Of the mean of the draws, relative to it."""
    draws = np.asarray(draws)
    return draws.std() / len(draws) ** 0.5 / draws.mean()


class Quiet:
    """A group of one's own: halves the node or leaves it."""

    def check(self, node, shape, kind):
        if len(shape) != 1:
            raise ValueError(f"Quiet needs a vector, got {node} of shape {shape}.")

    def draw(self, node_shape, generator):
        factor = 1 - 0.5 * torch.randint(2, (), generator=generator)
        return lambda value: factor * value


# The ratio


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(3, 3), (1, 4), (6, 2), (5, 10)], ids=str)
def test_rotations_and_power_agree_with_the_trace_ratio(shape, seed):
    e, d = shape
    w = normal(e, d, seed=seed)
    v = normal(40, d, seed=seed + 10) @ normal(d, d, seed=seed + 20) + 1
    closed_form = trace_ratio(w, v.T @ v / len(v)).item()
    rho, draws = generic_ratio(
        lambda value: value @ w.T,
        v,
        "orthogonal",
        None,
        n_draws=400,
        random_state=seed,
        return_draws=True,
    )
    assert draws.shape == (400,)
    assert rho.item() == pytest.approx(closed_form, rel=5 * standard_error(draws))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 3)], ids=str)
def test_identity_has_ratio_one_for_an_invariant_contrast(shape):
    v = normal(10, *shape)
    rho = generic_ratio(nn.Identity(), v, "orthogonal", None, random_state=0)
    assert rho.item() == pytest.approx(1, rel=1e-12)
    assert response(nn.Identity(), v, "orthogonal", random_state=0) > 0.5


@pytest.mark.parametrize("group", UNIT_GROUPS + MAP_GROUPS, ids=repr)
@pytest.mark.parametrize("contrast", CONTRASTS, ids=repr)
def test_gradients_in_double_precision(group, contrast):
    kernel = normal(2, 2, 2, 2, seed=1).requires_grad_()
    v = normal(3, 2, 3, 3).requires_grad_()

    def rho(value, weight):
        return generic_ratio(
            lambda x: torch.tanh(functional.conv2d(x, weight)),
            value,
            group,
            contrast,
            n_draws=2,
            random_state=0,
        )

    assert torch.autograd.gradcheck(rho, (v, kernel))


def test_gradient_of_the_response_in_double_precision():
    v, w = normal(3, 2).requires_grad_(), normal(2, 2, seed=1)
    assert torch.autograd.gradcheck(
        lambda x: response(lambda y: y @ w, x, "orthogonal", n_draws=3, random_state=0),
        v,
    )


@pytest.mark.parametrize("group", UNIT_GROUPS + MAP_GROUPS, ids=repr)
def test_seeds_decide_and_global_streams_are_untouched(group):
    v, weights = normal(4, 2, 6, 6).numpy(), normal(2, 6, 6, seed=1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()

    def f(value):
        return torch.relu(value * weights)

    def draws(seed):
        return generic_ratio(
            f, v, group, None, n_draws=5, random_state=seed, return_draws=True
        )[1]

    assert np.array_equal(draws(0), draws(0))
    assert not np.array_equal(draws(0), draws(1))
    assert np.array_equal(draws(0), draws(np.random.RandomState(0)))
    response(f, v, group, n_draws=5, random_state=0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_numpy_in_numpy_out_and_tensors_stay_tensors():
    v = normal(5, 3)
    layer = nn.Linear(3, 2)  # float32: arrays are cast to it
    arguments = {"n_draws": 6, "random_state": 0}
    rho, draws = generic_ratio(
        layer, v.numpy(), "flip_signs", None, return_draws=True, **arguments
    )
    assert isinstance(rho, float)
    assert isinstance(draws, np.ndarray)
    assert isinstance(response(layer, v.numpy(), "flip_signs", **arguments), float)
    rho = generic_ratio(layer, v.float(), "flip_signs", None, **arguments)
    rho.backward()
    assert rho.shape == ()
    assert layer.weight.grad.abs().sum() > 0


def test_zero_power_gives_one_with_a_warning():
    v = np.ones((4, 3))
    for values in (v, torch.from_numpy(v)):
        with pytest.warns(UserWarning, match="nothing can be seen; rho is set to 1"):
            rho = generic_ratio(lambda x: 0 * x, values, "flip_signs", None)
        assert rho == 1
    assert response(lambda x: 0 * x, v, "flip_signs") == 0
    assert response(lambda x: x - 1, v, "flip_signs", random_state=0) == np.inf


def test_zero_power_has_a_zero_gradient_and_no_warning():
    v = torch.ones(4, 3, requires_grad=True)
    rho = generic_ratio(lambda x: 0 * x, v, "orthogonal", None, random_state=0)
    rho.backward()
    assert rho == 1
    assert torch.equal(v.grad, torch.zeros(4, 3))


def test_response_exposes_the_invariance_trap():
    """A mechanism that ignores its input is generic for every group and contrast."""
    v = normal(10, 2, 6, 6)
    constant = normal(10, 1, 6, 6, seed=1)
    for group, contrast in itertools.product(UNIT_GROUPS + MAP_GROUPS, CONTRASTS):
        arguments = {"n_draws": 5, "random_state": 0}
        rho = generic_ratio(lambda x: constant, v, group, contrast, **arguments)
        assert rho.item() == pytest.approx(1, rel=1e-12)
        assert response(lambda x: constant, v, group, **arguments) == 0
        assert response(lambda x: x, v, group, **arguments) > 0.1


def test_response_by_its_definition():
    """A flip of one unit changes the output by twice its length, or not at all."""
    v = np.array([[3.0], [-3.0]])
    found = response(lambda x: x, v, "flip_signs", n_draws=400, random_state=0)
    assert found == pytest.approx(1, abs=5 / 400**0.5)


def test_response_does_not_depend_on_unit_or_offset():
    v = normal(20, 4).numpy()
    values = [
        response(lambda x, a=a, b=b: a + b * x, v, "orthogonal", random_state=0)
        for a, b in ((0.0, 1.0), (100.0, 1.0), (-3.0, 1e-3))
    ]
    assert values == pytest.approx([values[0]] * 3)


def test_groups_and_contrasts_of_ones_own():
    rho, draws = generic_ratio(
        lambda x: x,
        np.ones((2, 3)),
        Quiet(),
        lambda output: output.abs().mean(),
        random_state=0,
        return_draws=True,
    )
    assert set(draws) == {0.5, 1.0}
    assert rho == pytest.approx(1 / draws.mean())
    with pytest.raises(ValueError, match="Quiet needs a vector"):
        generic_ratio(lambda x: x, np.ones((2, 3, 4)), Quiet(), None)


def test_families_are_groups_with_parameters_uniform_within_their_bounds():
    """The power of a scaled node is that of the scale, whose law is known."""
    v, options = normal(5, 3).numpy(), {"random_state": 0, "return_draws": True}
    _, draws = generic_ratio(nn.Identity(), v, FAMILY, n_draws=400, **options)
    scales = np.sqrt(draws / np.mean(v**2))
    assert kstest(scales, "uniform", (0.5, 1.5)).pvalue > 1e-3
    # Ready families by name, in standard deviations of the node where these count.
    for unit in (1.0, 10.0):
        rho, draws = generic_ratio(nn.Identity(), unit * v, "shift", **options)
        shifts = np.sqrt((draws / unit**2 - np.mean(v**2)).clip(0))
        assert shifts.max() < 5 * v.std()
        assert rho == pytest.approx(1 / (1 + 3 * v.var() / np.mean(v**2)), rel=0.3)
    # And interventions, at random strengths.
    _, draws = generic_ratio(nn.Identity(), v, Scale(2.0), **options)
    assert np.sqrt(draws / np.mean(v**2)).max() <= 3


# The penalty


def linear_graph(w1, w2):
    first, second = (nn.Linear(w.shape[1], w.shape[0], bias=False) for w in (w1, w2))
    first.weight.data, second.weight.data = w1.clone(), w2.clone()
    return MechanismGraph(
        {"noise": (w1.shape[1],)},
        {"hidden": ("noise", first), "data": ("hidden", second)},
    ).double()


def aligned_graph(d=4):
    scale = torch.diag(torch.linspace(0.3, 2.0, d, dtype=torch.float64)).float()
    noise = 0.1 * normal(2, d, d, seed=3).float()
    return linear_graph(scale + noise[0], scale + noise[1])


def dependence(graph, nodes):
    v = nodes["hidden"].detach()
    return trace_ratio(graph.mechanism("data").weight.detach(), v.T @ v / len(v)).item()


def step_of(graph, nodes, generator):
    return Step(graph, nodes, Batch(nodes["data"], generator))


def test_penalty_is_the_squared_log_of_the_ratio():
    graph = aligned_graph()
    nodes = graph(normal(50, 4))
    value = GenericPenalty(n_draws=2000)(Step(graph, nodes))
    exact = np.log(dependence(graph, nodes)) ** 2
    assert exact > 0.1
    assert value.item() == pytest.approx(exact, rel=0.1)


def test_descent_makes_a_linear_pair_independent():
    graph, generator = aligned_graph(), rng()
    noise = normal(100, 4)
    penalty, optimiser = GenericPenalty(), torch.optim.Adam(graph.parameters(), lr=0.02)
    start = dependence(graph, graph(noise))
    for _ in range(150):
        optimiser.zero_grad()
        penalty(step_of(graph, graph(noise), generator)).backward()
        optimiser.step()
    assert start > 1.4
    assert dependence(graph, graph(noise)) == pytest.approx(1, abs=0.1)


def test_penalty_gradient_in_double_precision():
    graph = aligned_graph(3)
    noise = normal(5, 3)

    def value(*weights):
        for node, weight in zip(graph.parents, weights, strict=True):
            module = graph.mechanism(node)
            module.register_parameter("weight", None)
            module.weight = weight
        return GenericPenalty()(Step(graph, graph(noise)))

    weights = [graph.mechanism(k).weight for k in graph.parents]
    assert torch.autograd.gradcheck(value, weights)


def test_penalty_draws_come_from_its_generator():
    graph = aligned_graph()
    nodes, penalty = graph(normal(10, 4)), GenericPenalty()
    before = torch.get_rng_state()
    assert penalty(Step(graph, nodes)) == penalty(Step(graph, nodes))
    assert penalty(step_of(graph, nodes, rng(5))) == penalty(
        step_of(graph, nodes, rng(5))
    )
    generator = rng(5)
    first, second = (penalty(step_of(graph, nodes, generator)) for _ in range(2))
    assert first != second
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("group", ["shift", "affine", "noise"])
def test_penalty_of_relative_parameters_is_that_of_any_unit(group, unit):
    """The penalty knows the standard deviation as a tensor, the family as a number."""
    graph, nodes = linear_graph(torch.eye(3), torch.eye(3)), {"noise": normal(50, 3)}
    nodes["hidden"] = unit * (nodes["noise"] + 1)
    penalty = GenericPenalty(group)(Step(graph, nodes)).item()
    sd = float(nodes["hidden"].std(correction=0))
    family, generator = as_family(group, (3,)).in_units(sd), rng()
    drawn = [family.draw((3,), generator)(nodes["hidden"]) for _ in range(4)]
    rho = nodes["hidden"].square().mean() / torch.stack(drawn).square().mean()
    assert penalty == pytest.approx(rho.log().square().item())


def test_penalty_of_values_that_are_equal_or_not_known():
    graph, value = linear_graph(torch.eye(2), torch.eye(2)), torch.ones(5, 2).double()
    step = Step(graph, {"hidden": value})
    assert GenericPenalty("shift")(step).isfinite()
    step = Step(graph, {"hidden": value * torch.nan})
    assert GenericPenalty("shift")(step).isnan()


def test_relative_parameters_beside_units_of_the_node_are_refused():
    """Not everything here is changed alike when the unit of the node is."""
    mixed = InterventionFamily(
        lambda value: Shift(value) >> Clip(-1.0, 1.0),
        {"value": (-2, 2)},
        relative=["value"],
    )
    with pytest.raises(ValueError, match="does something else in the node's units"):
        GenericPenalty(mixed).applies_to(aligned_graph())
    with pytest.raises(ValueError, match="give all of these in standard deviations"):
        generic_ratio(nn.Identity(), np.eye(3), mixed)


def test_penalty_takes_the_nodes_that_the_group_accepts():
    torch.manual_seed(0)
    conv, dense = conv_decoder(2, (1, 8, 8), (3, 2)), dense_decoder(2, (3,), (4, 4))
    local = GenericPenalty("translate", PatchStatistics(2))
    assert local.applies_to(conv)
    assert not local.applies_to(dense)
    assert GenericPenalty().applies_to(dense)
    assert local(Step(dense, dense(torch.randn(5, 2)))) == 0
    for graph in (conv, dense):
        value = GenericPenalty()(Step(graph, graph(torch.randn(5, 2))))
        value.backward()
        assert value > 0
        weights = [p for n, p in graph.named_parameters() if n.endswith("weight")]
        assert all(w.grad is not None and w.grad.isfinite().all() for w in weights)


class Sum(nn.Module):
    def forward(self, a, b):
        return a + b


def test_penalty_leaves_out_shared_and_joint_nodes_and_roots():
    linear = nn.Linear(2, 2)
    joint = MechanismGraph(
        {"noise": (2,)},
        {"a": ("noise", linear), "b": ("noise", linear), "data": (("a", "b"), Sum())},
    )
    shared = MechanismGraph(
        {"noise": (2,)},
        {"a": ("noise", linear), "b": ("a", linear), "data": (("a", "b"), Sum())},
    )
    single = MechanismGraph({"noise": (2,)}, {"data": ("noise", linear)})
    for graph in (joint, shared, single):
        assert not GenericPenalty().applies_to(graph)
        assert GenericPenalty()(Step(graph, graph(torch.ones(3, 2)))) == 0


def test_penalty_is_bounded_where_the_ratio_vanishes():
    """The later mechanism reads only what the earlier one leaves empty."""
    graph = linear_graph(torch.diag(torch.tensor([1.0, 0])), torch.tensor([[0.0, 1]]))
    value = GenericPenalty()(Step(graph, graph(normal(5, 2))))
    value.backward()
    assert value.item() == pytest.approx(np.log(1e-3) ** 2)
    assert all(p.grad.isfinite().all() for p in graph.parameters())
    nothing = linear_graph(torch.eye(2), torch.zeros(1, 2))
    assert GenericPenalty()(Step(nothing, nothing(normal(5, 2)))) == 0


# Value objects and errors


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_value_objects(value):
    copies = [pickle.loads(pickle.dumps(value)), clone(value, safe=False)]
    names = {type(v).__name__: type(v) for v in VALUES}
    if value != GenericPenalty(FAMILY):
        copies.append(eval(repr(value), names))
    for copy in copies:
        assert copy == value
        assert hash(copy) == hash(value)
        assert repr(copy) == repr(value)
    assert sum(value == other for other in VALUES) == 1


def test_values_are_frozen_and_numbers_may_be_numpy():
    assert PatchStatistics(np.int64(4)) == PatchStatistics(4)
    with pytest.raises(AttributeError, match="cannot assign to field 'size'"):
        PatchStatistics().size = 5


def ratio(**changed):
    parts = {"f": nn.Identity(), "v": np.ones((2, 3)), "group": "flip_signs"}
    return generic_ratio(**{**parts, "contrast": None, **changed})


class Shrink(Quiet):
    def draw(self, node_shape, generator):
        return lambda value: value[:, :1]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ratio(f=3), TypeError, "f must be a callable.*got int"),
        (lambda: ratio(group=Quiet), TypeError, "group must be one of.*instance with"),
        (lambda: ratio(group="rotations"), ValueError, "ready ones are .'orthogonal'"),
        (lambda: ratio(contrast=Kurtosis), TypeError, "contrast must be a callable"),
        (lambda: ratio(contrast=torch.abs), TypeError, r"0-d tensor, got Tensor of sh"),
        (lambda: ratio(contrast=lambda x: 1.0), TypeError, "0-d tensor, got float"),
        (lambda: ratio(n_draws=0), ValueError, "n_draws == 0, must be >= 1"),
        (lambda: ratio(n_draws=1.5), TypeError, "n_draws must be an instance"),
        (lambda: ratio(v=np.ones(3)), ValueError, r"shape \(n, \*node_shape\)"),
        (lambda: ratio(v=np.ones((0, 3))), ValueError, "n at least 1"),
        (lambda: ratio(v=torch.ones(2, 3).int()), ValueError, "got torch.int32"),
        (lambda: ratio(v=np.full((2, 3), np.nan)), ValueError, "v must be finite"),
        (lambda: ratio(f=lambda x: x / 0), ValueError, "output is not finite"),
        (lambda: ratio(group=Shrink()), ValueError, r"of the shape.*got Tensor"),
        (lambda: response(3, np.ones((2, 3)), "flip_signs"), TypeError, "f must be"),
        (lambda: PatchStatistics(1), ValueError, "size must be at least 2"),
        (lambda: PatchStatistics(2.0), TypeError, "size must be an int"),
        (lambda: PatchStatistics()(torch.ones(2, 3)), ValueError, "needs maps.*power"),
        (lambda: PatchStatistics()(torch.ones(2, 1, 2)), ValueError, "smaller size"),
        (
            lambda: GenericPenalty(group="x").applies_to(aligned_graph()),
            ValueError,
            "Unknown family 'x'",
        ),
        (
            lambda: GenericPenalty(n_draws=0)(Step(aligned_graph(), {})),
            ValueError,
            "n_draws == 0",
        ),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_the_invariance_trap_on_a_decoder():
    """Invariant patch statistics are learned by ignoring the stretch of the map."""
    torch.manual_seed(1)
    graph = conv_decoder(4, (1, 16, 16), (6, 4))
    penalty = GenericPenalty("stretch", PatchStatistics())
    optimiser = torch.optim.Adam(graph.parameters(), lr=3e-3)
    z, generator = torch.randn(16, 4), rng()

    def measured():
        nodes = graph(z)
        f, v = graph.mechanism("data"), nodes["conv2"]
        moved = response(f, v, "stretch", n_draws=8, random_state=0)
        return penalty(Step(graph, nodes)).item(), moved.item()

    before = measured()
    for _ in range(150):
        optimiser.zero_grad()
        penalty(step_of(graph, graph(z), generator)).backward()
        optimiser.step()
    after = measured()
    assert after[0] < 0.1 * before[0]
    assert after[1] < 0.6 * before[1]
