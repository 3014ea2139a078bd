"""Which training extrapolates? Methods x worlds x seeds, chosen and judged apart.

Every model is fitted to observational rows alone, once, inside a `GridSearchCV` with
one split; its `scoring` asks the extrapolation scorer how well each predicts held-out
rows of an environment with a moderate stretch, and "chosen" is the one that it likes
best, which is what ``refit="skill"`` would pick (``refit=False`` saves the second
fit). The same call judges the model on fresh rows, which neither fit nor choice has
seen: the error of their true counterfactuals at a stretch whose results stay within
the trained range (only rows for which that holds), and at one that leaves it. (The
chain is trained on one distance: for it the first is merely the smaller stretch.)
Error: squared distance to the truth over that of the truth to its mean (0 = exact, 1 =
as the mean). Differences are paired over seeds, with 95 % t-intervals.
"""

import argparse
import warnings

import numpy as np
from _common import print_table, versions
from _worlds import CHOICE, IMAGE_METHODS, MOVED, PLAIN, USUAL, WORLDS
from scipy.stats import t
from sklearn.model_selection import GridSearchCV
from sklearn.utils import Bunch

from sklearn_icm.metrics import make_extrapolation_scorer

INSIDE, OUTSIDE = 1.1, 1.5
HELD_OUT = 0.3
N_JUDGED = 500
# The true faces' noise has no encoder: it is searched for row by row.
N_JUDGED_TRUTH = 50
# Seeds of the judged rows start here: other rows of the same true mechanisms.
FRESH = 10_000
COLUMNS = ("skill", "inside", "outside")
CHOSEN, TRUTH = "chosen by the scorer", "the true generator"
BASELINES = IDENTITY, PIXELS = "no intervention", "its pixels stretched"


def counterfactual_error(predicted, truth):
    """Normalised error of paired rows."""
    spread = np.square(truth - truth.mean(0)).sum()
    return float(np.square(predicted - truth).sum() / spread)


class Judge:
    """Scoring of a search: skill, and errors on fresh rows, of a fitted model."""

    def __init__(self, spec, n_rows, seed):
        self.spec = spec
        self.world = spec.make(n_rows, FRESH + seed)
        self.usual = self.world.render(1.0)

    def __call__(self, model, X, y):
        """``{column: value}`` at the world's node and, by "pixel ...", at the data."""
        places = {"": self.spec.change, "pixel ": self.spec.pixels}
        return {
            f"{place}{column}": value
            for place, change in places.items()
            for column, value in self.scores(model, change, X, y).items()
        }

    def scores(self, model, change, X, y):
        scorer = make_extrapolation_scorer(
            {MOVED: change(model, CHOICE)},
            observational=USUAL,
            predict="draws",
            distance="energy",
            baseline="identity",
            n_samples=1000,
        )
        with warnings.catch_warnings():
            # The few rows of --quick tell no shift from chance.
            warnings.filterwarnings("ignore", message="In a fold the environment")
            skill = scorer(model, X, y)
        return {"skill": skill, **self.errors(model, change)}

    def errors(self, model=None, change=None):
        """Errors inside and outside; without a model, of rows left as they are."""
        judged = {
            "inside": (INSIDE, self.spec.inside(self.world, INSIDE)),
            "outside": (OUTSIDE, np.ones(len(self.usual), dtype=bool)),
        }
        found = {}
        for column, (factor, rows) in judged.items():
            changed = self.usual[rows]
            if model is not None:
                changed = self.changed(model, change(model, factor), rows)
            truth = self.world.render(factor)[rows]
            found[column] = counterfactual_error(changed, truth)
        return found

    def changed(self, model, interventions, rows):
        known = self.spec.inputs(self.world)
        noise = "encode" if known is None else Bunch(noise=known[rows])
        return model.intervene(interventions, X=self.usual[rows], abduction=noise)


def search(spec, world, methods, n_rounds, seed, judge):
    """Fit every method once to the first rows of a world, and score it."""
    n_rows = len(world.render(1.0))
    n_train = int((1 - HELD_OUT) * n_rows)
    rest = np.arange(n_train, n_rows)
    candidates = [{k: [v] for k, v in params.items()} for params in methods.values()]
    found = GridSearchCV(
        spec.build(world, n_rounds, seed),
        candidates,
        scoring=judge,
        refit=False,
        cv=[(np.arange(n_train), np.concatenate([rest, n_rows + rest]))],
        error_score="raise",
    )
    inputs = spec.inputs(world)
    known = {} if inputs is None else {"inputs": np.concatenate([inputs, inputs])}
    X = np.concatenate([world.render(1.0), world.render(CHOICE)])
    return found.fit(X, np.repeat([USUAL, MOVED], n_rows), **known)


