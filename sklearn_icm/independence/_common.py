"""What the measures share: conversion of inputs and the result of one pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PairMeasure:
    """Measured dependence of two successive mechanisms.

    Attributes
    ----------
    rho : Tensor
        Generic ratios: one, one per hidden channel, or one per triplet of channels.
    null_sd : Tensor like rho, or None
        Their standard deviations over the group, in closed form; None where they were
        not asked for, since one per triplet doubles the memory.
    mean_null_sd : Tensor of shape ()
        Standard deviation of their mean.
    anisotropy_in, anisotropy_out : Tensor of shape (m,)
        Anisotropy at the hidden node of the earlier and of the later mechanism.
    """

    rho: Tensor
    null_sd: Tensor | None
    mean_null_sd: Tensor
    anisotropy_in: Tensor
    anisotropy_out: Tensor


def as_tensors(*arrays: np.ndarray | Tensor) -> list[Tensor]:
    """Convert to tensors; numpy inputs become float64."""
    tensors = []
    for array in arrays:
        if not isinstance(array, Tensor):
            array = torch.from_numpy(np.array(array, dtype=np.float64))
        if not bool(torch.isfinite(array).all()):
            raise ValueError("Weights must be finite, got NaN or infinity.")
        tensors.append(array)
    return tensors


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
    """Formula of `anisotropy`, without checks: NaN in, NaN out."""
    squares = (a * a.T).sum()
    tiny = torch.finfo(a.dtype).tiny
    value = 1 - a.trace().square() / (len(a) * squares).clamp(min=tiny)
    return torch.where(squares <= tiny, torch.zeros_like(value), value).clamp(min=0)
