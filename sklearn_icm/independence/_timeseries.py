"""Direction of a deterministic linear relation between two time series."""

from __future__ import annotations

import numpy as np
from scipy.signal import welch
from sklearn.utils import Bunch, column_or_1d

SMALLEST_POWER = 1e-12


def spectral_dependence_ratio(
    x: np.ndarray, y: np.ndarray, *, window: int = 256
) -> Bunch:
    r"""Spectral dependence ratios of two time series, in both directions.

    Parameters
    ----------
    x, y : array-like of shape (n_times,)
        Stationary series of which one is a linear filter of the other.
    window : int
        Length of the windows over which spectra are averaged (Welch), at most
        ``n_times``.

    Returns
    -------
    Bunch
        ``forward``, the ratio of ``x -> y``; ``backward``, that of ``y -> x``;
        ``direction``, "x -> y" if the forward ratio is the larger one, "y -> x" if the
        backward one is, "undecided" if they are equal.

    Raises
    ------
    ValueError
        If a series is constant, or has no power at some frequencies: its spectrum
        cannot be divided by.

    Notes
    -----
    With the power spectra :math:`S_x, S_y` and the filter's
    :math:`|\hat h|^2 = S_y / S_x`,

    .. math:: \rho_{x \to y} = \langle S_y \rangle /
        (\langle S_x \rangle \langle S_y / S_x \rangle).

    Without noise :math:`\rho_{x \to y} \rho_{y \to x} \le 1`, so the independent
    direction has the larger ratio. Windows bias both ratios; with noise the bound does
    not hold.

    References
    ----------
    Shajarisales, Janzing, Schölkopf, Besserve (2015), arXiv 1503.01299.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.RandomState(0)
    >>> cause = rng.randn(20_000)
    >>> effect = np.convolve(cause, rng.randn(16), mode="same")
    >>> spectral_dependence_ratio(cause, effect).direction
    'x -> y'
    """
    x, y = (column_or_1d(np.asarray(v, dtype=np.float64)) for v in (x, y))
    if len(x) != len(y):
        raise ValueError(f"x and y must be equally long, got {len(x)} and {len(y)}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x and y must be finite, got NaN or infinity.")
    if not 2 <= window <= len(x):
        raise ValueError(
            f"window must be from 2 to the length of the series, {len(x)}, got "
            f"{window}."
        )
    for name, series in {"x": x, "y": y}.items():
        if np.ptp(series) == 0:
            raise ValueError(f"{name} is constant, so it has no spectrum.")
    # Frequency 0 holds what removing the mean left, not the process.
    s_x, s_y = (welch(v / np.std(v), nperseg=window)[1][1:] for v in (x, y))
    for name, spectrum in {"x": s_x, "y": s_y}.items():
        if not spectrum.min() > SMALLEST_POWER * spectrum.max():
            raise ValueError(
                f"{name} has no power at some frequencies, so its spectrum cannot be "
                "divided by: filter ratios are not defined there. Use series with a "
                "broad spectrum, or a shorter window."
            )
    forward = s_y.mean() / (s_x.mean() * (s_y / s_x).mean())
    backward = s_x.mean() / (s_y.mean() * (s_x / s_y).mean())
    direction = "x -> y" if forward > backward else "y -> x"
    if np.isclose(forward, backward, rtol=1e-9):
        direction = "undecided"
    return Bunch(forward=float(forward), backward=float(backward), direction=direction)
