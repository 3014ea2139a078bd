"""Groups whose parameters are in standard deviations of the node."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..interventions import InterventionFamily
from ..interventions._base import applied
from ..interventions._groups import as_group


def resolved(group: Any, v: Tensor) -> Any:
    """The group; one with relative parameters takes values in standard deviations."""
    group = as_group(group, tuple(v.shape[1:]))
    if not _is_relative(group):
        return group
    # A tensor, and not parameters of such, as interventions hold numbers: a step of
    # training would wait for them. NaN stays, so that it reaches the caller.
    sd = v.detach().std(correction=0)
    make = partial(_at_scale, group, sd.where(sd != 0, 1.0))
    return replace(group, make=make, relative=())


def _at_scale(family: InterventionFamily, sd: Tensor, **params: float) -> Callable:
    change = family(**params)
    return lambda value: sd * applied(change, value / sd)


def _is_relative(group: Any) -> bool:
    return isinstance(group, InterventionFamily) and bool(group.relative)


def refuse_units(group: Any, shape: tuple[int, ...]) -> None:
    """Refuse relative parameters beside what depends on the unit of the node."""
    if not _is_relative(group):
        return
    values = torch.linspace(-3, 3, 2 * math.prod(shape)).reshape(2, *shape)
    one, other = (
        applied(
            group.in_units(unit).draw(shape, torch.Generator().manual_seed(0)),
            unit * values,
        )
        / unit
        for unit in (1.0, 2.0**40)
    )
    if not torch.allclose(one, other, atol=1e-5):
        raise ValueError(
            f"{group!r} has parameters in standard deviations of a node, and does "
            "something else in the node's units: give all of these in standard "
            "deviations, or none."
        )
