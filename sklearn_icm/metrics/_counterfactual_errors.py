"""Do a model's counterfactuals obey the axioms of counterfactuals?"""

from numbers import Integral

import numpy as np
import pandas as pd

from ..interventions._base import as_intervention
from ..utils.checks import check_scalar
from ..utils.reports import Report
from ._counterfactuals import (
    Counterfactuals,
    ExplainedRows,
    UndefinedAxiomError,
    mean_ratio,
    part_of_spread,
    predictions,
)
from ._inputs import name_changes

__all__ = ["counterfactual_errors"]

# An error that is rounding, or as good as none.
NEGLIGIBLE = 1e-4
SENTENCES = {
    "composition": "Changing nothing moves the rows by {} of their spread (0 %: the "
    "model reproduces them; 100 %: it knows no more than their mean).",
    "reversibility": "Rows on which {!r} was done and undone are off by {} of their "
    "spread (0 %: they are back; 100 %: as far off as their mean).",
    "effectiveness": "Of the change that {!r} asks for, {} is missing in the changed "
    "rows (0 %: it arrives; 100 %: the rows read as if nothing had been done).",
    "minimality": "What {!r} should leave alone moves by {} of its spread (0 %: it "
    "stays; 100 %: as far as to its mean).",
}


def counterfactual_errors(
    estimator,
    X,
    interventions=None,
    *,
    n_rounds=1,
    read=None,
    target=None,
    keep=None,
    residual="drop",
    abduction="encode",
    units="auto",
    random_state=0,
):
    r"""Errors of a model's counterfactuals by the four axioms, with sentences.

    Every error is 0 for a perfect model and about 1 for a useless one; lower is better.

    Parameters
    ----------
    estimator : fitted generator, or pipeline that ends in one
    X : array-like of shape (n_samples, n_features)
        Rows that differ, in input space; better not those of the fit.
    interventions : dict of str to dict, or dict of str to intervention, optional
        ``{name: {node: intervention}}``, or one ``{node: intervention}``. None asks
        for composition alone, which is about no intervention.
    n_rounds : int, default=1
        How many times rows are replaced by their reconstruction (composition), or
        changed and changed back (reversibility).
    read : str, fitted regressor or callable, optional
        Where effectiveness looks for the change: a hidden node, by explaining the
        counterfactual rows anew, which is compared with its value under the
        intervention; or a predictor of the changed factor(s) from rows, ``(n,
        n_features) -> (n,)`` or ``(n, n_factors)``, with a `target`. An honest one was
        fitted to other rows than the model. (A callable gets an array, a regressor what
        X is.) None takes the hidden nodes that are intervened on, with equal weight,
        but for causes of others of them.
    target : float, array-like or callable, optional
        Value(s) of the factor(s) that the intervention intends, which broadcast to the
        predictions, or a callable from the predictions for X to them.
    keep : list of str, fitted regressor or callable, optional
        What minimality asks to stay: hidden nodes, read from the counterfactual rows;
        or a predictor of factor(s), such as ``lambda rows: rows[:, [0, 2]]``. None
        takes the values that the intervention leaves as they are, in nodes that cause
        none of those intervened on: other branches of the graph, and the other latents
        under ``{"noise": Units(0, Shift(1.0))}``.
    residual : {"drop", "keep"}, default="drop"
        Whether what the model does not explain of a row goes along, as in `intervene`.
        Composition always drops it, since rows that keep it are returned as they are;
        a model that ignores the rows reverses perfectly if it is kept.
    abduction : {"encode", "optimise"}, default="encode"
        How the noise behind rows is found, as in `intervene`.
    units : {"auto", "columns", "common"} or array-like of shape (n_features,)
        Of the columns, as :func:`make_extrapolation_scorer` takes it; of the rows X.
    random_state : int, RandomState or None, default=0
        Of interventions that are random; None is a fixed stream.

    Returns
    -------
    Report
        ``table_``: one row per intervention ("none" for composition alone), with a
        column per axiom, and one with the standard error of each (of the mean over
        rows, with model and normalisation taken as given), such as ``composition_se``.
        ``sentences_``: what each number means, by intervention and axiom. Where an
        axiom is not defined the number is NaN, and the sentence says why.

    Raises
    ------
    TypeError
        If the estimator cannot explain given rows, or `interventions` are no such dict.
    ValueError
        If a node is unknown, or a parameter is out of range.

    Notes
    -----
    With :math:`x_i` the rows, :math:`x'_i` what they become, :math:`r` what is read
    from rows and :math:`t_i` what is intended,

    .. math:: \sum_i \|x'_i - x_i\|^2 \Big/ \sum_i \|x_i - \bar x\|^2

    for composition (the model's reconstructions) and reversibility (changed, explained
    anew and changed back, one node after the other, the most downstream one first);
    effectiveness and minimality are

    .. math:: \sum_i \|r(x'_i) - t_i\|^2 \Big/ \sum_i \|r(x_i) - t_i\|^2, \qquad
        \sum_i \|r(x'_i) - r(x_i)\|^2 \Big/ \sum_i \|r(x_i) - \bar r\|^2,

    means over nodes, or over the columns of the predictions. Causes of changed nodes
    are left out by default, since rows in which a node is changed can be explained by
    other causes. With ``residual="drop"`` the errors hold that of composition too.

    A model that reads its own rows judges itself: only a predictor can tell whether a
    node means what it should, and its own error is a floor to the number. Rows outside
    the range of the model, such as wider ones than it can draw, cannot be explained by
    it; even the true mechanisms then miss 0.

    References
    ----------
    Monteiro, De Sousa Ribeiro, Pawlowski, Castro, Glocker (2023), *Measuring axiomatic
    soundness of counterfactual image models*, arXiv 2303.01274: composition,
    reversibility, and effectiveness by a predictor ("pseudo-oracle"). Melistas, Spyrou,
    Gkouti, Sanchez, Vlontzos, Panagakis, Papanastasiou, Tsaftaris (2024), *Benchmarking
    counterfactual image generation*, arXiv 2403.20287: minimality, measured there by
    ranks among distances to real rows. The normalisations are this package's.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> from sklearn_icm.interventions import Shift
    >>> X = load_iris().data
    >>> vae = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2, random_state=0)
    >>> report = counterfactual_errors(vae.fit(X), X, {"noise": Shift(1.0)})
    >>> report.table_.columns.tolist()[:4]
    ['composition', 'reversibility', 'effectiveness', 'minimality']
    >>> bool(report.table_["composition"].iloc[0] > 0)
    True
    """
    check_scalar(n_rounds, "n_rounds", Integral, min_val=1)
    start = ExplainedRows(estimator, X, abduction, units)
    found = {}
    if interventions is None:
        found["none"] = {"composition": lambda: _composition(start, n_rounds)}
    else:
        for name, change in name_changes(interventions).items():
            case = Counterfactuals(start, change, residual, random_state)
            found[name] = _questions(case, n_rounds, read, target, keep)
    table, sentences = {}, {}
    for name, questions in found.items():
        answers = {axiom: _answer(ask, axiom, name) for axiom, ask in questions.items()}
        values = {axiom: answer[0] for axiom, answer in answers.items()}
        errors = {f"{axiom}_se": answer[1] for axiom, answer in answers.items()}
        table[name] = values | errors
        sentences |= {(name, axiom): told for axiom, (*_, told) in answers.items()}
    return Report(pd.DataFrame.from_dict(table, "index"), pd.Series(sentences))


