"""Displays of rows as a grid: samples of a generator."""

import numpy as np

from ..compose._wrap import rows_under
from ..utils.pipelines import last_step
from ._plotting import Display, draw_grid, drawn_as, first_rows, grid_size

__all__ = ["SamplesDisplay"]


class SamplesDisplay(Display):
    """Samples of a generator, beside real rows if there are any.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_columns, n_features)
    data_shape : tuple of int
        Shape of one row of data.
    data_kind : {"auto", "signal", "image"}
        As the estimators take it. A signal of several channels is drawn as one curve
        per channel.
    labels : list of str
        One per row of the grid.
    column_labels : list of str, optional
        One per column.
    title : str, optional

    Attributes
    ----------
    ax_, figure_, artists_
        Set by `plot`.
    """

    def __init__(
        self,
        rows,
        *,
        data_shape,
        data_kind="auto",
        labels,
        column_labels=None,
        title=None,
    ):
        self.rows = rows
        self.data_shape = data_shape
        self.data_kind = data_kind
        self.labels = labels
        self.column_labels = column_labels
        self.title = title

    @classmethod
    def from_estimator(
        cls, estimator, X=None, *, n_rows=4, n_columns=8, ax=None, **params
    ):
        """Draw samples from a fitted generator and plot them.

        Parameters
        ----------
        estimator : fitted generator with a data_shape, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features), optional
            Real rows; the first ones, at most as many as samples, are shown above
            these.
        n_rows, n_columns : int
            Size of the grid of samples.
        ax : matplotlib axes, optional
        **params : dict
            As `sample` takes them: ``random_state``, ``observation_noise``.
        """
        rows = rows_under(estimator, {}, n_samples=n_rows * n_columns, **params)
        rows = rows.reshape(n_rows, n_columns, -1)
        labels = ["sample"] * n_rows
        if X is not None:
            real = np.asarray(first_rows(X, n_rows * n_columns), dtype=np.float64)
            # Cells without a row stay empty.
            n_empty = -len(real) % n_columns
            real = np.pad(real, [(0, n_empty), (0, 0)], constant_values=np.nan)
            rows = np.concatenate([real.reshape(-1, n_columns, rows.shape[2]), rows])
            labels = ["real"] * (len(rows) - n_rows) + labels
        title = f"Samples of {type(last_step(estimator)).__name__}"
        display = cls(rows, **drawn_as(estimator), labels=labels, title=title)
        return display.plot(ax=ax)

    def _size(self):
        has_head = self.title is not None or self.column_labels is not None
        return grid_size(self.rows, self.data_shape, self.data_kind, has_head)

    def _draw(self):
        self.artists_ = draw_grid(
            self.ax_,
            self.rows,
            self.data_shape,
            self.labels,
            self.column_labels,
            data_kind=self.data_kind,
        )
        if self.title is not None:
            self.ax_.set_title(self.title, fontsize="medium")
