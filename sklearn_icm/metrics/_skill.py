"""Skill: the part of a shift between environments that a prediction explains.

And how sure it is: a bootstrap of all three samples behind it.
"""

import numpy as np
from sklearn.utils import Bunch

from ..utils.checks import check_level
from ..utils.units import in_units
from ._distances.named import comparable_distance
from ._distances.two_sample import judge, quantiles_around, resampled, statistics_of
from ._inputs import check_integer, check_samples, direction_stream

__all__ = [
    "BASELINES",
    "check_baseline",
    "extrapolation_skill",
    "skill_components",
    "skill_interval",
]

# Of the chance of a callable.
N_PERMUTATIONS = 10
BASELINES = ("identity", "mean_shift", "best")


def check_baseline(baseline):
    """Raise ValueError unless it names a baseline."""
    if baseline not in BASELINES:
        raise ValueError(
            f"baseline must be one of {list(BASELINES)}, got {baseline!r}."
        )


def skill_components(
    X_env,
    X_intervened,
    X_baseline,
    *,
    distance="energy",
    baseline="identity",
    X_known=None,
    floored=False,
):
    """Skill of a prediction, with what it is made of.

    Parameters are those of :func:`extrapolation_skill`; and floored, whether a baseline
    that is nearer than chance gives a skill in units of chance instead of an error.

    Returns
    -------
    dict
        ``skill``, ``distance`` of the prediction, ``baseline`` by name,
        ``baseline_distance``, and ``unit``, the distance that a skill of 1 saves.
    """
    check_baseline(baseline)
    measure = comparable_distance(distance, X_env, X_baseline)
    found, shift = {}, 0.0
    if baseline in {"identity", "best"}:
        found["identity"] = measure(X_env, X_baseline)
    if baseline in {"mean_shift", "best"}:
        known = X_env if X_known is None else X_known
        shift = np.mean(known, axis=0) - np.mean(X_baseline, axis=0)
        found["mean_shift"] = measure(X_env, X_baseline + shift)
    name = min(found, key=found.get)
    unit = found[name]
    if floored:
        rows = X_baseline + shift if name == "mean_shift" else X_baseline
        unit = max(unit, _chance(distance, measure, X_env, rows, unit))
    if not unit > 0:
        reason = (
            "so there is no shift that an intervention could explain"
            if name == "identity"
            else "so a shift of the mean explains all; compare with baseline='identity'"
        )
        raise ValueError(
            f"The environment is no further from the baseline {name!r} than chance "
            f"(distance {found[name]:.3g}), {reason}."
        )
    value = measure(X_env, X_intervened)
    return {
        "skill": float((found[name] - value) / unit),
        "distance": float(value),
        "baseline": name,
        "baseline_distance": float(found[name]),
        "unit": float(unit),
    }


def _chance(distance, measure, X_env, X_baseline, value):
    """About one standard deviation of a distance if there were no shift."""
    if callable(distance):
        pooled, n = np.concatenate([X_env, X_baseline]), len(X_env)
        stream = np.random.RandomState(0)
        orders = [stream.permutation(len(pooled)) for _ in range(N_PERMUTATIONS)]
        return np.std([measure(pooled[k[:n]], pooled[k[n:]]) for k in orders])
    if distance == "sliced_wasserstein":
        return 0.0
    # Pairs of one row with itself add what chance adds to the squares: of one normal
    # column the deviation is .8 of it, of many less.
    return 0.5 * (measure(X_env, X_baseline, biased=True) - value)


