"""Questions to a fitted graph of columns: noise, densities, independence."""

from collections.abc import Mapping
from functools import partial
from numbers import Integral

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtri
from sklearn.utils.validation import check_is_fitted

from ...independence._hsic import NoiseMeasure, p_value_of_dependence
from ...independence._pairs import MechanismPair, as_measures, measure_of
from ...interventions import Compose, Do
from ...interventions._base import applied, replaces_mechanism
from ...utils.checks import check_scalar
from ...utils.rows import draws_by_content
from ...utils.streams import query_entropy, stream_seed, torch_stream
from ._levels import (
    in_codes,
    keeping_levels,
    levels_in_rows,
    reading_columns,
    refuse_other_columns,
    refuse_rows_of_levels,
    warn_of_unseen,
)
from ._table import (
    Rounded,
    Watched,
    as_columns_hold,
    going_on,
    is_set,
    set_numbers,
    warn_of_other_constants,
)
from .columns._hidden import generic_effects
from .columns._lines import MEANS
from .columns._structure import KINDS
from .given._conditions import conditioned
from .given._missing import versions

__all__ = ["GraphQueriesMixin"]


class GraphQueriesMixin:
    """What GraphGenerator answers once it is fitted."""

    @property
    def mechanism_kinds_(self):
        """``{column: kind of its mechanism}``."""
        module = self._fitted_module("mechanism_kinds_")
        return {
            n: KINDS[k] for n, k in zip(module.names, module.fit.chosen, strict=True)
        }

    @property
    def edges_(self):
        """Edges as they were read from `graph`, "cause -> effect"."""
        parents = self._fitted_module("edges_").parents
        return [f"{cause} -> {k}" for k, causes in parents.items() for cause in causes]

    @property
    def categories_(self):
        """``{column: its levels}`` of the categorical columns."""
        names = self._fitted_module("categories_").names
        return {
            names[k]: levels.copy() for k, levels in self._fitted.space.levels.items()
        }

    def score_samples(self, X, *, interventions=None):
        """Log density of each row, in nats; of levels, log probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        interventions : dict of str to intervention, optional
            On columns or the data node, as `intervene` takes them: the density is that
            of ``intervene(interventions, n_samples=...)``. They must be affine, set
            columns (to a value for each row or by a policy, too), or be mechanisms of
            another `GraphGenerator`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Under the density that `sample` uses (before its values are clipped or
            rounded). A column that did not vary in `fit` counts for nothing, and a row
            with another value there is warned of: `fit` knew none. With
            ``missing="available"`` the sum over the mechanisms whose column and parents
            are known in the row.

        Raises
        ------
        ValueError
            For interventions of which no density is known: random ones, callables,
            those on the noise, in a graph with unobserved nodes all but those on the
            data node, and those on the data node that have no inverse.

        Notes
        -----
        The mechanism of an intervened column is changed, and the others read the value
        that the row has, so that all other factors are as they were. Under ``Do`` the
        column has no factor: it has no density, and what is scored is that of the other
        columns given the column's value in the row, be it the one that was set or not.

        Examples
        --------
        >>> from sklearn_icm.datasets import make_scm
        >>> from sklearn_icm.generators import GraphGenerator
        >>> from sklearn_icm.interventions import Shift
        >>> scm = make_scm(200, n_nodes=3, mechanism="linear", random_state=0)
        >>> model = GraphGenerator(scm.graph, max_epochs=2, random_state=0)
        >>> rows = scm.render({"x0": Shift(2.0)})
        >>> scores = [
        ...     model.fit(scm.data).score_samples(rows, interventions=changes).mean()
        ...     for changes in ({}, {"x0": Shift(2.0)})
        ... ]
        >>> bool(scores[0] < scores[1])
        True
        """
        interventions = self._each_row(interventions or {}, X, None)
        return self._scored(self._rows_as_given(X), interventions)

    def _rows_as_given(self, X):
        """Checked rows, in which values may be missing (NaN) if `missing` says so."""
        takes_missing = self.missing == "available"
        options = {"ensure_all_finite": "allow-nan"} if takes_missing else {}
        return self._check_rows(X, **options)

    def _versions(self, X, n_draws):
        """Rows whose missing values are drawn, (n_draws, n, d); complete ones once."""
        rows = self._rows_as_given(X)
        if not np.isnan(rows).any():
            return rows[None]
        return versions(self._fitted, rows, n_draws, self._bounds_under({}))

    def _rows_to_explain(self, X):
        return self._versions(X, 1)[0]

    def _draws_behind(self, X, n_draws):
        found = self._versions(X, n_draws)
        for k in range(n_draws):
            rows = found[k % len(found)]
            yield rows, self._noise_in_levels(rows, k)

    def _under_conditions(self, interventions, given):
        if self._fitted.model.graph.data_node in interventions:
            return self
        # What is changed is no longer as its noise makes it.
        given = {k: v for k, v in given.items() if k not in interventions}
        fitted = conditioned(self._fitted, given, self._bounds_under({}))
        drawing = object.__new__(type(self))
        vars(drawing).update(vars(self), _fitted=fitted)
        return drawing

    def _before_data(self, rows, interventions):
        rows, volume = self._undone(rows, interventions)
        warn_of_other_constants(
            rows,
            self._fitted.space.range,
            {
                k: name
                for k, name in enumerate(self._fitted.model.names)
                if name not in interventions and k not in self._fitted.space.levels
            },
        )
        return rows, volume

    def _undone(self, rows, interventions):
        data = self._fitted.model.graph.data_node
        if data not in interventions:
            return rows, 0.0
        change = interventions[data]
        if replaces_mechanism(change):
            raise ValueError(
                f"There is no density with another mechanism of node {data!r}: change "
                "those of columns."
            )
        if np.isnan(rows).any():
            raise ValueError(
                f"X has missing values, which an intervention on node {data!r} may mix "
                "with others: score complete rows."
            )
        before, volume = super()._before_data(rows, interventions)
        # An affine change of some columns shows at units and the origin.
        probes = torch.eye(rows.shape[1] + 1, rows.shape[1], dtype=torch.float64)
        applied(keeping_levels(data, change, self._names_of_levels()), probes)
        before[:, list(self._fitted.space.levels)] = rows[
            :, list(self._fitted.space.levels)
        ]
        return before, volume

    def _noise_of(self, rows, hidden=None, places=None):
        """Noise behind rows; uniform draws place it in the intervals of levels.

        That of unobserved nodes is by standard normal draws, or the posterior mean.
        """
        parts = {"x": rows}
        if hidden is not None:
            parts["draw"] = hidden
        if places is not None:
            parts["places"] = np.full(rows.shape, 0.5)
            parts["places"][:, list(self._fitted.space.levels)] = places

        def abduct(model, *values):
            return model.abduct(**dict(zip(parts, values, strict=True)))

        return self._in_double(abduct, *parts.values())

    def _hidden_draws(self, n, generator):
        """Standard normal draws for unobserved nodes, (n, n_dims)."""
        n_dims = self._n_features_out - self.n_features_in_
        return torch.randn(n, n_dims, generator=generator).numpy()

    def _abducted(self, rows, method, *options):
        found = super()._abducted(rows, method, *options)
        if method == "encode" and self._fitted.space.levels:
            found.noise = self._noise_in_levels(rows).astype(found.noise.dtype)
        return found

    def _resolve_abduction(self, abduction, X):
        if (
            isinstance(abduction, str)
            and abduction == "encode"
            and self._fitted.space.levels
        ):
            return self._noise_in_levels(X)
        return super()._resolve_abduction(abduction, X)

    def _noise_in_levels(self, rows, draw=None):
        # By content, so that all questions to a row share its noise.
        entropy, n_levels = self._fitted.entropy, len(self._fitted.space.levels)
        seed = stream_seed(entropy, "levels", *([draw] if draw else []))
        places = draws_by_content(rows, n_levels, seed)
        hidden = None
        if draw is not None:
            n_dims = self._n_features_out - self.n_features_in_
            seed = stream_seed(entropy, "behind", draw)
            hidden = ndtri(draws_by_content(rows, n_dims, seed))
        return self._noise_of(rows, hidden, places)

    def independence(
        self,
        X=None,
        *,
        measure="noise",
        n_draws=200,
        n_samples=5000,
        random_state=0,
    ):
        """Measure whether each mechanism's noise is independent of all else.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
            Rows that the mechanisms are to explain; of more than `n_samples`, that many
            are drawn. None draws from the model, whose noise is independent: what is
            found then is chance.
        measure : "noise", Measure, or list of them
            Of a mechanism's noise and what it is compared with; the first that applies
            is taken. "noise" is the normalised Hilbert-Schmidt independence criterion,
            0 to 1.
        n_draws : int
            Permutations for the p-values; 0 for none.
        n_samples : int
        random_state : int, RandomState or None
            Of all draws.

        Returns
        -------
        DataFrame
            Two rows per numeric column: ``mechanism``; ``against`` its "parents" (a
            wrong kind of mechanism, or a wrong graph) or the "noise" of the other
            columns (a confounder that is not in the table); ``dependence``, the value
            of the measure; ``p_value``; ``n_rows`` that were tested. Columns without
            parents have no row against them. Beside these, whatever the measure, one
            row for every hidden node with parents and at least two
            dimensions, against its "effects": ``dependence`` is the absolute logarithm
            of the trace ratio of its values' covariance and the weights that read it,
            the p-value that of rotations between them. P-values are of the rows, given
            this fit: they do not count estimation.

        References
        ----------
        Peters, Mooij, Janzing, Schölkopf (2014), *Causal discovery with continuous
        additive noise models*, arXiv 1309.6779.
        """
        check_is_fitted(self)
        check_scalar(n_draws, "n_draws", Integral, min_val=0)
        check_scalar(n_samples, "n_samples", Integral, min_val=2)
        entropy = query_entropy(self, random_state)
        rng = np.random.RandomState(entropy)
        measures = as_measures(measure, {"noise": (NoiseMeasure(rng),)})
        if X is None:
            rows = self.node_values(n_samples=n_samples, random_state=rng)
            rows = rows[self._fitted.model.graph.data_node]
        else:
            rows = self._check_rows(X)
            rows = rows[rng.permutation(len(rows))[:n_samples]]
        # Draws of hidden nodes: their posterior means would depend on all columns.
        drawn = torch.Generator().manual_seed(rng.randint(2**31))
        places = rng.random_sample((len(rows), len(self._fitted.space.levels)))
        hidden = self._hidden_draws(len(rows), drawn)
        noise = self._noise_of(rows, hidden, places)
        nodes, module = self._nodes_of_noise(noise), self._fitted.model
        found = []
        for k, name in enumerate(module.names):
            parents = _side_by_side(nodes, module.parents[name])
            sides = {"parents": parents, "noise": np.delete(noise, k, 1)}
            for against, values in sides.items():
                if k in self._fitted.space.levels or not values.shape[1]:
                    continue
                pair = MechanismPair(
                    *(against, name, values.shape[1:], "vector"),
                    hidden=torch.from_numpy(values),
                    noise=torch.from_numpy(noise[:, [k]]),
                )
                chosen = measure_of(pair, measures)
                if chosen is not None:
                    generator = torch.Generator().manual_seed(int(entropy))
                    test = chosen.measured(pair, n_draws, generator)
                    sure = float(test.rho.mean()), p_value_of_dependence(test)
                    found.append((name, against, *sure))
        for name, read in module.readings().items():
            test = generic_effects(nodes[name], read.numpy(), n_draws, rng)
            found.append((name, "effects", *test))
        columns = ["mechanism", "against", "dependence", "p_value"]
        return pd.DataFrame(found, columns=columns).assign(n_rows=len(rows))

    def _nodes_of_noise(self, noise):
        """Values of the columns and hidden nodes for some noise, in float64."""
        parts = []
        self._in_double(lambda model, e: parts.append(model.graph(e)) or e, noise)
        return {
            name: np.concatenate([part[name].numpy() for part in parts])
            for name in self._fitted.model.parents
        }

    def _fitted_values(self):
        """Values of the columns and unobserved nodes in rows of the fit.

        Beside them by mechanism in which rows it is known, and was not changed.
        """
        rows, unknown = np.hsplit(self._fitted.rows, 2)
        drawn, module = (
            torch_stream(self._fitted.entropy, "support"),
            self._fitted.model,
        )
        hidden = self._hidden_draws(len(rows), drawn)
        values = self._nodes_of_noise(self._noise_of(rows, hidden))
        values |= {name: rows[:, [k]] for k, name in enumerate(module.names)}
        counts = {
            name: ~np.isnan(_side_by_side(values, [name, *parents])).any(1)
            for name, parents in module.parents.items()
        }
        for k, name in enumerate(module.names):
            counts[name] &= unknown[:, k] == 0
        return values, counts

    def _going_on(self, name):
        names, fit = self._fitted.model.names, self._fitted.model.fit
        if name not in names:
            return None, going_on(name, "additive")
        k, kind = names.index(name), self.mechanism_kinds_[name]
        form = kind
        if kind == "location-scale":
            form = "additive" if fit.confounded[k] else MEANS[int(fit.means[k])]
        return kind, going_on(name, form, is_chosen=len(fit.kinds[k]) > 1)

    def _names_of_levels(self):
        return {k: self._fitted.model.names[k] for k in self._fitted.space.levels}

    def _checked(self, interventions):
        """Checked interventions, those on columns of levels as ones on codes."""
        if isinstance(interventions, Mapping):
            levels = self.categories_
            interventions = {
                name: in_codes(name, change, levels[name]) if name in levels else change
                for name, change in interventions.items()
            }
        interventions = super()._checked(interventions)
        refuse_other_columns(interventions, self)
        return interventions

    def _codes(self):
        codes = {k: partial(levels_in_rows, v) for k, v in self.categories_.items()}
        data = self._fitted.model.graph.data_node
        return codes | ({data: refuse_rows_of_levels} if codes else {})

    def _query(self, interventions, X=None, *args, **options):
        check_is_fitted(self)
        names = self._fitted.model.names
        shown = self._showing_columns(interventions, given=X is not None)
        interventions = self._checked(shown)
        data = self._fitted.model.graph.data_node
        if data in interventions:
            own = self._names_of_levels()
            interventions[data] = keeping_levels(data, interventions[data], own)
        for k, known in self._fitted.space.levels.items():
            change = interventions.get(names[k])
            counts = self._fitted.model.graph.mechanism(names[k]).counts
            warn_of_unseen(names[k], change, known, counts.cpu().numpy())
        numbers = set_numbers(interventions, names)
        interventions = self._on_whole(interventions, given=X is not None)
        watched = self._watched(interventions)
        interventions |= watched
        queries, X, chunks, n_rows = super()._query(interventions, X, *args, **options)
        free = self._free_whole(interventions)
        ranges, places = (
            {k: self._fitted.space.range[:, k] for k in self._fitted.space.whole},
            None,
        )
        if queries.given is not None:
            entropy = stream_seed(self._fitted.entropy, "whole")
            places = draws_by_content(queries.given, len(free), entropy)
        chunks = as_columns_hold(chunks, numbers, ranges, free, places)
        queries.watched.extend(watched.values())
        return queries, X, chunks, n_rows

    def _watched(self, interventions):
        """Interventions on columns of numbers that mechanisms of the fit read."""
        read = {
            parent
            for name, parents in self._fitted.model.parents.items()
            if not replaces_mechanism(interventions.get(name))
            for parent in parents
        }
        scales = self._fitted.model.likelihood.link.scale.tolist()
        limits = [*self._fitted.space.range.tolist(), scales]
        return {
            name: Watched(name, interventions[name], *known)
            for k, (name, *known) in enumerate(
                zip(self._fitted.model.names, *limits, strict=True)
            )
            if name in interventions
            and name in read
            and k not in self._fitted.space.levels
        }

    def _showing_columns(self, interventions, *, given):
        """Interventions whose policies are given columns as rows show them."""
        if not isinstance(interventions, Mapping):
            return interventions
        names = self._fitted.model.names
        whole = {names[k]: v for k, v in self._limits_of_whole(given).items()}
        shown = dict.fromkeys(names) | self.categories_
        return {
            name: reading_columns(change, shown, whole)
            for name, change in interventions.items()
        }

    def _limits_of_whole(self, given):
        """Least and largest value of the columns of whole numbers, by position."""
        return {
            k: (None, np.inf) if given else self._fitted.space.range[:, k].tolist()
            for k in self._fitted.space.whole
        }

    def _on_whole(self, interventions, *, given):
        """Interventions on columns of whole numbers are given whole numbers."""
        names, changes = self._fitted.model.names, dict(interventions)
        for k, limits in self._limits_of_whole(given).items():
            change = changes.get(names[k])
            if change is not None and is_set(change) and not isinstance(change, Do):
                changes[names[k]] = Compose((Rounded({0: limits}), change))
        data = self._fitted.model.graph.data_node
        if data in changes and is_set(changes[data]) and not given:
            ranges = self._limits_of_whole(given)
            changes[data] = Compose((Rounded(ranges), changes[data]))
        return changes

    def _free_whole(self, interventions):
        """Positions of the columns of whole numbers that no intervention sets."""
        names = self._fitted.model.names
        changed = {n for n, change in interventions.items() if is_set(change)}
        if self._fitted.model.graph.data_node in changed:
            return []
        return [k for k in self._fitted.space.whole if names[k] not in changed]

    def _bounds_under(self, interventions):
        """Bounds of rows: whole numbers keep to their range, unless they are set."""
        free = self._free_whole(interventions)
        if not free:
            return self.bounds_
        open_ended = np.array([[-np.inf], [np.inf]])
        bounds = open_ended if self.bounds_ is None else self.bounds_
        bounds = np.broadcast_to(bounds, (2, self.n_features_in_)).copy()
        low, high = self._fitted.space.range[:, free]
        bounds[:, free] = (
            np.maximum(bounds[0, free], low),
            np.minimum(bounds[1, free], high),
        )
        return bounds


def _side_by_side(nodes, names):
    """Values of some nodes, (n, total width); of none, (n, 0)."""
    n_rows = len(next(iter(nodes.values())))
    return np.hstack([np.empty((n_rows, 0)), *(nodes[name] for name in names)])
