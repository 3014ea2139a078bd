"""The linear part of a mechanism: what the independence measures look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LinearOperator:
    """Weights of one mechanism, with the resizing that goes with them.

    Mechanisms of this package make it by a method ``operator()``; give your own modules
    one if their kernel is known.

    Parameters
    ----------
    taps : Tensor of shape (out, in) or ``(out, in, *kernel)``
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
        """Kernels ``(node channels, in, *kernel)`` of what produces a map."""
        if not self.is_dense:
            return self.weight
        return self.taps.reshape(*node_shape, -1).movedim(-1, 1)

    def kernels_out_of(self, node_shape: Sequence[int]) -> Tensor:
        """Kernels ``(out, node channels, *kernel)`` of what reads a map."""
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


class NoLinearOperator(ValueError):
    """A mechanism has not just one linear operator; the message says why."""


def read_operator(module: nn.Module) -> LinearOperator:
    """Return the one linear operator of a mechanism.

    Of torch's modules these are understood: ``nn.Linear``, ``nn.ConvNd`` and
    ``nn.ConvTransposeNd``, alone or in an ``nn.Sequential`` (of others, too) with
    elementwise activations, dropout, padding, changes of shape, ``nn.BatchNormNd`` with
    running statistics, and ``nn.Upsample`` right before a convolution without a stride.
    Activations count as the identity, and batch normalisation, as it is in ``eval``, as
    a scaling of the operator's outputs (before the layer, of its inputs).

    Raises
    ------
    NoLinearOperator
        For anything else (attention, residual blocks, pooling, other normalisation,
        grouped convolutions), which has no single kernel.
    """
    if hasattr(module, "operator"):
        operator = module.operator()
        if operator is None:
            raise NoLinearOperator(f"operator() of {_name(module)} returns None")
        return operator
    steps = [s for s in _steps(module) if not isinstance(s, _TRANSPARENT)]
    layers = [s for s in steps if isinstance(s, _LAYERS)]
    unknown = [s for s in steps if not _is_one(s, *_LAYERS, *_SCALING, nn.Upsample)]
    if unknown:
        raise NoLinearOperator(f"{_name(unknown[0])} has no kernel that is understood")
    if len(layers) != 1:
        names = " and ".join(map(_name, layers)) or "none"
        raise NoLinearOperator(f"it needs just one linear layer, got {names}")
    linear = [s for s in steps if not isinstance(s, _SCALING)]
    if len(linear) == 1:
        operator = _operator_of_layer(*layers)
    elif len(linear) == 2 and isinstance(linear[0], nn.Upsample):
        operator = _operator_after_resizing(*linear)
    else:
        raise NoLinearOperator("nn.Upsample must come once, before the convolution")
    place = steps.index(layers[0])
    for k, step in enumerate(steps):
        if isinstance(step, _SCALING):
            operator = _scaled(operator, step, axis=int(k < place))
    return operator


def _steps(module: nn.Module) -> list[nn.Module]:
    """Modules one after the other, those of nested sequences too."""
    if hasattr(module, "operator") or not _is_one(module, nn.Sequential):
        return [module]
    return [step for part in module for step in _steps(part)]


def _is_one(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a module is of a kind, and does what that kind does."""
    return any(
        isinstance(module, kind) and type(module).forward is kind.forward
        for kind in kinds
    )


def _name(module: nn.Module) -> str:
    return type(module).__name__


_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Linear, *_CONV, *_TRANSPOSED)
_SCALING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TRANSPARENT = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU),
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.Tanh, nn.Sigmoid),
    *(nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Threshold),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
    *(nn.Identity, nn.Flatten, nn.Unflatten),
    *(
        getattr(nn, f"{kind}Pad{n}d")
        for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular")
        for n in (1, 2, 3)
    ),
)


def _scaled(operator: LinearOperator, norm: nn.Module, axis: int) -> LinearOperator:
    """Operator whose outputs (axis 0) or inputs (1) a batch normalisation scales."""
    if norm.running_var is None:
        raise NoLinearOperator(f"{_name(norm)} keeps no running statistics")
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = norm.weight * scale
    taps, n_units = operator.taps, operator.taps.shape[axis]
    # Of a dense layer, all positions of a channel lie one after the other.
    repeats, rest = divmod(n_units, len(scale)) if operator.is_dense else (1, 0)
    if rest or repeats * len(scale) != n_units:
        raise NoLinearOperator(f"{_name(norm)} scales other units than the layer's")
    scale = scale.repeat_interleave(repeats)
    shape = [1] * taps.ndim
    shape[axis] = -1
    return replace(operator, taps=taps * scale.to(taps).reshape(shape))


def _operator_of_layer(layer: nn.Module) -> LinearOperator:
    if isinstance(layer, nn.Linear):
        return LinearOperator(layer.weight)
    if layer.groups != 1 or any(d != 1 for d in layer.dilation):
        raise NoLinearOperator(f"{_name(layer)} has groups or is dilated")
    if isinstance(layer, _TRANSPOSED):
        return LinearOperator(layer.weight.transpose(0, 1), upsample=layer.stride)
    return LinearOperator(flipped(layer.weight), downsample=layer.stride)


def _operator_after_resizing(resizer: nn.Upsample, layer: nn.Module) -> LinearOperator:
    factor, mode = resizer.scale_factor, resizer.mode
    if not isinstance(layer, _CONV) or any(s != 1 for s in layer.stride):
        raise NoLinearOperator(
            f"nn.Upsample is understood before a convolution without a stride, got "
            f"{_name(layer)}"
        )
    whole = isinstance(factor, Real) and factor == int(factor)
    known = mode in {"nearest", "linear", "bilinear", "trilinear"}
    if not whole or not known or resizer.align_corners:
        raise NoLinearOperator(
            "nn.Upsample is understood with a whole scale_factor, mode 'nearest' or "
            f"'(bi)linear' and without align_corners, got {resizer}"
        )
    factors = (int(factor),) * (layer.weight.ndim - 2)
    mode = "nearest" if mode == "nearest" else "linear"
    taps = _operator_of_layer(layer).taps
    return LinearOperator(taps, upsample=factors, resize=mode)
