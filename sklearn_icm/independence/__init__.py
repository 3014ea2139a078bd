"""Independence of mechanisms: measures, tests, penalties and their report."""

from ._common import anisotropy
from ._contrasts import Kurtosis, Marginals, PatchDistribution, PatchStatistics
from ._generic import GenericMeasure, generic_ratio, response
from ._generic_penalty import GenericPenalty
from ._ima import IMAPenalty, ima_contrast, jacobian
from ._pairs import Measure
from ._penalties import (
    AutoPenalty,
    NoisePenalty,
    SpectralPenalty,
    Step,
    SumPenalty,
    TracePenalty,
)
from ._spectral import spectral_ratio
from ._table import genericity_test
from ._trace import trace_ratio

__all__ = [
    "AutoPenalty",
    "GenericMeasure",
    "GenericPenalty",
    "IMAPenalty",
    "Kurtosis",
    "Marginals",
    "Measure",
    "NoisePenalty",
    "PatchDistribution",
    "PatchStatistics",
    "SpectralPenalty",
    "Step",
    "SumPenalty",
    "TracePenalty",
    "anisotropy",
    "generic_ratio",
    "genericity_test",
    "ima_contrast",
    "jacobian",
    "response",
    "spectral_ratio",
    "trace_ratio",
]
