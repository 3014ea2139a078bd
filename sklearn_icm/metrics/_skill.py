"""Skill of a prediction of other environments, and how sure it is."""

import numpy as np
from scipy.stats import t, ttest_ind
from sklearn.utils import Bunch

from ..utils.checks import check_choice, check_level
from ..utils.units import in_units
from ._distances.named import distance_to
from ._distances.transport import LEAST_ROWS
from ._inputs import check_samples, direction_stream

__all__ = [
    "BASELINES",
    "baseline_rows",
    "distances_of_parts",
    "extrapolation_skill",
    "paired_error",
    "skill_components",
    "skill_interval",
]

# Of the chance of a callable.
N_PERMUTATIONS = 10
BASELINES = ("mean", "identity", "mean_shift", "best")
NOTHING_LEFT = {
    "mean": "as all its rows are alike, so no distance can be a unit",
    "identity": "so there is no shift that an intervention could explain",
    "mean_shift": "so a shift of the mean explains all; compare with another baseline",
}
# Of the variance of an environment: the least that its mean row counts for.
LEAST_PART = 0.25
# Disjoint parts of the rows, whose spread makes the interval.
MOST_PARTS, LEAST_PARTS, PART_ROWS = 8, 3, 30
UNSURE = ("low", "high", "noise_floor", "ceiling", "p_value")


def skill_components(
    X_env,
    X_intervened,
    X_baseline,
    *,
    distance="transport",
    baseline="mean",
    X_known=None,
    floored=False,
):
    """Skill of a prediction, with what it is made of.

    Parameters are those of :func:`extrapolation_skill`; and floored, whether a baseline
    that is nearer than chance gives a skill in units of chance instead of an error.

    Returns
    -------
    dict
        ``skill``, ``distance`` of the prediction, its ``spread`` (standard error over
        the ways to halve the rows, or parts of many rows; NaN for one), ``baseline`` by
        name, ``baseline_distance``, and ``unit``, the distance that a skill of 1 saves.
    """
    check_choice("baseline", baseline, BASELINES)
    distance_of = distance_to(X_env, distance, X_baseline)
    rows = baseline_rows(X_env if X_known is None else X_known, X_baseline)
    names = [k for k in rows if baseline in {k, "best"}]
    found = {name: distance_of(rows[name]) for name in names}
    name = min(found, key=found.get)
    unit = found[name]
    if name == "mean" and _is_transport(distance):
        # Of a few rows chance may leave nothing of it.
        unit = max(unit, LEAST_PART * np.var(X_env, axis=0).sum())
    if floored and name != "mean":
        unit = max(unit, _chance(distance, distance_of, X_env, rows[name], unit))
    if not unit > 0:
        raise ValueError(
            f"The environment is no further from the baseline {name!r} than chance "
            f"(distance {found[name]:.3g}), {NOTHING_LEFT[name]}."
        )
    split = distance_of.values if _is_transport(distance) else distance_of
    values = np.atleast_1d(split(X_intervened))
    value, n = values.mean(), len(values)
    spread = values.std(ddof=1) / n**0.5 if n > 1 else np.nan
    return {
        "skill": float((found[name] - value) / unit),
        "distance": float(value),
        "spread": float(spread),
        "baseline": name,
        "baseline_distance": float(found[name]),
        "unit": float(unit),
    }


def paired_error(X_real, X_gen):
    """Mean squared error of predictions, each beside its truth, summed over columns."""
    return float(np.square(X_gen - X_real).sum(axis=1).mean())


def baseline_rows(X_known, X_baseline):
    """Predictions that need no model: ``{name: rows}``."""
    mean = np.mean(X_known, axis=0)
    shift = mean - np.mean(X_baseline, axis=0)
    return {
        "mean": np.tile(mean, (len(X_baseline), 1)),
        "identity": X_baseline,
        "mean_shift": X_baseline + shift,
    }


