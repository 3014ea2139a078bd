"""What simple rules predict of an environment, which a model has to beat."""

import warnings

import numpy as np
from scipy.spatial.distance import cdist

from ..compose._wrap import rows_under
from ..utils.pipelines import last_step
from ..utils.units import in_units

__all__ = ["PEERS", "peer_rows"]

PEERS = ("identity", "mean_shift", "moments", "additive", "neighbours", "at_data")


def peer_rows(estimator, X, prediction, single_means, random_state):
    """Predictions of an environment by rules, ``{name of PEERS: rows}``.

    Parameters
    ----------
    estimator : fitted generator, or GenerativePipeline
    X : array-like of shape (n, n_features)
        Rows without an intervention.
    prediction : Prediction
        In the units of the input; its ``X_baseline`` are the numbers of X.
    single_means : list of ndarray, or None
        Mean of the environments in which one node was changed as it is here, one for
        each node; None if one was never changed alone.
    random_state : int, RandomState or None

    Returns
    -------
    dict of str to ndarray
        ``identity``: the rows as they are; ``mean_shift``, ``moments``: with the mean
        of the environment, and with its standard deviations too; ``additive``: shifted
        by the sum of what single changes do to the mean; ``neighbours``: for changed
        columns of a table, observed rows in which these are nearest to the changed
        values; ``at_data``: for a hidden node, the same change of the data. Those that
        do not apply are not there.
    """
    usual = prediction.X_baseline
    known = prediction.X_env if prediction.X_known is None else prediction.X_known
    mean, goal = usual.mean(axis=0), known.mean(axis=0)
    spread = usual.std(axis=0)
    ratio = np.where(spread > 0, known.std(axis=0) / np.where(spread > 0, spread, 1), 1)
    found = {
        "identity": usual,
        "mean_shift": usual + (goal - mean),
        "moments": goal + (usual - mean) * ratio,
    }
    if single_means:
        found["additive"] = usual + sum(single - mean for single in single_means)
    changed = _changed_columns(estimator, prediction)
    if len(changed):
        found["neighbours"] = _neighbours(prediction, changed)
    else:
        found |= _at_data(estimator, X, prediction.interventions, random_state)
    return found


def _changed_columns(estimator, prediction):
    """Places of the numeric columns that are set by the interventions, if all are."""
    generator = last_step(estimator)
    if not hasattr(generator, "categories_") or hasattr(estimator, "steps"):
        return []
    names = list(generator.mechanisms_.values())[-1]
    if not set(prediction.interventions) <= set(names):
        return []
    changed = [list(names).index(node) for node in prediction.interventions]
    columns = estimator.space_.columns_of(prediction.X_baseline.shape[1])
    return np.flatnonzero(np.isin(columns, changed))


def _neighbours(prediction, changed):
    wanted, usual = (
        in_units(rows, prediction.units)[:, changed]
        for rows in (prediction.X_intervened, prediction.X_baseline)
    )
    rows = prediction.X_baseline[cdist(wanted, usual).argmin(axis=1)]
    rows[:, changed] = prediction.X_intervened[:, changed]
    return rows


def _at_data(estimator, X, interventions, random_state):
    """Rows under the one change of a hidden node, made to the data instead."""
    data = list(last_step(estimator).nodes_)[-1]
    if len(interventions) != 1 or data in interventions:
        return {}
    (change,) = interventions.values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            rows = rows_under(estimator, {data: change}, X, random_state=random_state)
        except (TypeError, ValueError, RuntimeError):
            # The change fits the hidden node alone.
            return {}
    return {"at_data": estimator.space_.numeric(rows)}
