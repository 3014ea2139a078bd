"""How well a changed model predicts other environments: a picture."""

import numpy as np

from ._plotting import Display

__all__ = ["ExtrapolationDisplay"]


class ExtrapolationDisplay(Display):
    """Skill per environment with intervals, beside the baselines and the floor.

    0 is no change, crosses are a shift of the mean. The row of an environment without a
    shift stays empty.

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
            Of the scorer's ``report``, such as ``n_bootstrap``.

        Returns
        -------
        ExtrapolationDisplay
        """
        models = estimator if isinstance(estimator, dict) else {"model": estimator}
        tables = {
            name: scorer.report(model, X, y, **params).table_
            for name, model in models.items()
        }
        return cls(tables).plot(ax=ax)

    def _size(self):
        n_rows = len(next(iter(self.tables.values())))
        return 6, 1.5 + 0.5 * n_rows * len(self.tables)

    def _draw(self):
        first = _where_shifted(next(iter(self.tables.values())))
        places = np.arange(len(first))
        self.points_ = []
        for k, (name, table) in enumerate(self.tables.items()):
            table = _where_shifted(table)
            y = places + 0.6 * ((k + 1) / (len(self.tables) + 1) - 0.5)
            beside = np.abs(
                table[["low", "high"]].to_numpy().T - table["skill"].to_numpy()
            )
            self.points_.append(
                self.ax_.errorbar(
                    table["skill"], y, xerr=beside, fmt="o", capsize=3, label=name
                )
            )
        (self.baselines_,) = self.ax_.plot(
            first["mean_shift_skill"],
            places,
            "x",
            color="0.4",
            label="shift of the mean",
        )
        (self.ceilings_,) = self.ax_.plot(
            first["ceiling"],
            places,
            "|",
            color="0.4",
            markersize=16,
            label="noise floor",
        )
        self.ax_.axvline(0, color="0.5", linewidth=1)
        self.ax_.set(
            yticks=places,
            yticklabels=[str(name) for name in first.index],
            xlabel="skill (0 = no change, 1 = perfect; bar: bootstrap interval)",
        )
        self.ax_.invert_yaxis()
        self.ax_.legend(loc="best", fontsize="small")


def _where_shifted(table):
    """What is plotted, without environments that cannot be told from usual rows."""
    shown = table[["skill", "low", "high", "mean_shift_skill", "ceiling"]]
    return shown.mask(table["low"].isna())
