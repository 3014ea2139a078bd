"""Display of the results of a search over one parameter."""

from numbers import Real

import numpy as np

from ..model_selection import search_results
from ._plotting import COLOURS, Display

__all__ = ["SearchDisplay"]

# Values further apart than by this factor are drawn on a logarithmic axis.
FAR_APART = 10


class SearchDisplay(Display):
    """Scores of a search along one parameter, such as the weight of a penalty.

    Means over the folds, with their standard errors.

    Parameters
    ----------
    table : DataFrame
        What :func:`~sklearn_icm.model_selection.search_results` returns.
    param : str
        Name of the parameter, as the search has it.
    scorers : list of str
        Names of the scores. The first is drawn on the left axis, the others, which may
        have another unit, on the right one.

    Attributes
    ----------
    ax_, right_ax_, figure_, lines_
        Set by `plot`; a line per scorer, by its name. `right_ax_` is None for one.
    """

    def __init__(self, table, param, scorers):
        self.table, self.param, self.scorers = table, param, scorers

    @classmethod
    def from_search(cls, search, *, param=None, scorers=None, ax=None):
        """Plot the results of a fitted search.

        Parameters
        ----------
        search : fitted GridSearchCV, RandomizedSearchCV or halving search
        param : str, optional
            None takes the only parameter that the search has varied.
        scorers : list of str, optional
            None takes all, the one that the search chose by first.
        ax : matplotlib axes, optional

        Raises
        ------
        ValueError
            If the search has varied other parameters than `param`, or has no such
            scorer.
        """
        table = search_results(search)
        known = [name[10:] for name in table if name.startswith("mean_test_")]
        chosen_by = search.refit if search.refit in known else known[0]
        if scorers is None:
            scorers = sorted(known, key=lambda name: name != chosen_by)
        unknown = [name for name in scorers if name not in known]
        if unknown or not scorers:
            raise ValueError(f"scorers must be some of {known}, got {scorers!r}.")
        return cls(table, _varied(table, param), scorers).plot(ax=ax)

    def _draw(self):
        self.right_ax_ = None
        table, places = self._along()
        first, *others = self.scorers
        if others:
            self.right_ax_ = self.ax_.twinx()
            self.right_ax_.set_ylabel("other scores")
        self.lines_ = {}
        for k, name in enumerate(self.scorers):
            ax, style = (self.right_ax_, ":s") if k else (self.ax_, "-o")
            self.lines_[name], *_ = ax.errorbar(
                places,
                table[f"mean_test_{name}"],
                yerr=table[f"se_test_{name}"],
                **{"fmt": style, "capsize": 3, "color": COLOURS[k % len(COLOURS)]},
            )
            self.lines_[name].set_label(f"{name} (left)" if others and not k else name)
        self.ax_.set(xlabel=self.param, ylabel=first)
        title = f"Scores along {self.param}, with standard errors over folds"
        self._legend(title, list(self.lines_.values()))

    def _along(self):
        """Rows in the order of the parameter, and where they are drawn."""
        name = f"param_{self.param}"
        # Of a halving search the last round that a candidate was in.
        last = ~self.table[name].map(repr).duplicated(keep="last")
        table = self.table[last]
        if not all(
            isinstance(v, Real) and not isinstance(v, bool) for v in table[name]
        ):
            self.ax_.set_xticks(range(len(table)), map(str, table[name]))
            return table, np.arange(len(table))
        table = table.sort_values(name)
        values = table[name].to_numpy(dtype=float)
        positive = values[values > 0]
        if len(positive) and values[0] >= 0 and values[-1] >= FAR_APART * positive[0]:
            self.ax_.set_xscale("symlog", linthresh=positive[0])
        return table, values


def _varied(table, param):
    names = [name[6:] for name in table if name.startswith("param_")]
    varied = [n for n in names if table[f"param_{n}"].map(repr).nunique() > 1]
    if param is None and len(names) == 1:
        return names[0]
    if param is None and len(varied) == 1:
        return varied[0]
    if param not in names or set(varied) - {param}:
        raise ValueError(
            "A search is displayed along the one parameter that it varies; this one "
            f"varies {varied}, got param={param!r}."
        )
    return param
