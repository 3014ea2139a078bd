"""Does the model, changed by an intervention, predict data of another environment?"""

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..base import is_generator
from ..compose._wrap import rows_under
from ..utils.checks import is_count
from ..utils.environments import as_label_list, find_rows, resolve_environments
from ..utils.pipelines import before_last, last_step, numeric_rows
from ..utils.reports import Report
from ..utils.rows import select_rows
from ..utils.units import check_units, in_units, row_units
from ..utils.words import part_of
from ._distances.named import check_distance, comparable_distance
from ._scorer import RoutedScorer
from ._skill import (
    check_baseline,
    extrapolation_skill,
    skill_components,
    skill_interval,
)

__all__ = ["ExtrapolationScorer", "make_extrapolation_scorer"]


COMPONENTS = [
    "skill",
    "distance",
    "baseline",
    "baseline_distance",
    "unit",
    "n_rows",
    "interventions",
]


class Prediction(NamedTuple):
    """Rows of an environment and what is predicted of them.

    ``X_known`` are rows that a family of interventions was fitted to, or None, and
    ``units`` what distances take the columns in.
    """

    environment: object
    X_env: np.ndarray
    X_intervened: np.ndarray
    X_baseline: np.ndarray
    X_known: np.ndarray | None
    interventions: dict
    units: np.ndarray | int

    def in_units(self):
        """The same rows, in the units that distances take them in."""
        names = ("X_env", "X_intervened", "X_baseline", "X_known")
        rows = {name: getattr(self, name) for name in names}
        return self._replace(
            **{k: v if v is None else in_units(v, self.units) for k, v in rows.items()},
            units=1,
        )


