"""Images and signals of `score_validity.py`, and the models that are fitted to them."""

import copy
from functools import partial

import numpy as np
import torch
from _validity_cells import N_ENV, N_OBS, N_TRAIN, World
from scipy.linalg import expm, logm
from sklearn.utils import Bunch

from sklearn_icm.datasets import (
    load_glyphs,
    make_conv_chain,
    make_faces,
    make_fluohair,
    make_glyph_pairs,
    make_two_balls,
)
from sklearn_icm.generators import ChainGenerator, VAEGenerator
from sklearn_icm.independence import SpectralPenalty
from sklearn_icm.interventions import Stretch, SwapMechanism, Translate

N_ROWS = N_TRAIN + N_OBS + N_ENV
WRONG = (0.5, 1.5)
RESIDUAL = {"dropped": "drop", "kept": "keep"}
GREY_AXIS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
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


def of_four_fits(change, node, wrong_node):
    """Eight candidates of four fits, and wrong strengths.

    ``change(node, strength)`` gives interventions; a strength of 1 is the true one.
    """
    right = change(node, 1.0)
    handled = {
        f"{model}, {residual}": (model, right, RESIDUAL[residual])
        for model in ("good", "brief", "narrow", "collapsed")
        for residual in ("dropped", "kept")
    }
    del handled["collapsed, kept"]
    weak, strong = (change(node, strength) for strength in WRONG)
    return {
        **handled,
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
        of_four_fits(stretched(factor, axis), "conv2", "conv1"),
        at_data=stretched_data(factor, axis, shape),
    )


def glyph_pairs(seed, factor=1.3, glyphs=None, n_rows=N_ROWS):
    world = make_glyph_pairs(n_rows, stretch=factor, glyphs=glyphs, random_state=seed)
    return moving_parts(world, factor, seed)


def clothes_pairs(seed, factor=1.3, n_rows=N_ROWS):
    glyphs = load_glyphs("fashion-mnist")[:2000]
    return glyph_pairs(seed, factor, glyphs, n_rows)


def faces(seed, factor=1.4, n_rows=N_ROWS):
    return moving_parts(make_faces(n_rows, random_state=seed), factor, seed)


def two_balls(seed, side=0, raised=4, n_rows=N_ROWS):
    """Two balls of which one is raised: to pairs of heights that were never seen."""
    world = make_two_balls(n_rows, size=16, random_state=seed)
    heights = np.column_stack([world.factors["left"], world.factors["right"]])
    # Of the way between the lowest and the highest place, in pixels.
    share = raised / (15 - 2 * 2)
    heights[:, side] *= 1 - share

    @torch.no_grad()
    def rows_at(heights):
        maps = world.mechanisms.mechanism("balls")(torch.from_numpy(heights))
        return maps.sum(1).flatten(1).numpy()

    moved = heights.copy()
    moved[:, side] += share

    shape = world.data_shape
    return half_raised(shape, rows_at(heights), rows_at(moved), side, raised, seed)


def half_raised(shape, usual, moved, side, raised, seed):
    """World of images whose left or right half is raised by some pixels."""

    def change(node, strength):
        def interventions(model):
            share = model.nodes_[node][1] / shape[0]
            return {node: HalfRaised(-strength * raised * share, side)}

        return interventions

    def at_data(rows):
        images = torch.from_numpy(rows.reshape(-1, 1, *shape))
        return HalfRaised(-raised, side)(images).flatten(1).numpy()

    return World(
        "image",
        shape,
        usual.reshape(len(usual), -1),
        moved.reshape(len(moved), -1),
        vae_models(shape, seed),
        of_four_fits(change, "conv2", "conv1"),
        at_data=at_data,
    )


