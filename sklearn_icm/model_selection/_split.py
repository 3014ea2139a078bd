"""Splitters over environments, and what all splitters share."""

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold

from ..utils.checks import check_scalar
from ..utils.environments import as_label_list, find_rows, resolve_environments

__all__ = ["LeaveEnvironmentOut", "PartSplitter"]


class PartSplitter(BaseEstimator):
    """Base: leave out a part of the data, and folds of the rows that are trained on.

    A subclass has ``n_splits``, ``shuffle`` and ``random_state``, and writes
    ``_parts(X, y, environments)``, which yields pairs: a mask of the rows that are left
    out, and codes (n_samples, n_factors) of which each value that the other rows have
    stays in every training fold. ``_n_parts`` is their number, 1 if not overridden.
    """

    __metadata_request__split = {"environments": True, "pairs": True}

    def split(self, X, y=None, groups=None, environments=None, pairs=None):
        """Yield train and test indices.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y, environments : array-like
            What the class divides rows by: their environment labels or their factors.
        groups : ignored
        pairs : array-like of shape (n_samples,), optional
            Ids of units: no test fold holds a row whose mate is trained on. Rows
            without one (NaN, None) are divided as without ids.

        Yields
        ------
        train, test : ndarray of int
        """
        self._check_n_splits()
        for left_out, codes in self._parts(X, y, environments):
            pool, rest = np.flatnonzero(~left_out), np.flatnonzero(left_out)
            for train, test in self._folds.split(pool):
                train, test = self._keep_levels(codes[pool], train, test)
                train, test = pool[train], np.concatenate([pool[test], rest])
                yield train, _without_mates(test, train, pairs)

    def left_out(self, X, y=None, environments=None):
        """Mask of the rows that are left out, of all parts together.

        ``np.where(cv.left_out(X, factors), "outside", "trained")`` gives labels for
        `observational` of estimators and scorers; an estimator with them leaves the
        part alone in the refit of a search, too. Parameters are those of `split`.

        Returns
        -------
        ndarray of bool of shape (n_samples,)
        """
        parts = self._parts(X, y, environments)
        return np.any([left_out for left_out, _ in parts], axis=0)

    def get_n_splits(self, X=None, y=None, groups=None, environments=None, pairs=None):
        """Number of folds: `n_splits` times the parts that are left out in turn.

        Parameters are those of `split`.

        Returns
        -------
        int
        """
        self._check_n_splits()
        return self.n_splits * self._n_parts(X, y, environments)

    def _n_parts(self, X, y, environments):
        return 1

    def _check_n_splits(self):
        check_scalar(self.n_splits, "n_splits", Integral, min_val=2)

    @property
    def _seed(self):
        return 0 if self.random_state is None else self.random_state

    @property
    def _folds(self):
        seed = self._seed if self.shuffle else None
        return KFold(self.n_splits, shuffle=self.shuffle, random_state=seed)

    def _keep_levels(self, codes, train, test):
        """Move a test row of every level that training would lose into training."""
        for column in codes.T:
            lost, first = np.unique(column[test], return_index=True)
            moved = first[~np.isin(lost, column[train])]
            train = np.sort(np.concatenate([train, test[moved]]))
            test = np.delete(test, moved)
        if not len(test):
            raise ValueError(
                f"n_splits={self.n_splits} leaves a test fold without rows like those "
                "that are trained on: training needs each of them for a level that no "
                "other row has. Give more rows."
            )
        return train, test


def _without_mates(test, train, pairs):
    """Rows of a test fold whose units are not trained on."""
    if pairs is None:
        return test
    ids = pd.Series(np.asarray(pairs, dtype=object))
    kept = test[~(ids[test].isin(ids[train]) & ids[test].notna()).to_numpy()]
    if not len(kept):
        raise ValueError(
            "pairs leaves a test fold without rows: every unit of it is trained on, "
            "too. A unit may have one row that is trained on."
        )
    return kept


class LeaveEnvironmentOut(PartSplitter):
    """Leave out environments, and a part of the rows that are trained on.

    Every test fold holds all rows of the environments that are left out beside
    held-out rows of those that are trained on; no training fold holds a row of the
    former.

    Parameters
    ----------
    observational : label or list of labels, default=None
        Train on these environments only; all others are left out together. None
        leaves out one environment after the other and trains on the rest.
    n_splits : int, default=3
        Folds of the rows that are trained on.
    shuffle : bool, default=True
        Whether rows are shuffled before they are divided into folds.
    random_state : int, RandomState or None, default=0
        None is 0.

    Attributes
    ----------
    protocol : str
        Name of the protocol: "leave-one-environment-out".

    Notes
    -----
    A choice among models by these folds has seen the environments that they leave
    out: a claim about one of those is an "oracle" claim, see
    :func:`~sklearn_icm.model_selection.search_results`.

    Examples
    --------
    >>> labels = ["narrow"] * 4 + ["wide"] * 2
    >>> cv = LeaveEnvironmentOut(observational="narrow", n_splits=2, shuffle=False)
    >>> for train, test in cv.split(labels, labels):
    ...     print(train, test)
    [2 3] [0 1 4 5]
    [0 1] [2 3 4 5]
    """

    protocol = "leave-one-environment-out"

    def __init__(self, observational=None, *, n_splits=3, shuffle=True, random_state=0):
        self.observational = observational
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def _n_parts(self, X, y, environments):
        return len(self._environments(X, y, environments)[1])

    def _parts(self, X, y, environments):
        labels, held_out = self._environments(X, y, environments)
        for group in held_out:
            yield find_rows(labels, group), np.empty((len(labels), 0))

    def _environments(self, X, y, environments):
        labels = resolve_environments(
            X, y, environments, required_by=type(self).__name__
        )
        present = list(dict.fromkeys(labels.tolist()))
        trained = []
        if self.observational is not None:
            trained = as_label_list(self.observational)
            find_rows(labels, trained)
        held_out = [label for label in present if label not in trained]
        if not held_out or len(present) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of at least one environment beside "
                f"the ones that are trained on, got the labels {present} with "
                f"observational={self.observational!r}."
            )
        if self.observational is not None:
            return labels, [held_out]
        return labels, [[label] for label in held_out]
