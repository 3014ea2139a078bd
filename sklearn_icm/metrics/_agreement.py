"""Do refits with other seeds agree on what an intervention does?"""

from itertools import combinations
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ..utils.checks import check_scalar
from ..utils.pipelines import numeric_rows, rows_under
from ..utils.units import check_units, in_units, row_units
from ._distances.named import check_distance, comparable_distance
from ._inputs import name_changes
from ._refits import RefitScorer, derive_seed, draw_entropy, resolve_refits

__all__ = ["extrapolation_agreement", "make_agreement_scorer"]

# Rows per refit, unless told otherwise.
MOST_ROWS = 1000
# Random halvings of a refit's rows that its floor is the mean of.
N_HALVINGS = 8
REFERENCES = ("in_distribution", "floor")


def extrapolation_agreement(
    estimator,
    X,
    interventions,
    *,
    n_refits=3,
    y=None,
    environments=None,
    reference="in_distribution",
    distance="energy",
    units="auto",
    n_samples=None,
    n_jobs=None,
    random_state=None,
):
    r"""Whether refits with other seeds agree on what interventions do.

    Models that fit equally well may still extrapolate differently: those whose
    intervened distributions coincide are equivalent for the purpose. This measures how
    nearly the refits of one estimator are, without knowing the truth.

    Parameters
    ----------
    estimator : generator, pipeline that ends in one, or list of fitted ones
        Refits are made by :func:`fit_refits`. A list is compared as it is.
    X : array-like of shape (n_samples, n_features)
        Rows that every refit is fitted to.
    interventions : dict of str to dict, or dict of str to intervention
        ``{name: {node: intervention}}``, or one ``{node: intervention}``.
    n_refits, y, environments, n_jobs : optional
        As :func:`fit_refits` takes them; not used for a list.
    reference : {"in_distribution", "floor"}, default="in_distribution"
        What the refits under an intervention are held against: how far they are apart
        without it, or what chance explains. The first says what extrapolating adds;
        to compare estimators take the second.
    distance : {"energy", "mmd", "sliced_wasserstein"} or callable, default="energy"
        ``distance(X_real, X_gen) -> float``, in input space. "mmd" has one Gaussian
        kernel per intervention, with the median distance of two refits as bandwidth.
    units : {"auto", "columns", "common"} or array-like of shape (n_features,)
        What distances are in: "auto" is a unit of its own for every column of a table
        (:func:`column_units` of X; a column of levels counts like
        a 0/1 column), and one for all entries of images, signals and for a callable.
    n_samples : int, default=None
        Rows to draw per refit and intervention, at least 4; None draws as many as X
        has, at most 1,000. More rows lower the floor, and so resolve smaller
        disagreements.
    random_state : int, RandomState or None, default=None
        Of refits and draws; None is a fixed stream, so that the value is reproducible.

    Returns
    -------
    Bunch
        ``value`` : float in [0, 1], mean over interventions of the agreement: 1, the
        refits agree under the intervention as well as they do without it (or, with
        "floor", as two samples of one model do); 1/k, they are k times as far apart,
        in units of the floor; 0 is the limit.
        ``table`` : DataFrame, first the row "in distribution", then one per
        intervention: ``distance`` (mean over pairs of refits), ``farthest`` (the
        largest over pairs), ``floor``, ``ratio``, ``agreement``.

    Raises
    ------
    TypeError
        If the estimator is no generator or `interventions` are no such dict.
    ValueError
        If a parameter is out of range, a node is unknown, or `distance` is not finite.

    Notes
    -----
    Of every condition c (no intervention: 0), each refit draws rows of its own. With
    :math:`D_c` the mean distance between the rows of two refits, and :math:`F_c` the
    mean absolute distance between random halves of one refit's rows,

    .. math:: r_c = \max(1, D_c / F_c), \qquad a_c = \min(1, r_0 / r_c),

    and :math:`a_c = 1 / r_c` with the reference "floor".

    The floor takes out the unit, so that an intervention which merely scales what the
    refits draw leaves the agreement alone. Being that of half the rows, it is rarely
    exceeded by chance. All conditions share their noise: an intervention that does
    nothing has agreement 1 exactly.

    Agreement is not quality: refits that all ignore the data agree, so read it beside
    `score`. Nor does the reference "in_distribution" compare estimators: refits that
    differ in distribution already (a ``ratio`` far above 1 in the first row) have
    little left to disagree on. Models of 400 glyphs that were trained for 5, 15 and 40
    epochs had agreements of about 1, .7 and .4 with it, and of .01, .02 and .07 with
    "floor" (means of 3 seeds, a stretch of the last hidden map). Values that are
    clipped to the data's bounds hide disagreement.

    References
    ----------
    Besserve, Sun, Janzing, Schölkopf (2021), *A theory of independent mechanisms for
    extrapolation in generative models*, arXiv 2004.00184: the equivalence of models
    whose extrapolated classes coincide. The empirical ratio is this package's.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> from sklearn_icm.interventions import Scale
    >>> vae = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2)
    >>> result = extrapolation_agreement(
    ...     vae, load_iris().data, {"dense1": Scale(2.0)}, n_refits=2
    ... )
    >>> 0 <= result.value <= 1
    True
    >>> list(result.table.index)
    ['in distribution', 'intervention']
    """
    changes, n_samples = name_changes(interventions), _check_n_samples(n_samples, X)
    check_distance(distance)
    check_units(units)
    _check_reference(reference)
    refits = resolve_refits(
        estimator,
        X,
        needs="intervene",
        needed_by="Extrapolation agreement",
        n_refits=n_refits,
        y=y,
        environments=environments,
        n_jobs=n_jobs,
        random_state=random_state,
    )
    entropy, usual = draw_entropy(random_state), numeric_rows(refits[0], X)
    units = row_units(refits[0], usual, units=units, distance=distance)
    rows = [
        _compare_refits(refits, change, distance, units, n_samples, entropy)
        for change in ({}, *changes.values())
    ]
    table = pd.DataFrame(rows, index=["in distribution", *changes])
    least = table["ratio"].iloc[0] if reference == "in_distribution" else 1.0
    # Not a quotient where both are infinite.
    table["agreement"] = [1.0 if r <= least else least / r for r in table["ratio"]]
    return Bunch(value=float(table["agreement"].iloc[1:].mean()), table=table)


