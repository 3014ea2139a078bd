"""Do refits with other seeds agree, on latents and on what interventions do?"""

from functools import partial
from itertools import combinations, permutations
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils import Bunch
from sklearn.utils.parallel import Parallel, delayed

from ..base import is_generator
from ..compose._wrap import in_input_space, rows_under
from ..utils.checks import check_choice, check_scalar
from ..utils.environments import resolve_environments
from ..utils.pipelines import chosen_estimator, seeded_clone
from ..utils.streams import stream_seed
from ..utils.units import check_units, in_units, row_units
from ._alignment import alignment_r2
from ._distances.named import check_distance, comparable_distance
from ._inputs import direction_stream, name_changes
from ._levels import mcc_score
from ._scorer import RoutedScorer

__all__ = ["fit_refits", "make_refit_scorer", "refit_agreement"]

# Rows per refit, unless told otherwise.
MOST_ROWS = 1000
# Random halvings of a refit's rows that its floor is the mean of.
N_HALVINGS = 8
REFERENCES = ["in_distribution", "floor"]


def fit_refits(estimator, X, y=None, *, n_refits=3, n_jobs=None, random_state=None):
    """Fit clones of an estimator that differ in their seeds alone.

    So how far they differ is no interval: for that see
    :class:`~sklearn_icm.compose.BootstrapGenerator`, which resamples rows.

    Parameters
    ----------
    estimator : estimator or pipeline
        Only its parameters matter. Every ``random_state`` among them, of nested
        estimators too, gets a seed per refit; without any, all refits of a
        deterministic estimator are one model.
    X : array-like of shape (n_samples, n_features)
        Rows that every refit is fitted to.
    y : array-like of shape (n_samples,), optional
        Environment labels, or what else `fit` takes as ``y``.
    n_refits : int, default=3
        At least 2.
    n_jobs : int, default=None
        Refits at a time, as joblib takes it.
    random_state : int, RandomState or None, default=None
        None is a fixed stream. More refits leave the first ones as they are.

    Returns
    -------
    list of fitted estimators

    Raises
    ------
    ValueError
        If `n_refits` is below 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> vae = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2)
    >>> first, second = fit_refits(vae, load_iris().data, n_refits=2)
    >>> first.random_state == second.random_state
    False
    """
    check_scalar(n_refits, "n_refits", Integral, min_val=2)
    entropy = _draw_entropy(random_state)
    clones = [seeded_clone(estimator, entropy, k) for k in range(n_refits)]
    return Parallel(n_jobs=n_jobs)(delayed(_fit)(refit, X, y) for refit in clones)


def _draw_entropy(random_state):
    """One number that stands for all seeds of refits and draws."""
    return int(direction_stream(random_state).randint(2**31 - 1))


def _fit(estimator, X, y):
    return estimator.fit(X, y)


