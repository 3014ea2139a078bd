"""Displays of causal graphs: what an intervention changed."""

import textwrap

import numpy as np

from ..compose._wrap import over_refits, what_is_counted, widened
from ..utils.layers import layers_of
from ..utils.pipelines import check_graph_generator
from ._plotting import Display, inner_rows

__all__ = ["GraphInterventionDisplay"]

UNIT = "mean change in standard deviations\n(of levels: share of rows)"


class GraphInterventionDisplay(Display):
    """A causal graph whose nodes are coloured by how far an intervention moves them.

    Causes are above their effects; edges out of what moved are dark, and what is
    intervened on is a square.

    Parameters
    ----------
    parents : dict of str to sequence of str
        Of every node, in topological order.
    effects : dict of str to float
        Mean absolute change of every node.
    targets : collection of str
        Nodes that are intervened on, drawn as squares.
    intervals : dict of str to (low, high), optional
        Those of the effects, which labels then show.
    counts : str, optional
        What these count, for the title.

    Attributes
    ----------
    ax_, figure_, nodes_, edges_, labels_, colorbar_
        Set by `plot`; one artist per edge and per label.
    """

    def __init__(self, parents, effects, targets=(), intervals=None, counts=""):
        self.parents = parents
        self.effects = effects
        self.targets = targets
        self.intervals = intervals
        self.counts = counts

    @classmethod
    def from_estimator(
        cls, estimator, interventions, X=None, *, n_samples=1000, ax=None, **params
    ):
        """Intervene on a fitted graph generator, and plot what changed.

        Parameters
        ----------
        estimator : fitted GraphGenerator, or pipeline that ends in one
        interventions : dict of str to intervention
            As `intervene` takes them; of a pipeline in the units of its last step.
        X : array-like of shape (n_samples, n_features), optional
            Rows to change, as the estimator takes them; None draws from the model.
        n_samples : int
            Number of draws.
        ax : matplotlib axes, optional
        **params : dict
            As `intervene` takes them: ``random_state`` (0 by default).

        Returns
        -------
        GraphInterventionDisplay
            Effects are in standard deviations of the factual values; of categorical
            columns, the part of the rows that change level. Of a
            :class:`~sklearn_icm.compose.BootstrapGenerator` with 95 % intervals, which
            count estimation and not the draws.
        """
        generator = check_graph_generator(estimator)
        mechanisms = dict(generator.mechanisms_)
        del mechanisms[generator.graph_.data_node]
        parents = {
            name: [p for p in read if p in mechanisms]
            for name, read in mechanisms.items()
        }
        query = {"return_nodes": True, "random_state": 0, **params}

        def ask(model):
            rows = inner_rows(model, X) or {"n_samples": n_samples}
            own = check_graph_generator(model)
            *_, values = own.intervene(interventions, **rows, **query)
            return [_effect(*values[k], k in own.categories_) for k in parents]

        effects, half, n_refits = over_refits(estimator, ask, changes=[interventions])
        most = [1.0 if k in generator.categories_ else np.inf for k in parents]
        ends = np.transpose(widened(effects, effects, effects, half, (0.0, most)))
        found, ends = (
            dict(zip(parents, v.tolist(), strict=True)) for v in (effects, ends)
        )
        told = (ends, what_is_counted("", n_refits)) if n_refits else ()
        return cls(parents, found, list(interventions), *told).plot(ax=ax)

    def _size(self):
        title = 0.7 if self.intervals else 0.0
        return 7, 2.0 + title + 0.9 * max(-y for _, y in _places(self.parents).values())

    def _draw(self):
        places = _places(self.parents)
        self.edges_ = [
            self._draw_edge(places[parent], places[child], self.effects[parent] > 0)
            for child, read in self.parents.items()
            for parent in read
        ]
        largest = max(self.effects.values()) or 1.0
        self.nodes_ = {}
        for marker, wanted in (("o", False), ("s", True)):
            group = [k for k in self.parents if (k in self.targets) == wanted]
            if group:
                x, y = np.transpose([places[k] for k in group])
                self.nodes_[marker] = self.ax_.scatter(
                    *(x, y, 500),
                    c=[self.effects[k] for k in group],
                    **{"marker": marker, "cmap": "Reds", "edgecolors": "0.3"},
                    **{"vmin": 0, "vmax": largest, "zorder": 2},
                )
        self.labels_ = [
            self.ax_.annotate(
                f"{name}\n{self._told(name)}",
                place,
                **{"xytext": (14, 0), "textcoords": "offset points"},
                **{"va": "center", "fontsize": "small"},
            )
            for name, place in places.items()
        ]
        self.colorbar_ = self.figure_.colorbar(
            next(iter(self.nodes_.values())), ax=self.ax_, shrink=0.8, label=UNIT
        )
        title = f"do({', '.join(self.targets)})"
        if self.intervals:
            told = f"95 % intervals of {self.counts}"
            title += f"\n({textwrap.fill(told, 48)})"
        self.ax_.set_title(title, fontsize="medium")
        # On the right labels stand beside the nodes.
        (left, right), (low, high) = self.ax_.get_xlim(), self.ax_.get_ylim()
        space = max(right - left, 1.0)
        self.ax_.set_xlim(left - 0.1 * space, right + 0.35 * space)
        self.ax_.set_ylim(low - 0.2, high + 0.2)
        self.ax_.set_axis_off()

    def _told(self, name):
        """Effect of a node, with its interval."""
        text = f"{self.effects[name]:.2g}"
        if not self.intervals:
            return text
        low, high = self.intervals[name]
        return f"{text} ({low:.2g} to {high:.2g})"

    def _draw_edge(self, start, end, moved):
        arrow = {
            "arrowstyle": "->",
            "color": "0.1" if moved else "0.75",
            # Bent, so that a node half-way does not hide it.
            "connectionstyle": "arc3,rad=0.1",
            "shrinkA": 12,
            "shrinkB": 12,
        }
        return self.ax_.annotate("", end, start, arrowprops=arrow, zorder=1)


def _effect(before, after, is_categorical):
    if is_categorical:
        return float(np.mean(before != after))
    moved, spread = float(np.mean(np.abs(after - before))), float(before.std())
    return moved / spread if spread > 0 else moved


def _places(parents):
    """(x, y) of every node: below all of its parents, layers centred in turns."""
    return {
        # Moved aside, so that an edge past a layer does not run through its nodes.
        name: (k - (len(names) - 1) / 2 + 0.3 * (level % 2), -level)
        for level, names in enumerate(layers_of(parents))
        for k, name in enumerate(names)
    }
