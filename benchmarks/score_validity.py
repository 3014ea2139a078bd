"""Do scores rank counterfactual predictions as their true errors do?

In each world the counterfactuals are known. Predictions of the counterfactuals of
held-out observational rows (of the truth and what is near it, ghosts, the mean row, and
models that differ in fit and handling) are scored against *other* rows of the
environment, as a score sees them in use, and their true error is that to their own
pairs: squared error over the spread of the truth, in units of the columns (0 exact, 1
as the mean row). Asked of every score:

- tau: Kendall's, between score and error, over pairs of predictions whose errors differ
  by at least .05;
- regret: of choosing by it among eight candidates, relative to (mean - best), so that
  random choice has 1, and in error;
- before truth: models with an error above .02 that are scored better than the
  truth; ghosts: moments matched to the very rows that are scored against, if that is
  scored better than the best model, although its error is worse; mean row: places
  between its rank by score and by error;
- shuffled: the truth without its pairs, and half: half of its modes, on a scale that
  has the truth at 0 and the mean row at 1.

Figures are means over seeds; [low, high] are 95 % bootstrap intervals over seeds. With
``--predict draws`` rows of the changed models are scored instead, to the error of the
same models' counterfactuals; ``--coverage`` asks how often intervals hold what the
skill tends to with many rows of the same model. Fits are kept in ``.cache`` beside this
file.
"""

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np
from _common import print_table, versions
from _validity_coverage import coverage
from _validity_worlds import DESIGN, JUDGED, TWINS, cell
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sklearn_icm.metrics import (
    energy_distance,
    mmd2,
    sliced_wasserstein,
    transport_distance,
)
from sklearn_icm.metrics._distances.transport import _transport

LEAST_DIFFERENCE, EXACT = 0.05, 0.02
GHOSTS = ("mean matched", "moments matched")
N_BOOTSTRAP = 2000


# ----------------------------------------------------------------------- scores
def in_units(distance, **params):
    """``score(cell, rows)`` of a distance between samples, in the columns' units."""

    def score(cell, rows):
        return distance(cell.scaled(cell.X_env), cell.scaled(rows), **params)

    return score


def nearest_prediction(real, gen):
    return cdist(real, gen, "sqeuclidean").min(1).mean()


def assignment(real, gen):
    """Mean squared distance under the best pairing, over the real rows' spread."""
    cost = cdist(real, gen, "sqeuclidean")
    return cost[linear_sum_assignment(cost)].mean() / real.var(0).sum()


# ``score(cell, rows)``, lower is better; rows are in the units of the data.
SCORES = {
    "energy": in_units(energy_distance),
    "mmd": in_units(mmd2),
    "sliced_wasserstein": in_units(sliced_wasserstein, random_state=0),
    "nearest": in_units(nearest_prediction),
    "assignment": in_units(assignment),
    "transport": in_units(transport_distance),
}


def whole_transport(cell, rows):
    """`transport` in halves of all rows, however many there are."""
    real, gen = cell.scaled(cell.X_env), cell.scaled(rows)
    # Rows of both lie in an order that means nothing.
    n_half = len(real) // 2
    (q1, q2), (p1, p2) = ((X[:n_half], X[n_half : 2 * n_half]) for X in (real, gen))
    across = _transport(p1, q1) + _transport(p2, q2)
    return (across - _transport(p1, p2) - _transport(q1, q2)) / 2


