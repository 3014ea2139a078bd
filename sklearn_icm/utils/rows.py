"""Small questions to rows of numbers."""

import numpy as np

__all__ = [
    "check_fits_float32",
    "find_bounds",
    "fingerprint",
    "in_batches",
    "select_rows",
]


def check_fits_float32(X):
    """Refuse values that would become infinite in the precision of the model."""
    # Two reductions, so that an array in a file is never in memory as a whole.
    largest = max(X.max(), -X.min())
    if largest > np.finfo(np.float32).max:
        raise ValueError(
            "X must fit into float32, which the model computes in; its largest "
            f"absolute value is {largest:.3g}. Scale the features."
        )


def find_bounds(bounds, X, axis):
    """Turn a parameter ``bounds`` into (lower, upper), or None for no bounds.

    Returns an array of shape (2, n) with n = 1 for one range of all entries.
    """
    if bounds is None:
        return None
    if isinstance(bounds, str):
        low, high = X.min(axis=axis), X.max(axis=axis)
    else:
        try:
            low, high = (float(b) for b in bounds)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"bounds must be 'data', None, or a pair (low, high), got {bounds!r}."
            ) from error
        if not low < high:
            raise ValueError(
                f"bounds must be (low, high) with low < high, got {bounds!r}."
            )
    return np.array([np.atleast_1d(low), np.atleast_1d(high)], dtype=np.float64)


def fingerprint(X):
    """Numbers that two arrays share if they hold the same rows in the same order."""
    weighted, absolute = 0.0, 0.0
    for start in range(0, len(X), 8192):
        rows = X[start : start + 8192].astype(np.float64)
        weights = np.arange(start + 1, start + len(rows) + 1) / len(X)
        weighted = weighted + weights @ rows
        absolute = absolute + np.abs(rows).sum(0)
    ends = X[[0, -1]].astype(np.float64)
    return np.concatenate([[len(X)], *ends, weighted, absolute])


def in_batches(chunks, batch_size):
    """Regroup chunks of rows into batches of one size (the last may be smaller)."""
    waiting, n_waiting = [], 0
    for chunk in chunks:
        waiting.append(chunk)
        n_waiting += len(chunk)
        while n_waiting >= batch_size:
            rows = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
            yield rows[:batch_size]
            waiting, n_waiting = [rows[batch_size:]], len(rows) - batch_size
    if n_waiting:
        yield np.concatenate(waiting)


def select_rows(X, mask):
    """Return the rows of an array-like or DataFrame where the mask is true."""
    rows = np.flatnonzero(mask)
    return X.iloc[rows] if hasattr(X, "iloc") else np.asarray(X)[rows]
