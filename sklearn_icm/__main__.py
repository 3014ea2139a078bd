"""The main job on real images: search, refit, ask, compare.

Two glyphs stand side by side. A generator sees one range of distances ("narrow"). Asked
what distances 1.5 times as large would look like, it has to move the glyphs and draw
them as before. A search over ``icm_weight`` says whether independent mechanisms make
that answer better, by the score of an environment at 1.25 times the distance ("wide");
beside it are a decoder of parts, chosen without that environment, and what needs no
generator at all. The answers are judged by the true ones.
"""

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import t
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from .datasets import load_glyphs, make_glyph_pairs
from .exceptions import FitDivergedError, FitInterruptedWarning
from .generators import VAEGenerator
from .independence import GenericPenalty, PatchDistribution
from .inspection import (
    InterventionDisplay,
    SamplesDisplay,
    SearchDisplay,
    TrainingDisplay,
)
from .interventions import InterventionFamily, Stretch
from .mechanisms import map_decoder, parts_decoder
from .metrics import make_appearance_scorer, make_extrapolation_scorer
from .model_selection import LeaveEnvironmentOut

# Of the environment that scores see, and of the question.
WIDE, ASKED = 1.25, 1.5
# Rows of the environment, and rows that are judged, which nothing else has seen.
N_WIDE, N_JUDGED = 400, 400
# Side of the patches that are compared, in pixels.
PATCH = 7
SETTING = {"n_latents": 16, "lr": 4e-3, "beta": 0.02}
SEEN, MEAN, PIXELS = "rows as they are", "mean row", "stretched pixels"
PLAIN, SEARCHED, PARTS = "map, weight 0", "map, searched", "parts"


@dataclass(frozen=True)
class Effort:
    """How much is trained: rows, epochs, folds, weights, starts of parts, batch."""

    n_rows: int
    epochs: int
    folds: int
    weights: tuple = (0.0, 3.0, 10.0, 30.0)
    starts: int = 3
    batch: int = 32

    @classmethod
    def choose(cls, quick, n_pixels):
        """Larger canvases get fewer epochs, so that every data set takes as long."""
        share = min(1.0, 336 / n_pixels)
        if quick:
            epochs = max(10, round(24 * share))
            return cls(500, epochs, 2, (0.0, 10.0), starts=2, batch=16)
        return cls(1200, max(12, round(24 * share)), 3)


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


@dataclass(frozen=True)
class Job:
    """Rows and their labels; rows to be asked about, and the truth by strength."""

    X: np.ndarray
    labels: np.ndarray
    asked: np.ndarray
    truth: dict
    data_shape: tuple

    @classmethod
    def make(cls, glyphs, n_rows, seed):
        """Draw pairs, other ones to fit, to score with and to judge."""
        pairs = make_glyph_pairs(
            n_rows + N_WIDE + N_JUDGED, glyphs=glyphs, stretch=ASKED, random_state=seed
        )
        usual, wide, far = (pairs.render(s) for s in (1.0, WIDE, ASKED))
        end = n_rows + N_WIDE
        return cls(
            np.concatenate([usual[:n_rows], wide[n_rows:end]]),
            np.repeat(["narrow", "wide"], [n_rows, N_WIDE]),
            usual[end:],
            {WIDE: wide[end:], ASKED: far[end:]},
            pairs.data_shape,
        )

    @property
    def narrow(self):
        """Rows that may be fitted."""
        return self.X[self.labels == "narrow"]

    def generator(self, effort, seed, **params):
        """VAE in the one setting of all decoders."""
        return VAEGenerator(
            self.data_shape,
            **SETTING,
            observational="narrow",
            max_epochs=effort.epochs,
            batch_size=effort.batch,
            random_state=seed,
            verbose=int(sys.stderr.isatty()),
            **params,
        )


def wider(stretch):
    """Return what moves glyphs apart, on a map, at coordinates or on pixels."""
    return Stretch(stretch, axis="width")


class Report:
    """Scoring of the search: what is said of a fitted candidate on one fold."""

    def __init__(self, n_fits):
        self.n_fits = n_fits
        self.done = 0
        self.start = time.monotonic()
        self.scorers = {
            "skill": make_extrapolation_scorer(
                {"wide": {"map": wider(WIDE)}}, observational="narrow"
            ),
            "appearance": make_appearance_scorer(
                {"map": wider(ASKED)}, observational="narrow", patch_size=PATCH
            ),
        }

    def __call__(self, estimator, X, y):
        """Return all scores of one candidate on one fold, and say so."""
        scores = {
            name: scorer(estimator, X, y) for name, scorer in self.scorers.items()
        }
        scores["fit"] = estimator.score(X, y)
        self.done += 1
        spent = time.monotonic() - self.start
        left = spent / self.done * (self.n_fits - self.done)
        print(
            f"  fit {self.done:2d}/{self.n_fits}: "
            f"icm_weight={estimator.icm_weight:<4g} skill {scores['skill']:6.3f}   "
            f"{left:4.0f} s left",
            flush=True,
        )
        return scores


