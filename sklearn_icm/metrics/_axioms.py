"""Do a model's counterfactuals obey the axioms of counterfactuals?"""

from numbers import Integral

import numpy as np

from ..interventions._base import inverse_of
from ..utils.checks import check_scalar
from ._counterfactuals import (
    Counterfactuals,
    ExplainedRows,
    UndefinedAxiomError,
    mean_ratio,
    part_of_spread,
    predictions,
)

__all__ = [
    "composition_error",
    "effectiveness_error",
    "minimality_error",
    "reversibility_error",
]


def composition_error(estimator, X, *, n_rounds=1, abduction="encode", units="auto"):
    r"""How much of the rows is lost when nothing is changed.

    The null intervention must return the rows. With ``residual="keep"`` `intervene`
    returns them by construction, so that the axiom would say nothing; here what the
    model does not explain of a row is dropped.

    Parameters
    ----------
    estimator : fitted generator, or pipeline that ends in one
    X : array-like of shape (n_samples, n_features)
        Rows that differ, in input space.
    n_rounds : int, default=1
        How many times the rows are replaced by their reconstruction.
    abduction : {"encode", "optimise"}, default="encode"
        How the noise behind rows is found, as in `intervene`.
    units : {"auto", "columns", "common"} or array-like of shape (n_features,)
        Of the columns, as :func:`make_extrapolation_scorer` takes it; of the rows X.

    Returns
    -------
    float
        0 is perfect, 1 as bad as the mean row for every row; lower is better.

    Raises
    ------
    TypeError
        If the estimator cannot explain given rows.
    ValueError
        If a parameter is out of range, or all rows are the same.

    Notes
    -----
    With :math:`x^{(k)}_i` row i after k rounds,

    .. math:: \sum_i \|x^{(k)}_i - x_i\|^2 \Big/ \sum_i \|x_i - \bar x\|^2.

    References
    ----------
    Monteiro, De Sousa Ribeiro, Pawlowski, Castro, Glocker (2023), *Measuring axiomatic
    soundness of counterfactual image models*, arXiv 2303.01274. The normalisation is
    this package's.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> X = load_iris().data
    >>> vae = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2, random_state=0)
    >>> composition_error(vae.fit(X), X) > 0
    True
    """
    start = ExplainedRows(estimator, X, abduction, units)
    return float(composition_rows(start, n_rounds=n_rounds).mean())


def composition_rows(start, *, n_rounds=1):
    """Composition error of every row."""
    check_scalar(n_rounds, "n_rounds", Integral, min_val=1)
    rows = start
    for _ in range(n_rounds):
        rows = rows.changed({}, residual="drop")
    return part_of_spread({"X": (rows.values - start.values, start.values)})


def reversibility_error(
    estimator,
    X,
    interventions,
    inverse=None,
    *,
    n_rounds=1,
    residual="drop",
    abduction="encode",
    units="auto",
    random_state=0,
):
    """How far rows are from where they were when an intervention was undone.

    The rows are changed; the counterfactual rows are explained anew and changed back.

    Parameters
    ----------
    estimator, X, abduction, units
        As :func:`composition_error` takes them.
    interventions : dict of str to intervention
        As `intervene` takes it.
    inverse : dict of str to intervention, optional
        What undoes it. None takes the inverse of each intervention and undoes one node
        after the other, the most downstream one first.
    n_rounds : int, default=1
        How many times the intervention is made and undone.
    residual : {"drop", "keep"}, default="drop"
        Whether what the model does not explain of a row goes along, as in `intervene`.
        With "drop" the error holds that of composition too. With "keep" a model that
        ignores the rows is perfect: it adds a constant and takes it away.
    random_state : int, RandomState or None, default=0
        Of interventions that are random; None is a fixed stream.

    Returns
    -------
    float
        In the units of :func:`composition_error`: 0 is perfect, 1 as bad as the mean
        row for every row. Lower is better.

    Raises
    ------
    TypeError
        If the estimator cannot explain given rows.
    ValueError
        If an intervention has no inverse and none is given (``Do`` forgets what was
        there), a parameter is out of range, or all rows are the same.

    Notes
    -----
    Counterfactual rows outside the range of the model, such as wider ones than it can
    draw, cannot be explained by it; even the true mechanisms then miss 0.

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
    >>> reversibility_error(vae.fit(X), X, {"noise": Shift(1.0)}) > 0
    True
    """
    start = ExplainedRows(estimator, X, abduction, units)
    case = Counterfactuals(start, interventions, residual, random_state)
    return float(reversibility_rows(case, inverse=inverse, n_rounds=n_rounds).mean())


