"""Does a verdict tell which answers beyond the rows are good?

Worlds of ``make_scm``: questions beyond the range of the node with most children, as in
``graphs.py``, and two nodes of a common child set against their correlation (to the 5 %
and 95 % quantiles, and to the ends of their ranges). Each answer has a skill, a trust
(of `BootstrapGenerator.support`) and a distance from the rows (the largest median one
of a mechanism in the report). Compared are the half of all questions that is trusted
most and the half that is nearest to the rows; intervals are of a bootstrap over worlds.
Worlds are kept in ``.cache`` beside this file. The formula of trust was chosen on seeds
1000 to 1021; judge on later ones.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
from _common import cached, print_table, versions
from graphs import BEYOND, IN_PARTS_OF_THE_SHIFT, LEAST_SHIFT

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import energy_distance, extrapolation_skill

FAMILIES = ("additive", "mixture")
SOURCES = ("generators/**/*.py", "compose/*.py", "utils/*.py", "_support.py")
SOURCES += ("datasets/_scm*.py", "trusting.py")
N_ROWS, LEAST_CORRELATION = 1000, 0.3
# Of two nodes: quantiles that they are set to.
AGAINST = (0.05, 0.0)
COVERED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
N_BOOTSTRAP = 1000


# -------------------------------------------------------------------- questions
def questions(scm, X):
    """Kind, and what is set, of each question beyond the rows."""
    causes = [cause for parents in scm.graph.values() for cause in parents]
    node = max((n for n in scm.graph if n not in scm.levels), key=causes.count)
    low, high, sd = X[node].min(), X[node].max(), X[node].std(ddof=0)
    for k in BEYOND:
        yield from ((f"{k:g} sd", {node: v}) for v in (low - k * sd, high + k * sd))
    pairs = [
        (one, other)
        for parents in scm.graph.values()
        for one in parents
        for other in parents
        if one < other and not {one, other} & set(scm.levels)
    ]
    correlation = X.corr()
    if not pairs:
        return
    one, other = max(pairs, key=lambda pair: abs(correlation.loc[pair]))
    if abs(correlation.loc[one, other]) < LEAST_CORRELATION:
        return
    for q in AGAINST:
        for ends in ((q, 1 - q), (1 - q, q)):
            if correlation.loc[one, other] < 0:
                ends = (ends[0], ends[0])
            both = zip((one, other), ends, strict=True)
            yield "two nodes", {name: X[name].quantile(end) for name, end in both}


def answers(family, n_nodes, n_refits, seed):
    """Of each question: its kind, skill, trust, and what else tells of it."""
    noise = "mixture" if family == "mixture" else "normal"
    world = {"n_nodes": n_nodes, "mechanism": family, "noise": noise}
    scm = make_scm(N_ROWS, **world, random_state=seed)
    X = pd.DataFrame(scm.data, columns=scm.feature_names)
    graph = GraphGenerator(scm.graph, device="cpu", random_state=seed)
    model = BootstrapGenerator(graph, n_estimators=n_refits, random_state=seed).fit(X)
    found = []
    for kind, change in questions(scm, X):
        others = [k for k, name in enumerate(X) if name not in change]
        right, usual = scm.render(change)[:, others], X.to_numpy()[:, others]
        # Where a question moves the others by less, a skill is a ratio of two chances.
        if energy_distance(right, usual) <= LEAST_SHIFT:
            continue
        made = model.intervene(change, n_samples=N_ROWS, random_state=seed)
        made = np.asarray(made, dtype=float)[:, others]
        skill = extrapolation_skill(right, made, usual, **IN_PARTS_OF_THE_SHIFT)
        report = model.support(change, random_state=seed)
        distances = report.table_["distance"].clip(upper=100.0)
        found.append(
            {
                "kind": kind,
                "skill": skill,
                "trust": report.trust_,
                "nearness": -distances.max(),
                "mean nearness": -distances.mean(),
            }
        )
    return found


# ------------------------------------------------------------------- comparisons
def trusted(table, score, share=0.5):
    """Mean skill of a share of the questions, those of the highest scores."""
    order = np.argsort(-table[score].to_numpy(), kind="stable")
    return table["skill"].to_numpy()[order[: max(1, round(share * len(table)))]].mean()


def gain(table, score="trust", other="nearness"):
    return trusted(table, score) - trusted(table, other)


def resampled(table, measure):
    """Measure, and its 95 % interval by a bootstrap over worlds."""
    rng, parts = np.random.RandomState(0), [own for _, own in table.groupby("world")]
    drawn = [
        measure(pd.concat([parts[k] for k in rng.randint(len(parts), size=len(parts))]))
        for _ in range(N_BOOTSTRAP)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{measure(table):+.3f} ({low:+.3f} to {high:+.3f})"


def within(table):
    """Mean over worlds of the gain in each, as `resampled` takes it."""
    return np.mean([gain(own) for _, own in table.groupby("world") if len(own) > 3])


def compare(table, title):
    parts = {"all": table, "one node": table[table["kind"] != "two nodes"]}
    parts |= {"two nodes": table[table["kind"] == "two nodes"]}
    parts |= dict(iter(table.groupby("family")))
    parts["all, no skill below -1"] = table.assign(skill=table["skill"].clip(lower=-1))
    rows = [
        [name, own["world"].nunique(), len(own), f"{own['skill'].mean():.3f}"]
        + [f"{trusted(own, score):.3f}" for score in ("trust", "nearness", "skill")]
        + [resampled(own, gain)]
        for name, own in parts.items()
        if len(own) > 1
    ]
    header = ["questions", "worlds", "number", "mean skill", "trusted half"]
    header += ["nearest half", "best half", "trusted - nearest"]
    print_table(f"{title}: mean skills", header, rows)
    own = resampled(table, within)
    print(f"Trusted - nearest half of each world's own questions, mean: {own}")
    own = resampled(table, lambda drawn: gain(drawn, other="mean nearness"))
    print(f"Trusted - nearest half by the mean distance of mechanisms: {own}")
    rows = [
        [f"{share:.0%}"]
        + [f"{trusted(table, s, share):.3f}" for s in ("trust", "nearness", "skill")]
        for share in COVERED
    ]
    header = ["answered", "by trust", "by nearness", "by skill itself"]
    print_table(f"{title}: mean skill of what is answered", header, rows)
    bands = pd.cut(table["trust"], [0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    rows = [
        [f"{band.left:g} to {band.right:g}", len(own), f"{own.mean():.2f}"]
        + [f"{own.median():.2f}", f"{own.min():.2f}"]
        for band, own in table.groupby(bands, observed=True)["skill"]
    ]
    header = ["trust", "number", "mean skill", "median", "worst"]
    print_table(f"{title}: skill by trust", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(1030, 1050))
    parser.add_argument("--refits", type=int, default=10)
    parser.add_argument("--families", nargs="*", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--sizes", type=int, nargs="*", default=[5, 10])
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.refits, options.sizes = (1000, 1002), 2, [4]
    warnings.simplefilter("ignore")
    print(versions())
    ask, found = cached(answers, SOURCES), []
    for seed in range(*options.seeds):
        for family in options.families:
            for size in options.sizes:
                own = ask(family, size, options.refits, seed)
                world = {"world": f"{family} {size} {seed}", "family": family}
                found += [{**row, **world} for row in own]
        print(seed, flush=True)
    seeds = f"seeds {options.seeds[0]} to {options.seeds[1] - 1}"
    compare(pd.DataFrame(found), f"{seeds}, {options.refits} refits")


if __name__ == "__main__":
    main()
