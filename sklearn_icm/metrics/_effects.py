"""Average effects of interventions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Integral

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..base import is_generator
from ..compose._wrap import (
    beyond_rows,
    in_input_space,
    over_refits,
    rows_under,
    what_is_counted,
    widened,
)
from ..utils.checks import check_level, check_scalar, is_count, plain
from ..utils.pipelines import chosen_estimator, last_step

__all__ = ["AverageEffect", "average_effect"]

# Draws of each row in which values are missing; groups.
DRAWS_OF_MISSING, MOST_GROUPS = 10, 50


@dataclass(frozen=True, repr=False)
class AverageEffect:
    """A mean difference with its interval, made and documented by `average_effect`."""

    effect: float
    low: float
    high: float
    level: float
    n_samples: int
    counts: str

    def __repr__(self):
        return (
            f"AverageEffect({self.effect:.4g}, {100 * self.level:g} % interval "
            f"{self.low:.4g} to {self.high:.4g} of {self.counts}; "
            f"{self.n_samples} pairs)"
        )


def average_effect(
    estimator,
    node,
    a,
    b,
    target,
    *,
    n_samples=1000,
    X=None,
    by=None,
    level=0.95,
    random_state=None,
):
    """Mean of a target under one intervention minus its mean under another.

    Parameters
    ----------
    estimator : fitted generator, or pipeline that ends in one
        Of a :class:`~sklearn_icm.compose.BootstrapGenerator` the interval counts
        estimation too.
    node : str or None
        Node that is intervened on; None for several nodes, which `a` and `b` name.
    a, b : intervention, callable, number, array or dict
        What is compared, as `intervene` takes it for a node, or without a node the dict
        of nodes that it takes. None is no intervention.
    target : int, str or callable
        What is measured: index or name of a column, in input space, or a callable on
        rows ``(n, n_features) -> (n,)``.
    n_samples : int, default=1000
        Rows to draw from the model, at least 2; not used with X.
    X : array-like of shape (n, n_features), optional
        Rows whose counterfactuals are compared instead: the effect on these. What is
        missing in them is drawn, if the estimator takes missing values, several times
        for each row.
    by : int, str or array-like of shape (n,), optional
        Effects by group: of the values that rows have in a column before a and b, or,
        with X, of a label for each row.
    level : float, default=0.95
        Coverage of the interval, between 0 and 1.
    random_state : int, RandomState or None, default=None
        Of the draws; None draws from the model's `random_state_`.

    Returns
    -------
    AverageEffect, or DataFrame
        ``effect``, the mean difference in the units of the target; ``low`` and
        ``high``, the ends of its interval; ``level``; ``n_samples``, pairs of rows that
        it is the mean over; ``counts``, what the interval covers, and, of a bootstrap
        that is asked beyond its rows, what the answer relies on there. By groups a row
        for each, with the first three and ``n_samples``; ``attrs`` has the other two.
        Rows whose group is missing are in none.

    Raises
    ------
    TypeError
        If the estimator is no generator, or a node and dicts do not fit together.
    ValueError
        For an unknown node or target, fewer than 2 rows (of a group, too), more than 50
        groups, or a target that is not finite; of a bootstrap, for interventions on
        units of a hidden node.

    Notes
    -----
    Both sides share all noise, so the effect is the mean of paired differences, and
    the interval the normal one of that mean. Of a single fit it covers the draws (or
    the choice of the rows X) alone, and not how well the model is estimated, which may
    be all that is unsure: if all rows change by the same, as under ``Shift`` in a
    linear model, it has no width. That of a bootstrap is about as wide as both
    together. It does not cover what its refits share: a wrong graph, a hidden cause,
    values beyond the range of the rows, where ``counts`` has the sentence of
    ``support``. A target of whole numbers is rounded, which
    widens it; what is cut off at the ends of its range is lost to the effect. Of a
    target that is True or False, or a level of two numbers, it is the adjusted interval
    of Bonett and Price, which has a width where no pair differs.

    References
    ----------
    Blöbaum, Götz, Budhathoki, Mastakouri, Janzing (2022), *DoWhy-GCM: an extension of
    DoWhy for causal inference in graphical causal models*, arXiv 2206.06821: the
    query ``average_causal_effect``. Bonett, Price (2012), *Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data*, Journal of
    Educational and Behavioral Statistics 37.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> vae = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2, bounds=None)
    >>> vae = vae.fit(load_iris(as_frame=True).data)
    >>> average_effect(vae, "data", 5.0, 3.0, "sepal length (cm)").effect
    2.0
    >>> sides = {"dense1": 1.0, "data": 5.0}, {"data": 3.0}
    >>> average_effect(vae, None, *sides, "sepal length (cm)").effect
    2.0

    By groups, here those who are young:

    >>> import numpy as np
    >>> from sklearn_icm.generators import GraphGenerator
    >>> rng = np.random.RandomState(0)
    >>> young, dose = rng.rand(2, 400) < 0.5
    >>> cured = (1.0 + 2.0 * young) * dose + rng.randn(400)
    >>> X = np.column_stack([young, dose, cured])
    >>> model = GraphGenerator([(0, 2), (1, 2)], random_state=0).fit(X)
    >>> effects = average_effect(model, "x1", 1.0, 0.0, 2, X=X, by=0)
    >>> effects["effect"].round().to_dict()
    {0.0: 1.0, 1.0: 3.0}
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=2)
    check_level(level)
    if not is_generator(estimator):
        raise TypeError(
            "average_effect needs a generator with `intervene`, got "
            f"{type(estimator).__name__}."
        )
    check_is_fitted(last_step(estimator))
    place, measure = _resolve_target(estimator, target)
    stream = (
        last_step(estimator).random_state_ if random_state is None else random_state
    )
    query = {"random_state": check_random_state(stream).randint(2**31 - 1)}
    if X is None:
        query["n_samples"] = n_samples
    elif pd.isna(np.asarray(X)).any():
        query["n_draws"] = DRAWS_OF_MISSING
    sides = [_changes(node, side) for side in (a, b)]
    levels = in_input_space(estimator).space_.levels.get(place, ())
    groups = _Groups(estimator, by, X, query)

    def ask(model):
        under = [_measured_under(model, side, X, query, measure) for side in sides]
        is_choice = under[0].dtype == bool or len(levels) == 2
        # No difference of two values is larger than theirs.
        known = np.asarray(levels if len(levels) == 2 else (0, 1), dtype=np.float64)
        reach, found = np.ptp(known) if is_choice else 0.0, []
        for rows in groups.of(model, under[0].shape[1]):
            own = [side[:, rows] for side in under]
            ends = [np.nan] * 3
            if rows.sum() > 1:
                ends = paired_mean(*own, level, of_two_values=is_choice)
            found.append((*ends, reach, rows.sum()))
        return found

    found, half, n_refits = over_refits(estimator, ask, level=level, changes=sides)
    effect, low, high, reach, n_rows = found.T
    groups.check(n_rows)
    reach = np.where(reach > 0, reach, np.inf)
    low, high = widened(effect, low, high, half[:, 0], (-reach, reach))
    counts = what_is_counted("the draws" if X is None else "the rows X", n_refits)
    counts = ". ".join([counts, *beyond_rows(estimator, sides, X, n_samples)])
    if by is None:
        numbers = (float(part[0]) for part in (effect, low, high))
        return AverageEffect(*numbers, level, int(n_rows[0]), counts)
    columns = {"effect": effect, "low": low, "high": high}
    table = pd.DataFrame(columns, index=groups.index())
    table.attrs = {"level": level, "counts": counts}
    return table.assign(n_samples=n_rows.astype(int))


