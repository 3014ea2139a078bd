"""The only place that imports names which scikit-learn does not document."""

import numpy as np
from sklearn.base import _fit_context as fit_context
from sklearn.utils._metadata_requests import _MetadataRequester as MetadataRequester
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_container_adapter

__all__ = [
    "Interval",
    "MetadataRequester",
    "StrOptions",
    "fit_context",
    "in_output_container",
    "output_library",
]


def in_output_container(estimator, rows, original, columns=None):
    """Rows as `set_output` wants them: an array, or a DataFrame with input columns."""
    adapter = _get_container_adapter("transform", estimator)
    if adapter is None:
        return rows
    if columns is None:
        columns = np.array([f"x{i}" for i in range(rows.shape[1])], dtype=object)
    return adapter.create_container(rows, original, columns=columns)


def output_library(estimator):
    """What `set_output` wants rows in: "pandas", "polars", or None for an array."""
    adapter = _get_container_adapter("transform", estimator)
    return None if adapter is None else adapter.container_lib