def _questions(case, n_rounds, read, target, keep):
    """Functions that give the error of every row, by axiom."""
    return {
        "composition": lambda: _composition(case.start, n_rounds),
        "reversibility": lambda: _reversibility(case, n_rounds),
        "effectiveness": lambda: _effectiveness(case, read, target),
        "minimality": lambda: _minimality(case, keep),
    }


def _answer(question, axiom, name):
    """Value, standard error and sentence."""
    value = error = np.nan
    try:
        errors = question()
    except UndefinedAxiomError as reason:
        return value, error, f"Not defined. {reason}"
    value = float(errors.mean())
    if len(errors) > 1:
        error = float(errors.std(ddof=1) / np.sqrt(len(errors)))
    sure = "" if np.isnan(error) else f" (standard error {100 * error:.2g} %)"
    amount = f"{100 * value:.3g} %{sure}"
    if 0 < value < NEGLIGIBLE:
        amount = "less than 0.01 %"
    told = (amount,) if axiom == "composition" else (name, amount)
    return value, error, SENTENCES[axiom].format(*told)


def _composition(start, n_rounds):
    rows = start
    for _ in range(n_rounds):
        rows = rows.changed({}, residual="drop")
    return part_of_spread({"X": (rows.values - start.values, start.values)})


def _reversibility(case, n_rounds):
    rows = start = case.start
    undo = _inverses(case.interventions, start.generator.nodes_)
    for _ in range(n_rounds):
        rows = case.after if rows is start else case.change(rows, case.interventions)
        for step in undo:
            rows = case.change(rows, step)
    return part_of_spread({"X": (rows.values - start.values, start.values)})