def mates(cell, rows):
    """Error of the first half of the rows, as `pairs=` counts it."""
    half = slice(len(rows) // 2)
    return np.square(cell.scaled(rows[half] - cell.truth[half])).sum(1).mean()


# What no user can ask: more rows than there are, the mates of rows.
ORACLES = {"whole_transport": whole_transport, "mates": mates}


# ------------------------------------------------------------------- evaluation
@dataclass
class Verdict:
    """What a score made of one cell; see the top of this file."""

    tau: float
    regret: float
    regret_in_error: float
    chosen: list
    before_truth: list
    ghosts_before: list
    mean_row_off: float
    shuffled: float
    half: float
    seconds: float
    losses: dict


def kendall(losses, errors):
    """Tau over the pairs whose errors differ; equal losses count half."""
    difference = np.subtract.outer(errors, errors)
    agreement = np.sign(np.subtract.outer(losses, losses)) * np.sign(difference)
    counted = np.abs(difference) >= LEAST_DIFFERENCE
    return float(agreement[counted].mean()) if counted.any() else np.nan


def verdict(score, cell, predict="rows"):
    """Ask one score about all predictions of one cell."""
    start = time.perf_counter()
    rows = cell.predictions if predict == "rows" else cell.draws
    losses = {name: float(score(cell, x)) for name, x in rows.items()}
    seconds = (time.perf_counter() - start) / len(losses)
    errors = {name: cell.errors[name] for name in losses}
    if predict == "draws":
        errors = {name: best_handling(cell.errors, name) for name in losses}
    names = [name for name in cell.candidates if name in losses]
    among = np.array([errors[name] for name in names])
    least = min(losses[name] for name in names)
    # Of equals any may be chosen.
    chosen = [name for name in names if losses[name] == least]
    lost = np.mean([errors[name] for name in chosen]) - among.min()
    found = {
        "before_truth": [],
        "ghosts_before": [],
        "mean_row_off": np.nan,
        "shuffled": np.nan,
        "half": np.nan,
    }
    if predict == "rows":
        found = checks(score, cell, losses, errors)
    return Verdict(
        kendall(np.array(list(losses.values())), np.array(list(errors.values()))),
        lost / (among.mean() - among.min()),
        lost,
        chosen,
        seconds=seconds,
        losses=losses,
        **found,
    )


def best_handling(errors, name):
    """Least error of a model whose residual is kept or dropped: draws know neither."""
    model = name.split(", ")[0]
    return min(error for n, error in errors.items() if n.split(", ")[0] == model)


def checks(score, cell, losses, errors):
    """Places of the truth, the ghosts and the mean row."""
    best = min(cell.candidates, key=errors.get)
    by_loss, by_error = (sorted(values, key=values.get) for values in (losses, errors))
    truth, mean = losses["truth"], losses["mean row"]
    unit = mean - truth if mean != truth else np.nan
    shuffled, half = (
        (float(score(cell, cell.in_law[name])) - truth) / unit
        for name in ("shuffled truth", "half of the modes")
    )
    return {
        "before_truth": [
            name
            for name in cell.candidates
            if losses[name] <= truth and errors[name] > EXACT
        ],
        "ghosts_before": [
            name
            for name in GHOSTS
            if losses[name] <= losses[best]
            and errors[name] >= errors[best] + LEAST_DIFFERENCE
        ],
        "mean_row_off": abs(by_loss.index("mean row") - by_error.index("mean row")),
        "shuffled": shuffled,
        "half": half,
    }


def without_kept(cell):
    """The cell without counterfactuals that keep the residual."""
    kept = {name for name in cell.predictions if name.endswith(", kept")}
    return replace(
        cell,
        predictions={k: v for k, v in cell.predictions.items() if k not in kept},
        candidates=[name for name in cell.candidates if name not in kept],
    )


def evaluate(scores, worlds, seeds, predict="rows", stale=False, dropped=False):
    """``{score: {world: [Verdict per seed]}}`` of {name: score(cell, rows)}."""
    found = {name: {world: [] for world in worlds} for name in scores}
    for world in worlds:
        for seed in seeds:
            of_cell = cell(world, seed, stale)
            if dropped:
                of_cell = without_kept(of_cell)
            for name, score in scores.items():
                found[name][world].append(verdict(score, of_cell, predict))
    return found


def values_of(found, field):
    """Values (n_worlds, n_seeds) of one field of a score's verdicts."""
    values = [[getattr(v, field) for v in seeds] for seeds in found.values()]
    return np.array([[len(v) if isinstance(v, list) else v for v in s] for s in values])


def over_seeds(values, statistic):
    """A statistic of the worlds' means over seeds, with its bootstrap interval."""
    value = f"{statistic(values.mean(1)):.3f}"
    n_seeds = values.shape[1]
    if n_seeds == 1:
        return value
    draws = np.random.RandomState(0).randint(n_seeds, size=(N_BOOTSTRAP, n_seeds))
    again = [statistic(values[:, draw].mean(1)) for draw in draws]
    low, high = np.quantile(again, (0.025, 0.975))
    return f"{value} [{low:.3f}, {high:.3f}]"


# ----------------------------------------------------------------------- tables
def print_candidates(cells):
    """Errors of the candidates by world: that worlds tell good from bad."""
    rows = []
    for world, of_world in cells.items():
        errors = np.array([[c.errors[n] for n in c.candidates] for c in of_world])
        best, worst = errors.min(1), errors.max(1)
        others = [
            f"{np.mean([c.errors.get(name, np.nan) for c in of_world]):.3f}"
            for name in (*GHOSTS, "no intervention", "same change of data")
        ]
        rows.append(
            [
                world,
                f"{best.mean():.3f}",
                f"{errors.mean():.3f}",
                f"{worst.mean():.3f}",
                f"{(worst / best).min():.2f}",
                *others,
                f"{np.mean([sum(c.seconds.values()) for c in of_world]):.1f}",
            ]
        )
    header = ["world", "best", "mean", "worst", "least worst / best", *GHOSTS]
    header += ["no intervention", "same change of data", "seconds"]
    print_table("Errors of the candidates and of others", header, rows)


def print_by_world(found, field, title):
    worlds = list(next(iter(found.values())))
    rows = [
        [world, *(f"{values_of(found[s], field)[k].mean():.3f}" for s in found)]
        for k, world in enumerate(worlds)
    ]
    print_table(title, ["world", *found], rows)


def print_summary(found):
    rows = []
    for name, of_score in found.items():
        tau, regret, lost = (
            values_of(of_score, field) for field in ("tau", "regret", "regret_in_error")
        )
        rows.append(
            [
                name,
                over_seeds(tau, np.mean),
                over_seeds(tau, np.min),
                over_seeds(regret, np.mean),
                over_seeds(regret, np.max),
                over_seeds(lost, np.max),
                f"{1000 * values_of(of_score, 'seconds').mean():.0f}",
            ]
        )
    header = ["score", "tau, mean", "worst world", "regret, mean", "worst world"]
    header += ["regret in error, worst", "ms"]
    print_table("Over worlds", header, rows)


def print_checks(found):
    rows = []
    for name, of_score in found.items():
        before, ghosts, off, shuffled, half = (
            values_of(of_score, field)
            for field in (
                "before_truth",
                "ghosts_before",
                "mean_row_off",
                "shuffled",
                "half",
            )
        )
        rows.append(
            [
                name,
                f"{np.mean(before == 0):.2f}",
                f"{np.mean(ghosts == 0):.2f}",
                f"{np.mean(off <= 3):.2f}",
                f"{np.abs(shuffled).max():.3f}",
                f"{half.min():.3f}",
            ]
        )
    header = ["score", "truth first", "ghosts behind", "mean row within 3"]
    header += ["shuffled, farthest from 0", "half of modes, least"]
    print_table("Share of cells in which the checks hold", header, rows)


def print_coverage(worlds, seeds, predict, stale):
    """How often 95 % intervals hold the skill of many rows, by world.

    And that of as many rows as theirs, on average: what only their width decides.
    """
    rows = []
    for world in worlds:
        cells = [coverage(world, seed, predict, stale) for seed in seeds]
        row = []
        for n in (500, 200):
            found = [v for c in cells for (_, of), v in c.items() if of == n]
            limit = np.array([limit for limit, _ in found])[:, None]
            skill, low, high = np.array([v for _, v in found]).transpose(2, 0, 1)
            mean = skill.mean(1, keepdims=True)
            held = [(low <= value) & (value <= high) for value in (limit, mean)]
            values = [*map(np.mean, held), np.mean(skill - limit)]
            row += [*values, np.mean(high - low) / 2]
        rows.append(row)
    rows = np.array(rows)
    draws = np.random.RandomState(0).randint(len(rows), size=(N_BOOTSTRAP, len(rows)))
    low, high = np.quantile(rows[draws].mean(1), (0.025, 0.975), axis=0)
    statistics = {"mean": rows.mean(0), "least": rows.min(0), "greatest": rows.max(0)}
    statistics |= {"mean, low": low, "mean, high": high}
    told = [*zip(worlds, rows, strict=True), *statistics.items()]
    header = ["world"]
    for n in (500, 200):
        header += [f"held, {n} rows", "mean held", "skill - limit", "half width"]
    shown = [[name, *(f"{value:.3f}" for value in row)] for name, row in told]
    print_table("Coverage of 95 % intervals", header, shown)


def seed_range(text):
    """Seeds of "0:3" or "7"."""
    first, _, last = text.partition(":")
    return range(int(first), int(last) if last else int(first) + 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", default="design", help="a set, or names")
    parser.add_argument("--seeds", type=seed_range, default="0:3", help="such as 0:3")
    parser.add_argument("--scores", default=",".join(SCORES), help="names, with commas")
    parser.add_argument("--predict", default="rows", choices=("rows", "draws"))
    parser.add_argument(
        "--stale", action="store_true", help="use fits of other sources"
    )
    parser.add_argument(
        "--dropped", action="store_true", help="only what drops the residual"
    )
    parser.add_argument(
        "--coverage", action="store_true", help="of intervals, and nothing else"
    )
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    sets = {"design": list(DESIGN), "judged": list(JUDGED), "twins": list(TWINS)}
    worlds = sets.get(options.worlds, options.worlds.split(","))
    seeds, stale = options.seeds, options.stale
    if options.quick:
        worlds, seeds = ["table beyond"], range(1)
    print(versions())
    if options.coverage:
        print_coverage(worlds, seeds, options.predict, stale)
        return
    cells = {w: [cell(w, seed, stale) for seed in seeds] for w in worlds}
    print_candidates(cells)
    scores = {name: (SCORES | ORACLES)[name] for name in options.scores.split(",")}
    found = evaluate(scores, worlds, seeds, options.predict, stale, options.dropped)
    print_by_world(found, "tau", "Tau of score and error")
    print_by_world(found, "regret", "Regret, relative to a random choice")
    print_by_world(found, "regret_in_error", "Regret in error")
    print_summary(found)
    if options.predict == "rows":
        print_checks(found)


if __name__ == "__main__":
    main()
