"""Does a graph of mechanisms predict real and simulated interventions?

Sachs (``--sachs FOLDER``): trained on cd3cd28 alone; the target gets half of the
condition's own values; skill is 1 - D / D(identity) on the ten other columns of the
other half, D the unbiased energy distance. Truth: ``make_scm``, a hard intervention at
the 10 % and 90 % quantile of the node with most children ("inside"), and two standard
deviations outside its range; skill on the other columns against the same noise.
"""

import argparse
import time

import numpy as np
from _common import print_table, versions
from scipy import stats

from sklearn_icm.datasets import load_sachs, make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Resample
from sklearn_icm.metrics import energy_distance, extrapolation_skill

N_SAMPLES = 1000


def ours(**params):
    """Arm: fit to rows; return what draws under do(node = one of the given values)."""

    def fit(graph, X, seed):
        model = GraphGenerator(graph, device="cpu", random_state=seed, **params).fit(X)

        def draw(node, given):
            given = Resample(np.reshape(given, (-1, 1)))
            return np.asarray(model.intervene({node: given}, n_samples=N_SAMPLES))

        return draw

    return fit


def linear_scm(graph, X, seed):
    """Arm: least squares on the parents plus normal noise, in numpy."""
    parsed = GraphGenerator(graph, max_epochs=1, device="cpu").fit(X).mechanisms_
    names, values, equations = list(parsed.pop("data")[0]), np.asarray(X), {}
    for name, (parents, _) in parsed.items():
        read = [names.index(p) for p in parents[:-1]]
        design = np.column_stack([np.ones(len(values)), values[:, read]])
        own = values[:, names.index(name)]
        weights = np.linalg.lstsq(design, own, rcond=None)[0]
        equations[name] = (read, weights, np.std(own - design @ weights))
    rng = np.random.RandomState(seed)

    def draw(node, given):
        rows = np.zeros((N_SAMPLES, len(names)))
        for name, (read, weights, spread) in equations.items():
            design = np.column_stack([np.ones(N_SAMPLES), rows[:, read]])
            value = design @ weights + spread * rng.randn(N_SAMPLES)
            if name == node:
                value = rng.choice(given, N_SAMPLES)
            rows[:, names.index(name)] = value
        return rows

    return draw


def training_rows(graph, X, seed):
    """Arm: nothing but the target changes."""
    rng = np.random.RandomState(seed)
    return lambda node, given: np.asarray(X)[rng.randint(len(X), size=N_SAMPLES)]


ARMS = {
    "training rows": training_rows,
    "linear SCM (numpy)": linear_scm,
    "auto": ours(),
    "linear": ours(mechanism="linear"),
    "additive": ours(mechanism="additive"),
}
FAMILIES = ("additive", "location-scale", "linear")


def sachs(folder, seeds):
    cells = load_sachs(folder)
    basis = cells.data[cells.environments == "cd3cd28"]
    data = (cells.data - basis.mean()) / basis.std()
    train = data[cells.environments == "cd3cd28"]
    turned = [*cells.graphs["psitect"], ("PIP2", "plcg")]
    settings = [(c, c, cells.graphs[c]) for c in cells.targets]
    settings.append(("psitect, PIP2 -> plcg", "psitect", turned))
    rows = []
    for title, condition, graph in settings:
        target = cells.targets[condition]
        others = [k for k, name in enumerate(data) if name != target]
        own = data[cells.environments == condition]
        skills = {name: [] for name in ARMS}
        for seed in seeds:
            mixed = own.sample(frac=1, random_state=seed)
            given, test = mixed[::2], mixed[1::2].to_numpy()[:, others]
            for name, fit in ARMS.items():
                made = fit(graph, train, seed)(target, given[target].to_numpy())
                skills[name].append(
                    extrapolation_skill(
                        test, made[:, others], train.to_numpy()[:, others]
                    )
                )
        shift = energy_distance(own.to_numpy()[:, others], train.to_numpy()[:, others])
        rows.append([title, f"{shift:.3f}", *map(summary, skills.values())])
        print(rows[-1], paired(skills), flush=True)
    print_table("Sachs: skill, mean (worst)", ["condition", "shift", *ARMS], rows)


def summary(values):
    return f"{np.mean(values):+.3f} ({np.min(values):+.3f})"


def paired(skills, arm="auto", reference="linear SCM (numpy)"):
    """Mean difference of two arms with its 95 % t-interval."""
    gain = np.subtract(skills[arm], skills[reference])
    half = stats.t.ppf(0.975, len(gain) - 1) * stats.sem(gain)
    return f"{arm} - {reference}: {gain.mean():+.3f} +- {half:.3f}"


def truth(seeds, sizes):
    arms = {k: ARMS[k] for k in ("linear SCM (numpy)", "auto")}
    rows = []
    for family in FAMILIES:
        arms[family] = ours(mechanism=family)
        for n_nodes in sizes:
            found = {name: ([], []) for name in arms}
            for seed in seeds:
                for name, fit in arms.items():
                    inside, outside = _skills_of_truth(fit, family, n_nodes, seed)
                    found[name][0].append(inside)
                    found[name][1].append(outside)
            for name, (inside, outside) in found.items():
                rows.append([family, n_nodes, name, summary(inside), summary(outside)])
                print(rows[-1], flush=True)
        del arms[family]
    header = ["truth", "nodes", "model", "inside, mean (worst)", "2 sd outside"]
    print_table("make_scm: skill per world", header, rows)


def _skills_of_truth(fit, family, n_nodes, seed):
    scm = make_scm(1000, n_nodes=n_nodes, mechanism=family, random_state=seed)
    children = {
        name: sum(name in parents for parents in scm.graph.values())
        for name in scm.graph
    }
    node = max(children, key=children.get)
    column = scm.data[:, int(node[1:])]
    others = [k for k in range(n_nodes) if k != int(node[1:])]
    draw, skills = fit(scm.graph, scm.data, seed), []
    low, high, sd = column.min(), column.max(), column.std()
    for values in (np.quantile(column, [0.1, 0.9]), [low - 2 * sd, high + 2 * sd]):
        per_value = []
        for value in values:
            made = draw(node, np.array([value]))
            per_value.append(
                extrapolation_skill(
                    scm.render({node: value})[:, others],
                    made[:, others],
                    scm.data[:, others],
                )
            )
        skills.append(np.mean(per_value))
    return skills


def speed(folder):
    cells = load_sachs(folder)
    train = cells.data[cells.environments == "cd3cd28"]
    start = time.perf_counter(), time.process_time()
    model = GraphGenerator(cells.graphs["psitect"], device="cpu").fit(train)
    middle = time.perf_counter(), time.process_time()
    model.intervene({"PIP2": float(train["PIP2"].mean())}, n_samples=1_000_000)
    stop = time.perf_counter(), time.process_time()
    for name, a, b in (("fit", start, middle), ("1e6 rows", middle, stop)):
        print(f"{name}: {b[0] - a[0]:.2f} s, processor {b[1] - a[1]:.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sachs", help="folder of sachs.csv.gz")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[5, 10, 30])
    options = parser.parse_args()
    print(versions())
    if options.sachs:
        speed(options.sachs)
        sachs(options.sachs, range(options.seeds))
    if options.sizes:
        truth(range(options.seeds), options.sizes)


if __name__ == "__main__":
    main()
