"""Does the model, changed by an intervention, predict data of another environment?"""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.utils import Bunch

from ..base import is_generator
from ..compose._wrap import beyond_rows, over_refits, what_is_counted, widened
from ..exceptions import FewRowsWarning
from ..utils.checks import check_choice, is_count
from ..utils.reports import Report
from ..utils.units import check_units
from ._baselines import PEERS
from ._counterfactual_errors import counterfactual_errors
from ._distances.named import check_distance, distance_to
from ._predictions import PREDICT, PredictingScorer, check_environments
from ._skill import BASELINES, paired_error, skill_components, skill_interval

__all__ = ["ExtrapolationScorer", "make_extrapolation_scorer"]

COMPONENTS = [
    "skill",
    "distance",
    "spread",
    "baseline",
    "baseline_distance",
    "unit",
    "n_rows",
    "interventions",
    *PEERS,
    "best_baseline",
    "change_correlation",
    "rank",
]


class ExtrapolationScorer(PredictingScorer):
    """Scorer: skill of a generator at predicting environments it was not fitted to.

    Made by :func:`make_extrapolation_scorer`, which documents the parameters. Called
    as ``scorer(estimator, X, y=None, *, environments=None)`` with the environment
    labels of the rows as ``y`` or ``environments``; higher is better.
    """

    def __call__(self, estimator, X, y=None, *, environments=None, pairs=None):
        """Mean skill over the environments."""
        if not is_generator(estimator):
            raise TypeError(
                "The extrapolation scorer needs a generator with `intervene`, got "
                f"{type(estimator).__name__}."
            )
        labels = self._labels(X, y, environments)
        if self._is_training_fold(estimator, X, labels):
            self._asked = None
            return 0.0
        self._asked = list(self._predictions(estimator, X, labels, pairs))
        self._found = [self._judged(prediction) for prediction, _ in self._asked]
        return float(np.mean([found["skill"] for found in self._found]))

    @property
    def score_components_(self):
        """What the last score was made of; see `components`."""
        if not hasattr(self, "_asked"):
            raise AttributeError("score_components_ are those of a score: score first.")
        if self._asked is None:
            labels = self._judged_labels()
            rows = [{"skill": 0.0} for _ in labels]
        else:
            asked = [self._with_peers(*pair) for pair in self._asked]
            labels = [prediction.environment for prediction in asked]
            rows = [
                {**found, **self._peer_skills(prediction, found)}
                for found, prediction in zip(self._found, asked, strict=True)
            ]
            for row, found in zip(rows, _changes_of_means(asked), strict=True):
                row.update(found)
        names = pd.Index(labels, name="environment")
        return pd.DataFrame(rows, index=names, columns=COMPONENTS)

    def components(self, estimator, X, y=None, environments=None, pairs=None):
        """Skill per environment, and what it is made of.

        Parameters
        ----------
        estimator : fitted generator, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features)
            Observational rows beside rows of every environment with an intervention.
        y, environments : array-like of shape (n_samples,)
            The labels; one of the two.
        pairs : array-like of shape (n_samples,), optional
            Ids of units. A row of an environment is the truth of the observational row
            with its id: then these are compared row by row, whatever the distance is;
            rows without a mate are left out. (Splitters take them too, and keep mates
            in one fold.)

        Returns
        -------
        DataFrame
            One row per environment (the index): ``skill``, ``distance`` of the changed
            model, its ``spread`` (standard error over parts, where there are several),
            ``baseline`` by name, ``baseline_distance``, ``unit`` (the larger of
            it and its chance), ``n_rows`` that were judged and ``interventions``; the
            skills of what needs no fitted generator: ``identity`` (observational rows
            as they are), ``mean_shift`` and ``moments`` (with the mean of the
            environment; with its standard deviations too), ``additive`` (the shifts of
            environments in which only one of the nodes was changed), ``neighbours``
            (of changed columns of a table: observed rows with the nearest values) and
            ``at_data`` (the change of a hidden node, made to the data), missing where
            they do not apply; and ``best_baseline``, the name of the best of these.
            Then what is asked of perturbations: ``change_correlation`` of the predicted
            with the observed change of the columns' means, and the ``rank`` of the
            environment, the share of the others whose mean is nearer to the predicted
            one than its own (0 is right; missing for a single one).
            Skill is 0, and the rest missing, for exactly the rows that the estimator
            was fitted on, which hold no other environment (a search's training score).
            The last score's is kept as ``score_components_``.
        """
        self(estimator, X, y, environments=environments, pairs=pairs)
        return self.score_components_

    def report(
        self,
        estimator,
        X,
        y=None,
        *,
        environments=None,
        pairs=None,
        level=0.95,
        random_state=None,
    ):
        """How sure the skill in every environment is, each number with its meaning.

        Parameters
        ----------
        estimator, X, y, environments, pairs
            As `components` takes them. Rows that were fitted make the baseline look
            better than it is.
        level, random_state : optional
            As :func:`skill_interval` takes them.

        Returns
        -------
        Report
            ``table_``: one row per environment (the index): what :func:`skill_interval`
            finds, and the skills of simple baselines that `components` shows. With
            ``pairs=`` also what :func:`counterfactual_errors` finds of the same rows
            and change (``composition`` to ``minimality_se``; NaN where an axiom is not
            defined): these ask the model about itself, and need no truth.
            ``sentences_``: by environment, of a bootstrap with the verdict of its
            ``support`` where that is not "inside". The interval of a skill, ``low`` to
            ``high``, counts the choice of the rows, and that of a
            :class:`~sklearn_icm.compose.BootstrapGenerator` estimation too; noise
            floor and p-value are of the rows alone.
        """
        rows, axioms, beyond = {}, {}, {}
        labels = self._labels(X, y, environments)
        for asked in self._predictions(estimator, X, labels, pairs):
            prediction = self._with_peers(*asked)
            found = skill_interval(
                *prediction.samples,
                distance=self._distance(prediction),
                baseline=self.baseline,
                X_known=prediction.X_known,
                level=level,
                random_state=random_state,
            )
            found.update(self._peer_skills(prediction, found))
            label = prediction.environment
            axioms[label] = {} if pairs is None else self._axioms(estimator, prediction)
            rows[label] = Bunch(**found, n_rows=len(prediction.X_env))
            query = {k: v for k, v in prediction.query.items() if k != "residual"}
            beyond[label] = beyond_rows(estimator, [prediction.interventions], **query)
        counts = self._count_estimation(rows, level, estimator, X, labels, pairs)
        told = {
            k: " ".join([_explained(v, counts) + _obeyed(axioms[k]), *beyond[k]])
            for k, v in rows.items()
        }
        names = pd.Index(list(rows), name="environment")
        table = [{**found, **axioms[label]} for label, found in rows.items()]
        return Report(pd.DataFrame(table, index=names), pd.Series(told))

    def _count_estimation(self, rows, level, estimator, X, labels, pairs):
        """Widen the intervals of skills by what refits differ; say what these count."""

        def ask(model):
            asked = self._predictions(model, X, labels, pairs)
            return [self._judged(prediction)["skill"] for prediction, _ in asked]

        fixed = [v for v in self.interventions.values() if isinstance(v, dict)]
        skills = [found.skill for found in rows.values()]
        _, half, n_refits = over_refits(
            estimator, ask, level=level, changes=fixed, answer=skills
        )
        for found, own in zip(rows.values(), half, strict=True):
            ends = widened(found.skill, found.low, found.high, own)
            found.low, found.high = map(float, ends)
        return what_is_counted("the rows", n_refits)

    def predictions(self, estimator, X, y=None, environments=None, pairs=None):
        """Rows of every environment, beside what the changed model predicts.

        Parameters
        ----------
        estimator, X, y, environments, pairs
            As `components` takes them.

        Returns
        -------
        list of Prediction
            In the units of the input, with levels as indicators; `in_units` of each
            gives the rows as distances take them. ``peers`` are predictions of simple
            baselines, by name.
        """
        labels = self._labels(X, y, environments)
        return [
            replace(prediction, peers=peers())
            for prediction, peers in self._predictions(estimator, X, labels, pairs)
        ]

    @staticmethod
    def _with_peers(prediction, peers):
        """Prediction in units, with those of baselines."""
        return replace(prediction, peers=peers()).in_units()

    def _distance(self, prediction):
        return paired_error if prediction.is_paired else self.distance

    def _peer_skills(self, prediction, found):
        """Skills of the baselines' predictions, in the unit of what was found."""
        distance = self._distance(prediction)
        distance_of = distance_to(prediction.X_env, distance, prediction.X_baseline)
        skills = {
            name: (found["baseline_distance"] - distance_of(rows)) / found["unit"]
            for name, rows in prediction.peers.items()
        }
        return {**skills, "best_baseline": max(skills, key=skills.get)}

    def _axioms(self, estimator, prediction):
        """Errors by the axioms of counterfactuals, with standard errors."""
        return counterfactual_errors(
            estimator,
            prediction.query["X"],
            {prediction.environment: prediction.interventions},
            residual=prediction.query["residual"],
            units=self.units,
            random_state=self.random_state,
        ).table_.loc[prediction.environment]

    def _judged(self, prediction):
        prediction = prediction.in_units()
        parts = skill_components(
            *prediction.samples,
            distance=self._distance(prediction),
            baseline=self.baseline,
            X_known=prediction.X_known,
            floored=True,
        )
        if parts["unit"] > parts["baseline_distance"] and parts["baseline"] != "mean":
            warnings.warn(
                f"In a fold the environment {prediction.environment!r} is no further "
                f"from the baseline {parts['baseline']!r} than chance: its skill is "
                "the distance that is saved, in units of chance. More rows in a test "
                "fold (fewer folds) tell more.",
                FewRowsWarning,
                stacklevel=4,
            )
        n_rows = len(prediction.X_env)
        change = prediction.interventions
        return {**parts, "n_rows": n_rows, "interventions": change}


