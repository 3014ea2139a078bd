"""Unit autocorrelations of kernels at the lags that a pair of mechanisms needs.

A unit correlation ``u(t) = r(t) / r(0)`` is symmetric and 1 at lag zero, so every
function here returns half of the other lags, one of each pair ``t, -t``, times the
root of 2: inner products over these are sums over all lags but zero. Without lag zero,
which contributes exactly 1 to a ratio, nothing cancels near independence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from ..mechanisms._operators import resize_filter
from ._common import scaled

# Above this size of one of its fixed matrices a correlation is taken by FFT.
MOST_ENTRIES = 2**18


@dataclass(frozen=True)
class Resizing:
    """Filter that follows zero insertion: a fixed part of the kernel."""

    mode: str
    factors: tuple[int, ...]


@dataclass(frozen=True)
class Lags:
    """Which lags of which kernels: ``step * t`` for all ``t`` up to ``reach``.

    Attributes
    ----------
    size, step, reach : tuple of int
        Taps of the kernels, lag per step and number of steps, per spatial axis.
    resizing : Resizing or None
        Filter with which the kernels are convolved first.
    """

    size: tuple[int, ...]
    step: tuple[int, ...]
    reach: tuple[int, ...]
    resizing: Resizing | None = None

    @classmethod
    def of(
        cls,
        size: tuple[int, ...],
        step: tuple[int, ...],
        resizing: Resizing | None = None,
    ) -> Lags:
        """All lags that kernels of a size reach."""
        factors = (1,) * len(size) if resizing is None else resizing.factors
        mode = "nearest" if resizing is None else resizing.mode
        filters = [len(_filter(f, mode)) for f in factors]
        reach = ((n + f - 2) // s for n, f, s in zip(size, filters, step, strict=True))
        return cls(size, step, tuple(reach), resizing)

    def within(self, reach: Sequence[int]) -> Lags:
        """The lags that are no further away than ``reach`` steps."""
        nearer = tuple(map(min, self.reach, reach))
        return Lags(self.size, self.step, nearer, self.resizing)

    def half(self) -> np.ndarray:
        """Steps (n_lags, n_axes): zero, then one of each pair ``t, -t``."""
        steps = list(product(*(range(-r, r + 1) for r in self.reach)))
        return np.array(steps[len(steps) // 2 :])


@dataclass(frozen=True)
class LagMatrices:
    """Fixed matrices that make kernels (..., taps) into correlations (..., 1 + lags).

    ``(k @ waves).square() @ lags`` is the correlation of one kernel, lag zero first,
    and ``gram.flatten() @ products`` the sum over kernels with the Gram matrix
    ``gram`` of their taps (None if that matrix would be too large).
    """

    waves: Tensor
    lags: Tensor
    products: Tensor | None


@lru_cache(maxsize=256)
def common_lags(
    sizes: tuple[tuple[int, ...], tuple[int, ...]],
    steps: tuple[tuple[int, ...], tuple[int, ...]],
    resizings: tuple[Resizing | None, Resizing | None],
) -> tuple[Lags, Lags]:
    """Lags of two kernels that the other one has as well: all others meet zeros."""
    first, second = map(Lags.of, sizes, steps, resizings)
    return first.within(second.reach), second.within(first.reach)


def kernel_units(kernels: Tensor, lags: Lags) -> Tensor:
    """Unit autocorrelation of every kernel, ``r(t) = sum_x k(x) k(x + t)``.

    Parameters
    ----------
    kernels : Tensor of shape (channels, n_kernels, *kernel)
    lags : Lags

    Returns
    -------
    Tensor of shape (channels, n_kernels, half lags)
    """
    matrices = lag_matrices(lags, kernels.dtype, kernels.device)
    if matrices is None:
        return _units(_lags_of_power(_power(kernels, lags), lags))
    waves = kernels.flatten(2) @ matrices.waves
    return _units(waves.square() @ matrices.lags)


def pooled_units(kernels: Tensor, lags: Lags) -> Tensor:
    """Unit form of the sum of a channel's autocorrelations, (channels, half lags).

    Parameters are those of `kernel_units`.
    """
    matrices = lag_matrices(lags, kernels.dtype, kernels.device)
    kernels = scaled(kernels)
    if matrices is None:
        return _units(_lags_of_power(_power(kernels, lags).sum(1), lags))
    taps = kernels.flatten(2)
    if matrices.products is None:
        return _units((taps @ matrices.waves).square().sum(1) @ matrices.lags)
    return _units((taps.mT @ taps).flatten(1) @ matrices.products)


def map_units(maps: Tensor, lags: Lags) -> Tensor:
    """Unit form of the batch-mean autocorrelation of maps, mean removed.

    ``maps`` is (n, channels, *map); returns (channels, half lags), to be used in the
    place of pooled kernels.
    """
    axes = (0, *range(2, maps.ndim))
    centred = scaled(maps - maps.mean(axes, keepdim=True))
    return _units(_lags_of_power(_power(centred, lags).mean(0), lags))


def _units(r: Tensor) -> Tensor:
    """Correlations over the power at lag zero; without any power all units are 0."""
    return r[..., 1:] / r[..., :1].clamp(min=smallest_power(r.dtype))


@lru_cache
def smallest_power(dtype: torch.dtype) -> float:
    """Power to divide by at least, so that no finite gradient overflows.

    Kernels are scaled, so that only rounding error is as small as this.
    """
    return torch.finfo(dtype).tiny / torch.finfo(dtype).eps


def cross_correlation(kernels: Tensor, lags: Sequence[int], block: Tensor) -> Tensor:
    """Correlation of a block of channels with all, summed over the second axis.

    Returns
    -------
    Tensor of shape (block channels, channels, 2 * lag + 1 per axis)
        ``c_jk(t) = sum_i sum_x k_ji(x + t) k_ki(x)``; the zero lag is central.
    """
    functions = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)
    return functions[len(lags) - 1](block, kernels, padding=tuple(lags))


@lru_cache(maxsize=64)
def lag_matrices(
    lags: Lags, dtype: torch.dtype, device: torch.device
) -> LagMatrices | None:
    """Fixed matrices of some lags, or None if they would be too large.

    The waves are those of the real (Hartley) transform on the smallest grid that keeps
    the lags free of aliasing: ``H(w)^2 + H(-w)^2`` is the power of both frequencies.
    """
    taps, reached = [], []
    for n, step, reach, f in _per_axis(lags):
        # Lags of the unfiltered kernel that the filter carries to the needed ones.
        furthest = min(n - 1, reach * step + len(f) - 1)
        grid = n + furthest
        frequencies = 2 * np.pi / grid * np.arange(grid)
        taps.append(np.exp(1j * np.outer(np.arange(n), frequencies)))
        needed, own = np.arange(-reach, reach + 1), np.arange(-furthest, furthest + 1)
        weights = _filter_power(f)(step * needed[:, None] - own)
        waves = np.exp(1j * np.outer(frequencies, own)) / grid
        reached.append(waves @ weights.T)
    n_taps, n_waves = math.prod(lags.size), math.prod(len(r) for r in reached)
    half = lags.half()
    if max(n_taps, len(half)) * n_waves > MOST_ENTRIES:
        return None
    phases = _outer(taps)
    waves = phases.real + phases.imag
    columns = _outer(reached).real[:, -len(half) :] * _weights(len(half))
    products = None
    if n_taps**2 * len(half) <= MOST_ENTRIES:
        products = np.einsum("xw,wt,yw->xyt", waves, columns, waves, optimize=True)
        products = products.reshape(n_taps**2, -1)

    def tensor(array: np.ndarray | None) -> Tensor | None:
        # Made in inference mode they could not be used in training later.
        with torch.inference_mode(False):
            return None if array is None else torch.tensor(array).to(device, dtype)

    return LagMatrices(tensor(waves), tensor(columns), tensor(products))


def quadratic_form(weights: Tensor, lags: Lags) -> Tensor:
    """Matrices that make taps into sums of their correlations.

    Parameters
    ----------
    weights : Tensor of shape (n, 1 + half lags)
    lags : Lags

    Returns
    -------
    Tensor of shape (n, taps, taps)
        ``E`` with ``k^T E k = sum_t weights(t) r(t)``, lag zero first, for the taps
        ``k`` of any kernel, and the others times the root of 2.
    """
    half, between = lags.half(), np.ones((1, 1))
    for axis, (n, step, _, f) in enumerate(_per_axis(lags)):
        # What two taps that lie so far apart bring to each lag.
        own = _filter_power(f)(step * half[:, axis, None] - np.arange(1 - n, n))
        between = (between[:, :, None] * own[:, None]).reshape(len(half), -1)
    between *= _weights(len(half))[:, None]
    places = np.indices(lags.size).reshape(len(lags.size), -1)
    gaps = places[:, :, None] - places[:, None] + np.array(lags.size)[:, None, None] - 1
    index = np.ravel_multi_index(tuple(gaps), [2 * n - 1 for n in lags.size])
    return (weights @ torch.from_numpy(between).to(weights))[:, torch.from_numpy(index)]


def _per_axis(lags: Lags):
    """Size, step, reach and filter taps of every axis."""
    factors, mode = (1,) * len(lags.size), "nearest"
    if lags.resizing is not None:
        factors, mode = lags.resizing.factors, lags.resizing.mode
    filters = (_filter(f, mode) for f in factors)
    return zip(lags.size, lags.step, lags.reach, filters, strict=True)


def _filter(factor: int, mode: str) -> np.ndarray:
    if factor == 1:
        return np.ones(1)
    with torch.inference_mode(False):
        return resize_filter(factor, mode, torch.empty(0, dtype=torch.float64)).numpy()


def _filter_power(taps: np.ndarray):
    """Autocorrelation of a filter, as a function of arrays of lags."""
    r, last = np.correlate(taps, taps, "full"), len(taps) - 1
    return lambda t: np.where(np.abs(t) <= last, r[np.clip(t + last, 0, 2 * last)], 0.0)


def _outer(factors: list[np.ndarray]) -> np.ndarray:
    """Kronecker product: matrices of several axes as one."""
    whole = factors[0]
    for factor in factors[1:]:
        whole = np.kron(whole, factor)
    return whole


def _weights(n_lags: int) -> np.ndarray:
    return np.where(np.arange(n_lags) == 0, 1.0, math.sqrt(2))


def _grid(lags: Lags) -> list[int]:
    """Smallest grid on which no lag is aliased, filter included."""
    return [n + len(f) - 1 + reach * step for n, step, reach, f in _per_axis(lags)]


def _power(signals: Tensor, lags: Lags) -> Tensor:
    """Power spectra of signals (a, b, *size) on the grid that the lags need."""
    grid, axes = _grid(lags), tuple(range(2, signals.ndim))
    spectrum = torch.fft.rfftn(signals, s=grid, dim=axes)
    power = torch.view_as_real(spectrum).square().sum(-1)
    for axis, (*_, f) in enumerate(_per_axis(lags), start=2):
        if len(f) > 1:
            transform = np.abs(np.fft.fft(f, grid[axis - 2])[: power.shape[axis]]) ** 2
            shape = [-1 if a == axis else 1 for a in range(power.ndim)]
            power = power * torch.from_numpy(transform).to(power).reshape(shape)
    return power


def _lags_of_power(power: Tensor, lags: Lags) -> Tensor:
    """Correlations (..., 1 + lags) of power spectra (..., *half grid)."""
    grid = _grid(lags)
    axes = tuple(range(-len(grid), 0))
    r = torch.fft.irfftn(power, s=grid, dim=axes).flatten(-len(grid))
    index = _places(lags)
    weights = torch.from_numpy(_weights(len(index))).to(r)
    return r[..., torch.from_numpy(index).to(r.device)] * weights


@lru_cache(maxsize=64)
def _places(lags: Lags) -> np.ndarray:
    """Places of the half lags on the grid, its axes flattened."""
    grid = _grid(lags)
    return np.ravel_multi_index(tuple((lags.half() * lags.step % grid).T), grid)
