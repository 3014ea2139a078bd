"""Which intervention, at which node, makes a model look like another environment?"""

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from ..compose._wrap import over_refits, what_is_counted, widened
from ..utils.checks import check_level, check_scalar
from ..utils.reports import Report
from ._candidates import (
    LEAST_ROWS,
    Candidate,
    Comparison,
    candidates_for,
    ends_that_matter,
    latin_design,
    warn_of_ends,
)
from ._judge import Judge

__all__ = ["fit_intervention"]

# Half the width of the first box of a bootstrap, in the unit cube, and its limits.
FIRST_RADIUS, LEAST_RADIUS, LARGEST_RADIUS = 0.1, 0.005, 0.5
ROUNDS = 4


@dataclass(frozen=True, repr=False)
class FittedIntervention(Report):
    """What :func:`fit_intervention` found; it documents the attributes."""

    intervention: dict
    params: dict
    low: dict
    high: dict
    at_end: dict


def fit_intervention(
    est,
    families,
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
    """Find the intervention that best explains another environment, if one does.

    Every family is fitted at every node to one half of the rows, and judged on the
    other half with other draws of the model. The one that is chosen is then fitted to
    all rows.

    Parameters
    ----------
    est : fitted generator, or pipeline that ends in one
        It is never changed, nor fitted again. Of a
        :class:`~sklearn_icm.compose.BootstrapGenerator` intervals count estimation too.
    families : InterventionFamily, str or intervention, or list of them, or None
        What is searched: a family, the name of a ready one (such as "stretch_width",
        see :func:`~sklearn_icm.interventions.families_for`), or a continuous
        intervention, whose strength is searched. None takes all ready families.
    X_env : array-like of shape (n, n_features)
        Rows of the environment, at least 16.
    node : str or list of str, optional
        Where to intervene. None takes all nodes, but those of a GraphGenerator that
        hold levels. Each family is tried at each node that it fits.
    distance : {"energy"} or callable, default="energy"
        ``distance(X_real, X_gen) -> float``. Of a callable the bootstrap takes some
        thousand evaluations.
    units : {"auto", "columns", "common"} or array-like of shape (n_features,)
        Of the columns, as :func:`~sklearn_icm.metrics.make_extrapolation_scorer` takes
        it; of the unchanged model's rows.
    n_samples : int, optional
        Rows to draw from the model, at least 8; None takes three for each row that
        they are compared with, but 500 to 2,000. Memory grows with its square.
    n_bootstrap : int, default=100
        Resamples for intervals and standard errors, and permutations for noise floors,
        at least 20.
    level : float, default=0.95
        Of the intervals, of the noise floors and of all conclusions.
    random_state : int, RandomState or None
        Of the split and of all draws: one integer drawn from it seeds the model's
        noise for all candidates. None draws it from the generator's `random_state_`.

    Returns
    -------
    FittedIntervention
        With the attributes

        - ``intervention``, dict of node to intervention, as ``est.intervene`` takes it;
          empty if there is no shift, or if no candidate explains any of it;
        - ``sentences_``, Series with the ``"conclusion"``, which says which of these it
          is, with the ``"parameters"``, and with one for each row of the table;
        - ``params``, dict of parameter to value of the first candidate of the table, in
          the units of its node, with the interval ``low`` to ``high``, dicts too (also
          where it explains nothing);
        - ``at_end``, dict of parameter to its (low, high), of those whose best value
          lies at the end of that range;
        - ``table_``, DataFrame with a row per candidate, first the one that is chosen,
          then by distance: ``node``, ``family``, ``params`` (dict, those of the half),
          ``distance`` on the held-out rows, ``identity_distance`` (of the unchanged
          model), ``noise_floor`` (what ``distance`` stays below at this level if rows
          and draws come from one distribution: random permutations of the two
          samples), ``skill`` (part of the shift that is explained, 1 - distance /
          identity distance; NaN without a shift), ``gain`` (identity distance -
          distance) with its standard error ``gain_se``, ``as_good`` (whether chance may
          be why the chosen one is better), and ``at_end``, the list of the parameters
          at an end beyond which a better answer may lie.

    Raises
    ------
    ValueError
        For unknown names, families that fit none of the nodes, too few rows, or rows
        that are not finite or have other columns than the fitted ones; of a bootstrap,
        if the best candidate tells units of a hidden node apart.
    TypeError
        If `est` is no generator or `families` none of the above.

    Warns
    -----
    SearchLimitWarning
        If there is a shift and the best value of a parameter lies at the end of its
        range, of the chosen candidate or, where this one leaves something to explain,
        of another that explains a part: a better one may lie beyond, and the interval,
        which does not leave the range, does not hold it. The ready families go on
        beyond their range while that helps.

    Notes
    -----
    Of the candidates that explain something (of all, if none does) and are within one
    standard error of the closest, the one with fewest parameters is chosen, and of
    these the closest. A candidate explains something if its gain is positive at the
    level, one-sided, corrected for the number of candidates by Bonferroni; standard
    errors are of the paired bootstrap of held-out rows and draws. There is a shift if
    the unchanged model is beyond its noise floor.

    "Shift" means between the model and the rows: what the model gets wrong of its own
    environment counts as shift, and an intervention that repairs it as an explanation.
    Ask the same of held-out observational rows to see how much that is.

    All candidates share their noise (common random numbers), so that the objective is
    a deterministic function of the parameters. One parameter is searched on a grid and
    then by Brent's method, several by Latin hypercube and then Nelder and Mead's; the
    neutral point of the family is always tried. Distances see indicators of levels.

    Intervals are percentiles of the bootstrap: rows of X_env *and* draws of the model
    are resampled, and the objective of a resample is minimised on the quadratic surface
    through its values in a box around the estimate, which shrinks until the minimisers
    fill it. They account for the finite samples, and not for the choice of the
    candidate, nor for what the model gets wrong. Of a bootstrap the first candidate is
    also searched at every refit, by which the ends move away from the estimate: what
    chance makes the model get wrong is counted then. Noise floors, standard errors and
    the conclusion are those of the fit to all rows.

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
    >>> found = fit_intervention(est, ["shift", "scale"], X + 1, "data", random_state=0)
    >>> list(found.intervention), abs(found.params["value"] - 1) < 0.1
    (['data'], True)
    >>> fit_intervention(est, "shift", X, random_state=0).sentences_["conclusion"]
    'There is no shift to explain: the unchanged model is within the noise floor.'
    """
    options = {"units": units, "least": 2 * LEAST_ROWS}
    whole = Comparison.of(est, X_env, distance, n_samples, random_state, **options)
    check_scalar(n_bootstrap, "n_bootstrap", Integral, min_val=20)
    check_level(level)
    rng = check_random_state(whole.seed)
    halves = np.array_split(rng.permutation(len(whole.X_env)), 2)
    fitting, judging = (whole.part(half, rng) for half in halves)
    candidates = candidates_for(fitting, families, node)
    judge = Judge(judging, n_bootstrap, level, len(candidates), rng)
    for candidate in candidates:
        candidate.search()
    table, candidates = judge.ranked(candidates)
    best = Candidate(whole, candidates[0].node, candidates[0].family)
    best.search()
    candidates[0] = best
    leaves_some = table["distance"][0] > table["noise_floor"][0]
    ended = ends_that_matter(candidates, leaves_some) if judge.is_shift else []
    warn_of_ends(ended)
    table["at_end"] = [list(c.at_end) if c in ended else [] for c in candidates]
    explained = judge.is_shift and table["explains"][0]
    low, high = _interval(best, whole.resampling(n_bootstrap, rng), level)
    low, high, n_refits = _over_refits(est, best, low, high, level)
    counts = what_is_counted("the samples", n_refits)
    return FittedIntervention(
        table_=table.drop(columns="explains"),
        sentences_=judge.sentences(table, _parameters(best, low, high, counts)),
        intervention=best.intervention(best.best) if explained else {},
        params=best.params(best.best),
        low=low,
        high=high,
        at_end=best.at_end,
    )


def _over_refits(est, best, low, high, level):
    """Ends that also count estimation: the candidate is searched at every refit."""
    whole, names = best.comparison, list(low)

    def ask(model):
        own = Candidate(replace(whole, est=model), best.node, best.family)
        own.search()
        return list(own.params(own.best).values())

    values = list(best.params(best.best).values())
    changes = [best.intervention(best.best)]
    _, half, n_refits = over_refits(
        est, ask, level=level, changes=changes, answer=values
    )
    # As those of the samples, they do not leave the range that was searched.
    limits = np.array(list(best.family.bounds.values())).T
    ends = [list(own.values()) for own in (low, high)]
    ends = widened(np.array(values), *ends, half, limits)
    return *(dict(zip(names, end.tolist(), strict=True)) for end in ends), n_refits


def _parameters(best, low, high, counts):
    """What the candidate that was fitted to all rows is."""
    values = ", ".join(
        f"{name}={value:.4g} [{low[name]:.4g}, {high[name]:.4g}]"
        f"{' at the end' * (name in best.at_end)}"
        for name, value in best.params(best.best).items()
    )
    return (
        f"Fitted to all rows, {best.family.name} at {best.node!r} has {values}, "
        f"intervals of {counts}."
    )


def _interval(candidate, resampled, level):
    """Low and high of each parameter: percentiles of resamples, with the estimate."""
    tails = (1 - level) / 2, (1 + level) / 2
    # "weibull" does not narrow the tails of few resamples, as the default does.
    points = _bootstrap(candidate, resampled)
    low, high = np.quantile(points, tails, axis=0, method="weibull")
    # The surface smooths a kink or a second minimum, where the estimate may lie.
    low, high = np.minimum(low, candidate.best), np.maximum(high, candidate.best)
    return candidate.params(low), candidate.params(high)


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
