"""The main job on real images: fit, search, sample, intervene.

Two glyphs stand side by side. A generator sees one range of distances only
("narrow"); asked what a distance 1.3 times larger would look like, it stretches one of
its hidden maps. A search over ``icm_weight`` says whether independent mechanisms make
that answer better.
"""

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import t
from sklearn.model_selection import GridSearchCV

from .datasets import load_glyphs, make_glyph_pairs
from .exceptions import FitDivergedError, FitInterruptedWarning
from .generators import VAEGenerator
from .inspection import (
    IndependenceDisplay,
    InterventionDisplay,
    SamplesDisplay,
    TrainingDisplay,
)
from .interventions import Stretch
from .metrics import make_extrapolation_scorer
from .metrics._baselines import PEERS
from .model_selection import LeaveEnvironmentOut

WEIGHTS = (0.0, 1.0, 10.0, 100.0)
STRETCH = 1.3
NODE = "conv2"


@dataclass(frozen=True)
class Effort:
    """How much is trained: rows per environment, epochs, folds, rows per step."""

    n_rows: int
    epochs: int
    folds: int
    batch: int = 128

    @classmethod
    def choose(cls, quick, n_pixels):
        """Larger canvases get fewer epochs, so that every data set takes as long."""
        share = min(1.0, 288 / n_pixels)
        if quick:
            return cls(400, max(5, round(20 * share)), 2, batch=16)
        return cls(1500, max(12, round(45 * share)), 3)


def parse_arguments(arguments=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sklearn_icm", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument(
        "--data",
        choices=["digits", "fashion-mnist", "olivetti"],
        default="digits",
        help="glyphs: scikit-learn's digits (bundled), Fashion-MNIST, Olivetti faces",
    )
    parser.add_argument("--data-home", help="folder of Fashion-MNIST or Olivetti")
    parser.add_argument("--output", default="icm-demo", help="folder of the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--threads", type=int, default=1, help="of torch (1)")
    options = parser.parse_args(arguments)
    if not 0 <= options.seed < 2**31:
        parser.error(f"--seed must be from 0 to 2**31 - 1, got {options.seed}")
    if options.threads < 1:
        parser.error(f"--threads must be at least 1, got {options.threads}")
    return options


def stretch_scorer(node):
    """Scorer: does stretching a node predict the rows "wide"?"""
    return make_extrapolation_scorer(
        {"wide": {node: Stretch(STRETCH, axis="width")}}, observational="narrow"
    )


class Report:
    """Scoring of the search: skill, fit and independence of a fitted candidate."""

    def __init__(self, n_fits):
        self.n_fits = n_fits
        self.done = 0
        self.start = time.monotonic()
        self.scorers = {
            "skill": stretch_scorer(NODE),
            "pixel skill": stretch_scorer("data"),
        }

    def __call__(self, estimator, X, y):
        """Return all scores of one candidate on one fold, and say so."""
        scores = {
            name: scorer(estimator, X, y) for name, scorer in self.scorers.items()
        }
        scores["fit"] = estimator.score(X, y)
        for row in estimator.independence().itertuples():
            scores[f"rho {row.pair}"] = row.rho
            scores[f"anisotropy {row.pair}"] = row.anisotropy_out
        self.done += 1
        spent = time.monotonic() - self.start
        left = spent / self.done * (self.n_fits - self.done)
        print(
            f"  fit {self.done:2d}/{self.n_fits}: "
            f"icm_weight={estimator.icm_weight:<5g} skill {scores['skill']:6.3f}   "
            f"{left:4.0f} s left",
            flush=True,
        )
        return scores


def search_weights(pairs, effort, seed, icm_penalty="auto"):
    """Search icm_weight with the extrapolation scorer, and refit the best."""
    generator = VAEGenerator(
        data_shape=pairs.data_shape,
        n_latents=32,
        observational="narrow",
        icm_penalty=icm_penalty,
        max_epochs=effort.epochs,
        batch_size=effort.batch,
        random_state=seed,
        verbose=int(sys.stderr.isatty()),
    )
    search = GridSearchCV(
        generator,
        {"icm_weight": list(WEIGHTS)},
        scoring=Report(len(WEIGHTS) * effort.folds),
        refit="skill",
        cv=LeaveEnvironmentOut("narrow", n_splits=effort.folds, random_state=seed),
        error_score="raise",
    )
    return search.fit(pairs.data, pairs.environments)


def results_table(search):
    """One row per weight: score +- sd, fit, rho and anisotropy of each pair."""
    results = search.cv_results_
    names = [
        k.removeprefix("mean_test_") for k in results if k.startswith("mean_test_")
    ]
    columns = {"icm_weight": [f"{w:g}" for w in WEIGHTS]}
    for name in names:
        mean, sd = results[f"mean_test_{name}"], results[f"std_test_{name}"]
        if name.startswith("rho"):
            other = results[f"mean_test_{name.replace('rho', 'anisotropy')}"]
            cells = [f"{m:.3f} ({a:.2f})" for m, a in zip(mean, other, strict=True)]
        elif not name.startswith("anisotropy"):
            digits = 1 if name == "fit" else 3
            pairs = zip(mean, sd, strict=True)
            cells = [f"{m:.{digits}f} +- {s:.{digits}f}" for m, s in pairs]
        columns[name.replace("anisotropy", "rho")] = cells
    return pd.DataFrame(columns)


