"""Counterfactuals of given rows, and how their errors are counted."""

import warnings
from functools import cached_property

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ..compose._wrap import in_input_space, rows_under
from ..utils.checks import check_choice
from ..utils.pipelines import before_last, last_step
from ..utils.units import check_units, in_units, row_units
from ._inputs import direction_stream

__all__ = [
    "Counterfactuals",
    "ExplainedRows",
    "UndefinedAxiomError",
    "mean_ratio",
    "part_of_spread",
    "predictions",
]

ABDUCTIONS = ("encode", "optimise")
# Of the mean square: what rounding in float32 may leave of a zero.
NEGLIGIBLE = 1e-12


class UndefinedAxiomError(ValueError):
    """The axiom says nothing about this question."""


class ExplainedRows:
    """Rows in input space, with the noise that a model finds behind them."""

    def __init__(self, estimator, X, abduction, units="auto"):
        self.generator = last_step(estimator)
        if not hasattr(self.generator, "abduct"):
            raise TypeError(
                "The axioms of counterfactuals need a generator that explains given "
                f"rows (`abduct`), got {type(self.generator).__name__}."
            )
        check_choice("abduction", abduction, ABDUCTIONS)
        check_is_fitted(self.generator)
        check_units(units)
        self.estimator, self.abduction = in_input_space(estimator), abduction
        self.X, self.units = self.estimator.space_.aligned(X), units
        if pd.isna(np.asarray(self.X)).any():
            # What is missing is drawn once, or refused.
            filled = rows_under(self.estimator, {}, self.X)
            self.X = self.estimator.space_.named(filled)

    @property
    def values(self):
        """Rows as float64, where float32 squares would lose digits, in their units.

        Levels are indicators.
        """
        return in_units(self._numeric, self.row_units)

    @cached_property
    def _numeric(self):
        numbers = self.estimator.space_.numeric(self.X)
        return numbers.astype(np.float64, copy=False)

    @cached_property
    def row_units(self):
        """Units of the numeric columns."""
        return row_units(self.estimator, self._numeric, units=self.units)

    @property
    def hidden_nodes(self):
        """Names of the nodes but the last, which is the data."""
        return list(self.generator.nodes_)[:-1]

    @cached_property
    def _inner(self):
        return before_last(self.estimator, self.X)

    @cached_property
    def _noise(self):
        return self.generator.abduct(self._inner, method=self.abduction)

    def changed(self, interventions, **query):
        """Return the counterfactual rows, to be explained in their turn."""
        rows = rows_under(
            self.estimator, interventions, self.X, abduction=self._noise, **query
        )
        rows = self.estimator.space_.named(rows)
        changed = ExplainedRows(self.estimator, rows, self.abduction)
        changed.row_units = self.row_units
        return changed

    def nodes(self, interventions, **query):
        """(factual, intervened) values of every node, each (n, n_entries)."""
        with warnings.catch_warnings():
            # Of clipped rows `changed` warns, and nodes are not clipped.
            warnings.simplefilter("ignore")
            *_, nodes = self.generator.intervene(
                interventions,
                X=self._inner,
                abduction=self._noise,
                return_nodes=True,
                **query,
            )
        return {name: tuple(map(_matrix, pair)) for name, pair in nodes.items()}


class Counterfactuals:
    """One question to explained rows, and the answers that several axioms read."""

    def __init__(self, start, interventions, residual, random_state):
        self.start = start
        self.interventions = start.generator.graph_.check_interventions(interventions)
        if not interventions:
            raise ValueError(
                "interventions must be a non-empty dict {node: intervention}, got "
                f"{interventions!r}. Without interventions only composition is asked."
            )
        # One number, so that rows and nodes of a random intervention belong together.
        self._seed = direction_stream(random_state).randint(2**31 - 1)
        self._residual = residual

    def change(self, rows, interventions):
        """Return the rows under some interventions."""
        return rows.changed(
            interventions, residual=self._residual, random_state=self._seed
        )

    @cached_property
    def below(self):
        """Sets of the nodes that depend on each node."""
        graph = self.start.generator.graph_
        return {name: graph.descendants([name]) - {name} for name in graph.nodes}

    @property
    def last_changed(self):
        """Changed nodes that cause no other changed one."""
        changed = set(self.interventions)
        return {name for name in changed if not self.below[name] & changed}

    @cached_property
    def after(self):
        """The counterfactual rows."""
        return self.change(self.start, self.interventions)

    @cached_property
    def nodes(self):
        """(factual, intended) values of every node."""
        return self.start.nodes(self.interventions, random_state=self._seed)

    @cached_property
    def read(self):
        """Values of every node that explain the counterfactual rows."""
        return {name: factual for name, (factual, _) in self.after.nodes({}).items()}


def part_of_spread(parts):
    """Row errors in units of the spread of what they are errors of."""
    centred = {
        name: (error, value - value.mean(0), value)
        for name, (error, value) in parts.items()
    }
    return mean_ratio(
        centred,
        "{} must differ between rows, since errors are measured by its spread, got "
        "the same in all rows: give more, or other, rows.",
    )


def mean_ratio(parts, undefined):
    """Mean over parts of each row's squared error by the mean squared scale."""
    ratios = []
    for name, (error, scale, magnitude) in parts.items():
        size = np.square(scale).sum(1).mean()
        if size <= NEGLIGIBLE * np.square(magnitude).sum(1).mean():
            raise UndefinedAxiomError(undefined.format(name[0].upper() + name[1:]))
        ratios.append(np.square(error).sum(1) / size)
    return np.mean(ratios, axis=0)


def predictions(predictor, X):
    """Predictions (n,) or (n, n_factors) for rows."""
    regressor = hasattr(predictor, "predict")
    values = predictor.predict(X) if regressor else predictor(np.asarray(X))
    values = np.asarray(values, dtype=np.float64)
    if values.shape[:1] != (len(X),) or values.ndim > 2:
        raise ValueError(
            f"predictor must give (n,) or (n, n_factors) values for {len(X)} rows, got "
            f"the shape {values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError("predictor must give finite values, got some that are not.")
    return values


def _matrix(value):
    return value.reshape(len(value), -1).astype(np.float64)