def extrapolation_skill(
    X_env,
    X_intervened,
    X_baseline,
    *,
    distance="energy",
    baseline="identity",
    X_known=None,
    units=None,
):
    """Part of the shift to an environment that an intervention explains.

    Parameters
    ----------
    X_env : array-like of shape (n, n_features)
        Rows of the environment.
    X_intervened : array-like of shape (m, n_features)
        Rows of the model under the intervention.
    X_baseline : array-like of shape (k, n_features)
        What one would predict without it, such as observational rows.
    distance : {"energy", "mmd", "sliced_wasserstein"} or callable
        ``distance(X_real, X_gen) -> float``. "mmd" has one Gaussian kernel for all,
        with the median distance of environment and baseline as its bandwidth.
    baseline : {"identity", "mean_shift", "best"}
        The baseline rows as they are; or moved so that their mean is that of X_known;
        or whichever of the two is nearer to the environment.
    X_known : array-like of shape (l, n_features), optional
        Rows of the environment from which the mean shift is taken; None takes X_env
        itself, which favours the baseline.
    units : array-like of shape (n_features,), optional
        What the columns are divided by, such as :func:`column_units`; None leaves them.

    Returns
    -------
    float
        ``1 - D(intervened, env) / D(baseline, env)``: 1 is perfect, 0 no better than
        the baseline, negative worse.

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
    distance="energy",
    n_bootstrap=200,
    n_permutations=200,
    level=0.95,
    units=None,
    random_state=None,
):
    """Skill of a prediction with its interval, and what chance would leave of it.

    Parameters
    ----------
    X_env, X_intervened, X_baseline : array-like of shape (n_rows, n_features)
        As :func:`extrapolation_skill` takes them.
    distance : {"energy", "mmd", "sliced_wasserstein"} or callable
        As :func:`two_sample_test` takes it. The one kernel of "mmd" has the median
        distance of the environment and both other samples together.
    n_bootstrap : int
        Resamples of all three samples.
    n_permutations : int
        Relabellings for the noise floor.
    level : float
        Of the interval and the noise floor.
    units : array-like of shape (n_features,), optional
        What the columns are divided by, such as :func:`column_units`; None leaves them.
    random_state : int, RandomState or None
        None is a fixed stream.

    Returns
    -------
    sklearn.utils.Bunch
        ``skill``, NaN unless the environment is further from the baseline than two
        samples of one distribution are on average, and ``low`` and ``high``, its
        interval, NaN unless it is by more than the floor; ``distance`` of the
        prediction, ``noise_floor`` below which distances are chance, and ``p_value`` of
        the hypothesis that the prediction is perfect; ``baseline_distance`` and whether
        it ``is_above_floor``; ``ceiling``: skill of a prediction at the noise floor.

    Notes
    -----
    The interval is the percentile bootstrap of
    ``1 - D(env, intervened) / D(env, baseline)``. It covers the choice of the rows, not
    of the model: refits differ by more. Where the prediction cannot be told from the
    environment it covers more often than its level.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.random.RandomState(0).randn(3, 60, 2)
    >>> found = skill_interval(rows[0] + 2, rows[1] + 1, rows[2])
    >>> bool(found.low < found.skill < found.high)
    True
    """
    n_bootstrap = check_integer("n_bootstrap", n_bootstrap)
    n_permutations = check_integer("n_permutations", n_permutations)
    check_level(level)
    needs = {"smallest": 2, "needed_by": "A skill", "units": units}
    _, X_intervened = check_samples(X_env, X_intervened, **needs)
    X_env, X_baseline = check_samples(X_env, X_baseline, **needs)
    stream = direction_stream(random_state)
    seeds = stream.randint(2**31, size=2)
    others = np.concatenate([X_intervened, X_baseline])
    statistic_of = statistics_of(distance, X_env, others, stream)

    def tested(other, seed):
        sizes, stream = (len(X_env), len(other)), np.random.RandomState(seed)
        statistic = statistic_of(X_env, other)
        return judge(statistic, sizes, stream, n_permutations, 0, level)

    samples = (X_intervened, X_baseline)
    tests = [tested(*each) for each in zip(samples, seeds, strict=True)]
    interval = {"low": np.nan, "high": np.nan}
    if tests[1].is_above_floor:
        sizes = [len(X_env), len(X_intervened), len(X_baseline)]
        weights = resampled(sizes, n_bootstrap, stream)
        drawn = _skills(statistic_of(X_env, others), weights)
        interval = quantiles_around(drawn, level)
    skill, ceiling = (
        1 - part / tests[1].value if tests[1].value > 0 else np.nan
        for part in (tests[0].value, tests[0].noise_floor)
    )
    return Bunch(
        skill=float(skill),
        **interval,
        distance=tests[0].value,
        noise_floor=tests[0].noise_floor,
        p_value=tests[0].p_value,
        baseline_distance=tests[1].value,
        is_above_floor=tests[1].is_above_floor,
        ceiling=float(ceiling),
    )


def _skills(statistic, weights):
    env, intervened, baseline = weights
    return 1 - statistic(env, intervened) / statistic(env, baseline)
