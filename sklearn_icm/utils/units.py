"""Units in which the columns of a table are compared."""

import warnings
from numbers import Real

import numpy as np
from sklearn.utils import check_array

from ..exceptions import DoubtfulInputWarning
from .pipelines import last_step

__all__ = ["check_units", "column_units", "in_units", "row_units"]

UNITS = ("auto", "columns", "common")
# Quantiles that values are clipped to, so that a few far ones make no unit.
TAIL = 0.05
# Of the values: what float32 may make of a constant.
NEGLIGIBLE = 1e-6


def column_units(X):
    """Unit of every column of a table, for distances between its rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_features,)
        Standard deviation of the values, clipped to their quantiles of 5 and 95 %; of
        all values where these are one (of a 0/1 column both are the same). 0 for a
        constant column.

    Examples
    --------
    >>> column_units([[0, 5.0], [1, 5.0]]).tolist()
    [0.5, 0.0]
    """
    X = check_array(X, dtype=np.float64)
    centred = X - np.median(X, axis=0)
    low = np.quantile(centred, TAIL, axis=0, method="lower")
    high = np.quantile(centred, 1 - TAIL, axis=0, method="higher")
    clipped = np.clip(centred, low, high)
    units, spread = clipped.std(axis=0), centred.std(axis=0)
    units = np.where(units > 0, units, spread)
    return np.where(spread > NEGLIGIBLE * np.abs(X).max(axis=0), units, 0.0)


def check_units(units):
    """Raise ValueError unless units are a name or positive numbers."""
    if isinstance(units, str):
        valid = units in UNITS
    else:
        try:
            numbers = np.asarray(units, dtype=np.float64)
            valid = numbers.ndim == 1 and np.all(np.isfinite(numbers) & (numbers > 0))
        except (TypeError, ValueError):
            valid = False
    if not valid:
        raise ValueError(
            f"units must be one of {list(UNITS)} or a positive number for each column, "
            f"got {units!r}."
        )


def in_units(X, units):
    """Rows divided by the units of their columns; None or 1 leaves them alone."""
    if units is None or (isinstance(units, Real) and units == 1):
        return X
    check_units(units)
    units = np.asarray(units, dtype=np.float64)
    _check_number(units, X.shape[1])
    exact = X.dtype if X.dtype.kind == "f" else np.float64
    return (X / units).astype(exact, copy=False)


def _check_number(units, n_columns):
    if len(units) != n_columns:
        raise ValueError(
            f"units must have a positive number for each of {n_columns} columns, got "
            f"{len(units)}."
        )


def row_units(estimator, usual, X_env=None, *, units="auto", distance="energy"):
    """Units of the columns of numeric rows, or 1 for one unit of all.

    Parameters
    ----------
    estimator : fitted generator, or GenerativePipeline
        Whose `Space` makes numbers of rows.
    usual : ndarray of shape (n, n_columns)
        Numeric rows without any intervention, whose spread is the unit.
    X_env : ndarray of shape (m, n_columns), optional
        Rows that columns without spread in the usual ones take their unit from.
    units, distance
        As :func:`~sklearn_icm.metrics.make_extrapolation_scorer` takes them.

    Returns
    -------
    ndarray of shape (n_columns,), or 1

    Warns
    -----
    DoubtfulInputWarning
        If a column is constant in the usual rows, but not in the others.
    """
    check_units(units)
    if isinstance(units, str) and units == "auto":
        is_table = getattr(last_step(estimator), "data_shape", None) is None
        units = "columns" if is_table and not callable(distance) else "common"
    if isinstance(units, str) and units == "common":
        return 1
    columns = estimator.space_.columns_of(usual.shape[1])
    if not isinstance(units, str):
        units = np.asarray(units, dtype=np.float64)
        _check_number(units, columns.max() + 1)
        return units[columns]
    found = _spread(usual, columns)
    constant = found == 0
    if X_env is not None and constant.any():
        found = np.where(constant, _spread(X_env, columns), found)
        if np.any(moved := constant & (found > 0)):
            _warn_of_constant(estimator.space_.names, np.unique(columns[moved]))
    size = np.abs(usual).max(axis=0)
    return np.where(found > 0, found, np.where(size > 0, size, 1.0))


def _spread(rows, columns):
    """Unit of every numeric column; indicators of one column share the root of all."""
    units = column_units(rows)
    for k in np.flatnonzero(np.bincount(columns) > 1):
        block = columns == k
        units[block] = np.sqrt(rows[:, block].var(axis=0).sum())
    return units


def _warn_of_constant(names, columns):
    told = columns.tolist() if names is None else [str(names[k]) for k in columns]
    warnings.warn(
        f"The columns {told} are constant in the rows without an intervention, so they "
        "have no unit of their own there: the spread of the environment's rows is "
        "taken. Set units= to weigh them otherwise.",
        DoubtfulInputWarning,
        stacklevel=4,
    )
