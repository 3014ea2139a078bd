"""Rows with units of hidden nodes that other rows have."""

from numbers import Integral

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .interventions import Units
from .interventions._base import check_interventions
from .interventions._places import EachRow
from .rows._columns import plain_rows
from .rows._frames import mean_change
from .utils._sklearn import n_rows
from .utils.checks import check_scalar
from .utils.streams import query_entropy

__all__ = ["HybridMixin"]

_if_it_explains = available_if(lambda self: hasattr(self, "abduct"))


class HybridMixin:
    """Verbs on units of nodes, by way of `intervene` and `node_values`."""

    @_if_it_explains
    def hybridise(self, X_base, X_source, node, units):
        """Give rows some units of a hidden node of other rows.

        Parameters
        ----------
        X_base : array-like of shape (n_samples, n_features)
            Rows that are changed.
        X_source : array-like of shape (n_samples, n_features)
            Rows whose units are taken, one for each.
        node : str
        units : int or sequence of int
            Channels of a map, entries of a vector.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            What the model does not explain of X_base is kept.

        References
        ----------
        Besserve, Mehrjou, Sun, Schölkopf (2020), *Counterfactuals uncover the modular
        structure of deep generative models*, arXiv 1812.03253.
        """
        check_is_fitted(self)
        values = self.node_values(X_source)
        n_source, n_base = len(values[next(iter(values))]), n_rows(plain_rows(X_base))
        if n_base != n_source:
            raise ValueError(
                "hybridise needs one row of X_source for each row of X_base, got "
                f"{n_source} and {n_base}."
            )
        given = _given_units(self, node, units, values)
        return self.intervene({node: given}, X=X_base)

    @_if_it_explains
    def influence_map(self, node, units, X=None, *, n_samples=256, random_state=0):
        """Mean absolute change of the output when units come from other rows.

        Parameters
        ----------
        node : str
        units : int or sequence of int
            Channels of a map, entries of a vector, taken together.
        X : array-like of shape (n_samples, n_features), optional
            Rows to hybridise with each other; None draws `n_samples` from the model,
            whose noise is then known.
        n_samples : int
            At least 2.
        random_state : int, RandomState or None
            Of the draws, and of which rows are paired.

        Returns
        -------
        ndarray of shape (n_features,)
            In the units of X; large where these units decide. Of a column that holds
            no numbers, the share of the rows whose level changes.

        References
        ----------
        Besserve, Mehrjou, Sun, Schölkopf (2020), *Counterfactuals uncover the modular
        structure of deep generative models*, arXiv 1812.03253.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=2)
        entropy = query_entropy(self, random_state)
        # The noise behind drawn rows is known.
        rows = {"X": X}
        if X is None:
            rows = {"n_samples": n_samples, "random_state": entropy}
        values = self.node_values(**rows)
        n = len(next(iter(values.values())))
        if n < 2:
            raise ValueError(f"influence_map needs at least 2 rows, got {n}.")
        # Every row meets another one: all are shifted by one along a random order.
        order = np.random.RandomState(entropy).permutation(n)
        partner = np.empty(n, int)
        partner[order] = np.roll(order, 1)
        source = {name: value[partner] for name, value in values.items()}
        given = _given_units(self, node, units, source)
        means = {"observation_noise": False} if X is None else {"residual": "drop"}
        factual, changed = self.intervene(
            {node: given}, return_factual=True, **rows, **means
        )
        return mean_change(factual, changed)


def _given_units(estimator, node, units, source):
    """Intervention that gives row after row the units of other rows."""
    check = Units(units, lambda value: value)
    check_interventions({node: check}, estimator.nodes_)
    return Units(units, EachRow(source[node][:, list(check.index)]))
