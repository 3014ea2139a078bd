"""The only place that imports names which scikit-learn does not document."""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._metadata_requests import _MetadataRequester as MetadataRequester
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _get_container_adapter as get_container_adapter

__all__ = [
    "Interval",
    "MetadataRequester",
    "StrOptions",
    "fit_context",
    "get_container_adapter",
]
