"""One page on one intervention: what it does to given rows, and how sure that is."""

import base64
import io
from dataclasses import dataclass
from html import escape
from numbers import Integral

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.utils.validation import check_is_fitted

from ..base import is_generator
from ..compose._wrap import (
    in_input_space,
    over_refits,
    rows_under,
    what_is_counted,
    widened,
)
from ..metrics import counterfactual_errors
from ..metrics._effects import paired_mean
from ..utils.checks import check_level, check_scalar
from ..utils.pipelines import last_step
from ..utils.reports import Report
from ..utils.units import column_units
from ..utils.words import part_of
from ._plotting import COLOURS, Display

__all__ = ["what_if_report"]

# Columns that sentences name, that these look at, and that the figure shows.
MOST_NAMED, MOST_COMPARED, MOST_DRAWN = 5, 200, 30
# Rank correlation below which nothing is said of who moves.
LEAST_TOLD = 0.3
# Change in standard deviations that counts as none.
LEAST_MOVE = 1e-6
# Part of a change that float32 may make of none.
ALIKE = 1e-4


@dataclass(frozen=True, repr=False)
class WhatIfReport(Report):
    """What an intervention does, made and documented by `what_if_report`."""

    affected_: pd.DataFrame
    support_: pd.DataFrame
    errors_: pd.DataFrame

    def plot(self, ax=None):
        """Draw the effects with their intervals, in deviations of each column.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        Display
            With ``ax_`` and ``figure_``.
        """
        return EffectsDisplay(self.table_).plot(ax=ax)

    def _repr_html_(self):
        parts = [_image(self.table_), super()._repr_html_()]
        for title, table in (
            ("Most affected", self.affected_),
            ("Support", self.support_),
            ("Errors of counterfactuals", self.errors_),
        ):
            html = table.to_html(float_format="{:.3g}".format, na_rep="")
            parts.append(f"<h4>{escape(title)}</h4>{html}")
        return "".join(parts)


def what_if_report(
    estimator, interventions, X, *, level=0.95, n_affected=5, random_state=0
):
    """Say what an intervention does to given rows, how sure that is, and where not.

    Parameters
    ----------
    estimator : fitted generator, or pipeline that ends in one
        One that explains given rows. Of a
        :class:`~sklearn_icm.compose.BootstrapGenerator` intervals count estimation too.
    interventions : dict of str to intervention
        As `intervene` takes them.
    X : array-like of shape (n_samples, n_features)
        Rows to change, at least 2.
    level : float, default=0.95
        Coverage of the intervals, between 0 and 1.
    n_affected : int, default=5
        Rows to list of those that are moved most.
    random_state : int, RandomState or None, default=0
        Of interventions that are random; None is a fixed stream.

    Returns
    -------
    WhatIfReport
        ``table_``: one row per column (of levels, one per level, whose values are
        shares; of two levels the second): means ``before`` and ``after``, their
        difference ``effect`` with the ends ``low`` and ``high`` of its interval, the
        ``unit`` in which columns are compared (the standard deviation; of levels 1),
        ``moved``, the share of the rows that change, and whether the column is ``set``
        by the intervention itself. ``affected_``: the rows that move most, over columns
        that are not set: by how many units in all, and in those columns that move most.
        ``support_``: the table of `support`. ``errors_``:
        :func:`~sklearn_icm.metrics.counterfactual_errors`, by the axioms.
        ``sentences_``: all of this in words; `str` and `print` give them. In notebooks
        it is a page with a figure, which ``plot()`` draws.

    Raises
    ------
    TypeError
        If the estimator is no generator that explains rows.
    ValueError
        For an unknown node or fewer than 2 rows; of a bootstrap, for interventions on
        units of a hidden node.

    See Also
    --------
    sklearn_icm.metrics.average_effect : One number with its interval.
    sklearn_icm.inspection.GraphInterventionDisplay : The effects in the graph.

    Notes
    -----
    Intervals are those of :func:`~sklearn_icm.metrics.average_effect` between the
    intervention and none. They do not cover what all refits share: the graph, a hidden
    cause, values beyond the range of the rows.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn_icm.generators import GraphGenerator
    >>> dose = np.random.RandomState(0).normal(size=200)
    >>> X = pd.DataFrame({"dose": dose, "outcome": 2 * dose + dose[::-1]})
    >>> est = GraphGenerator([("dose", "outcome")], mechanism="linear").fit(X)
    >>> report = what_if_report(est, {"dose": 0.0}, X)
    >>> report.table_.loc["outcome", ["after", "moved"]].round(1).to_dict()
    {'after': 0.1, 'moved': 1.0}
    """
    _check(estimator, X, level, n_affected)
    asked = in_input_space(estimator)

    def sides_of(model):
        sides = {}, interventions
        rows = (rows_under(model, side, X, random_state=random_state) for side in sides)
        return [asked.space_.numeric(side, "The model") for side in rows]

    before, after = sides_of(asked)
    names, is_level, is_shown = _entries(asked.space_, before.shape[1])
    found, half, n_refits = over_refits(
        estimator,
        lambda model: _effects(*sides_of(model), is_level, level),
        level=level,
        changes=[interventions],
        answer=_effects(before, after, is_level, level),
    )
    table = _table(before, after, found, half[:, 0], is_level)
    table.index, table["set"] = names, _are_set(names, interventions)
    moves, units = _moves(before, after, is_level)
    table["unit"] = units
    table["moved"] = (np.abs(moves) > LEAST_MOVE).mean(0)
    free = ~table["set"].to_numpy()
    # A change of level is one, though two shares change.
    total = np.abs(moves[:, free]) @ np.where(is_level, 0.5, 1.0)[free]
    index = X.index if isinstance(X, pd.DataFrame) else range(len(moves))
    moves = pd.DataFrame(moves[:, free & is_shown], index, names[free & is_shown])
    table = table[is_shown]
    # A bootstrap tells its trust as well.
    support = getattr(estimator, "support", asked.support)
    support = support(interventions, X, random_state=random_state)
    named = {"the intervention": interventions}
    errors = counterfactual_errors(asked, X, named, random_state=random_state)
    axioms = errors.sentences_.droplevel(0)
    counts = what_is_counted("the rows X", n_refits)
    told = {
        "effects": _told_effects(table, level, counts),
        "most affected": _told_affected(total, before, names),
        "support": support.sentences_["query"],
        **support.sentences_[support.sentences_.index == "trust"],
        "unexplained": _told_unexplained(asked, X),
        **axioms[errors.table_.iloc[0][axioms.index].notna()],
    }
    affected = _affected(moves, total, n_affected)
    return WhatIfReport(table, pd.Series(told), affected, support.table_, errors.table_)


