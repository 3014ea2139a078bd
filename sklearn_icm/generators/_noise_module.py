"""Noise of the columns of a table: kernel densities of residuals."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

BANDWIDTH = 0.45
# Multiples of the bandwidth. The first leaves nothing but a normal density.
SMOOTHINGS = (math.inf, 8.0, 4.0, 2.0, 1.0)
# Standard errors by which what is richer must be better on held-out rows.
CLEARLY = 2.0


class KernelNoise(nn.Module):
    """Independent columns of noise, each a kernel density of residuals.

    Draws are residuals with a little normal noise, shrunk to keep the variance. The
    wider the kernel, the more normal they are.
    """

    sized_by_fit, any_number = ("points",), ("smoothing",)

    def __init__(self, n_columns: int) -> None:
        super().__init__()
        self.register_buffer("points", torch.zeros(1, n_columns))
        self.register_buffer("width", torch.ones(n_columns))
        self.register_buffer("smoothing", torch.ones(n_columns))

    def be_normal(self) -> None:
        """Make every column a normal density, whatever its residuals are."""
        self.smoothing.fill_(math.inf)

    def clear(self, n_points: int) -> None:
        """Make room for residuals; until they are set, noise is standard normal."""
        self.points = self.points.new_zeros(n_points, len(self.width))
        self.width = torch.ones_like(self.width)

    def set(self, column: int, residuals: Tensor) -> None:
        """Take the residuals of a column; fewer than there is room for are repeated."""
        points, width = _smoothed(residuals, self.smoothing[column])
        places = torch.arange(len(self.points), device=points.device) % len(points)
        self.points[:, column], self.width[column] = points[places], width

    def choose(self, column: int, residuals: Tensor, held_out: Tensor) -> None:
        """Take the smoothest density that explains held-out residuals.

        That is, none with more detail is clearly better.
        """
        best = None
        for smoothing in SMOOTHINGS:
            kernel = _smoothed(residuals, torch.tensor(smoothing).to(residuals))
            density = _kernel_density(held_out, *kernel)
            if best is None or is_clear(density - best):
                self.smoothing[column], best = smoothing, density

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n rows; random numbers are drawn on the CPU."""
        shape = (n, len(self.width))
        rows = torch.randint(len(self.points), shape, generator=generator)
        normal = torch.randn(shape, generator=generator).to(self.points)
        return self.points.gather(0, rows.to(self.points.device)) + self.width * normal

    def log_prob(self, noise: Tensor) -> Tensor:
        """Log density of each row, (n,)."""
        return self.log_probs(noise).sum(1)

    def log_probs(self, noise: Tensor) -> Tensor:
        """Log density of each entry, (n, n_columns); 0 where nothing varies."""
        # Of normal columns all points are the same, and one of them is enough.
        is_normal = (self.points == self.points[:1]).all(0)
        densities = []
        for k, value in enumerate(noise.T):
            points = self.points[: 1 if is_normal[k] else None, k]
            densities.append(_kernel_density(value, points, self.width[k]))
        return torch.stack(densities, 1)


def _smoothed(residuals: Tensor, smoothing: Tensor) -> tuple[Tensor, Tensor]:
    """Points and width of a kernel density that has the residuals' moments."""
    mean, sd = residuals.mean(), residuals.std()
    if smoothing.isinf():
        return mean.expand(len(residuals)), sd
    low, high = residuals.quantile(torch.tensor([0.25, 0.75]).to(residuals))
    robust = torch.minimum(sd, (high - low) / 1.349) if high > low else sd
    width = smoothing * BANDWIDTH * robust * len(residuals) ** -0.2
    shrink = sd / (sd.square() + width.square()).sqrt() if sd > 0 else 1.0
    return mean + shrink * (residuals - mean), shrink * width


def _kernel_density(value: Tensor, points: Tensor, width: Tensor) -> Tensor:
    if width == 0:
        return torch.zeros_like(value)
    distance = (value[:, None] - points) / width
    total = (-0.5 * distance.square()).logsumexp(1)
    return total - math.log(len(points) * math.sqrt(2 * math.pi)) - width.log()


def is_clear(gain: Tensor) -> bool:
    """Whether the mean of some gains is above what chance would give."""
    if len(gain) < 2:
        return False
    return bool(gain.mean() > CLEARLY * gain.std() / math.sqrt(len(gain)))
