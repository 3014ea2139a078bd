"""Lines and polynomials of columns from sums over rows, levels, and which serves."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import torch
from scipy.special import fdtrc
from torch import Tensor, nn
from torch.nn import functional

from ....models._noise import CLEARLY, clipped, is_clear
from ....utils.rows import is_rounding
from ._mechanisms import LEAST_MEAN, scale_of

# Of the variance of standardised inputs: what rounding leaves of a lost direction.
LEAST_PART = 1e-10
# Coefficients of the largest polynomial, and of the largest that is tried unasked.
MOST_TERMS, MOST_TRIED = 1000, 80
# What a mean may be, from simple to rich.
MEANS = ("linear", "polynomial", "additive")
N_FOLDS = 4
# Chance, were a line right, of errors as bent as those of one that is not kept; and
# standard errors by which a network must be better where these show no bend.
LEAST_CHANCE, MUCH = 0.02, 3.0
# Of the rows: functions that a test may ask for at once.
FEW = 0.2
ROUNDING = 1e-6
# Rows that a column has beside its own: everywhere, with the levels of all rows. As
# data they keep a network from being sure of what few rows show (Clogg, Rubin,
# Schenker, Schultz, Weidman, 1991). Of 300 rows without them effects on a chance
# were too large by a third of their standard error.
PRIOR_ROWS = 6.0


class Line(NamedTuple):
    """``bias + inputs @ weight``, and the variance that it does not explain."""

    bias: Tensor
    weight: Tensor
    variance: float

    def at(self, inputs: Tensor) -> Tensor:
        """Values of the line, (n,)."""
        return self.bias + inputs @ self.weight


def products(owners: Sequence[str], levels: Collection[str]) -> Tensor:
    """Pairs of inputs whose products a polynomial has, (2, n_products).

    Squares of numbers, and products of what different parents give; inputs of the same
    owner are the indicators of its ``levels``.
    """
    n, pairs = len(owners), []
    for i in range(n):
        first = i if owners[i] not in levels else i + 1
        pairs += [(i, j) for j in range(first, n) if j == i or owners[i] != owners[j]]
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T


def with_products(inputs: Tensor, pairs: Tensor) -> Tensor:
    """Inputs in double precision, and products of some behind them."""
    inputs = inputs.cpu().double()
    return torch.cat([inputs, inputs[:, pairs[0]] * inputs[:, pairs[1]]], 1)


def of_line(sums: Tensor, n_inputs: int) -> Tensor:
    """Of sums that have products behind the inputs, those without."""
    kept = [*range(n_inputs + 1), len(sums) - 1]
    return sums[kept][:, kept]


def moments(inputs: Tensor, target: Tensor) -> Tensor:
    """Sums of products of 1, inputs and target over rows: all that a line needs."""
    rows = torch.cat([inputs.cpu().double(), target[:, None].cpu().double()], 1)
    rows = functional.pad(rows, (1, 0), value=1.0)
    return rows.T @ rows


def least_squares(sums: Tensor) -> Line:
    """The line that fits best; of several ones, that of the smallest weights."""
    mean, covariance = _centred(sums)
    gram, scale = _standardised(covariance[:-1, :-1])
    cross = covariance[:-1, -1]
    inverse = torch.linalg.pinv(gram, rtol=LEAST_PART, hermitian=True)
    weight = inverse @ (cross / scale) / scale
    left = covariance[-1, -1] - weight @ cross
    return Line(mean[-1] - mean[:-1] @ weight, weight, max(float(left), 0.0))


def lost_directions(sums: Tensor, widths: Sequence[int]) -> list[int]:
    """Which of the parents, of some widths, earlier ones determine.

    That the indicators of a parent's levels add up to one is no loss.
    """
    gram, _ = _standardised(_centred(sums)[1][:-1, :-1])
    ends = [sum(widths[: k + 1]) for k in range(len(widths))]
    varying = [
        int((gram.diagonal()[end - width : end] > 0).sum())
        for end, width in zip(ends, widths, strict=True)
    ]
    least = [own - (own > 1) for own in varying]
    if _rank(gram) >= sum(least):
        return []
    ranks = [0, *(_rank(gram[:end, :end]) for end in ends)]
    return [k for k in range(len(ends)) if ranks[k + 1] - ranks[k] < least[k]]


def _rank(gram: Tensor) -> int:
    return int(torch.linalg.matrix_rank(gram, rtol=LEAST_PART, hermitian=True))


def _centred(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Means and covariances."""
    n = sums[0, 0].clamp(min=1)
    mean = sums[0, 1:] / n
    return mean, sums[1:, 1:] / n - mean.outer(mean)