def _check(estimator, X, level, n_affected):
    check_level(level)
    check_scalar(n_affected, "n_affected", Integral, min_val=1)
    if not is_generator(estimator) or not hasattr(last_step(estimator), "abduct"):
        raise TypeError(
            "what_if_report needs a generator that explains given rows (`abduct`), "
            f"got {type(last_step(estimator)).__name__}."
        )
    check_is_fitted(last_step(estimator))
    if X is None or len(X) < 2:
        raise ValueError(
            "X must be the rows to change, at least 2 for an interval, got "
            f"{None if X is None else len(X)}. Rows of the model itself are "
            "X=estimator.sample(1000)."
        )


# ------------------------------------------------------------------------ numbers
def _entries(space, width):
    """Names of numbers and of levels, "column = level"; which are levels, and shown.

    Of two levels the second is.
    """
    names, shown = space.names, []
    owners = space.columns_of(width)
    levels = iter([level for known in space.levels.values() for level in known])
    for k in owners:
        name = f"x{k}" if names is None else str(names[k])
        shown.append(f"{name} = {next(levels)}" if k in space.levels else name)
    is_level = np.isin(owners, list(space.levels))
    two = [k for k, known in space.levels.items() if len(known) == 2]
    is_first = np.diff(owners, prepend=-1) != 0
    is_shown = ~(is_first & np.isin(owners, two))
    return np.array(shown, dtype=object), is_level, is_shown


def _are_set(names, interventions):
    return [name.partition(" = ")[0] in interventions for name in names]


def _effects(before, after, is_level, level):
    """Mean differences with the ends of their intervals, (n_entries, 3)."""
    pairs = zip(after.T, before.T, is_level, strict=True)
    pairs = ((new > 0, old > 0) if own else (new, old) for new, old, own in pairs)
    return np.array([paired_mean(*pair, level) for pair in pairs])


def _table(before, after, found, half, is_level):
    effect, low, high = found.T
    # No difference of shares is larger.
    reach = np.where(is_level, 1.0, np.inf)
    low, high = widened(effect, low, high, half, (-reach, reach))
    means = [np.where(is_level, side > 0, side).mean(0) for side in (before, after)]
    return pd.DataFrame(
        {
            "before": means[0],
            "after": means[1],
            "effect": effect,
            "low": low,
            "high": high,
        }
    )


def _moves(before, after, is_level):
    """Change of every row in units of the columns, and these; of levels 1, -1 or 0."""
    change = np.where(is_level, (after > 0) * 1.0 - (before > 0), after - before)
    units = np.where(is_level, 1.0, column_units(before))
    # A constant has no deviation: its own unit.
    units[units == 0] = 1.0
    return change / units, units