def refit_agreement(
    refits,
    X,
    interventions=None,
    *,
    alignment="permutation_scale",
    reference="in_distribution",
    distance="energy",
    units="auto",
    n_samples=None,
    random_state=None,
):
    r"""Whether refits with other seeds agree on what interventions do, or on latents.

    Models that fit equally well may still extrapolate differently: those whose
    intervened distributions coincide are equivalent for the purpose. This measures how
    nearly refits are, without knowing the truth.

    Parameters
    ----------
    refits : list of fitted estimators
        At least 2, such as :func:`fit_refits` makes them.
    X : array-like of shape (n_samples, n_features)
        Rows; better those of the fit for interventions, new ones for latents.
    interventions : dict of str to dict, or dict of str to intervention, optional
        ``{name: {node: intervention}}``, or one ``{node: intervention}``. None compares
        the latents of the rows (`transform`).
    alignment : {"permutation_scale", "affine", "identity", "nonlinear"}
        What the latents of two refits may differ by. "permutation_scale" is the mean
        absolute correlation of matched latents (:func:`mcc_score`); the others are
        coefficients of determination of one encoding by the other
        (:func:`alignment_r2`).
    reference : {"in_distribution", "floor"}, default="in_distribution"
        What the refits under an intervention are held against: how far they are apart
        without it, or what chance explains. The first says what extrapolating adds;
        to compare estimators take the second.
    distance : {"energy", "mmd", "sliced_wasserstein"} or callable, default="energy"
        ``distance(X_real, X_gen) -> float``, in input space. "mmd" has one Gaussian
        kernel per intervention, with the median distance of two refits as bandwidth.
    units : {"auto", "columns", "common"} or array-like of shape (n_features,)
        Of the columns, as :func:`make_extrapolation_scorer` takes it; of the rows X.
    n_samples : int, default=None
        Rows to draw per refit and intervention, at least 4; None draws as many as X
        has, at most 1,000. More rows lower the floor, and so resolve smaller
        disagreements.
    random_state : int, RandomState or None, default=None
        Of draws and shuffles; None is a fixed stream.

    Returns
    -------
    Bunch
        ``value`` : float, at most 1. Of interventions the mean agreement: 1, the refits
        agree under the intervention as well as they do without it (or, with "floor", as
        two samples of one model do); 1/k, they are k times as far apart, in units of
        the floor; 0 is the limit. Of latents the mean over ordered pairs of refits: 1
        is the same latents up to the alignment.
        ``table_`` : DataFrame. Of interventions first the row "in distribution", then
        one per intervention: ``distance`` (mean over pairs of refits), ``farthest``
        (the largest over pairs), ``floor``, ``ratio``, ``agreement``. Of latents the
        measure of each pair of refits, the row as truth; NaN on the diagonal.
        ``chance`` : float, of latents, the mean with the rows of one encoding shuffled:
        it is not 0 for the correlation, and grows as rows get few and latents many.

    Raises
    ------
    TypeError
        If an estimator is no generator (has no `transform`), or `interventions` are no
        such dict.
    ValueError
        If a parameter is out of range, a node is unknown, there are less than two
        refits, or `distance` is not finite.

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

    Consistent latents need not be true ones: principal components are consistent, and
    mix independent factors. A latent that is constant in a refit counts 0 there.

    References
    ----------
    Besserve, Sun, Janzing, Schölkopf (2021), *A theory of independent mechanisms for
    extrapolation in generative models*, arXiv 2004.00184: the equivalence of models
    whose extrapolated classes coincide. The empirical ratio is this package's.
    Khemakhem, Monti, Kingma, Hyvärinen (2020), *ICE-BeeM: identifiable conditional
    energy-based deep models based on nonlinear ICA*, arXiv 2002.11537: correlation of
    latents between seeds. Roeder, Metz, Kingma (2021), *On linear identifiability of
    learned representations*, arXiv 2007.00810.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_icm.generators import VAEGenerator
    >>> from sklearn_icm.interventions import Scale
    >>> vae, X = VAEGenerator(n_latents=2, hidden=(8,), max_epochs=2), load_iris().data
    >>> refits = fit_refits(vae, X, n_refits=2)
    >>> list(refit_agreement(refits, X, {"dense1": Scale(2.0)}).table_.index)
    ['in distribution', 'intervention']
    >>> bool(0 <= refit_agreement(refits, X).value <= 1)
    True
    """
    changes = _check_params(interventions, alignment, reference, distance, units)
    n_samples = _check_n_samples(n_samples, X)
    refits = list(refits)
    if len(refits) < 2:
        raise ValueError(
            "refits must be at least 2 fitted estimators, such as fit_refits makes, "
            f"got a list of {len(refits)}."
        )
    for refit in refits:
        _check_can(refit, changes)
    refits = list(map(chosen_estimator, refits))
    if changes is None:
        return _compare_latents(refits, X, alignment, random_state)
    refits = list(map(in_input_space, refits))
    entropy, usual = _draw_entropy(random_state), refits[0].space_.numeric(X)
    units = row_units(refits[0], usual, units=units, distance=distance)
    rows = [
        _compare_refits(refits, change, distance, units, n_samples, entropy)
        for change in ({}, *changes.values())
    ]
    table = pd.DataFrame(rows, index=["in distribution", *changes])
    least = table["ratio"].iloc[0] if reference == "in_distribution" else 1.0
    # Not a quotient where both are infinite.
    table["agreement"] = [1.0 if r <= least else least / r for r in table["ratio"]]
    return Bunch(value=float(table["agreement"].iloc[1:].mean()), table_=table)


def _check_params(interventions, alignment, reference, distance, units):
    """Changes by name, or None."""
    check_choice("alignment", alignment, ALIGNMENTS)
    check_choice("reference", reference, REFERENCES)
    check_distance(distance)
    check_units(units)
    return None if interventions is None else name_changes(interventions)


def _check_n_samples(n_samples, X):
    """Rows to draw per refit: enough for two halves of two rows."""
    if n_samples is None:
        return max(4, min(np.shape(X)[0], MOST_ROWS))
    return check_scalar(n_samples, "n_samples", Integral, min_val=4)


