"""How likely are the rows of an environment under a model that is changed?"""

import numpy as np

from ..utils.environments import find_rows
from ..utils.pipelines import last_step
from ..utils.rows import take_rows
from ._predictions import PredictingScorer, check_environments

__all__ = ["make_density_scorer"]


class DensityScorer(PredictingScorer):
    """Scorer: mean log density of environments under a changed generator.

    Made by :func:`make_density_scorer`, which documents the parameters. Called as
    ``scorer(estimator, X, y=None, *, environments=None)``; higher is better.
    """

    metadata = ("environments",)
    title = "The density scorer"

    def __call__(self, estimator, X, y=None, *, environments=None):
        """Mean over the environments, in nats per row."""
        if not hasattr(estimator, "score_samples"):
            raise TypeError(
                "The density scorer needs a generator with `score_samples`, got "
                f"{type(last_step(estimator)).__name__}. Use "
                "make_extrapolation_scorer, which compares rows."
            )
        labels = self._labels(X, y, environments)
        if self._is_training_fold(estimator, X, labels):
            return float(np.mean(estimator.score_samples(X)))
        self._check_fold(labels, 1)
        found = [
            estimator.score_samples(
                take_rows(X, np.flatnonzero(find_rows(labels, label))),
                interventions=self.interventions[label],
            ).mean()
            for label in self._judged_labels()
        ]
        return float(np.mean(found))


def make_density_scorer(interventions, *, observational):
    """Make a scorer that asks how likely environments are under interventions.

    Parameters
    ----------
    interventions : dict of label to dict
        For each environment that the score is about, what was changed there, as
        `score_samples` of the generator takes it; or None for one that is left out.
    observational : label or list of labels
        Environment(s) that the model is fitted to.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None, *, environments=None)``: the mean over
        environments of the mean log density of their rows under the changed model, in
        nats per row. It raises ValueError for a fold without rows of an environment it
        needs; a training fold, which holds observational rows alone, has their density.

    Notes
    -----
    Compare models of the same columns, and changes that leave as many of them random:
    of a column that is set no density counts, so that a model under ``Do`` scores one
    column less.

    Examples
    --------
    >>> from sklearn_icm.datasets import make_scm
    >>> from sklearn_icm.generators import GraphGenerator
    >>> from sklearn_icm.interventions import Shift
    >>> scm = make_scm(
    ...     200,
    ...     n_nodes=3,
    ...     interventions={"moved": {"x0": Shift(2.0)}},
    ...     random_state=0,
    ... )
    >>> model = GraphGenerator(
    ...     scm.graph, max_epochs=2, observational="observational", random_state=0
    ... ).fit(scm.data, scm.environments)
    >>> right, wrong = (
    ...     make_density_scorer({"moved": change}, observational="observational")
    ...     for change in ({"x0": Shift(2.0)}, {})
    ... )
    >>> scores = [s(model, scm.data, scm.environments) for s in (right, wrong)]
    >>> scores[0] > scores[1]
    True
    """
    check_environments(interventions, observational)
    for label, change in interventions.items():
        if hasattr(change, "fit_to"):
            raise TypeError(
                f"interventions[{label!r}] must be a dict {{node: intervention}} of "
                f"fixed interventions, or None, got {change!r}."
            )
    return DensityScorer(
        "make_density_scorer",
        interventions=dict(interventions),
        observational=observational,
    )
