"""Factors that may be levels, such as a shape or a colour, against latents."""

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from scipy.stats import rankdata
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from ..utils.checks import check_choice
from ._identifiability import check_factors, correlations, mean_of_best_matching
from ._inputs import direction_stream

__all__ = ["mcc_score", "split_factors", "tree_accuracy"]

N_FOLDS = 5


def mcc_score(Z_true, Z_pred, *, method="pearson", categorical=None):
    r"""Mean correlation of the true factors with their best-matching latents.

    Parameters
    ----------
    Z_true : array-like of shape (n, n_factors) or (n,)
    Z_pred : array-like of shape (n, n_latents) or (n,)
        Latents of the same rows; there may be more or fewer of them than factors.
    method : {"pearson", "spearman"}
        Correlation of values, or of ranks (ties share their mean rank): the latter
        does not see monotone changes of a latent.
    categorical : int, str or list of them, optional
        Columns of `Z_true` that hold levels, by place or name, whatever their codes;
        None takes those that hold no numbers (strings, or a pandas categorical).

    Returns
    -------
    float
        Between 0 and 1: :math:`\max_\pi \frac{1}{d} \sum_j |r(z_j, \hat z_{\pi(j)})|`
        over one-to-one matchings :math:`\pi`. It is 1 if and only if every factor is
        recovered up to order, sign, unit and origin.

    Raises
    ------
    ValueError
        If the rows do not correspond, are fewer than two or hold values that are not
        finite, or if `method` is unknown.

    Notes
    -----
    A factor of levels has no correlation, which would depend on its code numbers. In
    its place stands how well a latent tells the levels: the balanced accuracy of a
    decision tree on it, cross-fitted in five folds, with chance taken off (0 by chance,
    1 without an error). Levels on fewer than five rows are left out.

    The mean is over the factors: one that finds no partner counts 0, and so does a
    constant column on either side, which is associated with nothing. Latents that know
    nothing score above 0, the more so the fewer rows and the more latents there are:
    compare with the score of shuffled rows.

    References
    ----------
    Hyvärinen, Morioka (2016), *Unsupervised feature extraction by time-contrastive
    learning and nonlinear ICA* (arXiv:1605.06336).

    Examples
    --------
    >>> round(mcc_score([[0, 2], [1, 0], [2, 2]], [[4, 0], [0, -1], [4, -2]]), 6)
    1.0
    """
    check_choice("method", method, ["pearson", "spearman"])
    Z_true, levels, Z_pred = split_factors(Z_true, Z_pred, categorical)
    codes, stream = Z_true[:, levels].astype(int), direction_stream(None)
    if method == "spearman":
        Z_true, Z_pred = rankdata(Z_true, axis=0), rankdata(Z_pred, axis=0)
    association = np.abs(correlations(Z_true, Z_pred))
    for k, column in zip(levels, codes.T, strict=True):
        association[k] = _level_accuracy(column, Z_pred, stream)
    return mean_of_best_matching(association)


def split_factors(Z_true, Z_pred, categorical=None):
    """Factors (n, n_factors), with codes of levels; places of these; latents.

    Parameters are those of :func:`mcc_score`.
    """
    if categorical is None and is_numeric_dtype(getattr(Z_true, "dtype", object)):
        Z_true, Z_pred = check_factors(Z_true, Z_pred)
        return Z_true, [], Z_pred
    frame = pd.DataFrame(Z_true).infer_objects()
    levels = _level_places(frame, categorical)
    numbers = {}
    for k in range(frame.shape[1]):
        column = frame.iloc[:, k]
        if k in levels:
            column = _codes(column, k, declared=categorical is not None)
        numbers[k] = column
    Z_true, Z_pred = check_factors(pd.DataFrame(numbers), Z_pred)
    return Z_true, levels, Z_pred


def _level_places(frame, categorical):
    if categorical is None:
        numeric = [is_numeric_dtype(dtype) for dtype in frame.dtypes]
        return np.flatnonzero(np.logical_not(numeric)).tolist()
    wanted = categorical if isinstance(categorical, (list, tuple)) else [categorical]
    names, places = list(frame.columns), []
    for name in wanted:
        if name in names:
            places.append(names.index(name))
        elif isinstance(name, (int, np.integer)) and 0 <= name < len(names):
            places.append(int(name))
        else:
            raise ValueError(
                "categorical must be None, or places or names of columns of Z_true "
                f"({names}), got {name!r}."
            )
    return places


def _codes(column, k, declared):
    codes, levels = pd.factorize(column, sort=False)
    if (codes < 0).any():
        raise ValueError(f"The column {k} of Z_true must not have missing levels.")
    if not declared and len(levels) > max(len(column) / 2, 2):
        raise ValueError(
            f"The column {k} of Z_true has {len(levels)} levels in {len(column)} rows, "
            f"such as {levels[0]!r}: if it holds numbers, give them as numbers; if it "
            f"holds levels, say categorical=[{k}]."
        )
    return codes


def _level_accuracy(levels, latents, stream):
    """How well each latent alone tells the levels: 0 by chance, 1 without an error."""
    n_levels = len(np.unique(levels))
    if n_levels < 2:
        return np.zeros(latents.shape[1])
    # Enough for levels that lie in several places along a latent.
    tree = DecisionTreeClassifier(
        max_leaf_nodes=2 * n_levels,
        min_samples_leaf=max(1, len(levels) // 200),
        class_weight="balanced",
        random_state=0,
    )
    seed = stream.randint(2**31)
    return np.array(
        [tree_accuracy(tree, levels, latent[:, None], seed) for latent in latents.T]
    )


def tree_accuracy(classifier, levels, latents, seed):
    """Cross-fitted balanced accuracy, with chance taken off and no less than 0.

    Levels on fewer rows than folds cannot be learnt and told, and are left out.
    """
    names, counts = np.unique(levels, return_counts=True)
    names = names[counts >= N_FOLDS]
    if len(names) < 2:
        return 0.0
    kept = np.isin(levels, names)
    levels, latents = levels[kept], latents[kept]
    folds = KFold(N_FOLDS, shuffle=True, random_state=seed)
    found = cross_val_predict(classifier, latents, levels, cv=folds)
    accuracy = np.mean([np.mean(found[levels == name] == name) for name in names])
    chance = 1 / len(names)
    return float(max(accuracy - chance, 0) / (1 - chance))