def _measured_under(model, side, X, query, measure):
    """What is measured under one side, (n_draws, n)."""
    rows = rows_under(model, side, X, **query)
    draws = rows if "n_draws" in query else [rows]
    return np.stack([measure(draw) for draw in draws])


class _Groups:
    """Which rows are in which group: all in one, or by a column or labels.

    Rows that a model draws are grouped by what they are without an intervention.
    """

    def __init__(self, estimator, by, X, query):
        self.by, self.place, self.query, self.labels = by, None, query, None
        if by is None:
            self.names = [None]
            return
        if isinstance(by, (str, Integral)):
            self.place = _resolve_column(estimator, by, "by")
            self.labels = None if X is None else _column_of(X, by, self.place)
        elif X is None:
            raise ValueError(
                "by must be a column where X is None, for rows that are drawn have no "
                f"labels yet, got {type(by).__name__}."
            )
        else:
            self.labels = np.asarray(by, dtype=object)
            if self.labels.shape != (len(X),):
                raise ValueError(
                    f"by must be a column, or a label for each of {len(X)} rows, got "
                    f"labels of shape {self.labels.shape}."
                )
        labels = self._of(in_input_space(estimator))
        # Categories come in their order, others sorted.
        is_one_type = labels is self.labels and isinstance(
            by, (pd.Series, pd.Categorical)
        )
        found = pd.factorize(by if is_one_type else labels, sort=True)[1]
        self.names = list(found)
        if len(self.names) > MOST_GROUPS:
            raise ValueError(
                f"by makes {len(self.names)} groups, more than {MOST_GROUPS}: give "
                "labels of a few, such as pandas.cut(X[column], [0, 30, 60])."
            )

    def _of(self, model):
        if self.labels is not None:
            return self.labels
        rows = rows_under(model, {}, None, **self.query)
        return rows[:, self.place]

    def of(self, model, n_rows):
        """Masks (n,) of the groups' rows, of a model's own draws if none are given."""
        if self.by is None:
            return [np.ones(n_rows, bool)]
        labels = self._of(model)
        return [labels == name for name in self.names]

    def check(self, sizes):
        """Refuse groups of fewer than two rows."""
        for name, size in zip(self.names, sizes, strict=True):
            if size < 2:
                of = "X" if self.by is None else f"The group {plain(name)!r}"
                raise ValueError(
                    f"{of} must have at least 2 rows for an interval, got {int(size)}."
                )

    def index(self):
        """Index of a table with a row for each group."""
        name = self.by if self.place is not None else getattr(self.by, "name", None)
        return pd.Index(self.names, name=name)


