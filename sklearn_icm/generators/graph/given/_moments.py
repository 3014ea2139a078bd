"""Moments of a model's columns, and what known numbers say of unknown ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ....utils.streams import Streams
from .._model import GraphModule
from ..columns._mechanisms import CategoricalColumn

__all__ = ["LEAST_NOISE", "Moments", "conditionals", "log_normal", "moments_of"]

# Draws for the moments of a model that is not linear.
N_MOMENTS = 4096
# How much wider than the moments say normal candidates are spread.
WIDER = 1.2
# Of a column's deviation: the noise of one that has none, so that a sum tells of its
# terms; and, of the size of a column, what counts as no deviation.
LEAST_NOISE, NOTHING = 1e-3, 1e-9


def log_normal(value: Tensor) -> Tensor:
    """Log density of standard normal values."""
    return -0.5 * (value.square() + math.log(2 * math.pi))


class Moments(NamedTuple):
    """Mean (d,) and covariance (d, d) of the columns of a model.

    ``numbers`` says which columns are numbers that vary; ``is_exact`` whether all
    columns together are normal.
    """

    mean: Tensor
    covariance: Tensor
    numbers: Tensor
    is_exact: bool


def moments_of(model: GraphModule) -> Moments:
    """Moments of the columns: exact ones if mechanisms are linear, else of draws."""
    graph, d, kernels = model.graph, len(model.names), model.noise
    mechanisms = [graph.mechanism(name) for name in model.names]
    # A stream from its start, so that no query matters.
    noise = kernels.draw(N_MOMENTS, Streams(0))
    values = graph(noise)[graph.data_node]
    linear = not model.hidden and is_affine(model, noise, values)
    if linear:
        start, slopes = _affine(model)
        means = (kernels.share * kernels.points).sum(0)
        squares = kernels.width.square() + (kernels.points - means).square()
        mean = start + slopes @ means
        covariance = slopes * (kernels.share * squares).sum(0) @ slopes.T
    else:
        mean, covariance = values.mean(0), torch.cov(values.T).reshape(d, d)
    is_exact = linear and bool((kernels.n_blocks == 1).all())
    variances = covariance.diagonal().clone()
    if not is_exact:
        covariance.diagonal().add_(LEAST_NOISE**2 * variances * ~kernels.varies[:d])
    deviations = variances.clamp(0).sqrt()
    has_levels = [isinstance(m, CategoricalColumn) for m in mechanisms]
    numbers = ~torch.tensor(has_levels)
    numbers &= deviations > NOTHING * (mean.abs() + deviations)
    return Moments(mean, covariance, numbers, is_exact)


def _affine(model: GraphModule) -> tuple[Tensor, Tensor]:
    """Columns where all noise is 0, and how they change with it, (d, n_noise)."""
    unit = torch.eye(model.noise.n_columns, dtype=torch.float64)
    values = model.graph(torch.cat([0 * unit[:1], unit]))[model.graph.data_node]
    return values[0], (values[1:] - values[0]).T


def is_affine(model: GraphModule, noise: Tensor, values: Tensor) -> bool:
    """Whether these values of the columns are an affine function of their noise.

    This is asked of what mechanisms do, so that none of another kind is taken for a
    line.
    """
    start, slopes = _affine(model)
    error = (start + noise @ slopes.T - values).abs().amax(0)
    return bool((error <= NOTHING * (1 + values.abs().amax(0))).all())


class Given(NamedTuple):
    """Normal distribution of numbers that are unknown in some rows, given known ones.

    ``rows`` (n,) of one pattern; ``places`` (m,) of what is unknown; ``mean`` (n, m),
    ``root`` (m, m) of the covariance, and ``white`` (m, m), its inverse.
    """

    rows: Tensor
    places: Tensor
    mean: Tensor
    root: Tensor
    white: Tensor

    def at(self, normal: Tensor) -> Tensor:
        """Values of standard normal draws, (n, ..., m)."""
        mean = self.mean.view(len(self.rows), *[1] * (normal.ndim - 2), -1)
        return mean + normal @ self.root.T

    def log_prob(self, values: Tensor) -> Tensor:
        """Log density of values, (n, n_candidates, m)."""
        standard = (values - self.mean[:, None]) @ self.white.T
        constant = self.white.det().abs().log() if len(self.places) else 0.0
        return log_normal(standard).sum(-1) + constant


def conditionals(moments: Moments, x: Tensor) -> Iterator[Given]:
    """Distribution of the unknown numbers, for the rows of each pattern of them."""
    patterns, which = np.unique(x.isnan().numpy(), axis=0, return_inverse=True)
    unit = moments.covariance.diagonal().sqrt().where(moments.numbers, 1.0)
    correlation = moments.covariance / unit / unit[:, None]
    wider, least = (1.0, 0.0) if moments.is_exact else (WIDER, NOTHING)
    for k, pattern in enumerate(torch.from_numpy(patterns)):
        rows = torch.from_numpy((which.ravel() == k).nonzero()[0])
        unknown = (pattern & moments.numbers).nonzero()[:, 0]
        known = (~pattern & moments.numbers).nonzero()[:, 0]
        across = correlation[unknown][:, known]
        inner = correlation[known][:, known]
        # Columns may be sums of others: no inverse.
        weights = across @ torch.linalg.pinv(inner, rtol=NOTHING, hermitian=True)
        standard = (x[rows][:, known] - moments.mean[known]) / unit[known]
        mean = moments.mean[unknown] + unit[unknown] * (standard @ weights.T)
        left = correlation[unknown][:, unknown] - weights @ across.T
        sizes, axes = torch.linalg.eigh(0.5 * (left + left.T))
        root = unit[unknown, None] * axes * (wider * sizes.clamp(least).sqrt())
        yield Given(rows, unknown, mean, root, torch.linalg.pinv(root))
