"""Weights that a linear chain starts from: their shapes and values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from ...utils.checks import is_count

Arrays = Sequence[np.ndarray]
Shapes = Sequence[tuple[int, ...]]
SMALL, HALF = 0.01, 0.5


def given_weights(init: Any, n_layers: int) -> list[np.ndarray] | None:
    """Arrays of a parameter ``init``, or None if it names a distribution."""
    if isinstance(init, str):
        return None
    try:
        arrays = [np.array(weight, dtype=np.float64) for weight in init]
    except (TypeError, ValueError) as error:
        raise ValueError(
            "init must be 'small', 'identity', 'xavier' or a list of arrays of numbers."
        ) from error
    if len(arrays) != n_layers:
        raise ValueError(
            f"init must have one array per mechanism, n_layers={n_layers}, got "
            f"{len(arrays)}."
        )
    if not all(np.isfinite(weight).all() for weight in arrays):
        raise ValueError("init must be finite, got NaN or infinity.")
    return arrays


def dense_shapes(
    n_features: int, n_inputs: int | None, n_layers: int, given: Arrays | None
) -> Shapes:
    """Shapes (out, in) of matrices, input side first; ``n_inputs`` None takes any."""
    if given is None:
        return [(n_features, n_inputs)] + [(n_features, n_features)] * (n_layers - 1)
    shapes = [weight.shape for weight in given]
    if not all(len(shape) == 2 and min(shape) > 0 for shape in shapes):
        raise ValueError(f"init must hold matrices (out, in), got shapes {shapes}.")
    outs, ins = zip(*shapes, strict=True)
    if outs[:-1] != ins[1:] or outs[-1] != n_features:
        raise ValueError(
            "init must hold matrices (out, in), input side first, each of which reads "
            f"what the one before makes, the last one making {n_features} features; "
            f"got shapes {shapes}."
        )
    if n_inputs not in {None, ins[0]}:
        raise ValueError(
            f"inputs must have {ins[0]} columns, as the first array of init reads, got "
            f"{n_inputs}."
        )
    return shapes


def conv_shapes(
    grid: Sequence[int], kernel_size: Any, n_layers: int, given: Arrays | None
) -> Shapes:
    """Shapes (1, 1, *kernel) of kernels on a grid, input side first."""
    if given is None:
        return [(1, 1, *_kernel_shape(grid, kernel_size))] * n_layers
    if kernel_size is not None:
        raise ValueError(
            "kernel_size must be None where init gives the kernels, got "
            f"{kernel_size!r}."
        )
    shapes = [w.shape if w.ndim == len(grid) + 2 else (1, 1, *w.shape) for w in given]
    for shape in shapes:
        if len(shape) != len(grid) + 2 or shape[:2] != (1, 1) or 0 in shape:
            raise ValueError(
                f"init must hold kernels of {len(grid)} axes, (1, 1, *kernel) or "
                f"without the channels, got shapes {[w.shape for w in given]}."
            )
        _check_fits(shape[2:], grid, "init")
    return shapes


def _kernel_shape(grid: Sequence[int], size: Any) -> tuple[int, ...]:
    """Shape of one kernel, an int per axis of the grid."""
    if size is None:
        return tuple(grid)
    sizes = (size,) * len(grid) if isinstance(size, Integral) else tuple(size)
    if len(sizes) != len(grid) or not all(map(is_count, sizes)):
        raise ValueError(
            "kernel_size must be None, a positive int, or one int per axis of the "
            f"rows, {len(grid)}, got {size!r}."
        )
    _check_fits(sizes, grid, "kernel_size")
    return tuple(map(int, sizes))


def _check_fits(size: Sequence[int], grid: Sequence[int], name: str) -> None:
    if any(k > n for k, n in zip(size, grid, strict=True)):
        raise ValueError(
            f"{name}: kernels must be no longer than the signal, {tuple(grid)}, got "
            f"{tuple(size)}."
        )


def initial_weights(
    init: str, shapes: Shapes, unit: float, random_state: np.random.RandomState
) -> list[np.ndarray]:
    """Draw weights; ``unit`` is the size of a mechanism that keeps the data's scale."""
    if init == "small":
        return [SMALL * unit * random_state.randn(*shape) for shape in shapes]
    if init == "identity":
        return [HALF * unit * _identity(shape) for shape in shapes]
    return [
        unit * math.sqrt(2 / _fans(shape)) * random_state.randn(*shape)
        for shape in shapes
    ]


def _identity(shape: Sequence[int]) -> np.ndarray:
    if len(shape) == 2:
        return np.eye(*shape)
    delta = np.zeros(shape)
    delta[(0, 0, *(k // 2 for k in shape[2:]))] = 1.0
    return delta


def _fans(shape: Sequence[int]) -> tuple[int, int]:
    """Number of inputs plus outputs of one unit."""
    return sum(shape) if len(shape) == 2 else 2 * math.prod(shape[2:])