def raised_digits(seed, side=1, raised=2, n_rows=N_ROWS):
    """Pairs of digits of which one is raised, from rows that had both at one height."""
    pairs = make_glyph_pairs(n_rows, distance=(1.2, 1.2), stretch=1, random_state=seed)
    height, width = pairs.data_shape
    images = pairs.render().reshape(n_rows, height, width)
    moved = images.copy()
    half = (slice(None), slice(None), slice(side * width // 2, (side + 1) * width // 2))
    moved[half] = np.roll(images[half], -raised, axis=1)
    return half_raised((height, width), images, moved, side, raised, seed)


class HalfRaised:
    """Translate the left (side 0) or right half of maps along their height."""

    def __init__(self, offset, side):
        self.offset, self.side = offset, side

    def __call__(self, value):
        halves = list(value.chunk(2, dim=-1))
        halves[self.side] = Translate(self.offset, axis="height")(halves[self.side])
        return torch.cat(halves, -1)


def hair(seed, n_cues=4, angle=0.5, noise=0.03, n_rows=N_ROWS):
    """FluoHair at half its resolution, its colours turned about an axis by an angle.

    The camera's noise is added after that, and so keeps its own colours.
    """
    world = make_fluohair(n_rows, n_cues=n_cues, random_state=seed)
    shape = (12, 12, 3)
    turn = logm(world.rotation).real
    turn *= angle / np.linalg.norm(turn, 2)
    added = noise * np.random.RandomState(seed).standard_normal((n_rows, 432))

    def pooled(rows):
        blocks = rows.reshape(-1, 12, 2, 12, 2, 3)
        return blocks.mean((2, 4)).reshape(len(rows), -1) + added

    def change(node, strength):
        # The wrong change turns the same way about the axis of greys.
        axis = turn if node == "data" else angle * GREY_AXIS
        return lambda model: {"data": Recoloured(expm(strength * axis))}

    def at_data(rows):
        return (rows.reshape(-1, 3) @ expm(turn).T).reshape(len(rows), -1)

    # Kept residuals change as the data do, whatever the model.
    candidates = of_four_fits(change, "data", "channels")
    return World(
        "image",
        shape,
        pooled(world.render()),
        pooled(world.render(expm(turn) @ world.colours)),
        vae_models(shape, seed, bounds=None),
        {
            k: v
            for k, v in candidates.items()
            if k not in ("brief, kept", "narrow, kept")
        },
        at_data=at_data,
    )


class Recoloured:
    """Multiply the colour channels by a matrix."""

    def __init__(self, matrix):
        self.matrix = torch.from_numpy(matrix)

    def __call__(self, value):
        return torch.einsum("dc,nchw->ndhw", self.matrix.to(value), value)


def pulses(seed, factor=1.4, length=64, n_rows=N_ROWS):
    """Signals of a narrow and a wide pulse that move apart, with noise."""
    rng = np.random.RandomState(seed)
    place, gap, heights, noise = (
        rng.uniform(-2, 2, n_rows),
        rng.uniform(14, 22, n_rows),
        rng.uniform(0.5, 1.0, (n_rows, 2)),
        0.05 * rng.standard_normal((n_rows, length)),
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


def packets(seed, factor=1.4, length=64, n_rows=N_ROWS):
    """Signals of two wave packets, of any frequencies and phases, that move apart.

    There is more to a packet than a small model explains.
    """
    rng = np.random.RandomState(seed)
    gap, heights, waves, phases = (
        rng.uniform(16, 24, n_rows),
        rng.uniform(0.5, 1.0, (2, n_rows, 1)),
        rng.uniform(0.6, 1.6, (2, n_rows, 1)),
        rng.uniform(0, 2 * np.pi, (2, n_rows, 1)),
    )
    grid = np.arange(length) - (length - 1) / 2

    def render(factor):
        rows = np.zeros((n_rows, length))
        for k, side in enumerate((-1, 1)):
            away = grid - factor * side * gap[:, None] / 2
            wave = 1 + np.cos(waves[k] * away + phases[k])
            rows += heights[k] * wave * np.exp(-0.5 * (away / 3) ** 2)
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


def conv_chain(seed, factor=1.5, label_noise=0.3, n_rows=N_ROWS):
    """Two circular convolutions of known inputs, of which the first is stretched."""
    world = make_conv_chain(
        n_rows, stretch=factor, label_noise=label_noise, random_state=seed
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
            **{
                f"{model}, {residual}": (model, right, RESIDUAL[residual])
                for model in ("good", "penalised", "random start")
                for residual in ("kept", "dropped")
            },
            "brief, kept": ("brief", right, "keep"),
            "wrong node, kept": ("penalised", change("data", 1.0), "keep"),
            "too weak, kept": ("penalised", weak, "keep"),
            "too strong, kept": ("penalised", strong, "keep"),
        },
        at_data=stretched_data(factor, "length", world.data_shape),
        circular=True,
        known=lambda rows: {"abduction": Bunch(noise=world.noise[rows])},
    )
