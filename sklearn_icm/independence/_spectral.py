"""Spectral independence of convolutional mechanisms, by autocorrelations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from numbers import Integral

import numpy as np
import torch
from torch import Tensor, nn

from ..exceptions import DegenerateMechanismWarning
from ._common import PairMeasure, as_tensors, like_input, refuse_all_zero, scaled

ArrayLike = np.ndarray | Tensor
FORMS = ("pooled", "triplet", "full")
MOST_TAPS = 256
CHANNELS_PER_BLOCK = 8
TRIPLET_CHANNELS_PER_BLOCK = 32
Correlate = Callable[..., Tensor]


def autocorrelation(kernels: Tensor, lags: Sequence[int]) -> Tensor:
    """Autocorrelation of every kernel at all lags up to a maximum.

    Parameters
    ----------
    kernels : Tensor of shape (channels, n_kernels, *kernel)
    lags : sequence of int
        Largest lag per spatial axis.

    Returns
    -------
    Tensor of shape (channels, n_kernels, 2 * lag + 1 per axis)
        ``r(t) = sum_x k(x) k(x + t)``; the zero lag is central.
    """
    channels, n_kernels = kernels.shape[:2]
    signal = kernels.reshape(1, channels * n_kernels, *kernels.shape[2:])
    taps = kernels.reshape(channels * n_kernels, 1, *kernels.shape[2:])
    conv = _convolution(len(lags))
    r = conv(signal, taps, padding=tuple(lags), groups=channels * n_kernels)
    return r.reshape(channels, n_kernels, *r.shape[2:])


def pooled_autocorrelation(kernels: Tensor, lags: Sequence[int]) -> Tensor:
    """Sum of every channel's autocorrelations, shape (channels, 1, lags).

    Parameters are those of `autocorrelation`. One matrix product per channel gives the
    products of all pairs of taps, which are then added up by their lag: much faster
    than a convolution per kernel, unless there are very many taps.
    """
    size = kernels.shape[2:]
    n_taps = math.prod(size)
    if n_taps > MOST_TAPS:
        return autocorrelation(kernels, lags).sum(1, keepdim=True)
    taps = kernels.flatten(2)
    gram = (taps.transpose(1, 2) @ taps).flatten(1)
    places = torch.cartesian_prod(*(torch.arange(n) for n in size)).reshape(n_taps, -1)
    index = torch.zeros(n_taps, n_taps, dtype=torch.long)
    for axis, n in enumerate(size):
        distance = places[:, axis] - places[:, None, axis] + n - 1
        index = index * (2 * n - 1) + distance
    full = [2 * n - 1 for n in size]
    r = gram.new_zeros(len(kernels), math.prod(full))
    r = r.index_add(1, index.flatten().to(gram.device), gram)
    r = r.reshape(len(kernels), 1, *full)
    for axis, (n, lag) in enumerate(zip(size, lags, strict=True), start=2):
        if lag < n:
            r = r.narrow(axis, n - 1 - lag, 2 * lag + 1)
    return r


def cross_correlation(kernels: Tensor, lags: Sequence[int], block: Tensor) -> Tensor:
    """Correlation of a block of channels with all, summed over the second axis.

    Returns
    -------
    Tensor of shape (block channels, channels, 2 * lag + 1 per axis)
        ``c_jk(t) = sum_i sum_x k_ji(x + t) k_ki(x)``.
    """
    return _convolution(len(lags))(block, kernels, padding=tuple(lags))


def _convolution(n_axes: int):
    return (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[
        n_axes - 1
    ]


def spectral_measure(
    w1: Tensor,
    w2: Tensor,
    upsample: Sequence[int] | None = None,
    downsample: Sequence[int] | None = None,
    form: str = "pooled",
    *,
    with_sd: bool = True,
) -> PairMeasure:
    """Spectral dependence of two mechanisms; see `spectral_ratio` for the formula.

    ``w1`` is (hidden, in, *kernel) and ``w2`` (out, hidden, *kernel); ``upsample`` is
    the zero insertion of the second mechanism, ``downsample`` the sampling of the
    first, per spatial axis. Ratios are (hidden,), (hidden, in, out) or (1,).
    """
    n_axes = w1.ndim - 2
    up = tuple(upsample or (1,) * n_axes)
    down = tuple(downsample or (1,) * n_axes)
    w1, w2 = scaled(w1), scaled(w2)
    if form == "full":
        return full_measure(w1, w2, up, down)
    size = TRIPLET_CHANNELS_PER_BLOCK
    if form == "triplet" and len(w1) > size:
        # Every hidden channel stands for itself, so blocks bound the memory.
        blocks = zip(w1.split(size), w2.split(size, dim=1), strict=True)
        return _joined(
            spectral_measure(a, b, up, down, form, with_sd=with_sd) for a, b in blocks
        )
    correlate = pooled_autocorrelation if form == "pooled" else autocorrelation
    r1 = _at_lags(correlate, w1, down)
    r2 = _at_lags(correlate, w2.transpose(0, 1), up)
    return measure_of_correlations(r1, r2, n_axes, form, with_sd=with_sd)


def _joined(measures: Iterable[PairMeasure]) -> PairMeasure:
    """One measure of many hidden channels from those of blocks of them."""
    measures = list(measures)

    def joined(name: str) -> Tensor | None:
        parts = [getattr(measure, name) for measure in measures]
        return None if parts[0] is None else torch.cat(parts)

    return PairMeasure(**{f.name: joined(f.name) for f in fields(PairMeasure)})


def measure_of_correlations(
    r1: Tensor, r2: Tensor, n_axes: int, form: str, *, with_sd: bool = True
) -> PairMeasure:
    """Measure of two sets of autocorrelations (channels, n, *lags), centred lags."""
    if form == "pooled":
        r1, r2 = r1.sum(1, keepdim=True), r2.sum(1, keepdim=True)
    # Lag zero contributes exactly 1: without it nothing cancels near independence.
    units = [_off_centre(_units(r)) for r in _common_lags(r1, r2, n_axes)]
    rho, sd = 1 + _over_lags(*units), None
    if with_sd or form == "pooled":
        sd = _deviation(_over_lags(*(u.square() for u in units)))
    channel_sd = sd
    if form == "triplet":
        # Ratios that share a kernel scatter together: average their spectra first.
        means = (u.mean(1, keepdim=True).square() for u in units)
        channel_sd = _deviation(_over_lags(*means))
    if form == "pooled":
        rho, sd = rho.flatten(), sd.flatten()
    return PairMeasure(
        rho=rho,
        null_sd=sd,
        channel_null_sd=channel_sd.detach().flatten(),
        anisotropy_in=_anisotropy(r1),
        anisotropy_out=_anisotropy(r2),
    )


def full_measure(
    w1: Tensor, w2: Tensor, up: Sequence[int], down: Sequence[int]
) -> PairMeasure:
    """Measure of the whole node, in blocks of hidden channels."""
    second = w2.transpose(0, 1)
    products, totals = 0.0, {"in": [0.0, 0.0], "out": [0.0, 0.0]}
    for start in range(0, len(w1), CHANNELS_PER_BLOCK):
        block = slice(start, start + CHANNELS_PER_BLOCK)
        c1 = _at_lags(cross_correlation, w1, down, w1[block])
        c2 = _at_lags(cross_correlation, second, up, second[block])
        for name, c in {"in": c1, "out": c2}.items():
            flat = c.detach().flatten(2)
            diagonal = flat[:, block, flat.shape[-1] // 2].diagonal()
            totals[name][0] = totals[name][0] + diagonal.sum()
            totals[name][1] = totals[name][1] + flat.square().sum()
        # Between channels the second spectrum meets the first one's mirror image.
        c1, c2 = _common_lags(c1, c2, w1.ndim - 2)
        products = products + (c1 * c2.flip(-1)).sum((0, 1))
    excess = _off_centre(_units(products[None]))
    sd = _deviation(excess.square().sum(1))
    a_in, a_out = (
        _isotropy_gap(trace.square() / len(w1), squares)[None]
        for trace, squares in totals.values()
    )
    return PairMeasure(1 + excess.sum(1), sd, sd.detach(), a_in, a_out)


def _units(r: Tensor) -> Tensor:
    """Correlations over power: 1 at lag zero, and 0 elsewhere without any power."""
    power = r[..., [r.shape[-1] // 2]]
    tiny = torch.finfo(r.dtype).tiny
    units = r / power.clamp(min=tiny)
    return torch.where(power <= tiny, torch.zeros_like(units), units)


def _off_centre(units: Tensor) -> Tensor:
    mask = torch.ones(units.shape[-1], dtype=units.dtype, device=units.device)
    mask[units.shape[-1] // 2] = 0
    return units * mask


def _over_lags(r1: Tensor, r2: Tensor) -> Tensor:
    """Sum over lags of products: (hidden, in, lags), (hidden, out, lags)."""
    return torch.einsum("jit,jmt->jim", r1, r2)


def _deviation(squares: Tensor) -> Tensor:
    """Null deviation from the sum of squares over all lags but zero.

    Real kernels have symmetric spectra, which doubles the variance over shifts.
    """
    # The root has no finite gradient at 0, and below rounding nothing is seen.
    unseen = squares <= torch.finfo(squares.dtype).eps ** 2
    root = (2 * torch.where(unseen, torch.ones_like(squares), squares)).sqrt()
    return torch.where(unseen, torch.zeros_like(root), root)


def _at_lags(
    correlate: Correlate, kernels: Tensor, step: Sequence[int], *block: Tensor
) -> Tensor:
    """Correlation at every ``step``-th lag that the kernels reach."""
    reach = [(k - 1) // s for k, s in zip(kernels.shape[2:], step, strict=True)]
    lags = [n * s for n, s in zip(reach, step, strict=True)]
    r = correlate(kernels, lags, *block)
    for axis, s in enumerate(step, start=2):
        if s > 1:
            r = r.index_select(axis, torch.arange(0, r.shape[axis], s, device=r.device))
    return r


def _common_lags(r1: Tensor, r2: Tensor, n_axes: int) -> tuple[Tensor, Tensor]:
    """Lags that both correlations have, flattened; the zero lag stays central."""
    for axis in range(2, 2 + n_axes):
        size = min(r1.shape[axis], r2.shape[axis])
        r1, r2 = (r.narrow(axis, (r.shape[axis] - size) // 2, size) for r in (r1, r2))
    return r1.flatten(2), r2.flatten(2)


def _anisotropy(r: Tensor) -> Tensor:
    """``1 - <P>^2 / <P^2>`` of every channel's pooled power spectrum P."""
    pooled = _off_centre(r.flatten(2).sum(1))
    away = pooled.square().sum(1)
    power = r.flatten(2).sum(1)[:, pooled.shape[-1] // 2].square()
    return _isotropy_gap(power, away + power)


def _isotropy_gap(isotropic: Tensor, whole: Tensor) -> Tensor:
    tiny = torch.finfo(whole.dtype).tiny
    gap = (whole - isotropic) / whole.clamp(min=tiny)
    return torch.where(whole <= tiny, torch.zeros_like(gap), gap).clamp(0, 1)


def activation_correlation(maps: Tensor, lags: Sequence[int]) -> Tensor:
    """Batch-mean autocorrelation of hidden maps (n, channels, *map), mean removed.

    Returns (channels, 1, 2 * lag + 1 per axis), to be used in a kernel's place.
    """
    axes = tuple(range(2, maps.ndim))
    centred = scaled(maps - maps.mean((0, *axes), keepdim=True))
    size = [n + lag for n, lag in zip(maps.shape[2:], lags, strict=True)]
    power = torch.fft.rfftn(centred, s=size, dim=axes).abs().square().mean(0)
    r = torch.fft.irfftn(power, s=size, dim=tuple(a - 1 for a in axes))
    for axis, lag in enumerate(lags, start=1):
        index = torch.arange(-lag, lag + 1, device=r.device) % r.shape[axis]
        r = r.index_select(axis, index)
    return r[:, None]


def activation_measure(
    maps: Tensor, w2: Tensor, upsample: Sequence[int] | None = None
) -> PairMeasure:
    """Pooled measure with the spectra of hidden maps in the earlier kernels' place."""
    n_axes = w2.ndim - 2
    up = tuple(upsample or (1,) * n_axes)
    r2 = _at_lags(pooled_autocorrelation, scaled(w2).transpose(0, 1), up)
    lags = [
        min(size // 2, n - 1)
        for size, n in zip(r2.shape[2:], maps.shape[2:], strict=True)
    ]
    r1 = activation_correlation(maps, lags)
    return measure_of_correlations(r1, r2, n_axes, "pooled")


def spectral_ratio(
    w1: ArrayLike,
    w2: ArrayLike,
    *,
    form: str = "pooled",
    upsample: int | Sequence[int] = 1,
    downsample: int | Sequence[int] = 1,
) -> ArrayLike:
    r"""Spectral dependence ratio of two convolutional mechanisms.

    Parameters
    ----------
    w1 : ndarray or Tensor of shape (hidden, in, ``*kernel``)
        Kernels of the earlier mechanism, 1 to 3 spatial axes; or, with
        ``form="activation"``, values of the hidden node, (n, hidden, ``*map``).
    w2 : ndarray or Tensor of shape (out, hidden, ``*kernel``)
        Kernels of the later mechanism.
    form : {"pooled", "triplet", "full", "activation"}
        "pooled" sums power over the input channels of the earlier and the output
        channels of the later mechanism; "triplet" has one ratio per input, hidden and
        output channel; "full" is one ratio for the whole node, which alone keeps the
        terms between channels; "activation" is pooled, with the batch-mean power
        spectrum of the hidden channel (mean removed) in place of the earlier kernels'.
    upsample : int or sequence of int
        Zero insertion between the two (the stride of a transposed convolution).
    downsample : int or sequence of int
        Stride of the earlier mechanism.

    Returns
    -------
    ndarray or Tensor of shape (hidden,), or (hidden, in, out), or (1,)
        1 for independent mechanisms; ``1 / rho`` is the factor by which a random
        shift of the frequency axis changes the output's power (in the full form
        exactly so). A channel without power gives 1.

    Raises
    ------
    ValueError
        For kernels that do not compose, are empty, all zero or not finite.

    Warns
    -----
    DegenerateMechanismWarning
        For hidden channels without power.

    Notes
    -----
    With :math:`r_k(t) = \sum_x k(x) k(x + t)`, summed as `form` says,

    .. math:: \rho = \sum_t r_1(d t) r_2(u t) / (r_1(0) r_2(0)),

    which by Parseval is :math:`\langle |\hat k_1|^2 |\hat k_2|^2 \rangle /
    (\langle |\hat k_1|^2 \rangle \langle |\hat k_2|^2 \rangle)` without a choice of
    grid. The full form is :math:`\langle \mathrm{tr}(\hat W_2^H \hat W_2 \hat S_1)
    \rangle / \mathrm{tr}(\langle \hat W_2^H \hat W_2 \rangle \langle \hat S_1
    \rangle)` with :math:`\hat S_1 = \hat W_1 \hat W_1^H`; both kernels are those of
    true convolutions.

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
    if form not in (*FORMS, "activation"):
        raise ValueError(f"form must be one of {[*FORMS, 'activation']}, got {form!r}.")
    hidden = t1.shape[1 if form == "activation" else 0] if t1.ndim > 1 else None
    if t1.ndim != t2.ndim or not 3 <= t1.ndim <= 5 or hidden != t2.shape[1]:
        raise ValueError(
            "w1 must be (hidden, in, *kernel), or (n, hidden, *map) for the "
            "activation form, and w2 (out, hidden, *kernel), with equal hidden "
            "channels and 1 to 3 kernel axes, got "
            f"{tuple(t1.shape)} and {tuple(t2.shape)}."
        )
    if 0 in t1.shape or 0 in t2.shape:
        raise ValueError(
            f"Kernels must not be empty, got {tuple(t1.shape)} and {tuple(t2.shape)}."
        )
    n_axes = t1.ndim - 2
    up = _per_axis("upsample", upsample, n_axes)
    down = _per_axis("downsample", downsample, n_axes)
    refuse_all_zero(w1=t1, w2=t2)
    if form != "activation":
        _warn_of_silent_channels(t1, t2)
        return like_input(spectral_measure(t1, t2, up, down, form).rho, w1, w2)
    return like_input(activation_measure(t1, t2, up).rho, w1, w2)


def _warn_of_silent_channels(w1: Tensor, w2: Tensor) -> None:
    silent = ~(w1.flatten(1).any(1) & w2.transpose(0, 1).flatten(1).any(1))
    if bool(silent.any()):
        channels = [f"hidden channel {j}" for j in silent.nonzero().flatten().tolist()]
        warnings.warn(DegenerateMechanismWarning(channels), stacklevel=3)


def _per_axis(name: str, value: int | Sequence[int], n_axes: int) -> tuple[int, ...]:
    several = isinstance(value, (tuple, list, np.ndarray))
    factors = tuple(value) if several else (value,) * n_axes
    whole = all(isinstance(f, Integral) and f >= 1 for f in factors)
    if len(factors) != n_axes or not whole:
        raise ValueError(
            f"{name} must be a positive int or {n_axes} of them, got {value!r}."
        )
    return tuple(int(f) for f in factors)
