"""What the worlds with exact counterfactuals share."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import Bunch
from torch import nn
from torch.nn.utils import skip_init

from ..utils.checks import check_scalar, new_stream

CHUNK = 512


class UniformFactors(nn.Module):
    """Independent uniform factors from standard normal noise, by the normal cdf.

    Parameters
    ----------
    ranges : sequence of (low, high)
        One per factor.
    """

    def __init__(self, ranges):
        super().__init__()
        self.low, high = np.array(ranges, dtype=np.float64).T
        self.width = high - self.low

    def forward(self, noise):
        low, width = constant(self.low, noise), constant(self.width, noise)
        return low + width * torch.special.ndtr(noise)


def constant(array, like):
    """Tensor of a known array, as precise as what it meets and on the same device.

    Truth is thus in float64, and float32 inside an estimator.
    """
    return torch.as_tensor(array, dtype=like.dtype, device=like.device)


def fixed_layer(layer_class, weight, *args, **params):
    """Layer of torch without bias and with a given weight; draws no random numbers."""
    layer = skip_init(layer_class, *args, bias=False, **params)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.copy()).view_as(layer.weight))
    return layer


def draw_noise(n_samples, n_noise, random_state):
    """Standard normal noise (n_samples, n_noise), in float64.

    The first rows under one seed do not depend on how many follow.
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    return new_stream(random_state).randn(n_samples, n_noise)


def check_number(name, value, low, high=np.inf, closed="neither"):
    """Return a finite number of a range as a float.

    ``closed`` says which bounds are allowed: "neither", "left", "right" or "both".
    """
    check_scalar(
        value, name, Real, min_val=low, max_val=high, include_boundaries=closed
    )
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}.")
    return float(value)


def check_matrix(name, value, shape):
    """Return a finite float64 matrix of the given shape."""
    matrix = np.asarray(value, dtype=np.float64)
    if matrix.shape != shape or not np.isfinite(matrix).all():
        got = f"shape {matrix.shape}" if matrix.shape != shape else "NaN or infinity"
        raise ValueError(f"{name} must be a finite array of shape {shape}, got {got}.")
    return matrix


@torch.no_grad()
def draw_rows(draw, noise):
    """Flattened rows of ``draw(noise)``, drawn in chunks that fit the cache."""
    chunks = torch.from_numpy(noise).split(CHUNK)
    return torch.cat([draw(chunk).flatten(1) for chunk in chunks]).numpy()


@torch.no_grad()
def named_columns(module, names, noise):
    """Columns of ``module(noise)`` as ``{name: (n_samples,)}``."""
    values = module(torch.from_numpy(noise)).numpy()
    return dict(zip(names, values.T.copy(), strict=True))


def make_world(render, changes, *, usual="observational", **fields):
    """Bunch of observational rows and one environment per change of the same noise.

    Parameters
    ----------
    render : callable
        ``render(**change)`` gives rows (n_samples, n_features).
    changes : dict of str to dict
        Environment label to the arguments of `render`.
    usual : str
        Label of the rows without a change.
    **fields
        Further entries of the Bunch.
    """
    data = [render(), *(render(**change) for change in changes.values())]
    n = len(data[0])
    rows = np.arange(n * len(changes))
    return Bunch(
        data=np.concatenate(data),
        environments=np.repeat([usual, *changes], n),
        pairs=np.stack([rows % n, rows + n]),
        render=render,
        **fields,
    )


def bumps(x, y, width, height, size, amplitude=None):
    """Gaussian bumps of height 1, or `amplitude`, on a grid.

    Parameters
    ----------
    x, y : Tensor of shape (n, n_maps)
        Centres, in grid points.
    width, height, amplitude : Tensor that broadcasts to (n, n_maps)
        Standard deviations, in grid points, and heights.
    size : (int, int)
        Rows and columns of the grid.

    Returns
    -------
    Tensor of shape (n, n_maps, *size)
    """
    down, across = _profile(y, height, size[0]), _profile(x, width, size[1])
    if amplitude is not None:
        down = down * amplitude[..., None]
    return down[..., :, None] * across[..., None, :]


def _profile(centre, sd, length):
    distance = torch.arange(length).to(centre) - centre[..., None]
    return torch.exp(-0.5 * (distance / sd[..., None]) ** 2)
