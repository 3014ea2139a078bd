"""Generators behind preprocessing, and with refits that count estimation."""

from ._bootstrap import BootstrapGenerator
from ._pipeline import GenerativePipeline

__all__ = ["BootstrapGenerator", "GenerativePipeline"]
