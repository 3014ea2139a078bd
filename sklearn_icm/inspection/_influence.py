"""Display of what the units of a node do to the data."""

import numpy as np

from ..utils.pipelines import before_last, chosen_estimator, last_step
from ._plotting import axes_or_new, chosen_node, draw_grid, drawn_as, first_rows

__all__ = ["InfluenceMapDisplay"]


class InfluenceMapDisplay:
    """Influence maps of units of a node: where the data changes when they do.

    Parameters
    ----------
    maps : ndarray of shape (n_units, n_features)
        Mean absolute changes, in the units of the data.
    data_shape : tuple of int
        Shape of one row of data.
    data_kind : {"auto", "signal", "image"}
        As the estimators take it. A signal of several channels is drawn as one curve
        per channel.
    labels : list of str
        One per unit.

    Attributes
    ----------
    ax_, figure_, artists_
        Set by `plot`.

    References
    ----------
    Besserve, Mehrjou, Sun, Schölkopf (2020), *Counterfactuals uncover the modular
    structure of deep generative models*, arXiv 1812.03253.
    """

    def __init__(self, maps, *, data_shape, data_kind="auto", labels):
        self.maps = maps
        self.data_shape = data_shape
        self.data_kind = data_kind
        self.labels = labels

    @classmethod
    def from_estimator(
        cls, estimator, X=None, *, node=None, units=None, ax=None, **params
    ):
        """Measure the influence of every unit of a node and plot it.

        Parameters
        ----------
        estimator : fitted generator with a data_shape, or pipeline that ends in one
            The maps of a plain Pipeline are in the units of its last step.
        X : array-like of shape (n_samples, n_features), optional
            Rows to hybridise; None draws from the model.
        node : str, optional
            None takes the first hidden map of the finest grid.
        units : list of int or of lists of int, optional
            Units, or groups of them that are taken together; None takes the first ten.
        ax : matplotlib axes, optional
        **params : dict
            As `influence_map` takes them: ``n_samples``, ``random_state``.

        Returns
        -------
        InfluenceMapDisplay
        """
        estimator, node = chosen_estimator(estimator), chosen_node(estimator, node)
        X = None if X is None else first_rows(X, None)
        if not hasattr(estimator, "influence_map"):
            X = None if X is None else before_last(estimator, X)
            estimator = last_step(estimator)
        if units is None:
            units = range(min(10, estimator.nodes_[node][0]))
        maps = [estimator.influence_map(node, unit, X, **params) for unit in units]
        labels = [f"{node}[{unit}]" for unit in units]
        display = cls(np.stack(maps), **drawn_as(estimator), labels=labels)
        return display.plot(ax=ax)

    def plot(self, ax=None):
        """Plot one map per unit side by side, all on one scale.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        self : object
        """
        self.ax_ = axes_or_new(ax, (1 + len(self.maps), 1.8))
        self.figure_ = self.ax_.figure
        self.artists_ = draw_grid(
            self.ax_,
            self.maps[None],
            self.data_shape,
            ["influence"],
            self.labels,
            data_kind=self.data_kind,
        )
        return self