def search_weights(job, effort, seed):
    """Search icm_weight with the extrapolation scorer, and refit the best."""
    strengths = InterventionFamily(
        partial(Stretch, axis="width"), {"factor": (1.0, ASKED)}
    )
    generator = job.generator(
        effort,
        seed,
        decoder=map_decoder,
        icm_penalty=GenericPenalty(strengths, PatchDistribution((PATCH,))),
        # A large weight from the start would spoil the fit.
        icm_warmup=effort.epochs,
    )
    search = GridSearchCV(
        generator,
        {"icm_weight": list(effort.weights)},
        scoring=Report(len(effort.weights) * effort.folds),
        refit="skill",
        cv=LeaveEnvironmentOut("narrow", n_splits=effort.folds, random_state=seed),
        error_score="raise",
    )
    return search.fit(job.X, job.labels)


def choose_parts(job, effort, seed):
    """Parts at coordinates, the best of several starts by what needs no environment.

    Scored on the rows that are fitted, with their parts moved, so that the refit is the
    fit that was scored.
    """
    rows = job.narrow
    everything = np.arange(len(rows))
    search = GridSearchCV(
        job.generator(effort, seed, decoder=parts_decoder),
        {"random_state": [seed + k for k in range(effort.starts)]},
        scoring=make_appearance_scorer({"places": wider(ASKED)}, patch_size=PATCH),
        cv=[(everything, everything)],
        error_score="raise",
    )
    return search.fit(rows, np.repeat("narrow", len(rows)))


def skills_of(search):
    """Weights, and the skills in every fold, (n_folds, n_weights)."""
    results, folds = search.cv_results_, range(search.n_splits_)
    skills = [results[f"split{k}_test_skill"] for k in folds]
    return list(results["param_icm_weight"]), np.array(skills)


def results_table(search):
    """One row per weight: mean +- sd over the folds of every score."""
    results = search.cv_results_
    columns = {"icm_weight": [f"{w:g}" for w in results["param_icm_weight"]]}
    for name in ("skill", "appearance", "fit"):
        digits = 1 if name == "fit" else 3
        mean, sd = results[f"mean_test_{name}"], results[f"std_test_{name}"]
        pairs = zip(mean, sd, strict=True)
        columns[name] = [f"{m:.{digits}f} +- {s:.{digits}f}" for m, s in pairs]
    return pd.DataFrame(columns)


def finding(weights, skills):
    """Say in one sentence what the search found; weight 0 is the first."""
    if not np.isfinite(skills).all():
        return "Some folds have no skill, so no claim about the ICM weight."
    means = skills.mean(0)
    best = int(means.argmax())
    if best == 0:
        return (
            "The ICM weight did not help here: weight 0 extrapolates best, by "
            f"{means[0] - means[1:].max():.3f} of skill over the best other weight."
        )
    mean, half = interval(skills[:, best] - skills[:, 0])
    text = (
        f"icm_weight={weights[best]:g} scored {mean:+.3f} of skill over weight 0, "
        f"95 % interval [{mean - half:+.3f}, {mean + half:+.3f}] paired over "
        f"{len(skills)} folds of one seed"
    )
    if mean > half:
        return f"{text}: it helped on these data."
    return f"{text}: within what the folds differ, so no claim that it helped."


def interval(values):
    """Mean, and half the width of its 95 % interval."""
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return np.mean(values), half


def fitted_models(job, search, parts, effort, seed):
    """Models by name, each with the node at which it is asked."""
    chosen = search.best_estimator_
    models = {"usual decoder": (job.generator(effort, seed), "conv2")}
    if chosen.icm_weight:
        models[PLAIN] = clone(chosen).set_params(icm_weight=0.0), "map"
    for model, _ in models.values():
        model.fit(job.X, job.labels)
    models[SEARCHED] = chosen, "map"
    models[PARTS] = parts.best_estimator_, "places"
    return models


def answers(job, models, stretch):
    """What is predicted of the rows that are asked about, by name."""
    first, _ = next(iter(models.values()))
    truth, change = job.truth[stretch], wider(stretch)
    return {
        SEEN: job.asked,
        MEAN: np.broadcast_to(truth.mean(0), truth.shape),
        PIXELS: first.intervene({"data": change}, X=job.asked, residual="keep"),
        **{
            name: model.intervene({node: change}, X=job.asked, residual="drop")
            for name, (model, node) in models.items()
        },
    }


def row_errors(predicted, truth):
    """Squared error of each row in units of the truth's spread."""
    spread = np.square(truth - truth.mean(0)).sum(1).mean()
    return np.square(predicted - truth).sum(1) / spread


def errors_table(errors):
    """One row per prediction: its errors, and how it compares with stretched pixels."""
    far = errors[ASKED]
    columns = {"prediction": list(far)}
    for stretch, found in errors.items():
        columns[f"at {stretch:g}"] = [f"{found[name].mean():.3f}" for name in far]
    differences = [interval(own - far[PIXELS]) for own in far.values()]
    columns["less pixels"] = [
        "-" if name == PIXELS else f"{mean:+.3f} +- {half:.3f}"
        for name, (mean, half) in zip(far, differences, strict=True)
    ]
    return pd.DataFrame(columns)


