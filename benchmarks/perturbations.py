"""Are combinations and doses of perturbations predicted that were never seen?

Worlds of `make_perturbations` with known truth. A VAE is fitted to the control and to
each perturbation alone; `fit_perturbations` learns shifts of its latents, and is asked
for all pairs, and for half and twice the dose of one. Beside it: no change, the mean of
all that was perturbed, the sum of the changes of the means in data space, and the true
mechanisms with the true shifts, whose skill chance bounds. Skill is 1 - D / D(control),
D the unbiased energy distance to the true rows of the control under the combination;
also the correlation of predicted and true change of the means, and the share of other
pairs whose true mean is farther from the predicted one than the right one's (1: it is
ranked first). Pairs that cancel are not asked. Fits are kept in ``.cache``.
"""

import argparse
import warnings
from itertools import combinations

import numpy as np
import torch
from _common import cached, print_table, versions
from scipy.stats import sem, t

from sklearn_icm.datasets import make_perturbations
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.metrics import energy_distance
from sklearn_icm.model_selection import fit_perturbations

SOURCES = [
    *("datasets/_perturbations.py", "model_selection/_fit_perturbations.py"),
    *("generators/vae/*.py", "_training/*.py", "models/*.py", "perturbations.py"),
]
WORLDS = {
    "nonlinear": {},
    "linear": {"decoder": "linear"},
    "interaction .3": {"interaction": 0.3},
    "saturating doses": {"dose_response": "saturating"},
}
DOSES = ("A:0.5", "A:2")
OURS = "fit_perturbations, keep"
ARMS = (
    *("no change", "mean of all", "sum of changes", OURS),
    *("fit_perturbations, drop", "the truth, new rows"),
)
N_ROWS, EPOCHS = 300, 200
# Energy distance to the control of a question that is asked: effects may cancel.
LEAST_SHIFT = 0.02


def predictions(world, seed):
    """By asked label: true rows, and predicted ones by arm."""
    names = [chr(ord("A") + k) for k in range(len(world.effects))]
    labels, data = world.environments, world.data
    control = data[labels == "control"]
    vae = VAEGenerator(n_latents=8, bounds=None, max_epochs=EPOCHS, random_state=seed)
    vae.fit(data)
    found = fit_perturbations(vae, data, labels)
    changes = {k: data[labels == k].mean(0) - control.mean(0) for k in names}
    others = data[labels != "control"]
    fresh = world.mechanisms, np.random.RandomState(seed + 1)
    for label in [*map("+".join, combinations(names, 2)), *DOSES]:
        change = found.intervention(label)
        query = {"X": control}
        parts = [part.partition(":") for part in label.split("+")]
        added = sum(float(dose or 1) * changes[name] for name, _, dose in parts)
        yield (
            label,
            {
                "no change": control,
                "mean of all": others,
                "sum of changes": control + added,
                OURS: vae.intervene(change, **query),
                "fit_perturbations, drop": vae.intervene(
                    change, residual="drop", **query
                ),
                "the truth, new rows": drawn(*fresh, world.change(label), len(control)),
            },
        )


def drawn(graph, rng, change, n):
    """New rows of the true mechanisms."""
    noise = torch.from_numpy(rng.randn(n, *graph.nodes["noise"]))
    with torch.no_grad():
        return graph(noise, change)["data"].numpy()


def figures(name, seed):
    """By kind of question (pairs, doses) and arm: skill, correlation, rank."""
    world = make_perturbations(N_ROWS, random_state=seed, **WORLDS[name])
    base = world.render().mean(0)
    means, found = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = dict(predictions(world, seed))
    for label in asked:
        means[label] = world.render(label).mean(0)
    for label, arms in asked.items():
        truth = world.render(label)
        away = energy_distance(truth, world.render())
        if away <= LEAST_SHIFT:
            continue
        kind = "pairs" if "+" in label else "doses"
        alike = [k for k in asked if ("+" in k) == ("+" in label) and k != label]
        for arm, rows in arms.items():
            moved, right = rows.mean(0) - base, means[label] - base
            own = np.linalg.norm(rows.mean(0) - means[label])
            farther = [np.linalg.norm(rows.mean(0) - means[k]) > own for k in alike]
            right_way = np.corrcoef(moved, right)[0, 1] if np.ptp(moved) else 0.0
            skill = 1 - energy_distance(truth, rows) / away
            cell = [float(skill), float(right_way), float(np.mean(farther))]
            found.setdefault(kind, {}).setdefault(arm, []).append(cell)
    return {
        kind: {arm: np.mean(cells, 0).tolist() for arm, cells in arms.items()}
        for kind, arms in found.items()
    }


def interval(values):
    half = t.ppf(0.975, len(values) - 1) * sem(values) if len(values) > 1 else np.nan
    return f"{np.mean(values):+.3f} +- {half:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 10))
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS))
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    print(versions())
    seeds = range(100, 101) if options.quick else range(*options.seeds)
    worlds = options.worlds[:1] if options.quick else options.worlds
    keep = cached(figures, SOURCES)
    for name in worlds:
        found = [keep(name, seed) for seed in seeds]
        for kind in ("pairs", "doses"):
            if kind == "doses" and name == "interaction .3":
                continue
            cells = {arm: np.array([f[kind][arm] for f in found]) for arm in ARMS}
            rows = [
                [arm, *map(interval, values.T), interval((cells[OURS] - values)[:, 0])]
                for arm, values in cells.items()
            ]
            header = ["prediction", "skill", "correlation", "rank", "ours - it, skill"]
            title = f"{name}: unseen {kind}, seeds {seeds.start} to {seeds.stop - 1}"
            print_table(title, header, rows)


if __name__ == "__main__":
    main()
