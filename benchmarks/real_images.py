"""Are the mechanisms of a generator of real images independent, and can they be moved?

Three questions to convolutional autoencoders of small grey images.

Direction: is rho of successive mechanisms nearer to 1 in the decoder, the causal
direction, than in the encoder? The null band holds 95 % of the ratios after random
rotations of the later mechanism's taps; "off 1" is the mean of abs(log rho) over pairs
and seeds, "off the null" is the same relative to the middle of the null band, since
resizing between maps moves the ratio of generic taps away from 1.

Depth: what does a stretch along the width change at each hidden map and at the pixels?
Distances of patches (texture), of patches of unit norm (texture whatever its contrast)
and of layouts: samples without observation noise against the data, and against the same
samples without the stretch.

Training: rho of the decoder's pairs along training, as the root mean square of log rho
over hidden channels (pooled form; "weight" is that of the penalty on it), and the error
of reconstruction over the variance. Weight decay is the optimiser's: a term of the
gradient for "sgd" and "adam", apart from it for "adamw".

Figures are mean +- sd over seeds, differences paired with 95 % t-intervals.
"""

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from _common import print_table, versions
from scipy.stats import t
from skorch.callbacks import Callback

from sklearn_icm.datasets import load_glyphs
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import SpectralPenalty, Step
from sklearn_icm.interventions import Stretch
from sklearn_icm.metrics import layout_distance, patch_distance

STRETCH = 1.3
FORMS = {"pooled": "weights", "triplet": "triplet"}
DIRECTIONS = ("decoder", "encoder")
DISTANCES = ("patches", "unit patches", "layout")
LEARNING_RATES = {"sgd": 0.03, "adam": 2e-3, "adamw": 2e-3}
DECAYS = (("sgd", 0.0), ("sgd", 0.1), ("adam", 0.0), ("adam", 0.1), ("adamw", 0.1))
BATCH_SIZES = (32, 128)
ICM_WEIGHTS = (0.0, 1.0)


@dataclass(frozen=True)
class Effort:
    """How much is computed: the models of the first two questions, and of the third."""

    rows: int
    epochs: int
    seeds: int = 3
    training_epochs: int = 50
    training_seeds: int = 2
    n_samples: int = 1000
    n_draws: int = 200


EFFORTS = {
    "olivetti": Effort(rows=400, epochs=150),
    "fashion-mnist": Effort(rows=1500, epochs=30, training_epochs=8),
    "digits": Effort(rows=1797, epochs=50, training_epochs=15),
}
QUICK = Effort(64, epochs=1, seeds=2, training_epochs=1, n_samples=50, n_draws=5)


def fit(X, shape, seed, **params):
    """An autoencoder whose samples are not clipped, so that no stretch is undone."""
    model = VAEGenerator(
        shape,
        icm_penalty="spectral",
        bounds=None,
        random_state=seed,
        **{"batch_size": 32, **params},
    )
    return model.fit(X)


def plus_minus(values, digits=3):
    return f"{np.mean(values):.{digits}f} +- {np.std(values, ddof=1):.{digits}f}"


def interval(values):
    """Mean with a 95 % t-interval."""
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    mean = np.mean(values)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


# -------------------------------------------------------------------- direction
def ratios(model, effort, seed):
    """``{(form, direction): table of pairs}`` of a fitted model."""
    return {
        (form, direction): model.independence(
            measure=name, network=direction, n_draws=effort.n_draws, random_state=seed
        )
        for form, name in FORMS.items()
        for direction in DIRECTIONS
    }


def off(table, null=False):
    """Mean of abs(log rho) over pairs, relative to 1 or to the middle of the null."""
    low, high = 1 + table["low"], 1 + table["high"]
    middle = np.sqrt(low * high) if null else 1.0
    return float(np.abs(np.log(table["rho"] * middle)).mean())


def print_ratios(title, found):
    """A row per pair: its change of power, null band and p-values, over seeds."""
    rows = []
    for form, direction in found[0]:
        tables = [seed[form, direction] for seed in found]
        for k, pair in enumerate(tables[0]["pair"]):
            pairs = [table.iloc[k] for table in tables]
            low, high = np.mean([p[["low", "high"]] for p in pairs], axis=0)
            rows.append(
                [
                    form,
                    direction,
                    pair,
                    plus_minus([p["power_change"] for p in pairs]),
                    f"{low:.2f} to {high:.2f}",
                    ", ".join(f"{p['p_value']:.2f}" for p in pairs),
                ]
            )
    header = ["form", "graph", "pair", "power change", "null band", "p-values"]
    print_table(title, header, rows)


def n_outside(found, form, direction):
    """How many pairs of all seeds lie outside the null band."""
    pairs = pd.concat([seed[form, direction] for seed in found])
    inside = pairs["power_change"].between(pairs["low"], pairs["high"])
    return f"{np.sum(~inside)} of {len(inside)}"


def print_directions(title, states):
    """Decoder against encoder, by state of training and form."""
    rows = []
    for (state, found), form in itertools.product(states.items(), FORMS):
        outside = [n_outside(found, form, direction) for direction in DIRECTIONS]
        for null in (False, True):
            causal, anticausal = (
                np.array([off(seed[form, direction], null) for seed in found])
                for direction in DIRECTIONS
            )
            rows.append(
                [
                    state,
                    form,
                    "off the null" if null else "off 1",
                    plus_minus(causal),
                    plus_minus(anticausal),
                    interval(causal - anticausal),
                ]
            )
        rows.append([state, form, "outside the null band", *outside, ""])
    header = ["model", "form", "", "decoder", "encoder", "difference"]
    print_table(title, header, rows)


