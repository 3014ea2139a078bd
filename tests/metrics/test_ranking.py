"""The scorer prefers the true generator of a world to plain fits of its rows."""

import numpy as np

from sklearn_icm.datasets import make_faces, make_linear_chain, make_two_balls
from sklearn_icm.generators import ChainGenerator, FixedGenerator, VAEGenerator
from sklearn_icm.interventions import Stretch
from sklearn_icm.metrics import make_extrapolation_scorer

VAE = {"hidden": (16, 8), "n_latents": 5, "max_epochs": 10, "batch_size": 32}


def score(model, world, environment, intervention, n_train):
    """Skill on the rows of the world that come after the first n_train of each part."""
    n = len(world.data) // 2
    rest = np.r_[n_train:n, n + n_train : 2 * n]
    observational = world.environments[0]
    scorer = make_extrapolation_scorer(
        {environment: intervention}, observational=observational, n_samples=500
    )
    return scorer(model, world.data[rest], world.environments[rest])


def truth(world):
    model = FixedGenerator(
        world.mechanisms, data_shape=world.data_shape, random_state=0
    )
    return model.fit(world.data)


def test_stretched_faces():
    world = make_faces(400, stretch=1.3, random_state=0)
    fit = VAEGenerator(world.data_shape, random_state=0, **VAE).fit(world.data[:250])
    stretch = Stretch(1.3, axis="width")
    best = score(truth(world), world, "stretched", {"layout": stretch}, 250)
    assert best > 0.9
    for node in ("conv1", "conv2", "data"):
        assert score(fit, world, "stretched", {node: stretch}, 250) < best


def test_a_held_out_corner():
    world = make_two_balls(400, random_state=0)
    fit = VAEGenerator(world.data_shape, random_state=0, **VAE).fit(world.data[:250])
    best = score(truth(world), world, "square", world.interventions["square"], 250)
    assert best > 0.7
    # Nothing is known to have been changed in the fit's own nodes.
    assert score(fit, world, "square", {}, 250) < best - 0.3


def test_a_rotated_chain():
    world = make_linear_chain(900, n_features=6, random_state=0)
    fit = ChainGenerator(init="small", lr=0.05, max_iter=1500, random_state=0)
    fit.fit(world.data[:600])
    change = world.interventions["rotated"]
    best = score(truth(world), world, "rotated", change, 600)
    assert best > 0.8
    assert score(fit, world, "rotated", change, 600) < best - 0.1
