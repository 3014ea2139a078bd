"""Which intervention, at which node, makes a model look like another environment?"""

import warnings
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from ..utils.checks import check_level, check_scalar
from ._candidates import (
    Comparison,
    candidates_for,
    ends_that_matter,
    latin_design,
)

__all__ = ["fit_intervention"]

# Half the width of the first box of a bootstrap, in the unit cube, and its limits.
FIRST_RADIUS, LEAST_RADIUS, LARGEST_RADIUS = 0.1, 0.005, 0.5
ROUNDS = 4


@dataclass(frozen=True, repr=False)
class FittedIntervention:
    """What :func:`fit_intervention` found; it documents the attributes."""

    intervention: dict
    params: dict
    interval: dict
    node: str | None
    distance: float
    identity_distance: float
    noise_floor: float
    table: pd.DataFrame
    at_end: dict

    def __repr__(self):
        found = ", ".join(
            f"{name}={value:.4g} [{self.interval[name][0]:.4g}, "
            f"{self.interval[name][1]:.4g}]{' at the end' * (name in self.at_end)}"
            for name, value in self.params.items()
        )
        where = f"{found} at {self.node!r}" if self.node else "nothing changed"
        return (
            f"FittedIntervention({where}: distance {self.distance:.3g}, without it "
            f"{self.identity_distance:.3g}, noise floor {self.noise_floor:.3g}"
            f"{self._others_at_end()})"
        )

    def _others_at_end(self):
        others = self.table[self.table["at_end"].map(bool)]["node"].drop_duplicates()
        names = [repr(name) for name in others if name != self.node]
        return f"; the range ended at {', '.join(names)}" if names else ""


def fit_intervention(
    est,
    family,
    X_env,
    node=None,
    *,
    distance="energy",
    units="auto",
    n_samples=None,
    n_bootstrap=100,
    level=0.95,
    random_state=None,
):
    """Find the intervention of a family that best explains another environment.

    Parameters
    ----------
    est : fitted generator, or pipeline that ends in one
        It is never changed, nor fitted again.
    family : InterventionFamily, str or intervention
        What is searched: a family, the name of a ready one (such as "stretch_width",
        see :func:`~sklearn_icm.interventions.families_for`), or a continuous
        intervention, whose strength is searched.
    X_env : array-like of shape (n, n_features)
        Rows of the environment, at least 8.
    node : str or list of str, optional
        Where to intervene; of several nodes the best one is chosen. None tries all
        that the family fits, but those of a GraphGenerator that hold levels.
    distance : {"energy"} or callable, default="energy"
        ``distance(X_real, X_gen) -> float``. Of a callable the bootstrap takes some
        thousand evaluations.
    units : {"auto", "columns", "common"} or array-like of shape (n_features,)
        What distances are in: "auto" is a unit of its own for every column of a table
        (:func:`~sklearn_icm.metrics.column_units` of the unchanged model's rows; a
        column of levels counts like a 0/1 column), and one for all entries of images,
        signals and for a callable.
    n_samples : int, optional
        Rows to draw from the model, at least 8; None takes three for each row of
        X_env, but 500 to 2,000. Memory grows with its square.
    n_bootstrap : int, default=100
        Resamples for intervals and noise floor, at least 20.
    level : float, default=0.95
        Of the intervals, and of the noise floor.
    random_state : int, RandomState or None
        One integer drawn from it seeds the model's noise for all candidates. None
        draws it from the generator's `random_state_`.

    Returns
    -------
    FittedIntervention
        With the attributes

        - ``intervention``, dict of node to intervention, as ``est.intervene`` takes it;
          empty if no candidate is closer to X_env than the unchanged model;
        - ``params``, dict of parameter to value, in the units of the node, and
          ``interval``, dict of parameter to (low, high);
        - ``node``, its name, or None;
        - ``distance``, between X_env and the model under the intervention;
        - ``identity_distance``, between X_env and the unchanged model;
        - ``noise_floor``, what ``distance`` stays below at this level if rows and draws
          come from one distribution (random permutations of the two samples);
        - ``table``, DataFrame with a row per node, best first: ``node``, ``family``,
          the parameters, ``distance``, ``support``, the part of the resamples in
          which this node was the best one, and ``at_end``, the list of the parameters
          at an end beyond which a better answer may lie;
        - ``at_end``, dict of parameter to its (low, high), of those whose best value
          lies at the end of that range.

    Raises
    ------
    ValueError
        For unknown names, a family that fits none of the nodes, too few rows, or rows
        that are not finite or have other columns than the fitted ones.
    TypeError
        If `est` is no generator or `family` none of the above.

    Warns
    -----
    UserWarning
        If the best value of a parameter lies at the end of its range, at the best node
        or, where this one leaves something to explain, at another that explains a part:
        a better one may lie beyond, and the interval, which does not leave the range,
        does not hold it. The ready families go on beyond their range while that helps.

    Notes
    -----
    All candidates share their noise (common random numbers), so that the objective is
    a deterministic function of the parameters. One parameter is searched on a grid and
    then by Brent's method, several by Latin hypercube and then Nelder and Mead's; the
    neutral point of the family is always tried. The nodes have equally many parameters,
    so they are compared on the rows that the parameters were fitted to. Distances see
    indicators of levels.

    Intervals are percentiles of the bootstrap: rows of X_env *and* draws of the model
    are resampled, and the objective of a resample is minimised on the quadratic surface
    through its values in a box around the estimate, which shrinks until the minimisers
    fill it. They account for the finite samples, and not for what the model gets wrong.

    References
    ----------
    Székely, Rizzo (2013), *Energy statistics: a class of statistics based on
    distances*, Journal of Statistical Planning and Inference 143.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_icm.generators import FixedGenerator
    >>> X = np.random.RandomState(0).randn(300, 2)
    >>> est = FixedGenerator(random_state=0).fit(X)
    >>> found = fit_intervention(est, "shift", X + 1, "data", random_state=0)
    >>> found.node, abs(found.params["value"] - 1) < 0.1
    ('data', True)
    """
    comparison = Comparison.of(
        est, X_env, distance, n_samples, random_state, units=units
    )
    check_scalar(n_bootstrap, "n_bootstrap", Integral, min_val=20)
    check_level(level)
    candidates = candidates_for(comparison, [family], node)
    rng = check_random_state(comparison.seed)
    for candidate in candidates:
        candidate.search()
    candidates.sort(key=lambda candidate: candidate.distance)
    resampled = comparison.resampling(n_bootstrap, rng)
    best, identity = candidates[0], comparison.distance_to({})
    found = best.distance < identity
    drawn = best.rows(best.best) if found else comparison.rows({})
    floor = comparison.noise_floor(drawn, n_bootstrap, level, rng)
    ended = ends_that_matter(candidates, best.distance > floor, identity)
    table = _table(candidates, ended, [resampled(c.rows(c.best)) for c in candidates])
    if not found:
        return FittedIntervention(
            {}, {}, {}, None, identity, identity, floor, table, {}
        )
    for candidate in ended:
        _warn_of_ends(candidate)
    return FittedIntervention(
        intervention=best.intervention(best.best),
        params=best.params(best.best),
        interval=_intervals(best, resampled, level),
        node=best.node,
        distance=best.distance,
        identity_distance=identity,
        noise_floor=floor,
        table=table,
        at_end=best.at_end,
    )


