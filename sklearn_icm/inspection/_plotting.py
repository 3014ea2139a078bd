"""What the displays share."""

import numpy as np

from ..mechanisms import DataLayout
from ..utils.pipelines import last_step

__all__ = ["axes_or_new", "drawn_as", "draw_grid"]


def axes_or_new(ax, figsize):
    """Return the axes, or those of a new figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib: pip install 'sklearn-icm[plots]'."
        ) from error
    return plt.subplots(figsize=figsize, layout="constrained")[1]


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
    """Draw a curve per cell, coloured by row; or one per channel, coloured by these."""
    n_rows, n_columns, length = cells.shape[:3]
    cells = cells.reshape(n_rows, n_columns, length, -1)
    n_channels = cells.shape[3]
    step = 1.2 * max(float(np.nanmax(cells) - np.nanmin(cells)), 1e-12)
    lines = []
    for i in range(n_rows):
        for j in range(n_columns):
            x = np.arange(length) + j * 1.1 * length
            for c in range(n_channels):
                colour = f"C{i if n_channels == 1 else c}"
                y = cells[i, j, :, c] - i * step
                lines += ax.plot(x, y, color=colour, linewidth=1)
    middles = [float(np.nanmean(cells[i])) - i * step for i in range(n_rows)]
    ax.set(yticks=middles, yticklabels=labels)
    _label_columns(
        ax, [(0.5 + 1.1 * j) * length for j in range(n_columns)], column_labels
    )
    return lines
