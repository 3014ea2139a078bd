"""Displays of numbers: independence per pair, training curves."""

import numpy as np

from ._plotting import COLOURS, Display, fitted_generator, inner_rows

__all__ = ["IndependenceDisplay", "TrainingDisplay"]

# Of p-values below which a dependence counts as found.
LEVEL = 0.01
# Gains in power beyond this one are drawn by their logarithm.
LINEAR = 3


class IndependenceDisplay(Display):
    """Share of power that a random change gains at every pair, against its null band.

    Bands hold 95 % of the null draws. Of a graph over columns: the dependence of every
    mechanism's noise, filled where its p-value is below 0.01.

    Parameters
    ----------
    tables : dict of str to DataFrame
        Results of `independence`, by name: "decoder" is the causal direction,
        "encoder" the anticausal one.

    Attributes
    ----------
    ax_, figure_, points_, bands_
        Set by `plot`; points and bands per table (no bands of a graph over columns).
    """

    def __init__(self, tables):
        self.tables = tables

    @classmethod
    def from_estimator(cls, estimator, X=None, *, ax=None, **params):
        """Measure a fitted generator, and its encoder if it has one, and plot.

        Parameters
        ----------
        estimator : fitted generator, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features), optional
            Rows for `independence`, as the estimator takes them.
        ax : matplotlib axes, optional
        **params : dict
            As `independence` takes them.
        """
        generator = fitted_generator(estimator)
        params |= inner_rows(estimator, X)
        tables = {"decoder": generator.independence(**params)}
        if hasattr(generator, "encoder_"):
            tables["encoder"] = generator.independence(network="encoder", **params)
        return cls(tables).plot(ax=ax)

    def _size(self):
        n_pairs = sum(len(table) for table in self.tables.values())
        columns = ["mechanism", "against", "pair"]
        names = [t.filter(columns).sum(axis=1) for t in self.tables.values()]
        longest = max((len(name) for table in names for name in table), default=0)
        return max(6, 4.2 + 0.08 * longest), 1.4 + 0.45 * max(1, n_pairs)

    def _draw(self):
        self.points_, self.bands_, labels = [], [], []
        if any("dependence" in table for table in self.tables.values()):
            self._draw_dependence()
            return
        self.ax_.use_sticky_edges = False
        for k, (name, table) in enumerate(self.tables.items()):
            y = np.arange(len(labels), len(labels) + len(table))
            low, high = table["low"].to_numpy(), table["high"].to_numpy()
            style = {"left": low, "height": 0.5, "color": COLOURS[k], "alpha": 0.3}
            self.bands_.append(self.ax_.barh(y, high - low, **style))
            points = {"color": COLOURS[k], "label": f"{name}, as trained"}
            self.points_ += self.ax_.plot(table["power_change"], y, "o", **points)
            labels += [f"{name}: {pair}" for pair in table["pair"]]
        self.ax_.axvline(0, color="0.5", linewidth=1)
        if max(table["high"].max() for table in self.tables.values()) > LINEAR:
            self.ax_.set_xscale("symlog", linthresh=1)
        xlabel = "gain in power by a random change\n(bands: 95 % of random weights)"
        self._label_rows(labels, xlabel, "Independence of successive mechanisms")

    def _draw_dependence(self):
        (table,) = self.tables.values()
        found = table["p_value"].to_numpy() < LEVEL
        y, dependence = np.arange(len(table)), table["dependence"].to_numpy()
        for chosen, face, label in (
            (found, COLOURS[5], f"p < {LEVEL}"),
            (~found, "white", f"p >= {LEVEL} or not tested"),
        ):
            style = {"markerfacecolor": face, "color": COLOURS[5], "label": label}
            self.points_ += self.ax_.plot(dependence[chosen], y[chosen], "o", **style)
        labels = table["mechanism"] + " against " + table["against"]
        self.ax_.axvline(0, color="0.5", linewidth=1)
        self.ax_.locator_params(axis="x", nbins=5)
        xlabel = "dependence of the noise (0 = independent)"
        self._label_rows(labels, xlabel, "Independence of the noise of a table")


class TrainingDisplay(Display):
    """Loss terms along training, and the penalty (if any) on the right axis.

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
        estimator : fitted generator, or pipeline that ends in one
        ax : matplotlib axes, optional
        """
        return cls(fitted_generator(estimator).history_).plot(ax=ax)

    def _draw(self):
        epochs, terms = self.history.index, self.history.filter(regex=r"^(?!penalty)")
        terms = terms.drop(columns=["icm_weight", "duration"], errors="ignore")
        self.lines_, names = [], [name.removeprefix("valid_") for name in terms]
        for name, values in terms.items():
            place = list(dict.fromkeys(names)).index(name.removeprefix("valid_"))
            style = {"color": COLOURS[place % len(COLOURS)], "label": name}
            kind = "--" if name.startswith("valid_") else "-"
            self.lines_ += self.ax_.plot(epochs, values, kind, **style)
        if "penalty" in self.history:
            style = {"linestyle": ":", "color": "0.4", "label": "penalty (right)"}
            right = self.ax_.twinx()
            self.lines_ += right.plot(epochs, self.history["penalty"], **style)
            right.set_ylabel("penalty, not weighted")
        self.ax_.set(xlabel="epoch", ylabel="nats per feature")
        self._legend("Training", self.lines_)
