"""Trace condition of dense mechanisms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ._common import (
    PairMeasure,
    anisotropy_of,
    as_tensors,
    largest_entry,
    like_input,
    refuse_all_zero,
    scaled,
)
from ._null import trace_draws
from ._pairs import Measure, MechanismPair

ArrayLike = np.ndarray | Tensor


def trace_measure(w: Tensor, s: Tensor, described: bool = True) -> PairMeasure:
    """Trace dependence of a matrix and a covariance; see `trace_ratio`."""
    d = w.shape[1]
    w, s = scaled(w), scaled(s)
    gram = w.T @ w
    power = gram.trace() * s.trace() / d
    tiny = torch.finfo(power.dtype).tiny
    # tr(W S W^T) with both products taken at the d x d hidden node.
    rho = (gram * s.T).sum() / power.clamp(min=tiny)
    rho = torch.where(power <= tiny, torch.ones_like(rho), rho)
    if not described:
        return PairMeasure(rho[None])
    a1, a2 = anisotropy_of(s), anisotropy_of(gram)
    sd = torch.zeros_like(rho)
    if d > 1:
        spread = a1 / (1 - a1) * a2 / (1 - a2)
        sd = (2 / ((d - 1) * (d + 2)) * spread).sqrt()
    return PairMeasure(rho[None], sd[None], a1[None], a2[None])


def normalised_pair(w1: Tensor, w2: Tensor) -> tuple[Tensor, Tensor]:
    """Scale every hidden unit to unit input weights.

    Rescaling a unit of a ReLU network leaves its function but moves rho.
    """
    w1 = scaled(w1)
    scale = squared_norms(w1).sqrt()
    return w1 / scale[:, None], w2 * scale


def squared_norms(w1: Tensor) -> Tensor:
    """Squared weights into each hidden unit; about the largest one where all are 0."""
    squares = w1.square().sum(1)
    # The root has no finite gradient at 0.
    return torch.where(squares > 0, squares, largest_entry(w1).square())


class TraceMeasure(Measure):
    """Trace condition of the weights at a hidden vector.

    Null draws rotate the mechanism of lower rank at the hidden node.
    """

    name = "trace"

    def applies(self, pair: MechanismPair) -> bool:
        earlier, later, shape = pair.earlier, pair.later, pair.node_shape
        if earlier is None or later is None or pair.kind != "vector":
            return False
        units = (len(earlier.taps), later.taps.shape[1])
        return earlier.is_dense and later.is_dense and shape * 2 == units

    def ratio(self, pair: MechanismPair) -> Tensor:
        return trace_measure(*self._matrices(pair), described=False).rho

    def described(self, pair: MechanismPair) -> PairMeasure:
        return trace_measure(*self._matrices(pair))

    def null_draws(
        self, pair: MechanismPair, n_draws: int, generator: torch.Generator
    ) -> Tensor:
        w1, w2 = pair.earlier.taps, pair.later.taps
        scale = squared_norms(w1) if pair.normalises else None
        return trace_draws(w2, w1 @ w1.T, scale, n_draws, generator)

    def _matrices(self, pair: MechanismPair) -> tuple[Tensor, Tensor]:
        w1, w2 = pair.earlier.taps, pair.later.taps
        if pair.normalises:
            w1, w2 = normalised_pair(w1, w2)
        return w2, w1 @ w1.T


class TraceOfValues(TraceMeasure):
    """Trace condition with the covariance of the hidden vector's values."""

    def null_draws(
        self, pair: MechanismPair, n_draws: int, generator: torch.Generator
    ) -> Tensor:
        return trace_draws(*self._matrices(pair), None, n_draws, generator)

    def _matrices(self, pair: MechanismPair) -> tuple[Tensor, Tensor]:
        w2 = pair.later.taps
        hidden = pair.values.to(w2)
        centred = hidden - hidden.mean(0)
        return w2, centred.T @ centred / len(hidden)


TRACE = {"weights": TraceMeasure(), "activation": TraceOfValues()}


def trace_ratio(w: ArrayLike, s: ArrayLike) -> ArrayLike:
    r"""Trace-method dependence ratio of a matrix and the covariance of its input.

    Parameters
    ----------
    w : ndarray or Tensor of shape (e, d)
        The later mechanism.
    s : ndarray or Tensor of shape (d, d)
        Covariance of the hidden node, or ``W_1 @ W_1.T`` of the earlier mechanism.

    Returns
    -------
    float or 0-d Tensor
        1 for independent mechanisms; ``1 / rho`` is the factor by which a random
        rotation of the hidden node changes the output's power. 1 for ``d = 1`` (where
        nothing can be seen: an independence report flags such a pair).

    Raises
    ------
    ValueError
        For matrices that do not compose, are all zero or not finite.

    Notes
    -----
    With :math:`\tau_n = \mathrm{tr} / n`,

    .. math:: \rho = \tau_e(W S W^T) / (\tau_e(W W^T)\, \tau_d(S)).

    References
    ----------
    Janzing, Hoyer, Schölkopf (2010), *Telling cause from effect based on
    high-dimensional observations*, arXiv 0909.4386.

    Examples
    --------
    >>> import numpy as np
    >>> trace_ratio(np.diag([1.0, 2.0]), np.eye(2))
    1.0
    """
    tw, ts = as_tensors(w, s)
    if tw.ndim != 2 or ts.shape != (tw.shape[-1], tw.shape[-1]):
        raise ValueError(
            f"w must be (e, d) and s (d, d), got {tuple(tw.shape)} and "
            f"{tuple(ts.shape)}."
        )
    refuse_all_zero(w=tw, s=ts)
    return like_input(trace_measure(tw, ts, described=False).rho[0], w, s)
