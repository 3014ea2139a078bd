"""Fitted models side by side: which predicts environments best, and how surely?"""

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import t

from ..base import is_generator
from ..compose._wrap import over_refits, what_is_counted
from ..utils.checks import check_level
from ..utils.pipelines import last_step
from ..utils.reports import Report
from ._distances.transport import MOST_ROWS
from ._extrapolation import make_extrapolation_scorer
from ._inputs import direction_stream
from ._skill import baseline_rows, distances_of_parts, skill_components

__all__ = ["compare_models"]

# Rounds in which models that agree with the others get more say about the coupling.
N_ROUNDS = 3
COLUMNS = [
    "skill",
    "low",
    "high",
    "behind",
    "behind_low",
    "behind_high",
    "error_by_agreement",
    "rank_by_agreement",
]


def compare_models(
    models,
    interventions,
    X,
    y=None,
    *,
    observational,
    environments=None,
    residual="drop",
    units="auto",
    level=0.95,
    random_state=0,
):
    """Compare what fitted models predict of environments, on the same rows.

    Parameters
    ----------
    models : list or dict of fitted generators, or pipelines that end in one
        Two or more; a dict gives them names.
    interventions, observational, residual, units : optional
        As :func:`make_extrapolation_scorer` takes them: what was changed in each
        environment, and which rows are as they are.
    X : array-like of shape (n_samples, n_features)
        Held-out observational rows beside rows of every environment.
    y, environments : array-like of shape (n_samples,)
        The labels; one of the two.
    level : float, default=0.95
        Of the intervals.
    random_state : int, RandomState or None, default=0
        Of random interventions and the parts of the rows.

    Returns
    -------
    Report
        ``table_``: one row per environment and model: ``skill`` over the mean row with
        its interval ``low`` to ``high``; how far it is ``behind`` the best model of the
        environment, with the paired interval ``behind_low`` to ``behind_high`` (the
        models are judged on the same rows); and the error and the rank by agreement,
        NaN unless all models explain given rows. ``sentences_``: by environment, and
        at "the intervals" what these count.

    Raises
    ------
    ValueError, TypeError
        For fewer than two models, or what the scorer refuses.

    Notes
    -----
    Intervals are of the t distribution over disjoint parts of the rows, as in
    :func:`skill_interval`: they cover the choice of the rows. Those of a
    :class:`~sklearn_icm.compose.BootstrapGenerator` cover estimation too, as if the
    refits of two models were independent of each other.

    *By agreement*: the true counterfactual of a row is in the environment, but it is
    not known which row it is. One coupling of observational and environment rows is
    found that is cheap for all models together, in three rounds in which a model
    counts by the inverse square of its error, and each model is judged by it. On worlds
    with known counterfactuals this ranks a whole list of predictions better than the
    skill does, but its first choice is wrong more often
    (``benchmarks/score_validity.py``): it measures agreement as well as truth. Where
    all models share an error it does not see it, and a jury of bad models outvotes a
    good one. So choose by the skill.

    Examples
    --------
    >>> from sklearn_icm.datasets import make_scm
    >>> from sklearn_icm.generators import GraphGenerator
    >>> scm = make_scm(300, n_nodes=3, random_state=0)
    >>> X = np.concatenate([scm.data, scm.render({"x0": 2.0})])
    >>> y = np.repeat(["seen", "done"], 300)
    >>> models = {
    ...     kind: GraphGenerator(scm.graph, mechanism=kind, max_epochs=5).fit(scm.data)
    ...     for kind in ("linear", "additive")
    ... }
    >>> report = compare_models(
    ...     models, {"done": {"x0": 2.0}}, X, y, observational="seen"
    ... )
    >>> report.table_.index.names
    FrozenList(['environment', 'model'])
    """
    check_level(level)
    models = _named(models)
    scorer = make_extrapolation_scorer(
        interventions,
        observational=observational,
        residual=residual,
        units=units,
        random_state=direction_stream(random_state).randint(2**31 - 1),
    )
    asked = {}
    for name, model in models.items():
        try:
            asked[name] = scorer.predictions(model, X, y, environments=environments)
        except (TypeError, ValueError) as error:
            error.add_note(f"It was raised for {name!r} of the compared models.")
            raise
    paired = all(hasattr(last_step(model), "abduct") for model in models.values())
    asked = {k: [own.in_units() for own in found] for k, found in asked.items()}
    halves, counts = _over_refits(scorer, models, asked, level, X, y, environments)
    tables, told = {}, {}
    for *predictions, half in zip(*asked.values(), halves.T, strict=True):
        label = predictions[0].environment
        table = _compared(predictions, list(models), level, scorer.random_state, half)
        if paired:
            table["error_by_agreement"] = _errors_by_agreement(predictions)
            table["rank_by_agreement"] = table["error_by_agreement"].rank()
        tables[label] = table
        told[label] = _sentence(table)
    told["the intervals"] = counts
    table = pd.concat(tables, names=["environment", "model"])
    return Report(table.reindex(columns=COLUMNS), pd.Series(told))


