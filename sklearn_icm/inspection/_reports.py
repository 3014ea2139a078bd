"""Reports: tables that say what their numbers mean."""

import warnings

import numpy as np
import pandas as pd

from ..base import is_generator
from ..exceptions import DegenerateMechanismWarning
from ..metrics import (
    alignment_r2,
    fit_refits,
    mcc_score,
    refit_agreement,
)
from ..utils.pipelines import chosen_estimator, last_step
from ..utils.reports import Report
from ..utils.words import part_of

__all__ = ["identifiability_report"]

CONSISTENCY = {
    True: "Latents of two refits, matched one to one, have a mean absolute correlation "
    "of {:.2f}.",
    False: "The latents of one refit {} the variance of another's, once aligned.",
}
COLUMNS = ["value", "worst", "perfect", "chance", "sentence"]
# Measures of the factors against the latents, with what their value means.
TRUTH = {
    "mcc with factors": (
        mcc_score,
        "True factors have a mean absolute correlation of {:.2f} with the latents that "
        "match them best.",
    ),
    "affine R2 of factors": (
        alignment_r2,
        "An affine map of the latents {} the factors' variance.",
    ),
}


def identifiability_report(
    estimator,
    X,
    *,
    interventions=None,
    factors=None,
    y=None,
    n_refits=3,
    alignment="permutation_scale",
    n_jobs=None,
    random_state=None,
):
    """Refit an estimator with several seeds, and say what is known of the refits.

    Parameters
    ----------
    estimator : generator or encoder, or pipeline that ends in one
        Only its parameters matter. What it cannot do (`transform`, `independence`) is
        left out.
    X : array-like of shape (n_samples, n_features)
    interventions : dict, optional
        As :func:`~sklearn_icm.metrics.refit_agreement` takes them; None leaves what
        they do out.
    factors : array-like of shape (n_samples, n_factors), optional
        True factors of the rows.
    y, n_refits, n_jobs : optional
        As :func:`~sklearn_icm.metrics.fit_refits` takes them. All measures share the
        refits.
    alignment : str
        As :func:`~sklearn_icm.metrics.refit_agreement` takes it.
    random_state : int, RandomState or None, default=None
        None is a fixed stream.

    Returns
    -------
    Report
        ``table_``: one row per measure: ``value`` (mean over refits, their pairs, or
        interventions), ``worst`` of them, what is ``perfect``, what is ``chance``
        (measured with shuffled rows; NaN where nothing is matched). ``sentences_``:
        what each value means.

    Raises
    ------
    TypeError
        If interventions are given and the estimator is no generator, or factors and it
        has no `transform`.
    ValueError
        If a parameter is out of range, or if nothing can be measured.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> from sklearn_icm.interventions import Scale
    >>> report = identifiability_report(
    ...     VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2),
    ...     load_iris().data,
    ...     interventions={"dense1": Scale(2.0)},
    ...     n_refits=2,
    ... )
    >>> list(report.table_.index)
    ['extrapolation agreement', 'latent consistency', 'independence: dense1 -> data']
    """
    _check_measurable(estimator, interventions, factors)
    seeds = {"random_state": random_state}
    refits = fit_refits(estimator, X, y, n_refits=n_refits, n_jobs=n_jobs, **seeds)
    rows = {}
    if interventions is not None:
        agreement = refit_agreement(refits, X, interventions, **seeds)
        rows["extrapolation agreement"] = _agreement_row(agreement)
    refits = list(map(chosen_estimator, refits))
    if hasattr(refits[0], "transform"):
        consistency = refit_agreement(refits, X, alignment=alignment, **seeds)
        rows["latent consistency"] = _consistency_row(consistency, alignment)
    if factors is not None:
        latents = [np.asarray(refit.transform(X)) for refit in refits]
        stream = np.random.RandomState(0)
        rows |= {name: _truth_row(name, factors, latents, stream) for name in TRUTH}
    if hasattr(last_step(estimator), "independence"):
        for pair, table in _independence_of(refits).groupby("pair", sort=False):
            rows[f"independence: {pair}"] = _independence_row(table)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
    return Report(table.drop(columns="sentence"), table["sentence"])


def _check_measurable(estimator, interventions, factors):
    """Refuse what cannot be measured, before anything is fitted."""
    name = type(estimator).__name__
    encodes = hasattr(chosen_estimator(estimator), "transform")
    if interventions is not None and not is_generator(estimator):
        raise TypeError(f"interventions need a generator with `intervene`, got {name}.")
    if factors is not None and not encodes:
        raise TypeError(f"factors need an estimator with `transform`, got {name}.")
    measures = encodes or hasattr(last_step(estimator), "independence")
    if interventions is None and not measures:
        raise ValueError(
            f"Nothing can be measured: {name} has neither `transform` nor "
            "`independence`. Give interventions."
        )


def _independence_of(refits):
    # The table flags them, and its explanation says so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateMechanismWarning)
        tables = [last_step(refit).independence() for refit in refits]
    return pd.concat(tables, ignore_index=True)


def _agreement_row(result):
    reference, *ratios = result.table_["ratio"]
    changes = result.table_.iloc[1:]
    worst = int(np.argmin(changes["agreement"]))
    reading = (
        f"Refits are {ratios[worst] / reference:.3g} times as far apart under "
        f"{changes.index[worst]!r} as without an intervention, in units of what chance "
        "explains."
    )
    if result.value == 1:
        reading = "Refits agree under the interventions as well as without."
    return [result.value, changes["agreement"].iloc[worst], 1.0, np.nan, reading]


def _consistency_row(result, alignment):
    matched = alignment == "permutation_scale"
    value = result.value if matched else part_of(result.value, "explain")
    reading = CONSISTENCY[matched].format(value)
    return [result.value, np.nanmin(result.table_), 1.0, result.chance, reading]


def _truth_row(name, factors, latents, stream):
    measure, sentence = TRUTH[name]
    values = [measure(factors, Z) for Z in latents]
    chance = np.mean([measure(factors, stream.permutation(Z)) for Z in latents])
    value = np.mean(values)
    told = part_of(value, "explains") if measure is alignment_r2 else value
    return [value, np.min(values), 1.0, chance, sentence.format(told)]


def _independence_row(table):
    rho, n_degenerate = table["rho"].to_numpy(), int(table["degenerate"].sum())
    worst = np.argmax(np.abs(np.log(np.maximum(rho, np.finfo(float).tiny))))
    reading = (
        "A random rotation of the hidden node changes the output's power by "
        f"{100 * table['power_change'].mean():+.0f} % on average."
    )
    if n_degenerate:
        reading = (
            f"In {n_degenerate} of {len(table)} refits rho is 1 whatever was learned: "
            "nothing can be read from those."
        )
    return [rho.mean(), rho[worst], 1.0, np.nan, reading]
