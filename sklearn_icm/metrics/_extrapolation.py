"""Does the model, changed by an intervention, predict data of another environment?"""

from numbers import Integral

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.metadata_routing import MetadataRequest

from ..base import is_generator
from ..utils.environments import as_label_list, find_rows, resolve_environments
from ._distances import energy_distance

__all__ = ["ExtrapolationScorer", "extrapolation_skill", "make_extrapolation_scorer"]

DISTANCES = {"energy": energy_distance}


def extrapolation_skill(X_env, X_intervened, X_baseline, *, distance="energy"):
    """Part of the shift to an environment that an intervention explains.

    Parameters
    ----------
    X_env : array-like of shape (n, n_features)
        Rows of the environment.
    X_intervened : array-like of shape (m, n_features)
        Rows of the model under the intervention.
    X_baseline : array-like of shape (k, n_features)
        What one would predict without it, such as observational rows.
    distance : {"energy"} or callable
        ``distance(X_real, X_gen) -> float``.

    Returns
    -------
    float
        ``1 - D(intervened, env) / D(baseline, env)``: 1 is perfect, 0 no better than
        the baseline, negative worse.
    """
    distance = _resolve_distance(distance)
    shift = distance(X_env, X_baseline)
    if not shift > 0:
        raise ValueError(
            f"The environment is no further from the baseline than chance (distance "
            f"{shift:.3g}), so there is no shift that an intervention could explain."
        )
    return 1 - distance(X_env, X_intervened) / shift


def _resolve_distance(distance):
    if callable(distance):
        return distance
    if distance not in DISTANCES:
        raise ValueError(
            f"distance must be a callable or one of {sorted(DISTANCES)}, got "
            f"{distance!r}."
        )
    return DISTANCES[distance]


class ExtrapolationScorer:
    """Scorer: skill of a generator at predicting environments it was not fitted to.

    Made by :func:`make_extrapolation_scorer`, which documents the parameters. Called
    as ``scorer(estimator, X, y=None, *, environments=None)`` with the environment
    labels of the rows as ``y`` or ``environments``; higher is better.
    """

    def __init__(
        self, interventions, *, observational, distance, n_samples, random_state
    ):
        self.interventions = dict(interventions)
        self.observational = observational
        self.distance = distance
        self.n_samples = n_samples
        self.random_state = random_state
        self._metadata_request = MetadataRequest(owner=type(self).__name__)
        self._metadata_request.score.add_request(param="environments", alias=True)

    def __repr__(self):
        return (
            f"make_extrapolation_scorer({self.interventions!r}, "
            f"observational={self.observational!r}, distance={self.distance!r})"
        )

    def get_metadata_routing(self):
        """Metadata that the scorer asks a search for: ``environments``."""
        return self._metadata_request

    def set_score_request(self, *, environments):
        """Set under which name ``environments`` is routed, True or False.

        Parameters
        ----------
        environments : bool, str or None

        Returns
        -------
        self : object
        """
        self._metadata_request.score.add_request(
            param="environments", alias=environments
        )
        return self

    def __call__(self, estimator, X, y=None, *, environments=None):
        """Mean skill over the environments."""
        return float(np.mean(list(self.skills(estimator, X, y, environments).values())))

    def skills(self, estimator, X, y=None, environments=None):
        """Skill per environment.

        Parameters
        ----------
        estimator : fitted generator, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features)
            Observational rows beside rows of every environment with an intervention.
        y, environments : array-like of shape (n_samples,)
            The labels; one of the two.

        Returns
        -------
        dict of label to float
            All 0 for exactly the rows that the estimator was fitted on, which hold no
            other environment (a search's training score).
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
            return dict.fromkeys(self.interventions, 0.0)
        X = check_array(X)
        self._check_fold(labels)
        baseline = X[find_rows(labels, self.observational)]
        return {
            label: self._skill(estimator, X[find_rows(labels, label)], baseline, change)
            for label, change in self.interventions.items()
        }

    def _skill(self, estimator, rows, baseline, interventions):
        changed = _intervene_in_input_space(
            estimator, interventions, self.n_samples or len(rows), self.random_state
        )
        return extrapolation_skill(rows, changed, baseline, distance=self.distance)

    def _is_training_fold(self, estimator, X, labels):
        observational = as_label_list(self.observational)
        if not all(label in observational for label in labels.tolist()):
            return False
        return _final(estimator).was_fitted_on(_to_final(estimator, X))

    def _check_fold(self, labels):
        present = set(labels.tolist())
        needed = [*as_label_list(self.observational), *self.interventions]
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


def _final(estimator):
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def _to_final(estimator, X):
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        return estimator[:-1].transform(X)
    return X


def _intervene_in_input_space(estimator, interventions, n_samples, random_state):
    """Draw intervened rows; a plain Pipeline's are mapped back to input space."""
    rows = _final(estimator) if not hasattr(estimator, "intervene") else estimator
    rows = rows.intervene(interventions, n_samples=n_samples, random_state=random_state)
    if not hasattr(estimator, "intervene") and len(estimator.steps) > 1:
        rows = estimator[:-1].inverse_transform(rows)
    return np.asarray(rows)


def make_extrapolation_scorer(
    interventions,
    *,
    observational,
    distance="energy",
    n_samples=None,
    random_state=0,
):
    """Make a scorer that asks whether interventions predict other environments.

    Parameters
    ----------
    interventions : dict of label to dict
        For each environment that the score is about, what was changed there, as
        `intervene` takes it: ``{"wide": {"conv2": Stretch(1.3)}}``.
    observational : label or list of labels
        Environment(s) that the model is fitted to; their held-out rows are the
        baseline.
    distance : {"energy"} or callable, default="energy"
        ``distance(X_real, X_gen) -> float``.
    n_samples : int, default=None
        Rows to draw per environment; None draws as many as the environment has.
    random_state : int, RandomState or None, default=0
        Of the draws; the same for every candidate by default.

    Returns
    -------
    ExtrapolationScorer
        The mean over environments of ``1 - D(model under the intervention,
        environment) / D(observational rows, environment)``. It raises ValueError for a
        fold without rows of an environment it needs, and gives 0 for a training fold.

    Examples
    --------
    >>> from sklearn_icm.interventions import Stretch
    >>> make_extrapolation_scorer(
    ...     {"wide": {"conv2": Stretch(1.3)}}, observational="narrow"
    ... )
    make_extrapolation_scorer({'wide': {'conv2': Stretch(factor=1.3, axis='width')}},
    observational='narrow', distance='energy')
    """
    if not isinstance(interventions, dict) or not interventions:
        raise ValueError(
            "interventions must be a non-empty dict {environment label: {node: "
            f"intervention}}, got {interventions!r}."
        )
    for label, change in interventions.items():
        if not isinstance(change, dict):
            raise TypeError(
                f"interventions[{label!r}] must be a dict {{node: intervention}}, got "
                f"{change!r}."
            )
        if label in as_label_list(observational):
            raise ValueError(
                f"The environment {label!r} is observational={observational!r}: the "
                "scorer is about environments that the model is not fitted to."
            )
    if n_samples is not None and (not isinstance(n_samples, Integral) or n_samples < 2):
        raise ValueError(f"n_samples must be None or an int >= 2, got {n_samples!r}.")
    _resolve_distance(distance)
    return ExtrapolationScorer(
        interventions,
        observational=observational,
        distance=distance,
        n_samples=n_samples,
        random_state=random_state,
    )