def conclusion(errors):
    """Say which prediction is nearest to the truth, and what the search was worth."""
    best = min(errors, key=lambda name: errors[name].mean())
    others = [name for name in (PIXELS, PLAIN) if name in errors]
    said = " and ".join(
        f"{_compared(errors[SEARCHED] - errors[name])} {name!r}" for name in others
    )
    return (
        f"At {ASKED:g} times the distance, of which no fit and no score has seen a "
        f"row, {best!r} comes closest to the truth (error {errors[best].mean():.2f}); "
        f"{'it' if best == SEARCHED else repr(SEARCHED)} is {said}."
    )


def _compared(differences):
    mean, half = interval(differences)
    if abs(mean) <= half:
        return f"about as near (by {-mean:+.2f} +- {half:.2f}) as"
    side = "nearer" if mean < 0 else "further away"
    return f"{side} (by {abs(mean):.2f} +- {half:.2f}) than"


def write_figures(job, models, found, search, output):
    """Write the figures, and return their paths."""
    import matplotlib

    matplotlib.use("Agg")

    n, shown = 6, [SEEN, "truth", PIXELS, PLAIN, SEARCHED, PARTS]
    rows = {**found, "truth": job.truth[ASKED]}
    shown = [name for name in shown if name in rows]
    grid = SamplesDisplay(
        np.stack([rows[name][:n] for name in shown]),
        data_shape=job.data_shape,
        labels=shown,
        title=f"Moved apart: {ASKED:g} times the distance",
    )
    displays = {
        "answers": grid.plot(),
        "parts": InterventionDisplay.from_parts(
            models[PARTS][0], job.asked, n_columns=n
        ),
        "search": SearchDisplay.from_search(search, scorers=["skill", "appearance"]),
        "training": TrainingDisplay.from_estimator(models[SEARCHED][0]),
    }
    paths = []
    for name, display in displays.items():
        paths.append(output / f"{name}.png")
        display.figure_.savefig(paths[-1], dpi=150, bbox_inches="tight")
    return paths


def announce(options, effort, job):
    """Say what will be seen, and how much is trained for it."""
    height, width = job.data_shape
    minutes = "one minute" if options.quick else "three minutes"
    print(
        f"Does icm_weight help to move {options.data} {ASKED:g} times further apart "
        f"than any that are fitted, beside stretched pixels? {len(effort.weights)} "
        f"weights x {effort.folds} folds of {effort.n_rows} rows, about {minutes} on "
        "two quiet cores.\n(benchmarks/image_parts.py has more worlds, decoders and "
        "seeds.)\n\n"
        f"Images of {height} x {width}. 'narrow': {effort.n_rows} rows that are "
        f"fitted; 'wide': {N_WIDE} others at {WIDE:g} times the distance, which the "
        f"skill sees and no fit; {N_JUDGED} others to be judged at {ASKED:g}.\n"
        "Searching icm_weight of a decoder with a full-grid map. skill: 1 = stretching "
        "the map predicts 'wide' perfectly, 0 = no better than its mean.",
        flush=True,
    )


def answered(job, models):
    """Print how far the answers of all models are from the truth; return both."""
    found = {stretch: answers(job, models, stretch) for stretch in job.truth}
    errors = {
        stretch: {name: row_errors(p, job.truth[stretch]) for name, p in of.items()}
        for stretch, of in found.items()
    }
    print(
        f"\nError of the answers to {N_JUDGED} rows (0 = exact, 1 = as the mean row); "
        f"at {ASKED:g} less that of stretched pixels, 95 % intervals over rows:\n"
        f"{errors_table(errors).to_string(index=False)}\n"
    )
    return found[ASKED], errors[ASKED]


def run(options):
    """Run the job; return the exit status."""
    torch.set_num_threads(options.threads)
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    glyphs = load_glyphs(options.data, options.data_home)
    n_pixels = Job.make(glyphs, 1, 0).X.shape[1]
    effort = Effort.choose(options.quick, n_pixels)
    job = Job.make(glyphs, effort.n_rows, options.seed)
    announce(options, effort, job)
    search = search_weights(job, effort, options.seed)
    print(
        f"\nMean +- sd over {effort.folds} folds. appearance: a score without 'wide' "
        "(1 = parts move, and look as in the data); fit: nats per held-out row.\n"
        f"{results_table(search).to_string(index=False)}\n\n"
        f"{finding(*skills_of(search))}\n\n"
        f"Fitting parts from {effort.starts} starts, and the others to all rows.",
        flush=True,
    )
    parts = choose_parts(job, effort, options.seed)
    models = fitted_models(job, search, parts, effort, options.seed)
    predicted, errors = answered(job, models)
    try:
        paths = write_figures(job, models, predicted, search, output)
        print("Figures: " + ", ".join(str(path) for path in paths) + "\n")
    except ImportError as error:
        print(f"No figures: {error}\n")
    print(conclusion(errors))
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
