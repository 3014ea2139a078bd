"""What the displays share."""

import math

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..rows._layout import DataLayout
from ..utils.pipelines import before_last, last_step

__all__ = [
    "COLOURS",
    "Display",
    "chosen_node",
    "drawn_as",
    "draw_grid",
    "first_rows",
    "grid_size",
    "fitted_generator",
    "hidden_maps",
    "inner_rows",
]

# Which people tell apart however they see colours (Okabe and Ito, 2008).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
# Of a cell with an image, in inches, and of all cells side by side.
CELL, WIDEST = 0.75, 11


class Display:
    """Base of the displays: one draws itself into ``ax_``, in a new figure of a size.

    A subclass writes ``_size()``, ``_draw()`` and class methods ``from_...``, which
    return a display that is plotted.
    """

    def plot(self, ax=None):
        """Plot into some axes, or into those of a new figure.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        self : object
        """
        self.ax_ = _new_axes(self._size()) if ax is None else ax
        self.figure_ = self.ax_.figure
        self._draw()
        return self

    def _size(self):
        """Width and height in inches."""
        return 6, 3.5

    def _label_rows(self, labels, xlabel, title):
        """Name rows 0, 1, ... from top to bottom, with a legend."""
        rows = np.arange(len(labels))
        self.ax_.set(yticks=rows, yticklabels=labels, xlabel=xlabel)
        self.ax_.set_ylim(len(labels) - 0.5, -0.5)
        self._legend(title)

    def _legend(self, title, handles=None):
        """Title and legend above the axes, since values may be anywhere in them."""
        if handles is None:
            handles, _ = self.ax_.get_legend_handles_labels()
        legend = self.ax_.legend(
            handles=handles,
            title=title,
            ncols=min(3, max(1, len(handles))),
            **{"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False},
            **{"fontsize": "small", "title_fontsize": "medium"},
        )
        if not handles:
            legend.remove()
            self.ax_.set_title(title, fontsize="medium")


def _new_axes(figsize):
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib: pip install 'sklearn-icm[plots]'."
        ) from error
    return plt.subplots(figsize=figsize, layout="constrained")[1]


def first_rows(X, n):
    """Return the first n rows of X, which a name of a node is easily taken for."""
    names = [X] if isinstance(X, str) else X
    if isinstance(names, (list, tuple)) and names and isinstance(names[0], str):
        raise TypeError(
            f"X must be rows of data, got {X!r}. Names of nodes are given by keyword: "
            f"node={names[0]!r}, or nodes={list(names)!r} in from_nodes."
        )
    return X[:n]


def hidden_maps(estimator):
    """Nodes between noise and data with as many axes as the data, in order."""
    graph = fitted_generator(estimator).graph_
    rank = len(graph.nodes[graph.data_node])
    ends = {*graph.roots, graph.data_node}
    return [k for k, s in graph.nodes.items() if len(s) == rank and k not in ends]


def fitted_generator(estimator):
    """Return the generator that an estimator is or ends in, if it is fitted."""
    generator = last_step(estimator)
    check_is_fitted(generator)
    return generator


def inner_rows(estimator, X):
    """Keywords of a query to the generator that an estimator ends in: rows, if any."""
    return {} if X is None else {"X": before_last(estimator, first_rows(X, None))}


def chosen_node(estimator, node=None, intervention=None):
    """Return the node, or the one that shows best what changes it.

    That is the first hidden map of the finest grid, which the most mechanisms draw
    upon; or, if the intervention does not fit there, the first other node that it fits.
    """
    graph = fitted_generator(estimator).graph_
    if node is not None:
        if not isinstance(node, str) or node not in graph.nodes:
            raise ValueError(f"node must be one of {list(graph.nodes)}, got {node!r}.")
        return node
    maps = hidden_maps(estimator)
    maps.sort(key=lambda name: -math.prod(graph.nodes[name][1:]))
    made = [name for name in graph.nodes if name not in graph.roots]
    for name in dict.fromkeys([*maps, *made, *graph.roots]):
        try:
            graph.check_interventions({name: intervention})
        except (TypeError, ValueError):
            continue
        return name
    return graph.data_node  # Which says why it does not fit.


