"""Is there a shift, and does any intervention on the model explain it?"""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.utils import _safe_indexing, check_random_state

from ..interventions import families_for
from ..utils.checks import check_level, check_scalar
from ..utils.words import part_of
from ._candidates import (
    LEAST_ROWS,
    SEED_BOUND,
    Comparison,
    candidates_for,
)

__all__ = ["explain_shift"]


@dataclass(frozen=True, repr=False)
class ShiftExplanation:
    """What :func:`explain_shift` found; it documents the attributes."""

    table_: pd.DataFrame
    conclusion_: str
    intervention_: dict

    def __repr__(self):
        return f"ShiftExplanation({self.conclusion_!r})"


def explain_shift(
    est,
    X_env,
    *,
    families=None,
    nodes=None,
    distance="energy",
    units="auto",
    n_samples=None,
    n_bootstrap=100,
    level=0.95,
    random_state=None,
):
    """Rank interventions by how well they explain another environment.

    Parameters are fitted to one half of the rows, and judged on the other half with
    other draws of the model.

    Parameters
    ----------
    est : fitted generator, or pipeline that ends in one
        It is never changed, nor fitted again.
    X_env : array-like of shape (n, n_features)
        Rows of the environment, at least 16.
    families : list, optional
        Families, names of ready ones or interventions, as
        :func:`~sklearn_icm.model_selection.fit_intervention` takes one; None takes all
        ready ones.
    nodes : str or list of str, optional
        Where to intervene; None takes all nodes, but those of a GraphGenerator that
        hold levels. Each family is tried at each node that it fits.
    distance : {"energy"} or callable, default="energy"
        ``distance(X_real, X_gen) -> float``.
    units : {"auto", "columns", "common"} or array-like of shape (n_features,)
        As :func:`~sklearn_icm.model_selection.fit_intervention` takes it.
    n_samples : int, optional
        Rows to draw from the model, at least 8; None takes three for each row of
        one half, but 500 to 2,000.
    n_bootstrap : int, default=100
        Resamples of the held-out rows, and permutations for the noise floor, at least
        20.
    level : float, default=0.95
        Of the noise floor and of all conclusions.
    random_state : int, RandomState or None
        Of the split and of all draws. None takes the generator's `random_state_`.

    Returns
    -------
    ShiftExplanation
        With the attributes

        - ``table_``, DataFrame with a row per candidate, first the one that is chosen,
          then by distance: ``node``,
          ``family``, ``params`` (dict), ``distance`` on the held-out rows,
          ``identity_distance`` (of the unchanged model), ``noise_floor`` (what
          ``distance`` stays below at this level if rows and draws come from one
          distribution), ``skill`` (part of the shift that is explained, 1 - distance /
          identity distance; NaN without a shift), ``gain`` (identity distance -
          distance) with its standard error ``gain_se``, ``as_good`` (whether chance may
          be why the chosen one is better), and ``verdict``, a sentence;
        - ``conclusion_``, a sentence or two;
        - ``intervention_``, the chosen candidate as ``est.intervene`` takes it; empty
          if it does not explain any of the shift.

    Raises
    ------
    ValueError, TypeError
        As :func:`~sklearn_icm.model_selection.fit_intervention`.

    Notes
    -----
    Of the candidates that explain something (of all, if none does) and are within one
    standard error of the closest, the one with fewest parameters is chosen, and of
    these the closest. A candidate explains something if its gain is positive at the
    level, one-sided, corrected for the number of candidates by Bonferroni; standard
    errors are of the paired bootstrap of held-out rows and draws. There is a shift if
    the unchanged model is beyond its noise floor.

    "Shift" means between the model and the rows: what the model gets wrong of its own
    environment counts as shift, and an intervention that repairs it as an explanation.
    Ask the same of held-out observational rows to see how much that is.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_icm.generators import FixedGenerator
    >>> X = np.random.RandomState(0).randn(200, 2)
    >>> est = FixedGenerator(random_state=0).fit(X)
    >>> explain_shift(est, X, families=["shift"], random_state=0).conclusion_
    'There is no shift to explain: the unchanged model is within the noise floor.'
    """
    rng, fitting, judging = _halves(
        est,
        X_env,
        distance=distance,
        units=units,
        n_samples=n_samples,
        random_state=random_state,
    )
    check_scalar(n_bootstrap, "n_bootstrap", Integral, min_val=20)
    check_level(level)
    candidates = _candidates(fitting, families, nodes)
    judge = _Judge(judging, n_bootstrap, level, len(candidates), rng)
    for candidate in candidates:
        candidate.search()
    table, changes = judge.ranked(candidates)
    conclusion = judge.conclusion(table)
    explained = judge.is_shift and table["explains"][0]
    return ShiftExplanation(
        table_=table.drop(columns=["explains", "at_end"]),
        conclusion_=conclusion,
        intervention_=changes[0] if explained else {},
    )


def _halves(est, X_env, *, distance, units, n_samples, random_state):
    """Random stream, and comparisons with the halves of the rows."""
    least = 2 * LEAST_ROWS
    whole = Comparison.of(
        est, X_env, distance, n_samples, random_state, units=units, least=least
    )
    rng = check_random_state(whole.seed)
    halves = np.array_split(rng.permutation(len(whole.X_env)), 2)
    X_env = X_env if hasattr(X_env, "iloc") else np.asarray(X_env)
    fitting, judging = (
        Comparison.of(
            est,
            _safe_indexing(X_env, half),
            distance,
            n_samples,
            rng.randint(SEED_BOUND),
            ready=whole.units,
        )
        for half in halves
    )
    return rng, fitting, judging


