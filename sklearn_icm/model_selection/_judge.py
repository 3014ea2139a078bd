"""Which of several interventions explains a shift, told by rows held out."""

import numpy as np
import pandas as pd
from scipy.stats import norm

from ..utils.words import part_of

__all__ = ["Judge"]

NO_SHIFT = "There is no shift to explain"


class Judge:
    """Compares candidates with the unchanged model on the held-out rows."""

    def __init__(self, comparison, n_bootstrap, level, n_candidates, rng):
        self.comparison, self.n_bootstrap, self.level = comparison, n_bootstrap, level
        self.rng = rng
        self.margin = norm.ppf(1 - (1 - level) / n_candidates)
        self.resampled = comparison.resampling(n_bootstrap, rng)
        unchanged = comparison.rows({})
        self.identity_resampled = self.resampled(unchanged)
        self.is_shift = comparison.identity > self._floor(unchanged)

    def _floor(self, drawn):
        return self.comparison.noise_floor(
            drawn, self.n_bootstrap, self.level, self.rng
        )

    def ranked(self, candidates):
        """Table of the candidates, the chosen one first, and themselves."""
        rows, resampled = [], []
        for candidate in candidates:
            change = candidate.intervention(candidate.best)
            drawn = self.comparison.rows(change)
            resampled.append(self.resampled(drawn))
            rows.append(self._row(candidate, change, drawn, resampled[-1]))
        resampled = np.stack(resampled)
        order = _simplest_first(rows, resampled)
        table = pd.DataFrame([rows[k] for k in order])
        lags = resampled[order] - resampled[order[0]]
        behind = table["distance"] - table["distance"][0]
        table["as_good"] = behind <= self.margin * lags.std(axis=1)
        return table, [candidates[k] for k in order]

    def _row(self, candidate, change, drawn, resampled):
        distance = self.comparison.distance_to(change)
        identity = self.comparison.identity
        gain = identity - distance
        gain_se = float((self.identity_resampled - resampled).std())
        return {
            "node": candidate.node,
            "family": candidate.family.name,
            "params": candidate.params(candidate.best),
            "distance": distance,
            "identity_distance": identity,
            "noise_floor": self._floor(drawn),
            "skill": gain / identity if self.is_shift else np.nan,
            "gain": gain,
            "gain_se": gain_se,
            "explains": gain > self.margin * gain_se,
        }

    def sentences(self, table, parameters):
        """Series of what the table says as a whole, and each row of its candidate."""
        rows = table.to_dict("records")
        names = [f"{row['family']} at {row['node']!r}" for row in rows]
        told = [self._conclusion(table), parameters, *map(self._verdict, rows)]
        return pd.Series(told, index=["conclusion", "parameters", *names])

    def _verdict(self, row):
        if not self.is_shift:
            return f"{NO_SHIFT}."
        what = _what(row)
        if not row["explains"]:
            return f"{what} is no better than no intervention, up to chance."
        rest = "within" if row["distance"] <= row["noise_floor"] else "beyond"
        return (
            f"{what} {part_of(row['skill'], 'explains')} the shift; what is left is "
            f"{rest} the noise floor.{_ends(row['at_end'])}"
        )

    def _conclusion(self, table):
        if not self.is_shift:
            return f"{NO_SHIFT}: the unchanged model is within the noise floor."
        if not table["explains"][0]:
            return _nothing_explains(table)
        best = table.iloc[0]
        found = self._verdict(best)
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
        alone = len(table) == 1
        return found if alone else f"{found} It is the best of {len(table)} candidates."


def _nothing_explains(table):
    fits = table["distance"] <= table["noise_floor"]
    if fits.any():
        return (
            f"These rows are too few to tell: {_what(table[fits].iloc[0])} leaves "
            "nothing beyond the noise floor, but is no better than the unchanged "
            f"model, up to chance, nor is another of {len(table)} candidates."
        )
    return (
        f"No intervention of these families explains the shift: none of {len(table)} "
        "candidates is better than the unchanged model, up to chance."
    )


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
