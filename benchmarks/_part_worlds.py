"""Worlds of `image_parts.py`: images of parts that a stretch of the layout moves apart.

Each has exact counterfactuals at every strength up to 1.5. In those that end in
"pixels", the negative controls, the truth is the stretch of the image itself.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _validity_worlds import CLOTHES_HOME

from sklearn_icm.datasets import (
    load_glyphs,
    make_faces,
    make_glyph_pairs,
    make_shapes,
    make_two_balls,
)
from sklearn_icm.interventions import Stretch

LARGEST = 1.5
PIXELS = ", pixels"
N_CLOTHES = 2000


@dataclass(frozen=True)
class PartWorld:
    """Rows of a world at every strength: ``render(stretch)``, paired."""

    render: object
    data_shape: tuple
    axis: str = "width"

    def pixels(self, rows, stretch):
        """Rows whose pixels are stretched."""
        height, width, channels = (*self.data_shape, 1)[:3]
        images = torch.from_numpy(rows.reshape(len(rows), height, width, channels))
        change = Stretch(stretch, axis=self.axis)
        stretched = change(images.movedim(-1, 1)).movedim(1, -1)
        return stretched.numpy().reshape(len(rows), -1)


def of_bunch(make, n_rows, seed, **params):
    world = make(n_rows, stretch=LARGEST, random_state=seed, **params)
    return PartWorld(world.render, world.data_shape)


def glyph_world(n_rows, seed, glyphs=None, axis="width", n_glyphs=2):
    """Glyphs side by side, or below each other."""
    glyphs = load_glyphs("digits") if glyphs is None else glyphs()
    if axis == "width":
        params = {"glyphs": glyphs, "n_glyphs": n_glyphs}
        return of_bunch(make_glyph_pairs, n_rows, seed, **params)
    params = {"glyphs": glyphs.swapaxes(1, 2), "n_glyphs": n_glyphs}
    lying = of_bunch(make_glyph_pairs, n_rows, seed, **params)

    def render(stretch=1.0):
        images = lying.render(stretch).reshape(-1, *lying.data_shape)
        return images.swapaxes(1, 2).reshape(len(images), -1)

    return PartWorld(render, lying.data_shape[::-1], axis)


def clothes():
    return load_glyphs("fashion-mnist")[:N_CLOTHES]


def balls(n_rows, seed):
    """Two balls, never both high, whose heights are stretched about the middle."""
    world = make_two_balls(n_rows, random_state=seed)
    heights = np.column_stack([world.factors["left"], world.factors["right"]])
    offsets = (heights - 0.5) / LARGEST

    @torch.no_grad()
    def render(stretch=1.0):
        moved = torch.from_numpy(0.5 + stretch * offsets)
        return world.mechanisms.mechanism("balls")(moved).sum(1).flatten(1).numpy()

    return PartWorld(render, world.data_shape, "height")


def negative(make, n_rows, seed):
    """The same rows, of which whole images are stretched."""
    world = make(n_rows, seed)
    usual = world.render(1.0)
    return PartWorld(partial(world.pixels, usual), world.data_shape, world.axis)


WORLDS = {
    "faces": partial(of_bunch, make_faces),
    "digit pairs": glyph_world,
    "digit pairs, height": partial(glyph_world, axis="height"),
    "three digits": partial(glyph_world, n_glyphs=3),
    "two balls": balls,
    "shapes": partial(of_bunch, make_shapes),
}
if Path(CLOTHES_HOME).exists():
    WORLDS["clothes pairs"] = partial(glyph_world, glyphs=clothes)
    WORLDS["clothes pairs, height"] = partial(
        glyph_world, glyphs=clothes, axis="height"
    )
NEGATIVE = {
    f"{name}{PIXELS}": partial(negative, WORLDS[name])
    for name in ("faces", "digit pairs", "shapes")
}
