"""Generators: what is fitted, sampled and intervened on."""

from .chain._estimator import ChainGenerator
from .fixed._estimator import FixedGenerator
from .graph._estimator import GraphGenerator
from .vae._estimator import VAEGenerator

__all__ = ["ChainGenerator", "FixedGenerator", "GraphGenerator", "VAEGenerator"]