def finding(search, n_folds):
    """Say in one sentence what the search found."""
    skills = np.array(
        [search.cv_results_[f"split{k}_test_skill"] for k in range(n_folds)]
    )
    if not np.isfinite(skills).all():
        return "Some folds have no skill, so no claim about the ICM weight."
    best = int(skills.mean(0).argmax())
    if best == 0:
        gap = skills.mean(0)[0] - skills.mean(0)[1:].max()
        return (
            "The ICM weight did not help here: weight 0 extrapolates best, by "
            f"{gap:.3f} of skill over the best other weight."
        )
    gain = skills[:, best] - skills[:, 0]
    mean = gain.mean()
    half = t.ppf(0.975, n_folds - 1) * gain.std(ddof=1) / n_folds**0.5
    text = (
        f"icm_weight={WEIGHTS[best]:g} scored {mean:+.3f} of skill over weight 0, "
        f"95 % interval [{mean - half:+.3f}, {mean + half:+.3f}] paired over "
        f"{n_folds} folds of one seed"
    )
    if mean > half:
        return f"{text}: it helped on these data."
    return f"{text}: within what the folds differ, so no claim that it helped."


def counterfactual_table(estimator, pairs, n_rows=200):
    """Error of the known counterfactuals, node by node."""
    factual, truth = (pairs.data[rows[:n_rows]] for rows in pairs.pairs)
    scale = np.square(truth - truth.mean(0)).sum()
    errors = {"no intervention": np.square(factual - truth).sum() / scale}
    rank = len(estimator.nodes_["data"])
    for node, shape in estimator.nodes_.items():
        if len(shape) == rank:
            changed = estimator.intervene(
                {node: Stretch(STRETCH, axis="width")}, X=factual, residual="drop"
            )
            name = "data (pixel stretch)" if node == "data" else node
            errors[name] = np.square(changed - truth).sum() / scale
    return pd.DataFrame(
        {"stretched node": list(errors), "error": [f"{e:.3f}" for e in errors.values()]}
    )


def baselines_table(estimator, glyphs, n_rows, seed):
    """Skill of the model and of simple baselines on rows that no fit has seen.

    No pair of glyphs is both among the rows "narrow" and among the rows "wide".
    """
    fresh = make_glyph_pairs(
        2 * n_rows, glyphs=glyphs, stretch=STRETCH, random_state=seed
    )
    rows = np.r_[:n_rows, 3 * n_rows : 4 * n_rows]
    scorer = stretch_scorer(NODE)
    found = scorer.components(estimator, fresh.data[rows], fresh.environments[rows])
    skills = found.loc["wide", ["skill", *PEERS]].dropna().astype(float)
    skills = skills.rename({"skill": f"stretched {NODE}"})
    return pd.DataFrame({"prediction": skills.index, "skill": skills.round(3)})


def write_figures(estimator, pairs, output):
    """Write the figures, and return their paths."""
    import matplotlib

    matplotlib.use("Agg")

    factual, truth = (pairs.data[rows[:8]] for rows in pairs.pairs)
    displays = {
        "samples": SamplesDisplay.from_estimator(
            estimator, factual, n_columns=4, random_state=0, observation_noise=False
        ),
        "interventions": InterventionDisplay.from_nodes(
            estimator,
            Stretch(STRETCH, axis="width"),
            factual[:4],
            truth=truth[:4],
            n_columns=4,
            residual="drop",
        ),
        "independence": IndependenceDisplay.from_estimator(estimator),
        "training": TrainingDisplay.from_estimator(estimator),
    }
    paths = []
    for name, display in displays.items():
        paths.append(output / f"{name}.png")
        display.figure_.savefig(paths[-1], dpi=150)
    return paths


def run(options):
    """Run the job; return the exit status."""
    torch.set_num_threads(options.threads)
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    glyphs = load_glyphs(options.data, options.data_home)
    n_pixels = make_glyph_pairs(2, glyphs=glyphs, random_state=0).data.shape[1]
    effort = Effort.choose(options.quick, n_pixels)
    pairs = make_glyph_pairs(
        effort.n_rows, glyphs=glyphs, stretch=STRETCH, random_state=options.seed
    )
    height, width = pairs.data_shape
    print(
        f"Pairs of {options.data} on {height} x {width} pixels: {effort.n_rows} rows "
        f"'narrow' to learn from, {effort.n_rows} 'wide' (distance x {STRETCH:g}) "
        "that are never trained on.\nSearching icm_weight; skill: 1 = stretching "
        f"{NODE} predicts 'wide' perfectly, 0 = no better than its mean.",
        flush=True,
    )
    search = search_weights(pairs, effort, options.seed)
    model = search.best_estimator_
    print(
        f"\nMean +- sd over {effort.folds} folds; fit in nats per held-out row; rho "
        "with the anisotropy of the later mechanism.\n"
        f"{results_table(search).to_string(index=False)}\n"
    )
    print(finding(search, effort.folds))
    print(
        f"\nRefitted at icm_weight={model.icm_weight:g}. Error of the true "
        "counterfactuals of 200 rows (0 = exact, 1 = as their mean):\n"
        f"{counterfactual_table(model, pairs).to_string(index=False)}\n"
    )
    table = baselines_table(model, glyphs, 200, options.seed + 1)
    print(
        "Skill on 200 fresh rows beside baselines without a fitted generator (some "
        f"see the moments of 'wide'):\n{table.to_string(index=False)}\n"
    )
    try:
        paths = write_figures(model, pairs, output)
    except ImportError as error:
        print(f"No figures: {error}")
        return 0
    print("Figures: " + ", ".join(str(path) for path in paths))
    return 0


def main(arguments=None):
    """Run the command line."""
    options = parse_arguments(arguments)
    try:
        with warnings.catch_warnings():
            # In a search a swallowed Ctrl-C would only start the next fit.
            warnings.simplefilter("error", FitInterruptedWarning)
            return run(options)
    except (FileNotFoundError, FitDivergedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, FitInterruptedWarning):
        print("\ninterrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
