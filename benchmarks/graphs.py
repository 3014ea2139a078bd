"""Does a graph of mechanisms predict real and simulated interventions?

Sachs (``--sachs FOLDER``): trained on cd3cd28 alone; the target gets half of the
condition's own values; skill is 1 - D / D(identity) on the ten other columns of the
other half, D the unbiased energy distance. Truth: ``make_scm``, a hard intervention at
the 10 % and 90 % quantile of the node with most children ("inside"), and two standard
deviations outside its range; skill on the other columns against the same noise. Speed:
the fit to cd3cd28 and rows under do(PIP2), interleaved. dowhy.gcm chooses its
mechanisms by itself, in one process; without dowhy its rows are left out.
"""

import argparse
from graphlib import TopologicalSorter
from typing import NamedTuple

import numpy as np
import pandas as pd
from _common import interleaved, print_table, versions
from _peers import TARGET_HEADER, is_installed, quiet, target_row
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors

from sklearn_icm.datasets import load_sachs, make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Resample
from sklearn_icm.metrics import energy_distance, extrapolation_skill

N_SAMPLES = 1000
N_NEIGHBORS = 50
DOWHY = "dowhy auto"
LINEAR = "linear SCM (numpy)"
N_ROWS = {"ours": 1_000_000, DOWHY: 100_000}


# ------------------------------------------------------------------------- arms
def ours(**params):
    """Arm: fit to rows; return what draws under do(node = one of the given values)."""

    def fit(graph, X, seed):
        model = GraphGenerator(graph, device="cpu", random_state=seed, **params).fit(X)

        def draw(node, given):
            given = Resample(np.reshape(given, (-1, 1)))
            return np.asarray(model.intervene({node: given}, n_samples=N_SAMPLES))

        return draw

    return fit


def parents_of(graph, names):
    """Lists of parents, causes before effects, of pairs or of a dict of parents."""
    parents = {name: [] for name in names}
    if isinstance(graph, dict):
        graph = [(cause, effect) for effect in graph for cause in graph[effect]]
    for cause, effect in graph:
        parents[effect].append(cause)
    return {name: parents[name] for name in TopologicalSorter(parents).static_order()}


def linear_scm(graph, X, seed):
    """Arm: least squares on the parents plus normal noise, in numpy."""
    names, values, equations = list(X), np.asarray(X), {}
    for name, parents in parents_of(graph, names).items():
        read = [names.index(p) for p in parents]
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


def fit_dowhy(graph, X):
    """Fit the graph of dowhy.gcm with the mechanisms that it chooses."""
    import networkx as nx
    from dowhy import gcm

    gcm.config.disable_progress_bars()
    gcm.config.set_default_n_jobs(1)
    digraph = nx.DiGraph()
    for effect, parents in parents_of(graph, X).items():
        digraph.add_node(effect)
        digraph.add_edges_from((cause, effect) for cause in parents)
    model = gcm.StructuralCausalModel(digraph)
    with quiet():
        gcm.auto.assign_causal_mechanisms(model, X)
        gcm.fit(model, X)
    return model


def draw_dowhy(model, node, given, n_samples):
    from dowhy import gcm

    # dowhy calls an intervention once per row.
    values = iter(np.random.choice(given, n_samples))
    return gcm.interventional_samples(
        model, {node: lambda _: next(values)}, num_samples_to_draw=n_samples
    )


def dowhy_auto(graph, X, seed):
    """Arm: dowhy.gcm with automatic mechanisms of quality GOOD, its default."""
    from dowhy import gcm

    gcm.util.general.set_random_seed(seed)
    model = fit_dowhy(graph, X)
    return lambda node, given: draw_dowhy(model, node, given, N_SAMPLES)[list(X)]


def neighbors(graph, X, seed):
    """Arm: no graph; one of the rows whose target is nearest."""
    rng, values = np.random.RandomState(seed), np.asarray(X)

    def draw(node, given):
        column, asked = X.columns.get_loc(node), rng.choice(given, (N_SAMPLES, 1))
        search = NearestNeighbors(n_neighbors=N_NEIGHBORS).fit(values[:, [column]])
        near = search.kneighbors(asked, return_distance=False)
        picks = rng.randint(N_NEIGHBORS, size=N_SAMPLES)
        return values[near[np.arange(N_SAMPLES), picks]]

    return draw


def regression(graph, X, seed):
    """Arm: no graph; least squares of all columns on the target, residuals by row."""
    rng, values = np.random.RandomState(seed), np.asarray(X)

    def draw(node, given):
        column, asked = X.columns.get_loc(node), rng.choice(given, (N_SAMPLES, 1))
        model = LinearRegression().fit(values[:, [column]], values)
        residuals = values - model.predict(values[:, [column]])
        return model.predict(asked) + residuals[rng.randint(len(X), size=N_SAMPLES)]

    return draw


