"""Contrasts that are distributions: laws, and the penalty that compares with rows."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from helpers import small

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import (
    GenericPenalty,
    Marginals,
    PatchDistribution,
    Step,
    generic_ratio,
)
from sklearn_icm.independence._contrasts import energies
from sklearn_icm.interventions import InterventionFamily, Stretch
from sklearn_icm.mechanisms import (
    conv_decoder,
    dense_decoder,
    map_decoder,
    parts_decoder,
)
from sklearn_icm.metrics import energy_distance
from sklearn_icm.rows._batches import Batch

PATCHES = PatchDistribution((3,), 400)
WIDER = InterventionFamily(partial(Stretch, axis="width"), {"factor": (0.6, 1.6)})
SHAPES = {PATCHES: [(1, 9, 9), (2, 7, 5), (1, 12)], Marginals(): [(4,), (1, 3, 3)]}
CASES = [(contrast, shape) for contrast, shapes in SHAPES.items() for shape in shapes]
every = pytest.mark.parametrize(("contrast", "shape"), CASES, ids=str)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def step_of(graph, n=40, seed=0):
    noise = torch.randn(n, *graph.nodes["noise"], generator=rng(seed))
    nodes = graph(noise)
    x = torch.rand(n, *graph.nodes[graph.data_node], generator=rng(seed + 1))
    return Step(graph, nodes, Batch(x, rng(seed + 2)))


def test_energies_are_those_of_the_metric():
    x, y = normal(30, 4) + 1, 2 * normal(50, 4, seed=1)
    distance, within = energies(x, y)
    assert float(distance) == pytest.approx(energy_distance(x.numpy(), y.numpy()))
    assert float(within) > float(distance) > 0
    both = energies(torch.stack([x, -x]), torch.stack([y, -y]))
    assert torch.allclose(both[0], distance.expand(2))


@every
def test_equal_distributions_have_distance_zero_on_average(contrast, shape):
    draws = [
        float(
            contrast.distance(
                normal(60, *shape, seed=2 * seed),
                normal(60, *shape, seed=2 * seed + 1),
                rng(seed),
            )
        )
        for seed in range(40)
    ]
    # (Patches of one image are alike.)
    above = 0.01 * isinstance(contrast, PatchDistribution)
    assert abs(np.mean(draws)) < 5 * np.std(draws) / len(draws) ** 0.5 + above
    other = contrast.distance(normal(60, *shape) * 2 + 1, normal(60, *shape), rng())
    assert float(other) > 10 * np.std(draws)


@every
@pytest.mark.parametrize("unit", [1e-3, 255.0])
def test_the_unit_of_the_data_does_not_count(contrast, shape, unit):
    x, y = normal(30, *shape) + 1, normal(30, *shape, seed=1)
    plain = contrast.distance(x, y, rng())
    scaled = contrast.distance(unit * x + unit, unit * y + unit, rng())
    assert torch.allclose(plain, scaled)


@every
def test_gradients_in_double_precision(contrast, shape):
    x, y = normal(4, *shape), normal(4, *shape, seed=1)

    def distance(output):
        return contrast.distance(output, y, rng())

    assert torch.autograd.gradcheck(distance, x.requires_grad_())


@every
def test_constant_rows_have_a_finite_distance_and_gradient(contrast, shape):
    x = torch.zeros(5, *shape, requires_grad=True)
    value = contrast.distance(x, torch.zeros(5, *shape), rng())
    value.backward()
    assert value.item() == 0
    assert x.grad.isfinite().all()


def test_patches_ignore_where_parts_are_and_see_how_wide_they_are():
    part = normal(200, 1, 5, 5).abs()
    left, right, wide = (torch.zeros(200, 1, 24, 24).double() for _ in range(3))
    left[..., 8:13, 8:13] = part
    # Almost at the border, where there are fewer whole patches.
    right[..., 11:16, 18:23] = part
    wide[..., 8:13, 7:17] = part.repeat_interleave(2, -1)
    patches = PatchDistribution((5,), 3000)
    moved, widened = (patches.distance(x, left, rng()) for x in (right, wide))
    assert float(widened) > 50 * abs(float(moved))


def test_values():
    for value in (PatchDistribution([3, 5]), Marginals(), PATCHES):
        assert pickle.loads(pickle.dumps(value)) == value
        assert hash(value) == hash(pickle.loads(pickle.dumps(value)))
    a, b = (GenericPenalty(WIDER, PatchDistribution((3,)), node=k) for k in (None, "x"))
    assert a != b
    assert a == GenericPenalty(WIDER, PatchDistribution([3]))


def test_a_penalty_compares_what_is_behind_the_first_full_map():
    graph = map_decoder(2, (1, 12, 12), (3,), n_maps=2, n_parts=2)
    step = step_of(graph)
    found = GenericPenalty(WIDER, PATCHES).terms(step)
    named = GenericPenalty(WIDER, PATCHES, node="map").terms(
        step._replace(batch=step.batch._replace(generator=rng(2)))
    )
    assert list(found) == ["distance", "response"]
    assert found["response"] > 0
    assert torch.equal(found["distance"], named["distance"])
    found["distance"].backward()
    moved = {
        name: [p.grad is not None for p in graph.mechanism(name).parameters()]
        for name in graph.parents
    }
    assert moved["map"] + moved["parts"] + moved["data"]
    assert all(all(parts) for parts in moved.values())


@pytest.mark.parametrize("group", ["translate", "stretch", "rotate", "permute", WIDER])
def test_groups_of_maps_change_what_is_seen_and_train_what_is_behind(group):
    torch.manual_seed(0)
    graph = map_decoder(2, (2, 9, 8), (3,), n_maps=2, n_parts=2)
    terms = GenericPenalty(group, PATCHES).terms(step_of(graph))
    assert terms["response"] > 1e-3
    terms["distance"].backward()
    for name in ("map", "parts", "data"):
        moved = [p.grad.abs().sum() > 0 for p in graph.mechanism(name).parameters()]
        assert all(moved), name


def test_without_a_change_it_is_the_distance_and_the_response_is_zero():
    step = step_of(conv_decoder(2, (1, 8, 8), (3,)))
    still = InterventionFamily(Stretch, {"factor": (1.0, 1.0 + 1e-12)})
    terms = GenericPenalty(still, Marginals(), 1, node="conv1").terms(step)
    # Of a small batch half of the rows are changed.
    plain = Marginals().distance(step.nodes["data"][:20], step.batch.x)
    assert torch.allclose(terms["distance"], plain, rtol=1e-4)
    assert terms["response"] < 1e-5


def test_history_has_the_response():
    X = np.random.RandomState(0).uniform(size=(20, 64))
    penalty = GenericPenalty("stretch", PATCHES, node="conv2")
    model = small(data_shape=(8, 8), hidden=(4, 3), max_epochs=3)
    history = model.set_params(icm_penalty=penalty, icm_weight=1.0).fit(X).history_
    assert history["penalty"].equals(history["penalty distance"].rename("penalty"))
    assert (history["penalty response"] > 0).all()


def image_model(**params):
    return VAEGenerator((8, 8), max_epochs=1, random_state=0, icm_weight=1.0, **params)


X = np.random.RandomState(0).uniform(size=(20, 64))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: PatchDistribution(3), "sizes must be a non-empty sequence of ints"),
        (lambda: PatchDistribution((1,)), "sizes must be .* at least 2"),
        (lambda: PatchDistribution((3,), 1), "n_patches must be an int of at least 2"),
        (
            lambda: image_model(
                icm_penalty=GenericPenalty(
                    "stretch", PatchDistribution((9,)), node="conv2"
                )
            ).fit(X),
            "at least 9 along every axis.*Use smaller sizes",
        ),
        (
            lambda: image_model(
                icm_penalty=GenericPenalty("stretch", PATCHES), hidden=(4, 3)
            ).fit(X),
            "sees nothing in a graph.*with the grid of the data .*map_decoder",
        ),
        (
            lambda: image_model(
                icm_penalty=GenericPenalty("stretch", PATCHES, node="data")
            ).fit(X),
            "node must be one of the hidden nodes",
        ),
        (
            lambda: image_model(
                icm_penalty=GenericPenalty("stretch", PATCHES, node="noise")
            ).fit(X),
            "node must be one of the hidden nodes",
        ),
        (
            lambda: GenericPenalty("stretch", Marginals(), node="dense1").applies_to(
                dense_decoder(2, (4,), (3,))
            ),
            "'stretch' does not act on node 'dense1'",
        ),
        (
            lambda: GenericPenalty("scale", PATCHES).applies_to(
                dense_decoder(2, (4,), (3,))
            ),
            "needs images or signals.*for vectors Marginals",
        ),
        (
            lambda: GenericPenalty(WIDER, PATCHES, node="places").applies_to(
                parts_decoder(2, (1, 8, 8))
            ),
            "points of node 'places' in queries alone.*Name a node that holds maps",
        ),
        (
            lambda: GenericPenalty("stretch_height", PATCHES).applies_to(
                map_decoder(2, (1, 16))
            ),
            "axis='height'.*does not fit node 'map'",
        ),
        (
            lambda: generic_ratio(torch.nn.Identity(), np.eye(3), contrast=PATCHES),
            "contrast must be .*GenericPenalty",
        ),
    ],
)
def test_bad_input_is_refused_with_what_to_do(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()