class ExtrapolationScorer(RoutedScorer):
    """Scorer: skill of a generator at predicting environments it was not fitted to.

    Made by :func:`make_extrapolation_scorer`, which documents the parameters. Called
    as ``scorer(estimator, X, y=None, *, environments=None)`` with the environment
    labels of the rows as ``y`` or ``environments``; higher is better.
    """

    def __call__(self, estimator, X, y=None, *, environments=None):
        """Mean skill over the environments."""
        self.score_components_ = self.components(estimator, X, y, environments)
        return float(self.score_components_["skill"].mean())

    def components(self, estimator, X, y=None, environments=None):
        """Skill per environment, and what it is made of.

        Parameters
        ----------
        estimator : fitted generator, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features)
            Observational rows beside rows of every environment with an intervention.
        y, environments : array-like of shape (n_samples,)
            The labels; one of the two.

        Returns
        -------
        DataFrame
            One row per environment (the index): ``skill``, ``distance`` of the changed
            model, ``baseline`` by name, ``baseline_distance``, ``unit`` (the larger of
            it and its chance), ``n_rows`` that were judged and ``interventions``. Skill
            is 0, and the rest missing, for exactly the rows that the estimator was
            fitted on, which hold no other environment (a search's training score). The
            last call's is kept as ``score_components_``.
        """
        if not is_generator(estimator):
            raise TypeError(
                "The extrapolation scorer needs a generator with `intervene`, got "
                f"{type(estimator).__name__}."
            )
        labels = resolve_environments(
            X, y, environments, required_by="The extrapolation scorer"
        )
        if self._is_training_fold(estimator, X, labels):
            found = dict.fromkeys(self._judged_labels(), {"skill": 0.0})
        else:
            found = {
                prediction.environment: self._judged(prediction)
                for prediction in self._predictions(estimator, X, labels)
            }
        names = pd.Index(list(found), name="environment")
        return pd.DataFrame(list(found.values()), index=names, columns=COMPONENTS)

    def report(
        self,
        estimator,
        X,
        y=None,
        *,
        environments=None,
        n_bootstrap=200,
        n_permutations=200,
        level=0.95,
        random_state=None,
    ):
        """How sure the skill in every environment is, each number with its meaning.

        Parameters
        ----------
        estimator, X, y, environments
            As `components` takes them. Rows that were fitted make the baseline look
            better than it is.
        n_bootstrap, n_permutations, level, random_state : optional
            As :func:`skill_interval` takes them.

        Returns
        -------
        Report
            ``table_``: one row per environment (the index): ``skill`` over the
            observational rows, with its bootstrap interval ``low`` to ``high``;
            ``mean_shift_skill`` of the observational rows with the environment's mean,
            the baseline to beat; ``ceiling``, the skill of a prediction at the noise
            floor; ``distance`` of the prediction, its ``noise_floor`` and the
            ``p_value`` of a perfect prediction; ``baseline_distance`` of the
            observational rows; ``is_above_floor``, whether that is more than chance;
            ``n_rows``. ``sentences_``: by environment.
        """
        rows, told = {}, {}
        for prediction in self.predictions(estimator, X, y, environments):
            prediction = prediction.in_units()
            found = skill_interval(
                *prediction[1:4],
                distance=self.distance,
                n_bootstrap=n_bootstrap,
                n_permutations=n_permutations,
                level=level,
                random_state=random_state,
            )
            told[prediction.environment] = _explained(found)
            found.mean_shift_skill = _mean_shift_skill(prediction, self.distance)
            found.n_rows = len(prediction.X_env)
            rows[prediction.environment] = found
        names = pd.Index(list(rows), name="environment")
        table = pd.DataFrame(list(rows.values()), index=names)
        return Report(table, pd.Series(told))

    def predictions(self, estimator, X, y=None, environments=None):
        """Rows of every environment, beside what the changed model predicts.

        Parameters
        ----------
        estimator, X, y, environments
            As `components` takes them.

        Returns
        -------
        list of Prediction
            In the units of the input, with levels as indicators; `in_units` of each
            gives the rows as distances take them.
        """
        labels = resolve_environments(
            X, y, environments, required_by="The extrapolation scorer"
        )
        return list(self._predictions(estimator, X, labels))

    def _predictions(self, estimator, X, labels):
        self._check_fold(labels)
        numeric = partial(numeric_rows, estimator)
        usual = numeric(select_rows(X, find_rows(labels, self.observational)))
        for label in self._judged_labels():
            change = self.interventions[label]
            rows, known = select_rows(X, find_rows(labels, label)), None
            if hasattr(change, "fit_to"):
                change, known, rows = change.fit_to(estimator, rows, self.random_state)
                known = numeric(known)
            changed = rows_under(
                estimator,
                change,
                n_samples=self.n_samples or len(rows),
                random_state=self.random_state,
            )
            rows, changed = numeric(rows), numeric(changed)
            shifted = rows if known is None else np.concatenate([rows, known])
            units = row_units(
                estimator, usual, shifted, units=self.units, distance=self.distance
            )
            yield Prediction(label, rows, changed, usual, known, change, units)

    def _judged(self, prediction):
        prediction = prediction.in_units()
        parts = skill_components(
            prediction.X_env,
            prediction.X_intervened,
            prediction.X_baseline,
            distance=self.distance,
            baseline=self.baseline,
            X_known=prediction.X_known,
            floored=True,
        )
        if parts["unit"] > parts["baseline_distance"]:
            warnings.warn(
                f"In a fold the environment {prediction.environment!r} is no further "
                f"from the baseline {parts['baseline']!r} than chance: its skill is "
                "the distance that is saved, in units of chance. More rows in a test "
                "fold (fewer folds) tell more.",
                stacklevel=4,
            )
        n_rows = len(prediction.X_env)
        change = prediction.interventions
        return {**parts, "n_rows": n_rows, "interventions": change}

    def _is_training_fold(self, estimator, X, labels):
        observational = as_label_list(self.observational)
        if not all(label in observational for label in labels.tolist()):
            return False
        return last_step(estimator).was_fitted_on(before_last(estimator, X))

    def _judged_labels(self):
        return [k for k, change in self.interventions.items() if change is not None]

    def _check_fold(self, labels):
        present = set(labels.tolist())
        needed = [*as_label_list(self.observational), *self._judged_labels()]
        known = {*as_label_list(self.observational), *self.interventions}
        unknown = sorted(present - known, key=str)
        if unknown:
            raise ValueError(
                f"The environment {unknown[0]!r} has no intervention: say what was "
                "changed in it, or give None to leave it out (interventions has "
                f"{list(self.interventions)})."
            )
        missing = [label for label in needed if label not in present]
        scarce = [k for k in needed if np.count_nonzero(labels == k) == 1]
        if not missing and scarce:
            raise ValueError(
                f"The fold has one row of the environment {scarce[0]!r}; a distance "
                "needs at least 2. Give more rows, or fewer folds."
            )
        if missing:
            raise ValueError(
                f"The fold has no rows of the environment {missing[0]!r}, which the "
                f"extrapolation scorer needs (it has {sorted(present, key=str)}). Use "
                f"cv=LeaveEnvironmentOut(observational={self.observational!r}), which "
                "puts held-out observational rows and the environment's rows into "
                "every test fold."
            )


def _mean_shift_skill(prediction, distance):
    X_env, changed, usual = prediction[1:4]
    # The kernel that the skill has, so that the two can be compared.
    distance = comparable_distance(distance, X_env, np.concatenate([changed, usual]))
    known = X_env if prediction.X_known is None else prediction.X_known
    shifted = usual + np.mean(known, axis=0) - np.mean(usual, axis=0)
    try:
        return extrapolation_skill(X_env, shifted, usual, distance=distance)
    except ValueError:
        # There is no shift; the explanation says so.
        return np.nan