def _check_reference(reference):
    if reference not in REFERENCES:
        raise ValueError(
            f"reference must be one of {list(REFERENCES)}, got {reference!r}."
        )


def _check_n_samples(n_samples, X):
    """Rows to draw per refit: enough for two halves of two rows."""
    if n_samples is None:
        return max(4, min(np.shape(X)[0], MOST_ROWS))
    return check_scalar(n_samples, "n_samples", Integral, min_val=4)


def _compare_refits(refits, change, distance, units, n_samples, entropy):
    """One row of the table: distances between refits, and within each of them."""
    draws = []
    for k, refit in enumerate(refits):
        seed = derive_seed(entropy, "draws", k)
        drawn = rows_under(refit, change, n_samples=n_samples, random_state=seed)
        draws.append(in_units(numeric_rows(refit, drawn, "The model"), units))
    measure = comparable_distance(distance, *draws[:2])
    between = [measure(a, b) for a, b in combinations(draws, 2)]
    within = [
        abs(measure(*halves))
        for k, rows in enumerate(draws)
        for halves in _halvings(rows, derive_seed(entropy, "halves", k))
    ]
    if not np.isfinite([*between, *within]).all():
        raise ValueError(
            "distance must return finite numbers, got "
            f"{[float(d) for d in between]} between refits under {change!r}, and "
            f"{np.mean(within)} on average between halves of their rows."
        )
    mean, floor = float(np.mean(between)), float(np.mean(within))
    return {
        "distance": mean,
        "farthest": float(np.max(between)),
        "floor": floor,
        "ratio": _ratio_to_floor(mean, floor),
    }


def _halvings(rows, seed):
    stream = np.random.RandomState(seed)
    for _ in range(N_HALVINGS):
        yield np.array_split(rows[stream.permutation(len(rows))], 2)


def _ratio_to_floor(distance, floor):
    """Distance in floors, 1 where chance explains it; rows all alike have no floor."""
    if distance <= floor:
        return 1.0
    return distance / floor if floor > 0 else np.inf


def make_agreement_scorer(
    interventions,
    *,
    n_refits=3,
    reference="floor",
    distance="energy",
    units="auto",
    n_samples=None,
    n_jobs=None,
    random_state=0,
):
    """Make a scorer that asks whether refits agree on what interventions do.

    Parameters
    ----------
    interventions : dict of str to dict, or dict of str to intervention
        As :func:`extrapolation_agreement` takes them.
    n_refits : int, default=3
        Fits per call, beside the one that a search makes itself.
    reference : {"floor", "in_distribution"}, default="floor"
        As :func:`extrapolation_agreement` takes it, which says why the default here is
        another one: a score compares estimators.
    distance, units : optional
        As :func:`extrapolation_agreement` takes them.
    n_samples : int, default=None
        Rows to draw per refit and intervention; None draws as many as the fold has, at
        most 1,000.
    n_jobs : int, default=None
        Refits at a time.
    random_state : int, RandomState or None, default=0
        The same for every candidate by default.

    Returns
    -------
    RefitScorer
        The ``value`` of :func:`extrapolation_agreement`.

    Raises
    ------
    TypeError, ValueError
        As :func:`extrapolation_agreement` does.

    Notes
    -----
    The refits are fitted to the rows that the scorer is given, a search's test fold,
    and the fitted estimator gives its parameters alone: models of that many rows are
    judged, at `n_refits` fits per candidate and fold. So let the test folds be large,
    and few. Agreement alone would select a model that ignores its interventions: use
    it beside a score of the fit.

    Examples
    --------
    >>> from sklearn_icm.interventions import Scale
    >>> make_agreement_scorer({"dense1": Scale(2.0)}, n_refits=2)
    make_agreement_scorer(interventions={'dense1': Scale(2.0)}, n_refits=2,
    reference='floor', distance='energy', units='auto', n_samples=None, n_jobs=None,
    random_state=0)
    """
    name_changes(interventions)
    check_distance(distance)
    check_units(units)
    _check_reference(reference)
    check_scalar(n_refits, "n_refits", Integral, min_val=2)
    if n_samples is not None:
        _check_n_samples(n_samples, None)
    params = {
        "interventions": dict(interventions),
        "n_refits": n_refits,
        "reference": reference,
        "distance": distance,
        "units": units,
        "n_samples": n_samples,
        "n_jobs": n_jobs,
        "random_state": random_state,
    }
    return RefitScorer(extrapolation_agreement, "make_agreement_scorer", params)
