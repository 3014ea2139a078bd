"""Decoders, penalties and measures of `faces_ablation.py`."""

import numpy as np
import torch
from torch import nn

from sklearn_icm.interventions import Translate
from sklearn_icm.mechanisms import conv_decoder, layout_decoder

JUDGE, SIZE = 1.5, 24
MIDDLE = (SIZE - 1) / 2


def fixed_widths_decoder(n_latents, data_shape):
    """Like `layout_decoder`, with bumps of one width in training."""
    return layout_decoder(n_latents, data_shape, random_widths=None)


def layout_and_parts(random_widths=None):
    """Bumps at given places of three parts, and the convolutions that draw them."""
    graph = layout_decoder(1, (1, SIZE, SIZE), n_parts=3, random_widths=random_widths)
    drawing = nn.Sequential(graph.mechanism("parts"), graph.mechanism("data"))
    return graph.mechanism("layout"), drawing


def default_decoder(n_latents, data_shape):
    """The decoder of `VAEGenerator`, whatever its encoder."""
    return conv_decoder(n_latents, data_shape, (32, 16))


def map_node(graph):
    """Node of the map that is stretched: the second one of the default decoder."""
    return "layout" if "layout" in graph.nodes else "conv2"


def image_of(graph, nodes, maps):
    """What the mechanisms behind the map draw of other values of it."""
    change = {map_node(graph): lambda _: maps}
    return graph(nodes["noise"], change, factual=nodes)["data"]


def dilated(maps, factors):
    """Dilate each map about the centre of its energy.

    maps : Tensor (n, channels, height, width); factors : Tensor (n, 2, groups), of
    rows and columns; neighbouring channels of a group share theirs.
    """
    energy = maps.detach().square() + 1e-12
    factors = factors.repeat_interleave(maps.shape[1] // factors.shape[2], dim=2)
    for k, axis in enumerate((2, 3)):
        grid = torch.arange(maps.shape[axis]).to(maps)
        mass = energy.sum(5 - axis)
        centre = (mass @ grid / mass.sum(2))[..., None]
        source = centre + (grid - centre) / factors[:, k, :, None]
        matrix = (1 - (source[..., None] - grid).abs()).clamp(min=0)
        maps = matrix @ maps if axis == 2 else maps @ matrix.mT
    return maps


class DilationPenalty:
    """Change of the image when maps are dilated, relative to the image's variance.

    The mechanisms behind the map should depend on where a map has its bump, not on how
    wide the bump is: a stretch moves bumps, and widens them.
    """

    def __init__(self, n_groups, largest=1.7):
        self.n_groups, self.largest = n_groups, largest

    def __call__(self, step):
        graph, nodes, batch = step
        maps, image = nodes[map_node(graph)], nodes["data"]
        shape = len(maps), 2, self.n_groups
        draws = torch.rand(shape, generator=batch.generator).to(maps)
        factors = self.largest ** (2 * draws - 1)
        changed = image_of(graph, nodes, dilated(maps, factors))
        return (changed - image).square().mean() / image.detach().var()


class TranslationPenalty:
    """Failure of the mechanisms behind the map to commute with fractional shifts."""

    def __call__(self, step):
        graph, nodes, batch = step
        maps, image = nodes[map_node(graph)], nodes["data"]
        offset, axis = torch.rand(2, generator=batch.generator).tolist()
        offset, axis = 3 * offset - 1.5, "width" if axis < 0.5 else "height"
        scale = image.shape[-1] / maps.shape[-1]
        changed = image_of(graph, nodes, Translate(offset, axis)(maps))
        inner = (..., slice(4, -4), slice(4, -4))
        moved = Translate(scale * offset, axis)(image)
        change = (changed - moved)[inner].square().mean()
        return change / image.detach().var()


def true_places(world, rows):
    """Rows and columns of the parts from the middle; as heights amplitude and size."""
    f = {k: torch.from_numpy(v[rows]).float() for k, v in world.factors.items()}
    half = f["eye_distance"] / 2
    x = torch.stack([f["x"] - half, f["x"] + half, f["x"]], 1)
    y = f["y"][:, None] + torch.tensor([-3.0, -3.0, 4.0])
    heights = torch.stack([f["amplitude"], 5 * (f["size"] - 1.05)], 1)
    return torch.stack([y, x], 2) - MIDDLE, heights[:, None].expand(-1, 3, -1)


def eyes(world, rows, images, stretch=1.0):
    """Offsets of both eyes from the middle and their widths, in pixels, (2, 2, n)."""
    f = {name: values[rows] for name, values in world.factors.items()}
    x = MIDDLE + stretch * (f["x"] - MIDDLE)
    grid = np.arange(SIZE)
    images = np.clip(images.reshape(-1, SIZE, SIZE) - 0.05, 0, None)
    near = np.abs(grid - (f["y"] - 3)[:, None]) < 3.2
    columns = (images * near[:, :, None]).sum(1)
    found = []
    for side in (-1, 1):
        true = x + side * stretch * f["eye_distance"] / 2
        own = (grid - x[:, None]) * side > 0
        mass = columns * (own & (np.abs(grid - true[:, None]) < 4.5))
        # Where nothing is drawn, there is neither place nor width.
        total = mass.sum(1, keepdims=True)
        mass = mass / np.where(total > 0, total, np.nan)
        place = mass @ grid
        var = (mass * np.square(grid - place[:, None])).sum(1)
        found.append([place - MIDDLE, var**0.5])
    return np.array(found)


def moved_and_widened(world, rows, before, after):
    """Factors by which a stretch moved and widened the eyes."""
    (a, width_a), (b, width_b) = (
        eyes(world, rows, images, s).transpose(1, 0, 2).reshape(2, -1)
        for images, s in ((before, 1.0), (after, JUDGE))
    )
    seen = np.isfinite(a + b) & (width_a > 0)
    if seen.sum() < 2:
        return np.nan, np.nan
    slope = np.polyfit(a[seen], b[seen], 1)[0]
    return slope, np.median(width_b[seen]) / np.median(width_a[seen])
