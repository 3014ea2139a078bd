"""Displays of interventions: by strength, node, and unit of a node."""

from numbers import Integral

import numpy as np

from ..compose._wrap import in_input_space, rows_under
from ..interventions import Do, Intervention, Shift, Units
from ..utils.checks import check_scalar
from ..utils.pipelines import last_step
from ._images import SamplesDisplay
from ._plotting import (
    chosen_node,
    drawn_as,
    first_rows,
    fitted_generator,
    hidden_maps,
)

__all__ = ["InterventionDisplay", "NodeTraversalDisplay"]

STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def _draws(X, n, params):
    """Keywords of `intervene` for n rows that all cells of a grid share."""
    if X is None:
        return {"random_state": 0, **params, "n_samples": n}
    return {**params, "X": first_rows(X, n)}


class InterventionDisplay(SamplesDisplay):
    """The same rows under an intervention: at several strengths, or at several nodes.

    Parameters are those of :class:`SamplesDisplay`.
    """

    @classmethod
    def from_estimator(
        cls,
        estimator,
        intervention,
        X=None,
        *,
        node=None,
        strengths=STRENGTHS,
        n_rows=4,
        ax=None,
        **params,
    ):
        """Intervene at one node: a row of the grid per sample, a column per strength.

        Parameters
        ----------
        estimator : fitted generator with a data_shape, or pipeline that ends in one
        intervention : intervention with a strength, such as ``Stretch(1.5)``
        X : array-like of shape (n_samples, n_features), optional
            Rows to change; None draws from the prior.
        node : str, optional
            None takes the first hidden map of the finest grid, or another node that
            the intervention fits; the title says which.
        strengths : sequence of float
            See `Intervention.scaled`: 0 changes nothing, 1 is the intervention.
        n_rows : int
        ax : matplotlib axes, optional
        **params : dict
            As `intervene` takes them: ``residual``, ``observation_noise`` or
            ``random_state`` (0 by default).
        """
        if not isinstance(intervention, Intervention):
            raise TypeError(
                "InterventionDisplay needs an intervention with a strength, such as "
                f"Stretch(1.5), got {intervention!r}."
            )
        node = chosen_node(estimator, node, intervention)
        estimator = in_input_space(estimator)
        draws = _draws(X, n_rows, params)
        columns = [
            rows_under(estimator, {node: intervention.scaled(t)}, **draws)
            for t in strengths
        ]
        rows = np.stack(columns, axis=1)
        display = cls(
            rows,
            **drawn_as(estimator),
            labels=[f"row {k}" for k in range(len(rows))],
            column_labels=[f"{t:g}" for t in strengths],
            title=f"{intervention!r} at {node}, by strength",
        )
        return display.plot(ax=ax)

    @classmethod
    def from_nodes(
        cls,
        estimator,
        intervention,
        X=None,
        *,
        nodes=None,
        truth=None,
        n_columns=8,
        ax=None,
        **params,
    ):
        """Intervene at one node after the other: a row of the grid per node.

        Parameters
        ----------
        estimator : fitted generator with a data_shape, or pipeline that ends in one
        intervention : intervention, callable, number or array
        X : array-like of shape (n_samples, n_features), optional
            Rows to change; None draws from the prior.
        nodes : str or list of str, optional
            Nodes to change; None takes the hidden ones that have a map like the data,
            and the data.
        truth : array-like of shape (n_samples, n_features), optional
            True counterfactuals of X, shown in the last row.
        n_columns : int
        ax : matplotlib axes, optional
        **params : dict
            As `from_estimator` takes them.
        """
        estimator, draws = in_input_space(estimator), _draws(X, n_columns, params)
        rows, labels = [rows_under(estimator, {}, **draws)], ["factual"]
        if nodes is None:
            nodes = [*hidden_maps(estimator), list(last_step(estimator).nodes_)[-1]]
        for node in [nodes] if isinstance(nodes, str) else nodes:
            rows.append(rows_under(estimator, {node: intervention}, **draws))
            labels.append(f"at {node}")
        if truth is not None:
            rows.append(np.asarray(truth)[:n_columns])
            labels.append("truth")
        told = intervention if isinstance(intervention, Intervention) else "A change"
        title = f"{told}, at one node after the other"
        display = cls(np.stack(rows), **drawn_as(estimator), labels=labels, title=title)
        return display.plot(ax=ax)

    @classmethod
    def from_parts(
        cls, estimator, X=None, *, node="parts", n_columns=8, ax=None, **params
    ):
        """Show what each part draws: a row of the grid per part, all others left out.

        Parameters
        ----------
        estimator : fitted generator with a data_shape, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features), optional
            Rows whose parts are shown; None draws from the prior.
        node : str
            Its units are the parts: those of
            :func:`~sklearn_icm.mechanisms.parts_decoder`, channels of a map.
        n_columns : int
        ax : matplotlib axes, optional
        **params : dict
            As `intervene` takes them. By default there is no ``observation_noise``, and
            what the model leaves unexplained of X is dropped (``residual="drop"``).

        Notes
        -----
        The label of a part is its index and its share in the squares of what all parts
        draw: one that is not needed has next to none.
        """
        node = chosen_node(estimator, node)
        graph = fitted_generator(estimator).graph_
        if graph.kinds[node] == "points":
            raise ValueError(
                "node must be one whose units draw nothing where they are 0, such as "
                f"'parts', but {node!r} holds places: 0 is the middle of the image."
            )
        n_parts = graph.nodes[node][0]
        estimator = in_input_space(estimator)
        plain = {"observation_noise": False} if X is None else {"residual": "drop"}
        draws = _draws(X, n_columns, {**plain, **params})
        whole, empty = (
            rows_under(estimator, change, **draws) for change in ({}, {node: Do(0.0)})
        )
        alone = []
        for part in range(n_parts):
            others = [k for k in range(n_parts) if k != part]
            change = {node: Units(others, Do(0.0))} if others else {}
            alone.append(rows_under(estimator, change, **draws))
        squares = [np.square(rows - empty).sum() for rows in alone]
        total = max(sum(squares), np.finfo(float).tiny)
        labels = [f"part {k}: {s / total:.0%}" for k, s in enumerate(squares)]
        display = cls(
            np.stack([whole, *alone]),
            **drawn_as(estimator),
            labels=["all parts", *labels],
            title=f"What each unit of {node!r} draws",
        )
        return display.plot(ax=ax)


