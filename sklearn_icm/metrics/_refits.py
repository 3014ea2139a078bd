"""Fitted clones of one estimator that differ in their seeds, and scorers of them."""

from numbers import Integral
from zlib import crc32

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from ..base import is_generator
from ..utils.checks import check_scalar
from ..utils.environments import resolve_environments
from ..utils.pipelines import chosen_estimator
from ._inputs import direction_stream
from ._scorer import RoutedScorer

__all__ = ["RefitScorer", "derive_seed", "draw_entropy", "fit_refits", "resolve_refits"]


def fit_refits(
    estimator,
    X,
    *,
    n_refits=3,
    y=None,
    environments=None,
    n_jobs=None,
    random_state=None,
):
    """Fit clones of an estimator that differ in their seeds alone.

    Parameters
    ----------
    estimator : estimator or pipeline
        Only its parameters matter. Every ``random_state`` among them, of nested
        estimators too, gets a seed per refit; without any, all refits of a
        deterministic estimator are one model.
    X : array-like of shape (n_samples, n_features)
        Rows that every refit is fitted to.
    n_refits : int, default=3
        At least 2.
    y, environments : array-like of shape (n_samples,), optional
        Environment labels; at most one of the two. `fit` gets them as ``y``.
    n_jobs : int, default=None
        Refits at a time, as joblib takes it.
    random_state : int, RandomState or None, default=None
        None is a fixed stream, so that the refits are reproducible. More refits leave
        the first ones as they are.

    Returns
    -------
    list of fitted estimators

    Raises
    ------
    ValueError
        If `n_refits` is below 2 or labels are given twice.

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
    if environments is not None:
        y = resolve_environments(X, y, environments)
    entropy = draw_entropy(random_state)
    clones = [_seeded_clone(estimator, entropy, k) for k in range(n_refits)]
    return Parallel(n_jobs=n_jobs)(delayed(_fit)(refit, X, y) for refit in clones)


def draw_entropy(random_state):
    """One number that stands for all seeds of refits and draws."""
    return int(direction_stream(random_state).randint(2**31 - 1))


def derive_seed(entropy, name, refit):
    """Seed of a stream of one refit, whatever the number of refits."""
    sequence = np.random.SeedSequence([entropy, crc32(name.encode()), refit])
    return int(sequence.generate_state(1, np.uint32)[0])


def _seeded_clone(estimator, entropy, refit):
    copy = clone(estimator)
    names = [n for n in copy.get_params() if f"__{n}".endswith("__random_state")]
    return copy.set_params(**{n: derive_seed(entropy, n, refit) for n in names})


def _fit(estimator, X, y):
    return estimator.fit(X, y)


def resolve_refits(estimator, X, *, needs, needed_by, **params):
    """Refits of an estimator that can do what is needed, or the list of them given.

    Parameters
    ----------
    estimator : estimator or list of fitted ones
    X : array-like of shape (n_samples, n_features)
    needs : {"intervene", "transform"}
    needed_by : str
        Who needs it, for the error message.
    **params : dict
        As `fit_refits` takes them.

    Returns
    -------
    list of fitted estimators
    """
    given = isinstance(estimator, (list, tuple))
    for one in estimator if given else [estimator]:
        chosen = chosen_estimator(one)
        can = is_generator(one) if needs == "intervene" else hasattr(chosen, needs)
        if not can:
            raise TypeError(
                f"{needed_by} needs estimators with `{needs}`, got "
                f"{type(one).__name__}."
            )
    if not given:
        return list(map(chosen_estimator, fit_refits(estimator, X, **params)))
    if len(estimator) < 2:
        raise ValueError(
            f"{needed_by} compares at least 2 fitted estimators, got a list of "
            f"{len(estimator)}."
        )
    return list(map(chosen_estimator, estimator))


class RefitScorer(RoutedScorer):
    """Scorer: how far refits with other seeds agree, on the rows that it is given.

    Made by :func:`~sklearn_icm.metrics.make_agreement_scorer` or
    :func:`~sklearn_icm.metrics.make_consistency_scorer`, each of which
    documents the parameters. Called as ``scorer(estimator, X, y=None, *,
    environments=None)``; higher is better. Only the parameters of the estimator
    matter: a scorer does not see the rows that it was fitted to, so all refits are
    fitted to X.
    """

    def __init__(self, measure, maker, params):
        super().__init__()
        self.measure = measure
        self.maker = maker
        self.params = params

    def __repr__(self):
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{self.maker}({params})"

    def __call__(self, estimator, X, y=None, *, environments=None):
        """Value of the measure, as a float."""
        result = self.measure(
            estimator, X, y=y, environments=environments, **self.params
        )
        return result.value
