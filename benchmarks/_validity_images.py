"""Images and signals of `score_validity.py`, and the models that are fitted to them."""

import copy
from functools import partial

import numpy as np
import torch
from _validity_cells import N_ENV, N_OBS, N_TRAIN, World
from sklearn.utils import Bunch

from sklearn_icm.datasets import make_conv_chain, make_glyph_pairs
from sklearn_icm.generators import ChainGenerator, VAEGenerator
from sklearn_icm.independence import SpectralPenalty
from sklearn_icm.interventions import Stretch, SwapMechanism

N_ROWS = N_TRAIN + N_OBS + N_ENV
WRONG = (0.5, 1.5)
GOOD = {"max_epochs": 12, "batch_size": 32, "lr": 4e-3, "beta": 0.1}


def fit_vae(X, shape, seed, **params):
    return VAEGenerator(shape, random_state=seed, **params).fit(X)


def vae_models(shape, seed, **params):
    """The four fits: a good one, of few steps, of few channels, and a collapsed one."""
    kinds = {
        "good": GOOD,
        "brief": {**GOOD, "max_epochs": 2},
        "narrow": {**GOOD, "max_epochs": 8, "hidden": (8, 4), "n_latents": 6},
        "collapsed": {"max_epochs": 3, "beta": 30.0},
    }
    return {
        name: partial(fit_vae, shape=shape, seed=seed, **params, **kind)
        for name, kind in kinds.items()
    }


def eight(change, node, wrong_node):
    """Candidates of four fits; ``change(node, strength)`` gives their interventions.

    strength is that of the true change relative to it, 1 for the right one.
    """
    right = change(node, 1.0)
    weak, strong = (change(node, strength) for strength in WRONG)
    return {
        "good, kept": ("good", right, "keep"),
        "good, dropped": ("good", right, "drop"),
        "brief, dropped": ("brief", right, "drop"),
        "narrow, dropped": ("narrow", right, "drop"),
        "collapsed, dropped": ("collapsed", right, "drop"),
        "wrong node, dropped": ("good", change(wrong_node, 1.0), "drop"),
        "too weak, dropped": ("good", weak, "drop"),
        "too strong, dropped": ("good", strong, "drop"),
    }


def stretched(factor, axis):
    """``change(node, strength)`` of a stretch."""

    def change(node, strength):
        return lambda model: {node: Stretch(1 + strength * (factor - 1), axis=axis)}

    return change


def stretched_data(factor, axis, shape):
    """The same stretch of rows."""

    def at_data(rows):
        images = torch.from_numpy(rows.reshape(len(rows), 1, *shape))
        return Stretch(factor, axis=axis)(images).numpy().reshape(len(rows), -1)

    return at_data


def moving_parts(world, factor, seed, axis="width", **params):
    """World of a Bunch with ``render``: parts of images or signals move apart."""
    shape = world.data_shape
    return World(
        "signal" if len(shape) == 1 else "image",
        shape,
        world.render(1.0),
        world.render(factor),
        vae_models(shape, seed, **params),
        eight(stretched(factor, axis), "conv2", "conv1"),
        at_data=stretched_data(factor, axis, shape),
    )


def glyph_pairs(seed, factor=1.3, glyphs=None):
    world = make_glyph_pairs(N_ROWS, stretch=factor, glyphs=glyphs, random_state=seed)
    return moving_parts(world, factor, seed)


def pulses(seed, factor=1.4, length=64):
    """Signals of a narrow and a wide pulse that move apart, with noise."""
    rng = np.random.RandomState(seed)
    place, gap, heights, noise = (
        rng.uniform(-2, 2, N_ROWS),
        rng.uniform(14, 22, N_ROWS),
        rng.uniform(0.5, 1.0, (N_ROWS, 2)),
        0.05 * rng.standard_normal((N_ROWS, length)),
    )
    grid = np.arange(length) - (length - 1) / 2

    def render(factor):
        rows = noise.copy()
        for side, width, height in ((-1, 1.5, 0), (1, 3.5, 1)):
            middle = factor * (place + side * gap / 2)
            away = (grid - middle[:, None]) / width
            rows += heights[:, [height]] * np.exp(-0.5 * away**2)
        return rows

    world = Bunch(render=render, data_shape=(length,))
    return moving_parts(world, factor, seed, axis="length")


# ----------------------------------------------------------------------- chains
def widened(node, factor, model):
    """Swap a mechanism for its own whose kernel is stretched about lag 0."""
    other = copy.deepcopy(model)
    parameters = other.graph_.mechanism(node).named_parameters()
    weight = next(p for name, p in parameters if name.endswith("weight"))
    kernel = weight.detach().numpy().ravel()
    lags = np.arange(len(kernel)) - len(kernel) // 2
    wide = np.interp(lags / factor, lags, kernel, left=0, right=0)
    with torch.no_grad():
        weight.copy_(torch.from_numpy(wide).view_as(weight))
    return {node: SwapMechanism(other, node)}


def conv_chain(seed, factor=1.5, label_noise=0.3):
    """Two circular convolutions of known inputs, of which the first is stretched."""
    world = make_conv_chain(
        N_ROWS, stretch=factor, label_noise=label_noise, random_state=seed
    )
    kinds = {
        "good": {"init": world.kernels, "max_iter": 800},
        "penalised": {"init": world.kernels, "max_iter": 800, "icm_weight": 0.1},
        "random start": {"max_iter": 800},
        "brief": {"max_iter": 60},
    }

    def fit(X, **params):
        model = ChainGenerator(
            "conv",
            optimizer="sgd",
            lr=0.05,
            batch_size=16,
            label_noise=0.5,
            icm_penalty=SpectralPenalty(loss="squared"),
            random_state=seed,
            **params,
        )
        return model.fit(X, inputs=world.noise[: len(X)])

    def change(node, strength):
        return partial(widened, node, 1 + strength * (factor - 1))

    right = change("conv1", 1.0)
    weak, strong = (change("conv1", strength) for strength in WRONG)
    return World(
        "signal",
        world.data_shape,
        world.render(1.0),
        world.render(factor),
        {name: partial(fit, **kind) for name, kind in kinds.items()},
        {
            "good, kept": ("good", right, "keep"),
            "good, dropped": ("good", right, "drop"),
            "penalised, kept": ("penalised", right, "keep"),
            "random start, kept": ("random start", right, "keep"),
            "brief, kept": ("brief", right, "keep"),
            "wrong node, kept": ("penalised", change("data", 1.0), "keep"),
            "too weak, kept": ("penalised", weak, "keep"),
            "too strong, kept": ("penalised", strong, "keep"),
        },
        at_data=stretched_data(factor, "length", world.data_shape),
        circular=True,
        known=lambda rows: {"abduction": Bunch(noise=world.noise[rows])},
    )
