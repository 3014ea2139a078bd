"""Can a classifier tell two samples apart?"""

import numpy as np
from scipy.stats import rankdata
from sklearn.base import clone, is_classifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold

from ..utils.checks import check_level
from ._alignment import smooth_features
from ._identifiability import Frame
from ._inputs import check_integer, check_max_memory, check_samples, direction_stream
from ._tiles import row_blocks
from ._two_sample import compare_with_null

__all__ = ["classifier_two_sample_test"]

# Of the ridge regression; labels are -1 and 1. On 50 pairs of small samples it found
# more shifts than 0.3 and 1, and about as many other differences.
PENALTY = 5.0


def classifier_two_sample_test(
    X_real,
    X_gen,
    *,
    classifier=None,
    cv=5,
    n_permutations=200,
    level=0.95,
    max_memory=64.0,
    random_state=None,
):
    """Test whether a classifier tells rows of two samples apart.

    Parameters
    ----------
    X_real : array-like of shape (n, n_features)
    X_gen : array-like of shape (m, n_features)
        At least `cv` rows of each.
    classifier : classifier or None
        It is fitted ``cv * (1 + n_permutations)`` times, to columns of mean 0 and
        variance 1 over both samples, labelled 0 (real) and 1. None is ridge regression
        on the labels, from the columns and 100 Gaussian functions of them: it sees
        shifts as well as other smooth differences (among a hundred columns or more,
        little else than shifts), and is linear in the labels, so that all relabellings
        are fitted at once.
    cv : int
        Number of shuffled, stratified folds.
    n_permutations : int
        Random relabellings of the rows, within folds.
    level : float
        Of the noise floor, between 0 and 1.
    max_memory : float
        Bound, in MiB, of the buffers that hold relabellings, beside a few float64
        copies of both samples with 100 columns more, and what `classifier` takes.
    random_state : int, RandomState or None
        Of folds, centres and relabellings. None is a fixed stream, so that the result
        is reproducible; numpy's global stream is never touched.

    Returns
    -------
    sklearn.utils.Bunch
        ``value``: the area under the ROC curve of held-out rows, averaged over folds,
        the probability that a generated row looks more generated than a real one: 0.5
        for equal samples, on average, and 1 for separable ones; ``p_value``: (1 +
        number of relabellings with at least that area) / (1 + n_permutations);
        ``noise_floor``: the quantile `level` of the areas of the relabellings;
        ``is_above_floor``: whether `value` exceeds it; ``null``: all these areas.

    Raises
    ------
    ValueError
        If the samples have different columns, too few rows or values that are not
        finite, or if a parameter is out of range.
    TypeError
        If `classifier` is not a classifier.

    Notes
    -----
    The classifier is fitted afresh for every relabelling. Held-out labels that are
    permuted under fixed predictions, or counted as a binomial, would be taken for
    independent between folds, which they are not: every row trains the predictions of
    the other folds. The area stands in for the accuracy of the source because it needs
    no threshold and no equal sizes.

    References
    ----------
    Lopez-Paz, Oquab (2017), *Revisiting classifier two-sample tests*
    (arXiv:1610.06545).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.RandomState(0).randn(100, 2)
    >>> result = classifier_two_sample_test(X[:50], X[50:] + 9)
    >>> round(result.value, 3), round(result.p_value, 3)
    (1.0, 0.005)
    """
    n_bytes = check_max_memory(max_memory)
    n_permutations = check_integer("n_permutations", n_permutations)
    cv = _check_folds(cv)
    check_level(level)
    if classifier is not None and not is_classifier(classifier):
        raise TypeError(f"classifier must be a classifier or None, got {classifier!r}.")
    X_real, X_gen = check_samples(X_real, X_gen, smallest=cv, needed_by=f"cv={cv}")
    stream = direction_stream(random_state)
    X = np.concatenate([X_real, X_gen]).astype(np.float64, copy=False)
    X = Frame(X)(X)
    labels = np.repeat([0, 1], [len(X_real), len(X_gen)])
    splitter = StratifiedKFold(cv, shuffle=True, random_state=stream.randint(2**31))
    folds = list(splitter.split(X, labels))
    model = _resolve_model(classifier, X, stream)
    value = float(_mean_area(model, folds, labels[:, None])[0])
    # Labels, scores and their ranks.
    at_once = max(1, int(n_bytes / (64 * len(X))))
    null = [
        _mean_area(model, folds, _permuted(labels, folds, part, stream))
        for part in row_blocks(0, n_permutations, at_once)
    ]
    return compare_with_null(value, np.concatenate(null), level)


def _check_folds(cv):
    if check_integer("cv", cv) < 2:
        raise ValueError(f"cv must be an int >= 2, got {cv!r}.")
    return int(cv)


def _permuted(labels, folds, part, stream):
    """Columns of labels, permuted within the folds, which thus stay stratified."""
    columns = np.empty((len(labels), part.stop - part.start), labels.dtype)
    for column in columns.T:
        for _, rows in folds:
            column[rows] = stream.permutation(labels[rows])
    return columns


def _mean_area(model, folds, labels):
    """Mean over folds of the held-out area under the curve, for each column."""
    areas = [
        _area(model(fitted, labels[fitted], held_out), labels[held_out])
        for fitted, held_out in folds
    ]
    return np.mean(areas, axis=0)


def _area(scores, labels):
    """Mann-Whitney's form of the area; ties count half."""
    n_gen = labels.sum(axis=0)
    of_gen = (rankdata(scores, axis=0) * labels).sum(axis=0)
    return (of_gen - n_gen * (n_gen + 1) / 2) / (n_gen * (len(labels) - n_gen))


def _resolve_model(classifier, X, stream):
    """``model(fitted rows, their labels, held-out rows)``: scores, as columns."""
    if classifier is None:
        # The features know no labels, so they may know all rows.
        features = smooth_features(len(X), stream).fit_transform(X)
        # The columns together then weigh what the Gaussian functions do.
        features[:, : X.shape[1]] /= np.sqrt(X.shape[1])

        def model(fitted, labels, held_out):
            ridge = Ridge(PENALTY).fit(features[fitted], 2.0 * labels - 1)
            return ridge.predict(features[held_out]).reshape(len(held_out), -1)

        return model

    def refitted(fitted, labels, held_out):
        columns = [
            _score_rows(clone(classifier).fit(X[fitted], column), X[held_out])
            for column in labels.T
        ]
        return np.column_stack(columns)

    return refitted


def _score_rows(classifier, X):
    """How generated each row looks."""
    if hasattr(classifier, "decision_function"):
        return classifier.decision_function(X)
    if hasattr(classifier, "predict_proba"):
        return classifier.predict_proba(X)[:, 1]
    return classifier.predict(X)
