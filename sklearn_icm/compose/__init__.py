"""Generators behind preprocessing."""

from ._pipeline import GenerativePipeline

__all__ = ["GenerativePipeline"]
