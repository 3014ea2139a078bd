"""Generators at the end of a Pipeline or in a search, and rows as they see them."""

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .checks import plain


def chosen_estimator(estimator):
    """Return the estimator, or the best one of a fitted search."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def last_step(estimator):
    """Return the estimator, the last step of a pipeline, or the best of a search."""
    estimator = chosen_estimator(estimator)
    if hasattr(estimator, "steps"):
        return last_step(estimator.steps[-1][1])
    return estimator


def before_last(estimator, X):
    """Rows as the last step of a pipeline gets them."""
    estimator = chosen_estimator(estimator)
    if not hasattr(estimator, "steps"):
        return X
    if len(estimator.steps) > 1:
        X = estimator[:-1].transform(X)
    return before_last(estimator.steps[-1][1], X)


def known_levels(estimator):
    """``{column index: its levels}`` of a GraphGenerator without steps before it."""
    estimator = chosen_estimator(estimator)
    if hasattr(estimator, "steps"):
        one = len(estimator.steps) == 1
        return known_levels(estimator.steps[-1][1]) if one else {}
    levels = getattr(estimator, "categories_", {})
    if not levels:
        return {}
    names = list(estimator.mechanisms_.values())[-1]
    return {k: levels[name] for k, name in enumerate(names) if name in levels}


def numeric_rows(estimator, X, name="X", **checks):
    """Rows as an array of numbers, in which distances can be taken.

    Levels become indicator columns behind the numbers, so that different levels are at
    distance 1. ``checks`` are keywords of `check_array`.
    """
    estimator = chosen_estimator(estimator)
    levels, dtypes = known_levels(estimator), [np.float64, np.float32]
    X = _in_order(estimator, X)
    frame = X if hasattr(X, "iloc") else pd.DataFrame(np.asarray(X))
    n_columns = getattr(estimator, "n_features_in_", frame.shape[1])
    if frame.shape[1] != n_columns:
        raise ValueError(
            f"{name} must have the {n_columns} columns that the estimator was fitted "
            f"with, got {frame.shape[1]}."
        )
    if not levels and hasattr(X, "dtype") and is_numeric_dtype(X.dtype):
        return check_array(X, dtype=dtypes, input_name=name, **checks)
    numbers = [k for k in range(frame.shape[1]) if k not in levels]
    objects = np.flatnonzero([not is_numeric_dtype(dtype) for dtype in frame.dtypes])
    strange = [k for k in objects if k not in levels and not _holds_numbers(frame, k)]
    if strange:
        raise ValueError(
            f"{name} must hold numbers, but the columns "
            f"{frame.columns[strange].tolist()} do not. Encode them before the "
            "estimator; only a GraphGenerator without steps before it says what its "
            "levels are."
        )
    if not levels:
        return check_array(X, dtype=dtypes, input_name=name, **checks)
    parts = [frame.iloc[:, numbers].to_numpy(dtype=np.float64)]
    parts += [_indicators(name, frame.iloc[:, k], known) for k, known in levels.items()]
    return check_array(np.hstack(parts), dtype=dtypes, input_name=name, **checks)


def _in_order(estimator, X):
    """Rows with the columns that the estimator was fitted with, if X has their names.

    (Pipelines that select columns by name take them in any order.)
    """
    names = getattr(chosen_estimator(estimator), "feature_names_in_", None)
    if names is None or not hasattr(X, "columns") or list(X.columns) == list(names):
        return X
    return X[list(names)] if set(names) <= set(X.columns) else X


def _holds_numbers(frame, k):
    try:
        frame.iloc[:, k].astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def _indicators(name, column, levels):
    codes = pd.Index(levels).get_indexer(column)
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        raise ValueError(
            f"{name} has {plain(column.iloc[unknown[0]])!r} in the column "
            f"{column.name!r}, whose levels are {plain(levels)}."
        )
    return np.sqrt(0.5) * np.eye(len(levels))[codes]


def check_graph_generator(estimator):
    """Return the fitted GraphGenerator that an estimator is, or ends in.

    Raises NotFittedError, or TypeError for any other estimator.
    """
    generator = last_step(estimator)
    check_is_fitted(generator)
    if not hasattr(generator, "categories_"):
        raise TypeError(
            "The estimator must be a fitted GraphGenerator, or a pipeline that ends in "
            f"one, got {type(generator).__name__}. Only graphs over the columns of a "
            "table have one mechanism per column."
        )
    return generator
