"""What is gained by a node that nobody observed? A confounder with noisy proxies.

A hidden cause moves four proxies, a treatment and its outcome; the treatment moves the
outcome too. Asked is the mean outcome under do(treatment) at three doses, and the truth
is known. Compared: the true graph with the hidden node, the same fitted to a table that
has it (the best that can be hoped for), proxies taken for causes (adjustment), and a
graph without a confounder. Error: mean absolute error of the outcome's mean over doses,
in its units; differences are paired over seeds, with 95 % t-intervals.
"""

import argparse
import time

import numpy as np
import pandas as pd
from _common import print_table, versions
from scipy.stats import t as t_law

from sklearn_icm.generators import GraphGenerator

DOSES = (-1.0, 0.0, 1.0)
PROXIES = [f"proxy{k}" for k in range(4)]
EFFECTS = [*PROXIES, "treatment", "outcome"]
TRUE_EDGES = [("cause", c) for c in EFFECTS] + [("treatment", "outcome")]
ADJUSTED = [
    *((p, q) for k, p in enumerate(PROXIES) for q in PROXIES[k + 1 :]),
    *((p, c) for p in PROXIES for c in ("treatment", "outcome")),
    ("treatment", "outcome"),
]
HIDDEN = "hidden node"
METHODS = {
    HIDDEN: (TRUE_EDGES, {"unobserved": {"cause": 1}}),
    "cause observed": (TRUE_EDGES, {}),
    "proxies as causes": (ADJUSTED, {}),
    "confounder ignored": ([("treatment", "outcome")], {}),
}


def draw(n_rows, seed, dose=None):
    """Rows with the cause as last column; weights of the proxies vary with the seed."""
    rng = np.random.RandomState(seed)
    weights = rng.uniform(0.7, 1.5, 4) * rng.choice([-1, 1], 4)
    cause = rng.randn(n_rows)
    proxies = np.tanh(np.outer(cause, weights)) + 0.4 * rng.randn(n_rows, 4)
    treatment = np.tanh(1.5 * cause) + 0.5 * rng.randn(n_rows)
    if dose is not None:
        treatment = np.full(n_rows, dose)
    outcome = np.sin(treatment) + 1.2 * np.tanh(cause) + 0.3 * rng.randn(n_rows)
    rows = np.column_stack([proxies, treatment, outcome, cause])
    return pd.DataFrame(rows, columns=[*EFFECTS, "cause"])


def run_seed(seed, n_rows, n_epochs):
    """``{method: (error, seconds)}``, and how well the cause is recovered."""
    table, found = draw(n_rows, seed), {}
    truth = [draw(20_000, seed, dose)["outcome"].mean() for dose in DOSES]
    for name, (edges, params) in METHODS.items():
        rows = table if name == "cause observed" else table[EFFECTS]
        start = time.perf_counter()
        est = GraphGenerator(edges, max_epochs=n_epochs, random_state=seed, **params)
        est.set_output(transform="pandas").fit(rows)
        seconds = time.perf_counter() - start
        means = [
            est.intervene({"treatment": dose}, n_samples=20_000, random_state=0)[
                "outcome"
            ].mean()
            for dose in DOSES
        ]
        found[name] = np.abs(np.subtract(means, truth)).mean(), seconds
        if name == HIDDEN:
            own = est.transform(rows).iloc[:, -1]
            recovered = abs(np.corrcoef(own, table["cause"])[0, 1])
    return found, recovered


def interval(gap):
    """Mean with a 95 % t-interval."""
    half = t_law.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / len(gap) ** 0.5
    return f"{gap.mean():+.3f} [{gap.mean() - half:+.3f}, {gap.mean() + half:+.3f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.rows, options.epochs = 2, 200, 2
    print(versions())
    results = [
        run_seed(seed, options.rows, options.epochs) for seed in range(options.seeds)
    ]
    errors = {m: np.array([found[m][0] for found, _ in results]) for m in METHODS}
    rows = []
    for name, own in errors.items():
        seconds = np.median([found[name][1] for found, _ in results])
        mean = f"{own.mean():.3f} +- {own.std(ddof=1):.3f}"
        gap = "-" if name == HIDDEN else interval(own - errors[HIDDEN])
        rows.append([name, mean, gap, f"{seconds:.1f}"])
    title = f"Mean outcome under do: {options.seeds} seeds, {options.rows} rows"
    header = ["graph", "error", f"difference to {HIDDEN}", "seconds of fit"]
    print_table(title, header, rows)
    recovered = [r for _, r in results]
    print(
        f"Correlation of the inferred cause with the true one: {np.mean(recovered):.2f}"
        f" +- {np.std(recovered, ddof=1):.2f}"
    )


if __name__ == "__main__":
    main()