def _is_transport(distance):
    return isinstance(distance, str) and distance == "transport"


def _chance(distance, distance_of, X_env, X_baseline, value):
    """About one standard deviation of a distance if there were no shift."""
    if _is_transport(distance):
        return distance_of.chance()
    if distance is paired_error:
        return 0.0
    if callable(distance):
        pooled, n = np.concatenate([X_env, X_baseline]), len(X_env)
        stream = np.random.RandomState(0)
        orders = [stream.permutation(len(pooled)) for _ in range(N_PERMUTATIONS)]
        return np.std([distance(pooled[k[:n]], pooled[k[n:]]) for k in orders])
    if distance == "sliced_wasserstein":
        return 0.0
    # Pairs of one row with itself add what chance adds to the squares: of one normal
    # column the deviation is .8 of it, of many less.
    return 0.5 * (distance_of(X_baseline, biased=True) - value)


def extrapolation_skill(
    X_env,
    X_intervened,
    X_baseline,
    *,
    distance="transport",
    baseline="mean",
    X_known=None,
    units=None,
):
    """How well rows of a changed model predict an environment.

    Parameters
    ----------
    X_env : array-like of shape (n, n_features)
        Rows of the environment.
    X_intervened : array-like of shape (m, n_features)
        Rows of the model under the intervention.
    X_baseline : array-like of shape (k, n_features)
        What one would predict without it, such as observational rows.
    distance : {"transport", "energy", "mmd", "sliced_wasserstein"} or callable
        :func:`transport_distance`, which estimates the squared error to the true
        counterfactuals; or ``distance(X_real, X_gen) -> float``. "mmd" has one Gaussian
        kernel for all, with the median distance of environment and baseline as its
        bandwidth.
    baseline : {"mean", "identity", "mean_shift", "best"}
        What has a skill of 0: the mean of X_known in every row; the baseline rows as
        they are; or moved so that their mean is that of X_known; or whichever of them
        is nearest to the environment.
    X_known : array-like of shape (l, n_features), optional
        Rows of the environment from which the mean is taken; None takes X_env itself,
        which favours the baseline.
    units : array-like of shape (n_features,), optional
        What the columns are divided by, such as :func:`column_units`; None leaves them.

    Returns
    -------
    float
        ``1 - D(env, intervened) / D(env, baseline)``: 1 is perfect, 0 no better than
        the baseline, negative worse. With the defaults it is one minus an estimate of
        the squared error by that of the mean row.

    Raises
    ------
    ValueError
        If the environment is no further from the baseline than chance.
    """
    samples = X_env, X_intervened, X_baseline
    if X_known is not None:
        X_known = in_units(np.asarray(X_known), units)
    parts = skill_components(
        *(in_units(np.asarray(rows), units) for rows in samples),
        distance=distance,
        baseline=baseline,
        X_known=X_known,
    )
    return parts["skill"]


