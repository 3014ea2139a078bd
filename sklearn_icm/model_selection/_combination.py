"""Splitter that leaves out combinations of levels whose levels are all trained on."""

from math import ceil
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, check_random_state

from ..utils.checks import is_count
from ._split import PartSplitter

__all__ = ["LeaveCombinationOut"]


class LeaveCombinationOut(PartSplitter):
    """Leave out combinations of levels: known levels, never seen together.

    Rows are labelled by two or more discrete factors, such as shape and colour. No
    training fold holds a row of a combination that is left out, but every level of
    every factor occurs in every training fold. Test folds hold all rows of the
    combinations that are left out beside held-out rows of the others.

    Parameters
    ----------
    combinations : list of tuples, default=None
        Combinations to leave out, one level per factor; None draws them.
    test_size : float or int, default=0.2
        How many to draw: a share of the combinations that occur (rounded up), or a
        number.
    n_splits, shuffle, random_state : optional
        As :class:`LeaveEnvironmentOut` takes them.

    Attributes
    ----------
    protocol : str
        Name of the protocol: "leave-combination-out".

    Notes
    -----
    The factors are ``environments``, or ``y`` without it: a 2-D array, a DataFrame or
    a list of tuples with one row per sample. So ``y`` may hold environment labels for
    estimator and scorer while the splitter gets its factors by metadata routing, under
    a name of their own (estimator and scorer take ``environments`` for themselves)::

        sklearn.set_config(enable_metadata_routing=True)
        cv = LeaveCombinationOut().set_split_request(environments="factors")
        GridSearchCV(..., cv=cv).fit(X, labels, factors=factors)

    Which combinations are drawn depends on those that occur, not on the order of rows.
    A test fold that would take the last trained rows of a level leaves one in training.

    References
    ----------
    Schott et al. (2022), *Visual representation learning does not generalize strongly
    within the same domain*, arXiv 2107.08221 (the split "composition").

    Examples
    --------
    >>> from itertools import product
    >>> factors = list(product(["cube", "ball"], ["red", "blue"])) * 2
    >>> cv = LeaveCombinationOut([("ball", "red")], n_splits=2, shuffle=False)
    >>> for train, test in cv.split(factors, factors):
    ...     print(train, test)
    [4 5 7] [0 1 3 2 6]
    [0 1 3] [4 5 7 2 6]
    """

    protocol = "leave-combination-out"

    def __init__(
        self,
        combinations=None,
        *,
        test_size=0.2,
        n_splits=3,
        shuffle=True,
        random_state=0,
    ):
        self.combinations = combinations
        self.test_size = test_size
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def _parts(self, X, y, environments):
        grid = _Grid(self._factors(X, y, environments))
        chosen = self._draw if self.combinations is None else self._check_given
        yield np.isin(grid.of_row, chosen(grid)), grid.codes

    def _factors(self, X, y, environments):
        factors = y if environments is None else environments
        if factors is None:
            raise ValueError(
                "LeaveCombinationOut needs the factors of every row: pass them as y, "
                "or as environments= (inside a search that needs "
                "sklearn.set_config(enable_metadata_routing=True))."
            )
        check_consistent_length(X, factors)
        factors = pd.DataFrame(factors)
        factors = factors.set_axis(range(factors.shape[1]), axis=1)
        n_missing = int(factors.isna().any(axis=1).sum())
        if n_missing:
            raise ValueError(
                f"Factors must not be missing, but {n_missing} of {len(factors)} rows "
                "lack one."
            )
        if factors.shape[1] < 2:
            raise ValueError(
                "LeaveCombinationOut needs two factors or more, one column each, got "
                f"{factors.shape[1]}. For one factor use LeaveEnvironmentOut."
            )
        return factors

    def _n_wanted(self, grid):
        size, n_present = self.test_size, len(grid.combinations)
        if is_count(size) and size < n_present:
            return int(size)
        if isinstance(size, Real) and 0 < size < 1:
            return ceil(size * n_present)
        raise ValueError(
            "test_size must be a float in (0, 1) or an int from 1 to "
            f"{n_present - 1} (rows have {n_present} combinations), got {size!r}."
        )

    def _draw(self, grid):
        """Indices of combinations that leave every level trained on."""
        n_wanted, counts, held = self._n_wanted(grid), grid.level_counts(), []
        for i in check_random_state(self._seed).permutation(len(grid.combinations)):
            levels = tuple(enumerate(grid.combinations[i]))
            if all(counts[level] > 1 for level in levels):
                held.append(i)
                for level in levels:
                    counts[level] -= 1
            if len(held) == n_wanted:
                return held
        raise ValueError(
            f"test_size asks for {n_wanted} of {len(grid.combinations)} combinations, "
            f"but only {len(held)} could be left out such that each level is still "
            "trained on. Lower test_size."
        )

    def _check_given(self, grid):
        index = {name: i for i, name in enumerate(grid.names)}
        given = [tuple(c) for c in self.combinations]
        absent = [c for c in given if c not in index]
        if absent or not given:
            raise ValueError(
                "combinations must be a non-empty list of tuples that occur in the "
                f"rows, one level per factor, got {absent or given}; the rows have "
                f"{grid.names[:20]}."
            )
        held = sorted({index[c] for c in given})
        trained = np.delete(grid.combinations, held, axis=0)
        for i in held:
            for factor, code in enumerate(grid.combinations[i]):
                if code not in trained[:, factor]:
                    raise ValueError(
                        f"The combination {grid.names[i]} cannot be left out: no row "
                        f"that is trained on would have {grid.names[i][factor]!r} as "
                        f"its factor {factor}."
                    )
        return held


class _Grid:
    """Levels of the factors as codes, and the combinations that occur."""

    def __init__(self, factors):
        rows = list(factors.itertuples(index=False, name=None))
        # By repr, since levels of mixed type have no order of their own.
        self.names = sorted(set(rows), key=lambda row: [*map(repr, row)])
        index = {name: k for k, name in enumerate(self.names)}
        self.of_row = np.array([index[row] for row in rows])
        levels = zip(*self.names, strict=True)
        codes = [pd.factorize(np.array(level, dtype=object))[0] for level in levels]
        self.combinations = np.column_stack(codes)
        self.codes = self.combinations[self.of_row]
        alike = np.flatnonzero(self.combinations.max(axis=0) == 0)
        if len(alike):
            raise ValueError(
                f"Every factor needs two levels or more, but factor {alike[0]} is "
                f"{self.names[0][alike[0]]!r} in all rows. Leave it out."
            )

    def level_counts(self):
        """In how many combinations each (factor, level) occurs."""
        n_levels = self.codes.max() + 1
        return np.stack(
            [np.bincount(c, minlength=n_levels) for c in self.combinations.T]
        )
