"""The axioms of counterfactuals for several interventions, in words."""

import numpy as np
import pandas as pd

from ._axioms import (
    composition_rows,
    effectiveness_rows,
    minimality_rows,
    reversibility_rows,
)
from ._counterfactuals import Counterfactuals, ExplainedRows, UndefinedAxiomError
from ._inputs import name_changes

__all__ = ["counterfactual_report"]

AXIOMS = {
    "composition": (
        composition_rows,
        "Changing nothing moves the rows by {} of their spread (0 %: the model "
        "reproduces them; 100 %: it knows no more than their mean).",
    ),
    "reversibility": (
        reversibility_rows,
        "Rows on which {!r} was done and undone are off by {} of their spread (0 %: "
        "they are back; 100 %: as far off as their mean).",
    ),
    "effectiveness": (
        effectiveness_rows,
        "Of the change that {!r} asks for, {} is missing in the changed rows (0 %: it "
        "arrives; 100 %: the rows read as if nothing had been done).",
    ),
    "minimality": (
        minimality_rows,
        "What {!r} should leave alone moves by {} of its spread (0 %: it stays; 100 %: "
        "as far as to its mean).",
    ),
}
NULL = "none"


def counterfactual_report(
    estimator,
    X,
    interventions,
    *,
    names=None,
    reversibility=None,
    effectiveness=None,
    minimality=None,
    residual="drop",
    abduction="encode",
    units="auto",
    random_state=0,
):
    """Errors of a model's counterfactuals, with a sentence on each.

    Parameters
    ----------
    estimator : fitted generator, or pipeline that ends in one
    X : array-like of shape (n_samples, n_features)
        Rows that differ, in input space; better not those of the fit.
    interventions : dict of str to dict, or dict of str to intervention
        ``{name: {node: intervention}}``, or one ``{node: intervention}``.
    names : list of str, optional
        Axioms to report: some of "composition", "reversibility", "effectiveness" and
        "minimality". None takes all.
    reversibility, effectiveness, minimality : dict of str to dict, optional
        By name of intervention ("intervention" if there is one without a name), the
        parameters of the axiom's own that differ from the defaults:
        ``effectiveness={"wide": {"predictor": width_of, "target": 9.0}}``.
    residual, abduction, units, random_state
        As :func:`reversibility_error` takes them. Composition always drops the
        residual.

    Returns
    -------
    DataFrame
        One row for composition, which is about no intervention ("none"), then one per
        intervention and axiom: ``intervention``, ``axiom``, ``value`` (lower is
        better), ``standard_error`` (of the mean over rows, with the normalisation
        taken as given), ``perfect`` and ``useless`` values, ``explanation``. Where an
        axiom is not defined, the value is NaN and the explanation says why.

    Raises
    ------
    TypeError
        If the estimator cannot explain given rows, or `interventions` are no such
        dict.
    ValueError
        If a node, an axiom or an intervention's name is unknown, or a parameter is out
        of range.

    References
    ----------
    Monteiro, De Sousa Ribeiro, Pawlowski, Castro, Glocker (2023), *Measuring axiomatic
    soundness of counterfactual image models*, arXiv 2303.01274.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> from sklearn_icm.interventions import Shift
    >>> X = load_iris().data
    >>> vae = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2, random_state=0)
    >>> report = counterfactual_report(vae.fit(X), X, {"noise": Shift(1.0)})
    >>> report["axiom"].tolist()
    ['composition', 'reversibility', 'effectiveness', 'minimality']
    """
    changes, axioms = name_changes(interventions), _check_axioms(names)
    options = {
        "reversibility": reversibility,
        "effectiveness": effectiveness,
        "minimality": minimality,
    }
    options = {
        axiom: _check_options(axiom, options[axiom], changes) for axiom in options
    }
    start = ExplainedRows(estimator, X, abduction, units)
    lines = []
    if "composition" in axioms:
        lines.append(_line(NULL, "composition", start, {}))
    for name, change in changes.items():
        case = Counterfactuals(start, change, residual, random_state)
        lines += [
            _line(name, axiom, case, options[axiom].get(name, {}))
            for axiom in axioms
            if axiom != "composition"
        ]
    return pd.DataFrame(lines)


def _line(name, axiom, asked, options):
    """One row of the report, about rows or about their counterfactuals."""
    errors_of, sentence = AXIOMS[axiom]
    value = error = np.nan
    try:
        errors = errors_of(asked, **options)
    except UndefinedAxiomError as reason:
        sentence = f"Not defined. {reason}"
    else:
        value = float(errors.mean())
        if len(errors) > 1:
            error = float(errors.std(ddof=1) / np.sqrt(len(errors)))
        sure = "" if np.isnan(error) else f" (standard error {100 * error:.2g} %)"
        amount = f"{100 * value:.3g} %{sure}"
        told = (amount,) if axiom == "composition" else (name, amount)
        sentence = sentence.format(*told)
    return {
        "intervention": name,
        "axiom": axiom,
        "value": value,
        "standard_error": error,
        "perfect": 0.0,
        "useless": 1.0,
        "explanation": sentence,
    }


def _check_axioms(names):
    """Axioms in the order of the report."""
    names = list(AXIOMS) if names is None else names
    unknown = [name for name in names if name not in AXIOMS]
    if isinstance(names, str) or unknown or not len(names):
        raise ValueError(
            f"names must be a non-empty list of axioms, of {list(AXIOMS)}, got "
            f"{names!r}."
        )
    return [axiom for axiom in AXIOMS if axiom in names]


def _check_options(axiom, options, changes):
    unknown = [name for name in options or {} if name not in changes]
    if unknown:
        raise ValueError(
            f"{axiom} must be a dict by name of intervention, {list(changes)}, got "
            f"{unknown[0]!r}."
        )
    return options or {}
