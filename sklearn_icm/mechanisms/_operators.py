"""The linear part of a mechanism: what the independence measures look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LinearOperator:
    """Weights of one mechanism, with the resizing that goes with them.

    Attributes
    ----------
    taps : Tensor of shape (out, in) or (out, in, *kernel)
        Dense matrix, or kernels of a true convolution (torch's convolutions are
        cross-correlations, so theirs are flipped).
    upsample : tuple of int
        Zero-insertion factor per spatial axis *before* the kernel.
    downsample : tuple of int
        Sampling factor per spatial axis *after* the kernel.
    resize : {"nearest", "linear"} or None
        Filter that follows the zero insertion: a fixed part of the kernel.
    """

    taps: Tensor
    upsample: tuple[int, ...] = ()
    downsample: tuple[int, ...] = ()
    resize: str | None = None

    @property
    def is_dense(self) -> bool:
        return self.taps.ndim == 2

    @property
    def weight(self) -> Tensor:
        """Taps with the resizing filter folded in."""
        weight = self.taps
        if self.resize is not None:
            for axis, factor in enumerate(self.upsample, start=2):
                if factor > 1:
                    taps = resize_filter(factor, self.resize, weight)
                    weight = convolve_axis(weight, taps, axis)
        return weight

    def double(self) -> LinearOperator:
        """Return a detached copy in float64 on the CPU."""
        return replace(self, taps=self.taps.detach().double().cpu())

    def kernels_into(self, node_shape: Sequence[int]) -> Tensor:
        """Kernels (node channels, in, *kernel) of an operator that produces a map."""
        if not self.is_dense:
            return self.weight
        return self.taps.reshape(*node_shape, -1).movedim(-1, 1)

    def kernels_out_of(self, node_shape: Sequence[int]) -> Tensor:
        """Kernels (out, node channels, *kernel) of an operator that reads a map."""
        if not self.is_dense:
            return self.weight
        # A dense reading of a map is a correlation with it at one place.
        return flipped(self.taps.reshape(-1, *node_shape))


def flipped(kernels: Tensor) -> Tensor:
    """Kernels (out, in, *kernel) mirrored along all spatial axes."""
    return kernels.flip(tuple(range(2, kernels.ndim)))


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
    moved, last = kernels.movedim(axis, -1), len(taps) - 1
    # A few shifted sums: much faster than a convolution of very many tiny kernels.
    shifted = (
        tap * nn.functional.pad(moved, (k, last - k)) for k, tap in enumerate(taps)
    )
    return sum(shifted).movedim(-1, axis)


def linear_operator(module: nn.Module) -> LinearOperator | None:
    """Return the one linear operator of a mechanism, or None if it has not just one.

    Mechanisms of this package say it themselves by an ``operator()`` method; give your
    own modules one if their kernel is known. Of torch's modules these are understood:
    ``nn.Linear``, ``nn.ConvNd`` and ``nn.ConvTransposeNd``, alone or in an
    ``nn.Sequential`` with elementwise activations and changes of shape, and
    ``nn.Upsample`` right before a convolution without a stride. Anything else
    (attention, residual blocks, pooling, normalisation, grouped convolutions) has no
    single kernel and gives None.
    """
    if hasattr(module, "operator"):
        return module.operator()
    steps = list(module) if isinstance(module, nn.Sequential) else [module]
    steps = [step for step in steps if not isinstance(step, _TRANSPARENT)]
    if len(steps) == 1 and isinstance(steps[0], _LAYERS):
        return _operator_of_layer(steps[0])
    if len(steps) == 2 and isinstance(steps[0], nn.Upsample):
        return _operator_after_resizing(*steps)
    return None


_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Linear, *_CONV, *_TRANSPOSED)
_TRANSPARENT = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Tanh,
    nn.Sigmoid,
    nn.Hardtanh,
    nn.Identity,
    nn.Dropout,
    nn.Flatten,
    nn.Unflatten,
)


def _operator_of_layer(layer: nn.Module) -> LinearOperator | None:
    if isinstance(layer, nn.Linear):
        return LinearOperator(layer.weight)
    if layer.groups != 1 or any(d != 1 for d in layer.dilation):
        return None
    if isinstance(layer, _TRANSPOSED):
        return LinearOperator(layer.weight.transpose(0, 1), upsample=layer.stride)
    return LinearOperator(flipped(layer.weight), downsample=layer.stride)


def _operator_after_resizing(
    resizer: nn.Upsample, layer: nn.Module
) -> LinearOperator | None:
    factor, mode = resizer.scale_factor, resizer.mode
    if not isinstance(layer, _CONV) or any(s != 1 for s in layer.stride):
        return None
    if not isinstance(factor, (int, float)) or factor != int(factor):
        return None
    if mode not in {"nearest", "linear", "bilinear", "trilinear"}:
        return None
    operator = _operator_of_layer(layer)
    if operator is None or resizer.align_corners:
        return None
    factors = (int(factor),) * (layer.weight.ndim - 2)
    mode = "nearest" if mode == "nearest" else "linear"
    return LinearOperator(operator.taps, upsample=factors, resize=mode)
