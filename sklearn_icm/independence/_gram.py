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
    Lags,
    Resizing,
    kernel_units,
    lag_matrices,
    smallest_power,
)
from ._spectral import lags_of_pair

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

    Parameters are those of `spectral_measure`, whose triplet form it agrees with.
    """
    lags = lags_of_pair(w1, w2, upsample, downsample, resizings)
    matrices = [lag_matrices(la, w1.dtype, w1.device) for la in lags]
    if None in matrices:
        # Kernels of very many taps: few channels read them, and FFTs store little.
        return _by_units(w1, w2, *lags)
    return _MeanSquareExcess.apply(w1, w2, lags, matrices)


def _by_units(w1: Tensor, w2: Tensor, first: Lags, second: Lags) -> Tensor:
    """The same as one expression, which stores all units."""
    u1 = kernel_units(scaled(w1), first)
    u2 = kernel_units(scaled(w2).transpose(0, 1), second)
    return (u1 * _through_gram(u1, u2)).sum() / _n_triplets(w1, w2)


def _n_triplets(w1: Tensor, w2: Tensor) -> int:
    return w1.shape[0] * w1.shape[1] * w2.shape[0]


def _through_gram(u1: Tensor, u2: Tensor) -> Tensor:
    """``u1 @ u2^T @ u2``, multiplied in the cheaper order."""
    (n1, n_lags), n2 = u1.shape[1:], u2.shape[1]
    if n1 * n2 * 2 <= (n1 + n2) * n_lags:
        return (u1 @ u2.mT) @ u2
    return u1 @ (u2.mT @ u2)


class _MeanSquareExcess(torch.autograd.Function):
    """Mean over triplets, with the gradient taken in the same pass over blocks.

    The value is homogeneous in the units of each mechanism, so that most of the
    gradient's terms are those of the value. All that is kept is one gradient the size
    of the weights.
    """

    @staticmethod
    def forward(
        ctx,
        w1: Tensor,
        w2: Tensor,
        lags: tuple[Lags, Lags],
        matrices: list[LagMatrices],
    ) -> Tensor:
        needed = ctx.needs_input_grad
        earlier = _Side(w1, matrices[0], needed[0])
        later = _Side(w2.transpose(0, 1), matrices[1], needed[1])
        size = max(1, ENTRIES_PER_BLOCK // max(earlier.entries, later.entries))
        total = 0.0
        for start in range(0, len(w1), size):
            block = slice(start, start + size)
            u1, u2 = earlier.units(block), later.units(block)
            half = _through_gram(u1, u2)
            along = (u1 * half).sum(2)
            total = total + along.sum()
            if needed[0]:
                earlier.descend(block, half, along)
            if needed[1]:
                half = _through_gram(u2, u1)
                later.descend(block, half, (u2 * half).sum(2))
        ctx.lags = lags
        ctx.save_for_backward(w1, w2, earlier.gradient, later.gradient)
        return total / _n_triplets(w1, w2)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        w1, w2, g1, g2 = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Somebody will differentiate the gradient: it needs a graph of its own.
            value = _by_units(w1, w2, *ctx.lags) * grad
            needed = [w for w, g in ((w1, g1), (w2, g2)) if g is not None]
            found = iter(torch.autograd.grad(value, needed, create_graph=True))
            g1, g2 = (None if g is None else next(found) for g in (g1, g2))
            return g1, g2, None, None
        # Units are quadratic in the kernels, and the value is in the units.
        grad = grad * (4 / _n_triplets(w1, w2))
        g1 = None if g1 is None else g1 * grad
        g2 = None if g2 is None else (g2 * grad).transpose(0, 1)
        return g1, g2, None, None


class _Side:
    """Kernels (hidden, n, *kernel) of one mechanism: their units, and back."""

    def __init__(self, kernels: Tensor, matrices: LagMatrices, needs_grad: bool):
        self.kernels, self.lags = kernels, matrices.lags
        # Scaling the small matrix spares a copy of the weights.
        self.waves = matrices.waves / largest_entry(kernels)
        self.entries = kernels.shape[1] * self.waves.shape[1]
        self.gradient = None
        if needs_grad:
            self.gradient = kernels.new_empty(kernels.shape)

    def units(self, block: slice) -> Tensor:
        """Units (block, n, half lags); what `descend` needs is kept until then."""
        kernels = self.kernels[block]
        self.spectra = kernels.reshape(-1, len(self.waves)) @ self.waves
        r = self.spectra.square() @ self.lags
        self.power = r[:, :1].clamp(min=smallest_power(r.dtype))
        return (r[:, 1:] / self.power).view(*kernels.shape[:2], -1)

    def descend(self, block: slice, half: Tensor, along: Tensor) -> None:
        """Store a quarter of the kernels' gradient, from half of that of the units.

        ``along`` is the inner product of the latter with the units, which dividing by
        the power takes out of it.
        """
        g = torch.cat([along.unsqueeze(2).neg_(), half], 2).flatten(0, 1)
        g = g.div_(self.power) @ self.lags.T
        taps = self.gradient[block].view(-1, len(self.waves))
        torch.mm(g.mul_(self.spectra), self.waves.T, out=taps)
