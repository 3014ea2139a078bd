"""How often does a 95 % interval of an average effect hold the truth?

Over many data sets of worlds with known effects: the interval of a single fit, which
counts the draws alone, and that of `BootstrapGenerator`, which counts estimation too;
of a line also least squares' own, and where asked (``--dowhy``) the bootstrap of
dowhy.gcm. The interval score is the width and, at 40 times, what misses the truth.
Each data set is kept in ``.cache`` beside this file, by the sources that made it, so
that a run can be stopped and continued.
"""

import argparse
import hashlib
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import cached, interleaved, print_table, versions
from _interval_peers import dowhy_ends, interval_score
from hidden_nodes import EFFECTS, TRUE_EDGES
from hidden_nodes import draw as draw_hidden
from scipy.stats import t
from sklearn.base import clone

import sklearn_icm
from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.metrics import average_effect

CACHE = Path(__file__).parent / ".cache"
SOURCES = (
    "generators",
    "mechanisms",
    "_training",
    "rows",
    "models",
    "compose",
    "base.py",
)
HEADER = ["world", "effect", "data sets", "covered", "of draws only", "width"]
HEADER += ["width / spread", "bias / spread", "interval score", "fits of time"]
N_TRUTH = 200_000


# ----------------------------------------------------------------------- worlds
# Each gives rows, labels or None, an estimator, and by name of the effect what it is
# asked for: (node, a, b, target) and the truth.
def line(seed, n=100):
    rng = np.random.RandomState(seed)
    cause = rng.randn(n)
    rows = pd.DataFrame({"cause": cause, "effect": 0.8 * cause + 0.6 * rng.randn(n)})
    asked = {"slope": (("cause", 1.0, 0.0, "effect"), 0.8)}
    return rows, None, GraphGenerator([("cause", "effect")]), asked


def scm(seed, n=500, **kinds):
    """Another graph and other functions for each seed, of all that have an edge."""
    world = make_scm(n, n_nodes=5, density=0.6, random_state=seed, **kinds)
    edges = [(p, name) for name, ps in world.graph.items() for p in ps]
    # A cause that is a number, if there is one.
    edges = [edge for edge in edges if edge[0] not in world.levels] or edges
    cause, effect = edges[seed % len(edges)]
    noise = torch.from_numpy(np.random.RandomState(1).randn(N_TRUTH, 5))

    @torch.no_grad()
    def mean(value):
        rows = world.mechanisms(noise, {cause: value})["data"]
        return float(rows[:, int(effect[1:])].mean())

    rows = pd.DataFrame(world.data, columns=world.feature_names)
    questions = [("inside", 0.7, -0.7), ("beyond the range", 4.0, 0.0)]
    if kinds:
        # Of any shape: between quantiles, and a deviation beyond the edge.
        low, middle, high = rows[cause].quantile([0.25, 0.5, 0.75])
        edge = rows[cause].max() + rows[cause].std()
        questions = [("inside", high, low), ("beyond the range", edge, middle)]
    asked = {
        name: ((cause, a, b, effect), mean(a) - mean(b)) for name, a, b in questions
    }
    return rows, None, GraphGenerator(world.graph), asked


def mixture(seed):
    return scm(seed, mechanism="mixture", noise="mixture")


def levels(seed, n=300):
    def draw(rng, n, cause):
        other = 0.5 * cause + rng.randn(n)
        chance = 1 / (1 + np.exp(0.5 - 1.5 * cause - 0.8 * other))
        return other, np.where(rng.rand(n) < chance, "yes", "no"), chance.mean()

    rng = np.random.RandomState(seed)
    cause = rng.randn(n)
    other, outcome, _ = draw(rng, n, cause)
    rows = pd.DataFrame({"cause": cause, "other": other, "outcome": outcome})
    high, low = (draw(np.random.RandomState(0), N_TRUTH, v)[2] for v in (1.0, -1.0))
    graph = {"other": ["cause"], "outcome": ["cause", "other"]}
    asked = {"chance of yes": (("cause", 1.0, -1.0, is_yes), high - low)}
    return rows, None, GraphGenerator(graph), asked


def is_yes(rows):
    return rows[:, 2] == "yes"