def run_seed(spec, methods, n_rows, n_rounds, seed):
    """``({method: values of COLUMNS}, name of the chosen)``, baselines included."""
    judge = Judge(spec, min(N_JUDGED, n_rows), seed)
    world = spec.make(n_rows, seed)
    results = search(spec, world, methods, n_rounds, seed, judge).cv_results_

    def values(k, place=""):
        return [results[f"mean_test_{place}{column}"][k] for column in COLUMNS]

    names = list(methods)
    found = {name: values(k) for k, name in enumerate(names)}
    best = int(np.argmax(results["mean_test_skill"]))
    found[CHOSEN] = values(best)
    found[IDENTITY] = [0.0, *judge.errors().values()]
    found[PIXELS] = values(names.index(PLAIN), "pixel ")
    truth = spec.truth(world, seed)
    if truth is not None:
        few = Judge(spec, N_JUDGED_TRUTH, seed)
        found[TRUTH] = [np.nan, *few.errors(truth, spec.change).values()]
    return found, names[best]


def interval(values):
    """Mean and half width of a 95 % t-interval; NaN as the width of one value."""
    if len(values) == 1:
        return values[0], np.nan
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return np.mean(values), half


def plus_minus(values):
    if np.isnan(values).any():
        return ""
    sd = np.std(values, ddof=1) if len(values) > 1 else np.nan
    return f"{values.mean():.3f} +- {sd:.3f}"


def print_world(title, values, chosen):
    """Print skills, errors and paired differences; values are {method: (seeds, 3)}."""
    rows = []
    for name, v in values.items():
        cells = [plus_minus(v[:, 0])]
        for k in (1, 2):
            mean, half = interval(v[:, k] - values[PLAIN][:, k])
            difference = f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"
            cells += [plus_minus(v[:, k]), "-" if name == PLAIN else difference]
        rows.append([name, *cells])
    header = ["method", f"skill at {CHOICE}"]
    for factor in (INSIDE, OUTSIDE):
        header += [f"error at {factor}", f"difference to {PLAIN}"]
    print_table(title, header, rows)
    print("Chosen:", ", ".join(chosen), flush=True)


def effect(differences):
    """Whether the interval of errors' differences lies below 0, above it or neither."""
    mean, half = interval(differences)
    if not abs(mean) > half:
        return "undecided"
    return "helps" if mean < 0 else "harms"


def verdict(values, names, column):
    effects = {m: effect((values[m] - values[PLAIN])[:, column]) for m in names}
    groups = {
        kind: [m for m in names if effects[m] == kind]
        for kind in ("helps", "harms", "undecided")
    }
    return "; ".join(f"{k}: {', '.join(v) or 'none'}" for k, v in groups.items())


def print_verdicts(results):
    """Say per world where a method helps; results are {world: {method: values}}."""
    print(f"\nError against {PLAIN} (decided where the interval leaves out 0):\n")
    for world, values in results.items():
        trained = [m for m in values if m not in (PLAIN, *BASELINES, TRUTH)]
        for column, factor in ((1, INSIDE), (2, OUTSIDE)):
            print(f"- {world} at {factor}: {verdict(values, trained, column)}.")
            print(f"  Without training: {verdict(values, BASELINES, column)}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--methods", default="main", choices=IMAGE_METHODS)
    parser.add_argument("--rows", type=int, help="instead of each world's own number")
    parser.add_argument("--rounds", type=int, help="epochs, or steps of the chain")
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    n_seeds = 2 if options.quick else options.seeds
    print(versions())
    results = {}
    for name in options.worlds:
        spec = WORLDS[name]
        methods = spec.methods[options.methods]
        n_rows = options.rows or spec.n_rows
        n_rounds = options.rounds or spec.n_rounds
        if options.quick:
            methods = dict(list(methods.items())[:2])
            n_rows, n_rounds = spec.quick
        seeds = [
            run_seed(spec, methods, n_rows, n_rounds, seed) for seed in range(n_seeds)
        ]
        found, chosen = zip(*seeds, strict=True)
        results[name] = {m: np.array([seed[m] for seed in found]) for m in found[0]}
        title = f"{name}: {n_seeds} seeds, {n_rows} rows, {n_rounds} rounds"
        print_world(title, results[name], chosen)
    print_verdicts(results)


if __name__ == "__main__":
    main()
