"""Chains of linear mechanisms whose weights are known: exact theory as data."""

from functools import partial
from numbers import Integral

import numpy as np
from scipy.stats import ortho_group
from torch import nn

from ..mechanisms import MechanismGraph
from ..utils.checks import check_scalar, new_stream
from ._worlds import (
    check_matrix,
    check_number,
    constant,
    draw_noise,
    fixed_layer,
    make_world,
)

__all__ = ["make_conv_chain", "make_linear_chain"]

DELTA_LAG = 8


def make_linear_chain(n_samples=1000, *, n_features=20, n_layers=2, random_state=None):
    """Data of a chain of generic matrices, and the same with a hidden node rotated.

    Rows are ``x = W_K ... W_1 z`` with standard normal z. All entries of all matrices
    are independent normal with variance ``1 / n_features``, so that each mechanism
    keeps the expected power and successive ones are generic for each other.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows per environment.
    n_features : int, default=20
        Number of entries of every node, at least 2.
    n_layers : int, default=2
        Number K of mechanisms, at least 2.
    random_state : int, RandomState or None, default=None
        Of the weights, the rotation and the noise.

    Returns
    -------
    Bunch
        As :mod:`sklearn_icm.datasets` says, with ``data`` (2 * n_samples, n_features),
        "observational" rows, then "rotated"; ``factors`` ``z`` (n_samples, n_features),
        which is also the ``noise``; ``weights`` list of the matrices, input side first;
        ``rotation`` orthogonal (n_features, n_features), Haar-distributed;
        ``render(transform=None, node="dense1")``, which draws the same noise with the
        values v of a hidden node replaced by ``transform @ v``.

    Raises
    ------
    ValueError, TypeError
        For parameters outside their range, a node that is not hidden, or a transform
        that is not a finite matrix (n_features, n_features).

    Notes
    -----
    Nodes: ``noise -> dense1 -> ... -> data``. The trace ratio of two successive
    mechanisms is 1 on average, with a standard deviation of about
    ``sqrt(2 / ((n - 1) (n + 2)))`` over seeds.

    References
    ----------
    Besserve, Sun, Janzing, Schölkopf (2021), *A theory of independent mechanisms for
    extrapolation in generative models*, arXiv 2004.00184. Janzing, Hoyer, Schölkopf
    (2010), *Telling cause from effect based on high-dimensional observations*, arXiv
    0909.4386.

    Examples
    --------
    >>> chain = make_linear_chain(10, n_features=5, n_layers=3, random_state=0)
    >>> list(chain.mechanisms.nodes), len(chain.weights)
    (['noise', 'dense1', 'dense2', 'data'], 3)
    """
    check_scalar(n_features, "n_features", Integral, min_val=2)
    check_scalar(n_layers, "n_layers", Integral, min_val=2)
    rng = new_stream(random_state)
    shape = (n_features, n_features)
    weights = list(rng.randn(n_layers, *shape) / np.sqrt(n_features))
    rotation = ortho_group.rvs(n_features, random_state=rng)
    noise = draw_noise(n_samples, n_features, rng)
    names = [f"dense{k}" for k in range(1, n_layers)] + ["data"]

    def render(transform=None, node="dense1"):
        if node not in names[:-1]:
            raise ValueError(
                f"node must be a hidden node, one of {names[:-1]}, got {node!r}."
            )
        matrices = dict(zip(names, weights, strict=True))
        if transform is not None:
            matrices[node] = (
                check_matrix("transform", transform, shape) @ matrices[node]
            )
        values = noise
        for matrix in matrices.values():
            values = values @ matrix.T
        return values

    return make_world(
        render,
        {"rotated": {"transform": rotation}},
        noise=noise,
        data_shape=None,
        factors={"z": noise.copy()},
        mechanisms=_dense_chain(names, weights),
        interventions={"rotated": {"dense1": partial(_transformed, matrix=rotation)}},
        weights=weights,
        rotation=rotation,
        DESCR=make_linear_chain.__doc__,
    )


