"""The only place that imports names which scikit-learn does not document."""

import sys

from sklearn.base import _fit_context as fit_context
from sklearn.model_selection._validation import _fit_and_score
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils._param_validation import StrOptions
from sklearn.utils._set_output import _get_container_adapter
from sklearn.utils.validation import _num_samples as n_rows

__all__ = [
    "Interval",
    "StrOptions",
    "fit_context",
    "in_output_container",
    "is_fold_of_search",
    "n_rows",
    "output_library",
    "power_scale",
]


class Interval(_Interval):
    """Numbers of an interval, but no booleans: Python counts these among the ints."""

    def is_satisfied_by(self, val):
        return not isinstance(val, bool) and super().is_satisfied_by(val)


def is_fold_of_search():
    """Whether this is called while a search or cross-validation fits a fold."""
    frame = sys._getframe()
    while frame is not None and frame.f_code is not _fit_and_score.__code__:
        frame = frame.f_back
    return frame is not None


def in_output_container(estimator, rows, original, columns):
    """Rows as `set_output` wants them: an array, or a frame with some columns."""
    adapter = _get_container_adapter("transform", estimator)
    if adapter is None:
        return rows
    return adapter.create_container(rows, original, columns=columns)


def output_library(estimator):
    """What `set_output` wants rows in: "pandas", "polars", or None for an array."""
    adapter = _get_container_adapter("transform", estimator)
    return None if adapter is None else adapter.container_lib


def power_scale(step):
    """What a fitted PowerTransformer divides the powers of each column by."""
    return step._scaler.scale_