def reversibility_rows(case, *, inverse=None, n_rounds=1):
    """Reversibility error of every row."""
    check_scalar(n_rounds, "n_rounds", Integral, min_val=1)
    start = case.start
    undo = [inverse]
    if inverse is None:
        undo = _inverses(case.interventions, start.generator.nodes_)
    rows = start
    for _ in range(n_rounds):
        rows = case.after if rows is start else case.change(rows, case.interventions)
        for step in undo:
            rows = case.change(rows, step)
    return part_of_spread({"X": (rows.values - start.values, start.values)})


def effectiveness_error(
    estimator,
    X,
    interventions,
    *,
    node=None,
    predictor=None,
    target=None,
    residual="drop",
    abduction="encode",
    random_state=0,
):
    r"""How much of the change asked for is missing in the counterfactual rows.

    Parameters
    ----------
    estimator, X, abduction
        As :func:`composition_error` takes them.
    interventions : dict of str to intervention
        As `intervene` takes it.
    node : str, optional
        Hidden node that is read from the counterfactual rows, by explaining them anew,
        and compared with its value under the intervention. None takes the hidden nodes
        that are intervened on, with equal weight, but for causes of others of them.
    predictor : fitted regressor, or callable, optional
        Reads the changed factor(s) from rows instead: ``(n, n_features) -> (n,)`` or
        ``(n, n_factors)``. An honest one was fitted to other rows than the model. A
        callable gets an array, a regressor what X is.
    target : float, array-like or callable, optional
        Value(s) of the factor(s) that the intervention intends, which broadcast to the
        predictions, or a callable from the predictions for X to them. With `predictor`.
    residual : {"drop", "keep"}, default="drop"
        Whether what the model does not explain of a row goes along, as in `intervene`.
    random_state : int, RandomState or None, default=0
        As in :func:`reversibility_error`.

    Returns
    -------
    float
        0 is perfect; 1, the rows read as if nothing had been done. Lower is better;
        above 1, they read worse than that.

    Raises
    ------
    TypeError
        If the estimator cannot explain given rows.
    ValueError
        If the intervention asks for no change of what is read, nothing can be read, a
        node is unknown, or parameters do not fit together.

    Notes
    -----
    With :math:`r` what is read from rows and :math:`t` what is intended,

    .. math:: \sum_i \|r(x'_i) - t_i\|^2 \Big/ \sum_i \|r(x_i) - t_i\|^2,

    the mean of it over nodes, or over the columns of the predictions. Causes of other
    changed nodes are left out by default, since rows in which both are changed can be
    explained by other causes.

    A model that reads its own rows judges itself: only a predictor can tell whether
    the node means what it should. Its own error is a floor to the number. And rows
    outside the range of the model, such as wider ones than it can draw, are beyond
    what it can read: without a predictor the true mechanisms too then miss 0.

    References
    ----------
    Monteiro, De Sousa Ribeiro, Pawlowski, Castro, Glocker (2023), *Measuring axiomatic
    soundness of counterfactual image models*, arXiv 2303.01274: with the predictor
    ("pseudo-oracle"). The normalisation is this package's.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> from sklearn_icm.interventions import Shift
    >>> X = load_iris().data
    >>> vae = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2, random_state=0)
    >>> effectiveness_error(vae.fit(X), X, {"noise": Shift(1.0)}) > 0
    True
    """
    start = ExplainedRows(estimator, X, abduction)
    case = Counterfactuals(start, interventions, residual, random_state)
    rows = effectiveness_rows(case, node=node, predictor=predictor, target=target)
    return float(rows.mean())


