"""Spectral independence of convolutional mechanisms, by autocorrelations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ._common import PairMeasure, as_tensors, like_input

ArrayLike = np.ndarray | Tensor


def autocorrelation(kernels: Tensor, lags: Sequence[int]) -> Tensor:
    """Sum of the autocorrelations of many kernels at all lags up to a maximum.

    Parameters
    ----------
    kernels : Tensor of shape (channels, n_kernels, *kernel)
    lags : sequence of int
        Largest lag per spatial axis.

    Returns
    -------
    Tensor of shape (channels, 2 * lag + 1 per axis)
        ``r(t) = sum over kernels of sum_x k(x) k(x + t)``; the zero lag is central.
    """
    n_axes = len(lags)
    conv = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[
        n_axes - 1
    ]
    channels, n_kernels = kernels.shape[:2]
    signal = kernels.reshape(1, channels * n_kernels, *kernels.shape[2:])
    taps = kernels.reshape(channels * n_kernels, 1, *kernels.shape[2:])
    per_kernel = conv(signal, taps, padding=tuple(lags), groups=channels * n_kernels)
    return per_kernel.reshape(channels, n_kernels, *per_kernel.shape[2:]).sum(1)


def spectral_measure(
    w1: Tensor,
    w2: Tensor,
    upsample: Sequence[int] | None = None,
    downsample: Sequence[int] | None = None,
) -> PairMeasure:
    """Spectral dependence per hidden channel; see `spectral_ratio` for the formula.

    ``w1`` is (hidden, in, *kernel) and ``w2`` (out, hidden, *kernel); ``upsample`` is
    the zero insertion of the second mechanism, ``downsample`` the sampling of the
    first, per spatial axis.
    """
    n_axes = w1.ndim - 2
    up = tuple(upsample or (1,) * n_axes)
    down = tuple(downsample or (1,) * n_axes)
    reach1 = [(k - 1) // d for k, d in zip(w1.shape[2:], down, strict=True)]
    reach2 = [(k - 1) // u for k, u in zip(w2.shape[2:], up, strict=True)]
    lags = [min(a, b) for a, b in zip(reach1, reach2, strict=True)]
    r1 = _sampled(w1, reach1, down)
    r2 = _sampled(w2.transpose(0, 1), reach2, up)
    common1, common2 = _cut(r1, reach1, lags), _cut(r2, reach2, lags)
    power = r1[:, *reach1] * r2[:, *reach2]
    product = (common1 * common2).flatten(1)
    tiny = torch.finfo(power.dtype).tiny
    rho = product.sum(1) / power.clamp(min=tiny)
    rho = torch.where(power > tiny, rho, torch.ones_like(rho))
    spread = (product.square().sum(1) - power.square()).clamp(min=0)
    # Real kernels have symmetric spectra, which doubles the variance over shifts.
    sd = (2 * spread).sqrt() / power.clamp(min=tiny)
    return PairMeasure(
        rho=rho,
        null_sd=sd,
        anisotropy_in=_anisotropy(r1, reach1),
        anisotropy_out=_anisotropy(r2, reach2),
    )


def _sampled(kernels: Tensor, reach: Sequence[int], step: Sequence[int]) -> Tensor:
    """Autocorrelation at every ``step``-th lag, from -reach to reach."""
    r = autocorrelation(kernels, [n * s for n, s in zip(reach, step, strict=True)])
    for axis, s in enumerate(step, start=1):
        if s > 1:
            index = torch.arange(0, r.shape[axis], s, device=r.device)
            r = r.index_select(axis, index)
    return r


def _cut(r: Tensor, reach: Sequence[int], lags: Sequence[int]) -> Tensor:
    for axis, (n, lag) in enumerate(zip(reach, lags, strict=True), start=1):
        r = r.narrow(axis, n - lag, 2 * lag + 1)
    return r


def _anisotropy(r: Tensor, centre: Sequence[int]) -> Tensor:
    power, squares = r[:, *centre].square(), r.flatten(1).square().sum(1)
    tiny = torch.finfo(r.dtype).tiny
    return (1 - power / squares.clamp(min=tiny)).clamp(0, 1)


def spectral_ratio(
    w1: ArrayLike,
    w2: ArrayLike,
    *,
    upsample: int | Sequence[int] = 1,
    downsample: int | Sequence[int] = 1,
) -> ArrayLike:
    r"""Spectral dependence ratio of two convolutional mechanisms, per hidden channel.

    Parameters
    ----------
    w1 : ndarray or Tensor of shape (hidden, in, ``*kernel``)
        Kernels of the earlier mechanism, 1 to 3 spatial axes.
    w2 : ndarray or Tensor of shape (out, hidden, ``*kernel``)
        Kernels of the later mechanism.
    upsample : int or sequence of int
        Zero insertion between the two (the stride of a transposed convolution).
    downsample : int or sequence of int
        Stride of the earlier mechanism.

    Returns
    -------
    ndarray or Tensor of shape (hidden,)
        1 for independent mechanisms; ``1 / rho`` is the factor by which a random
        shift of the frequency axis changes the output's power. A channel without
        power gives 1.

    Notes
    -----
    With :math:`r_k(t) = \sum_x k(x) k(x + t)`, summed over the input channels of the
    earlier and the output channels of the later mechanism,

    .. math:: \rho = \sum_t r_1(d t) r_2(u t) / (r_1(0) r_2(0)),

    which by Parseval is :math:`\langle |\hat k_1|^2 |\hat k_2|^2 \rangle /
    (\langle |\hat k_1|^2 \rangle \langle |\hat k_2|^2 \rangle)` without a choice of
    grid.

    References
    ----------
    Shajarisales, Janzing, Schölkopf, Besserve (2015), *Telling cause from effect in
    deterministic linear dynamical systems*, arXiv 1503.01299. Besserve, Sun, Janzing,
    Schölkopf (2021), arXiv 2004.00184.

    Examples
    --------
    >>> import numpy as np
    >>> delta = np.eye(1, 5, 2)[None]
    >>> spectral_ratio(delta, np.random.RandomState(0).randn(1, 1, 5))
    array([1.])
    """
    t1, t2 = as_tensors(w1, w2)
    if t1.ndim != t2.ndim or not 3 <= t1.ndim <= 5 or t1.shape[0] != t2.shape[1]:
        raise ValueError(
            "w1 must be (hidden, in, *kernel) and w2 (out, hidden, *kernel) with equal "
            f"hidden channels and 1 to 3 kernel axes, got {tuple(t1.shape)} and "
            f"{tuple(t2.shape)}."
        )
    n_axes = t1.ndim - 2
    measure = spectral_measure(
        t1,
        t2,
        _per_axis("upsample", upsample, n_axes),
        _per_axis("downsample", downsample, n_axes),
    )
    return like_input(measure.rho, w1, w2)


def _per_axis(name: str, value: int | Sequence[int], n_axes: int) -> tuple[int, ...]:
    factors = (value,) * n_axes if isinstance(value, int) else tuple(value)
    if len(factors) != n_axes or any(int(f) != f or f < 1 for f in factors):
        raise ValueError(
            f"{name} must be a positive int or {n_axes} of them, got {value!r}."
        )
    return tuple(int(f) for f in factors)