class NodeTraversalDisplay(SamplesDisplay):
    """One row of data, as one unit of a node after the other is moved.

    Parameters are those of :class:`SamplesDisplay`.
    """

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X=None,
        *,
        node="noise",
        units=None,
        n_values=7,
        width=3.0,
        ax=None,
        **params,
    ):
        """Shift units of a node by multiples of their spread: a row per unit.

        Parameters
        ----------
        estimator : fitted generator with a data_shape, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features), optional
            The first row is changed; None draws one from the prior.
        node : str
        units : sequence of int, optional
            Entries of a vector, channels of a map; None takes the first ten.
        n_values : int
            Columns, at least 2; with an odd number the middle one is unchanged.
        width : float
            Largest shift, in standard deviations of the unit over 256 draws.
        ax : matplotlib axes, optional
        **params : dict
            As `intervene` takes them. ``observation_noise`` is False by default.
        """
        check_scalar(n_values, "n_values", Integral, min_val=2)
        node = chosen_node(estimator, node)
        estimator = in_input_space(estimator)
        spread = _unit_spread(last_step(estimator), node)
        units = range(min(10, len(spread))) if units is None else list(units)
        draws = _draws(X, 1, {"observation_noise": False, **params})
        shifts = np.linspace(-width, width, n_values)
        rows = [
            [
                rows_under(
                    estimator, {node: Units(unit, Shift(t * spread[unit]))}, **draws
                )
                for t in shifts
            ]
            for unit in units
        ]
        display = cls(
            np.asarray(rows, dtype=np.float64)[:, :, 0],
            **drawn_as(estimator),
            labels=[f"{node}[{unit}]" for unit in units],
            column_labels=[f"{t:+.2g} sd" for t in shifts],
            title=f"Units of {node}, moved by their standard deviations",
        )
        return display.plot(ax=ax)


def _unit_spread(estimator, node):
    """Standard deviation of every unit of a node, over draws and positions."""
    values = estimator.node_values(n_samples=256, random_state=0)[node]
    return values.std(axis=tuple(k for k in range(values.ndim) if k != 1))