def skill_interval(
    X_env,
    X_intervened,
    X_baseline,
    *,
    distance="transport",
    baseline="mean",
    X_known=None,
    level=0.95,
    units=None,
    random_state=None,
):
    """Skill of a prediction with its interval, and what chance would leave of it.

    Parameters
    ----------
    X_env, X_intervened, X_baseline : array-like of shape (n_rows, n_features)
        As :func:`extrapolation_skill` takes them.
    distance, baseline, X_known, units : optional
        As :func:`extrapolation_skill` takes them.
    level : float
        Of the interval and the noise floor.
    random_state : int, RandomState or None
        Of the parts. None is a fixed stream.

    Returns
    -------
    sklearn.utils.Bunch
        ``skill`` and its interval, ``low`` to ``high`` (in units of chance if the
        environment is no further from the baseline); ``distance`` of the prediction,
        ``noise_floor`` below which distances are chance, and ``p_value`` of the
        hypothesis that the prediction is perfect; ``baseline``, by name, and its
        ``baseline_distance``; ``is_shifted``, whether the environment is further from
        X_baseline than chance; ``ceiling``: skill of a prediction at the noise floor.

    Notes
    -----
    The rows of each sample are divided at random into 3 to 8 disjoint parts. Interval,
    floor and tests are those of the t distribution over the parts, each of which is
    judged by itself; NaN and False with fewer than 24 rows. They cover the choice of
    the rows, not the estimation of a model: the report of
    :func:`make_extrapolation_scorer` counts it, of a bootstrap. In worlds with known
    truth, 93 % of 95 % intervals for 500 draws held the skill of 10,000, and 90 % for
    200 draws, where skills of images are up to .1 too low
    (``benchmarks/score_validity.py``).

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.random.RandomState(0).randn(3, 60, 2)
    >>> found = skill_interval(rows[0] + 2, rows[1] + 1, rows[2])
    >>> bool(found.low < found.skill < found.high)
    True
    """
    check_level(level)
    needs = {"smallest": LEAST_ROWS, "needed_by": "A skill", "units": units}
    X_known = X_env if X_known is None else X_known
    _, X_known = check_samples(X_env, X_known, **needs)
    _, X_intervened = check_samples(X_env, X_intervened, **needs)
    X_env, X_baseline = check_samples(X_env, X_baseline, **needs)
    whole = skill_components(
        X_env,
        X_intervened,
        X_baseline,
        distance=distance,
        baseline=baseline,
        X_known=X_known,
        floored=True,
    )
    zero = baseline_rows(X_known, X_baseline)[whole["baseline"]]
    samples, stream = (X_env, X_intervened, X_baseline, zero), random_state
    parts = distances_of_parts(samples, distance, direction_stream(stream))
    unsure = dict.fromkeys(UNSURE, np.nan)
    found = Bunch(**whole, **unsure, is_shifted=distance is paired_error)
    n_parts = len(parts)
    if n_parts:
        predicted, usual, unit, null = parts.T
        deviations = predicted - (1 - whole["skill"]) * unit
        error = deviations.std(ddof=1) / n_parts**0.5 / whole["unit"]
        half = t.ppf((1 + level) / 2, n_parts - 1) * error
        found.low, found.high = whole["skill"] - half, whole["skill"] + half
        if distance is paired_error:
            # Of pairs nothing is chance.
            return Bunch(**{**found, "noise_floor": 0.0, "ceiling": 1.0})
        spread = null.std(ddof=1) / n_parts**0.5
        found.noise_floor = t.ppf(level, n_parts - 1) * spread
        found.ceiling = 1 - found.noise_floor / whole["unit"]
        found.p_value, p_shift = (
            float(ttest_ind(values, null, alternative="greater").pvalue)
            for values in (predicted, usual)
        )
        found.is_shifted = p_shift < 1 - level
    return found


def distances_of_parts(samples, distance, stream):
    """Distances of each part of the environment, shape (n_parts, 4).

    To the same part of each other sample, and to the next part of the environment (of
    pairs to itself).
    """
    n = min(map(len, samples))
    n_parts = min(MOST_PARTS, max(LEAST_PARTS, n // PART_ROWS))
    if n < n_parts * 2 * LEAST_ROWS:
        return np.empty((0, 4))
    orders = [stream.permutation(len(X)) for X in samples]
    if distance is paired_error:
        orders = orders[:1] * len(orders)
    pairs = zip(samples, orders, strict=True)
    parts = [np.array_split(X[order], n_parts) for X, order in pairs]
    # Rows of another part are no truths of these.
    next_part = distance is not paired_error
    parts.append(parts[0][next_part:] + parts[0][:next_part])
    found = []
    for X_env, *others in zip(*parts, strict=True):
        distance_of = distance_to(X_env, distance, others[1])
        found.append([distance_of(X) for X in others])
    return np.array(found, dtype=np.float64)