def training_rows(graph, X, seed):
    """Arm: nothing but the target changes."""
    rng = np.random.RandomState(seed)
    return lambda node, given: np.asarray(X)[rng.randint(len(X), size=N_SAMPLES)]


PEERS = {
    LINEAR: linear_scm,
    "no graph, 50 near": neighbors,
    "no graph, linear": regression,
}
if is_installed("dowhy"):
    PEERS[DOWHY] = dowhy_auto
FAMILIES = ("additive", "location-scale", "linear")
SACHS_ARMS = {
    "training rows": training_rows,
    **PEERS,
    "auto": ours(),
    "linear": ours(mechanism="linear"),
    "additive": ours(mechanism="additive"),
}


# --------------------------------------------------------------------- summaries
def summary(skills):
    """Mean, median and worst of skills by seed."""
    values = list(skills.values())
    return f"{np.mean(values):+.3f}, {np.median(values):+.3f} ({np.min(values):+.3f})"


def paired(skills, reference):
    """Mean difference over the seeds of both, 95 % t-interval, how often ahead."""
    gain = [skills[seed] - reference[seed] for seed in skills if seed in reference]
    ahead = f"{np.sum(np.array(gain) > 0)}/{len(gain)}"
    if len(gain) < 2:
        return f"{np.mean(gain):+.3f}, {ahead}"
    half = stats.t.ppf(0.975, len(gain) - 1) * stats.sem(gain)
    return f"{np.mean(gain):+.3f} +- {half:.3f}, {ahead}"


def takes_part(name, seed, peer_seeds):
    """Whether a model runs on a seed: dowhy, which is slow, only on the first ones."""
    return name != DOWHY or seed < peer_seeds


# ------------------------------------------------------------------------- Sachs
class Setting(NamedTuple):
    """A condition of Sachs with the graph that is to predict it."""

    title: str
    target: str
    graph: list
    own: pd.DataFrame


def sachs(folder, n_seeds, peer_seeds):
    train, settings = _settings(folder)
    rows, gains, fitted = [], [], {}
    for setting in settings:
        skills = {name: {} for name in SACHS_ARMS}
        for seed in range(n_seeds):
            for name, fit in SACHS_ARMS.items():
                if takes_part(name, seed, peer_seeds):
                    key = (name, seed, tuple(setting.graph))
                    if key not in fitted:
                        fitted[key] = fit(setting.graph, train, seed)
                    skills[name][seed] = _skill(fitted[key], setting, train, seed)
        shift = energy_distance(*(_others(x, setting) for x in (setting.own, train)))
        rows.append([setting.title, f"{shift:.3f}", *map(summary, skills.values())])
        differences = [paired(skills["auto"], skills[peer]) for peer in PEERS]
        gains.append([setting.title, *differences])
        print(rows[-1], gains[-1], flush=True)
    header = ["condition", "shift", *SACHS_ARMS]
    print_table("Sachs: skill, mean, median (worst)", header, rows)
    title = "Sachs: auto minus the peer, 95 % interval, seeds ahead"
    print_table(title, ["condition", *PEERS], gains)


def _settings(folder):
    """Standardised rows of cd3cd28, and the conditions to predict."""
    cells = load_sachs(folder)
    basis = cells.data[cells.environments == "cd3cd28"]
    data = (cells.data - basis.mean()) / basis.std()
    turned = [*cells.graphs["psitect"], ("PIP2", "plcg")]
    named = [(c, c, cells.graphs[c]) for c in cells.targets]
    named.append(("psitect, PIP2 -> plcg", "psitect", turned))
    settings = [
        Setting(title, cells.targets[c], graph, data[cells.environments == c])
        for title, c, graph in named
    ]
    return data[cells.environments == "cd3cd28"], settings


def _others(rows, setting):
    """All columns of rows but the target."""
    return rows.drop(columns=setting.target).to_numpy()


def _skill(draw, setting, train, seed):
    mixed = setting.own.sample(frac=1, random_state=seed)
    made = draw(setting.target, mixed[setting.target].to_numpy()[::2])
    made = pd.DataFrame(np.asarray(made), columns=list(train))
    return extrapolation_skill(
        *(_others(rows, setting) for rows in (mixed[1::2], made, train))
    )


# ------------------------------------------------------------------------- truth
class World(NamedTuple):
    """Rows of a known graph; (value, rows under do) of two values in each region."""

    graph: dict
    X: pd.DataFrame
    node: str
    answers: list


def truth(families, sizes, n_seeds, peer_seeds):
    rows, gains = [], []
    for family in families:
        arms = {**PEERS, "auto": ours(), family: ours(mechanism=family)}
        for n_nodes in sizes:
            skills = _skills_of_arms(arms, family, n_nodes, n_seeds, peer_seeds)
            for name, regions in skills.items():
                cells = [len(regions[0]), *map(summary, regions)]
                rows.append([family, n_nodes, name, *cells])
                print(rows[-1], flush=True)
            gains += [[family, n_nodes, *row] for row in _gains(skills, family)]
    regions = ["worlds", "inside", "2 sd outside"]
    header = ["truth", "nodes", "model", *regions]
    print_table("make_scm: skill per world, mean, median (worst)", header, rows)
    header[2] = "difference"
    title = "make_scm: paired differences, 95 % interval, worlds ahead"
    print_table(title, header, gains)


