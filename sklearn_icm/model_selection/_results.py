"""The results of a search, with how they were come by."""

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ..utils.environments import as_label_list

__all__ = ["search_results"]

# Scikit-learn's splitters that ignore environments.
IID_SPLITTERS = {
    *("KFold", "RepeatedKFold", "StratifiedKFold", "RepeatedStratifiedKFold"),
    *("LeaveOneOut", "LeavePOut", "ShuffleSplit", "StratifiedShuffleSplit"),
}


def search_results(search, *, target=None):
    """Table of a search's candidates that names the protocol of the choice.

    Parameters
    ----------
    search : fitted GridSearchCV, RandomizedSearchCV or halving search
    target : label or list of labels, default=None
        Environments that you want to make a claim about with the chosen model. If a
        scorer of the search has scored on one of them, the choice was made on the
        target itself, and the protocol is "oracle".

    Returns
    -------
    DataFrame
        ``cv_results_``, with

        - ``se_test_*`` after each ``std_test_*``: standard error over the folds;
        - ``protocol``: "oracle" if the target was scored on; else the splitter's
          ``protocol``, "iid" for scikit-learn's splitters that ignore environments,
          "custom" for given folds, the name of the class for any other splitter.

    Raises
    ------
    ValueError
        If there is a target, but a scorer does not say which environments it scores.

    Notes
    -----
    "oracle" is the test-domain validation set of Gulrajani and Lopez-Paz (2021, *In
    search of lost domain generalization*, arXiv 2007.01434): they allow it only if it
    is named, since the target of a real task cannot be scored on. Whether a choice was
    an oracle's is not a property of the folds, but of folds, scorer and claim.

    Folds share training rows, and those of this package share the rows that are left
    out. So the standard error is the spread over folds, which is smaller than that over
    new data; it makes no confidence interval.

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn.model_selection import GridSearchCV
    >>> search = GridSearchCV(DummyRegressor(), {"strategy": ["mean", "median"]}, cv=3)
    >>> table = search_results(search.fit([[0]] * 6, range(6)))
    >>> table["protocol"].tolist()
    ['iid', 'iid']
    """
    check_is_fitted(search, "cv_results_")
    columns = {}
    for name, values in search.cv_results_.items():
        columns[name] = values
        if name.startswith("std_test_"):
            # `std` divides by the number of folds; one fold has no standard error.
            columns[f"se{name[3:]}"] = values / np.sqrt(search.n_splits_ - 1 or np.nan)
    return pd.DataFrame(columns).assign(protocol=_protocol(search, target))


def _protocol(search, target):
    if target is not None:
        wanted = as_label_list(target)
        if any(label in _scored_environments(search) for label in wanted):
            return "oracle"
    cv = search.cv
    name = type(cv).__name__
    if cv is None or isinstance(cv, (int, np.integer)) or name in IID_SPLITTERS:
        return "iid"
    return getattr(cv, "protocol", name) if hasattr(cv, "split") else "custom"


def _scored_environments(search):
    scoring = search.scoring
    scorers = list(scoring.values()) if isinstance(scoring, dict) else [scoring]
    silent = [s for s in scorers if not hasattr(s, "interventions")]
    if silent:
        raise ValueError(
            "target needs scorers that say which environments they score, such as "
            f"those of make_extrapolation_scorer, got scoring={silent[0]!r}. Call "
            "search_results without target."
        )
    return [
        label
        for scorer in scorers
        for label, change in scorer.interventions.items()
        if change is not None
    ]
