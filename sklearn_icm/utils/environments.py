"""Labels that say which environment each row comes from."""

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, column_or_1d

from .checks import plain
from .rows import select_rows

__all__ = ["as_label_list", "find_rows", "observational_rows", "resolve_environments"]


def resolve_environments(X, y=None, environments=None, *, required_by=None):
    """Return the environment label of every row, or None.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    y, environments : array-like of shape (n_samples,), optional
        The labels; only one of them may be given.
    required_by : str, optional
        Who needs labels; without any, the error names it.

    Returns
    -------
    ndarray of shape (n_samples,) or None
    """
    if y is not None and environments is not None:
        raise ValueError(
            "Environment labels were given twice, as y and as environments; give one."
        )
    labels = y if environments is None else environments
    if labels is None:
        if required_by:
            raise ValueError(
                f"{required_by} needs the environment label of every row: pass them as "
                "y, or as environments= (inside a search or pipeline that needs "
                "sklearn.set_config(enable_metadata_routing=True))."
            )
        return None
    check_consistent_length(X, labels)
    labels = column_or_1d(labels)
    if pd.isna(labels).any():
        raise ValueError(
            "Environment labels must not be missing, but "
            f"{int(pd.isna(labels).sum())} of {len(labels)} are."
        )
    return labels


def as_label_list(labels):
    """Return one label or several as a list."""
    several = isinstance(labels, (list, tuple, set, frozenset, np.ndarray))
    return plain(list(labels) if several else [labels])


def find_rows(labels, wanted):
    """Return a mask of the rows that bear one of the wanted labels.

    Raises ValueError if none of them is on any row. Some may be on none, as in a fold
    of a cross-validation.
    """
    labels = labels.tolist()
    present = list(dict.fromkeys(labels))
    wanted = as_label_list(wanted)
    if not any(w in present for w in wanted):
        got = wanted[0] if len(wanted) == 1 else wanted
        raise ValueError(
            f"observational={got!r} is not the label of any row; the labels are "
            f"{present[:20]}. If these are the rows of a fold, let "
            "cv=LeaveEnvironmentOut(observational=...) make the folds, which have both."
        )
    return np.array([label in wanted for label in labels], dtype=bool)


def observational_rows(X, y, environments, observational):
    """Rows that bear an observational label, or all if there are no labels."""
    if observational is None and (y is None or environments is None):
        return X
    labels = resolve_environments(X, y, environments)
    if observational is None or labels is None:
        return X
    return select_rows(X, find_rows(labels, observational))
