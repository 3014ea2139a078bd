"""Does a graph of mechanisms predict real and simulated interventions?

Sachs (``--sachs FOLDER``): trained on cd3cd28 alone; the target gets half of the
condition's own values; skill is 1 - D / D(identity) on the ten other columns of the
other half, D the unbiased energy distance. Truth: ``make_scm``, a hard intervention at
the 10 % and 90 % quantile of the node with most children ("inside"), and .5, 1, 1.5 and
2 standard deviations outside its range, equally often (but for values that hardly move
the others); skill on the other columns against the same noise. Of a "mixture" the
method is not told which functions and noises it has, and the node is one without
levels. Speed: the fit to cd3cd28 and rows under do(PIP2), interleaved. dowhy.gcm
chooses its mechanisms by itself, in one process; a peer that is not installed is left
out. Worlds of seeds 0 to 9 were in sight while mechanisms were designed: judge on later
ones. Skills of worlds are kept in ``.cache``.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from _common import cached, interleaved, print_table, versions
from _graph_peers import (
    DOWHY,
    N_SAMPLES,
    OPTIONAL,
    PEERS,
    draw_dowhy,
    fit_dowhy,
    print_missing,
    training_rows,
)
from _peers import TARGET_HEADER, target_row
from scipy import stats

from sklearn_icm.datasets import load_sachs, make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Resample
from sklearn_icm.metrics import energy_distance, extrapolation_skill

N_ROWS = {"ours": 1_000_000, DOWHY: 100_000}

# 1: the environment itself, 0: rows without an intervention.
IN_PARTS_OF_THE_SHIFT = {"distance": "energy", "baseline": "identity"}


# ------------------------------------------------------------------------- arms
def ours(**params):
    """Arm: fit to rows; return what draws under do(node = one of the given values)."""

    def fit(graph, X, seed):
        model = GraphGenerator(graph, device="cpu", random_state=seed, **params)
        return draws_of(model.fit(X))

    return fit


def draws_of(model):
    """Function that draws from a fitted model under do(node = a given value)."""

    def draw(node, given):
        given = Resample(np.reshape(given, (-1, 1)))
        return np.asarray(model.intervene({node: given}, n_samples=N_SAMPLES))

    return draw


FAMILIES = ("additive", "location-scale", "linear", "mixture")
# Energy distance of a world's rows to those under a value that is asked for: that of
# means about a fifth of a standard deviation apart.
LEAST_SHIFT = 0.02
# Standard deviations beyond the edge of the rows.
BEYOND = (0.5, 1.0, 1.5, 2.0)
SACHS_ARMS = {
    "training rows": training_rows,
    **PEERS,
    "auto": ours(),
    "auto, normal noise": ours(noise="normal"),
    "linear": ours(mechanism="linear"),
    "linear, normal noise": ours(mechanism="linear", noise="normal"),
    "additive": ours(mechanism="additive"),
    "energy": ours(mechanism="energy"),
}
# What the answers of a world, and of ours to it, depend on.
WORLD_SOURCES = [
    *("datasets/*.py", "metrics/_skill.py", "metrics/_distances/*.py", "graphs.py")
]
SOURCES = [
    *("generators/**/*.py", "mechanisms/*.py", "models/*.py", "rows/*.py"),
    *("_training/*.py", "_*.py", "base.py", "interventions/*.py"),
]
# Of which a second table has paired differences.
JUDGED = ("auto", "auto, normal noise", "linear, normal noise")


class Seeds(NamedTuple):
    """Seeds of the arms; the slow peers have only the first `n_slow`."""

    first: int
    n: int
    n_slow: int

    def of(self, name):
        n = min(self.n, self.n_slow) if name in OPTIONAL else self.n
        return range(self.first, self.first + n)

    def __str__(self):
        return f"seeds {self.first} to {self.first + self.n - 1}"


# --------------------------------------------------------------------- summaries
def summary(skills):
    """Mean, median and worst of skills by seed."""
    values = list(skills.values())
    if not values:
        return "-"
    return f"{np.mean(values):+.3f}, {np.median(values):+.3f} ({np.min(values):+.3f})"


def differences(skills, reference):
    """Of the seeds that both have."""
    return [skills[seed] - reference[seed] for seed in skills if seed in reference]


def paired(skills, reference):
    """Mean difference over the seeds of both, 95 % t-interval, how often ahead."""
    gain = differences(skills, reference)
    if not gain:
        return "-"
    ahead = f"{np.sum(np.array(gain) > 0)}/{len(gain)}"
    if len(gain) < 2:
        return f"{np.mean(gain):+.3f}, {ahead}"
    half = stats.t.ppf(0.975, len(gain) - 1) * stats.sem(gain)
    return f"{np.mean(gain):+.3f} +- {half:.3f}, {ahead}"


def closest(skills, mine):
    """The peer that ours is least ahead of, on average over their common seeds.

    Chosen with the result in sight, which favours the peers.
    """
    present = [peer for peer in PEERS if skills[peer]]
    return min(present, key=lambda p: np.mean(differences(skills[mine], skills[p])))


def against_closest(skills, mine):
    """Cell: ours minus the closest peer, and which one that is."""
    peer = closest(skills, mine)
    return f"{paired(skills[mine], skills[peer])} ({peer})"


# ------------------------------------------------------------------------- Sachs
class Setting(NamedTuple):
    """A condition of Sachs with the graph that is to predict it."""

    title: str
    target: str
    graph: list
    own: pd.DataFrame


def sachs(folder, seeds):
    train, settings = _settings(folder)
    rows, gains, fitted = [], [], {}
    for setting in settings:
        skills = {name: {} for name in SACHS_ARMS}
        for name, fit in SACHS_ARMS.items():
            for seed in seeds.of(name):
                key = (name, seed, tuple(setting.graph))
                if key not in fitted:
                    fitted[key] = fit(setting.graph, train, seed)
                skills[name][seed] = _skill(fitted[key], setting, train, seed)
        shift = energy_distance(*(_others(x, setting) for x in (setting.own, train)))
        rows.append([setting.title, f"{shift:.3f}", *map(summary, skills.values())])
        for mine in JUDGED:
            cells = [paired(skills[mine], skills[peer]) for peer in PEERS]
            gains.append([setting.title, mine, *cells, against_closest(skills, mine)])
        print(rows[-1], flush=True)
    header = ["condition", "shift", *SACHS_ARMS]
    title = f"Sachs: skill, mean, median (worst), {seeds}"
    print_table(title, header, rows)
    title = "Sachs: ours minus the peer, 95 % interval, seeds ahead"
    print_table(title, ["condition", "ours", *PEERS, "closest peer"], gains)


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
    compared = (_others(rows, setting) for rows in (mixed[1::2], made, train))
    return extrapolation_skill(*compared, **IN_PARTS_OF_THE_SHIFT)


# ------------------------------------------------------------------------- truth
class World(NamedTuple):
    """Rows of a known graph; (value, rows under do) of the values in each region."""

    graph: dict
    X: pd.DataFrame
    node: str
    answers: list


def truth(families, sizes, seeds, n_rows):
    for family in families:
        mine = ["auto", *([] if family == "mixture" else [family]), "energy"]
        for n_nodes in sizes:
            skills = _skills_of_arms([*PEERS, *mine], (family, n_nodes, n_rows), seeds)
            about = f"{family}, {n_nodes} nodes, {n_rows} rows, {seeds}"
            _print_truth(skills, mine, about)


def _print_truth(skills, mine, world):
    """Two tables: skills of every arm, and ours minus the peers."""
    rows = [[k, len(v[0]), *map(summary, v)] for k, v in skills.items()]
    regions = ["inside", "outside"]
    title = f"make_scm {world}: skill per world, mean, median (worst)"
    print_table(title, ["model", "worlds", *regions], rows)
    title = f"make_scm {world}: paired differences, 95 % interval, worlds ahead"
    print_table(title, ["difference", *regions], list(_gains(skills, mine)))


def _skills_of_arms(arms, world, seeds):
    """Of every arm, the skills by seed inside and outside."""
    skills = {name: ({}, {}) for name in arms}
    of_peers = cached(arm_skills, [*WORLD_SOURCES, "_graph_peers.py"])
    of_ours = cached(arm_skills, [*WORLD_SOURCES, *SOURCES])
    for seed in seeds.of("auto"):
        for name in arms:
            if seed not in seeds.of(name):
                continue
            found = (of_peers if name in PEERS else of_ours)(name, *world, seed)
            for region, skill in zip(skills[name], found[:2], strict=True):
                region |= {} if skill is None else {seed: skill}
            print(*world, seed, name, *found, flush=True)
    return skills


def arm_skills(name, family, n_nodes, n_rows, seed):
    """Skills of an arm inside and outside, and the seconds that they took."""
    fit = PEERS.get(name) or ours(mechanism=name)
    world, start = _make_world(family, n_nodes, n_rows, seed), time.perf_counter()
    return *_skills(fit, world, seed), time.perf_counter() - start


def _gains(skills, mine):
    """Rows of a table: auto minus each peer, each of ours minus the closest peer."""
    for peer in PEERS:
        pairs = zip(skills["auto"], skills[peer], strict=True)
        yield [f"auto - {peer}", *(paired(*pair) for pair in pairs)]
    regions = [{name: s[k] for name, s in skills.items()} for k in (0, 1)]
    for name in mine:
        cells = [against_closest(region, name) for region in regions]
        yield [f"{name} - closest peer", *cells]


def _make_world(family, n_nodes, n_rows, seed):
    noise = "mixture" if family == "mixture" else "normal"
    world = {"n_nodes": n_nodes, "mechanism": family, "noise": noise}
    scm = make_scm(n_rows, **world, random_state=seed)
    X = pd.DataFrame(scm.data, columns=scm.feature_names)
    causes = [cause for parents in scm.graph.values() for cause in parents]
    node = max((n for n in scm.graph if n not in scm.levels), key=causes.count)
    low, high, sd = X[node].min(), X[node].max(), X[node].std(ddof=0)
    outside = [v for k in BEYOND for v in (low - k * sd, high + k * sd)]
    regions, others = (X[node].quantile([0.1, 0.9]), outside), X.columns != node
    answers = [[(v, scm.render({node: v})) for v in values] for values in regions]
    # Where a value moves the others by less, a skill is a ratio of two chances.
    usual = X.to_numpy()[:, others]
    answers = [
        [(v, r) for v, r in own if energy_distance(r[:, others], usual) > LEAST_SHIFT]
        for own in answers
    ]
    return World(scm.graph, X, node, answers)


def _skills(fit, world, seed):
    """Skill inside and outside, each the mean over its values; None without any."""
    draw, skills = fit(world.graph, world.X, seed), []
    rows = world.X.to_numpy()
    others = [k for k, name in enumerate(world.X) if name != world.node]
    for answers in world.answers:
        per_value = []
        for value, right in answers:
            made = np.asarray(draw(world.node, np.array([value])))
            compared = (right[:, others], made[:, others], rows[:, others])
            per_value.append(extrapolation_skill(*compared, **IN_PARTS_OF_THE_SHIFT))
        skills.append(float(np.mean(per_value)) if per_value else None)
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
    parser.add_argument("--no-speed", action="store_true", help="skip the timing")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--peer-seeds", type=int, default=3, help="of slow peers")
    parser.add_argument("--families", nargs="*", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--sizes", type=int, nargs="*", default=[5, 10, 30])
    parser.add_argument("--rows", type=int, default=1000, help="of make_scm")
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    print(versions())
    print_missing()
    if options.quick:
        truth(["linear"], [3], Seeds(options.first_seed, 2, 1), options.rows)
        return
    seeds = Seeds(options.first_seed, options.seeds, options.peer_seeds)
    if options.sachs:
        if not options.no_speed:
            speed(options.sachs)
        sachs(options.sachs, seeds)
    truth(options.families, options.sizes, seeds, options.rows)


if __name__ == "__main__":
    main()
