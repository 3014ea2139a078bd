"""Generators: what is fitted, sampled and intervened on."""

from ._fixed import FixedGenerator
from ._vae import VAEGenerator

__all__ = ["FixedGenerator", "VAEGenerator"]
