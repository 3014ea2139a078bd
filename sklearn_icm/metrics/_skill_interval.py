"""How sure is a skill? A bootstrap of all three samples behind it."""

import numpy as np
from sklearn.utils import Bunch

from ..utils.checks import check_level
from ._distances.two_sample import judge, quantiles_around, resampled, statistics_of
from ._inputs import check_integer, check_max_memory, check_samples, direction_stream

__all__ = ["skill_interval"]


def skill_interval(
    X_env,
    X_intervened,
    X_baseline,
    *,
    distance="energy",
    n_bootstrap=200,
    n_permutations=200,
    level=0.95,
    max_memory=64.0,
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
    max_memory : float
        Bound of the buffers, in MiB.
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
    n_bytes = check_max_memory(max_memory)
    n_bootstrap = check_integer("n_bootstrap", n_bootstrap)
    n_permutations = check_integer("n_permutations", n_permutations)
    check_level(level)
    needs = {"smallest": 2, "needed_by": "A skill", "units": units}
    _, X_intervened = check_samples(X_env, X_intervened, **needs)
    X_env, X_baseline = check_samples(X_env, X_baseline, **needs)
    stream = direction_stream(random_state)
    seeds = stream.randint(2**31, size=2)
    others = np.concatenate([X_intervened, X_baseline])
    statistic_of = statistics_of(distance, X_env, others, n_bytes, stream)

    def tested(other, seed):
        sizes, stream = (len(X_env), len(other)), np.random.RandomState(seed)
        statistic = statistic_of(X_env, other)
        return judge(statistic, sizes, stream, n_permutations, 0, level, n_bytes)

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