def effectiveness_rows(case, *, node=None, predictor=None, target=None):
    """Effectiveness error of every row."""
    if (predictor is None) != (target is None):
        missing = "predictor" if predictor is None else "target"
        raise ValueError(
            "effectiveness_error needs predictor and target together, got no "
            f"{missing}."
        )
    if predictor is None:
        parts = _arrived_at_nodes(case, node)
    elif node is None:
        parts = _arrived_for_predictor(case, predictor, target)
    else:
        raise ValueError(
            "effectiveness_error reads either a node or what a predictor says, got "
            f"node={node!r} and a predictor."
        )
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
        _check_hidden("node", [node], hidden)
        names = [node]
    if not names:
        raise UndefinedAxiomError(
            f"The last of the changed nodes, {list(case.interventions)}, is the data, "
            f"so there is no hidden node to read: give one of {hidden} as node, or a "
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


def minimality_error(
    estimator,
    X,
    interventions,
    *,
    keep=None,
    predictor=None,
    residual="drop",
    abduction="encode",
    random_state=0,
):
    r"""How much an intervention changes what it should leave alone.

    Parameters
    ----------
    estimator, X, abduction
        As :func:`composition_error` takes them.
    interventions : dict of str to intervention
        As `intervene` takes it.
    keep : list of str, optional
        Hidden nodes that should stay, read from the counterfactual rows by explaining
        them anew. None takes the values that the intervention leaves as they are, in
        nodes that cause none of those intervened on: other branches of the graph, and
        the other latents under ``{"noise": Units(0, Shift(1.0))}``.
    predictor : fitted regressor, or callable, optional
        Reads the factor(s) that should stay from rows instead: ``(n, n_features) ->
        (n,)`` or ``(n, n_factors)``. ``lambda rows: rows[:, [0, 2]]`` names columns.
    residual : {"drop", "keep"}, default="drop"
        Whether what the model does not explain of a row goes along, as in `intervene`.
        With "drop" the error holds that of reconstruction too.
    random_state : int, RandomState or None, default=0
        As in :func:`reversibility_error`.

    Returns
    -------
    float
        0 is perfect, 1 as bad as the mean value for every row. Lower is better.

    Raises
    ------
    TypeError
        If the estimator cannot explain given rows.
    ValueError
        If nothing is left to stay, what should stay is the same in all rows, a node is
        unknown, or `keep` and `predictor` are both given.

    Notes
    -----
    With :math:`r` what is read from rows,

    .. math:: \sum_i \|r(x'_i) - r(x_i)\|^2 \Big/ \sum_i \|r(x_i) - \bar r\|^2,

    the mean of it over nodes, or over the columns of the predictions. Causes of the
    changed nodes are left out by default: where a node is a function of its parents
    alone, a row with another value of it can only be explained by other parents.

    Melistas et al. measure minimality by ranks among the distances to real rows of the
    factual and the counterfactual class. That needs classes, and is not 0 for a
    perfect model.

    References
    ----------
    Melistas, Spyrou, Gkouti, Sanchez, Vlontzos, Panagakis, Papanastasiou, Tsaftaris
    (2024), *Benchmarking counterfactual image generation*, arXiv 2403.20287: the
    demand. The measure is this package's.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> from sklearn_icm.interventions import Shift, Units
    >>> X = load_iris().data
    >>> vae = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2, random_state=0)
    >>> minimality_error(vae.fit(X), X, {"noise": Units(0, Shift(1.0))}) > 0
    True
    """
    start = ExplainedRows(estimator, X, abduction)
    case = Counterfactuals(start, interventions, residual, random_state)
    return float(minimality_rows(case, keep=keep, predictor=predictor).mean())


def minimality_rows(case, *, keep=None, predictor=None):
    """Minimality error of every row."""
    if keep is not None and predictor is not None:
        raise ValueError(
            "minimality_error takes either keep (nodes) or predictor (factors), got "
            "both."
        )
    if predictor is None:
        return part_of_spread(_stayed_at_nodes(case, keep))
    rows = (case.start, case.after)
    before, after = (_columns(predictions(predictor, part.X)) for part in rows)
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
            f"nothing to look at: give keep (some of {hidden}) or a predictor of the "
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
        return inverse_of(change)
    except ValueError as error:
        raise UndefinedAxiomError(
            f"{error} It acts on node {node!r}: give inverse={{node: intervention}}, "
            "or an intervention that can be undone."
        ) from None
