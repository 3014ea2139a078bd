"""Do refits with other seeds find the same latents?"""

from functools import partial
from itertools import permutations
from numbers import Integral

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.utils import Bunch

from ..utils.checks import check_scalar
from ._alignment import alignment_r2
from ._inputs import direction_stream
from ._levels import mcc_score
from ._refits import RefitScorer, resolve_refits

__all__ = ["latent_consistency", "make_consistency_scorer"]


def latent_consistency(
    estimator,
    X,
    *,
    n_refits=3,
    alignment="permutation_scale",
    y=None,
    environments=None,
    n_jobs=None,
    random_state=None,
):
    """Whether refits with other seeds find the same latents, up to a group.

    Parameters
    ----------
    estimator : estimator with `transform`, pipeline with one, or list of fitted ones
        Refits are made by :func:`fit_refits`. A list is compared as it is.
    X : array-like of shape (n_samples, n_features)
        Rows that every refit is fitted to and encodes; with a list they may be new.
    alignment : {"permutation_scale", "permutation", "affine", "identity", "nonlinear"}
        What two encodings may differ by. "permutation_scale" is the mean absolute
        correlation of matched latents (:func:`~sklearn_icm.metrics.mcc_score`); the
        others are coefficients of determination
        (:func:`~sklearn_icm.metrics.alignment_r2`): of matched latents in their own
        units, or of a map fitted from one encoding to the other.
    n_refits, y, environments, n_jobs : optional
        As :func:`fit_refits` takes them; not used for a list.
    random_state : int, RandomState or None, default=None
        Of refits and shuffles; None is a fixed stream, so that the value is
        reproducible.

    Returns
    -------
    Bunch
        ``value`` : float, mean over ordered pairs of refits; 1 is the same latents up
        to the group.
        ``pairs`` : ndarray of shape (n_refits, n_refits), the measure with the first
        index as truth; NaN on the diagonal.
        ``chance`` : float, the mean with the rows of one encoding shuffled: it is not
        0 for the correlation, and grows as rows get few and latents many.
        ``alignment`` : str, the parameter.

    Raises
    ------
    TypeError
        If the estimator has no `transform`.
    ValueError
        If a parameter is out of range.

    Notes
    -----
    Consistent latents need not be true ones: principal components are consistent, and
    mix independent factors. A latent that is constant in a refit counts 0 there.

    References
    ----------
    Khemakhem, Monti, Kingma, Hyvärinen (2020), *ICE-BeeM: identifiable conditional
    energy-based deep models based on nonlinear ICA*, arXiv 2002.11537: correlation of
    latents between seeds. Roeder, Metz, Kingma (2021), *On linear identifiability of
    learned representations*, arXiv 2007.00810.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> result = latent_consistency(PCA(2), load_iris().data, n_refits=2)
    >>> round(result.value, 6)
    1.0
    """
    measure = _resolve_alignment(alignment)
    refits = resolve_refits(
        estimator,
        X,
        needs="transform",
        needed_by="Latent consistency",
        n_refits=n_refits,
        y=y,
        environments=environments,
        n_jobs=n_jobs,
        random_state=random_state,
    )
    encodings = [np.asarray(refit.transform(X)) for refit in refits]
    pairs = np.full((len(refits), len(refits)), np.nan)
    chance = pairs.copy()
    stream = direction_stream(random_state)
    for i, j in permutations(range(len(refits)), 2):
        pairs[i, j] = measure(encodings[i], encodings[j])
        chance[i, j] = measure(encodings[i], stream.permutation(encodings[j]))
    return Bunch(
        value=float(np.nanmean(pairs)),
        pairs=pairs,
        chance=float(np.nanmean(chance)),
        alignment=alignment,
    )


def _resolve_alignment(alignment):
    """Measure ``f(Z_true, Z_pred) -> float`` of a name."""
    if not isinstance(alignment, str) or alignment not in ALIGNMENTS:
        raise ValueError(
            f"alignment must be one of {list(ALIGNMENTS)}, got {alignment!r}."
        )
    return ALIGNMENTS[alignment]


def _permuted_r2(Z_true, Z_pred):
    """R2 after the permutation of latents that explains most."""
    variances = Z_true.var(axis=0)
    # No permutation explains a constant.
    weights = np.divide(1, variances, where=variances > 0, out=np.zeros_like(variances))
    errors = weights[:, None] * cdist(Z_true.T, Z_pred.T, "sqeuclidean")
    order = linear_sum_assignment(errors)[1]
    return alignment_r2(Z_true, Z_pred[:, order], alignment="identity")


ALIGNMENTS = {
    "permutation_scale": mcc_score,
    "permutation": _permuted_r2,
    "affine": partial(alignment_r2, alignment="affine"),
    "identity": partial(alignment_r2, alignment="identity"),
    "nonlinear": partial(alignment_r2, alignment="nonlinear"),
}


def make_consistency_scorer(
    *, n_refits=3, alignment="permutation_scale", n_jobs=None, random_state=0
):
    """Make a scorer that asks whether refits find the same latents.

    Parameters
    ----------
    n_refits : int, default=3
        Fits per call, beside the one that a search makes itself.
    alignment : str, default="permutation_scale"
        As :func:`latent_consistency` takes it.
    n_jobs : int, default=None
        Refits at a time.
    random_state : int, RandomState or None, default=0
        The same for every candidate by default.

    Returns
    -------
    RefitScorer
        The ``value`` of :func:`latent_consistency`.

    Raises
    ------
    TypeError, ValueError
        As :func:`latent_consistency` does.

    Notes
    -----
    As with :func:`~sklearn_icm.metrics.make_agreement_scorer` the refits are fitted to
    the rows that the scorer is given, at `n_refits` fits per candidate and fold.

    Examples
    --------
    >>> make_consistency_scorer(alignment="affine")
    make_consistency_scorer(n_refits=3, alignment='affine', n_jobs=None, random_state=0)
    """
    _resolve_alignment(alignment)
    check_scalar(n_refits, "n_refits", Integral, min_val=2)
    params = {
        "n_refits": n_refits,
        "alignment": alignment,
        "n_jobs": n_jobs,
        "random_state": random_state,
    }
    return RefitScorer(latent_consistency, "make_consistency_scorer", params)
