"""The linear part of a mechanism: what the independence measures look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LinearOperator:
    """Weights of one mechanism, with the resizing that goes with them.

    Attributes
    ----------
    weight : Tensor of shape (out, in) or (out, in, *kernel)
        Dense matrix, or true-convolution kernels; the flip between convolution
        and cross-correlation leaves every power spectrum unchanged.
    upsample : tuple of int
        Zero-insertion factor per spatial axis *before* the kernel.
    downsample : tuple of int
        Sampling factor per spatial axis *after* the kernel.
    """

    weight: Tensor
    upsample: tuple[int, ...] = ()
    downsample: tuple[int, ...] = ()

    @property
    def is_dense(self) -> bool:
        return self.weight.ndim == 2

    def kernels_into(self, node_shape: Sequence[int]) -> Tensor:
        """Kernels (node channels, in, *kernel) of an operator that produces a map."""
        if not self.is_dense:
            return self.weight
        return self.weight.reshape(*node_shape, -1).movedim(-1, 1)

    def kernels_out_of(self, node_shape: Sequence[int]) -> Tensor:
        """Kernels (out, node channels, *kernel) of an operator that reads a map."""
        if not self.is_dense:
            return self.weight
        return self.weight.reshape(-1, *node_shape)


def resize_filter(factor: int, mode: str, like: Tensor) -> Tensor:
    """Filter that makes zero insertion by ``factor`` nearest or linear resizing."""
    if mode == "nearest":
        return torch.ones(factor, dtype=like.dtype, device=like.device)
    # Between pixel centres: an even factor has no output right on an input's centre.
    n_taps = 2 * factor - factor % 2
    steps = torch.arange(n_taps, dtype=like.dtype, device=like.device)
    return 1 - (steps - (n_taps - 1) / 2).abs() / factor


def convolve_axis(kernels: Tensor, taps: Tensor, axis: int) -> Tensor:
    """Full convolution of every kernel with a 1-D filter along one spatial axis."""
    moved = kernels.movedim(axis, -1)
    rows = moved.reshape(-1, 1, moved.shape[-1])
    out = nn.functional.conv1d(
        rows, taps.flip(0).reshape(1, 1, -1), padding=len(taps) - 1
    )
    return out.reshape(*moved.shape[:-1], out.shape[-1]).movedim(-1, axis)


def linear_operator(module: nn.Module) -> LinearOperator | None:
    """Return the one linear operator of a mechanism, or None if it has not just one.

    Mechanisms of this package say it themselves by an ``operator()`` method. In any
    other module the single ``nn.Linear``, ``nn.ConvNd`` or ``nn.ConvTransposeNd`` is
    taken, with ``nn.Upsample`` before it folded in; everything else (attention,
    residual blocks, grouped convolutions) has no single kernel and gives None.
    """
    if hasattr(module, "operator"):
        return module.operator()
    layers = [m for m in module.modules() if isinstance(m, _LAYERS)]
    resizers = [m for m in module.modules() if isinstance(m, nn.Upsample)]
    if len(layers) != 1 or len(resizers) > 1:
        return None
    return _operator_of_layer(layers[0], resizers[0] if resizers else None)


_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Linear, *_CONV, *_TRANSPOSED)


def _operator_of_layer(
    layer: nn.Module, resizer: nn.Upsample | None
) -> LinearOperator | None:
    if isinstance(layer, nn.Linear):
        return LinearOperator(layer.weight) if resizer is None else None
    if layer.groups != 1 or any(d != 1 for d in layer.dilation):
        return None
    if isinstance(layer, _TRANSPOSED):
        if resizer is not None:
            return None
        return LinearOperator(layer.weight.transpose(0, 1), upsample=layer.stride)
    if resizer is None:
        return LinearOperator(layer.weight, downsample=layer.stride)
    factor, mode = resizer.scale_factor, resizer.mode
    if not isinstance(factor, (int, float)) or factor != int(factor):
        return None
    if mode not in {"nearest", "linear", "bilinear", "trilinear"}:
        return None
    factors = (int(factor),) * (layer.weight.ndim - 2)
    mode = "nearest" if mode == "nearest" else "linear"
    return resized_operator(layer.weight, factors, mode, layer.stride)


def resized_operator(
    weight: Tensor,
    factors: tuple[int, ...],
    mode: str,
    downsample: tuple[int, ...] = (),
) -> LinearOperator:
    """Operator of "resize, then convolve": the resizing belongs to the kernel."""
    for axis, factor in enumerate(factors, start=2):
        if factor > 1:
            weight = convolve_axis(weight, resize_filter(factor, mode, weight), axis)
    return LinearOperator(weight, upsample=factors, downsample=downsample)
