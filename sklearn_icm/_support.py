"""The verb that says where an answer is extrapolated, and what it then relies on."""

from .interventions import Do, Resample
from .interventions._base import as_intervention, replaces_mechanism
from .models._query import stacked
from .utils.streams import numpy_stream
from .utils.support import MOST_FITTED, found_of, support_distances, verdict_on

__all__ = ["SupportMixin"]


class SupportMixin:
    """Verdicts on questions to a fitted model."""

    def support(self, interventions, X=None, *, n_samples=1000, random_state=0):
        """Say which mechanisms an intervention asks about values they do not know.

        Parameters
        ----------
        interventions : dict of str to intervention
            As `intervene` takes them.
        X : array-like of shape (n_samples, n_features), optional
            Rows to change; None draws `n_samples` from the model.
        n_samples : int
        random_state : int, RandomState or None
            Of the draws, and of random interventions.

        Returns
        -------
        Report
            A sentence for the "query", and one for each mechanism that is replaced or
            downstream of a changed node, but for nodes that are set themselves. In
            ``table_`` one row for each of these: ``parents``; ``outside``, the share of
            the rows in which the parents' values under the interventions leave the
            joint support of the fitted ones; ``beyond``, how far those do (the median,
            in robust standard deviations of the parents); ``distance`` and
            ``distance_95``, median and 95 % quantile of the distance of all rows to the
            nearest fitted values; ``limit``, the distance from which on a row is
            outside: 1 % of the fitted rows are farther from the others; ``kind`` of the
            mechanism, where there are several; and ``verdict``: "inside" if at most 5 %
            of the rows are outside, "at the edge" if those are so by at most .5,
            "beyond", or "unseen" if most of them have a combination of levels, or a
            value beside a constant, that no fitted row had.

        Notes
        -----
        Outside, the answer is extrapolated: right as far as the mechanism holds there,
        which no row tells, and no interval covers. What it relies on goes by the kind
        of the mechanism: a line goes on as a line, a network becomes level.

        The fitted values of a :class:`~sklearn_icm.generators.GraphGenerator` are those
        of 1,000 rows of the fit. Of other models 1,000 draws without an intervention
        stand for them, which fill gaps that the data had.

        A distance is the mean of those to the 5 nearest rows, in which levels are 1
        apart. It is infinite, and the row outside, for a combination of levels that
        never occurred (unless more than 1 % of the fitted rows are the only ones of
        theirs), and for another value of a constant. A node of many entries has one
        unit. The noise of a mechanism is no parent if it has others, and the columns
        of a table side by side are no mechanism of a GraphGenerator.

        References
        ----------
        Angiulli, Pizzuti (2002), *Fast outlier detection in high dimensional spaces*.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_icm.generators import GraphGenerator
        >>> X = np.random.RandomState(0).randn(300, 2)
        >>> est = GraphGenerator([(0, 1)], mechanism="linear", random_state=0).fit(X)
        >>> est.support({"x0": 0.5}).table_["verdict"].to_dict()
        {'x1': 'inside'}
        >>> print(est.support({"x0": 6.0}).sentences_["query"])
        Beyond the fitted rows at x1 (100 % of the units, by 3... sd): the answer relies
        on the line of x1 going on (it was given). No interval covers that.
        """
        record = []
        n_samples = n_samples if X is None else None
        interventions = self._each_row(interventions, X, n_samples)
        *_, chunks, _ = self._query(
            interventions,
            X,
            n_samples,
            random_state,
            paired=False,
            noisy=False,
            residual="keep",
            abduction="encode",
            record=record,
        )
        # Rows are not wanted, but nodes are recorded as they are made.
        for _ in chunks:
            pass
        values = stacked(after for _, after in record)
        fitted, counts = self._fitted_values()
        levels, rows = getattr(self, "categories_", {}), {}
        for name, parents in _asked_mechanisms(self.graph_, interventions).items():
            parents = [p for p in parents if p in fitted]
            if name not in fitted or not parents:
                continue
            known = counts.get(name, slice(None))
            distances, limit = support_distances(
                [fitted[p][known] for p in parents],
                [values[p] for p in parents],
                [len(levels.get(p, ())) for p in parents],
            )
            kind, relied_on = self._going_on(name)
            if replaces_mechanism(interventions.get(name)):
                kind, relied_on = "replaced", f"what replaces the mechanism of {name}"
            own = {"parents": ", ".join(parents), "kind": kind, "relies on": relied_on}
            rows[name] = own | found_of(distances, limit)
        return verdict_on(rows)

    def _going_on(self, name):
        """Kind of a mechanism, if there are several, and what it is relied on for."""
        return None, f"the mechanism of {name} going on"

    def _fitted_values(self):
        """Values of nodes in rows of the fit, or in draws that stand for them.

        Beside them by mechanism which of these rows it was fitted to, if not all.
        """
        stream = numpy_stream(self._fitted.entropy, "support")
        return self.node_values(n_samples=MOST_FITTED, random_state=stream), {}


def _asked_mechanisms(graph, interventions):
    """``{name: parents}`` of mechanisms that are replaced or have a changed parent.

    Roots are noise of a mechanism's own, unless it has no other parents. What is set
    does not ask its mechanism.
    """
    moved, asked = graph.descendants(list(interventions)), {}
    for name, parents in graph.parents.items():
        change = interventions.get(name)
        if name in interventions:
            # Names of levels are no numbers for `as_intervention`.
            change = as_intervention(change) if callable(change) else Do(change)
        is_set = isinstance(change, (Do, Resample))
        asks = replaces_mechanism(change) or moved.intersection(parents)
        if asks and not is_set:
            asked[name] = [p for p in parents if p in graph.parents] or parents
    return asked
