"""Graphs of named mechanisms in pure torch, and builders for them."""

from ._builders import (
    conv_decoder,
    conv_encoder,
    dense_decoder,
    dense_encoder,
    map_decoder,
)
from ._graph import MechanismGraph
from ._modules import ConvMechanism, DenseMechanism
from ._operators import LinearOperator
from ._parts import parts_decoder

__all__ = [
    "ConvMechanism",
    "DenseMechanism",
    "LinearOperator",
    "MechanismGraph",
    "conv_decoder",
    "conv_encoder",
    "dense_decoder",
    "dense_encoder",
    "map_decoder",
    "parts_decoder",
]
