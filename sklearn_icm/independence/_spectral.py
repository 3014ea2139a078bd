"""Spectral independence of convolutional mechanisms, by autocorrelations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..exceptions import DegenerateMechanismWarning
from ..interventions._checks import kind_of
from ..interventions._mixing import haar_rotation
from ..mechanisms import LinearOperator
from ..utils.checks import is_count
from ._common import PairMeasure, as_tensors, like_input, refuse_all_zero, scaled
from ._correlations import (
    Lags,
    Resizing,
    common_lags,
    cross_correlation,
    kernel_units,
    map_units,
    pooled_units,
    smallest_power,
)
from ._null import spectral_draws
from ._pairs import Measure, MechanismPair

ArrayLike = np.ndarray | Tensor
CHANNELS_PER_BLOCK = 8
TRIPLET_CHANNELS_PER_BLOCK = 32


def spectral_measure(
    w1: Tensor,
    w2: Tensor,
    upsample: Sequence[int] | None = None,
    downsample: Sequence[int] | None = None,
    form: str = "pooled",
    *,
    resizings: tuple[Resizing | None, Resizing | None] = (None, None),
    described: bool = True,
) -> PairMeasure:
    """Spectral dependence of two mechanisms; see `spectral_ratio` for the formula.

    ``w1`` is (hidden, in, *kernel), or maps (n, hidden, *map) for the activation form,
    and ``w2`` (out, hidden, *kernel); ``upsample`` is the zero insertion of the second
    mechanism, ``downsample`` the sampling of the first, per spatial axis, and
    ``resizings`` their filters (the full form needs kernels with theirs folded in).
    Ratios are (hidden,), (hidden, in, out) or (1,). ``described=False`` leaves out what
    only a report reads.
    """
    if form == "full":
        ones = (1,) * (w1.ndim - 2)
        up, down = upsample or ones, downsample or ones
        return full_measure(scaled(w1), scaled(w2), up, down)
    first, second = lags_of_pair(w1, w2, upsample, downsample, resizings)
    w2, u1 = w2.transpose(0, 1), None
    if form == "triplet":
        blocks = list(_blocks_of_units(w1, w2, first, second))
        rho = torch.cat([1 + a @ b.mT for a, b in blocks])
        # Ratios that share a kernel scatter together: average their spectra first.
        products = torch.cat([(a.mean(1) * b.mean(1)).detach() for a, b in blocks])
    else:
        u1 = (map_units if form == "activation" else pooled_units)(w1, first)
        products = u1 * pooled_units(w2, second)
        rho = 1 + products.sum(1)
    if not described:
        return PairMeasure(rho)
    is_map = form == "activation"
    a_in = _units_anisotropy(u1) if is_map else kernel_anisotropy(w1, first)
    sd, a_out = _deviation(products), kernel_anisotropy(w2, second)
    return PairMeasure(rho, sd, a_in, a_out)


def lags_of_pair(
    w1: Tensor,
    w2: Tensor,
    upsample: Sequence[int] | None,
    downsample: Sequence[int] | None,
    resizings: tuple[Resizing | None, Resizing | None],
) -> tuple[Lags, Lags]:
    """Lags of the earlier and of the later kernels that the pair has in common."""
    sizes = (tuple(w1.shape[2:]), tuple(w2.shape[2:]))
    ones = (1,) * len(sizes[0])
    steps = (tuple(downsample or ones), tuple(upsample or ones))
    return common_lags(sizes, steps, resizings)


def _blocks_of_units(
    w1: Tensor, w2: Tensor, first: Lags, second: Lags
) -> Iterator[tuple[Tensor, Tensor]]:
    """Units of the kernels (hidden, n, *kernel) of blocks of hidden channels.

    Every hidden channel stands for itself, so that blocks bound the memory.
    """
    size = TRIPLET_CHANNELS_PER_BLOCK
    for a, b in zip(scaled(w1).split(size), scaled(w2).split(size), strict=True):
        yield kernel_units(a, first), kernel_units(b, second)


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
    blocks = _blocks_of_units(w1, w2.transpose(0, 1), *lags)
    total = sum(_square_products(u1, u2) for u1, u2 in blocks)
    return total / (w1.shape[0] * w1.shape[1] * w2.shape[0])


def _square_products(u1: Tensor, u2: Tensor) -> Tensor:
    """Sum of ``(u1_i . u2_m)^2`` over i and m, by Gram matrices if that is cheaper."""
    (n1, n_lags), n2 = u1.shape[1:], u2.shape[1]
    if n1 * n2 <= (n1 + n2) * n_lags:
        return (u1 @ u2.mT).square().sum()
    return ((u1.mT @ u1) * (u2.mT @ u2)).sum()


def full_measure(
    w1: Tensor, w2: Tensor, up: Sequence[int], down: Sequence[int]
) -> PairMeasure:
    """Measure of the whole node, in blocks of hidden channels."""
    second = w2.transpose(0, 1)
    products, totals = 0.0, {"in": [0.0, 0.0], "out": [0.0, 0.0]}
    for start in range(0, len(w1), CHANNELS_PER_BLOCK):
        block = slice(start, start + CHANNELS_PER_BLOCK)
        c1 = _at_lags(w1, down, w1[block])
        c2 = _at_lags(second, up, second[block])
        for name, c in {"in": c1, "out": c2}.items():
            flat = c.detach().flatten(2)
            diagonal = flat[:, block, flat.shape[-1] // 2].diagonal()
            totals[name][0] = totals[name][0] + diagonal.sum()
            totals[name][1] = totals[name][1] + flat.square().sum()
        # Between channels the second spectrum meets the first one's mirror image.
        c1, c2 = _nearer_lags(c1, c2, w1.ndim - 2)
        products = products + (c1 * c2.flip(-1)).sum((0, 1))
    # Summed over channels the products are symmetric: t and -t count the same.
    power, half = products[len(products) // 2 :].tensor_split([1])
    excess = 2 * half / power.clamp(min=smallest_power(power.dtype))
    sd = _deviation(excess)[None]
    a_in, a_out = (
        _isotropy_gap(trace.square() / len(w1), squares)[None]
        for trace, squares in totals.values()
    )
    return PairMeasure(1 + excess.sum()[None], sd, a_in, a_out)


def _deviation(products: Tensor) -> Tensor:
    """Null deviation from the (weighted) products of half lags.

    Real kernels have symmetric spectra, which doubles the variance over shifts.
    """
    return products.detach().square().sum(-1).sqrt()


def _at_lags(kernels: Tensor, step: Sequence[int], block: Tensor) -> Tensor:
    """Correlation between channels at every ``step``-th lag that kernels reach."""
    furthest = [(n - 1) // s * s for n, s in zip(kernels.shape[2:], step, strict=True)]
    r = cross_correlation(kernels, furthest, block)
    for axis, s in enumerate(step, start=2):
        if s > 1:
            r = r.index_select(axis, torch.arange(0, r.shape[axis], s, device=r.device))
    return r


def _nearer_lags(r1: Tensor, r2: Tensor, n_axes: int) -> tuple[Tensor, Tensor]:
    """Lags that both correlations have, flattened; the zero lag stays central."""
    for axis in range(2, 2 + n_axes):
        size = min(r1.shape[axis], r2.shape[axis])
        r1, r2 = (r.narrow(axis, (r.shape[axis] - size) // 2, size) for r in (r1, r2))
    return r1.flatten(2), r2.flatten(2)


def kernel_anisotropy(kernels: Tensor, lags: Lags) -> Tensor:
    """Anisotropy of every channel's pooled kernels, at all lags they reach."""
    own = Lags.of(lags.size, lags.step, lags.resizing)
    return _units_anisotropy(pooled_units(kernels, own))


