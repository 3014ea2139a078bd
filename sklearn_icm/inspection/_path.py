"""Display of a regularisation path."""

from ..model_selection import icm_path
from ._plotting import axes_or_new

__all__ = ["ICMPathDisplay"]

# Not on the dimensionless axis: the abscissa, counts, and what is in nats.
OTHER_COLUMNS = {"icm_weight", "n_iter", "n_degenerate", "score"}


class ICMPathDisplay:
    """Fit and independence along the weight of the independence penalty.

    Parameters
    ----------
    table : DataFrame
        ``table`` of :func:`~sklearn_icm.model_selection.icm_path`.

    Attributes
    ----------
    ax_, right_ax_, figure_, lines_
        Set by `plot`; a line per column, by name of the column.
    """

    def __init__(self, table):
        self.table = table

    @classmethod
    def from_path(cls, path, *, ax=None):
        """Plot a path.

        Parameters
        ----------
        path : Bunch
            What `icm_path` returned.
        ax : matplotlib axes, optional

        Returns
        -------
        ICMPathDisplay
        """
        return cls(path.table).plot(ax=ax)

    @classmethod
    def from_estimator(cls, estimator, X, weights, *, ax=None, **params):
        """Fit a generator along a path, and plot.

        Parameters
        ----------
        estimator : generator with `icm_weight`, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features)
        weights : array-like of shape (n_weights,)
        ax : matplotlib axes, optional
        **params : dict
            As `icm_path` takes them.

        Returns
        -------
        ICMPathDisplay
        """
        return cls.from_path(icm_path(estimator, X, weights, **params), ax=ax)

    def plot(self, ax=None):
        """Plot the score on the left axis, what has no unit on the right one.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        self : object
        """
        self.ax_ = axes_or_new(ax, (6, 3.5))
        self.right_ax_ = self.ax_.twinx()
        self.figure_ = self.ax_.figure
        weights, self.lines_ = self.table["icm_weight"], {}
        if "score" in self.table:
            self._draw(self.ax_, "score", "k-o", "score (left)")
        measures = [name for name in self.table if name not in OTHER_COLUMNS]
        for k, name in enumerate(measures):
            self._draw(self.right_ax_, name, f"C{k}:s", name)
        positive = weights[weights > 0]
        if len(positive):
            self.ax_.set_xscale("symlog", linthresh=positive.min())
        self.ax_.set(xlabel="icm_weight", ylabel="score")
        self.right_ax_.axhline(0, color="0.7", linewidth=1)
        self.right_ax_.set_ylabel("measures without unit")
        # Above the axes, since curves may be anywhere within them.
        self.right_ax_.legend(
            handles=list(self.lines_.values()),
            **{"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)},
            **{"ncols": 3, "fontsize": "small"},
        )
        return self

    def _draw(self, ax, name, style, label):
        (self.lines_[name],) = ax.plot(
            self.table["icm_weight"], self.table[name], style, label=label
        )