def _column_of(X, by, place):
    """Values of a column of rows, found by its name in a frame."""
    if hasattr(X, "columns"):
        name = by if isinstance(by, str) else list(X.columns)[place]
        return np.asarray(X[name])
    return np.asarray(X)[:, place]


def _changes(node, side):
    """What one side does, as `intervene` takes it."""
    if isinstance(node, Mapping):
        raise TypeError(
            "node must be the name of a node, or None with dicts as a and b, got "
            f"{node!r}. For several nodes: average_effect(estimator, None, {{node: "
            "intervention, ...}, {node: intervention, ...}, target)."
        )
    if side is None:
        return {}
    if (node is None) != isinstance(side, Mapping):
        raise TypeError(
            "a and b must be dicts {node: intervention} if node is None, and none "
            f"otherwise, got {side!r} with node={node!r}."
        )
    return dict(side) if node is None else {node: side}


def paired_mean(first, second, level, *, of_two_values=False):
    """Mean difference of paired values, (n,) or (n_draws, n), and its interval.

    Of truth values, or of another two values, shares. Three numbers, (mean, low, high);
    it is of the draws or rows alone.
    """
    first, second = np.atleast_2d(first, second)
    if first.dtype == bool or of_two_values:
        draws = zip(first, second, strict=True)
        return np.mean([_mean_of_pairs(*draw, level) for draw in draws], axis=0)
    return _mean_difference(first, second, level)


def _mean_of_pairs(first, second, level):
    """The mean difference of two values, and its interval.

    That is of one more pair in either direction.
    """
    n, unit = len(first), 1.0
    if first.dtype != bool:
        values = np.unique([first, second])
        unit = float(np.ptp(values)) or 1.0
    differences = np.subtract(first, second, dtype=np.float64) / unit
    mean = differences.mean()
    more, less = (
        (np.count_nonzero(side > 0) + 1) / (n + 2)
        for side in (differences, -differences)
    )
    half = norm.isf((1 - level) / 2) * np.sqrt(
        (more + less - (more - less) ** 2) / (n + 2)
    )
    low, high = max(more - less - half, -1), min(more - less + half, 1)
    ends = unit * min(low, mean), unit * max(high, mean)
    return unit * mean, *ends


def _mean_difference(first, second, level):
    """The mean difference of (n_draws, n) values, and its normal interval."""
    differences = (first - second).mean(0)
    mean = differences.mean()
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    half = norm.isf((1 - level) / 2) * error
    return mean, mean - half, mean + half


def _resolve_target(estimator, target):
    """Place of the column, or None for a callable; and ``rows -> (n,)``."""
    if callable(target):
        return None, partial(_measured, target)
    place = _resolve_column(estimator, target, "target", "a callable on rows, ")
    return place, partial(_column, place)


def _resolve_column(estimator, column, parameter, other=""):
    """Place of a column that is named, or given by its place."""
    estimator = chosen_estimator(estimator)
    n, names = estimator.n_features_in_, getattr(estimator, "feature_names_in_", ())
    places = {name: k for k, name in enumerate(names)}
    place = places.get(column) if isinstance(column, str) else column
    if not is_count(place, 0) or place >= n:
        known = f" or one of the names {list(places)}" if places else ""
        raise ValueError(
            f"{parameter} must be {other}a column index from 0 to {n - 1}{known}, got "
            f"{column!r}."
        )
    return place


def _column(k, rows):
    try:
        return rows[:, k].astype(np.float64)
    except (TypeError, ValueError):
        level = plain(rows[0, k])
        raise ValueError(
            f"target is the column {k}, whose values, such as {level!r}, have no mean. "
            f"Give a callable, such as lambda rows: rows[:, {k}] == {level!r}."
        ) from None


def _measured(target, rows):
    values = np.asarray(target(rows))
    if values.dtype != bool:
        values = values.astype(np.float64)
    if values.shape != (len(rows),) or not np.isfinite(values).all():
        raise ValueError(
            f"target must return a finite number for each of {len(rows)} rows, got "
            f"the shape {values.shape} with {np.count_nonzero(~np.isfinite(values))} "
            "values that are not finite."
        )
    return values