def _named(models):
    if not isinstance(models, dict):
        models = {f"model {k}": model for k, model in enumerate(models)}
    if len(models) < 2:
        raise ValueError(
            f"models must be two or more fitted generators, got {len(models)}."
        )
    strange = [m for m in models.values() if not is_generator(m)]
    if strange:
        raise TypeError(
            f"models must be generators with `intervene`, got {strange[0]!r}."
        )
    return models


def _components(prediction):
    return skill_components(*prediction.samples, X_known=prediction.X_known)


def _over_refits(scorer, models, asked, level, X, y, environments):
    """Half widths of what refits add to skills, (n_models, n_environments); in words.

    Of a model without refits it is 0.
    """
    fixed = [v for v in scorer.interventions.values() if isinstance(v, dict)]
    halves, counted = [], {}

    def ask(model):
        found = scorer.predictions(model, X, y, environments=environments)
        return [_components(own.in_units())["skill"] for own in found]

    for name, model in models.items():
        skills = [_components(own)["skill"] for own in asked[name]]
        options = {"level": level, "changes": fixed, "answer": skills}
        _, half, n_refits = over_refits(model, ask, **options)
        halves.append(half)
        counted.setdefault(n_refits, []).append(name)
    told = [
        f"{', '.join(map(repr, names))}: of {what_is_counted('the rows', n_refits)}"
        for n_refits, names in counted.items()
    ]
    return np.array(halves), "; ".join(told) + "."


def _compared(predictions, names, level, seed, of_refits):
    """Skills of the models for one environment, and what they lack to the best."""
    skills, parts = [], []
    for prediction in predictions:
        known, found = prediction.X_known, _components(prediction)
        known = prediction.X_env if known is None else known
        zero = baseline_rows(known, prediction.X_baseline)["mean"]
        samples, stream = (*prediction.samples, zero), direction_stream(seed)
        of_parts = distances_of_parts(samples, "transport", stream)
        skills.append(found["skill"])
        # In parts of the unit, linear in the two distances that a skill compares.
        deviations = of_parts[:, 0] - (1 - found["skill"]) * of_parts[:, 2]
        parts.append(deviations / found["unit"])
    skills, parts = np.array(skills), np.array(parts)
    best, n_parts = skills.argmax(), parts.shape[1]
    behind = skills.max() - skills
    half, paired = np.full((2, len(skills)), np.nan)
    if n_parts:
        width = t.ppf((1 + level) / 2, n_parts - 1) / n_parts**0.5
        half = np.hypot(width * parts.std(axis=1, ddof=1), of_refits)
        paired = width * (parts - parts[best]).std(axis=1, ddof=1)
        both = np.where(behind > 0, np.hypot(of_refits, of_refits[best]), 0.0)
        paired = np.hypot(paired, both)
    columns = [skills, skills - half, skills + half]
    columns += [behind, behind - paired, behind + paired]
    return pd.DataFrame(np.transpose(columns), index=names, columns=COLUMNS[:6])


def _errors_by_agreement(predictions):
    """Error of each model under one coupling that is cheap for all together."""
    X_env = predictions[0].X_env
    n = min(len(X_env), MOST_ROWS, *(len(p.X_intervened) for p in predictions))
    stream = np.random.RandomState(0)
    X_env = X_env[stream.permutation(len(X_env))[:n]]
    costs = np.array(
        [cdist(p.X_intervened[:n], X_env, "sqeuclidean") for p in predictions]
    )
    weights = np.ones(len(costs))
    for _ in range(N_ROUNDS):
        coupling = linear_sum_assignment(
            np.tensordot(weights / weights.sum(), costs, 1)
        )
        errors = costs[:, *coupling].mean(axis=1)
        weights = 1 / np.maximum(errors, 1e-12 * costs.mean()) ** 2
    return errors / X_env.var(axis=0).sum()


def _sentence(table):
    ranked = table.sort_values("skill", ascending=False)
    best, second = ranked.iloc[0], ranked.iloc[1]
    text = (
        f"{best.name!r} is best (skill {best['skill']:.2f}); {second.name!r} is behind "
        f"by {second['behind']:.2f}"
    )
    if np.isnan(second["behind_low"]):
        return f"{text}; too few rows for an interval."
    sure = "" if second["behind_low"] > 0 else ", so the rows do not tell them apart"
    return (
        f"{text} (interval {second['behind_low']:.2f} to {second['behind_high']:.2f})"
        f"{sure}."
    )
