"""Ratios of a pair of mechanisms after many random rotations, in batches of them.

Only the part of a rotation is drawn that the weights can see: orthonormal vectors, as
many as their rank. Their signs do not matter, nor do the last digits: float32 does.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ._common import scaled
from ._correlations import Lags, kernel_units, map_units, pooled_units

# Entries of the largest intermediate result.
ENTRIES_PER_BLOCK = 2**21


def frames(
    shape: tuple[int, ...], generator: torch.Generator, n_draws: int, n_entries: int
) -> Iterator[Tensor]:
    """Blocks of frames (draws, *shape) of orthonormal columns, from the Haar measure.

    ``n_entries`` is how many entries are made of each draw later.
    """
    size = max(1, ENTRIES_PER_BLOCK // n_entries)
    for start in range(0, n_draws, size):
        n = min(size, n_draws - start)
        yield torch.linalg.qr(torch.randn(n, *shape, generator=generator))[0]


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
    rounding = d * torch.finfo(s.dtype).eps
    powers = [torch.linalg.eigvalsh(m) for m in (s, gram)]
    seen = [p > rounding * p[-1] for p in powers]
    # That of the lower rank, of which fewer columns of a rotation are needed.
    k = int(seen[0].sum() > seen[1].sum())
    few, many = powers[k][seen[k]], (gram, s)[k]
    if scale is None:
        many = powers[1 - k].diag_embed()
        weights = many.trace().expand(d) / d
    else:
        # Rotated weights into the hidden units are normalised anew.
        used = (s.diagonal() > 0).double().mean()
        weights = scale / unit * used if k else many.diagonal()
    few, many, weights = few.float(), many.float(), weights.float()
    found = [
        ((many @ q * q).sum(1) @ few) / (weights @ q.square() @ few)
        for q in frames((d, len(few)), generator, n_draws, d * len(few))
    ]
    return torch.cat(found).double()


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
    kernels = scaled(w2).transpose(0, 1)
    left, power, _ = torch.linalg.svd(kernels.flatten(2), full_matrices=False)
    if form == "triplet":
        rows, units = left * power[:, None], kernel_units
        earlier = kernel_units(scaled(w1), first).mean(1)
    else:
        # A rotation of the rows among themselves does not change sums over them.
        rows, units = power.diag_embed(), pooled_units
        earlier = (map_units if form == "activation" else pooled_units)(w1, first)
    rows, earlier = rows.float(), earlier.float()
    hidden, n_rows, rank = rows.shape
    n_taps = kernels[0, 0].numel()
    n_entries = hidden * n_taps * max(n_taps, n_rows)
    found = []
    for q in frames((hidden, n_taps, rank), generator, n_draws, n_entries):
        turned = (rows @ q.mT).flatten(0, 1).unflatten(2, kernels.shape[2:])
        later = units(turned, second)
        later = later.mean(1) if form == "triplet" else later
        found.append(1 + (earlier * later.unflatten(0, (-1, hidden))).sum(2).mean(1))
    return torch.cat(found).double()