def _changes_of_means(predictions):
    """How the predicted changes of means go with the observed ones, by environment."""
    observed, predicted = (
        np.array(
            [
                rows.mean(axis=0) - prediction.X_baseline.mean(axis=0)
                for prediction in predictions
                for rows in [getattr(prediction, name)]
            ]
        )
        for name in ("X_env", "X_intervened")
    )
    gaps = cdist(predicted, observed)
    n_others = len(gaps) - 1
    for k, (real, own) in enumerate(zip(observed, predicted, strict=True)):
        varied = len(real) > 1 and np.ptp(real) > 0 and np.ptp(own) > 0
        yield {
            "change_correlation": np.corrcoef(real, own)[0, 1] if varied else np.nan,
            "rank": (gaps[k] < gaps[k, k]).sum() / n_others if n_others else np.nan,
        }


def _explained(found, counts):
    best = found["best_baseline"]
    text = f"Skill {found.skill:.2f}"
    if np.isfinite(found.low):
        text += f" (interval {found.low:.2f} to {found.high:.2f} of {counts})"
        if found.distance <= found.noise_floor:
            text += ", an error of no more than chance"
    text += f"; without a fitted generator, {best!r} has {found[best]:.2f}."
    if np.isfinite(found.low) and not found.is_shifted:
        text += (
            " The environment cannot be told from the observational rows, so there is "
            "nothing to predict."
        )
    return text


