"""Generators at the end of a Pipeline or in a search, and rows as they see them."""

from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from .streams import stream_seed


def chosen_estimator(estimator):
    """Return who answers: the best of a fitted search, a bootstrap's fit to all rows.

    Any other estimator answers itself.
    """
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif _is_bootstrap(estimator):
            estimator = estimator.estimator_
        else:
            return estimator


def refits_of(estimator):
    """Refits to resampled rows that count the estimation of an estimator, if any do."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator.estimators_ if _is_bootstrap(estimator) else []


def _is_bootstrap(estimator):
    # Forests have several estimators too, which answer together.
    return hasattr(estimator, "interval") and hasattr(estimator, "estimators_")


def seeds_of(estimator):
    """Parameters that are seeds, those of nested estimators too."""
    found = estimator.get_params().items()
    return {k: v for k, v in found if f"__{k}".endswith("__random_state")}


def seeded_clone(estimator, entropy, refit):
    """A clone for one of several fits, whose seeds do not depend on their number."""
    seeds = {k: stream_seed(entropy, k, refit) for k in seeds_of(estimator)}
    return clone(estimator).set_params(**seeds)


def is_predictor(value):
    """Whether an object is fitted and predicts."""
    is_class = isinstance(value, type)
    return not is_class and hasattr(value, "fit") and hasattr(value, "predict")


def predicts_levels(predictor):
    """Whether a predictor is a classifier; one without tags, if it gives chances."""
    if hasattr(predictor, "__sklearn_tags__"):
        return get_tags(predictor).estimator_type == "classifier"
    return hasattr(predictor, "predict_proba")


def last_step(estimator):
    """Return the estimator, the last step of a pipeline, or the best of a search."""
    estimator = chosen_estimator(estimator)
    if hasattr(estimator, "steps"):
        return last_step(estimator.steps[-1][1])
    return estimator


def is_generator(estimator):
    """Whether an estimator, a pipeline's last step or a search's best is a generator.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    bool

    Examples
    --------
    >>> from sklearn.mixture import GaussianMixture
    >>> is_generator(GaussianMixture())
    False
    """
    estimator = last_step(estimator)
    # A search of another library may have no tags.
    tagged = hasattr(estimator, "__sklearn_tags__")
    return tagged and get_tags(estimator).estimator_type == "generator"


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
