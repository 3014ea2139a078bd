"""Laws of every world with exact counterfactuals."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch

from sklearn_icm.datasets import (
    make_conv_chain,
    make_faces,
    make_fluohair,
    make_linear_chain,
    make_scm,
    make_shapes,
    make_two_balls,
)
from sklearn_icm.interventions import Shift
from sklearn_icm.rows._layout import DataLayout

SCM = {
    "n_nodes": 6,
    "n_unobserved": 1,
    "interventions": {"do": {"x0": 2.0}, "soft": {"x1": Shift(1.0), "x3": torch.sin}},
}
WORLDS = {
    "faces": make_faces,
    "shapes": make_shapes,
    "fluohair": make_fluohair,
    "two_balls": make_two_balls,
    "linear_chain": partial(make_linear_chain, n_layers=3),
    "conv_chain": make_conv_chain,
    **{
        f"scm-{kind}": partial(make_scm, mechanism=kind, **SCM)
        for kind in ("additive", "location-scale", "linear", "threshold")
    },
}
every_world = pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)
N = 600  # more than one chunk


def rows_of(world, noise, interventions=None):
    """Rows that the true mechanisms make of float32 noise."""
    graph = world.mechanisms
    with torch.no_grad():
        values = graph(torch.from_numpy(noise).float(), interventions)
    layout = DataLayout(world.data.shape[1], world.data_shape)
    return layout.to_rows(values[graph.data_node]).numpy()


@every_world
def test_same_seed_same_data_and_no_other_randomness_is_touched(make):
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    a, b, c, d = (make(20, random_state=seed) for seed in (3, 3, 4, None))
    assert np.array_equal(a.data, b.data)
    assert not np.array_equal(a.data, c.data)
    assert not np.array_equal(a.data, d.data)
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@every_world
def test_a_world_does_not_depend_on_the_number_of_rows(make):
    few, many = make(7, random_state=1), make(N, random_state=1)
    assert np.allclose(many.render()[:7], few.render(), atol=1e-12)


@every_world
def test_rows_are_labelled_paired_and_finite(make):
    world = make(N, random_state=0)
    labels = list(dict.fromkeys(world.environments))
    assert labels[0] == "observational"
    assert world.environments.tolist() == np.repeat(labels, N).tolist()
    assert world.data.dtype == np.float64
    assert world.data.shape[0] == N * len(labels)
    assert np.isfinite(world.data).all()
    factual, counterfactual = world.pairs
    assert (world.environments[factual] == "observational").all()
    assert np.array_equal(counterfactual, np.arange(N, len(world.data)))
    assert np.array_equal(factual, counterfactual % N)
    assert all(v.shape[0] == N for v in world.factors.values())


@every_world
def test_noise_is_standard_normal_in_one_root(make):
    world = make(N, random_state=0)
    n_noise = world.noise.shape[1]
    assert world.mechanisms.roots == {"noise": (n_noise,)}
    assert world.noise.shape == (N, n_noise)
    moment = 5 / np.sqrt(world.noise.size)
    assert abs(world.noise.mean()) < moment
    assert abs(world.noise.var() - 1) < moment * np.sqrt(2)


@every_world
def test_render_without_an_intervention_is_the_observational_data(make):
    world = make(N, random_state=0)
    assert np.array_equal(world.render(), world.data[:N])


@every_world
def test_mechanisms_make_the_data_of_the_noise(make):
    world = make(N, random_state=0)
    rows = rows_of(world, world.noise) + world.get("observation_noise", 0)
    assert np.allclose(rows, world.data[:N], atol=1e-4)


@every_world
def test_interventions_on_the_mechanisms_make_the_environments(make):
    world = make(N, random_state=0)
    for label, interventions in world.get("interventions", {}).items():
        truth = world.data[world.environments == label]
        rows = rows_of(world, world.noise, interventions)
        # At faces' layout the intervention interpolates.
        atol = 0.05 if make is make_faces else 1e-4
        assert np.allclose(rows, truth, atol=atol), label
        assert not np.allclose(world.data[:N], truth, atol=atol)


@every_world
def test_mechanisms_can_be_pickled(make):
    world = make(5, random_state=0)
    before = rows_of(world, world.noise)
    world.mechanisms = pickle.loads(pickle.dumps(world.mechanisms))
    assert np.array_equal(rows_of(world, world.noise), before)


@every_world
def test_bad_number_of_rows(make):
    for n_samples in (0, 2.5, "many"):
        with pytest.raises((ValueError, TypeError), match="n_samples"):
            make(n_samples)