def target(seed, n=150):
    """A second environment in which the middle of a chain has another mechanism."""

    def draw(rng, n, cause, moved=False):
        noise = rng.randn(2, n)
        middle = np.tanh(cause) + 0.5 * noise[0]
        middle = 1.0 - 0.5 * cause + noise[0] if moved else middle
        return middle, np.sin(middle) + 0.5 * cause + 0.5 * noise[1]

    rng, parts = np.random.RandomState(seed), []
    for moved in (False, True):
        cause = rng.randn(n)
        middle, effect = draw(rng, n, cause, moved)
        columns = {"cause": cause, "middle": middle, "effect": effect}
        parts.append(pd.DataFrame(columns))
    labels = np.repeat(["usual", "moved"], n)
    graph = {"middle": ["cause"], "effect": ["cause", "middle"]}
    estimator = GraphGenerator(graph, targets={"moved": "middle"})
    fixed = np.random.RandomState(0)
    means = [draw(fixed, N_TRUTH, v)[1].mean() for v in (0.7, -0.7)]
    asked = {"along the chain": (("cause", 0.7, -0.7, "effect"), means[0] - means[1])}
    return pd.concat(parts, ignore_index=True), labels, estimator, asked


def hidden(seed, n=500):
    rows = draw_hidden(n, seed)[EFFECTS]
    high, low = (
        draw_hidden(N_TRUTH, seed, dose)["outcome"].mean() for dose in (0.7, -0.7)
    )
    estimator = GraphGenerator(TRUE_EDGES, unobserved={"cause": 1})
    asked = {"of the treatment": (("treatment", 0.7, -0.7, "outcome"), high - low)}
    return rows, None, estimator, asked


WORLDS = {
    "linear pair, 100 rows": line,
    "make_scm of 5 nodes, 500 rows": scm,
    "mixture of functions, 5 nodes, 500 rows": mixture,
    "outcome with levels, 300 rows": levels,
    "target of an environment, 150 + 150": target,
    "hidden cause with proxies, 500 rows": hidden,
}


# ---------------------------------------------------------------------- answers
def key_of_sources():
    root, found = Path(sklearn_icm.__file__).parent, hashlib.sha1()
    for name in SOURCES:
        path = root / name
        for part in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(part.read_bytes())
    found.update(Path(__file__).read_bytes())
    return found.hexdigest()[:12]


def answers(name, seed, n_refits):
    """By effect: truth, answer, its two intervals; and how long the fits took."""
    path = CACHE / f"intervals-{name.split(',')[0]}-{seed}-{n_refits}-{KEY}.json"
    if not path.exists():
        found = _answers(WORLDS[name], seed, n_refits)
        CACHE.mkdir(exist_ok=True)
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def _answers(world, seed, n_refits):
    # Draws differ between data sets too: an interval counts them, so that a single set
    # of draws for all would be one event, and not 200.
    rows, labels, estimator, asked = world(seed)
    estimator.set_params(random_state=seed)
    start = time.perf_counter()
    clone(estimator).fit(rows, labels)
    single = time.perf_counter() - start
    model = BootstrapGenerator(estimator, n_estimators=n_refits, random_state=seed)
    start = time.perf_counter()
    model.fit(rows, labels)
    found = {"fits": (time.perf_counter() - start) / single, "effects": {}}
    for name, (question, truth) in asked.items():
        both = [
            average_effect(fitted, *question, random_state=seed)
            for fitted in (model, model.estimator_)
        ]
        found["effects"][name] = {
            "truth": truth,
            "answer": both[0].effect,
            "ends": [[own.low, own.high] for own in both],
            "refits": [
                average_effect(refit, *question, random_state=seed).effect
                for refit in model.estimators_
            ],
        }
    if world is line:
        cause, effect = rows.to_numpy().T
        gram = np.var(cause) * len(rows)
        slope, offset = np.polyfit(cause, effect, 1)
        left = effect - slope * cause - offset
        half = t.ppf(0.975, len(rows) - 2) * np.sqrt(
            left @ left / (len(rows) - 2) / gram
        )
        found["least squares"] = [slope - half, slope + half]
    return found


