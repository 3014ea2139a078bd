"""A generator along increasing weights of its independence penalty."""

import copy
import sys

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import Bunch, _safe_indexing, check_array

from ..base import is_generator
from ..metrics import counterfactual_errors
from ..utils.environments import resolve_environments
from ..utils.pipelines import last_step

__all__ = ["icm_path"]

MEASURES = ("abs_log_rho", "anisotropy", "response", "n_degenerate")
COLUMNS = ("icm_weight", "n_iter", "score", *MEASURES, "effectiveness_error")


def icm_path(
    estimator,
    X,
    weights,
    *,
    y=None,
    environments=None,
    split=None,
    scoring=None,
    interventions=None,
    warm_start=True,
    random_state=0,
    verbose=0,
):
    """Fit a generator along increasing weights of its independence penalty.

    Parameters
    ----------
    estimator : generator with `icm_weight`, or pipeline that ends in one
        Cloned, never changed.
    X : array-like of shape (n_samples, n_features)
    weights : array-like of shape (n_weights,)
        Values of `icm_weight`, at least 0 and distinct; taken in increasing order.
    y, environments : array-like of shape (n_samples,), optional
        Environment labels; one of the two.
    split : (train, test), default=None
        Indices of the rows to fit and to score, such as ``next(cv.split(X, y))``; None
        takes all rows for both.
    scoring : callable or dict of str to callable, default=None
        ``scorer(estimator, X, y)`` with the environment labels (or None) as ``y``, such
        as an extrapolation scorer.
    interventions : dict of node name to intervention, default=None
        Changes whose effectiveness on the rows of `split` is measured.
    warm_start : bool, default=True
        Whether each fit continues from the one before, with the optimiser kept. Every
        weight then adds the epochs of one fit (`max_epochs`): later models have trained
        longer, and a difference along the path is one of weight *and* training. False
        fits each weight afresh.
    random_state : int, RandomState or None, default=0
        Of the draws that the measures of independence use.
    verbose : int, default=0
        1 writes a line per weight to stderr.

    Returns
    -------
    Bunch
        ``estimators``, the fitted models (those of a warm-started path without the
        state of their optimiser), and ``table``, a DataFrame with one row per weight:

        - ``icm_weight``; ``n_iter``, epochs trained so far;
        - ``score``, the estimator's own score of the rows of `split` (without `split`
          of those it was fitted on), higher is better; absent if it has none;
        - ``abs_log_rho``, mean over pairs of successive mechanisms of ``|log rho|``
          (0 is independence), without degenerate pairs; NaN if no pair is left;
        - ``anisotropy``, mean over pairs of the smaller of the anisotropies of the two
          mechanisms: near 0 nothing could have moved rho away from 1;
        - ``response``, mean relative change under rotations of the hidden node;
        - ``n_degenerate``, pairs whose rho says nothing;
        - ``effectiveness_error`` of `interventions`, 0 is best, see
          :func:`~sklearn_icm.metrics.counterfactual_errors`;
        - ``skill`` if `scoring` is a callable, else one column per scorer.

    Raises
    ------
    ValueError
        For an estimator without `icm_weight` (or `warm_start`), or bad weights. An
        error of a fit is raised as it is, with a note of the weight.

    Notes
    -----
    Do not choose a weight by ``abs_log_rho``, which the penalty lowers by construction:
    choose it by a score on held-out environments.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_icm.generators import VAEGenerator
    >>> X = np.random.RandomState(0).uniform(size=(40, 4))
    >>> vae = VAEGenerator(hidden=(8,), n_latents=2, max_epochs=2, random_state=0)
    >>> path = icm_path(vae, X, [0, 0.1, 1])
    >>> path.table[["icm_weight", "n_iter"]].to_numpy().tolist()
    [[0.0, 2.0], [0.1, 4.0], [1.0, 6.0]]
    """
    prefix = _parameter_prefix(estimator, warm_start)
    weights, scorers = _check_weights(weights), _check_scoring(scoring)
    labels = resolve_environments(X, y, environments)
    train, test = (_rows(X, labels, indices) for indices in split or (None, None))
    model, name = clone(estimator), f"{prefix}warm_start"
    if warm_start:
        model.set_params(**{name: True})
    rows, estimators = [], []
    for weight in weights:
        model = model if warm_start else clone(estimator)
        _fit(model, {f"{prefix}icm_weight": weight}, train)
        rows.append(_measure(model, weight, test, random_state))
        if interventions is not None:
            errors = counterfactual_errors(
                model, test[0], interventions, axioms=["effectiveness"]
            )
            rows[-1]["effectiveness_error"] = errors.table_["effectiveness"].item()
        rows[-1] |= {name: scorer(model, *test) for name, scorer in scorers.items()}
        kept = model
        if warm_start:
            # The optimiser stays with the model that trains on.
            given = {name: estimator.get_params()[name]}
            kept = copy.deepcopy(model).set_params(**given)
        estimators.append(kept)
        if verbose:
            _report(rows, len(weights))
    return Bunch(table=pd.DataFrame(rows), estimators=estimators)


