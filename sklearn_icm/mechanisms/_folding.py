"""Nearest upsampling and a convolution, folded into one convolution of small maps.

Every output pixel of a map that was enlarged by f reads each small pixel up to f times.
Kernels that add up those weights, one per position of the output within its small
pixel, give the same numbers on the small grid; a pixel shuffle puts them in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class FoldedResize(nn.Module):
    """Convolve as if after nearest resizing by ``factors``, padded to the same size.

    Parameters
    ----------
    kernel_size : int
        Taps per axis of the kernel on the large grid.
    factors : sequence of int
        Enlargement per spatial axis.
    """

    def __init__(self, kernel_size: int, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)
        per_axis = [_fold_matrix(kernel_size, factor) for factor in factors]
        fold, self.kernel, padding = per_axis[0][0], [], []
        for matrix, _ in per_axis[1:]:
            fold = torch.einsum("pst,qru->pqsrtu", fold, matrix)
        for matrix, before in per_axis:
            self.kernel.append(matrix.shape[1])
            padding.append((before, matrix.shape[1] - 1 - before))
        self.padding = padding
        n_taps = kernel_size ** len(self.factors)
        self.register_buffer("fold", fold.reshape(-1, n_taps), persistent=False)

    @property
    def saves(self) -> bool:
        """Whether the folded kernels have fewer taps, so that folding pays."""
        return math.prod(self.kernel) < self.fold.shape[1]

    def forward(self, value: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Result on the large grid, ``factors`` times the size of ``value``."""
        n_out, n_in = weight.shape[:2]
        phases, n_axes = math.prod(self.factors), len(self.factors)
        folded = (weight.flatten(2) @ self.fold.T).unflatten(2, (phases, -1))
        folded = folded.transpose(1, 2).reshape(n_out * phases, n_in, *self.kernel)
        convolve = (functional.conv1d, functional.conv2d)[n_axes - 1]
        both, padded = tuple(before for before, _ in self.padding), value
        if any(before != after for before, after in self.padding):
            ends = [n for pair in reversed(self.padding) for n in pair]
            both, padded = 0, functional.pad(value, ends)
        bias = bias.repeat_interleave(phases)
        small = convolve(padded, folded, bias, padding=both)
        small = small.unflatten(1, (n_out, *self.factors))
        # (n, out, *factors, *size): every factor goes behind its own axis.
        order = [k for a in range(n_axes) for k in (2 + n_axes + a, 2 + a)]
        large = small.permute(0, 1, *order)
        size = (s * f for s, f in zip(value.shape[2:], self.factors, strict=True))
        return large.reshape(len(value), n_out, *size)


def _fold_matrix(kernel_size: int, factor: int) -> tuple[Tensor, int]:
    """Taps on the small grid from taps on the large one, and the padding before.

    The matrix has shape (factor, small taps, kernel_size).
    """
    before = (kernel_size - 1) // 2
    reach = [
        (p + t - before) // factor
        for p in (0, factor - 1)
        for t in (0, kernel_size - 1)
    ]
    low, high = min(reach), max(reach)
    matrix = torch.zeros(factor, high - low + 1, kernel_size)
    for phase in range(factor):
        for tap in range(kernel_size):
            matrix[phase, (phase + tap - before) // factor - low, tap] = 1
    return matrix, -low
