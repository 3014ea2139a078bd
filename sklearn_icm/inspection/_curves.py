"""Displays of numbers: independence per pair, training curves."""

import numpy as np

from ._plotting import axes_or_new

__all__ = ["IndependenceDisplay", "TrainingDisplay"]


class IndependenceDisplay:
    """Generic ratio of every pair of successive mechanisms, against its null band.

    Parameters
    ----------
    table : DataFrame
        Result of `independence`.

    Attributes
    ----------
    ax_, figure_, points_, bands_
        Set by `plot`.
    """

    def __init__(self, table):
        self.table = table

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **params):
        """Measure a fitted generator and plot the result.

        Parameters
        ----------
        estimator : fitted generator
        ax : matplotlib axes, optional
        **params : dict
            As `independence` takes them.

        Returns
        -------
        IndependenceDisplay
        """
        return cls(estimator.independence(**params)).plot(ax=ax)

    def plot(self, ax=None):
        """Plot rho per pair; the band is two null deviations wide on either side.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        self : object
        """
        self.ax_ = axes_or_new(ax, (6, 1 + 0.5 * max(1, len(self.table))))
        self.figure_ = self.ax_.figure
        y = np.arange(len(self.table))
        band = 2 * self.table["null_sd"].to_numpy()
        self.bands_ = self.ax_.barh(
            y, 2 * band, left=1 - band, height=0.5, color="0.85", label="null, 2 sd"
        )
        (self.points_,) = self.ax_.plot(self.table["rho"], y, "o", label="rho")
        self.ax_.axvline(1, color="0.5", linewidth=1)
        self.ax_.set(
            yticks=y,
            yticklabels=self.table["pair"],
            xlabel="generic ratio rho (1 = independent)",
        )
        self.ax_.invert_yaxis()
        self.ax_.legend(loc="best", fontsize="small")
        return self


class TrainingDisplay:
    """Loss terms and penalty along training.

    Parameters
    ----------
    history : DataFrame
        `history_` of a fitted generator.

    Attributes
    ----------
    ax_, figure_, lines_
        Set by `plot`.
    """

    def __init__(self, history):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Plot the history of a fitted generator.

        Parameters
        ----------
        estimator : fitted generator
        ax : matplotlib axes, optional

        Returns
        -------
        TrainingDisplay
        """
        while hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        return cls(estimator.history_).plot(ax=ax)

    def plot(self, ax=None):
        """Plot loss terms on the left axis, the penalty on the right one.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        self : object
        """
        self.ax_ = axes_or_new(ax, (6, 3.5))
        self.figure_ = self.ax_.figure
        skipped = {"penalty", "icm_weight", "duration"}
        names = [c for c in self.history.columns if c not in skipped]
        epochs = self.history.index
        self.lines_ = [
            self.ax_.plot(epochs, self.history[name], label=name)[0] for name in names
        ]
        right = self.ax_.twinx()
        self.lines_ += right.plot(
            epochs, self.history["penalty"], ":", color="0.4", label="penalty (right)"
        )
        self.ax_.set(xlabel="epoch", ylabel="nats per feature")
        self.ax_.legend(handles=self.lines_, fontsize="small")
        return self