def drawn_as(estimator):
    """Keywords of displays: what a row is to an estimator, or to a pipeline's last."""
    estimator = last_step(estimator)
    shape = getattr(estimator, "data_shape", None)
    if shape is None:
        raise ValueError(
            "Rows can be drawn as images or signals only if the generator has a "
            f"data_shape, got data_shape=None of {type(estimator).__name__}."
        )
    kind = getattr(estimator, "data_kind", "auto")
    return {"data_shape": tuple(shape), "data_kind": kind}


def grid_size(rows, data_shape, data_kind, has_head):
    """Width and height in inches of a grid of rows, with its labels and head."""
    n_rows, n_columns, n_features = rows.shape
    if DataLayout.of(n_features, data_shape, data_kind).is_signal:
        width, height = min(1.2 * n_columns, WIDEST), 0.6 * n_rows
    else:
        aspect = data_shape[1] / data_shape[0]
        cell = min(CELL * max(aspect, 1), WIDEST / n_columns)
        width, height = cell * n_columns, cell / aspect * n_rows
    return max(width + 1.3, 4), max(height + (0.6 if has_head else 0.1), 1.2)


def draw_grid(ax, rows, data_shape, labels, column_labels=None, *, data_kind="auto"):
    """Draw rows (n_rows, n_columns, n_features) as one mosaic, or as signals.

    Returns the artists.
    """
    n_rows, n_columns = rows.shape[:2]
    cells = rows.reshape(n_rows, n_columns, *data_shape)
    if DataLayout.of(rows.shape[2], data_shape, data_kind).is_signal:
        return _draw_signals(ax, cells, labels, column_labels)
    height, width = data_shape[:2]
    gap = 1
    shape = (n_rows * (height + gap) - gap, n_columns * (width + gap) - gap)
    canvas = np.full((*shape, *data_shape[2:3]), np.nan)
    for i in range(n_rows):
        for j in range(n_columns):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = cells[i, j]
    low, high = float(np.nanmin(rows)), float(np.nanmax(rows))
    if canvas.shape[2:] == (3,):
        canvas = np.nan_to_num((canvas - low) / max(high - low, 1e-12), nan=1.0)
    else:
        canvas = canvas[..., 0] if canvas.ndim == 3 else canvas
    image = ax.imshow(canvas, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    middles = [i * (height + gap) + (height - 1) / 2 for i in range(n_rows)]
    ax.set(yticks=middles, yticklabels=labels)
    ax.tick_params(axis="y", labelsize="small")
    centres = [j * (width + gap) + (width - 1) / 2 for j in range(n_columns)]
    _label_columns(ax, centres, column_labels)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def _label_columns(ax, places, labels):
    if labels is None:
        ax.set(xticks=[])
        return
    ax.xaxis.tick_top()
    ax.set(xticks=places, xticklabels=labels)
    ax.tick_params(axis="x", labelsize="small")


def _draw_signals(ax, cells, labels, column_labels):
    """Draw a curve per cell; or one per channel, coloured by these."""
    n_rows, n_columns, length = cells.shape[:3]
    cells = cells.reshape(n_rows, n_columns, length, -1)
    n_channels = cells.shape[3]
    step = 1.2 * max(float(np.nanmax(cells) - np.nanmin(cells)), 1e-12)
    lines = []
    for i in range(n_rows):
        for j in range(n_columns):
            x = np.arange(length) + j * 1.1 * length
            for c in range(n_channels):
                y = cells[i, j, :, c] - i * step
                style = {"color": COLOURS[c % len(COLOURS)], "linewidth": 1}
                lines += ax.plot(x, y, **style)
    middles = [float(np.nanmean(cells[i])) - i * step for i in range(n_rows)]
    ax.set(yticks=middles, yticklabels=labels)
    ax.tick_params(length=0, labelsize="small")
    ax.spines[:].set_visible(False)
    if n_channels > 1:
        shown = [f"channel {c}" for c in range(n_channels)]
        ax.legend(
            lines[:n_channels],
            shown,
            **{"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "frameon": False},
            **{"ncols": min(n_channels, 4), "fontsize": "small"},
        )
    _label_columns(
        ax, [(0.5 + 1.1 * j) * length for j in range(n_columns)], column_labels
    )
    return lines
