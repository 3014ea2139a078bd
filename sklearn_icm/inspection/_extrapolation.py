"""How well a changed model predicts other environments: a picture."""

import numpy as np

from ._plotting import COLOURS, Display

__all__ = ["ExtrapolationDisplay"]

# Columns that are drawn once, of the first table.
BESIDE = {
    "best": {"ls": "", "marker": "x", "label": "best simple baseline"},
    "ceiling": {"ls": "", "marker": "|", "markersize": 16, "label": "noise floor"},
}


class ExtrapolationDisplay(Display):
    """Skill per environment with intervals, beside the baselines and the floor.

    0 is the mean of the environment in every row, crosses are what the best baseline
    without a fitted generator reaches. The row of an environment without a shift stays
    empty.

    Parameters
    ----------
    tables : dict of str to DataFrame
        ``table_`` of the scorer's ``report`` per model, all with the same environments.

    Attributes
    ----------
    ax_, figure_, points_, baselines_, ceilings_
        Set by `plot`; points per model.
    """

    def __init__(self, tables):
        self.tables = tables

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, scorer, ax=None, **params):
        """Make the report of a fitted generator, or of several, and plot it.

        Parameters
        ----------
        estimator : fitted generator, or dict of name to fitted generator
        X, y
            As the scorer's ``report`` takes them.
        scorer : callable
            Made by :func:`~sklearn_icm.metrics.make_extrapolation_scorer`.
        ax : matplotlib axes, optional
        **params : dict
            Of the scorer's ``report``, such as ``level``.
        """
        models = estimator if isinstance(estimator, dict) else {"model": estimator}
        tables = {
            name: scorer.report(model, X, y, **params).table_
            for name, model in models.items()
        }
        return cls(tables).plot(ax=ax)

    def _size(self):
        names = next(iter(self.tables.values())).index.map(str)
        width = max(6, 4.2 + 0.08 * max(map(len, names)))
        return width, 1.7 + 0.4 * len(names) * len(self.tables)

    def _draw(self):
        # Without environments that cannot be told from usual rows.
        tables = [_shown(table) for table in self.tables.values()]
        places, self.points_ = np.arange(len(tables[0])), []
        for k, (name, table) in enumerate(zip(self.tables, tables, strict=True)):
            y = places + 0.6 * ((k + 1) / (len(tables) + 1) - 0.5)
            beside = np.abs(table[["low", "high"]].sub(table["skill"], axis=0)).T
            style = {"xerr": beside, "fmt": "o", "capsize": 3, "label": name}
            style["color"] = COLOURS[k % len(COLOURS)]
            self.points_.append(self.ax_.errorbar(table["skill"], y, **style))
        (self.baselines_,), (self.ceilings_,) = (
            self.ax_.plot(tables[0][column], places, color="0.4", **style)
            for column, style in BESIDE.items()
        )
        self.ax_.axvline(0, color="0.5", linewidth=1)
        xlabel = "skill (0 = the mean row, 1 = perfect; bar: interval)"
        title = "Environments that were not fitted"
        self._label_rows(tables[0].index.map(str), xlabel, title)


def _shown(table):
    best = [row[row["best_baseline"]] for _, row in table.iterrows()]
    shown = table[["skill", "low", "high", "ceiling"]].assign(best=best).astype(float)
    return shown.where(table["is_shifted"].astype(bool))