def make_conv_chain(
    n_samples=1000, *, n_features=64, stretch=1.5, label_noise=0.5, random_state=None
):
    """Signals of two circular convolutions in a row, and with the first one stretched.

    Rows are ``x = k2 * k1 * z + label_noise * e`` with standard normal z and e. The
    kernel k1 is two unit deltas at lags -8 and 8 divided by the root of 2; k2 is
    ``exp(-t^2 / 8) (1 - 0.9 exp(-t^2 / (2 0.8^2)))``, scaled to unit norm. In the
    environment "stretched" k1 is stretched about lag 0 by linear interpolation.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows per environment.
    n_features : int, default=64
        Length of the circle, at least 32.
    stretch : float, default=1.5
        Of k1; up to ``n_features / 16`` it stays on the circle.
    label_noise : float, default=0.5
        Standard deviation of the observation noise; 0 for none.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    Bunch
        As :mod:`sklearn_icm.datasets` says, without ``interventions``, with ``data``
        (2 * n_samples, n_features), "observational" rows, then "stretched";
        ``data_shape`` (n_features,); ``factors`` ``z`` (n_samples, n_features), which
        is also the ``noise``; ``observation_noise``, what is added to the mean of a row
        and of its counterfactual alike, (n_samples, n_features); ``kernels`` list of k1
        and k2, (n_features,) each, with lag 0 at index ``n_features // 2``;
        ``stretched_kernel`` the k1 of "stretched"; ``mechanisms`` those of the means;
        ``render(stretch=1.0)``, which draws the same noise with k1 stretched.

    Raises
    ------
    ValueError, TypeError
        For parameters outside their range.

    Notes
    -----
    Nodes: ``noise -> conv1 -> data``. The spectral ratio of the two kernels is 1: k2
    is short and smooth enough for its autocorrelation to vanish at a lag of 16.

    References
    ----------
    Besserve, Sun, Janzing, Schölkopf (2021), *A theory of independent mechanisms for
    extrapolation in generative models*, arXiv 2004.00184.

    Examples
    --------
    >>> chain = make_conv_chain(10, random_state=0)
    >>> chain.data.shape, chain.mechanisms.nodes["conv1"]
    ((20, 64), (1, 64))
    """
    check_scalar(n_features, "n_features", Integral, min_val=4 * DELTA_LAG)
    check_number("label_noise", label_noise, 0, closed="left")
    stretch = check_number("stretch", stretch, 0)
    rng = new_stream(random_state)
    noise, residual = np.split(draw_noise(n_samples, 2 * n_features, rng), 2, axis=1)
    residual = label_noise * residual
    kernels = [_two_deltas(n_features), _mexican_hat(n_features)]

    def render(stretch=1.0):
        first = _stretched(kernels[0], check_number("stretch", stretch, 0))
        return _circular(_circular(noise, first), kernels[1]) + residual

    return make_world(
        render,
        {"stretched": {"stretch": stretch}},
        noise=noise,
        data_shape=(n_features,),
        factors={"z": noise.copy()},
        observation_noise=residual,
        mechanisms=_conv_chain(kernels),
        kernels=kernels,
        stretched_kernel=_stretched(kernels[0], stretch),
        DESCR=make_conv_chain.__doc__,
    )


def _dense_chain(names, weights):
    mechanisms, parent = {}, "noise"
    for name, weight in zip(names, weights, strict=True):
        linear = fixed_layer(nn.Linear, weight, *weight.shape[::-1])
        mechanisms[name], parent = (parent, linear), name
    return MechanismGraph({"noise": weights[0].shape[1:]}, mechanisms)


def _conv_chain(kernels):
    n = len(kernels[0])
    # "same" pads so that index n // 2 of the flipped kernel meets lag 0.
    options = {"padding": "same", "padding_mode": "circular"}
    k1, k2 = (fixed_layer(nn.Conv1d, k[::-1], 1, 1, n, **options) for k in kernels)
    first = nn.Sequential(nn.Unflatten(1, (1, n)), k1)
    return MechanismGraph(
        {"noise": (n,)}, {"conv1": ("noise", first), "data": ("conv1", k2)}
    )


def _transformed(value, matrix):
    return value @ constant(matrix, value).T


def _two_deltas(n):
    kernel = np.zeros(n)
    kernel[[n // 2 - DELTA_LAG, n // 2 + DELTA_LAG]] = 1 / np.sqrt(2)
    return kernel


def _mexican_hat(n):
    lags = np.arange(n) - n // 2
    kernel = np.exp(-(lags**2) / 8) * (1 - 0.9 * np.exp(-(lags**2) / (2 * 0.8**2)))
    return kernel / np.linalg.norm(kernel)


def _stretched(kernel, ratio):
    lags = np.arange(len(kernel)) - len(kernel) // 2
    return np.interp(lags / ratio, lags, kernel, left=0, right=0)


def _circular(signals, kernel):
    """Circular convolution of rows with a kernel whose lag 0 is at index n // 2."""
    n = len(kernel)
    spectrum = np.fft.rfft(np.fft.ifftshift(kernel))
    return np.fft.irfft(np.fft.rfft(signals) * spectrum, n)
