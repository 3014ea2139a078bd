"""Generators: what is fitted, sampled and intervened on."""

from ._chain import ChainGenerator
from ._fixed import FixedGenerator
from ._graph import GraphGenerator
from ._vae import VAEGenerator

__all__ = ["ChainGenerator", "FixedGenerator", "GraphGenerator", "VAEGenerator"]
