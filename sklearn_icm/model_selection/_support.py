"""Splitter that trains on a part of the support of continuous factors."""

from numbers import Real

import numpy as np
from sklearn.utils import _safe_indexing, check_array, check_consistent_length

from ..utils.checks import check_choice
from ._split import PartSplitter

__all__ = ["SupportExtrapolationSplit"]

DEFAULT_INTERVALS = {
    "range": (0.0, 0.8),
    "gap": (0.25, 0.75),
    "corner": (0.0, 0.5),
    "l-shape": (0.0, 0.5),
}


class SupportExtrapolationSplit(PartSplitter):
    """Train on a part of the support of continuous factors, test on the rest.

    A factor of a row is *far* if it lies outside an interval between two quantiles. No
    training fold holds a row of the part that is left out; test folds hold all of it
    beside held-out rows of the trained support.

    Parameters
    ----------
    kind : {"range", "gap", "corner", "l-shape"}, default="range"
        What is left out: "range" rows with any far factor; "gap" those with none
        (interpolation); "corner" those whose factors are all far; "l-shape" those with
        two far factors or more, so that training sees each factor far alone, along the
        arms of an L. For two factors "corner" and "l-shape" are the same.
    interval : (low, high), default=None
        Levels of the quantiles of every factor, ``0 <= low < high <= 1``: high values
        are far for low = 0, low ones for high = 1. None is (0, 0.8) for "range",
        (0.25, 0.75) for "gap" and (0, 0.5) otherwise.
    columns : int, str or list of them, default=None
        Columns of X that are the factors, whatever ``y`` and ``environments`` are.
        None takes ``environments``, else ``y``, else all columns of X.
    n_splits, shuffle, random_state : optional
        As :class:`LeaveEnvironmentOut` takes them.

    Attributes
    ----------
    protocol : str
        "support-range", "support-gap", "support-corner" or "support-l-shape".

    Notes
    -----
    Quantiles are values that occur (the inverse of the empirical distribution, taken
    from the side of the far values), and the interval is closed. So what is left out
    depends neither on the order of rows nor on the scale or sign of a factor.

    A gap has trained rows on both sides in every factor. For a corner and an L every
    factor is far in a trained row of every fold; factors that move together have
    neither.

    References
    ----------
    Schott et al. (2022), *Visual representation learning does not generalize strongly
    within the same domain*, arXiv 2107.08221 (interpolation and extrapolation).
    Lachapelle, Mahajan, Mitliagkas, Lacoste-Julien (2023), *Additive decoders for
    latent variables identification and Cartesian-product extrapolation*, arXiv
    2307.02598 (the L).

    Examples
    --------
    >>> factors = [0.1, 0.5, 0.9, 0.3, 0.7]
    >>> cv = SupportExtrapolationSplit(interval=(0, 0.8), n_splits=2, shuffle=False)
    >>> for train, test in cv.split(factors, factors):
    ...     print(train, test)
    [3 4] [0 1 2]
    [0 1] [3 4 2]
    """

    def __init__(
        self,
        kind="range",
        *,
        interval=None,
        columns=None,
        n_splits=3,
        shuffle=True,
        random_state=0,
    ):
        self.kind = kind
        self.interval = interval
        self.columns = columns
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    @property
    def protocol(self):
        """Name of the protocol."""
        return f"support-{self.kind}"

    def _parts(self, X, y, environments):
        low, high = self._check_interval()
        factors = self._factors(X, y, environments)
        if self.kind in {"corner", "l-shape"} and factors.shape[1] < 2:
            raise ValueError(
                f"kind={self.kind!r} needs two factors or more, got "
                f"{factors.shape[1]}. For one factor use kind='range' or 'gap'."
            )
        side = (factors > _quantile(factors, high)).astype(int)
        side -= -factors > _quantile(-factors, 1 - low)
        n_far = np.count_nonzero(side, axis=1)
        left_out = {
            "range": n_far > 0,
            "gap": n_far == 0,
            "corner": n_far == side.shape[1],
            "l-shape": n_far > 1,
        }[self.kind]
        self._check_sides(left_out, side[~left_out])
        yield left_out, side

    def _check_interval(self):
        check_choice("kind", self.kind, DEFAULT_INTERVALS)
        interval = self.interval
        if interval is None:
            return DEFAULT_INTERVALS[self.kind]
        try:
            low, high = interval
            valid = isinstance(low, Real) and isinstance(high, Real)
        except (TypeError, ValueError):
            valid = False
        if not valid or not 0 <= low < high <= 1 or (low, high) == (0, 1):
            raise ValueError(
                "interval must be (low, high) with 0 <= low < high <= 1 and not all of "
                f"(0, 1), got {interval!r}."
            )
        if self.kind == "gap" and (low == 0 or high == 1):
            raise ValueError(
                "interval must be inside of (0, 1) for kind='gap', which trains on "
                f"both sides, got {interval!r}. For one side use kind='range'."
            )
        return low, high

    def _check_sides(self, left_out, trained):
        if not left_out.any() or not len(trained):
            verb = "leaves out" if len(trained) else "trains on"
            raise ValueError(
                f"kind={self.kind!r} {verb} no row at this interval. Choose another "
                "one; ties, dependent factors or few rows may be why."
            )
        needed = {"gap": (-1, 1), "range": ()}.get(self.kind)
        for factor, column in enumerate(trained.T):
            present = set(column.tolist())
            if needed is None and not present & {-1, 1}:
                raise ValueError(
                    f"kind={self.kind!r} needs trained rows where factor {factor} is "
                    "far while another is not, but there are none: the factors move "
                    "together. Use kind='range'."
                )
            if needed and not present.issuperset(needed):
                raise ValueError(
                    f"kind='gap' needs trained rows on both sides of factor {factor}, "
                    "but ties leave none on one. Choose another interval."
                )

    def _factors(self, X, y, environments):
        if self.columns is not None:
            return _select_columns(X, self.columns)
        given = [v for v in (environments, y, X) if v is not None]
        check_consistent_length(X, given[0])
        return _as_numbers(given[0])


def _quantile(factors, level):
    return np.quantile(factors, level, axis=0, method="inverted_cdf")


def _as_numbers(factors):
    try:
        factors = check_array(
            factors, ensure_2d=False, dtype=np.float64, input_name="factors"
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            "SupportExtrapolationSplit needs factors that are finite numbers, as "
            "environments, y or columns of X (name these in columns if y holds "
            f"labels): {error}"
        ) from error
    return factors.reshape(len(factors), -1)


def _select_columns(X, columns):
    columns = columns if isinstance(columns, (list, tuple)) else [columns]
    rows = X if hasattr(X, "columns") else np.asarray(X)
    try:
        factors = _safe_indexing(rows, list(columns), axis=1)
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(
            f"columns must be numbers or names of columns of X, got {columns!r}: "
            f"{error}"
        ) from error
    return _as_numbers(factors)
