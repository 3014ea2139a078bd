"""What a changed model predicts of environments, beside their rows."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, column_or_1d

from ..compose._wrap import in_input_space, rows_under
from ..utils.checks import plain
from ..utils.environments import as_label_list, find_rows, resolve_environments
from ..utils.pipelines import before_last, last_step
from ..utils.rows import take_rows
from ..utils.units import in_units, row_units
from ._baselines import peer_rows
from ._distances.transport import LEAST_ROWS
from ._scorer import RoutedScorer

__all__ = ["PREDICT", "Prediction", "PredictingScorer", "check_environments"]

PREDICT = ("auto", "rows", "draws")


@dataclass(frozen=True)
class Prediction:
    """Rows of an environment and what is predicted of them.

    ``X_known`` are rows that a family of interventions was fitted to, or None, and
    ``units`` what distances take the columns in. ``peers`` are predictions that need
    no fitted generator, by name. If ``is_paired``, each row of the environment is the
    truth of the row of `X_intervened` at its place. ``query`` are the keywords that
    `intervene` was asked with: rows ``X`` and ``residual``, or ``n_samples``.
    """

    environment: object
    X_env: np.ndarray
    X_intervened: np.ndarray
    X_baseline: np.ndarray
    X_known: np.ndarray | None
    interventions: dict
    units: np.ndarray | int
    is_paired: bool
    query: dict
    peers: dict

    def in_units(self):
        """The same rows, in the units that distances take them in."""
        names = ("X_env", "X_intervened", "X_baseline", "X_known")
        rows = {name: getattr(self, name) for name in names}
        scaled = {
            k: v if v is None else in_units(v, self.units) for k, v in rows.items()
        }
        peers = {name: in_units(rows, self.units) for name, rows in self.peers.items()}
        return replace(self, **scaled, peers=peers, units=1)

    @property
    def samples(self):
        """Rows of the environment, predicted ones and those without a change."""
        return self.X_env, self.X_intervened, self.X_baseline


class PredictingScorer(RoutedScorer):
    """Scorer that asks a generator for the rows of environments under interventions."""

    metadata = ("environments", "pairs")
    title = "The extrapolation scorer"

    def _labels(self, X, y, environments):
        return resolve_environments(X, y, environments, required_by=self.title)

    def _is_training_fold(self, estimator, X, labels):
        observational = as_label_list(self.observational)
        if not all(label in observational for label in labels.tolist()):
            return False
        return last_step(estimator).was_fitted_on(before_last(estimator, X))

    def _predictions(self, estimator, X, labels, pairs=None):
        """Each prediction, with the function that makes those of baselines."""
        by_transport = self.distance == "transport" and pairs is None
        self._check_fold(labels, LEAST_ROWS if by_transport else 2)
        estimator = in_input_space(estimator)
        numeric = estimator.space_.numeric
        for label in self._judged_labels():
            change, known = self.interventions[label], None
            parts = [
                np.flatnonzero(find_rows(labels, name))
                for name in (self.observational, label)
            ]
            if pairs is not None:
                parts = self._mates(estimator, X, pairs, label, *parts)
            given, rows = (take_rows(X, part) for part in parts)
            if hasattr(change, "fit_to"):
                change, known, rows = change.fit_to(estimator, rows, self.random_state)
                known = numeric(known)
            query = self._query(estimator, change, given, len(rows))
            changed = rows_under(
                estimator, change, random_state=self.random_state, **query
            )
            usual, rows, changed = map(numeric, (given, rows, changed))
            shifted = rows if known is None else np.concatenate([rows, known])
            units = row_units(
                estimator, usual, shifted, units=self.units, distance=self.distance
            )
            paired = pairs is not None
            asked = change, units, paired, query, {}
            prediction = Prediction(label, rows, changed, usual, known, *asked)
            singles = self._single_means(change, X, labels, numeric)
            asked = estimator, given, prediction, singles, self.random_state
            yield prediction, partial(peer_rows, *asked)

    def _mates(self, estimator, X, pairs, label, seen, moved):
        """Places of observational rows, and of their mates in the environment."""
        by_rows = self._asks_rows(estimator)
        if hasattr(self.interventions[label], "fit_to") or not by_rows:
            raise ValueError(
                "pairs= judges row by row, which needs fixed interventions and "
                f"predict='rows', got {self.interventions[label]!r} for {label!r} and "
                f"predict={self.predict!r} of a {type(last_step(estimator)).__name__}."
            )
        check_consistent_length(X, pairs)
        ids = pd.Series(column_or_1d(pairs))
        first, second = (ids[part].dropna() for part in (seen, moved))
        for name, found in ((self.observational, first), (label, second)):
            twice = found[found.duplicated()]
            if len(twice):
                raise ValueError(
                    "pairs must name a unit once in every environment, but "
                    f"{plain(twice.iloc[0])!r} is there more than once in {name!r}."
                )
        first = first[first.isin(second)][: self.n_samples]
        if len(first) < 2:
            raise ValueError(
                f"pairs must match at least 2 rows of {self.observational!r} with rows "
                f"of {label!r} by their ids, got {len(first)}. Let the splitter keep "
                "mates in one fold (pairs= of its split)."
            )
        places = pd.Series(second.index, index=second)
        return first.index.to_numpy(), places[first].to_numpy()

    def _asks_rows(self, estimator):
        """Whether counterfactuals of given rows are compared."""
        explains = hasattr(last_step(estimator), "abduct")
        if self.predict == "rows" and not explains:
            raise TypeError(
                "predict='rows' needs a generator that explains given rows "
                f"(`abduct`), got {type(last_step(estimator)).__name__}. Use "
                "predict='draws'."
            )
        return explains and self.predict != "draws"

    def _query(self, estimator, change, given, n_env):
        """Keywords of `intervene`: for counterfactuals of given rows, or draws."""
        if not self._asks_rows(estimator):
            return {"n_samples": self.n_samples or n_env}
        given = given if self.n_samples is None else given[: self.n_samples]
        # A change of the data alone acts on what is seen, whatever explains it.
        inside = set(change) - set(list(last_step(estimator).nodes_)[-1:])
        return {"X": given, "residual": self.residual if inside else "keep"}

    def _single_means(self, change, X, labels, numeric):
        """Mean of the environment where each node alone was changed, if there are."""
        if len(change) < 2:
            return None
        single = {
            node: label
            for label, other in self.interventions.items()
            if isinstance(other, dict) and len(other) == 1 and label in labels
            for node, value in other.items()
            if node in change and np.array_equal(value, change[node])
        }
        if set(single) != set(change):
            return None
        places = (np.flatnonzero(find_rows(labels, label)) for label in single.values())
        return [numeric(take_rows(X, place)).mean(axis=0) for place in places]

    def _judged_labels(self):
        return [k for k, change in self.interventions.items() if change is not None]

    def _check_fold(self, labels, least):
        present = set(labels.tolist())
        needed = [*as_label_list(self.observational), *self._judged_labels()]
        known = {*as_label_list(self.observational), *self.interventions}
        unknown = sorted(present - known, key=str)
        if unknown:
            raise ValueError(
                f"The environment {unknown[0]!r} has no intervention: say what was "
                "changed in it, or give None to leave it out (interventions has "
                f"{list(self.interventions)})."
            )
        missing = [label for label in needed if label not in present]
        counts = {k: np.count_nonzero(labels == k) for k in needed}
        scarce = [k for k in needed if counts[k] < least]
        if not missing and scarce:
            raise ValueError(
                f"The fold has {counts[scarce[0]]} of the at least {least} rows of the "
                f"environment {scarce[0]!r} that a distance needs. Give more rows, or "
                "fewer folds."
            )
        if missing:
            raise ValueError(
                f"The fold has no rows of the environment {missing[0]!r}. {self.title} "
                f"needs them (there are {sorted(present, key=str)}). Use "
                f"cv=LeaveEnvironmentOut(observational={self.observational!r}), which "
                "puts held-out observational rows and the environment's rows into "
                "every test fold."
            )


def check_environments(interventions, observational):
    """Refuse what does not say by environment what was changed there."""
    if not isinstance(interventions, dict) or not interventions:
        raise ValueError(
            "interventions must be a non-empty dict {environment label: {node: "
            f"intervention}}, got {interventions!r}."
        )
    for label, change in interventions.items():
        is_change = isinstance(change, dict) or hasattr(change, "fit_to")
        if change is not None and not is_change:
            raise TypeError(
                f"interventions[{label!r}] must be a dict {{node: intervention}} or a "
                f"FamilyFit, got {change!r}."
            )
        if label in as_label_list(observational):
            raise ValueError(
                f"The environment {label!r} is observational={observational!r}: the "
                "scorer is about environments that the model is not fitted to."
            )
    if all(change is None for change in interventions.values()):
        raise ValueError(
            "interventions must say what was changed in at least one environment, got "
            f"{interventions!r}."
        )