def _units_anisotropy(units: Tensor) -> Tensor:
    """``1 - <P>^2 / <P^2>`` of power spectra P, from their units (..., half lags)."""
    away = units.square().sum(-1)
    return away / (1 + away)


def _isotropy_gap(isotropic: Tensor, whole: Tensor) -> Tensor:
    tiny = torch.finfo(whole.dtype).tiny
    gap = (whole - isotropic) / whole.clamp(min=tiny)
    return torch.where(whole <= tiny, torch.zeros_like(gap), gap).clamp(0, 1)


class SpectralMeasure(Measure):
    """Spectral independence of the kernels around a hidden map, in a form.

    Null draws rotate the taps of the later mechanism, for each hidden channel on its
    own: real kernels have symmetric spectra, so that frequency shifts would not give
    uniform p-values.
    """

    name = "spectral"

    def __init__(self, form: str) -> None:
        self.form = form

    def applies(self, pair: MechanismPair) -> bool:
        earlier, later, shape = pair.earlier, pair.later, pair.node_shape
        if earlier is None or later is None or pair.kind != kind_of(shape):
            return False
        # A dense mechanism has kernels of the map that it produces or reads.
        units, grid, whole = shape[0], len(shape) - 1, math.prod(shape)
        n_axes = {grid if k.is_dense else k.taps.ndim - 2 for k in (earlier, later)}
        return (
            grid > 0
            and len(n_axes) == 1
            and len(earlier.taps) == (whole if earlier.is_dense else units)
            and later.taps.shape[1] == (whole if later.is_dense else units)
        )

    def ratio(self, pair: MechanismPair) -> Tensor:
        return self._measure(pair, described=False).rho

    def described(self, pair: MechanismPair) -> PairMeasure:
        return self._measure(pair, described=True)

    def null_draws(
        self, pair: MechanismPair, n_draws: int, generator: torch.Generator
    ) -> Tensor:
        w1, w2, *steps = self._parts(pair)
        lags = lags_of_pair(w1, w2, *steps)
        return spectral_draws(w1, w2, lags, self.form, n_draws, generator)

    def mean_square_excess(self, pair: MechanismPair) -> Tensor:
        """Mean of ``(rho - 1)^2`` over the triplets of channels."""
        *parts, resizings = self._parts(pair)
        return mean_square_excess(*parts, resizings=resizings)

    def _measure(self, pair: MechanismPair, described: bool) -> PairMeasure:
        *parts, filters = self._parts(pair)
        options = {"resizings": filters, "described": described}
        return spectral_measure(*parts, self.form, **options)

    def _parts(self, pair: MechanismPair) -> tuple:
        """Kernels without their resizing, steps of the later and earlier, and filters.

        Folding a filter into a few correlations is much cheaper than into all kernels.
        """
        plain = [replace(k, resize=None) for k in (pair.earlier, pair.later)]
        return (
            plain[0].kernels_into(pair.node_shape),
            plain[1].kernels_out_of(pair.node_shape),
            pair.later.upsample,
            pair.earlier.downsample,
            (_resizing(pair.earlier), _resizing(pair.later)),
        )


