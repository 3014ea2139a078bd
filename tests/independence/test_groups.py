import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from sklearn_icm.independence import (
    Kurtosis,
    PatchStatistics,
    generic_ratio,
    response,
)
from sklearn_icm.independence._contrasts import power
from sklearn_icm.interventions import Intervention
from sklearn_icm.interventions._groups import as_group

UNIT_GROUPS = ["orthogonal", "permute", "flip_signs"]
MAP_GROUPS = ["translate", "stretch"]
CONTRASTS = [power, Kurtosis(), PatchStatistics(2)]


def draw(group, shape, generator):
    element = as_group(group, shape).draw(shape, generator)
    assert isinstance(element, Intervention)
    return element


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def standard_error(draws):
    """Of the mean of the draws, relative to it."""
    draws = np.asarray(draws)
    return draws.std() / len(draws) ** 0.5 / draws.mean()


# Groups


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 5), (2, 4, 3)], ids=str)
@pytest.mark.parametrize("group", UNIT_GROUPS, ids=repr)
def test_unit_groups_are_orthogonal_and_keep_dtype(group, shape):
    v = normal(6, *shape)
    action = draw(group, shape, rng())
    moved = action(v)
    assert moved.shape == v.shape
    rows, moved_rows = v.flatten(1), moved.flatten(1)
    assert torch.allclose(rows @ rows.T, moved_rows @ moved_rows.T)
    assert torch.equal(action(v), moved), "one draw is one element"
    assert action(v.float()).dtype == torch.float32
    assert torch.allclose(action(2 * v), 2 * moved)


@pytest.mark.parametrize("group", UNIT_GROUPS, ids=repr)
def test_channels_are_changed_alike_at_every_position(group):
    v = normal(2, 3, 4, 5)
    moved = draw(group, (3, 4, 5), rng(1))(v)
    at_point = draw(group, (3,), rng(1))(v[..., 2, 3])
    assert torch.allclose(moved[..., 2, 3], at_point)


@pytest.mark.parametrize(
    ("group", "elements"),
    [
        (
            "permute",
            [np.eye(3)[list(p)] for p in itertools.permutations(range(3))],
        ),
        ("flip_signs", [np.diag(s) for s in itertools.product([1, -1], repeat=3)]),
    ],
    ids=repr,
)
def test_finite_groups_are_the_whole_group_uniformly(group, elements):
    """Each matrix occurs as often as the others, and nothing else occurs."""
    n, generator = 1200, rng()
    eye = torch.eye(3)
    found = [draw(group, (3,), generator)(eye).T.numpy() for _ in range(n)]
    counts = [sum(np.array_equal(f, e) for f in found) for e in elements]
    assert sum(counts) == n
    share = 1 / len(elements)
    spread = (n * share * (1 - share)) ** 0.5
    assert np.abs(np.array(counts) - n * share).max() < 5 * spread


@pytest.mark.parametrize("group", ["permute", "flip_signs"], ids=repr)
@pytest.mark.parametrize("d", [2, 3])
def test_finite_groups_against_enumeration(group, d):
    v, w = normal(20, d) + 1, normal(d, 4, seed=1)
    v = v * torch.tensor([3.0, 1.0, 0.3], dtype=torch.float64)[:d]

    def f(value):
        return torch.relu(value @ w + 0.5)

    if group == "flip_signs":
        every = [v * v.new_tensor(s) for s in itertools.product([1, -1], repeat=d)]
    else:
        every = [v[:, list(p)] for p in itertools.permutations(range(d))]
    mean = torch.stack([power(f(value)) for value in every]).mean()
    rho, draws = generic_ratio(
        f, v, group, n_draws=500, random_state=0, return_draws=True
    )
    exact = (power(f(v)) / mean).item()
    assert rho.item() == pytest.approx(exact, rel=5 * standard_error(draws))


def test_haar_rotations_have_isotropic_moments():
    """E[q_ij q_kl] = delta_ik delta_jl / d."""
    d, n, generator = 3, 4000, rng()
    eye = torch.eye(d, dtype=torch.float64)
    q = torch.stack([draw("orthogonal", (d,), generator)(eye).T for _ in range(n)])
    moments = torch.einsum("nij,nkl->ijkl", q, q) / n
    expected = torch.einsum("ik,jl->ijkl", eye, eye) / d
    assert (moments - expected).abs().max() < 5 * (1 / 3 / n) ** 0.5


@pytest.mark.parametrize("shape", [(2, 7), (1, 4, 3)], ids=str)
def test_translations_are_cyclic_shifts_that_compose(shape):
    v, axes = normal(3, *shape), tuple(range(2, len(shape) + 1))
    shifts = list(itertools.product(*map(range, shape[1:])))
    generator = rng()
    for _ in range(5):
        first, second = (draw("translate", shape, generator) for _ in range(2))
        matches = [torch.equal(first(second(v)), v.roll(s, axes)) for s in shifts]
        assert sum(matches) == 1
        assert torch.equal(first(second(v)), second(first(v)))


def test_translations_reach_all_offsets_uniformly():
    v, n, generator = torch.eye(5)[:1, None], 1000, rng()
    where = [int(draw("translate", (1, 5), generator)(v).argmax()) for _ in range(n)]
    counts = np.bincount(where, minlength=5)
    assert np.abs(counts - n / 5).max() < 5 * (n * 0.2 * 0.8) ** 0.5


