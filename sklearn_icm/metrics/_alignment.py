"""How much of the true factors do the latents explain, up to a class of maps?"""

import numpy as np
from sklearn.base import clone
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer

from ._identifiability import Frame, check_factors
from ._inputs import check_integer, direction_stream
from ._levels import split_factors

__all__ = ["alignment_r2", "smooth_features"]

# Gaussian functions that smooth maps are made of.
N_CENTRES = 100


def alignment_r2(
    Z_true,
    Z_pred,
    *,
    alignment="affine",
    cv=5,
    categorical=None,
    test=None,
    random_state=None,
):
    """Part of the variance of the true factors that aligned latents explain.

    Parameters
    ----------
    Z_true, Z_pred, categorical
        As :func:`mcc_score` takes them.
    alignment : {"identity", "affine", "nonlinear"} or regressor
        How the latents may be changed first: not at all (there must be as many as
        factors); by an affine map; by a smooth map (ridge regression on the latents and
        100 Gaussian functions of them, with the penalty chosen by generalised
        cross-validation); or a scikit-learn regressor of several outputs. Latents and
        factors reach it with mean 0 and variance 1. For order and units alone:
        :func:`mcc_score`.
    cv : int
        Number of shuffled folds: every row is predicted by a map that was fitted to
        the other ones. "identity" fits nothing and does not use it.
    test : (array-like of shape (m, n_factors), array-like of shape (m, n_latents)), \
            optional
        Factors and latents, such as those out of distribution, that the map is tested
        on when it was fitted to all of `Z_true` and `Z_pred`; all are numbers. R2 is
        then about the mean of the tested factor. Few flexible regressors extrapolate
        (trees and neighbours predict no value that they have not seen), so that a low
        value may be theirs rather than the latents'.
    random_state : int, RandomState or None
        Of the folds and the centres. None is a fixed stream.

    Returns
    -------
    float
        Mean over factors of R2 over all rows: 1 is perfect, 0 no better than the mean
        of the factor, negative worse (for "identity" without bound, -inf where it
        leaves the range of floats).

    Raises
    ------
    ValueError
        If the rows do not correspond, are fewer than two or than the folds, or hold
        values that are not finite; if `alignment` is unknown, or "identity" between
        different numbers of columns.

    Notes
    -----
    Of a factor of levels the indicators are predicted, and its R2 is that of all of
    them together: code numbers and names change nothing. "identity" has no indicators.

    A constant factor has no variance to explain and counts 0; a constant latent
    explains none. As the maps are cross-fitted, latents that know nothing score about
    0, or slightly less, whatever their number.

    References
    ----------
    Khemakhem, Kingma, Monti, Hyvärinen (2020), *Variational autoencoders and nonlinear
    ICA* (arXiv:1907.04809), for equivalence up to affine maps. Nyström features:
    Williams, Seeger (2001), *Using the Nyström method to speed up kernel machines*,
    Advances in Neural Information Processing Systems 13. Tests out of distribution:
    Wiedemer, Brady, Panfilov, Juhos, Bethge, Brendel (2023), *Provable compositional
    generalization for object-centric learning* (arXiv:2310.05327).

    Examples
    --------
    >>> Z = [[0.0], [1.0], [2.0], [3.0]]
    >>> round(alignment_r2(Z, [[0.5], [1.5], [2.5], [3.5]], alignment="identity"), 6)
    0.8
    >>> round(alignment_r2(Z, [[9.0], [7.0], [5.0], [3.0]], cv=2), 6)
    1.0
    >>> test = [[5.0], [6.0], [7.0]], [[11.0], [13.0], [15.0]]
    >>> round(alignment_r2(Z, [[1.0], [3.0], [5.0], [7.0]], test=test), 6)
    1.0
    """
    if test is not None:
        return _r2_of_test(Z_true, Z_pred, *test, alignment, random_state)
    Z_true, levels, Z_pred = split_factors(Z_true, Z_pred, categorical)
    if isinstance(alignment, str) and alignment == "identity":
        return _identity_r2(Z_true, Z_pred, levels)
    n, stream = len(Z_true), direction_stream(random_state)
    cv = check_integer("cv", cv)
    if not 2 <= cv <= n:
        raise ValueError(
            f"cv must be an int between 2 and the number of rows, {n}, got {cv}."
        )
    splitter = KFold(cv, shuffle=True, random_state=stream.randint(2**31))
    n_fitted = n - -(-n // cv)
    regressor = _resolve_alignment(alignment, n_fitted, stream, also=["identity"])
    target, of_factor = _with_indicators(Z_true, levels)
    Z_pred = Frame(Z_pred)(Z_pred)
    predicted = cross_val_predict(regressor, Z_pred, _as_target(target), cv=splitter)
    return _mean_r2(target, predicted.reshape(target.shape), of_factor)


def _r2_of_test(Z_true, Z_pred, test_true, test_pred, alignment, random_state):
    """R2 of factors that the map was not fitted to."""
    Z_true, Z_pred = check_factors(Z_true, Z_pred)
    test_true, test_pred = check_factors(
        test_true, test_pred, names=("Factors of test", "latents of test")
    )
    for name, A, B in (
        ("Z_true", Z_true, test_true),
        ("Z_pred", Z_pred, test_pred),
    ):
        if A.shape[1] != B.shape[1]:
            raise ValueError(
                f"{name} and its part of test must have the same number of columns, "
                f"got {A.shape[1]} and {B.shape[1]}."
            )
    stream = direction_stream(random_state)
    regressor = _resolve_alignment(alignment, len(Z_true), stream)
    true_frame, pred_frame = Frame(Z_true), Frame(Z_pred)
    regressor.fit(pred_frame(Z_pred), _as_target(true_frame(Z_true)))
    predicted = regressor.predict(pred_frame(test_pred)).reshape(test_true.shape)
    return _mean_r2(true_frame(test_true), predicted)


def smooth_features(n_rows, stream):
    """Transformer of n_rows rows in a frame: themselves, and Gaussian functions."""
    centres = Nystroem(
        n_components=min(N_CENTRES, n_rows), random_state=stream.randint(2**31)
    )
    return make_union(FunctionTransformer(), centres)


def _smooth(n_rows, stream):
    ridge = RidgeCV(np.logspace(-6, 3, 10))
    return make_pipeline(smooth_features(n_rows, stream), ridge)


ALIGNMENTS = {
    "affine": lambda n_rows, stream: LinearRegression(),
    "nonlinear": _smooth,
}


def _resolve_alignment(alignment, n_rows, stream, also=()):
    """A regressor that will be fitted to n_rows rows or more."""
    if isinstance(alignment, str) and alignment in ALIGNMENTS:
        return ALIGNMENTS[alignment](n_rows, stream)
    if hasattr(alignment, "fit") and hasattr(alignment, "predict"):
        return clone(alignment)
    raise ValueError(
        f"alignment must be a regressor or one of {[*also, *ALIGNMENTS]}, got "
        f"{alignment!r}."
    )


def _as_target(Z):
    """One column as the vector that scikit-learn's regressors expect."""
    return Z[:, 0] if Z.shape[1] == 1 else Z


def _identity_r2(Z_true, Z_pred, levels):
    if levels:
        raise ValueError(
            "alignment='identity' is for factors that are numbers, got levels in the "
            f"columns {levels}. Take 'affine' or 'nonlinear', or mcc_score."
        )
    if Z_true.shape[1] != Z_pred.shape[1]:
        raise ValueError(
            "alignment='identity' needs as many latents as factors, got "
            f"{Z_pred.shape[1]} and {Z_true.shape[1]}. Choose another alignment."
        )
    frame = Frame(Z_true)
    return _mean_r2(frame(Z_true), frame(Z_pred))


def _with_indicators(Z_true, levels):
    """Columns of variance 1, indicators in place of levels; and whose column each is.

    Indicators keep their proportions: those of one factor have variance 1 together.
    """
    columns, of_factor = [], []
    for k, column in enumerate(Z_true.T):
        part = Frame(column[:, None])(column[:, None])
        if k in levels:
            part = np.eye(int(column.max()) + 1)[column.astype(int)]
            part = part - part.mean(axis=0)
            part /= np.sqrt(part.var(axis=0).sum()) or 1.0
        columns.append(part)
        of_factor += [k] * part.shape[1]
    return np.hstack(columns), np.array(of_factor)


def _mean_r2(Z_true, predicted, of_factor=None):
    """Mean R2 of the factors, with 0 for constant ones; -inf beyond all floats."""
    if of_factor is None:
        frame, of_factor = Frame(Z_true), np.arange(Z_true.shape[1])
        Z_true, predicted = frame(Z_true), frame(predicted)
    with np.errstate(over="ignore"):
        errors = np.bincount(of_factor, np.mean((Z_true - predicted) ** 2, axis=0))
    varies = np.bincount(of_factor, Z_true.var(axis=0)) > 0
    return float(np.sum(1 - errors[varies]) / len(errors))
