"""How well a changed model predicts other environments: a table and a picture."""

import numpy as np
import pandas as pd

from ..metrics import extrapolation_skill, skill_interval
from ..metrics._distances.named import comparable_distance
from ..utils.words import part_of
from ._plotting import axes_or_new

__all__ = ["ExtrapolationDisplay", "ExtrapolationReport"]

COLUMNS = [
    "skill",
    "low",
    "high",
    "mean_shift_skill",
    "ceiling",
    "distance",
    "noise_floor",
    "p_value",
    "identity_distance",
    "n_rows",
    "explanation",
]


class ExtrapolationReport:
    """Skill of a changed model in every environment, each number with its meaning.

    Make one by :meth:`from_estimator`.

    Parameters
    ----------
    table : DataFrame
        One row per environment (the index).

    Attributes
    ----------
    table_ : DataFrame
        ``skill`` over the observational rows, with its bootstrap interval ``low`` to
        ``high``; ``mean_shift_skill`` of the observational rows with the environment's
        mean, the baseline to beat; ``ceiling``, the skill of a prediction at the noise
        floor; ``distance`` of the prediction, its ``noise_floor`` and the ``p_value``
        of a perfect prediction; ``identity_distance`` of the observational rows;
        ``n_rows``; and an ``explanation``.
    """

    def __init__(self, table):
        self.table_ = table

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        scorer,
        environments=None,
        n_bootstrap=200,
        n_permutations=200,
        level=0.95,
        random_state=None,
    ):
        """Ask a fitted generator what it predicts of other environments.

        Parameters
        ----------
        estimator : fitted generator, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features)
            Observational rows beside rows of every environment of the scorer. Rows that
            were fitted make the baseline look better than it is.
        y, environments : array-like of shape (n_samples,)
            The labels; one of the two.
        scorer : callable
            Says what was changed in each environment.
        n_bootstrap, n_permutations, level, random_state : optional
            As :func:`~sklearn_icm.metrics.skill_interval` takes them.

        Returns
        -------
        ExtrapolationReport
        """
        predictions = scorer.predictions(estimator, X, y, environments)
        params = {
            "distance": scorer.distance,
            "n_bootstrap": n_bootstrap,
            "n_permutations": n_permutations,
            "level": level,
            "random_state": random_state,
        }
        rows = [_judged(prediction.in_units(), params) for prediction in predictions]
        names = pd.Index([p.environment for p in predictions], name="environment")
        return cls(pd.DataFrame(rows, index=names, columns=COLUMNS))

    def __repr__(self):
        lines = [f"{name}: {text}" for name, text in self.table_["explanation"].items()]
        return "\n".join(["ExtrapolationReport", *lines])

    def _repr_html_(self):
        return self.table_.style.format(precision=3).to_html()


def _judged(prediction, params):
    """One row of the table."""
    samples = prediction.X_env, prediction.X_intervened, prediction.X_baseline
    found = skill_interval(*samples, **params)
    low, high = found.low, found.high
    return {
        "skill": found.skill,
        "low": low,
        "high": high,
        "mean_shift_skill": _mean_shift_skill(prediction, params["distance"]),
        "ceiling": found.ceiling,
        "distance": found.distance,
        "noise_floor": found.noise_floor,
        "p_value": found.p_value,
        "identity_distance": found.baseline_distance,
        "n_rows": len(prediction.X_env),
        "explanation": _explained(found),
    }


def _mean_shift_skill(prediction, distance):
    X_env, changed, usual = prediction[1:4]
    # The kernel that the skill has, so that the two can be compared.
    distance = comparable_distance(distance, X_env, np.concatenate([changed, usual]))
    known = X_env if prediction.X_known is None else prediction.X_known
    shifted = usual + np.mean(known, axis=0) - np.mean(usual, axis=0)
    try:
        return extrapolation_skill(X_env, shifted, usual, distance=distance)
    except ValueError:
        # There is no shift; the explanation says so.
        return np.nan


def _explained(found):
    if not found.is_above_floor:
        return (
            "The environment cannot be told from the observational rows, so there is "
            "nothing to predict."
        )
    part = f"The changed model {part_of(found.skill, 'removes', 'adds')} the distance"
    low, high = found.low, found.high
    sure = f" (interval {low:.0%} to {high:.0%})"
    if found.distance <= found.noise_floor:
        return f"{part}{sure}; what is left is no more than chance."
    ceiling = max(found.ceiling, 0)
    return f"{part}{sure}; a perfect one would remove about {ceiling:.0%} or more."


class ExtrapolationDisplay:
    """Skill per environment with intervals, beside the baselines and the floor.

    Parameters
    ----------
    tables : dict of str to DataFrame
        ``table_`` of an :class:`ExtrapolationReport` per model, all with the same
        environments.

    Attributes
    ----------
    ax_, figure_, points_, baselines_, ceilings_
        Set by `plot`; points per model.
    """

    def __init__(self, tables):
        self.tables = tables

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, scorer, ax=None, **params):
        """Make the report of a fitted generator, or of several, and plot it.

        Parameters
        ----------
        estimator : fitted generator, or dict of name to fitted generator
        X, y, scorer
            As :meth:`ExtrapolationReport.from_estimator` takes them.
        ax : matplotlib axes, optional
        **params : dict
            As :meth:`ExtrapolationReport.from_estimator` takes them.

        Returns
        -------
        ExtrapolationDisplay
        """
        models = estimator if isinstance(estimator, dict) else {"model": estimator}
        tables = {
            name: ExtrapolationReport.from_estimator(
                model, X, y, scorer=scorer, **params
            ).table_
            for name, model in models.items()
        }
        return cls(tables).plot(ax=ax)

    def plot(self, ax=None):
        """Plot one row per environment; 0 is no change, crosses a shift of the mean.

        The row of an environment without a shift stays empty.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        self : object
        """
        first = _where_shifted(next(iter(self.tables.values())))
        places = np.arange(len(first))
        self.ax_ = axes_or_new(ax, (6, 1.5 + 0.5 * len(places) * len(self.tables)))
        self.figure_ = self.ax_.figure
        self.points_ = []
        for k, (name, table) in enumerate(self.tables.items()):
            table = _where_shifted(table)
            y = places + 0.6 * ((k + 1) / (len(self.tables) + 1) - 0.5)
            beside = np.abs(
                table[["low", "high"]].to_numpy().T - table["skill"].to_numpy()
            )
            self.points_.append(
                self.ax_.errorbar(
                    table["skill"], y, xerr=beside, fmt="o", capsize=3, label=name
                )
            )
        (self.baselines_,) = self.ax_.plot(
            first["mean_shift_skill"],
            places,
            "x",
            color="0.4",
            label="shift of the mean",
        )
        (self.ceilings_,) = self.ax_.plot(
            first["ceiling"],
            places,
            "|",
            color="0.4",
            markersize=16,
            label="noise floor",
        )
        self.ax_.axvline(0, color="0.5", linewidth=1)
        self.ax_.set(
            yticks=places,
            yticklabels=[str(name) for name in first.index],
            xlabel="skill (0 = no change, 1 = perfect; bar: bootstrap interval)",
        )
        self.ax_.invert_yaxis()
        self.ax_.legend(loc="best", fontsize="small")
        return self


def _where_shifted(table):
    """What is plotted, without environments that cannot be told from usual rows."""
    shown = table[["skill", "low", "high", "mean_shift_skill", "ceiling"]]
    return shown.mask(table["low"].isna())