def test_translation_leaves_the_power_of_a_cyclic_convolution():
    kernel, v = normal(2, 1, 3, 3), normal(4, 1, 6, 5, seed=1)

    def f(value):
        return functional.conv2d(
            functional.pad(value, (1, 1, 1, 1), "circular"), kernel
        )

    rho, draws = generic_ratio(
        f, v, "translate", power, n_draws=20, random_state=0, return_draws=True
    )
    assert rho.item() == pytest.approx(1, rel=1e-12)
    assert torch.allclose(draws, power(f(v)).expand(20), rtol=1e-12)
    assert response(f, v, "translate", n_draws=20, random_state=0) > 0.5


def test_stretches_are_log_uniform_and_independent_per_axis():
    """The spread of a wide bump, read off its second moments, is the factor."""
    grid = torch.arange(41, dtype=torch.float64) - 20
    bump = torch.exp(-(grid[:, None].square() + grid.square()) / 32)[None, None]
    generator, factors = rng(), []
    for _ in range(300):
        moved = draw("stretch", (1, 41, 41), generator)(bump)[0, 0]
        spreads = [(moved.sum(a) * grid**2).sum() / moved.sum() / 16 for a in (1, 0)]
        factors.append([s.sqrt().log().item() for s in spreads])
    logs = np.array(factors)
    assert logs.min() > np.log(0.7) - 0.05
    assert logs.max() < np.log(1.4) + 0.05
    assert logs.std(0) == pytest.approx(np.log(2) / 12**0.5, rel=0.1)
    assert abs(np.corrcoef(logs.T)[0, 1]) < 5 / 300**0.5


@pytest.mark.parametrize("group", MAP_GROUPS, ids=repr)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 3, 3, 3), (2, 0)], ids=str)
def test_map_groups_refuse_other_nodes(group, shape):
    group = as_group(group, shape)
    for call in (lambda: group.check("a", shape), lambda: group.draw(shape, rng())):
        with pytest.raises(ValueError, match="does not act on node.*needs a map"):
            call()


@pytest.mark.parametrize("group", UNIT_GROUPS, ids=repr)
@pytest.mark.parametrize("shape", [(), (0,)], ids=str)
def test_unit_groups_refuse_nodes_without_units(group, shape):
    group = as_group(group, shape)
    for call in (lambda: group.check("a", shape), lambda: group.draw(shape, rng())):
        with pytest.raises(ValueError, match="does not act on node.*needs a vector"):
            call()


# Contrasts


def test_contrasts_by_their_definitions():
    x = normal(200, 3) * torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64) + 4
    a = x.numpy()
    assert power(x).item() == pytest.approx((a**2).mean())
    c = a - a.mean(0)
    expected = ((c**4).mean(0) / (c**2).mean(0) ** 2).mean()
    assert Kurtosis()(x).item() == pytest.approx(expected)


def test_maps_are_flattened():
    x = normal(50, 2, 3, 4)
    for contrast in (power, Kurtosis()):
        assert torch.allclose(contrast(x), contrast(x.flatten(1)))


def test_kurtosis_three_points():
    """Gaussian, two-valued, and constant units; scale and shift do not matter."""
    gaussian = normal(20_000, 2)
    assert Kurtosis()(gaussian).item() == pytest.approx(3, abs=5 * (24 / 40_000) ** 0.5)
    x = normal(30, 2)
    assert torch.allclose(Kurtosis()(x * 1e-30 + 1e-29), Kurtosis()(x))
    sign = torch.tensor([[1.0], [-1.0]])
    assert Kurtosis()(sign) == 1
    constant = torch.full((30, 1), 0.1, requires_grad=True)
    assert Kurtosis()(constant) == 0
    assert Kurtosis()(torch.cat([sign, torch.full((2, 1), 0.1)], dim=1)) == 1
    Kurtosis()(constant).backward()
    assert torch.equal(constant.grad, torch.zeros(30, 1))


@pytest.mark.parametrize("shape", [(2, 6), (2, 5, 6), (1, 4, 3, 5)], ids=str)
def test_patch_statistics_by_loops(shape):
    x, size = normal(3, *shape), 3
    corners = itertools.product(*(range(n - size + 1) for n in shape[1:]))
    patches = [
        x[(..., *(slice(i, i + size) for i in corner))].flatten(2).numpy()
        for corner in corners
    ]
    expected = np.mean([p.var(-1) for p in patches])
    assert PatchStatistics(size)(x).item() == pytest.approx(expected)


def test_patch_statistics_see_texture_and_not_level():
    flat = torch.ones(2, 1, 6, 6)
    board = torch.tensor([1.0, -1.0]).repeat(3)
    assert PatchStatistics()(flat) == 0
    texture = PatchStatistics()((board[:, None] * board).expand(2, 1, 6, 6) + 5)
    assert texture.item() == pytest.approx(1 - 1 / 81, rel=1e-4)


@pytest.mark.parametrize(
    "contrast", CONTRASTS, ids=["power", *map(repr, CONTRASTS[1:])]
)
def test_contrast_gradients_in_double_precision(contrast):
    x = normal(4, 2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(contrast, x)
