"""How far refits agree on an answer, as a number that goes with its skill."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..utils.checks import is_count
from ..utils.pipelines import last_step, refits_of
from ._wrap import check_alike, in_input_space, rows_under

__all__ = ["TrustMixin"]

# Disagreement, in standard deviations, at which an answer is trusted by half. In
# simulated worlds of 1,000 rows trust is then about the skill.
HALF = 0.1
TINY = 1e-9


class TrustMixin:
    """The verdict of a bootstrap on a question."""

    def support(self, interventions, X=None, *, n_samples=1000, random_state=0):
        """Say which mechanisms extrapolate, and how far an answer is to be trusted.

        Parameters
        ----------
        interventions, X, n_samples, random_state
            As the estimator's `support` takes them.

        Returns
        -------
        Report
            That of ``estimator_``, and beside it ``trust_``, a number from 0 to 1 by
            how far refits agree, with a sentence. NaN where no column changes but
            those that are set, and of units of hidden nodes.

        Notes
        -----
        With s the root of the mean squared distance of the refits' answers from that
        of ``estimator_``, and e that of the latter from its rows without interventions
        (means of the columns that change, in standard deviations), trust is
        ``1 / (1 + 10 s^2 / e)``. In simulated worlds of 1,000 rows it was about the
        skill of answers beyond the rows, and told better than the distance from the
        rows which answers are good (``benchmarks/trusting.py``). It is no probability,
        and blind to what all refits share.

        References
        ----------
        Lakshminarayanan, Pritzel, Blundell (2017), *Simple and scalable predictive
        uncertainty estimation using deep ensembles*, NIPS, arXiv 1612.01474.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_icm.compose import BootstrapGenerator
        >>> from sklearn_icm.generators import GraphGenerator
        >>> rng = np.random.RandomState(0)
        >>> cause = rng.randn(200)
        >>> X = np.column_stack([cause, np.tanh(cause) + 0.3 * rng.randn(200)])
        >>> graph = GraphGenerator([(0, 1)], max_epochs=20)
        >>> model = BootstrapGenerator(graph, random_state=0).fit(X)
        >>> near, far = (model.support({"x0": v}).trust_ for v in (1.0, 4.0))
        >>> bool(near > far)
        True
        """
        check_is_fitted(self)
        return _with_trust(self, interventions, X, n_samples, random_state)


def _with_trust(bootstrap, interventions, X, n_samples, random_state):
    model, refits = in_input_space(bootstrap), refits_of(bootstrap)
    if not is_count(random_state, 0):
        # One number, so that refits are asked with the same draws.
        stream = (
            last_step(model).random_state_ if random_state is None else random_state
        )
        random_state = check_random_state(stream).randint(2**31 - 1)
    number = {"n_samples": n_samples, "random_state": random_state}
    report = model.support(interventions, X, **number)
    try:
        check_alike(last_step(bootstrap), interventions)
    except ValueError:
        # Units of hidden nodes come in another order in each refit.
        return report
    query = {**number, "X": X, "n_samples": None if X is not None else n_samples}
    with warnings.catch_warnings():
        # The verdict says what these would.
        warnings.simplefilter("ignore")
        rows = [rows_under(model, change, **query) for change in ({}, interventions)]
        others = [rows_under(refit, interventions, **query) for refit in refits]
    rows, others = (list(map(model.space_.numeric, part)) for part in (rows, others))
    changed = _changed_columns(model, interventions, *rows)
    if not changed.any():
        return report
    before, after = (part[:, changed] for part in rows)
    unit = before.std(0)
    unit[unit == 0] = np.inf
    means = np.array([own[:, changed].mean(0) for own in others])
    apart = (means - after.mean(0)) / unit
    moved = (after.mean(0) - before.mean(0)) / unit
    spread, effect = (np.sqrt(np.square(v).mean()) for v in (apart, moved))
    trust = 1 / (1 + spread**2 / max(effect, TINY) / HALF)
    told = (
        f"{trust:.2f} of 1: {len(refits)} refits differ by {spread:.2g} sd in the "
        f"means of the columns that change, which do so by {effect:.2g} sd."
    )
    sentences = pd.concat([report.sentences_, pd.Series({"trust": told})])
    return replace(report, sentences_=sentences, trust_=float(trust))


def _changed_columns(model, interventions, before, after):
    """Which columns of numbers change, but for those that are changed themselves."""
    names = model.space_.names
    if names is None:
        names = [f"x{k}" for k in range(model.n_features_in_)]
    own = np.array([name in interventions for name in names])
    return (before != after).any(0) & ~own[model.space_.columns_of(before.shape[1])]