def _standardised(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Correlations and deviations; 0 and 1 where rounding alone varies."""
    variance = covariance.diagonal()
    varies = variance > LEAST_PART
    scale = torch.where(varies, variance, 1.0).sqrt()
    return covariance / scale / scale[:, None] * varies * varies[:, None], scale


# ---------------------------------------------------------------------- choosing
def left_out(
    fit: nn.Module,
    rows: Callable[[], Iterable[Sequence[Tensor]]],
    zeros: Tensor,
) -> dict[int, tuple[Tensor, bool]]:
    """Of rows left out: errors of the means, scales, and values; by column, (5, n).

    A column without a polynomial has the line in its place. Rows are as for
    `FittedBanks.choose`. Beside them whether all rows refute a line.
    """
    found, whole = {}, []
    if "additive" not in fit.banks:
        return found
    bank = fit.banks["additive"]
    columns, sums = bank.places, _sums_without_folds(fit, rows)
    scales, trained = dict.fromkeys(columns, torch.ones(())), {}
    for inputs, targets, known, fold in rows():
        n_hidden = bank.n_inputs - inputs.shape[1]
        filled = functional.pad(inputs.nan_to_num(), (0, n_hidden))
        networks = dict(zip(columns, _of_folds(bank(filled), fold), strict=True))
        if "location-scale" in fit.banks:
            other = fit.banks["location-scale"]
            own = _of_folds(scale_of(other(filled)), fold)
            scales |= dict(zip(other.places, own, strict=True))
        if fit.is_penalised:
            own = _of_folds(fit.line_bank(filled), fold)
            trained = dict(zip(fit.line_bank.places, own, strict=True))
        joint = fit.joint(inputs, known).cpu()
        whole.append((inputs.cpu(), targets.cpu(), joint))
        for k in columns:
            solved = _solved_at(fit, k, sums[k], inputs, fold)
            if k in trained:
                # A penalty trains lines, and no polynomials.
                solved = (trained[k],) * 2
            target = targets[:, k].double().cpu()
            errors = [target - value for value in (*solved, networks[k])]
            others = scales[k].expand_as(target), target - zeros[k].cpu()
            part = torch.stack([*errors, *others])[:, joint[:, k]]
            found.setdefault(k, []).append(part)
    refuted = _refuted_lines(fit, *map(torch.cat, zip(*whole, strict=True)))
    return {k: (torch.cat(parts, 1), refuted[k]) for k, parts in found.items()}


def _refuted_lines(
    fit: nn.Module, inputs: Tensor, targets: Tensor, joint: Tensor
) -> dict[int, bool]:
    """Which lines are not right, by all rows."""
    place, found = copies([torch.cat([inputs, targets], 1)]), {}
    for k in fit.banks["additive"].places:
        rows = joint[:, k]
        read = inputs[:, fit.seen[k]][rows].double()
        own = None if place is None else place[rows]
        chance = chance_of_line(read, targets[rows, k].double(), fit.pairs[k], own)
        found[k] = chance < LEAST_CHANCE
    return found


def copies(chunks: Iterable[Tensor]) -> Tensor | None:
    """Which rows are copies of one, as in a resample; None where none is.

    In a table of few distinct rows equal ones are no copies.
    """
    keys = []
    for chunk in chunks:
        fixed = torch.Generator().manual_seed(0)
        weights = torch.rand(chunk.shape[1], dtype=torch.double, generator=fixed)
        keys.append(chunk.cpu().double().nan_to_num(0.5) @ weights)
    keys = torch.cat(keys)
    distinct, place = keys.unique(return_inverse=True)
    is_resample = len(keys) <= 2 * len(distinct) < 2 * len(keys)
    return place if is_resample else None


def chance_of_line(
    inputs: Tensor, target: Tensor, pairs: Tensor, place: Tensor | None = None
) -> float:
    """Probability of errors that are as bent as a line's, were the line right.

    A score test for what the line has not, functions that saturate, and squares and
    products of these, by sums over rows and their own variance. So it holds whatever
    the noise is, and no row in a tail has much weight. Copies of a row, at the same
    ``place``, count as one.
    """
    unit, n_inputs = inputs / (1 + inputs.square()).sqrt(), inputs.shape[1]
    if not pairs.numel() or n_inputs + pairs.shape[1] > FEW * len(inputs):
        # Squares alone: of too many nothing would be seen.
        pairs = torch.arange(n_inputs).expand(2, -1)
    others = torch.cat(
        [unit, unit[:, pairs[0]] * unit[:, pairs[1]], target[:, None]], 1
    )
    design = functional.pad(inputs, (1, 0), value=1.0)
    inverse = torch.linalg.pinv(design.T @ design, rtol=LEAST_PART, hermitian=True)
    left = others - design @ (inverse @ (design.T @ others))
    left, error = left[:, :-1], left[:, -1:]
    left = left[:, left.square().mean(0) > LEAST_PART]
    if is_rounding(_deviation(error), 1.0) or not left.numel():
        return 1.0
    scores = left * error
    if place is not None:
        sums = scores.new_zeros(int(place.max()) + 1, scores.shape[1])
        scores = sums.index_add(0, place, scores)[place.unique()]
    least = torch.finfo(scores.dtype).tiny
    scores = scores / scores.square().sum(0).clamp(min=least).sqrt()
    values, vectors = torch.linalg.eigh(scores.T @ scores)
    kept, n = values > LEAST_PART * values.max(), len(scores)
    q = int(kept.sum())
    if q == 0 or n < q + 2:
        return 1.0
    statistic = ((vectors.T @ scores.sum(0)).square() / values)[kept].sum()
    return float(fdtrc(q, n - q, float(statistic) / q * (n - q) / (n - 1)))


def _sums_without_folds(
    fit: nn.Module, rows: Callable[[], Iterable[Sequence[Tensor]]]
) -> list[list[Tensor]]:
    """By column, sums over the rows that are not in each fold."""
    sums = [[0.0] * N_FOLDS for _ in fit.names]
    for *chunk, fold in rows():
        for j in range(N_FOLDS):
            own = fit.sums_of(*(part[fold == j] for part in chunk))
            for parts, part in zip(sums, own, strict=True):
                parts[j] = parts[j] + part
    return [[sum(parts) - part for part in parts] for parts in sums]


def _solved_at(
    fit: nn.Module, k: int, sums: Sequence[Tensor], inputs: Tensor, fold: Tensor
) -> tuple[Tensor, Tensor]:
    """Line and polynomial of a column at rows, each without the fold of the row."""
    pairs, n_seen = fit.pairs[k], len(fit.seen[k])
    read = with_products(inputs[:, fit.seen[k]], pairs)
    place = fold.long().cpu()[None]
    lines = [least_squares(of_line(own, n_seen)) for own in sums]
    line = torch.stack([own.at(read[:, :n_seen]) for own in lines]).gather(0, place)[0]
    if not pairs.numel():
        return line, line
    curves = torch.stack([least_squares(own).at(read) for own in sums])
    return line, curves.gather(0, place)[0]


def _of_folds(values: Tensor, fold: Tensor) -> Sequence[Tensor]:
    """By column, values of the copy that a row was left out by."""
    places = fold.long()[:, None, None].expand(-1, 1, values.shape[2])
    return values.gather(1, places)[:, 0].double().cpu().unbind(1)


def is_bent(
    line: Tensor,
    curve: Tensor,
    scale: Tensor | float = 1.0,
    *,
    by: float = CLEARLY,
) -> bool:
    """Whether a curve predicts better than a line, given their errors.

    By some standard errors.

    Better for most rows, in units of the scale of their noise (which may hide it in the
    sum of all), and not worse in the mean of them all: a mean is what both are to
    predict.
    """
    if is_rounding(_deviation(line), 1.0):
        return False
    spread = _deviation(curve / scale)
    gain = (line.square() - curve.square()) / 2
    own = clipped(gain / (spread * scale).square())
    return is_clear(own, by) and not is_clear(-gain)


def has_scale(rich: tuple[Tensor, Tensor], simple: tuple[Tensor, Tensor]) -> bool:
    """Whether errors with their scales are clearly denser than with simple ones.

    By Laplace densities, which few rows in a tail do not dominate.
    """
    densities = []
    for error, scale in (rich, simple):
        if is_rounding(_deviation(error), 1.0):
            return False
        size = error.abs() / scale
        densities.append(-size / size.mean() - (size.mean() * scale).log())
    return is_clear(clipped(densities[0] - densities[1]))


def choose_mean(
    kinds: Sequence[str],
    line: Tensor,
    polynomial: Tensor,
    network: Tensor,
    scale: Tensor,
    refuted: bool,
) -> int:
    """Place in `MEANS` of the simplest that does, see `choose_kind`."""
    if len(kinds) == 1 and kinds[0] in MEANS:
        return MEANS.index(kinds[0])
    # Where all errors of a line show a bend, a network need not be clearly better.
    curved = is_bent(line, network, scale, by=0.0 if refuted else MUCH)
    if is_bent(line, polynomial, scale, by=CLEARLY if refuted else MUCH):
        clearly = is_bent(line, network, scale)
        curved = clearly and not is_bent(network, polynomial, scale)
        return MEANS.index("additive" if curved else "polynomial")
    return MEANS.index("additive" if curved else "linear")


def choose_kind(
    kinds: Sequence[str], found: Tensor, refuted: bool
) -> tuple[str, int, bool]:
    """Kind of a mechanism, the simplest that does; which mean it has; whether tied.

    The noise of a column that is never negative may be tied to its mean: it is then a
    factor, so that no draw is negative either.

    Parameters
    ----------
    kinds : sequence of str
        Those allowed, from simple to rich.
    found : Tensor of shape (5, n)
        Of rows left out of training: errors of a line, a polynomial and a network, the
        relative scale of noise, and values, in units of their deviation; 0 is 0.
    refuted : bool
        Whether all rows say that a line is not right, see `chance_of_line`.
    """
    *errors, scale, value = found
    mean = choose_mean(kinds, *errors, scale, refuted)
    kind = MEANS[mean] if MEANS[mean] in kinds else kinds[0]
    if "location-scale" not in kinds:
        return kind, mean, False
    error = errors[mean]
    simple = error, torch.ones_like(scale)
    centre = (value - error).clamp(min=LEAST_MEAN * float(value.mean()))
    is_positive = bool((value > -ROUNDING).all()) and float(value.mean()) > 0
    tied = is_positive and has_scale((value - centre, centre), simple)
    free = has_scale((error, scale), (value - centre, centre) if tied else simple)
    return "location-scale" if tied or free else kind, mean, tied and not free


def _deviation(error: Tensor) -> Tensor:
    """Standard deviation of normal errors of the same mean size."""
    least = torch.finfo(error.dtype).tiny ** 0.5
    return (error.abs().mean() * math.sqrt(math.pi / 2)).clamp(min=least)


def levels_of_prior(counts: Tensor) -> Tensor:
    """Rows of each level that the prior adds to one row, for the rows of each level."""
    n_rows = counts.sum().clamp(min=1)
    return PRIOR_ROWS / n_rows * (counts / n_rows)


def cross_entropies(
    heads: Tensor, codes: Tensor, prior: Tensor, widths: Sequence[int]
) -> Tensor:
    """Of the levels of every column, and of those of the prior, (..., n, n_columns)."""
    parts = heads.split(widths, -1), codes.split(1, -1), prior.split(widths, -1)
    losses = []
    for own, code, others in zip(*parts, strict=True):
        logs = own.log_softmax(-1)
        losses.append(-logs.gather(-1, code.long()) - (logs * others).sum(-1, True))
    return torch.cat(losses, -1)
