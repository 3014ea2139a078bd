"""Generators at the end of a plain Pipeline, asked in its input space."""

import numpy as np

__all__ = ["before_last", "last_step", "rows_under"]


def last_step(estimator):
    """Return the estimator, or the last step of a pipeline."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def before_last(estimator, X):
    """Rows as the last step of a pipeline gets them."""
    if hasattr(estimator, "steps") and len(estimator.steps) > 1:
        return estimator[:-1].transform(X)
    return X


def rows_under(estimator, interventions, X=None, **query):
    """Array of rows that `intervene` gives, in input space after a Pipeline too."""
    if hasattr(estimator, "intervene"):
        return np.asarray(estimator.intervene(interventions, X=X, **query))
    inner = None if X is None else before_last(estimator, X)
    rows = last_step(estimator).intervene(interventions, X=inner, **query)
    if len(estimator.steps) > 1:
        rows = estimator[:-1].inverse_transform(rows)
    return np.asarray(rows)