def _check_can(estimator, changes):
    if changes is None:
        needs, can = "transform", hasattr(chosen_estimator(estimator), "transform")
    else:
        needs, can = "intervene", is_generator(estimator)
    if not can:
        raise TypeError(
            f"Agreement of refits needs estimators with `{needs}`, got "
            f"{type(estimator).__name__}."
        )


def _compare_refits(refits, change, distance, units, n_samples, entropy):
    """One row of the table: distances between refits, and within each of them."""
    draws = []
    for k, refit in enumerate(refits):
        seed = stream_seed(entropy, "draws", k)
        drawn = rows_under(refit, change, n_samples=n_samples, random_state=seed)
        draws.append(in_units(refit.space_.numeric(drawn, "The model"), units))
    measure = comparable_distance(distance, *draws[:2])
    between = [measure(a, b) for a, b in combinations(draws, 2)]
    within = [
        abs(measure(*halves))
        for k, rows in enumerate(draws)
        for halves in _halvings(rows, stream_seed(entropy, "halves", k))
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


def _compare_latents(refits, X, alignment, random_state):
    measure = ALIGNMENTS[alignment]
    encodings = [np.asarray(refit.transform(X)) for refit in refits]
    pairs = np.full((len(refits), len(refits)), np.nan)
    chance = pairs.copy()
    stream = direction_stream(random_state)
    for i, j in permutations(range(len(refits)), 2):
        pairs[i, j] = measure(encodings[i], encodings[j])
        chance[i, j] = measure(encodings[i], stream.permutation(encodings[j]))
    return Bunch(
        value=float(np.nanmean(pairs)),
        table_=pd.DataFrame(pairs),
        chance=float(np.nanmean(chance)),
    )


ALIGNMENTS = {
    "permutation_scale": mcc_score,
    **{
        name: partial(alignment_r2, alignment=name)
        for name in ("affine", "identity", "nonlinear")
    },
}


class RefitScorer(RoutedScorer):
    """Scorer of refits on the rows that it is given, made by `make_refit_scorer`."""

    def __call__(self, estimator, X, y=None, *, environments=None):
        """Agreement of the refits, as a float."""
        params = dict(self.params)
        _check_can(estimator, params["interventions"])
        fit = {name: params.pop(name) for name in ("n_refits", "n_jobs")}
        if environments is not None:
            y = resolve_environments(X, y, environments)
        seed = params["random_state"]
        refits = fit_refits(estimator, X, y, random_state=seed, **fit)
        return refit_agreement(refits, X, **params).value


def make_refit_scorer(
    interventions=None,
    *,
    n_refits=3,
    alignment="permutation_scale",
    reference="floor",
    distance="energy",
    units="auto",
    n_samples=None,
    n_jobs=None,
    random_state=0,
):
    """Make a scorer that asks whether refits agree with each other.

    Parameters
    ----------
    interventions, alignment, distance, units, n_samples : optional
        As :func:`refit_agreement` takes them: without interventions the latents are
        compared.
    n_refits : int, default=3
        Fits per call, beside the one that a search makes itself.
    reference : {"floor", "in_distribution"}, default="floor"
        As :func:`refit_agreement` takes it, which says why the default here is another
        one: a score compares estimators.
    n_jobs : int, default=None
        Refits at a time.
    random_state : int, RandomState or None, default=0
        The same for every candidate by default.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None, *, environments=None)``: the ``value`` of
        :func:`refit_agreement`.

    Raises
    ------
    TypeError, ValueError
        As :func:`refit_agreement` does.

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
    >>> make_refit_scorer({"dense1": Scale(2.0)}, n_refits=2)
    make_refit_scorer(interventions={'dense1': Scale(2.0)}, n_refits=2,
    alignment='permutation_scale', reference='floor', distance='energy', units='auto',
    n_samples=None, n_jobs=None, random_state=0)
    """
    _check_params(interventions, alignment, reference, distance, units)
    check_scalar(n_refits, "n_refits", Integral, min_val=2)
    if n_samples is not None:
        _check_n_samples(n_samples, None)
    return RefitScorer(
        "make_refit_scorer",
        interventions=interventions,
        n_refits=n_refits,
        alignment=alignment,
        reference=reference,
        distance=distance,
        units=units,
        n_samples=n_samples,
        n_jobs=n_jobs,
        random_state=random_state,
    )
