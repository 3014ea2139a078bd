"""Builders of decoders, and of the encoders that mirror them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import nn

from ._checks import check_choice, check_count, check_counts, check_map_shape
from ._graph import MechanismGraph
from ._modules import ACTIVATIONS, ConvMechanism, DenseMechanism

SMALLEST_MAP = 3
# Of the first map, where there are as many maps as it takes: places along any axis of a
# full-grid decoder, and in all (8 x 8) of others.
LARGEST_FIRST, MOST_PLACES = 8, 64
LAST_KERNEL = 3
RESIZINGS = ("nearest", "linear")


def dense_decoder(
    n_latents: int,
    data_shape: Sequence[int],
    hidden: Sequence[int] = (256, 256),
    *,
    activation: str = "silu",
) -> MechanismGraph:
    """Build a path of dense mechanisms from noise to data.

    Parameters
    ----------
    n_latents : int
    data_shape : tuple of int
        Shape of the data node, ``(n_features,)`` for a table.
    hidden : sequence of int
        Widths of the hidden nodes ``dense1``, ``dense2``, ...
    activation : {"silu", "relu", "softplus", "tanh", "identity"}
    """
    check_count("n_latents", n_latents)
    _check_dense(data_shape, hidden, activation)
    shapes = [(n_latents,), *((w,) for w in hidden), tuple(data_shape)]
    names = [f"dense{i + 1}" for i in range(len(hidden))] + ["data"]
    return _dense_path("noise", names, shapes, activation)


def dense_encoder(
    data_shape: Sequence[int],
    n_outputs: int,
    hidden: Sequence[int] = (256, 256),
    *,
    activation: str = "silu",
) -> MechanismGraph:
    """Build the path from data to posterior that mirrors `dense_decoder`.

    Parameters
    ----------
    data_shape : tuple of int
        Of a row.
    n_outputs : int
        Of the node "posterior": twice the latents of a `VAEGenerator`.
    hidden : tuple of int, default=(256, 256)
        Widths, those of the decoder: they are passed in reverse order.
    activation : str, default="silu"
        A key of `ACTIVATIONS`.

    Returns
    -------
    MechanismGraph
    """
    check_count("n_outputs", n_outputs)
    _check_dense(data_shape, hidden, activation)
    widths = list(reversed(hidden))
    shapes = [tuple(data_shape), *((w,) for w in widths), (n_outputs,)]
    names = [f"dense{len(widths) - i}" for i in range(len(widths))] + ["posterior"]
    return _dense_path("data", names, shapes, activation)


def conv_decoder(
    n_latents: int,
    data_shape: Sequence[int],
    hidden: Sequence[int] | None = None,
    *,
    kernel_size: int = 5,
    activation: str = "silu",
    resize: str = "nearest",
) -> MechanismGraph:
    """Build a path of maps that double in size from noise to data.

    Parameters
    ----------
    n_latents : int
    data_shape : tuple of int
        Channels first: ``(channels, length)`` or ``(channels, height, width)``.
    hidden : sequence of int, optional
        Channels of the hidden maps ``conv1``, ``conv2``, ... Each axis doubles from
        one map to the next, except where a map would become smaller than 3. None: 32
        for the first and 16 for the others, of which there are as many as it takes
        that the first has at most 64 places, 8 x 8 (at least two).
    kernel_size : int
    activation : {"silu", "relu", "softplus", "tanh", "identity"}
    resize : {"nearest", "linear"}
        How a map is brought to the next one's grid before it is convolved.
    """
    check_count("n_latents", n_latents)
    check_map_shape(data_shape)
    hidden = default_channels(data_shape) if hidden is None else hidden
    _check_conv(data_shape, hidden, kernel_size, activation)
    check_choice("resize", resize, RESIZINGS)
    shapes = _hidden_shapes(data_shape, hidden)
    shapes["data"] = tuple(data_shape)
    return _conv_path(n_latents, shapes, {}, kernel_size, activation, resize)


def map_decoder(
    n_latents: int,
    data_shape: Sequence[int],
    hidden: Sequence[int] | None = None,
    *,
    n_maps: int = 8,
    n_parts: int = 12,
    kernel_size: int = 5,
    activation: str = "silu",
    resize: str = "nearest",
) -> MechanismGraph:
    """Build a path of maps whose last but one has the grid of the data.

    Parameters
    ----------
    n_latents : int
    data_shape : tuple of int
        Channels first: ``(channels, length)`` or ``(channels, height, width)``.
    hidden : sequence of int, optional
        Channels of the maps ``conv1``, ``conv2``, ..., which double in size as those of
        `conv_decoder`. None: as there, but of as many that no axis of the first is
        longer than 8.
    n_maps : int
        Channels of ``map``.
    n_parts : int
        Channels of ``parts``, behind it.
    kernel_size : int
        Of all convolutions but the last, which has 3 (or less). Those behind the map
        should reach as far as one part, not as far as the next.
    activation : {"silu", "relu", "softplus", "tanh", "identity"}
    resize : {"nearest", "linear"}
        How a map is brought to the next one's grid before it is convolved.

    Returns
    -------
    MechanismGraph
        ``noise -> conv1 -> ... -> map -> parts -> data``.

    Notes
    -----
    A stretch of ``map`` can move parts to the pixel, where a coarser map has no place
    for less than two. That they are drawn as before takes a penalty: see
    :class:`~sklearn_icm.independence.GenericPenalty` with a `PatchDistribution`.

    Examples
    --------
    >>> nodes = map_decoder(5, (3, 64, 64)).nodes
    >>> nodes["conv1"], nodes["conv3"], nodes["map"]
    ((32, 8, 8), (16, 32, 32), (8, 64, 64))
    """
    check_count("n_latents", n_latents)
    check_map_shape(data_shape)
    if hidden is None:
        hidden = default_channels(data_shape, longest=LARGEST_FIRST)
    _check_conv(data_shape, hidden, kernel_size, activation)
    check_choice("resize", resize, RESIZINGS)
    check_count("n_maps", n_maps)
    check_count("n_parts", n_parts)
    channels, *grid = data_shape
    shapes = _hidden_shapes(data_shape, hidden)
    shapes |= {"map": (n_maps, *grid), "parts": (n_parts, *grid)}
    shapes["data"] = (channels, *grid)
    kernels = {"data": min(LAST_KERNEL, kernel_size)}
    return _conv_path(n_latents, shapes, kernels, kernel_size, activation, resize)


def default_channels(
    data_shape: Sequence[int], longest: float = math.inf
) -> tuple[int, ...]:
    """Channels of as many hidden maps as make the first one small.

    >>> default_channels((1, 28, 28)), default_channels((3, 128, 128))
    ((32, 16), (32, 16, 16, 16))
    """
    n_maps = 2
    while True:
        first = map_sizes(data_shape[1:], n_maps)[0]
        if math.prod(first) <= MOST_PLACES and max(first) <= longest:
            return (32, *[16] * (n_maps - 1))
        n_maps += 1


def _hidden_shapes(
    data_shape: Sequence[int], hidden: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    sizes = map_sizes(data_shape[1:], len(hidden))
    pairs = zip(hidden, sizes, strict=True)
    return {f"conv{i}": (c, *size) for i, (c, size) in enumerate(pairs, start=1)}


def _conv_path(
    n_latents: int,
    shapes: Mapping[str, tuple[int, ...]],
    kernels: Mapping[str, int],
    kernel_size: int,
    activation: str,
    resize: str,
) -> MechanismGraph:
    """Dense to the first node, and convolutions with these kernels to the others."""
    (first, shape), *others = shapes.items()
    mechanisms: dict[str, tuple[str, nn.Module]] = {
        first: ("noise", DenseMechanism((n_latents,), shape, activation))
    }
    parent, coarse = first, shape
    for name, shape in others:
        convolution = ConvMechanism(
            coarse[0],
            shape,
            _factors(coarse[1:], shape[1:]),
            kernel_size=kernels.get(name, kernel_size),
            activation="identity" if name == "data" else activation,
            resize=resize,
        )
        mechanisms[name] = (parent, convolution)
        parent, coarse = name, shape
    return MechanismGraph({"noise": (n_latents,)}, mechanisms)


def conv_encoder(
    data_shape: Sequence[int],
    n_outputs: int,
    hidden: Sequence[int] | None = None,
    *,
    kernel_size: int = 5,
    activation: str = "silu",
) -> MechanismGraph:
    """Build the path from data to posterior that mirrors `conv_decoder`.

    Parameters
    ----------
    data_shape : tuple of int
        (channels, length) or (channels, height, width) of a row.
    n_outputs : int
        Of the node "posterior": twice the latents of a `VAEGenerator`.
    hidden : tuple of int, optional
        Channels, those of the decoder: they are passed in reverse order. None: as many
        as `conv_decoder` has.
    kernel_size : int, default=5
    activation : str, default="silu"
        A key of `ACTIVATIONS`.

    Returns
    -------
    MechanismGraph
    """
    check_count("n_outputs", n_outputs)
    check_map_shape(data_shape)
    hidden = default_channels(data_shape) if hidden is None else hidden
    _check_conv(data_shape, hidden, kernel_size, activation)
    sizes = map_sizes(data_shape[1:], len(hidden))
    shapes = [(c, *s) for c, s in zip(hidden, sizes, strict=True)]
    mechanisms: dict[str, tuple[str, nn.Module]] = {}
    parent, parent_shape = "data", tuple(data_shape)
    for i in reversed(range(len(shapes))):
        name = f"conv{i + 1}"
        mechanisms[name] = (
            parent,
            ConvMechanism(
                parent_shape[0],
                shapes[i],
                _factors(shapes[i][1:], parent_shape[1:]),
                kernel_size=kernel_size,
                activation=activation,
                down=True,
            ),
        )
        parent, parent_shape = name, shapes[i]
    head = DenseMechanism(parent_shape, (n_outputs,), "identity")
    mechanisms["posterior"] = (parent, head)
    return MechanismGraph({"data": tuple(data_shape)}, mechanisms)


def map_sizes(size: Sequence[int], n_maps: int) -> list[tuple[int, ...]]:
    """Grids of ``n_maps`` hidden maps, coarse to fine, below data of the given size.

    Each axis is halved (rounding up) from the data towards the noise, and stays as it
    is once half of it would be smaller than 3.

    >>> map_sizes((28, 28), 2), map_sizes((25, 8), 2)
    ([(7, 7), (14, 14)], [(7, 4), (13, 4)])
    """
    sizes: list[tuple[int, ...]] = []
    for _ in range(n_maps):
        size = tuple(h if (h := -(-n // 2)) >= SMALLEST_MAP else n for n in size)
        sizes.append(size)
    return sizes[::-1]


def _check_dense(
    data_shape: Sequence[int], hidden: Sequence[int], activation: str
) -> None:
    check_counts("data_shape", data_shape, least=1)
    check_counts("hidden", hidden)
    check_choice("activation", activation, ACTIVATIONS)


def _check_conv(
    data_shape: Sequence[int],
    hidden: Sequence[int],
    kernel_size: int,
    activation: str,
) -> None:
    check_map_shape(data_shape)
    check_counts("hidden", hidden, least=1)
    check_count("kernel_size", kernel_size)
    check_choice("activation", activation, ACTIVATIONS)


def _factors(coarse: Sequence[int], fine: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-f // c) for c, f in zip(coarse, fine, strict=True))


def _dense_path(
    root: str, names: list[str], shapes: list[tuple[int, ...]], activation: str
) -> MechanismGraph:
    mechanisms, parent = {}, root
    for i, name in enumerate(names):
        kind = "identity" if i == len(names) - 1 else activation
        mechanisms[name] = (parent, DenseMechanism(shapes[i], shapes[i + 1], kind))
        parent = name
    return MechanismGraph({root: shapes[0]}, mechanisms)