class SpectralOfValues(SpectralMeasure):
    """The pooled form with the spectra of the hidden map's values."""

    def _parts(self, pair: MechanismPair) -> tuple:
        _, w2, upsample, _, (_, resizing) = super()._parts(pair)
        return pair.values.to(w2), w2, upsample, None, (None, resizing)


class FullSpectralMeasure(SpectralMeasure):
    """The full form, of which each draw costs a measure."""

    n_draws = 0

    def null_draws(
        self, pair: MechanismPair, n_draws: int, generator: torch.Generator
    ) -> Tensor:
        turned = (_turned(pair, generator) for _ in range(n_draws))
        return torch.stack([self.ratio(pair).mean() for pair in turned])

    def _parts(self, pair: MechanismPair) -> tuple:
        return (
            pair.earlier.kernels_into(pair.node_shape),
            pair.later.kernels_out_of(pair.node_shape),
            pair.later.upsample,
            pair.earlier.downsample,
            (None, None),
        )


def _turned(pair: MechanismPair, generator: torch.Generator) -> MechanismPair:
    """Return the pair after the taps of the later mechanism are rotated."""
    taps = pair.later.taps
    rows = taps.reshape(len(taps), pair.node_shape[0], -1).transpose(0, 1)
    n_taps = rows.shape[-1]
    rotation = haar_rotation((len(rows), n_taps, n_taps), generator).to(taps)
    turned = (rows @ rotation).transpose(0, 1).reshape(taps.shape)
    return replace(pair, later=replace(pair.later, taps=turned))


def _resizing(operator: LinearOperator) -> Resizing | None:
    if operator.resize is None:
        return None
    return Resizing(operator.resize, tuple(operator.upsample))


SPECTRAL = {
    "pooled": SpectralMeasure("pooled"),
    "triplet": SpectralMeasure("triplet"),
    "full": FullSpectralMeasure("full"),
    "activation": SpectralOfValues("activation"),
}


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
        Stride of the earlier mechanism; 1 with ``form="activation"``, whose maps are
        as they are.

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
    if form not in list(SPECTRAL):
        raise ValueError(f"form must be one of {list(SPECTRAL)}, got {form!r}.")
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
    if form == "activation" and max(down) > 1:
        raise ValueError(
            'downsample must be 1 with form="activation": the maps are those behind '
            f"the stride already, got {downsample!r}."
        )
    refuse_all_zero(w1=t1, w2=t2)
    if form != "activation":
        _warn_of_silent_channels(t1, t2)
    measure = spectral_measure(t1, t2, up, down, form, described=False)
    return like_input(measure.rho, w1, w2)


def _warn_of_silent_channels(w1: Tensor, w2: Tensor) -> None:
    silent = ~(w1.flatten(1).any(1) & w2.transpose(0, 1).flatten(1).any(1))
    if bool(silent.any()):
        channels = [f"hidden channel {j}" for j in silent.nonzero().flatten().tolist()]
        warnings.warn(DegenerateMechanismWarning(channels), stacklevel=3)


def _per_axis(name: str, value: int | Sequence[int], n_axes: int) -> tuple[int, ...]:
    several = isinstance(value, (tuple, list, np.ndarray))
    factors = tuple(value) if several else (value,) * n_axes
    whole = all(map(is_count, factors))
    if len(factors) != n_axes or not whole:
        raise ValueError(
            f"{name} must be a positive int or {n_axes} of them, got {value!r}."
        )
    return tuple(int(f) for f in factors)