def _parameter_prefix(estimator, warm_start):
    if not is_generator(estimator):
        raise TypeError(f"icm_path needs a generator, got {type(estimator).__name__}.")
    prefix = f"{estimator.steps[-1][0]}__" if hasattr(estimator, "steps") else ""
    known = estimator.get_params()
    for name in ["icm_weight"] + ["warm_start"] * warm_start:
        if prefix + name not in known:
            raise ValueError(
                f"icm_path needs a generator with the parameter {name}, got "
                f"{last_step(estimator)!r}."
            )
    return prefix


def _check_weights(weights):
    weights = check_array(
        weights, ensure_2d=False, dtype=np.float64, input_name="weights"
    )
    if weights.ndim != 1 or weights.min() < 0 or len(np.unique(weights)) < len(weights):
        raise ValueError(
            "weights must be a sequence of distinct numbers >= 0, got "
            f"{weights.tolist()}."
        )
    return np.sort(weights).tolist()


def _check_scoring(scoring):
    scorers = scoring
    if scoring is None:
        scorers = {}
    elif callable(scoring):
        scorers = {"skill": scoring}
    if not isinstance(scorers, dict) or not all(map(callable, scorers.values())):
        raise ValueError(
            f"scoring must be a callable or a dict of them, got {scoring!r}."
        )
    taken = [name for name in scorers if name in COLUMNS]
    if taken:
        raise ValueError(
            f"scoring has the name {taken[0]!r}, which the table of icm_path uses "
            "itself. Give it another one."
        )
    return scorers


def _rows(X, labels, indices):
    """Arguments of fit and score for some rows."""
    if indices is None:
        return X, labels
    return _safe_indexing(X, indices), None if labels is None else labels[indices]


def _fit(model, params, rows):
    try:
        model.set_params(**params).fit(*rows)
    except Exception as error:
        error.add_note(f"icm_path stopped at {params}.")
        raise


def _measure(model, weight, rows, random_state):
    """One row of the table."""
    row = {"icm_weight": weight, "n_iter": last_step(model).n_iter_}
    if hasattr(model, "score"):
        row["score"] = model.score(*rows)
    return row | _measure_independence(last_step(model), random_state)


def _measure_independence(generator, random_state):
    table = generator.independence(random_state=random_state)
    degenerate = table["degenerate"].astype(bool)
    with np.errstate(divide="ignore"):
        distance = np.log(table.loc[~degenerate, "rho"].astype(float)).abs()
    smaller = table[["anisotropy_in", "anisotropy_out"]].min(axis=1)
    measured = (distance.mean(), smaller.mean(), table["response"].mean())
    return dict(zip(MEASURES, (*measured, int(degenerate.sum())), strict=True))


def _report(rows, n_weights):
    parts = [f"{k} {v:.4g}" for k, v in rows[-1].items()]
    sys.stderr.write(f"icm_path {len(rows)}/{n_weights}  {'  '.join(parts)}\n")
    sys.stderr.flush()