def _affected(moves, total, n_affected):
    """The rows that move most, and how, in the columns that move most."""
    most = np.argsort(-total, kind="stable")[:n_affected]
    sizes = moves.abs().mean().to_numpy()
    columns = np.argsort(-sizes, kind="stable")[: min(MOST_NAMED, (sizes > 0).sum())]
    shown = moves.iloc[most, np.sort(columns)]
    shown.insert(0, "moved in all", total[most])
    return shown


def _by_size(table):
    """Columns in the order of their effects, the largest first."""
    sizes = (table["effect"] / table["unit"]).abs().to_numpy()
    return table.iloc[np.argsort(-sizes, kind="stable")]


# -------------------------------------------------------------------------- words
def _told_effects(table, level, counts):
    free = table[~table["set"]]
    changed = free[free["moved"] > 0]
    if changed.empty:
        return "Nothing changes but what is set."
    changed = _by_size(changed)
    parts = [
        f"{name} changes by {row.effect:.3g} on average ({row.low:.3g} to "
        f"{row.high:.3g})"
        for name, row in changed[:MOST_NAMED].iterrows()
    ]
    if len(changed) > len(parts):
        parts.append(f"{len(changed) - len(parts)} more columns change")
    if len(changed) < len(free):
        parts.append(f"{len(free) - len(changed)} of {len(free)} stay as they are")
    return f"{'; '.join(parts)}. Intervals ({100 * level:g} %) count {counts}."


def _told_affected(total, before, names):
    """How far rows move, and what those that move most have in common."""
    if not total.any():
        return "No row moves in a column that is not set."
    middle, most = np.quantile(total, [0.5, 0.95])
    if np.ptp(total) <= ALIKE * most:
        return f"All rows move alike, by {middle:.2g} deviations in all."
    text = (
        f"Rows move by {middle:.2g} deviations in the median, and one in twenty by "
        f"more than {most:.2g}"
    )
    varied = np.flatnonzero(np.ptp(before, axis=0) > 0)[:MOST_COMPARED]
    found = {k: spearmanr(before[:, k], total).statistic for k in varied}
    k = max(found, key=lambda k: abs(found[k]), default=None)
    if k is None or abs(found[k]) < LEAST_TOLD:
        return f"{text}; no column says which."
    more = "large" if found[k] > 0 else "small"
    return (
        f"{text}; those with {more} values of {names[k]} most (rank correlation "
        f"{found[k]:.2f})."
    )


def _told_unexplained(generator, X):
    share = float(np.mean(generator.abduct(X, return_unexplained=True).unexplained))
    return (
        f"The model {part_of(1 - share, 'explains')} these rows; what it does not is "
        "kept as it was."
    )


# ------------------------------------------------------------------------ picture
class EffectsDisplay(Display):
    """Effects on columns with their intervals, in deviations of the columns.

    Parameters
    ----------
    table : DataFrame
        ``table_`` of a `WhatIfReport`.

    Attributes
    ----------
    ax_, figure_, points_
        Set by `plot`; points of the columns, largest effects first.
    """

    def __init__(self, table):
        self.table = _by_size(table)[:MOST_DRAWN]

    def _size(self):
        return _size(self.table)

    def _draw(self):
        table, places = self.table, np.arange(len(self.table))
        shown = table[["effect", "low", "high"]].div(table["unit"], axis=0)
        beside = shown[["low", "high"]].sub(shown["effect"], axis=0).abs().T
        for is_set, label in ((False, "follows"), (True, "set")):
            own = (table["set"] == is_set).to_numpy()
            self.points_ = self.ax_.errorbar(
                shown["effect"][own],
                places[own],
                xerr=beside.loc[:, own].to_numpy(),
                fmt="s" if is_set else "o",
                capsize=3,
                color=COLOURS[int(is_set)],
                label=label,
            )
        self.ax_.axvline(0, color="0.5", linewidth=1)
        xlabel = "mean change in standard deviations (of levels: in shares)"
        self._label_rows(table.index, xlabel, "What changes, with intervals")


def _size(table):
    return 6, 1.2 + 0.35 * len(table)


def _image(table):
    """A figure for HTML; nothing where there is no matplotlib to draw it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ""
    display, file = EffectsDisplay(table), io.BytesIO()
    figure = Figure(figsize=_size(display.table), layout="constrained")
    display.plot(ax=figure.add_subplot())
    figure.savefig(file, format="png", dpi=100)
    code = base64.b64encode(file.getvalue()).decode()
    return (
        f'<img alt="Effects with their intervals" src="data:image/png;base64,{code}">'
    )
