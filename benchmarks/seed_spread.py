"""Does the default answer of a table depend on its rows, or on the seed?

One answer per world, the mean of a column in given rows had its cause been otherwise,
so that nothing is drawn when it is asked: its truth, its standard error (spread over
fits to resampled rows), and its spread over seeds of fits to the same rows, which
should be at most a third of that. Figures are means over a few data sets.
"""

import argparse
import time

import numpy as np
import pandas as pd
from _common import print_table, versions

from sklearn_icm.generators import GraphGenerator

HEADER = ["world", "mechanism", "truth", "mean answer", "seed spread", "standard error"]
HEADER += ["ratio", "seconds per fit"]


# ----------------------------------------------------------------------- worlds
def shop(rng, n=365, change=None):
    """Days of a shop: a rare event, a chain of columns, and a profit that is a sum."""
    event = rng.random(n) < 0.04
    spend = 900 * np.abs(rng.normal(size=n)) + 600 * event
    views = 11_000 + 8_500 * event + 1.5 * spend + 1_200 * rng.normal(size=n)
    views = views if change is None else change(views)
    price = 99 - 12 * event + 2 * rng.normal(size=n)
    sold = views * (0.09 - 0.0004 * price) + 25 * rng.normal(size=n)
    revenue = price * sold
    cost = 20_000 + 30 * sold + spend + 800 * rng.normal(size=n)
    columns = {"event": np.where(event, "yes", "no"), "spend": spend, "views": views}
    columns |= {"price": price, "sold": sold, "revenue": revenue, "cost": cost}
    return pd.DataFrame(columns).assign(profit=revenue - cost)


SHOP = {
    "spend": ["event"],
    "views": ["event", "spend"],
    "price": ["event"],
    "sold": ["event", "views", "price"],
    "revenue": ["price", "sold"],
    "cost": ["spend", "sold"],
    "profit": ["revenue", "cost"],
}


def additive(rng, n=300, change=None):
    cause = rng.normal(size=n)
    middle = np.tanh(1.5 * cause) + 0.4 * rng.normal(size=n)
    middle = middle if change is None else change(middle)
    effect = np.sin(1.5 * middle) + 0.5 * cause + 0.4 * rng.normal(size=n)
    return pd.DataFrame({"cause": cause, "middle": middle, "effect": effect})


def location_scale(rng, n=500, change=None):
    cause = rng.normal(size=n)
    middle = 0.8 * cause + 0.6 * rng.normal(size=n)
    middle = middle if change is None else change(middle)
    noise = np.exp(0.6 * np.tanh(middle)) * rng.normal(size=n)
    effect = np.tanh(middle - 0.5) - 0.4 * cause + 0.5 * noise
    return pd.DataFrame({"cause": cause, "middle": middle, "effect": effect})


PAIR = {"middle": ["cause"], "effect": ["cause", "middle"]}
WORLDS = {
    "shop, 365 rows": (shop, SHOP, "views", lambda v: v / 0.86, "profit"),
    "additive, 300 rows": (additive, PAIR, "middle", lambda v: v + 0.5, "effect"),
    "location-scale, 500": (
        location_scale,
        PAIR,
        "middle",
        lambda v: v + 0.5,
        "effect",
    ),
}


# --------------------------------------------------------------------- answers
def answer(rows, world, mechanism, seed, given):
    """Mean of the target in given rows, had the node been changed."""
    _, graph, node, change, target = world
    model = GraphGenerator(graph, mechanism=mechanism, random_state=seed).fit(rows)
    made = model.set_output(transform="pandas").intervene({node: change}, X=given)
    return float(made[target].astype(float).mean())


def judged(world, mechanism, n_seeds, n_resamples, data_seed):
    """Truth, mean answer, spread over seeds, standard error, seconds of a fit."""
    make, _, _, change, target = world
    rows = make(np.random.default_rng(data_seed))
    truth = make(np.random.default_rng(data_seed), change=change)[target].mean()
    start = time.perf_counter()
    by_seed = [answer(rows, world, mechanism, seed, rows) for seed in range(n_seeds)]
    seconds = (time.perf_counter() - start) / n_seeds
    resampled = [
        rows.sample(len(rows), replace=True, random_state=k) for k in range(n_resamples)
    ]
    # Seeds differ too: all that a user would see vary, were the rows drawn again.
    by_rows = [
        answer(own, world, mechanism, k, rows) for k, own in enumerate(resampled)
    ]
    return (
        truth,
        np.mean(by_seed),
        np.std(by_seed, ddof=1),
        np.std(by_rows, ddof=1),
        seconds,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--resamples", type=int, default=20)
    parser.add_argument("--data-sets", type=int, default=3)
    parser.add_argument("--mechanisms", nargs="+", default=["auto", "linear"])
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    sizes = (options.seeds, options.resamples, options.data_sets)
    if options.quick:
        sizes, options.mechanisms = (2, 2, 1), ["linear"]
    print(versions())
    table = []
    for name in options.worlds:
        for mechanism in options.mechanisms:
            found = np.array(
                [
                    judged(WORLDS[name], mechanism, *sizes[:2], k)
                    for k in range(sizes[2])
                ]
            )
            truth, mean, spread, error, seconds = found.mean(0)
            cells = [f"{v:.4g}" for v in (truth, mean, spread, error, spread / error)]
            table.append([name, mechanism, *cells, f"{seconds:.2f}"])
            print(table[-1], flush=True)
    print_table("Spread of an answer over seeds", HEADER, table)


if __name__ == "__main__":
    main()