def _obeyed(axioms):
    """Sentence about the errors by the axioms that are defined, if there are any."""
    defined = [
        f"{name} {value:.2f}"
        for name, value in axioms.items()
        if not name.endswith("_se") and np.isfinite(value)
    ]
    if not defined:
        return ""
    return (
        f" Errors by the axioms, of the model by itself: {', '.join(defined)} (0 "
        "obeyed, 1 useless)."
    )


def make_extrapolation_scorer(
    interventions,
    *,
    observational,
    predict="auto",
    residual="drop",
    distance="transport",
    baseline="mean",
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
    predict : {"auto", "rows", "draws"}, default="auto"
        What is compared with the environment: counterfactuals of the observational
        rows, which are the default of a generator that explains given rows, or draws
        from the changed model.
    residual : {"drop", "keep"}, default="drop"
        Of counterfactuals, as `intervene` takes it. Dropped by default, unlike there:
        of fits of images and signals whose truth is known, always dropping it cost
        .03 of error over the better choice, always keeping it .20. (Rows of which only
        the data node is changed keep it: the change acts on what is seen.)
    distance : {"transport", "energy", "mmd", "sliced_wasserstein"} or callable, \
            default="transport"
        :func:`transport_distance`, or ``distance(X_real, X_gen) -> float``.
    baseline : {"mean", "identity", "mean_shift", "best"}, default="mean"
        What a skill of 0 is: the mean of the environment in every row, the
        observational rows as they are, or with the mean of the environment, or
        whichever of the three is nearest. (The mean is taken from the rows that a
        family was fitted to, or from those that are judged.)
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
        environments of ``1 - D(environment, model under the intervention) /
        D(environment, baseline)``. By default it is one minus an estimate of the
        squared error to the true counterfactuals, by that of their mean: 1 is exact, 0
        as good as the mean row. With another baseline, where the denominator is within
        about one standard deviation of what chance makes of it, as in folds of few
        rows, that is what the saved distance is divided by: skills stay finite, nearer
        to 0, and a warning says so. It raises ValueError for a fold without rows of an
        environment it needs, and gives 0 for a training fold. Its
        ``score_components_`` are what the last score was made of, beside what simple
        baselines reach; ``report(estimator, X, y)`` adds intervals, the noise floor and
        a sentence for every environment.
        Of a GraphGenerator's columns of levels, distances see indicators.

    Examples
    --------
    >>> from sklearn_icm.interventions import Stretch
    >>> make_extrapolation_scorer(
    ...     {"wide": {"conv2": Stretch(1.3)}}, observational="narrow"
    ... )
    make_extrapolation_scorer(interventions={'wide': {'conv2': Stretch(factor=1.3,
    axis=None)}}, observational='narrow', predict='auto', residual='drop',
    distance='transport', baseline='mean', units='auto', n_samples=None, random_state=0)
    """
    check_environments(interventions, observational)
    if n_samples is not None and not is_count(n_samples, 2):
        raise ValueError(f"n_samples must be None or an int >= 2, got {n_samples!r}.")
    check_choice("predict", predict, PREDICT)
    check_choice("residual", residual, ("keep", "drop"))
    check_distance(distance, also=["transport"])
    check_choice("baseline", baseline, BASELINES)
    check_units(units)
    return ExtrapolationScorer(
        "make_extrapolation_scorer",
        interventions=dict(interventions),
        observational=observational,
        predict=predict,
        residual=residual,
        distance=distance,
        baseline=baseline,
        units=units,
        n_samples=n_samples,
        random_state=random_state,
    )
