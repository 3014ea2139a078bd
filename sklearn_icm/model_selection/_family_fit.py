"""An intervention that a scorer fits to a part of each environment."""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing, check_array

from ..metrics._inputs import direction_stream
from ..utils.checks import check_scalar
from ._candidates import (
    LEAST_ROWS,
    SEED_BOUND,
    Comparison,
    candidates_for,
    ends_that_matter,
    warn_of_ends,
)

__all__ = ["FamilyFit"]

# Of the noise floor that a distance must be beyond for other nodes to matter.
PERMUTATIONS, LEVEL = 20, 0.95


class FamilyFit(BaseEstimator):
    """A family of interventions, fitted to a part of an environment's rows.

    A scorer takes it in place of a fixed intervention: the strength (and node) that
    come closest to the one part are judged on the other.

    Parameters
    ----------
    family : InterventionFamily, str or intervention
        As :func:`fit_intervention` takes one.
    node : str or list of str, optional
        As :func:`fit_intervention` takes it; None tries all nodes that fit.
    fraction : float, default=0.3
        Part of the rows that the family is fitted to, between 0 and 1.
    distance, units : optional
        As :func:`fit_intervention` takes them.

    Examples
    --------
    >>> from sklearn_icm.metrics import make_extrapolation_scorer
    >>> scorer = make_extrapolation_scorer(
    ...     {"wide": FamilyFit("stretch_width", "conv2")}, observational="narrow"
    ... )
    >>> scorer.interventions["wide"]
    FamilyFit(family='stretch_width', node='conv2')
    """

    def __init__(
        self, family, node=None, *, fraction=0.3, distance="energy", units="auto"
    ):
        self.family = family
        self.node = node
        self.fraction = fraction
        self.distance = distance
        self.units = units

    def fit_to(self, estimator, X_env, random_state=None):
        """Fit the family to a part of the rows.

        Parameters
        ----------
        estimator : fitted generator, or pipeline that ends in one
        X_env : array-like of shape (n, n_features)
        random_state : int, RandomState or None
            Of the part, and of the model's draws; None is a fixed stream.

        Returns
        -------
        interventions : dict of str to intervention
            Empty if no intervention of the family is closer to the rows than none.
        X_known, X_rest : ndarray or DataFrame of shape (n_rows, n_features)
            Rows that the family was fitted to, and the others.
        """
        check_scalar(
            self.fraction,
            "fraction",
            Real,
            min_val=0,
            max_val=1,
            include_boundaries="neither",
        )
        if not hasattr(X_env, "iloc"):
            X_env = check_array(X_env, dtype=None, input_name="X_env")
        random = direction_stream(random_state)
        order = random.permutation(len(X_env))
        n_known = max(LEAST_ROWS, round(self.fraction * len(X_env)))
        if len(X_env) - n_known < 2:
            raise ValueError(
                f"{self!r} needs at least {LEAST_ROWS + 2} rows of each environment, "
                f"{LEAST_ROWS} to be fitted to and 2 to be judged, got {len(X_env)}."
            )
        known, rest = (
            _safe_indexing(X_env, part) for part in np.split(order, [n_known])
        )
        comparison = Comparison.of(
            estimator,
            known,
            self.distance,
            None,
            random.randint(SEED_BOUND),
            units=self.units,
            least=LEAST_ROWS,
        )
        return _closest(comparison, self.family, self.node, random), known, rest


def _closest(comparison, family, node, rng):
    """Intervention that is closest to the rows, {} if none is closer than none."""
    candidates = candidates_for(comparison, [family], node)
    for candidate in candidates:
        candidate.search()
    candidates.sort(key=lambda candidate: candidate.distance)
    best = candidates[0]
    if best.distance >= comparison.identity:
        return {}
    floor = comparison.noise_floor(best.rows(best.best), PERMUTATIONS, LEVEL, rng)
    warn_of_ends(ends_that_matter(candidates, best.distance > floor))
    return best.intervention(best.best)