def rows_of(name, seeds, n_refits, n_dowhy=0):
    """Rows of the table: one per effect of a world."""
    found = [answers(name, seed, n_refits) for seed in seeds]
    fits = np.median([own["fits"] for own in found])
    for effect in found[0]["effects"]:
        own = [part["effects"][effect] for part in found]
        truth, answer = (np.array([k[key] for k in own]) for key in ("truth", "answer"))
        ends = np.array([k["ends"] for k in own])
        holds = (ends[:, :, 0] <= truth[:, None]) & (truth[:, None] <= ends[:, :, 1])
        widths, error = ends[:, 0, 1] - ends[:, 0, 0], answer - truth
        # Worlds differ, so errors are taken in half widths.
        parts = 2 * t.ppf(0.975, n_refits - 1) * error / widths
        ratio, bias = 1 / np.sqrt(np.mean(parts**2)), parts.mean()
        covered = [f"{np.mean(own):.1%}" for own in holds.T]
        sure = f"{covered[0]} +- {np.sqrt(holds[:, 0].var() / len(own)):.1%}"
        yield [name, effect, len(own), sure, covered[1]] + [
            f"{np.mean(widths):.3f}",
            f"{ratio:.2f}",
            f"{bias:+.2f}",
            f"{interval_score(ends[:, 0], truth).mean():.3f}",
            f"{fits:.1f}",
        ]
        yield from rows_of_dowhy(name, effect, seeds[:n_dowhy], n_refits, truth)
    if "least squares" in found[0]:
        ends = np.array([part["least squares"] for part in found])
        own = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
        width = np.diff(ends, axis=1).mean()
        yield [name, "least squares", len(ends), f"{own:.1%}", "-"] + [
            f"{width:.3f}",
            f"{widths.mean() / width:.2f} of it",
            "-",
            f"{interval_score(ends, truth).mean():.3f}",
            "-",
        ]


def rows_of_dowhy(name, effect, seeds, n_refits, truth):
    """The same columns of dowhy's intervals, where it can be asked."""
    if not len(seeds) or WORLDS[name] not in (line, scm, mixture):
        return
    ask = cached(dowhy_of, ["datasets/*.py", "intervals.py", "_interval_peers.py"])
    found = [ask(name, seed, n_refits)[effect] for seed in seeds]
    truth = truth[: len(seeds)]
    for arm in found[0]:
        ends = np.array([own[arm] for own in found])
        holds = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        width, score = np.diff(ends, axis=1).mean(), interval_score(ends, truth)
        cells = [f"{holds.mean():.1%}", "-", f"{width:.3f}", "-", "-"]
        yield [name, f"{effect}: {arm}", len(ends), *cells, f"{score.mean():.3f}", "-"]


def dowhy_of(name, seed, n_refits):
    rows, _, estimator, asked = WORLDS[name](seed)
    return dowhy_ends(estimator.graph, rows, asked, n_refits, seed)


def cost(repeats):
    """Seconds of the processor for one fit of ten columns, and for it and 20 refits.

    As one, and one by one: as rows are held out, of which nothing is made.
    """
    world = make_scm(500, n_nodes=10, random_state=100)
    arms = {}
    for kind in ("auto", "linear"):
        est = GraphGenerator(world.graph, mechanism=kind, random_state=0)
        alone = clone(est).set_params(validation_fraction=0.01)
        arms[f"{kind}: one fit"] = est
        arms[f"{kind}: with 20 refits as one"] = BootstrapGenerator(est)
        arms[f"{kind}: with 20 refits one by one"] = BootstrapGenerator(alone)
    fits = {k: lambda v=v: clone(v).fit(world.data) for k, v in arms.items()}
    interleaved(fits, 1)
    seconds = interleaved(fits, repeats, time.process_time)
    for k, name in enumerate(arms):
        ratio = seconds[:, k] / seconds[:, k - k % 3]
        yield [name, f"{np.median(seconds[:, k]):.2f}"] + [
            f"{np.median(ratio):.1f}",
            f"{ratio.min():.1f}-{ratio.max():.1f}",
        ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 200))
    parser.add_argument("--refits", type=int, default=20)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS))
    parser.add_argument("--cost", type=int, default=3, help="repeats; 0 for none")
    parser.add_argument("--dowhy", type=int, default=0, help="data sets to ask it")
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.refits, options.cost = (100, 102), 2, 0
        options.worlds = options.worlds[:1]
    warnings.simplefilter("ignore")
    print(versions())
    seeds = range(*options.seeds)
    names = [k for k in WORLDS if any(k.startswith(word) for word in options.worlds)]
    asked = seeds, options.refits, options.dowhy
    rows = [row for name in names for row in rows_of(name, *asked)]
    title = f"95 % intervals of average effects, {options.refits} refits"
    print_table(f"{title}, seeds {seeds[0]} to {seeds[-1]}", HEADER, rows)
    if options.cost:
        header = ["500 rows, 10 columns", "CPU seconds", "single fits", "range"]
        print_table("Cost of the refits", header, cost(options.cost))


KEY = key_of_sources()

if __name__ == "__main__":
    main()
