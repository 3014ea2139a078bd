"""Does each latent hold one factor, and each factor lie in one latent?"""

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.utils import Bunch

from ._identifiability import Frame
from ._inputs import check_integer, direction_stream
from ._levels import N_FOLDS, split_factors, tree_accuracy

__all__ = ["dci_scores", "mig_score"]

N_TREES = 20


def mig_score(Z_true, Z_pred, *, categorical=None, n_bins=20):
    r"""Mutual information gap: how much one latent knows more of a factor than others.

    Parameters
    ----------
    Z_true, Z_pred, categorical
        As :func:`mcc_score` takes them.
    n_bins : int
        Bins of equal width that numbers with more than so many values are put into.

    Returns
    -------
    float
        Between 0 and 1: the mean over factors of :math:`(I(z_{(1)}; v) - I(z_{(2)};
        v)) / H(v)`, the two latents that know most of it. Without a second one, that
        is 0; a constant factor counts 0.

    Raises
    ------
    ValueError
        As :func:`mcc_score`, or if `n_bins` is no positive int.

    Notes
    -----
    Mutual information of bins is above 0 by chance, less so the more rows there are.

    References
    ----------
    Chen, Li, Grosse, Duvenaud (2018), *Isolating sources of disentanglement in
    variational autoencoders* (arXiv:1802.04942). Bins as in Locatello et al. (2019),
    *Challenging common assumptions in the unsupervised learning of disentangled
    representations* (arXiv:1811.12359).

    Examples
    --------
    >>> shape, size = ["ball", "cube"] * 4, [0, 0, 1, 1] * 2
    >>> factors = list(zip(shape, size))
    >>> mig_score(factors, [[4 * (s == "cube"), -t] for s, t in factors])
    1.0
    """
    n_bins = check_integer("n_bins", n_bins)
    Z_true, levels, Z_pred = split_factors(Z_true, Z_pred, categorical)
    latents = [_binned(column, n_bins) for column in Z_pred.T]
    gaps = []
    for k, column in enumerate(Z_true.T):
        factor = np.unique(column, return_inverse=True)[1]
        if k not in levels:
            factor = _binned(column, n_bins)
        known = sorted([0.0, *(_information(factor, latent) for latent in latents)])
        entropy = _information(factor, factor)
        gaps.append((known[-1] - known[-2]) / entropy if entropy > 0 else 0.0)
    return float(np.clip(np.mean(gaps), 0, 1))


def _binned(column, n_bins):
    """Codes of the values, or of bins of equal width where there are more of them."""
    values, codes = np.unique(column, return_inverse=True)
    if len(values) <= n_bins:
        return codes
    edges = np.linspace(values[0], values[-1], n_bins + 1)[1:-1]
    return np.digitize(column, edges)


def _information(a, b):
    """Mutual information of two columns of codes, in nats."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / apart[seen])))


def dci_scores(Z_true, Z_pred, *, categorical=None, random_state=None):
    r"""Disentanglement, completeness and informativeness of latents.

    Parameters
    ----------
    Z_true, Z_pred, categorical
        As :func:`mcc_score` takes them.
    random_state : int, RandomState or None
        Of the forests and folds. None is a fixed stream.

    Returns
    -------
    sklearn.utils.Bunch
        ``disentanglement``: 1 if every latent that is of use tells of one factor alone,
        0 if all tell of all alike; ``completeness``: 1 if every factor is told of by
        one latent alone; ``informativeness``: part of the factors that the latents
        tell, cross-fitted (R2 of numbers, adjusted balanced accuracy of levels; at
        least 0); ``importances`` of shape (n_latents, n_factors).

    Raises
    ------
    ValueError
        As :func:`mcc_score`.

    Notes
    -----
    With :math:`R_{ij}` the importance of latent i in a random forest for factor j,
    normalised over latents for each factor, :math:`D_i = 1 - H_K(R_{i \cdot})` and
    :math:`C_j = 1 - H_D(R_{\cdot j})` (entropies with the number of factors and of
    latents as base); disentanglement weighs :math:`D_i` by the share of latent i in all
    importances, completeness is the mean of :math:`C_j`. With one factor (one latent)
    disentanglement (completeness) is 1. A factor that is constant has no part.

    References
    ----------
    Eastwood, Williams (2018), *A framework for the quantitative evaluation of
    disentangled representations*, ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> Z = np.random.RandomState(0).rand(200, 2)
    >>> found = dci_scores(Z, Z[:, ::-1])
    >>> bool(found.disentanglement > 0.9), bool(found.completeness > 0.9)
    (True, True)
    """
    stream = direction_stream(random_state)
    Z_true, levels, Z_pred = split_factors(Z_true, Z_pred, categorical)
    Z_pred = Frame(Z_pred)(Z_pred)
    importances, told = np.zeros((Z_pred.shape[1], Z_true.shape[1])), []
    for k, column in enumerate(Z_true.T):
        if np.ptp(column) == 0:
            told.append(0.0)
            continue
        seed = stream.randint(2**31)
        forest = RandomForestClassifier if k in levels else RandomForestRegressor
        # All latents at every split, so that none stands in for a better one.
        forest = forest(N_TREES, max_features=1.0, random_state=seed)
        importances[:, k] = forest.fit(Z_pred, column).feature_importances_
        told.append(_told(forest, column, Z_pred, seed, k in levels))
    used = importances.sum(axis=0) > 0
    return Bunch(
        disentanglement=_concentration(importances[:, used]),
        completeness=_concentration(importances[:, used].T, weighted=False),
        informativeness=float(np.mean(told)),
        importances=importances,
    )


def _told(forest, column, latents, seed, is_level):
    if is_level:
        return tree_accuracy(forest, column, latents, seed)
    folds = KFold(min(N_FOLDS, len(column)), shuffle=True, random_state=seed)
    errors = cross_val_predict(forest, latents, column, cv=folds) - column
    return float(max(1 - np.mean(errors**2) / column.var(), 0))


def _concentration(importances, weighted=True):
    """Mean over rows of 1 - entropy of a row, weighed by its share; 0 for no rows."""
    totals = importances.sum(axis=1)
    kept = importances[totals > 0]
    if not len(kept):
        return 0.0
    parts = kept / totals[totals > 0][:, None]
    logs = np.log(np.where(parts > 0, parts, 1.0))
    base = np.log(max(importances.shape[1], 2))
    concentrated = 1 + (parts * logs).sum(axis=1) / base
    weights = totals[totals > 0] if weighted else None
    return float(np.average(concentrated, weights=weights))