def _warn_of_ends(candidate):
    for name, (low, high) in candidate.at_end.items():
        value = candidate.params(candidate.best)[name]
        warnings.warn(
            f"The best {name} of {candidate.family.name!r} at {candidate.node!r}, "
            f"{value:.4g}, lies at the end of the range that was searched, {low:.4g} "
            f"to {high:.4g}: a better one may lie beyond. Give as family an "
            "InterventionFamily with wider bounds.",
            stacklevel=3,
        )


def _table(candidates, ended, resampled):
    closest = np.argmin(resampled, axis=0)
    return pd.DataFrame(
        [
            {
                "node": candidate.node,
                "family": candidate.family.name,
                **candidate.params(candidate.best),
                "distance": candidate.distance,
                "support": float(np.mean(closest == k)),
                "at_end": list(candidate.at_end) * (candidate in ended),
            }
            for k, candidate in enumerate(candidates)
        ]
    )


def _intervals(candidate, resampled, level):
    """Interval of each parameter: percentiles of resamples, with the estimate."""
    tails = (1 - level) / 2, (1 + level) / 2
    # "weibull" does not narrow the tails of few resamples, as the default does.
    points = _bootstrap(candidate, resampled)
    low, high = np.quantile(points, tails, axis=0, method="weibull")
    # The surface smooths a kink or a second minimum, where the estimate may lie.
    low, high = np.minimum(low, candidate.best), np.maximum(high, candidate.best)
    low, high = map(candidate.params, (low, high))
    return {name: (low[name], high[name]) for name in low}


def _bootstrap(candidate, resampled):
    """Points that minimise the distance of each resample, shape (n_resamples, p)."""
    centre = candidate.best
    p = len(centre)
    design = latin_design(3 * (p + 1) * (p + 2) // 2, p)
    radius = np.full(p, FIRST_RADIUS)
    for _ in range(ROUNDS):
        low, high = np.clip(centre - radius, 0, 1), np.clip(centre + radius, 0, 1)
        points = low + design * (high - low)
        values = np.stack([resampled(candidate.rows(point)) for point in points])
        minimisers = _surface_minimisers((points - centre) / radius, values)
        minimisers = np.clip(centre + radius * minimisers, 0, 1)
        spread = np.sqrt(np.square(minimisers - centre).mean(axis=0))
        wanted = np.clip(3 * spread, LEAST_RADIUS, LARGEST_RADIUS)
        if np.all(np.abs(np.log(wanted / radius)) < np.log(1.5)):
            break
        radius = wanted
    return minimisers


def _surface_minimisers(points, values):
    """Minimisers of the quadratic surfaces through values at points, one per column.

    Where a surface has none, the point with the smallest value.
    """
    n, p = points.shape
    upper = np.triu_indices(p)
    products = points[:, upper[0]] * points[:, upper[1]]
    terms = np.hstack([np.ones((n, 1)), points, products])
    coefficients = np.linalg.lstsq(terms, values, rcond=None)[0]
    slopes, curvatures = coefficients[1 : p + 1], coefficients[p + 1 :]
    hessians = np.zeros((values.shape[1], p, p))
    hessians[:, upper[0], upper[1]] = curvatures.T
    hessians += hessians.transpose(0, 2, 1)
    minimisers = points[values.argmin(axis=0)]
    convex = np.linalg.eigvalsh(hessians)[:, 0] > 1e-12 * np.ptp(values)
    solved = np.linalg.solve(hessians[convex], -slopes.T[convex][..., None])
    minimisers[convex] = solved[..., 0]
    return minimisers
