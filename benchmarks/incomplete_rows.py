"""Do effects on a population come out right if rows are incomplete?

Customers of whom 30 % of the entries of some columns are missing, by a column that is
always known: the average of a policy over all of them, by a model of the available
rows that is asked about all rows; and by models that were fitted to, and asked about,
complete rows alone (`dropna`), beside the same with nothing missing.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from _common import print_table, versions

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Policy
from sklearn_icm.metrics import average_effect

N_TRUTH = 1_000_000
GRAPH = {
    "income": "age",
    "plan": ["age", "income"],
    "visits": ["age", "plan"],
    "spent": ["income", "plan", "visits"],
}
# Those that may be missing; whether they are depends on the age.
HOLES = ["income", "plan", "visits"]


def lines(rng, n, change=None):
    """All lines, normal noise; the plan is how much of one."""
    made = {"age": 40 + 10 * rng.randn(n)}
    made["income"] = 1.0 + 0.05 * made["age"] + 0.5 * rng.randn(n)
    made["plan"] = 0.5 * made["income"] - 0.03 * made["age"] + 0.5 * rng.randn(n)
    if change is not None:
        made["plan"] = change(made["age"])
    made["visits"] = 5 + 0.1 * made["age"] + 2 * made["plan"] + rng.randn(n)
    made["spent"] = (
        3 * made["income"] + 2 * made["plan"] + made["visits"] + rng.randn(n)
    )
    return pd.DataFrame(made)


def bends(rng, n, change=None):
    """Levels, bends, and noise that is not normal."""
    made = {"age": rng.uniform(20, 60, n)}
    near = (made["age"] - 40) / 10
    made["income"] = np.exp(0.4 * np.tanh(near) + 0.3 * rng.randn(n))
    chance = 1 / (1 + np.exp(-2 * (made["income"] - 1) + near))
    made["plan"] = np.where(rng.rand(n) < chance, "pro", "free")
    if change is not None:
        made["plan"] = change(made["age"])
    pro = made["plan"] == "pro"
    made["visits"] = 4 + np.sin(near) + pro * (1 - near) + 0.5 * rng.standard_t(5, n)
    made["spent"] = (
        2 * made["income"] + pro + 0.2 * made["visits"] ** 2 + rng.gamma(2.0, 0.5, n)
    )
    return pd.DataFrame(made)


def level_by_age(age):
    return np.where(age < 40, "pro", "free")


def dose_by_age(age):
    return np.where(age < 40, 2.0, 0.5)


WORLDS = {
    "lines": (lines, dose_by_age, {"mechanism": "linear", "noise": "normal"}),
    "lines, noise chosen": (lines, dose_by_age, {"mechanism": "linear"}),
    "bends and levels": (bends, level_by_age, {}),
}
ARMS = ["nothing missing", "all rows", "dropna"]


def with_holes(rng, X):
    """30 % of the entries of HOLES, more of them of older customers."""
    rank = X["age"].rank(pct=True).to_numpy()
    chance = 0.6 * rank[:, None]
    holes = rng.rand(len(X), len(HOLES)) < chance
    X = X.copy()
    X[HOLES] = X[HOLES].mask(holes)
    return X


def estimates(world, seed, n):
    """Effect of the policy on what is spent, by arm."""
    draw, rule, params = WORLDS[world]
    rng = np.random.RandomState(seed)
    X = draw(rng, n)
    holes = with_holes(rng, X)
    policy = Policy(rule, reads=["age"])
    asked, found = ("plan", policy, None, "spent"), []
    for rows in (X, holes, holes.dropna()):
        model = GraphGenerator(
            GRAPH, missing="available", random_state=seed, **params
        ).fit(rows)
        start = time.process_time()
        answer = average_effect(model, *asked, X=rows, random_state=0)
        found.append((answer.effect, time.process_time() - start))
    return np.array(found), holes[HOLES].isna().mean().mean(), len(holes.dropna())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.rows = 2, 200
    print(versions())
    warnings.simplefilter("ignore")
    rows = []
    for world in args.worlds:
        draw, rule, _ = WORLDS[world]
        with_rule, without = (
            draw(np.random.RandomState(10**6), N_TRUTH, change)["spent"].mean()
            for change in (rule, None)
        )
        truth = with_rule - without
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        found = [estimates(world, seed, args.rows) for seed in seeds]
        effects = np.stack([part[0][:, 0] for part in found])
        seconds = np.stack([part[0][:, 1] for part in found])
        complete = np.mean([part[2] for part in found]) / args.rows
        share = np.mean([part[1] for part in found])
        for k, arm in enumerate(ARMS):
            own = effects[:, k]
            # Of one data set, by how the answers spread over data sets.
            error = own.std(ddof=1)
            z = (own - truth) / error
            within = int((abs(z) <= 3).sum())
            off = (own.mean() - truth) / (error / np.sqrt(len(own)))
            rows.append(
                [
                    world,
                    arm,
                    f"{truth:.3f}",
                    f"{own.mean():.3f}",
                    f"{error:.3f}",
                    f"{within} of {len(own)}",
                    f"{off:+.1f}",
                    f"{np.median(seconds[:, k]):.2f}",
                ]
            )
        print(f"{world}: {share:.2f} missing, {complete:.2f} of the rows complete")
    header = ["world", "rows", "truth", "mean effect", "standard error"]
    header += ["within 3", "mean off by (its s.e.)", "CPU s"]
    print_table("Effect of a policy on a population", header, rows)


if __name__ == "__main__":
    main()
