"""Ratios of a pair of mechanisms after many random rotations.

A ratio is a quotient of two quadratic forms in the rotated mechanism. Rotations are the
products ``u v`` of a few ``u`` and a few ``v``, so that a product of two small matrices
gives the values of all. Each product is uniform, and any two are independent (nearly
so in many dimensions, where the ``u`` are of a subgroup): quantiles are as sure as
those of so many separate draws. The identity is one of ``u`` and of ``v``, and the
unrotated mechanism so one of the products, like any other: p-values are exact.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..interventions._mixing import haar_rotation
from ._common import scaled
from ._correlations import (
    Lags,
    kernel_units,
    map_units,
    pooled_units,
    quadratic_form,
    smallest_power,
)

# Entries of the largest intermediate result.
ENTRIES_PER_BLOCK = 2**21
# Dimensions up to which ``u`` is any rotation; above it permutes and flips signs.
MOST_ROTATED = 64


def quotient_draws(
    excess: Tensor,
    power: Tensor,
    left: Tensor,
    frame: Tensor,
    n_draws: int,
    generator: torch.Generator,
) -> Tensor:
    """Mean over parts ``w`` of ``1 + tr(w excess w^T) / tr(w power w^T)``, (n_draws,).

    Parameters
    ----------
    excess, power : Tensor of shape (d, d)
    left : Tensor of shape (parts, k, rank)
    frame : Tensor of shape (d, rank)
        Orthonormal columns; the parts are ``left @ frame.T``, which is rotated.
    n_draws : int
    generator : torch.Generator
    """
    d, rank = frame.shape
    n_outer = math.isqrt(n_draws) or 1
    n_inner = -(-(n_draws + 1) // n_outer)
    forms = torch.stack([excess, power]).float()
    forms = _turned(forms, n_outer - 1, generator)
    size, found = max(1, ENTRIES_PER_BLOCK // (len(left) * d * d)), []
    for start in range(0, n_inner, size):
        n = min(size, n_inner - start)
        frames = haar_rotation((n, d, rank), generator, torch.float32)
        if not start:
            frames[0] = frame
        parts = left.float() @ frames[:, None].mT
        above, below = forms @ (parts.mT @ parts).flatten(2).flatten(0, 1).T
        ratios = above / below.clamp(min=smallest_power(below.dtype))
        found.append(1 + ratios.unflatten(1, (n, -1)).mean(2))
    # Without the first, which is not rotated; any others are left out by chance.
    ratios = torch.cat(found, 1).flatten()[1:]
    chosen = torch.randperm(len(ratios), generator=generator)[:n_draws]
    return ratios[chosen].double()


def _turned(forms: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Forms (2, d, d) as they are, and after n random rotations: (2, 1 + n, d * d)."""
    d = forms.shape[-1]
    if d <= MOST_ROTATED:
        turns = haar_rotation((n, d, d), generator, torch.float32)
        turns = torch.cat([torch.eye(d)[None], turns])
        return (turns.mT @ forms[:, None] @ turns).flatten(2)
    found = forms.new_empty(2, 1 + n, d, d)
    found[:, 0] = forms
    for k in range(1, 1 + n):
        order = torch.randperm(d, generator=generator)
        signs = 1 - 2 * torch.randint(2, (d,), generator=generator).to(forms)
        # Transposed, which changes no form, since whole rows are quick to move.
        turned = (forms * signs)[:, order].mT * signs[order]
        found[:, k] = turned[:, order]
    return found.flatten(2)


def trace_draws(
    w: Tensor,
    s: Tensor,
    scale: Tensor | None,
    n_draws: int,
    generator: torch.Generator,
) -> Tensor:
    """Trace ratios when one mechanism is rotated at the hidden node, (n_draws,).

    Parameters
    ----------
    w : Tensor of shape (e, d)
        The later mechanism.
    s : Tensor of shape (d, d)
        Covariance of the hidden node.
    scale : Tensor of shape (d,), optional
        What the squared weights into each hidden unit are divided by; None for nothing.
    n_draws : int
    generator : torch.Generator
    """
    # In units in which float32 holds all; the ratios do not depend on them.
    w, d, unit = scaled(w), len(s), s.trace()
    gram, s = w.T @ w, s / unit
    parts = [torch.linalg.eigh(m) for m in (s, gram)]
    rounding = d * torch.finfo(s.dtype).eps
    seen = [values > rounding * values[-1] for values, _ in parts]
    # That of the lower rank, of which fewer columns of a rotation are needed.
    k = int(seen[0].sum() > seen[1].sum())
    values, vectors = (part[..., seen[k]] for part in parts[k])
    fixed = (gram, s)[k]
    if scale is None:
        power = fixed.trace().expand(d) / d
    else:
        # Rotated weights into the hidden units are normalised anew.
        used = (s.diagonal() > 0).double().mean()
        power = scale / unit * used if k else fixed.diagonal()
    power, left = power.diag(), values.sqrt().diag()[None]
    return quotient_draws(fixed - power, power, left, vectors, n_draws, generator)


def spectral_draws(
    w1: Tensor,
    w2: Tensor,
    lags: tuple[Lags, Lags],
    form: str,
    n_draws: int,
    generator: torch.Generator,
) -> Tensor:
    """Mean spectral ratios when taps of each hidden channel are rotated, (n_draws,).

    Parameters are those of `spectral_measure`, with maps in the place of ``w1`` for the
    activation form, and not for the full form.
    """
    first, second = lags
    kernels = scaled(w2).transpose(0, 1).flatten(2)
    left, size, frames = torch.linalg.svd(kernels, full_matrices=False)
    if form == "triplet":
        left = (left * size[:, None])[:, :, None]
        earlier = kernel_units(scaled(w1), first).mean(1)
    else:
        # A rotation of the rows among themselves does not change sums over them.
        left = size.diag_embed()[:, None]
        earlier = (map_units if form == "activation" else pooled_units)(w1, first)
    zero = earlier.new_zeros(len(earlier), 1)
    excess = quadratic_form(torch.cat([zero, earlier], 1), second)
    (power,) = quadratic_form(torch.eye(1, earlier.shape[1] + 1).to(zero), second)
    channels = zip(excess, left, frames.mT, strict=True)
    draws = [quotient_draws(e, power, *c, n_draws, generator) for e, *c in channels]
    return torch.stack(draws).mean(0)
