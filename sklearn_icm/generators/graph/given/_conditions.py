"""Draws of a table whose columns without parents fulfil conditions."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...._fitting import Fitted
from ....models._noise import KernelNoise
from ....utils.streams import Streams
from ..columns._mechanisms import CategoricalColumn, NumericColumn

__all__ = ["conditioned"]

# What float32 may round: of chances, and of values in deviations.
ROUNDING = 1e-6
Intervals = list[tuple[float, float]]


@torch.no_grad()
def conditioned(
    fitted: Fitted, given: Mapping[str, Any], bounds: np.ndarray | None
) -> Fitted:
    """A fit whose model draws columns without parents as conditions on them allow.

    Parameters
    ----------
    fitted : Fitted
        Of a `GraphModule`.
    given : dict of str to condition
        As `sample` takes it; conditions on other columns change nothing.
    bounds : ndarray of shape (2, 1) or (2, n_features), or None
        To which draws are clipped.

    Returns
    -------
    Fitted
        Its model shares all but the noise. What it draws are the draws of the other one
        that fulfil these conditions, and few others, which rounding adds.
    """
    model, space = fitted.model, fitted.space
    low, high = (-np.inf, np.inf) if bounds is None else bounds
    low, high = (np.broadcast_to(v, len(model.names)) for v in (low, high))
    allowed: dict[int, Intervals] = {}
    for k, name in enumerate(model.names):
        mechanism = model.graph.mechanism(name)
        if name not in given or model.parents[name]:
            continue
        if isinstance(mechanism, CategoricalColumn):
            allowed[k] = _of_levels(mechanism, given[name], space.levels[k])
        elif isinstance(mechanism, NumericColumn):
            slack = 0.5 if k in space.whole else 0.0
            allowed[k] = _of_numbers(mechanism, given[name], slack, (low[k], high[k]))
    parts = {k: _truncated(model.noise, k, own) for k, own in allowed.items()}
    # Of what is impossible, many draws without a condition say so.
    parts = {k: part for k, part in parts.items() if part is not None}
    if not parts:
        return fitted
    made = copy.deepcopy(model, {id(child): child for child in model.children()})
    made.noise = TruncatedNoise(model.noise, parts)
    return replace(fitted, model=made)


def _of_levels(mechanism: Any, condition: Any, levels: Sequence) -> Intervals:
    """Intervals of the noise that give some levels, in order."""
    codes = torch.arange(len(levels)).to(mechanism.prior)[:, None]
    chances = mechanism.explain(codes, [])[1].exp().double().cpu().flatten()
    ends = torch.cat([chances[:1] * 0, chances.cumsum(0)])
    starts = torch.special.ndtri((ends[:-1] - ROUNDING).clamp(0, 1)).tolist()
    stops = torch.special.ndtri((ends[1:] + ROUNDING).clamp(0, 1)).tolist()
    asked = condition if isinstance(condition, list) else [condition]
    found: Intervals = []
    for level, start, stop in zip(levels, starts, stops, strict=True):
        if level not in asked:
            continue
        if found and start <= found[-1][1]:
            start, _ = found.pop()
        found.append((start, stop))
    return found


def _of_numbers(
    mechanism: Any, condition: Any, slack: float, limits: tuple[float, float]
) -> Intervals:
    """The interval of the noise that gives all numbers that fulfil a condition."""
    if isinstance(condition, tuple):
        low, high = condition
    else:
        asked = condition if isinstance(condition, list) else [condition]
        try:
            low, high = min(map(float, asked)), max(map(float, asked))
        except (TypeError, ValueError):
            # Refused by who asks whether rows fulfil it.
            return [(-np.inf, np.inf)]
    # What is beyond the limits is clipped to them.
    ends = [-np.inf, np.inf]
    if low is not None and low > limits[0]:
        ends[0] = _noise_at(mechanism, low - slack, -ROUNDING)
    if high is not None and high < limits[1]:
        ends[1] = _noise_at(mechanism, high + slack, ROUNDING)
    return [tuple(ends)]


def _noise_at(mechanism: Any, value: float, slack: float) -> float:
    units = mechanism.reader.units
    size = abs(value) + float(units.offset.abs()) + float(units.scale)
    at = torch.full((1, 1), value + slack * size).to(units.scale)
    return float(mechanism.explain(at, [])[0])


def _truncated(noise: KernelNoise, k: int, intervals: Intervals) -> Tensor | None:
    """Parts of a mixture within intervals, (n, 5); None if nothing is there.

    Mean, deviation, the ends in deviations, and the share of all.
    """
    points, width, share = (
        part[:, k, None].double().cpu()
        for part in (noise.points, noise.width, noise.share)
    )
    ends = torch.tensor(intervals, dtype=torch.float64).T
    # A value that many have is a part without a width.
    narrow = width.clamp(min=torch.finfo(torch.float64).tiny)
    low, high = ((end - points) / narrow for end in ends)
    # Where both ends are on the right, differences of tails are exact.
    flipped = low > 0
    low, high = torch.where(flipped, -high, low), torch.where(flipped, -low, high)
    mass = share * (torch.special.ndtr(high) - torch.special.ndtr(low))
    if not bool(mass.sum() > 0):
        return None
    sign = 1.0 - 2.0 * flipped.double()
    parts = [points.expand_as(mass), width * sign, low, high, mass / mass.sum()]
    found = torch.stack(parts, -1).flatten(0, 1)
    return found[found[:, 4] > 0]


class TruncatedNoise(nn.Module):
    """Noise of which some variables are drawn from parts of their distribution."""

    def __init__(self, noise: KernelNoise, parts: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.whole, self.parts = noise, parts

    def draw(self, n: int, streams: Streams) -> Tensor:
        """Draw n rows; random numbers are drawn on the CPU."""
        drawn = self.whole.draw(n, streams)
        stream = streams.torch("conditions")
        for k, part in self.parts.items():
            points, width, low, high, share = part.unbind(1)
            shape = n, 2
            which, place = torch.rand(shape, generator=stream, dtype=low.dtype).T
            own = torch.searchsorted(share.cumsum(0), which.contiguous())
            own = own.clamp(max=len(share) - 1)
            below, above = (torch.special.ndtr(end[own]) for end in (low, high))
            normal = torch.special.ndtri(below + place * (above - below))
            normal = normal.clamp(low[own], high[own]).nan_to_num(0.0)
            drawn[:, k] = (points[own] + width[own] * normal).to(drawn)
        return drawn
