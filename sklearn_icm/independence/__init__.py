"""Independence of mechanisms: measures, tests, penalties and their report."""

from ._common import anisotropy
from ._contrasts import CovarianceTrace, Kurtosis, PatchStatistics, Power
from ._generic import GenericPenalty, generic_ratio, response
from ._genericity import GenericityResult, genericity_test
from ._groups import (
    FrequencyShift,
    Orthogonal,
    Permutation,
    SignFlip,
    SpatialStretch,
    Translation,
)
from ._jacobian import (
    compositional_contrast,
    hessian_penalty,
    ima_contrast,
    jacobian,
    orthogonal_jacobian,
)
from ._jacobian_penalties import (
    CompositionalPenalty,
    HessianPenalty,
    IMAPenalty,
    OrthogonalJacobianPenalty,
)
from ._pairs import MechanismPair, mechanism_pairs
from ._penalties import (
    AutoPenalty,
    SpectralPenalty,
    SumPenalty,
    TracePenalty,
    call_penalty,
    check_penalty,
    resolve_penalty,
)
from ._report import independence_table
from ._spectral import spectral_ratio
from ._timeseries import spectral_dependence_ratio
from ._trace import trace_ratio

__all__ = [
    "AutoPenalty",
    "CompositionalPenalty",
    "CovarianceTrace",
    "FrequencyShift",
    "GenericPenalty",
    "GenericityResult",
    "HessianPenalty",
    "IMAPenalty",
    "Kurtosis",
    "MechanismPair",
    "Orthogonal",
    "OrthogonalJacobianPenalty",
    "PatchStatistics",
    "Permutation",
    "Power",
    "SignFlip",
    "SpatialStretch",
    "SpectralPenalty",
    "SumPenalty",
    "TracePenalty",
    "Translation",
    "anisotropy",
    "call_penalty",
    "check_penalty",
    "compositional_contrast",
    "generic_ratio",
    "genericity_test",
    "hessian_penalty",
    "ima_contrast",
    "independence_table",
    "jacobian",
    "mechanism_pairs",
    "orthogonal_jacobian",
    "resolve_penalty",
    "response",
    "spectral_dependence_ratio",
    "spectral_ratio",
    "trace_ratio",
]
