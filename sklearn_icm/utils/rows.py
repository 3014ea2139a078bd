"""Small questions to rows of numbers."""

import numpy as np
import pandas as pd

__all__ = [
    "draws_by_content",
    "in_dtype",
    "integer_limits",
    "is_rounding",
    "select_rows",
]

RESOLUTION = 2e-6


def is_rounding(error, size):
    """Whether an error is no more than float32 weights leave of terms of some size.

    Of arrays or tensors. Such errors are none: a column may be a sum of others.
    """
    return abs(error) < RESOLUTION * size


def draws_by_content(X, n_draws, entropy):
    """Uniform draws that belong to what a row holds, not to its place.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    n_draws : int
        Draws per row.
    entropy : int

    Returns
    -------
    ndarray of shape (n_samples, n_draws)
        In [0, 1). They depend on the values of the row and on how many rows before it
        are equal to it: order and number of other rows do not matter.

    Notes
    -----
    SplitMix64 of the bytes of a row (Steele, Lea, Flood, 2014, *Fast splittable
    pseudorandom number generators*), which needs no state.
    """
    if n_draws == 0:
        return np.empty((len(X), 0))
    keys = _mixed(np.full(len(X), entropy, np.uint64))
    for column in X.T:
        # There is one zero: -0.0 differs from 0.0 in its bytes alone.
        keys = _mixed(keys ^ (column.astype(np.float64) + 0.0).view(np.uint64))
    order = np.argsort(keys, kind="stable")
    is_first = np.diff(keys[order], prepend=~keys[order[:1]]) != 0
    place = np.arange(len(X))
    earlier = np.empty(len(X), np.uint64)
    earlier[order] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    keys = _mixed(keys ^ _mixed(earlier))
    draws = [_mixed(keys + np.uint64(k)) >> np.uint64(11) for k in range(n_draws)]
    return np.stack(draws, 1) * 2.0**-53


def _mixed(state):
    """One step of SplitMix64 for an array of uint64, which wraps."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def in_dtype(values, dtype, low=-np.inf, high=np.inf):
    """Numbers as a column of some type holds them.

    Parameters
    ----------
    values : ndarray of float of shape (n_samples,)
    dtype : numpy or pandas dtype, or its name
        Of numbers or truth values.
    low, high : float
        Range of the column.

    Returns
    -------
    ndarray or pandas array of shape (n_samples,)
        Within the range and within what the type can hold. Whole numbers are rounded,
        and truth values are true above 1/2; of nullable types NaN is missing.
    """
    dtype = pd.api.types.pandas_dtype(dtype)
    nullable = pd.api.types.is_extension_array_dtype(dtype)
    plain = dtype.numpy_dtype if nullable else dtype
    missing = np.isnan(values)
    values = np.clip(np.where(missing, 0.0, values) if nullable else values, low, high)
    if plain.kind == "b":
        values = values > 0.5
    elif plain.kind in "iu":
        values = np.clip(np.rint(values), *integer_limits(plain))
    values = values.astype(plain)
    if not nullable:
        return values
    array = pd.array(values, dtype=dtype)
    array[missing] = pd.NA
    return array


def integer_limits(dtype):
    """Smallest and largest float64 that an integer type holds."""
    limits = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
    # The float next to the largest int64 is larger than it.
    top = float(limits.max)
    top = np.nextafter(top, 0) if int(top) > limits.max else top
    return float(limits.min), top


def select_rows(X, mask):
    """Return the rows of an array-like or frame where the mask is true."""
    return take_rows(X, np.flatnonzero(mask))


def take_rows(X, rows):
    """Return some rows of an array-like or frame, by their places."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    # A polars frame has columns too, and takes positions of rows.
    return X[rows] if hasattr(X, "columns") else np.asarray(X)[rows]
