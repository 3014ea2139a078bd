"""Any fitted generator, asked in the space of its input."""

import numpy as np
from sklearn.exceptions import NotFittedError

from ..utils.pipelines import chosen_estimator
from ._pipeline import GenerativePipeline


def in_input_space(estimator):
    """Return a fitted generator as it is, and a plain Pipeline as a generative one.

    Raises TypeError, naming the step, if rows cannot be mapped back to the input, and
    NotFittedError for a search that has no best model.
    """
    estimator = chosen_estimator(estimator)
    if hasattr(estimator, "intervene"):
        return estimator
    if not hasattr(estimator, "steps"):
        raise NotFittedError(
            f"This {type(estimator).__name__} has no generator to ask: fit it (a "
            "search with refit=True) before using it."
        )
    *steps, (name, last) = estimator.steps
    last = in_input_space(last)
    if not steps:
        return last
    names = getattr(estimator, "feature_names_in_", None)
    return GenerativePipeline([*steps, (name, last)]).as_fitted(names)


def rows_under(estimator, interventions, X=None, **query):
    """Array of rows that `intervene` gives, in input space after a Pipeline too."""
    estimator = in_input_space(estimator)
    return np.asarray(estimator.intervene(interventions, X=X, **query))
