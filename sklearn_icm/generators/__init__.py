"""Generators: what is fitted, sampled and intervened on."""

from ._vae import VAEGenerator

__all__ = ["VAEGenerator"]