def _effectiveness(case, read, target):
    if read is None or isinstance(read, str):
        if target is not None:
            raise ValueError(
                "target is what a predictor should read: give one as read=, got "
                f"read={read!r}."
            )
        parts = _arrived_at_nodes(case, read)
    elif target is None:
        raise ValueError("A predictor that is given as read= needs a target.")
    else:
        parts = _arrived_for_predictor(case, read, target)
    return mean_ratio(
        parts,
        "{} is to change by nothing, so that effectiveness is not defined: give an "
        "intervention that changes what is read.",
    )


def _arrived_at_nodes(case, node):
    """By node: what is missing, what was asked for, and its magnitude."""
    hidden = case.start.hidden_nodes
    names = [name for name in hidden if name in case.last_changed]
    if node is not None:
        _check_hidden("read", [node], hidden)
        names = [node]
    if not names:
        raise UndefinedAxiomError(
            f"The last of the changed nodes, {list(case.interventions)}, is the data, "
            f"so there is no hidden node to read: give one of {hidden} as read, or a "
            "predictor and a target."
        )
    parts = {}
    for name in names:
        factual, intended = case.nodes[name]
        parts[f"node {name!r}"] = (
            case.read[name] - intended,
            factual - intended,
            factual,
        )
    return parts


def _arrived_for_predictor(case, predictor, target):
    before, after = (
        predictions(predictor, rows.X) for rows in (case.start, case.after)
    )
    wanted = target(before) if callable(target) else target
    try:
        wanted = np.broadcast_to(np.asarray(wanted, dtype=np.float64), before.shape)
    except ValueError:
        raise ValueError(
            f"target must broadcast to the predictions, {before.shape}, got the shape "
            f"{np.shape(wanted)}."
        ) from None
    before, after, wanted = map(_columns, (before, after, wanted))
    return {
        name: (after[name] - wanted[name], before[name] - wanted[name], before[name])
        for name in before
    }


def _minimality(case, keep):
    if not callable(keep) and not hasattr(keep, "predict"):
        return part_of_spread(_stayed_at_nodes(case, keep))
    rows = (case.start, case.after)
    before, after = (_columns(predictions(keep, part.X)) for part in rows)
    return part_of_spread({k: (after[k] - before[k], before[k]) for k in before})


def _stayed_at_nodes(case, keep):
    """By node: change, and factual values, of the entries that should stay."""
    hidden = case.start.hidden_nodes
    if keep is None:
        kept = _left_alone(case, hidden)
    else:
        _check_hidden("keep", keep, hidden)
        kept = {name: slice(None) for name in keep}
    if not kept:
        raise UndefinedAxiomError(
            f"The intervention on {list(case.interventions)} leaves alone no hidden "
            "value that differs between rows and is no cause of it, so minimality has "
            f"nothing to look at: give keep, some of {hidden} or a predictor of the "
            "factors that should stay."
        )
    return {
        f"node {name!r}": (
            case.read[name][:, entries] - case.nodes[name][0][:, entries],
            case.nodes[name][0][:, entries],
        )
        for name, entries in kept.items()
    }


def _left_alone(case, hidden):
    """Masks of the entries that the interventions do not change, by node."""
    masks = {}
    for name in hidden:
        factual, intended = case.nodes[name]
        mask = (factual == intended).all(0) & (np.ptp(factual, 0) > 0)
        if mask.any() and not case.below[name] & set(case.interventions):
            masks[name] = mask
    return masks


def _columns(values):
    """Columns (n, 1) by name: factors may have different units."""
    columns = values.reshape(len(values), -1).T
    return {f"factor {k} of predictor": c[:, None] for k, c in enumerate(columns)}


def _check_hidden(parameter, names, hidden):
    unknown = [name for name in names if name not in hidden]
    if isinstance(names, str) or unknown:
        raise ValueError(
            f"{parameter} must name hidden nodes, {hidden}, got {names!r}."
        )


def _inverses(interventions, order):
    """What undoes the interventions, one node at a time.

    The most downstream node first: what it is read to be depends on those above.
    """
    return [
        {name: _inverse_at(name, interventions[name])}
        for name in reversed(list(order))
        if name in interventions
    ]


def _inverse_at(node, change):
    try:
        return as_intervention(change).inverse()
    except ValueError as error:
        raise UndefinedAxiomError(
            f"{error} It acts on node {node!r}: give an intervention that can be "
            "undone, which has an `inverse()`."
        ) from None