# ------------------------------------------------------------------------ depth
def distances(X, Y, shape):
    patches, unit_patches = (
        patch_distance(X, Y, shape, n_patches=4000, normalise=normalise)
        for normalise in (False, True)
    )
    return [patches, unit_patches, layout_distance(X, Y, shape)]


def stretched_by_depth(model, X, shape, n_samples):
    """``{place: DISTANCES to the data, then to its own samples without stretch}``."""
    draws = {"n_samples": n_samples, "random_state": 0, "observation_noise": False}
    usual = model.intervene({}, **draws)
    found = {"none": distances(X, usual, shape)}
    for node in [n for n, s in model.nodes_.items() if len(s) == 3]:
        changed = model.intervene({node: Stretch(STRETCH, axis="width")}, **draws)
        found[f"at {node}"] = [
            *distances(X, changed, shape),
            *distances(usual, changed, shape),
        ]
    order = np.random.RandomState(0).permutation(len(X))
    halves = distances(X[order[::2]], X[order[1::2]], shape)
    return {"none, half of the data": halves, **found}


def print_depths(title, found):
    rows = []
    for place in found[0]:
        values = np.transpose([seed[place] for seed in found])
        cells = [plus_minus(v, 4) for v in values]
        rows.append([place, *cells, *[""] * (2 * len(DISTANCES) - len(cells))])
    sides = itertools.product(("data", "unstretched"), DISTANCES)
    header = ["stretch", *(f"{name}, to {other}" for other, name in sides)]
    print_table(title, header, rows)


# --------------------------------------------------------------------- training
class Spread(Callback):
    """Keep the mean (log rho)^2 at the end of every epoch, penalised or not."""

    def initialize(self):
        self.values = []
        return self

    def on_epoch_end(self, net, **kwargs):
        value = SpectralPenalty()(Step(net.module_.graph))
        self.values.append(float(value.detach()))


def along_training(X, shape, epochs, seed, **params):
    """(log rho at the first, a middle and the last epoch, error of reconstruction)."""
    callback = Spread()
    model = fit(X, shape, seed, max_epochs=epochs, callbacks=[callback], **params)
    spread = np.sqrt(callback.values)
    rebuilt = model.inverse_transform(model.transform(X))
    error = np.square(X - rebuilt).sum() / np.square(X - X.mean(0)).sum()
    return [spread[0], spread[epochs // 4], spread[-1], error]


def print_training(title, X, shape, effort):
    rows = []
    arms = itertools.product(DECAYS, BATCH_SIZES, ICM_WEIGHTS)
    for (optimizer, decay), batch_size, weight in arms:
        found = [
            along_training(
                X,
                shape,
                effort.training_epochs,
                seed,
                optimizer=optimizer,
                lr=LEARNING_RATES[optimizer],
                weight_decay=decay,
                batch_size=batch_size,
                icm_weight=weight,
            )
            for seed in range(effort.training_seeds)
        ]
        cells = [plus_minus(values) for values in np.transpose(found)]
        rows.append([optimizer, decay, batch_size, weight, *cells])
    epochs = (1, effort.training_epochs // 4 + 1, effort.training_epochs)
    header = [
        "optimizer",
        "decay",
        "batch",
        "weight",
        *(f"log rho, epoch {e}" for e in epochs),
        "error",
    ]
    print_table(title, header, rows)


# ---------------------------------------------------------------------- figures
def save_figures(folder, name, model, found):
    """Figures of one model: ratios of both directions, and a stretch at every depth."""
    import matplotlib

    matplotlib.use("Agg")
    from sklearn_icm.inspection import IndependenceDisplay, InterventionDisplay

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for form in FORMS:
        tables = {direction: found[form, direction] for direction in DIRECTIONS}
        display = IndependenceDisplay(tables).plot()
        display.figure_.savefig(folder / f"{name}_{form}.png", dpi=150)
    display = InterventionDisplay.from_nodes(
        model, Stretch(STRETCH, axis="width"), observation_noise=False
    )
    display.figure_.savefig(folder / f"{name}_stretch.png", dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits", choices=EFFORTS)
    parser.add_argument("--data-home", help="folder of the data, see load_glyphs")
    parser.add_argument("--figures", metavar="FOLDER", help="save figures there")
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    effort = QUICK if options.quick else EFFORTS[options.data]
    images = load_glyphs(options.data, options.data_home)
    order = np.random.RandomState(0).permutation(len(images))[: effort.rows]
    shape, X = images.shape[1:], images[order].reshape(len(order), -1)
    about = f"{options.data}, {len(X)} images of {shape[0]} x {shape[1]}"
    print(versions())

    seeds = range(effort.seeds)
    # A learning rate too small to change anything: the model as it is initialised.
    fresh = [fit(X, shape, seed, max_epochs=1, lr=1e-12) for seed in seeds]
    models = [fit(X, shape, seed, max_epochs=effort.epochs) for seed in seeds]
    states = {
        state: [ratios(m, effort, seed) for seed, m in enumerate(of_state)]
        for state, of_state in {"untrained": fresh, "trained": models}.items()
    }
    trained = f"{about}, {effort.seeds} seeds, {effort.epochs} epochs"
    print_ratios(f"Ratios of {trained}", states["trained"])
    print_directions(f"Decoder against encoder, {trained}", states)
    depths = [stretched_by_depth(m, X, shape, effort.n_samples) for m in models]
    print_depths(f"Stretch of the width by {STRETCH}, {trained}", depths)
    if options.figures:
        save_figures(options.figures, options.data, models[0], states["trained"][0])
    brief = f"{about}, {effort.training_seeds} seeds, {effort.training_epochs} epochs"
    print_training(f"Along training, {brief}", X, shape, effort)


if __name__ == "__main__":
    main()
