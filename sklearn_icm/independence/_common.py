"""What the measures share: conversion of inputs and the result of one pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Below this spread in every hidden channel nothing could have moved rho away from 1.
DEGENERATE_SD = 1e-4
# Below this spread, in units of rho, draws are all the same.
ROUNDING = 1e-9


@dataclass(frozen=True)
class PairMeasure:
    """Measured dependence of two successive mechanisms.

    Attributes
    ----------
    rho : Tensor
        Generic ratios: one, one per hidden channel, or one per triplet of channels.
    null_sd : Tensor of shape (m,), or None
        Standard deviations of the mean ratio of every hidden channel over the group, in
        closed form; one for a whole node. Like the next two, None in a penalty, which
        does not read it.
    anisotropy_in, anisotropy_out : Tensor of shape (m,), or None
        Anisotropy at the hidden node of the earlier and of the later mechanism.
    draws : Tensor of shape (n_draws,), or None
        Mean ratios after random changes of the pair.
    """

    rho: Tensor
    null_sd: Tensor | None = None
    anisotropy_in: Tensor | None = None
    anisotropy_out: Tensor | None = None
    draws: Tensor | None = None

    @property
    def is_isotropic(self) -> bool:
        """Whether it is known that nothing could have moved rho away from 1."""
        if self.null_sd is not None:
            return float(self.null_sd.max()) < DEGENERATE_SD
        if self.draws is None:
            return False
        spread = float(self.draws.double().std(correction=0))
        return not spread > ROUNDING * abs(float(self.rho.mean()))


def as_tensors(*arrays: np.ndarray | Tensor) -> list[Tensor]:
    """Convert weights to tensors of one floating dtype; numpy becomes float64."""
    tensors = []
    for array in arrays:
        if not isinstance(array, Tensor):
            if np.iscomplexobj(array):
                raise ValueError("Weights must be real, got complex numbers.")
            array = torch.from_numpy(np.array(array, dtype=np.float64))
        if not array.is_floating_point():
            array = array.double()
        if not bool(torch.isfinite(array).all()):
            raise ValueError("Weights must be finite, got NaN or infinity.")
        tensors.append(array)
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]


def scaled(w: Tensor) -> Tensor:
    """Weights over about their largest one, so that no product over- or underflows.

    The ratios do not depend on the scale, so its gradient is left out.
    """
    return w / largest_entry(w)


def largest_entry(w: Tensor) -> Tensor:
    """Largest magnitude, up to a factor of 1.5: 0-d, without gradient, never 0."""
    if not w.numel():
        return w.new_ones(())
    return torch.hypot(*w.detach().aminmax()).clamp(min=torch.finfo(w.dtype).tiny)


def refuse_all_zero(**weights: Tensor) -> None:
    """Refuse mechanisms without any power: nothing can be said about them."""
    for name, w in weights.items():
        if not bool(w.any()):
            raise ValueError(
                f"{name} must not be all zero, got shape {tuple(w.shape)}."
            )


def like_input(result: Tensor, *inputs: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """Tensor if any input was one, else ndarray (a float for a single number)."""
    if any(isinstance(array, Tensor) for array in inputs):
        return result
    return result.numpy() if result.ndim else float(result)


def anisotropy(covariance: np.ndarray | Tensor) -> np.ndarray | Tensor:
    r"""Anisotropy of a symmetric positive semi-definite matrix, 0 if isotropic.

    Parameters
    ----------
    covariance : ndarray or Tensor of shape (n, n)

    Returns
    -------
    float or 0-d Tensor
        :math:`1 - (\mathrm{tr} A)^2 / (n\, \mathrm{tr} A^2)`, in [0, 1 - 1/n].

    Examples
    --------
    >>> import numpy as np
    >>> anisotropy(np.eye(3)), anisotropy(np.diag([1.0, 0.0]))
    (0.0, 0.5)
    """
    (a,) = as_tensors(covariance)
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ValueError(f"covariance must be square, got shape {tuple(a.shape)}.")
    return like_input(anisotropy_of(a), covariance)


def anisotropy_of(a: Tensor) -> Tensor:
    """Formula of `anisotropy`, as the share of the traceless part: no cancellation."""
    isotropic = a.trace() / len(a) * torch.eye(len(a), dtype=a.dtype, device=a.device)
    traceless, whole = ((m * m.T).sum() for m in (a - isotropic, a))
    tiny = torch.finfo(a.dtype).tiny
    value = traceless / whole.clamp(min=tiny)
    return torch.where(whole <= tiny, torch.zeros_like(value), value).clamp(min=0)