def _explained(found):
    if not found.is_above_floor:
        return (
            "The environment cannot be told from the observational rows, so there is "
            "nothing to predict."
        )
    part = f"The changed model {part_of(found.skill, 'removes', 'adds')} the distance"
    sure = f" (interval {found.low:.0%} to {found.high:.0%})"
    if found.distance <= found.noise_floor:
        return f"{part}{sure}; what is left is no more than chance."
    ceiling = max(found.ceiling, 0)
    return f"{part}{sure}; a perfect one would remove about {ceiling:.0%} or more."


def make_extrapolation_scorer(
    interventions,
    *,
    observational,
    distance="energy",
    baseline="identity",
    units="auto",
    n_samples=None,
    random_state=0,
):
    """Make a scorer that asks whether interventions predict other environments.

    Parameters
    ----------
    interventions : dict of label to dict
        For each environment that the score is about, what was changed there, as
        `intervene` takes it: ``{"wide": {"conv2": Stretch(1.3)}}``; or a
        :class:`~sklearn_icm.model_selection.FamilyFit`, which fits a family of
        interventions to a part of the environment's rows and leaves the others to the
        score; or None for an environment that is left out.
    observational : label or list of labels
        Environment(s) that the model is fitted to; their held-out rows are the
        baseline.
    distance : {"energy", "mmd", "sliced_wasserstein"} or callable, default="energy"
        ``distance(X_real, X_gen) -> float``; see :func:`extrapolation_skill`.
    baseline : {"identity", "mean_shift", "best"}, default="identity"
        What a skill of 0 is: the observational rows as they are, with the mean of the
        environment, or whichever of the two is nearer. (The mean is taken from the rows
        that a family was fitted to, or from those that are judged.)
    units : {"auto", "columns", "common"} or array-like of shape (n_features,)
        What distances are in: "auto" is a unit of its own for every column of a table
        (:func:`column_units` of its observational rows; a column of levels counts like
        a 0/1 column), and one for all entries of images, signals and for a callable.
    n_samples : int, default=None
        Rows to draw per environment; None draws as many as the environment has.
    random_state : int, RandomState or None, default=0
        Of the draws; the same for every candidate by default.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None, *, environments=None)``: the mean over
        environments of ``1 - D(model under the intervention, environment) /
        D(observational rows, environment)``. Where the denominator is within about one
        standard deviation of what chance makes of it, as in folds of few rows, that is
        what the saved distance is divided by: skills stay finite, nearer to 0, and a
        warning says so. It raises ValueError for a fold without rows of an environment
        it needs, and gives 0 for a training fold. Its
        ``score_components_`` are what the last score was made of, and
        ``report(estimator, X, y)`` adds intervals, the noise floor and a sentence for
        every environment.
        Of a GraphGenerator's columns of levels, distances see indicators.

    Examples
    --------
    >>> from sklearn_icm.interventions import Stretch
    >>> make_extrapolation_scorer(
    ...     {"wide": {"conv2": Stretch(1.3)}}, observational="narrow"
    ... )
    make_extrapolation_scorer(interventions={'wide': {'conv2': Stretch(factor=1.3,
    axis=None)}}, observational='narrow', distance='energy', baseline='identity',
    units='auto', n_samples=None, random_state=0)
    """
    if not isinstance(interventions, dict) or not interventions:
        raise ValueError(
            "interventions must be a non-empty dict {environment label: {node: "
            f"intervention}}, got {interventions!r}."
        )
    for label, change in interventions.items():
        is_change = isinstance(change, dict) or hasattr(change, "fit_to")
        if change is not None and not is_change:
            raise TypeError(
                f"interventions[{label!r}] must be a dict {{node: intervention}} or a "
                f"FamilyFit, got {change!r}."
            )
        if label in as_label_list(observational):
            raise ValueError(
                f"The environment {label!r} is observational={observational!r}: the "
                "scorer is about environments that the model is not fitted to."
            )
    if all(change is None for change in interventions.values()):
        raise ValueError(
            "interventions must say what was changed in at least one environment, got "
            f"{interventions!r}."
        )
    if n_samples is not None and not is_count(n_samples, 2):
        raise ValueError(f"n_samples must be None or an int >= 2, got {n_samples!r}.")
    check_distance(distance)
    check_baseline(baseline)
    check_units(units)
    return ExtrapolationScorer(
        "make_extrapolation_scorer",
        interventions=dict(interventions),
        observational=observational,
        distance=distance,
        baseline=baseline,
        units=units,
        n_samples=n_samples,
        random_state=random_state,
    )
