"""Scorers of transformers whose true factors are known."""

from collections.abc import Mapping
from inspect import signature

import numpy as np
import pandas as pd

from ..utils.checks import check_choice
from ..utils.pipelines import chosen_estimator
from ._alignment import alignment_r2
from ._levels import mcc_score
from ._scorer import RoutedScorer

__all__ = ["make_identifiability_scorer"]

MEASURES = {"mcc": mcc_score, "r2": alignment_r2}


class IdentifiabilityScorer(RoutedScorer):
    """Scorer: how well the latents of a transformer recover the true factors.

    Made by :func:`make_identifiability_scorer`, which documents the parameters. Called
    as ``scorer(estimator, X, y=None, *, factors=None)`` with the true factors of the
    rows as ``y`` or, where y holds something else, as ``factors``: numbers, or a dict
    of columns; higher is better.
    """

    metadata = ("factors",)

    def __call__(self, estimator, X, y=None, *, factors=None):
        """Score of the latents of the rows X."""
        params = dict(self.params)
        measure, estimator = params.pop("measure"), chosen_estimator(estimator)
        if not hasattr(estimator, "transform"):
            raise TypeError(
                "The identifiability scorer needs an estimator with `transform`, got "
                f"{type(estimator).__name__}."
            )
        if factors is None:
            # Labels of environments are no factors, unless said to be levels.
            factors = y if "categorical" in params else _as_numbers(y)
        return MEASURES[measure](factors, estimator.transform(X), **params)


def _as_numbers(factors):
    if factors is None:
        raise ValueError(
            "The identifiability scorer needs the true factors of every row: pass them "
            "as y, or as factors= (inside a search or pipeline that needs "
            "sklearn.set_config(enable_metadata_routing=True))."
        )
    if isinstance(factors, Mapping):
        factors = pd.DataFrame(factors)
    try:
        return np.asarray(factors, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "The true factors must be numbers, an array of shape (n_samples, "
            "n_factors) or (n_samples,), but some are not. If y holds labels, pass the "
            "factors as factors=."
        ) from error


def make_identifiability_scorer(measure="mcc", **params):
    """Make a scorer that compares latents with the true factors.

    Parameters
    ----------
    measure : {"mcc", "r2"}
        :func:`mcc_score` or :func:`alignment_r2`.
    **params : dict
        Of the measure, such as ``alignment="nonlinear"``.

    Returns
    -------
    callable
        ``scorer(estimator, X, factors)``, for any estimator with `transform`.

    Raises
    ------
    ValueError
        If the measure is unknown.
    TypeError
        If the measure has no such parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import FastICA
    >>> factors = np.random.RandomState(0).uniform(size=(500, 2))
    >>> X = factors @ [[1.0, 0.5], [0.3, 1.0]]
    >>> model = FastICA(random_state=0).fit(X)
    >>> bool(make_identifiability_scorer("mcc")(model, X, factors) > 0.99)
    True
    """
    check_choice("measure", measure, MEASURES)
    allowed = signature(MEASURES[measure]).parameters.keys() - {
        *("Z_true", "Z_pred", "test")
    }
    unknown = [name for name in params if name not in allowed]
    if unknown:
        raise TypeError(
            f"measure={measure!r} has no parameter {unknown[0]!r}; it has "
            f"{sorted(allowed)}."
        )
    return IdentifiabilityScorer(
        "make_identifiability_scorer", measure=measure, **params
    )
