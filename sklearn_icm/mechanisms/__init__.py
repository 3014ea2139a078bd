"""Graphs of named mechanisms in pure torch, and builders for them."""

from ._builders import conv_decoder, conv_encoder, dense_decoder, dense_encoder
from ._graph import MechanismGraph
from ._layout import DataLayout
from ._layouts import layout_decoder
from ._likelihood import Affine, BernoulliLikelihood, GaussianLikelihood
from ._modules import ACTIVATIONS, ConvMechanism, DenseMechanism
from ._noise import MixtureNoise
from ._operators import LinearOperator, linear_operator

__all__ = [
    "ACTIVATIONS",
    "Affine",
    "BernoulliLikelihood",
    "ConvMechanism",
    "DataLayout",
    "DenseMechanism",
    "GaussianLikelihood",
    "LinearOperator",
    "MechanismGraph",
    "MixtureNoise",
    "conv_decoder",
    "conv_encoder",
    "dense_decoder",
    "dense_encoder",
    "layout_decoder",
    "linear_operator",
]
