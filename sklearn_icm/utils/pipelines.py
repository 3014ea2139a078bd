"""Generators at the end of a Pipeline or in a search, and rows as they see them."""

from sklearn.utils.validation import check_is_fitted


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
    """Rows as the last step of a pipeline gets them; columns are found by name."""
    estimator = chosen_estimator(estimator)
    if not hasattr(estimator, "steps"):
        return X
    names = getattr(estimator, "feature_names_in_", None)
    if hasattr(estimator, "space_"):
        X = estimator.space_.aligned(X)
    elif names is not None and set(names) <= set(getattr(X, "columns", ())):
        X = X[list(names)]
    if len(estimator.steps) > 1:
        X = estimator[:-1].transform(X)
    return before_last(estimator.steps[-1][1], X)


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