def _skills_of_arms(arms, family, n_nodes, n_seeds, peer_seeds):
    """Of every arm, the skills by seed inside and outside."""
    skills = {name: ({}, {}) for name in arms}
    for seed in range(n_seeds):
        world = _make_world(family, n_nodes, seed)
        for name, fit in arms.items():
            if takes_part(name, seed, peer_seeds):
                inside, outside = skills[name]
                inside[seed], outside[seed] = _skills(fit, world, seed)
    return skills


def _gains(skills, family):
    """Rows of a table: ours minus each peer."""
    for mine in ("auto", family):
        for peer in PEERS:
            pairs = zip(skills[mine], skills[peer], strict=True)
            cells = [paired(*pair) for pair in pairs]
            yield [f"{mine} - {peer}", len(skills[peer][0]), *cells]


def _make_world(family, n_nodes, seed):
    scm = make_scm(1000, n_nodes=n_nodes, mechanism=family, random_state=seed)
    X = pd.DataFrame(scm.data, columns=scm.feature_names)
    causes = [cause for parents in scm.graph.values() for cause in parents]
    node = max(scm.graph, key=causes.count)
    low, high, sd = X[node].min(), X[node].max(), X[node].std(ddof=0)
    regions = (X[node].quantile([0.1, 0.9]), (low - 2 * sd, high + 2 * sd))
    answers = [[(v, scm.render({node: v})) for v in values] for values in regions]
    return World(scm.graph, X, node, answers)


def _skills(fit, world, seed):
    """Skill inside and outside, each the mean over two values."""
    draw, skills = fit(world.graph, world.X, seed), []
    rows = world.X.to_numpy()
    others = [k for k, name in enumerate(world.X) if name != world.node]
    for answers in world.answers:
        per_value = []
        for value, right in answers:
            made = np.asarray(draw(world.node, np.array([value])))
            compared = (right[:, others], made[:, others], rows[:, others])
            per_value.append(extrapolation_skill(*compared))
        skills.append(np.mean(per_value))
    return skills


# ------------------------------------------------------------------------- speed
def speed(folder, repeats=3):
    """Fit to cd3cd28 under the graph of psitect, and rows under do(PIP2 = mean)."""
    cells = load_sachs(folder)
    train, graph = cells.data[cells.environments == "cd3cd28"], cells.graphs["psitect"]
    value, models = float(train["PIP2"].mean()), {}

    def fit_ours():
        models["ours"] = GraphGenerator(graph, device="cpu", random_state=0).fit(train)

    def fit_theirs():
        models[DOWHY] = fit_dowhy(graph, train)

    def rows_of_ours():
        models["ours"].intervene({"PIP2": value}, n_samples=N_ROWS["ours"])

    def rows_of_theirs():
        draw_dowhy(models[DOWHY], "PIP2", [value], N_ROWS[DOWHY])

    fits, draws = {"ours": fit_ours}, {"ours": rows_of_ours}
    if DOWHY in PEERS:
        fits[DOWHY], draws[DOWHY] = fit_theirs, rows_of_theirs
    millions = np.array([N_ROWS[name] / 1e6 for name in draws])
    seconds = {"fit": interleaved(fits, repeats)}
    seconds["1e6 rows"] = interleaved(draws, repeats) / millions
    _print_speed(seconds, list(fits))


def _print_speed(seconds, names):
    rows, targets = [], []
    for step, least in (("fit", 5), ("1e6 rows", 20)):
        for name, column in zip(names, seconds[step].T, strict=True):
            span = f"{column.min():.2f}-{column.max():.2f}"
            rows.append([step, name, f"{np.median(column):.2f}", span])
        if len(names) == 2:
            mine, theirs = seconds[step].T
            title = f"{step}, dowhy / ours"
            targets.append(target_row(title, theirs, mine, least, at_most=False))
    print_table("Sachs: seconds", ["step", "model", "median", "range"], rows)
    if targets:
        print_table("Sachs: targets of speed", TARGET_HEADER, targets)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sachs", help="folder of sachs.csv.gz")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peer-seeds", type=int, default=3, help="seeds of dowhy")
    parser.add_argument("--families", nargs="*", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--sizes", type=int, nargs="*", default=[5, 10, 30])
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    print(versions())
    if options.quick:
        truth(["linear"], [3], 2, 0)
        return
    if DOWHY not in PEERS:
        print("dowhy is not installed: its rows are left out.")
    if options.sachs:
        speed(options.sachs)
        sachs(options.sachs, options.seeds, options.peer_seeds)
    if options.sizes:
        truth(options.families, options.sizes, options.seeds, options.peer_seeds)


if __name__ == "__main__":
    main()
