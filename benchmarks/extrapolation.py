"""Which training extrapolates? Methods x worlds x seeds, chosen and judged apart.

Every model is fitted to observational rows alone. A scorer then asks each how well it
predicts an environment with a moderate stretch, and "chosen" is the one that it likes
best. All are judged by the error of their true counterfactuals at a stronger stretch,
which neither fit nor choice has seen. Error: squared distance to the truth over that of
the truth to its mean (0 = exact, 1 = as the mean). Differences are paired over seeds,
with 95 % t-intervals.
"""

import argparse
from dataclasses import dataclass, field

import numpy as np
from _common import print_table, versions
from scipy.stats import t

from sklearn_icm.datasets import make_faces, make_glyph_pairs
from sklearn_icm.generators import FixedGenerator, VAEGenerator
from sklearn_icm.independence import OrthogonalJacobianPenalty, SpectralPenalty
from sklearn_icm.interventions import Stretch
from sklearn_icm.mechanisms import conv_decoder
from sklearn_icm.metrics import make_extrapolation_scorer

# Where the models are chosen, and where they are judged.
CHOICE, JUDGE = 1.25, 1.5
HELD_OUT = 0.3
PLAIN = "weight 0"
METHODS = {
    PLAIN: {},
    "pooled 0.1": {"icm_penalty": SpectralPenalty("pooled"), "icm_weight": 0.1},
    "pooled 1": {"icm_penalty": SpectralPenalty("pooled"), "icm_weight": 1.0},
    "pooled 10": {"icm_penalty": SpectralPenalty("pooled"), "icm_weight": 10.0},
    "pooled 100": {"icm_penalty": SpectralPenalty("pooled"), "icm_weight": 100.0},
    "triplet 1": {"icm_penalty": SpectralPenalty("triplet"), "icm_weight": 1.0},
    "orthogonal Jacobian 0.01": {
        "icm_penalty": OrthogonalJacobianPenalty(),
        "icm_weight": 0.01,
    },
}


def smooth_decoder(n_latents, shape):
    """Resize linearly before each convolution, not by repetition."""
    return conv_decoder(n_latents, shape, (32, 16), resize="linear")


SMOOTH = {"decoder": smooth_decoder}
ARCHITECTURES = {
    PLAIN: {},
    "pooled 1": METHODS["pooled 1"],
    "linear resizing": SMOOTH,
    "linear resizing, pooled 1": {**SMOOTH, **METHODS["pooled 1"]},
    "linear resizing, triplet 1": {**SMOOTH, **METHODS["triplet 1"]},
    "linear resizing, beta 0.1": {**SMOOTH, "beta": 0.1},
}
SETS = {"penalties": METHODS, "architectures": ARCHITECTURES}


@dataclass(frozen=True)
class World:
    """A synthetic world, and the generator that is fitted to it."""

    make: object
    node: str = "conv2"
    model: dict = field(default_factory=dict)
    true_node: str | None = None


WORLDS = {
    "faces": World(
        lambda n, seed: make_faces(n, stretch=CHOICE, random_state=seed),
        model={"n_latents": 5, "hidden": (32, 16)},
        true_node="layout",
    ),
    "digit pairs": World(
        lambda n, seed: make_glyph_pairs(n, stretch=CHOICE, random_state=seed),
    ),
}


def counterfactual_error(predicted, truth):
    """Normalised error of paired rows."""
    spread = np.square(truth - truth.mean(0)).sum()
    return float(np.square(predicted - truth).sum() / spread)


def judge(model, node, world, rows, scorer):
    """(skill at the choice's stretch, error at the judge's) of a fitted model."""
    usual, moved = world.render(1.0)[rows], world.render(CHOICE)[rows]
    labels = np.repeat(["usual", "moved"], len(usual))
    skill = scorer(model, np.concatenate([usual, moved]), labels)
    changed = model.intervene({node: Stretch(JUDGE)}, X=usual)
    return skill, counterfactual_error(changed, world.render(JUDGE)[rows])


def scorer_at(node):
    return make_extrapolation_scorer(
        {"moved": {node: Stretch(CHOICE)}}, observational="usual", n_samples=1000
    )


def run_seed(spec, n_rows, n_epochs, seed, methods):
    """``{method: (skill, error)}``, with baselines that have no model."""
    world = spec.make(n_rows, seed)
    n_train = int((1 - HELD_OUT) * n_rows)
    train, rest = world.render(1.0)[:n_train], np.arange(n_train, n_rows)
    found = {}
    for name, params in methods.items():
        model = VAEGenerator(
            world.data_shape,
            max_epochs=n_epochs,
            random_state=seed,
            **{**spec.model, **params},
        ).fit(train)
        found[name] = judge(model, spec.node, world, rest, scorer_at(spec.node))
        if name == PLAIN:
            found["its pixels stretched"] = judge(
                model, "data", world, rest, scorer_at("data")
            )
    found["no intervention"] = (
        0.0,
        counterfactual_error(world.render(1.0)[rest], world.render(JUDGE)[rest]),
    )
    if spec.true_node:
        truth = FixedGenerator(
            world.mechanisms, data_shape=world.data_shape, random_state=seed
        ).fit(train)
        few = rest[:50]
        found["the true generator"] = judge(
            truth, spec.true_node, world, few, scorer_at(spec.true_node)
        )
    return found


def interval(values):
    """Mean with a 95 % t-interval."""
    mean, half = np.mean(values), np.nan
    if len(values) > 1:
        sd = np.std(values, ddof=1)
        half = t.ppf(0.975, len(values) - 1) * sd / len(values) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def print_world(title, found, methods):
    """Print skills and errors, and what the choice by the scorer gains."""
    values = {name: np.array([seed[name] for seed in found]) for name in found[0]}
    chosen = [max(methods, key=lambda name, s=seed: s[name][0]) for seed in found]
    errors = np.array([s[c][1] for s, c in zip(found, chosen, strict=True)])
    plain = values[PLAIN][:, 1]
    rows = [
        [
            name,
            f"{v[:, 0].mean():.3f} +- {v[:, 0].std(ddof=1):.3f}",
            f"{v[:, 1].mean():.3f} +- {v[:, 1].std(ddof=1):.3f}",
            "-" if name == PLAIN else interval(v[:, 1] - plain),
        ]
        for name, v in values.items()
    ]
    rows.append(
        [
            "chosen by the scorer",
            "",
            f"{errors.mean():.3f} +- {errors.std(ddof=1):.3f}",
            interval(errors - plain),
        ]
    )
    header = [
        "method",
        f"skill at {CHOICE}",
        f"error at {JUDGE}",
        f"difference to {PLAIN}",
    ]
    print_table(title, header, rows)
    print("Chosen:", ", ".join(chosen), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--methods", default="penalties", choices=SETS)
    parser.add_argument("--rows", type=int, default=2500)
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    methods, n_seeds = SETS[options.methods], options.seeds
    n_rows, n_epochs = options.rows, options.epochs
    if options.quick:
        methods = {name: METHODS[name] for name in (PLAIN, "pooled 1")}
        n_seeds, n_rows, n_epochs = 2, 80, 1
    print(versions())
    for name in options.worlds:
        found = [
            run_seed(WORLDS[name], n_rows, n_epochs, seed, methods)
            for seed in range(n_seeds)
        ]
        title = f"{name}: {n_seeds} seeds, {n_rows} rows, {n_epochs} epochs"
        print_world(title, found, methods)


if __name__ == "__main__":
    main()
