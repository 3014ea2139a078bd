"""Mechanisms of one's own and mixtures, where they should decide and where not.

Worlds of `make_scm` of five nodes and 1,000 rows, fitted by "auto" and by regressors
for every column with parents; skill as in ``graphs.py``. A rule, 10 (dose > 6 and age >
50) + noise: 1 - squared error of 1,000 new rows under doses of other rows, over the
variance of the truth, and the effect of 6.3 instead of 5.7 (truth 5). Mixtures: an
effect of one cause; log density of 1,000 new rows given the cause (and the true one),
the energy distance of draws under do(cause = 1) from the truth (times 1000), and the
squared error of the new rows under a shift of the cause by 1, over the variance of the
truth. Seeds from 1000.
"""

import argparse
import time

import numpy as np
from _common import print_table, versions
from graphs import _make_world, _skills, draws_of
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import average_effect, energy_distance

OWN = {
    "auto": None,
    "boosting": HistGradientBoostingRegressor(min_samples_leaf=30),
    "boosting, early stopping": HistGradientBoostingRegressor(
        min_samples_leaf=30, early_stopping=True, n_iter_no_change=5
    ),
    "forest": RandomForestRegressor(100, min_samples_leaf=10),
}
FAMILIES = ("threshold", "additive")
KINDS = ("auto", "location-scale", "mixture")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Weights, means and scales of the branches of an effect.
WORLDS = {
    "branches that cross": lambda x: ([0.5, 0.5], [-1.5 * x, 1.5 * x], [0.3, 0.3]),
    "a switch": lambda x: (
        [1 - sigmoid(1.5 * x), sigmoid(1.5 * x)],
        [x, x + 2.5],
        [0.4, 0.4],
    ),
    "three branches": lambda x: (
        [0.3, 0.3, 0.4],
        [np.tanh(x) - 3, 0.5 * x, 3 - x],
        [0.2 + 0.2 * sigmoid(x)] * 3,
    ),
    "one mode": lambda x: ([1.0], [np.tanh(x)], [0.2 + 0.4 * sigmoid(2 * x)]),
}


def parts_of(world, x):
    """Weights, means and scales for causes, (n_branches, n) each."""
    parts = (np.stack([v + 0 * x for v in own]) for own in WORLDS[world](x))
    return list(parts)


def effect_of(world, x, u, noise):
    """Effects: one number picks the branch, one is the noise in it."""
    weights, means, scales = parts_of(world, x)
    which = (u > weights.cumsum(0)[:-1]).sum(0)[None]
    own = (np.take_along_axis(v, which, 0)[0] for v in (means, scales))
    mean, scale = own
    return mean + scale * noise


def measured(kind, world, seed, n):
    """Density, true density, distance of draws, error of what-ifs, seconds."""
    rng = np.random.RandomState(seed)
    x, u, e = rng.randn(2 * n), rng.rand(2 * n), rng.randn(2 * n)
    rows = np.column_stack([x, effect_of(world, x, u, e)])
    fitted, new = rows[:n], rows[n:]
    start = time.process_time()
    model = GraphGenerator([(0, 1)], mechanism={1: kind}, random_state=seed).fit(fitted)
    seconds = time.process_time() - start
    cause = GraphGenerator(random_state=seed).fit(fitted[:, :1])
    density = model.score(new) - cause.score(new[:, :1])
    weights, means, scales = parts_of(world, new[:, 0])
    truth = (weights * norm.pdf(new[:, 1], means, scales)).sum(0)
    drawn = model.intervene({"x0": 1.0}, n_samples=n, random_state=seed)[:, 1]
    other = effect_of(world, np.ones(n), u[:n], e[:n])
    distance = 1000 * energy_distance(other[:, None], drawn[:, None])
    moved = model.intervene({"x0": lambda value: value + 1.0}, X=new)[:, 1]
    wanted = effect_of(world, new[:, 0] + 1, u[n:], e[n:])
    error = np.square(moved - wanted).mean() / wanted.var()
    return density, np.log(truth).mean(), distance, error, seconds


def print_mixtures(seeds, n):
    table = []
    for world in WORLDS:
        for kind in KINDS:
            found = np.array([measured(kind, world, seed, n) for seed in seeds])
            table.append([world, kind, *map(cell, found.T)])
            print(table[-1], flush=True)
    header = ["effect", "kind", "log density", "true", "distance", "error", "seconds"]
    print_table(f"Mixtures, mean (sd), {len(seeds)} seeds", header, table)


def print_own(seeds, n):
    table = []
    for family in FAMILIES:
        for name, own in OWN.items():
            found = []
            for seed in seeds:
                world = _make_world(family, 5, n, seed)
                given = {k: own for k, causes in world.graph.items() if causes}
                model = GraphGenerator(
                    world.graph,
                    mechanism="auto" if own is None else given,
                    random_state=seed,
                )
                start = time.process_time()
                model.fit(world.X)
                seconds = time.process_time() - start
                draws = draws_of(model)
                found.append(
                    [*_skills(lambda *_, d=draws: d, world, seed)[:2], seconds]
                )
            table.append([family, name, *map(cell, np.transpose(found))])
            print(table[-1], flush=True)
    header = ["functions", "mechanisms", "inside", "outside", "seconds"]
    print_table(f"Own mechanisms, mean (sd), {len(seeds)} seeds", header, table)


def rule(dose, age, noise):
    return 10.0 * ((dose > 6) & (age > 50)) + noise


def measured_rule(own, seed, n):
    """Skill of what-ifs, effect across the threshold, and seconds."""
    rng = np.random.RandomState(seed)
    age, dose = rng.uniform(20, 80, 2 * n), rng.uniform(0, 10, 2 * n)
    noise = rng.randn(2 * n)
    rows = np.column_stack([age, dose, rule(dose, age, noise)])
    mechanism = "auto" if own is None else {2: own}
    model = GraphGenerator({2: [0, 1]}, mechanism=mechanism, random_state=seed)
    start = time.process_time()
    model.fit(rows[:n])
    seconds = time.process_time() - start
    new, other = rows[n:], dose[:n]
    moved = model.intervene({"x1": other[:, None]}, X=new)[:, 2]
    wanted = rule(other, new[:, 0], noise[n:])
    skill = 1 - np.square(moved - wanted).mean() / wanted.var()
    made = average_effect(model, "x1", 6.3, 5.7, 2, random_state=seed)
    return skill, made.effect, seconds


def print_rule(seeds, n):
    table = []
    for name, own in OWN.items():
        found = np.array([measured_rule(own, seed, n) for seed in seeds])
        table.append([name, *map(cell, found.T)])
        print(table[-1], flush=True)
    header = ["mechanism", "skill", "effect", "seconds"]
    print_table(f"A rule, mean (sd), {len(seeds)} seeds", header, table)


def cell(values):
    return f"{np.mean(values):.3f} ({np.std(values):.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    seeds = range(1000, 1001 if options.quick else 1000 + options.seeds)
    n_rows = 80 if options.quick else 1000
    print(versions())
    print_mixtures(seeds, n_rows)
    print_rule(seeds, n_rows)
    print_own(seeds, n_rows)


if __name__ == "__main__":
    main()
