"""What is missing in rows of a table, drawn from its posterior given the rest."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from ...._fitting import Fitted
from ....exceptions import SupportWarning
from ....models._noise import log_density
from ....models._state import in_double
from ....utils.rows import draws_by_content
from ....utils.streams import stream_seed
from .._model import GraphModule
from ..columns._mechanisms import CategoricalColumn
from ._moments import LEAST_NOISE, Moments, conditionals, log_normal, moments_of

__all__ = ["versions"]

# Candidates for each row: in the first round, and where few of these fit.
N_CANDIDATES = (256, 4096)
# Effective candidates of a row, below which there are more, and it is warned of.
ENOUGH, FEW = 64.0, 8.0
# Candidates, and their values, at a time.
MOST_AT_ONCE, MOST_VALUES = 2**15, 2**20
EDGE = 1e-12
PACKAGE = __name__.partition(".")[0]


def versions(
    fitted: Fitted, rows: np.ndarray, n_draws: int, bounds: np.ndarray | None
) -> np.ndarray:
    """Rows whose missing values are drawn as `completed` says, (n_draws, n, d).

    What is drawn is within the bounds, and whole in columns of whole numbers. Warns of
    rows that few draws fit.
    """
    holes = np.isnan(rows).any(1)
    double = in_double(fitted.model)
    found, effective = completed(double, rows[holes], fitted.entropy, n_draws)
    few = int((effective < FEW).sum())
    if few:
        warnings.warn(
            f"What is missing in {few} of {len(rows)} rows is drawn from few values "
            f"that fit the rest of the row (effectively {effective.min():.1f} in the "
            "worst one): such rows are improbable under the model, or much of them is "
            "missing. Compare their score_samples with those of others, or leave them "
            "out.",
            SupportWarning,
            stacklevel=_level_of_user(),
        )
    whole = list(fitted.space.whole)
    found[..., whole] = np.rint(found[..., whole])
    if bounds is not None:
        found = np.clip(found, *bounds)
    made = np.tile(rows, (n_draws, 1, 1))
    made[:, holes] = np.where(np.isnan(rows[holes]), found, rows[holes])
    return made


def _level_of_user() -> int:
    """Frames from who warns to who asked, as several verbs take rows."""
    frame, level = inspect.currentframe(), 0
    while frame and frame.f_globals.get("__name__", "").startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


@torch.no_grad()
def completed(
    model: GraphModule, rows: np.ndarray, entropy: int, n_draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows with draws of what is missing (NaN) from its posterior given the rest.

    Parameters
    ----------
    model : GraphModule
        In double precision, on the CPU.
    rows : ndarray of shape (n, d)
        All with something missing.
    entropy : int
    n_draws : int

    Returns
    -------
    draws : ndarray of shape (n_draws, n, d)
        A row's draws depend on what it holds, on how many equal rows stand before it,
        and on the entropy, but on no other row, and not on how many draws there are.
    effective : ndarray of shape (n,)
        Effective number of the candidates that a row was drawn from; infinite where no
        candidates were needed.

    Notes
    -----
    Of linear mechanisms with normal noise the columns are jointly normal, and what is
    missing is drawn from its conditional distribution. Of others, candidates come one
    half from the mechanisms, in the order of the graph with known values in their
    place, and one half from the normal distribution with the model's moments given the
    known numbers (hidden nodes from the encoder's). Their weight is the density of the
    whole row over that of this mixture, so that none has more than twice the likelihood
    of what is known. A draw is one of them by weight.

    References
    ----------
    Owen, Zhou (2000), *Safe and effective importance sampling*, JASA 95 (the mixture).
    Cranley, Patterson (1976), *Randomization of number theoretic methods for multiple
    integration*, SIAM Journal on Numerical Analysis 13 (points that each row shifts).
    """
    rows = np.where(np.isnan(rows), np.nan, rows.astype(np.float64))
    moments = moments_of(model)
    if moments.is_exact:
        x, draws = torch.from_numpy(rows), []
        for k in range(n_draws):
            own = stream_seed(entropy, "missing", k)
            normal = _normal(draws_by_content(rows, rows.shape[1], own))
            draws.append(_drawn_normal(moments, x, normal).numpy())
        return np.stack(draws), np.full(len(rows), np.inf)
    points = _Points(rows, model.noise.n_columns, n_draws, entropy)
    draws, effective = np.tile(rows, (n_draws, 1, 1)), np.zeros(len(rows))
    for n in N_CANDIDATES:
        (todo,) = (effective < ENOUGH).nonzero()
        # Of one pattern side by side.
        todo = todo[np.lexsort(np.isnan(rows[todo]).T)]
        most = min(MOST_AT_ONCE, MOST_VALUES // points.n_noise)
        size = max(1, most // n)
        for some in (todo[k : k + size] for k in range(0, len(todo), size)):
            found = _resampled(model, moments, points, some, n)
            draws[:, some], effective[some] = found
    return draws, effective


def _drawn_normal(moments: Moments, x: Tensor, normal: Tensor) -> Tensor:
    """Rows whose missing values are those of standard normal draws, (n, d)."""
    made = torch.where(x.isnan(), moments.mean, x)
    for given in conditionals(moments, x):
        own = normal[given.rows[:, None], given.places]
        made[given.rows[:, None], given.places] = given.at(own)
    return made


def _normal(uniform: np.ndarray | Tensor) -> Tensor:
    """Standard normal draws of uniform ones."""
    return torch.special.ndtri(torch.as_tensor(uniform).clamp(EDGE, 1 - EDGE))


# ------------------------------------------------------------------ candidates
class _Points:
    """Random numbers of rows: shared quasi-random points, which each row shifts."""

    def __init__(
        self, rows: np.ndarray, n_noise: int, n_draws: int, entropy: int
    ) -> None:
        self.rows, self.n_noise = rows, n_noise
        shifts = draws_by_content(rows, n_noise, stream_seed(entropy, "missing"))
        chosen = stream_seed(entropy, "which candidate")
        self.shifts = torch.from_numpy(shifts)
        self.chosen = torch.from_numpy(draws_by_content(rows, n_draws, chosen))

    def of(self, rows: np.ndarray, n: int) -> Tensor:
        """Uniform numbers, (n_rows, n, n_noise)."""
        engine = torch.quasirandom.SobolEngine(self.n_noise, scramble=True, seed=0)
        points = engine.draw(n, dtype=torch.float64)
        return (points + self.shifts[rows][:, None]) % 1.0


def _resampled(
    model: GraphModule, moments: Moments, points: _Points, rows: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of some rows, (n_draws, n_rows, d), of n candidates, and how many count."""
    x = torch.from_numpy(points.rows[rows])
    values, log_weights = _candidates(model, moments, x, points.of(rows, n))
    weights = log_weights.softmax(1)
    below = weights.cumsum(1)
    places = points.chosen[rows] * below[:, -1:]
    chosen = torch.searchsorted(below, places).clamp(max=n - 1)
    draws = values[torch.arange(len(rows)), chosen.T]
    return draws.numpy(), (1 / weights.square().sum(1)).numpy()


def _candidates(
    model: GraphModule, moments: Moments, x: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Candidates for rows, (n_rows, n, d), and log weights, (n_rows, n).

    The first half is made by the mechanisms, the second by the moments.
    """
    n_rows, n, n_noise = uniform.shape
    d, half = x.shape[1], n // 2
    noise = _noise_at(model, uniform.reshape(-1, n_noise)).view_as(uniform)
    start = x[:, None].repeat(1, n, 1)
    patterns = list(conditionals(moments, x))
    for given in patterns:
        own = _normal(uniform[given.rows][:, half:][..., given.places])
        where = given.rows[:, None, None], torch.arange(half, n)[:, None], given.places
        start[where] = given.at(own)
    # How much denser the second half's distribution is than the first's.
    denser = x.new_zeros(n_rows, n)
    if model.hidden:
        posterior = model.posterior(x)
        own = posterior.at(_normal(uniform[:, half:, d:]).transpose(0, 1))
        noise[:, half:, d:] = own.transpose(0, 1)
        hidden = noise[..., d:]
        scale = (0.5 * posterior.log_variance).exp()[:, None]
        standard = (hidden - posterior.mean[:, None]) / scale
        denser += (log_normal(standard) - scale.log()).sum(-1)
        for k in range(d, n_noise):
            denser -= log_density(noise[..., k].flatten(), _part(model, k)).view(
                n_rows, n
            )
    missing = x.isnan()
    values, densities = _made(model, moments, start, noise, missing)
    likelihood = torch.where(missing[:, None], 0.0, densities).sum(-1)
    unknown = (missing & moments.numbers)[:, None]
    denser -= torch.where(unknown, densities, 0.0).sum(-1)
    for given in patterns:
        denser[given.rows] += given.log_prob(values[given.rows][..., given.places])
    return values, likelihood - softplus(denser)


def _part(model: GraphModule, k: int) -> Tensor:
    """Mixture of one noise variable, (n_components, 3)."""
    noise = model.noise
    parts = torch.stack([noise.points[:, k], noise.width[:, k], noise.share[:, k]], 1)
    return parts[parts[:, 2] > 0]


def _noise_at(model: GraphModule, uniform: Tensor) -> Tensor:
    """Noise of uniform draws, (n, n_noise)."""
    columns = []
    for k, value in enumerate(uniform.T):
        points, width, share = _part(model, k).unbind(1)
        end = share.cumsum(0)
        place = torch.searchsorted(end, value.contiguous()).clamp(max=len(end) - 1)
        inside = 1 - (end[place] - value) / share[place]
        columns.append(points[place] + width[place] * _normal(inside))
    return torch.stack(columns, 1)


def _made(
    model: GraphModule, moments: Moments, start: Tensor, noise: Tensor, missing: Tensor
) -> tuple[Tensor, Tensor]:
    """Values of the columns, and densities given the parents, both (n_rows, n, d).

    What is NaN at the start is made by the mechanisms. Densities are 0 where a row's
    candidates share them: of known columns whose parents are known.
    """
    n_rows, n, d = start.shape
    start, noise = start.reshape(-1, d), noise.reshape(len(start.view(-1, d)), -1)
    densities, values = torch.zeros_like(start), {}
    places = {name: k for k, name in enumerate(model.names)}
    for name, parents in model.parents.items():
        mechanism, given = model.graph.mechanism(name), [values[p] for p in parents]
        if name in model.hidden:
            values[name] = mechanism(*given, noise)
            continue
        k = places[name]
        value = values[name] = start[:, k, None].clone()
        lacking = value[:, 0].isnan()
        if lacking.any():
            own = [v[lacking] for v in given]
            value[lacking] = mechanism(*own, noise[lacking])
        matters = missing[:, k].clone()
        for parent in parents:
            matters |= True if parent in model.hidden else missing[:, places[parent]]
        if matters.any():
            where = matters.repeat_interleave(n)
            own = [v[where] for v in given]
            densities[where, k] = _densities(
                model, moments, mechanism, value[where], own
            )
    columns = torch.cat([values[name] for name in model.names], 1)
    return columns.view(n_rows, n, d), densities.view(n_rows, n, d)


def _densities(
    model: GraphModule, moments: Moments, mechanism: Any, value: Tensor, given: list
) -> Tensor:
    """Log density of values of a column given its parents, (n,)."""
    noise, slope = (part[:, 0] for part in mechanism.explain(value, given))
    k = mechanism.index
    if isinstance(mechanism, CategoricalColumn):
        return slope
    if model.noise.varies[k]:
        return log_density(noise, _part(model, k)) + slope
    if not moments.numbers[k]:
        return torch.zeros_like(noise)
    least = LEAST_NOISE * moments.covariance[k, k].sqrt()
    left = (noise - model.noise.points[0, k]) * (-slope).exp()
    return log_normal(left / least) - least.log()
