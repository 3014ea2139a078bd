"""Unobserved nodes of a table: their mechanisms, and what the columns tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ....independence import genericity_test, trace_ratio
from ._mechanisms import UNIT_SCALE, scale_of

# Units of the encoder, per unit of a mechanism.
WIDER = 4


class VectorReader(nn.Module):
    """How an unobserved node is read: as it is."""

    def __init__(self, n_dims: int) -> None:
        super().__init__()
        self.width = n_dims

    def forward(self, value: Tensor) -> Tensor:
        return value

    def size(self, value: Tensor) -> Tensor:
        """How large it is."""
        return value.abs()


class HiddenMechanism(nn.Module):
    """``location(parents) + scale * noise`` of an unobserved node, (n, n_dims).

    Without parents it is the noise itself. It is called like the mechanism of a column,
    and reads ``n_dims`` entries of the noise from ``start`` on.
    """

    def __init__(
        self, start: int, n_dims: int, parents: Sequence[nn.Module], n_units: int
    ) -> None:
        super().__init__()
        self.own = slice(start, start + n_dims)
        self.parents = nn.ModuleList(parents)
        if parents:
            n_inputs = sum(parent.width for parent in parents)
            self.inner = nn.Linear(n_inputs, n_units)
            self.outer = nn.Linear(n_units, n_dims)
            self.scale = nn.Parameter(torch.full((n_dims,), UNIT_SCALE))

    def forward(self, *values: Tensor) -> Tensor:
        *parents, noise = values
        own = noise[:, self.own]
        if not parents:
            return own
        pairs = zip(self.parents, parents, strict=True)
        read = torch.cat([reader(value) for reader, value in pairs], 1)
        return self.outer(torch.tanh(self.inner(read))) + scale_of(self.scale) * own

    @property
    def weight(self) -> Tensor:
        """First weights, (n_units, n_inputs)."""
        return self.inner.weight


class Posterior(NamedTuple):
    """Normal approximation to the noise behind unobserved nodes, each (n, n_dims)."""

    mean: Tensor
    log_variance: Tensor

    def at(self, draw: Tensor) -> Tensor:
        """Noise of a standard normal draw."""
        return self.mean + (0.5 * self.log_variance).exp() * draw

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence from standard normal noise, (n,)."""
        variance = self.log_variance.exp()
        return 0.5 * (self.mean.square() + variance - 1 - self.log_variance).sum(1)


class NoiseEncoder(nn.Module):
    """What the columns tell of the noise behind unobserved nodes.

    A line plus a small network: the line alone is right for linear Gaussian graphs.
    ``widths`` are the inputs of each column, ``n_dims`` those of all unobserved nodes.
    """

    def __init__(self, widths: Sequence[int], n_units: int, n_dims: int) -> None:
        super().__init__()
        n_inputs, width = sum(widths), WIDER * n_units
        columns = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
        self.register_buffer("columns", columns)
        self.line = nn.Linear(n_inputs, n_dims)
        self.net = nn.Sequential(
            nn.Linear(n_inputs, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, 2 * n_dims),
        )

    def forward(self, read: Tensor, unknown: Tensor) -> Posterior:
        """Posterior given what was read of columns, (n, n_inputs), some unknown."""
        inputs = read.masked_fill(unknown[:, self.columns], 0.0)
        mean, log_variance = self.net(inputs).chunk(2, 1)
        return Posterior(self.line(inputs) + mean, log_variance)


def generic_effects(
    values: np.ndarray, readings: np.ndarray, n_draws: int, rng: np.random.RandomState
) -> tuple[float, float]:
    """How generic the effects of an unobserved node read it, and p-value by rotations.

    Its values, (n_samples, n_dims), have the covariance that its own mechanism makes;
    readings, (n_readings, n_dims), are the first weights of the mechanisms behind it.
    """
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    scales, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(np.clip(scales, 0, None))
    rho, p_value = float(trace_ratio(readings, covariance)), np.nan
    if n_draws and values.shape[1] > 1:
        test = genericity_test((root, readings), n_draws=n_draws, random_state=rng)
        p_value = float(test["p_value"].item())
    return abs(np.log(rho)), p_value
