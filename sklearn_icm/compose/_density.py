"""How much steps stretch the space of their rows: densities of their input."""

import numpy as np
from scipy.special import expit, log_expit, logit
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from ..rows._frames import as_floats
from ..utils._sklearn import power_scale
from ._inverse import column_parts, flat_steps

# Logarithms of the derivatives of functions of one number.
SLOPES = {
    np.log: lambda x: -np.log(x),
    np.log1p: lambda x: -np.log1p(x),
    np.log2: lambda x: -np.log(x * np.log(2)),
    np.log10: lambda x: -np.log(x * np.log(10)),
    np.exp: lambda x: x,
    np.expm1: lambda x: x,
    np.sqrt: lambda x: -np.log(2 * np.sqrt(x)),
    np.arcsinh: lambda x: -0.5 * np.log1p(x**2),
    logit: lambda x: -np.log(x) - np.log1p(-x),
    expit: lambda x: log_expit(x) + log_expit(-x),
}


def log_volume(steps, X):
    """Logarithm of the volume that fitted steps make of a unit around each row.

    Parameters
    ----------
    steps : list of (str, transformer)
    X : array-like of shape (n_samples, n_features)
        Rows before the steps.

    Returns
    -------
    float, or ndarray of shape (n_samples,)
        What the log density of the input has more than that of the output.

    Raises
    ------
    ValueError
        If a step is not known to be smooth and invertible.
    """
    total, before = 0.0, None
    for name, step in flat_steps(steps):
        X = X if before is None else before.transform(X)
        total, before = total + _volume_of(name, step, X), step
    return total


def _volume_of(name, step, X):
    if isinstance(step, ColumnTransformer):
        return _volume_of_columns(name, step, X)
    slopes = _slopes(step, X)
    if slopes is None:
        raise ValueError(
            f"Behind the step {name!r} ({type(step).__name__}) there is no density of "
            "X that is known exactly. Compare such models by a distance of their "
            "samples, such as scoring=lambda model, X, y=None: -energy_distance(X, "
            "model.sample(len(X), random_state=0)), or by make_extrapolation_scorer."
        )
    return slopes.sum(-1)


def _volume_of_columns(name, step, X):
    total, seen = 0.0, []
    for inner, part, places in column_parts(name, step):
        seen += places.tolist()
        block = X.iloc[:, places] if hasattr(X, "iloc") else np.asarray(X)[:, places]
        total = total + log_volume([(inner, part)], block)
    if len(set(seen)) < len(seen):
        raise ValueError(
            f"The step {name!r} (ColumnTransformer) takes a column twice, so there is "
            "no density of X. Compare such models by a distance of their samples."
        )
    return total


def _slopes(step, X):
    """Log derivatives by column (and row), whose sum is the log volume, or None."""
    clips = getattr(step, "clip", False)
    if type(step) in {StandardScaler, MaxAbsScaler, RobustScaler} and not clips:
        return -np.log(np.ones(1) if step.scale_ is None else step.scale_)
    if type(step) is MinMaxScaler and not clips:
        # A column that did not vary has no density, in any unit.
        return np.log(np.where(step.data_range_ > 0, step.scale_, 1))
    if type(step) is PCA and step.n_components_ == step.n_features_in_:
        # A rotation.
        return -0.5 * np.log(step.explained_variance_ if step.whiten else np.ones(1))
    if type(step) is FunctionTransformer:
        if step.func is None:
            return np.zeros(1)
        if step.func in SLOPES and not step.kw_args:
            return SLOPES[step.func](as_floats(X))
    if type(step) is PowerTransformer:
        return _power_slopes(step, as_floats(X))
    return None


def _power_slopes(step, X):
    """Of Box and Cox (1964), or Yeo and Johnson (2000), then scaled."""
    if step.method == "box-cox":
        slopes = (step.lambdas_ - 1) * np.log(X)
    else:
        slopes = (step.lambdas_ - 1) * np.sign(X) * np.log1p(np.abs(X))
    return slopes - np.log(power_scale(step)) if step.standardize else slopes
