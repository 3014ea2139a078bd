"""Contrasts: numbers computed from the distribution of a mechanism's output.

A contrast is any callable from a tensor of shape ``(n, *shape)``, the output for n
rows, to a 0-d tensor. It must be differentiable to be used in a penalty. Those of this
module are value objects; a function of one's own, such as
``lambda output: output.abs().mean()``, does as well (a named function pickles).
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass

import torch
from torch import Tensor


def power(output: Tensor) -> Tensor:
    """Mean square of the output, over rows and units."""
    return output.square().mean()


@dataclass(frozen=True)
class Kurtosis:
    r"""Mean over units of the kurtosis over rows.

    .. math:: \mathrm{E}[x^4] / \mathrm{E}[x^2]^2, \quad x \text{ centred},

    3 for Gaussian units, between 1 and n for n rows. Units that do not vary (beyond
    rounding) have no kurtosis and are left out; 0 if no unit varies.

    Examples
    --------
    >>> Kurtosis()(torch.tensor([[1.0, 7.0], [-1.0, 7.0]]))
    tensor(1.)
    """

    def __call__(self, output: Tensor) -> Tensor:
        info = torch.finfo(output.dtype)
        centred = output - output.mean(0)
        variance = centred.square().mean(0)
        # The mean of equal values may be off by a few ulp.
        rounding = (16 * info.eps) ** 2 * output.square().mean(0)
        varies = variance > rounding.clamp(min=info.tiny)
        scale = torch.where(varies, variance, torch.ones_like(variance)).sqrt()
        kurtosis = (centred / scale).pow(4).mean(0)
        kurtosis = torch.where(varies, kurtosis, torch.zeros_like(kurtosis))
        return kurtosis.sum() / varies.sum().clamp(min=1)


@dataclass(frozen=True)
class PatchStatistics:
    """Mean variance of maps within small patches: how much fine texture there is.

    The mean over rows, channels and all patches that lie within the map of the
    variance of a patch's values.

    Parameters
    ----------
    size : int
        Side of a patch, which has one axis for signals and two for images; at least
        2, since a single value does not vary.

    Examples
    --------
    >>> PatchStatistics(2)(torch.tensor([[[0.0, 2.0, 2.0]]]))
    tensor(0.5000)
    """

    size: int = 3

    def __post_init__(self) -> None:
        size = self.size
        if isinstance(size, bool) or not isinstance(size, numbers.Integral):
            raise TypeError(f"PatchStatistics: size must be an int, got {size!r}.")
        if size < 2:
            raise ValueError(f"PatchStatistics: size must be at least 2, got {size}.")
        object.__setattr__(self, "size", int(size))

    def __call__(self, output: Tensor) -> Tensor:
        spatial = tuple(output.shape[2:])
        if not spatial:
            raise ValueError(
                f"{self!r} needs maps, (n, channels, length) or (n, channels, height, "
                f"width), got an output of shape {tuple(output.shape)}. For vectors "
                "use Kurtosis, or the power (None)."
            )
        if min(spatial) < self.size:
            raise ValueError(
                f"{self!r} needs maps of at least {self.size} along every axis, got "
                f"{spatial}. Use a smaller size."
            )
        patches = output
        for axis in range(2, output.ndim):
            patches = patches.unfold(axis, self.size, 1)
        within = tuple(range(-len(spatial), 0))
        return patches.var(dim=within, correction=0).mean()
