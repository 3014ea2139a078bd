"""Splitters over environments."""

from numbers import Integral

import numpy as np
from sklearn.model_selection import KFold
from sklearn.utils import check_scalar

from ..utils._sklearn import MetadataRequester
from ..utils.environments import as_label_list, find_rows, resolve_environments

__all__ = ["LeaveEnvironmentOut"]


class LeaveEnvironmentOut(MetadataRequester):
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

    Attributes
    ----------
    protocol : str
        Name of the protocol: "leave-one-environment-out".

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
    __metadata_request__split = {"environments": True}

    def __init__(self, observational=None, *, n_splits=3, shuffle=True, random_state=0):
        self.observational = observational
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def __repr__(self):
        return (
            f"{type(self).__name__}(observational={self.observational!r}, "
            f"n_splits={self.n_splits})"
        )

    def split(self, X, y=None, groups=None, environments=None):
        """Yield train and test indices.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y, environments : array-like of shape (n_samples,)
            Environment labels; one of the two.
        groups : ignored

        Yields
        ------
        train, test : ndarray of int
        """
        labels, held_out = self._environments(X, y, environments)
        folds = KFold(
            self.n_splits,
            shuffle=self.shuffle,
            random_state=self.random_state if self.shuffle else None,
        )
        for group in held_out:
            is_left_out = find_rows(labels, group)
            pool, left_out = np.flatnonzero(~is_left_out), np.flatnonzero(is_left_out)
            for train, test in folds.split(pool):
                yield pool[train], np.concatenate([pool[test], left_out])

    def get_n_splits(self, X=None, y=None, groups=None, environments=None):
        """Number of folds: `n_splits`, times the environments without `observational`.

        Parameters are those of `split`.

        Returns
        -------
        int
        """
        _, held_out = self._environments(X, y, environments)
        return self.n_splits * len(held_out)

    def _environments(self, X, y, environments):
        check_scalar(self.n_splits, "n_splits", Integral, min_val=2)
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
