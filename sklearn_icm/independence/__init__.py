"""Independence of mechanisms: measures, penalties and their report."""

from ._common import anisotropy
from ._pairs import MechanismPair, mechanism_pairs
from ._penalties import (
    AutoPenalty,
    SpectralPenalty,
    TracePenalty,
    check_penalty,
    resolve_penalty,
)
from ._report import independence_table
from ._spectral import spectral_ratio
from ._trace import trace_ratio

__all__ = [
    "AutoPenalty",
    "MechanismPair",
    "SpectralPenalty",
    "TracePenalty",
    "anisotropy",
    "check_penalty",
    "independence_table",
    "mechanism_pairs",
    "resolve_penalty",
    "spectral_ratio",
    "trace_ratio",
]
