"""Random functions of a node's parents, and shapes of its noise, for `make_scm`.

Every function maps (n, n_parents) to (n,), and has mean 0 and a given deviation over
the rows that it is made with.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from ._worlds import constant

N_UNITS = 6
# exp is straight beyond, so that chains of nodes stay finite.
STEEPEST = 3.0


def _signed(n, rng):
    """Numbers that are not near 0."""
    return rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 1.5, n)


class Affine(nn.Module):
    """Linear, and without a constant: parents have mean 0."""

    def __init__(self, values, deviation, rng):
        super().__init__()
        n_parents = values.shape[1]
        weight = _signed(n_parents, rng)
        self.weight = weight * deviation / np.std(values.numpy() @ weight)

    def forward(self, values):
        return values @ constant(self.weight, values)


class _Calibrated(nn.Module):
    """Some function ``_raw``, shifted and scaled."""

    def _calibrate(self, values, deviation):
        raw = self._raw(values)
        self.mean, self.gain = float(raw.mean()), float(deviation / raw.std())
        # A step beside all levels of a parent.
        self.gain = self.gain if raw.std() else 0.0

    def forward(self, values):
        return self.gain * (self._raw(values) - self.mean)


class Network(_Calibrated):
    """A small network of all parents."""

    activation = staticmethod(torch.tanh)

    def __init__(self, values, deviation, rng):
        super().__init__()
        n_parents = values.shape[1]
        self.inner = 1.5 / np.sqrt(n_parents) * rng.randn(n_parents, N_UNITS)
        self.bias, self.outer = rng.randn(2, N_UNITS)
        self._calibrate(values, deviation)

    def _raw(self, values):
        inner, bias, outer = (
            constant(array, values) for array in (self.inner, self.bias, self.outer)
        )
        return self.activation(values @ inner + bias) @ outer


class SoftplusNetwork(Network):
    activation = staticmethod(softplus)


class SineNetwork(Network):
    activation = staticmethod(torch.sin)


class _SumOverParents(_Calibrated):
    """Of each parent a function of one kind, added up."""

    def __init__(self, values, deviation, rng):
        super().__init__()
        n_parents = values.shape[1]
        self.slope, self.weight = _signed(n_parents, rng), _signed(n_parents, rng)
        self.bias = 0.5 * rng.randn(n_parents)
        self._calibrate(values, deviation)

    def _raw(self, values):
        slope, bias, weight = (
            constant(array, values) for array in (self.slope, self.bias, self.weight)
        )
        return self.activation(values * slope + bias) @ weight


class Saturating(_SumOverParents):
    """Straight on one side, level on the other."""

    @staticmethod
    def activation(u):
        return -softplus(-2 * u)


class Exponential(_SumOverParents):
    @staticmethod
    def activation(u):
        return u.clamp(max=STEEPEST).exp() * (1 + (u - STEEPEST).clamp(min=0))


class Threshold(_SumOverParents):
    """A step for each parent."""

    @staticmethod
    def activation(u):
        return (u > 0).to(u.dtype)


class Product(_Calibrated):
    """A linear function and a product of two parents, of a single one its square."""

    def __init__(self, values, deviation, rng):
        super().__init__()
        n_parents = values.shape[1]
        self.pair = rng.choice(n_parents, 2, replace=n_parents == 1)
        self.weight = 0.5 * rng.randn(n_parents)
        self._calibrate(values, deviation)

    def _raw(self, values):
        one, other = (values[:, k] for k in self.pair)
        return one * other + values @ constant(self.weight, values)


FUNCTIONS = {
    "additive": Network,
    "location-scale": Network,
    "linear": Affine,
    "softplus": SoftplusNetwork,
    "saturating": Saturating,
    "sine": SineNetwork,
    "exp": Exponential,
    "product": Product,
    "threshold": Threshold,
}


def _normal(z):
    return z


def _skewed(z, strength=0.8):
    mean = np.exp(strength**2 / 2)
    return ((strength * z).exp() - mean) / (mean * np.sqrt(np.expm1(strength**2)))


def _heavy_tailed(z):
    return z.sinh() / np.sqrt(np.expm1(2) / 2)


# Increasing functions of normal noise, of mean 0 and variance 1.
NOISES = {"normal": _normal, "skewed": _skewed, "heavy-tailed": _heavy_tailed}
