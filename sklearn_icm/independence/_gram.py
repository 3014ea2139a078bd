"""Exact mean of (rho - 1)^2 over all triplets of channels, without the triplets.

``rho_jim - 1`` is the inner product over lags of the unit correlations ``u1_ji`` and
``u2_jm``, so the sum of its squares over i and m is the inner product of two Gram
matrices over lags, ``<sum_i u1_ji u1_ji^T, sum_m u2_jm u2_jm^T>``: its cost grows
with ``in + out`` channels, not with their product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._common import largest_entry, scaled
from ._correlations import (
    LagMatrices,
    Resizing,
    kernel_correlation,
    lag_matrices,
)
from ._spectral import common_lags, correlation_units

# Entries of the largest intermediate result: what the cache of one core holds.
ENTRIES_PER_BLOCK = 2**18


def mean_square_excess(
    w1: Tensor,
    w2: Tensor,
    upsample: Sequence[int] | None = None,
    downsample: Sequence[int] | None = None,
    *,
    resizings: tuple[Resizing | None, Resizing | None] = (None, None),
) -> Tensor:
    """Mean of ``(rho - 1)^2`` over all triplets, a 0-d tensor.

    Parameters are those of `spectral_measure`, whose triplet form it agrees with. It
    can be differentiated once.
    """
    first, second = common_lags(w1, w2, upsample, downsample, resizings)
    n_triplets = w1.shape[0] * w1.shape[1] * w2.shape[0]
    matrices = [lag_matrices(la, w1.dtype, w1.device) for la in (first, second)]
    if None not in matrices:
        return _SquareExcess.apply(w1, w2, *matrices) / n_triplets
    # Kernels of very many taps: few channels read them, and FFTs store little.
    u1 = correlation_units(kernel_correlation(scaled(w1), first))
    u2 = correlation_units(kernel_correlation(scaled(w2).transpose(0, 1), second))
    return (u1 * _through_gram(u1, u2)).sum() / n_triplets


def _through_gram(u1: Tensor, u2: Tensor) -> Tensor:
    """``u1 @ u2^T @ u2``, multiplied in the cheaper order."""
    (n1, n_lags), n2 = u1.shape[1:], u2.shape[1]
    if n1 * n2 * 2 <= (n1 + n2) * n_lags:
        return (u1 @ u2.mT) @ u2
    return u1 @ (u2.mT @ u2)


class _SquareExcess(torch.autograd.Function):
    """Sum over triplets, with the gradient taken in the same pass over blocks.

    The value is homogeneous in each mechanism's unit correlations, so most of the
    gradient's terms are those of the value. All that is kept is one gradient the size
    of the weights.
    """

    @staticmethod
    def forward(
        ctx, w1: Tensor, w2: Tensor, first: LagMatrices, second: LagMatrices
    ) -> Tensor:
        needed = ctx.needs_input_grad[:2]
        sides = [
            _Side(w1, first, needed[0]),
            _Side(w2.transpose(0, 1), second, needed[1]),
        ]
        size = max(1, ENTRIES_PER_BLOCK // max(side.entries for side in sides))
        total = w1.new_zeros(())
        for start in range(0, len(w1), size):
            block = slice(start, start + size)
            u1, u2 = (side.units(block) for side in sides)
            g1 = _through_gram(u1, u2)
            along = (u1 * g1).sum(2)
            total += along.sum()
            if needed[0]:
                sides[0].descend(block, g1, along)
            if needed[1]:
                g2 = _through_gram(u2, u1)
                sides[1].descend(block, g2, (u2 * g2).sum(2))
        g1, g2 = (side.gradient for side in sides)
        ctx.save_for_backward(g1, None if g2 is None else g2.transpose(0, 1))
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        g1, g2 = (None if g is None else g * grad for g in ctx.saved_tensors)
        return g1, g2, None, None


class _Side:
    """Kernels (hidden, n, *kernel) of one mechanism: unit correlations and back."""

    def __init__(self, kernels: Tensor, matrices: LagMatrices, needs_grad: bool):
        self.kernels = kernels.detach()
        # Scaling the small matrix spares a copy of the weights.
        self.waves = matrices.waves / largest_entry(kernels)
        self.lags = matrices.lags
        self.gradient = torch.empty_like(self.kernels) if needs_grad else None
        self.entries = max(1, kernels.shape[1] * max(self.waves.shape[1], 1))

    def units(self, block: slice) -> Tensor:
        """Unit correlations (block, n, lags); what `descend` needs is kept."""
        taps = self.kernels[block].flatten(2)
        self.shape = taps.shape
        self.spectra = taps.reshape(-1, taps.shape[2]) @ self.waves
        r = self.spectra.square() @ self.lags
        power = r[:, :1]
        silent = power <= torch.finfo(r.dtype).tiny
        self.power = torch.where(silent, torch.ones_like(power), power)
        return (r[:, 1:] / self.power).unflatten(0, taps.shape[:2])

    def descend(self, block: slice, g: Tensor, along: Tensor) -> None:
        """Store the gradient of the kernels from half that of the unit correlations.

        ``along`` is its inner product with them, which the division by the power takes
        out of the gradient.
        """
        # The value is of second degree in either side: twice g; and twice the spectra.
        g = torch.cat([-along[..., None], g], 2).flatten(0, 1)
        g = g.div_(self.power).mul_(4) @ self.lags.T
        taps = g.mul_(self.spectra) @ self.waves.T
        self.gradient[block] = taps.reshape(self.gradient[block].shape)