def _candidates(comparison, families, nodes):
    if families is None:
        shapes = comparison.nodes.values()
        names = [family.name for shape in shapes for family in families_for(shape)]
        families = list(dict.fromkeys(names))
    elif isinstance(families, str) or not isinstance(families, (list, tuple)):
        families = [families]
    return candidates_for(comparison, families, nodes)


class _Judge:
    """Compares candidates with the unchanged model on the held-out rows."""

    def __init__(self, comparison, n_bootstrap, level, n_candidates, rng):
        self.comparison, self.n_bootstrap, self.level = comparison, n_bootstrap, level
        self.rng = rng
        self.margin = norm.ppf(1 - (1 - level) / n_candidates)
        self.resampled = comparison.resampling(n_bootstrap, rng)
        unchanged = comparison.rows({})
        self.identity = comparison.distance_to({})
        self.identity_resampled = self.resampled(unchanged)
        self.is_shift = self.identity > self._floor(unchanged)

    def _floor(self, drawn):
        return self.comparison.noise_floor(
            drawn, self.n_bootstrap, self.level, self.rng
        )

    def ranked(self, candidates):
        """Table of the candidates, best first, and their interventions."""
        rows, resampled, changes = [], [], []
        for candidate in candidates:
            change = candidate.intervention(candidate.best)
            drawn = self.comparison.rows(change)
            values = self.resampled(drawn)
            rows.append(self._row(candidate, change, drawn, values))
            resampled.append(values)
            changes.append(change)
        order = _simplest_first(rows, np.stack(resampled))
        table = pd.DataFrame([rows[k] for k in order])
        lags = np.stack(resampled)[order] - resampled[order[0]]
        behind = table["distance"] - table["distance"][0]
        table["as_good"] = behind <= self.margin * lags.std(axis=1)
        table["verdict"] = [self._verdict(row) for row in table.to_dict("records")]
        return table, [changes[k] for k in order]

    def _row(self, candidate, change, drawn, resampled):
        distance = self.comparison.distance_to(change)
        gain = self.identity - distance
        gain_se = float((self.identity_resampled - resampled).std())
        return {
            "node": candidate.node,
            "family": candidate.family.name,
            "params": candidate.params(candidate.best),
            "distance": distance,
            "identity_distance": self.identity,
            "noise_floor": self._floor(drawn),
            "skill": gain / self.identity if self.is_shift else np.nan,
            "gain": gain,
            "gain_se": gain_se,
            "explains": gain > self.margin * gain_se,
            "at_end": list(candidate.at_end) if candidate.may_gain else [],
        }

    def _verdict(self, row):
        if not self.is_shift:
            return "There is no shift to explain."
        what = _what(row)
        if not row["explains"]:
            return f"{what} is no better than no intervention, up to chance."
        rest = "within" if row["distance"] <= row["noise_floor"] else "beyond"
        return (
            f"{what} {part_of(row['skill'], 'explains')} the shift; what is left is "
            f"{rest} the noise floor.{_ends(row['at_end'])}"
        )

    def conclusion(self, table):
        """What the table says."""
        if not self.is_shift:
            return (
                "There is no shift to explain: the unchanged model is within the noise "
                "floor."
            )
        if not table["explains"][0]:
            fits = table["distance"] <= table["noise_floor"]
            if fits.any():
                row = table[fits].iloc[0]
                return (
                    f"These rows are too few to tell: {_what(row)} leaves nothing "
                    "beyond the noise floor, but is no better than the unchanged "
                    f"model, up to chance, nor is another of {len(table)} candidates."
                )
            return (
                "No intervention of these families explains the shift: none of "
                f"{len(table)} candidates is better than the unchanged model, "
                "up to chance."
            )
        best = table.iloc[0]
        found = best["verdict"]
        if best["distance"] > best["noise_floor"]:
            found = f"No intervention of these families explains all of it: {found}"
            ended = table[1:][table["at_end"][1:].map(bool) & table["explains"][1:]]
            if len(ended):
                names = ", ".join(map(repr, ended["node"].drop_duplicates()))
                found += f" The range that was searched also ended at {names}."
        others = int(table["as_good"].sum()) - 1
        if others:
            may = f"{others} of the other {len(table) - 1} candidates may be as good."
            return f"{found} {may}"
        return f"{found} It is the best of {len(table)} candidates."


def _what(row):
    values = ", ".join(f"{k}={v:.3g}" for k, v in row["params"].items())
    return f"{row['family']} ({values}) at {row['node']!r}"


def _simplest_first(rows, resampled):
    """Order by distance, but first the simplest within an error of the closest."""
    distances = np.array([row["distance"] for row in rows])
    explains = np.array([row["explains"] for row in rows])
    able = np.where(explains == explains.any(), distances, np.inf)
    error = resampled[able.argmin()].std()
    n_params = np.array([len(row["params"]) for row in rows])
    simplest = np.where(able <= able.min() + error, n_params, np.inf)
    chosen = np.lexsort([distances, simplest])[0]
    order = np.argsort(distances, kind="stable")
    return np.concatenate([[chosen], order[order != chosen]])


def _ends(names):
    if not names:
        return ""
    lies = "lies" if len(names) == 1 else "lie"
    return (
        f" The best {' and '.join(names)} {lies} at the end of the range that was "
        "searched: an InterventionFamily with wider bounds may explain more."
    )
