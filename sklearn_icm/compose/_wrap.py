"""Any fitted generator, asked in the space of its input, with what its refits say."""

import warnings

import numpy as np
import torch
from scipy.stats import t
from sklearn.exceptions import NotFittedError

from .._draws import parted
from ..interventions import Noise
from ..interventions._base import applied, replaces_mechanism, steps_of
from ..utils.pipelines import chosen_estimator, last_step, refits_of
from ._pipeline import GenerativePipeline

# Rows on which an intervention shows whether it tells units apart.
N_PROBES = 16
OF_ONE_FIT = "only; BootstrapGenerator counts estimation too"
# What all refits share, so that no interval counts it.
NOT_COVERED = "a wrong graph, a hidden cause or values beyond the range of the rows"


def in_input_space(estimator):
    """Return a fitted generator as it is, and a plain Pipeline as a generative one.

    Raises TypeError, naming the step, if rows cannot be mapped back to the input, and
    NotFittedError for a search that has no best model.
    """
    estimator = chosen_estimator(estimator)
    if hasattr(estimator, "intervene"):
        return estimator
    if not hasattr(estimator, "steps"):
        raise NotFittedError(
            f"This {type(estimator).__name__} has no generator to ask: fit it (a "
            "search with refit=True) before using it."
        )
    *steps, (name, last) = estimator.steps
    last = in_input_space(last)
    if not steps:
        return last
    names = getattr(estimator, "feature_names_in_", None)
    return GenerativePipeline([*steps, (name, last)]).as_fitted(names)


def rows_under(estimator, interventions, X=None, **query):
    """Array of rows that `intervene` gives, in input space after a Pipeline too.

    With ``n_draws`` it has an axis for them in front, whatever `set_output` says.
    """
    rows = in_input_space(estimator).intervene(interventions, X=X, **query)
    if query.get("n_draws") is None:
        return np.asarray(rows)
    return np.stack([np.asarray(draw) for draw in parted(rows, query["n_draws"])])


def over_refits(estimator, ask, *, level=0.95, changes=(), answer=None):
    """Ask a fitted generator, and how sure its answer is.

    Parameters
    ----------
    estimator : fitted generator, or pipeline, search or bootstrap of one
    ask : callable
        Of a generator in input space, ``ask(generator)`` is a number or an array. It
        draws the same for each, so that answers differ by their fits alone.
    level : float
    changes : sequence of dict
        The interventions that are asked about.
    answer : number or array, optional
        Of the estimator, where it is known.

    Returns
    -------
    answer : ndarray
    half : ndarray
        Half the width of the interval about it that counts estimation, that of the t
        distribution over the refits of a bootstrap; 0 without one.
    n_refits : int
        0 without a bootstrap.

    Raises
    ------
    ValueError
        If refits are asked about units of hidden nodes.
    """
    if answer is None:
        answer = ask(in_input_space(estimator))
    answer = np.asarray(answer, dtype=np.float64)
    refits = refits_of(estimator)
    if not refits:
        return answer, np.zeros_like(answer), 0
    for change in changes:
        check_alike(last_step(estimator), change)
    with warnings.catch_warnings():
        # What there is to warn of, the first answer did.
        warnings.simplefilter("ignore")
        answers = [ask(in_input_space(refit)) for refit in refits]
    # About the answer and not about their mean, so that a bias that shows counts too.
    squares = np.square(np.asarray(answers, dtype=np.float64) - answer).sum(axis=0)
    n_free = len(refits) - 1
    half = t.ppf((1 + level) / 2, n_free) * np.sqrt(squares / n_free)
    return answer, half, len(refits)


def widened(answer, low, high, half, limits=(-np.inf, np.inf)):
    """Ends of an interval that covers what another one of some half width does too.

    They stay within the limits of what is asked, such as (0, 1) of a chance.
    """
    ends = answer - np.hypot(answer - low, half), answer + np.hypot(high - answer, half)
    return tuple(np.clip(end, *limits) for end in ends)


def what_is_counted(what, n_refits):
    """Say what an interval is of, beside a number of refits, and what it is not of."""
    if not n_refits:
        return f"{what} {OF_ONE_FIT}"
    counted = " and ".join(filter(None, [what, f"{n_refits} refits"]))
    return f"{counted}, not of {NOT_COVERED}"


def beyond_rows(estimator, changes, X=None, n_samples=1000):
    """Verdicts of a bootstrap on questions that leave the fitted rows, if some do.

    No interval over refits covers what these rely on. Questions are asked of the rows
    X, or of draws, as `intervene` takes them.
    """
    if not refits_of(estimator):
        return []
    model = in_input_space(estimator)
    with warnings.catch_warnings():
        # What there is to warn of, the answer did.
        warnings.simplefilter("ignore")
        reports = [
            model.support(change, X, n_samples=n_samples)
            for change in changes
            if change
        ]
    left = [r for r in reports if (r.table_["verdict"] != "inside").any()]
    return list(dict.fromkeys(report.sentences_["query"] for report in left))


def check_alike(generator, interventions):
    """Refuse what tells units of hidden nodes apart, as refits name them in no order.

    Units of the data have names, and so have the columns of a graph over them.
    """
    graph = generator.graph_
    named = {graph.data_node}
    if hasattr(generator, "categories_"):
        named.update(graph.parents[graph.data_node])
    hidden = {k: change for k, change in interventions.items() if k not in named}
    for node, change in graph.check_interventions(hidden).items():
        if not _treats_alike(change, graph.nodes[node]):
            raise ValueError(
                f"The intervention {change!r} on the hidden node {node!r} tells its "
                "units apart, but those of one refit are not those of another (they "
                "come in another order, or mixed), so no interval can count "
                "estimation. Take one that treats all units alike, such as Scale(2.0), "
                "or ask the fit to all rows alone, estimator_ of a BootstrapGenerator."
            )


@torch.no_grad()
def _treats_alike(change, shape):
    """Whether permuting the units, the first axis of a node, before or after is one."""
    if change.reads or replaces_mechanism(change):
        return False
    value = torch.randn(N_PROBES, *shape, generator=torch.Generator().manual_seed(0))
    place = torch.arange(shape[0])
    # Any permutation is made of these two.
    orders = place.roll(1), torch.cat([place[:2].flip(0), place[2:]])
    for step in steps_of(change):
        # Of noise the law is the same for all units, though not a draw.
        for order in () if isinstance(step, Noise) else orders:
            first, then = applied(step, value[:, order]), applied(step, value)[:, order]
            if not torch.allclose(first, then, atol=1e-5, equal_nan=True):
                return False
    return True
