"""Do parts that are moved on a full-grid map keep their appearance?

A map of the decoder is stretched; the errors of counterfactual rows are judged on fresh
rows, with what the model leaves of them kept and dropped (0 = exact, 1 = as the mean).
Arms: the default decoder, `map_decoder`, and that with a `GenericPenalty` which
compares patches of what is behind the stretched map with those of the rows, at several
weights; the default decoder trained on stretched pixels too; and pixels that are
stretched. "skill" is what the default extrapolation scorer says of an environment at
1.25; "chosen" is the weight that it likes best, as a search would. Fits are kept in
.cache by all that they depend on.

With ``--speed`` epochs of three decoders of images up to 128 x 128 in colour are timed,
in seconds of the CPU, interleaved: `fit` beside the best loop of plain torch over the
same module, and with the penalty beside without it.
"""

import argparse
import copy
import hashlib
import json
import time
import warnings
from functools import partial
from pathlib import Path

import _peers
import numpy as np
import torch
from _common import interleaved, print_table, versions
from _worlds import MOVED, USUAL

import sklearn_icm
from sklearn_icm.datasets import load_glyphs, make_faces, make_glyph_pairs
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import GenericPenalty, PatchDistribution
from sklearn_icm.interventions import InterventionFamily, Stretch
from sklearn_icm.mechanisms import map_decoder, parts_decoder
from sklearn_icm.metrics import energy_distance, make_extrapolation_scorer

N_ROWS, N_JUDGED, FRESH = 1200, 400, 10_000
EPOCHS, BATCH, WEIGHTS = 60, 64, (3, 10, 30)
CHOICE, JUDGED = 1.25, (1.25, 1.5)
ROOT = Path(sklearn_icm.__file__).parent
PARTS = (
    "independence",
    "mechanisms",
    "interventions",
    "_training",
    "models",
    "generators",
    "datasets",
)
SOURCE = "".join(p.read_text() for k in PARTS for p in sorted((ROOT / k).rglob("*.py")))
WORLDS = {
    "pairs": lambda n, seed: make_glyph_pairs(n, stretch=CHOICE, random_state=seed),
    "faces": lambda n, seed: make_faces(n, stretch=CHOICE, random_state=seed),
    "fashion": lambda n, seed: make_glyph_pairs(
        n, glyphs=load_glyphs("fashion"), stretch=CHOICE, random_state=seed
    ),
}


def patches(weight, sizes=(7,), high=1.5, n_patches=256):
    """A decoder under the penalty; factors are drawn up to `high`."""
    group = InterventionFamily(partial(Stretch, axis="width"), {"factor": (1.0, high)})
    penalty = GenericPenalty(group, PatchDistribution(sizes, n_patches))
    return {
        "decoder": map_decoder,
        "icm_penalty": penalty,
        "icm_weight": weight,
        # A large weight from the start spoils the fit.
        "icm_warmup": EPOCHS,
    }


ARMS = {
    "default": {},
    "default, pixels": {},
    "map": {"decoder": map_decoder},
    **{f"patches {w:g}": patches(w) for w in WEIGHTS},
    **{f"to {CHOICE}, {w:g}": patches(w, high=CHOICE) for w in WEIGHTS},
    **{f"size {k}": patches(10, sizes=(k,)) for k in (3, 5)},
    "sizes 3, 5, 7": patches(10, sizes=(3, 5, 7)),
    "500 patches": patches(10, n_patches=500),
}
STRETCHED = "stretched pixels"


def error(predicted, truth):
    spread = np.square(truth - truth.mean(0)).sum()
    return float(np.square(predicted - truth).sum() / spread)


def stretched(rows, shape, factor):
    images = torch.from_numpy(rows.reshape(-1, 1, *shape))
    return Stretch(factor)(images).numpy().reshape(rows.shape)


def judged(model, world, node):
    """All that is said of a model, on rows that it has not seen."""
    usual = world.render(1.0)
    found = {}
    for factor in JUDGED:
        change = {node: Stretch(factor)}
        truth = world.render(factor)
        for name in ("keep", "drop"):
            rows = model.intervene(change, X=usual, residual=name)
            found[f"{name} {factor}"] = error(rows, truth)
    half = len(usual) // 2
    X = np.concatenate([usual[:half], world.render(CHOICE)[half:]])
    scorer = make_extrapolation_scorer(
        {MOVED: {node: Stretch(CHOICE)}}, observational=USUAL
    )
    found["skill"] = scorer(model, X, np.repeat([USUAL, MOVED], half))
    found["explained"] = error(model.intervene({}, X=usual, residual="drop"), usual)
    samples = model.sample(len(usual), random_state=0)
    found["sample distance"] = energy_distance(usual, samples)
    found["bound"] = float(model.score_samples(usual).mean()) / usual.shape[1]
    return found


def fitted(name, world, seed, epochs, batch):
    """A fit, from the cache if it is there, as a dict of numbers."""
    params = ARMS[name]
    named = {k: getattr(v, "__name__", v) for k, v in params.items()}
    if name.endswith("pixels"):
        named["rows"] = "half stretched"
    key = repr((world, seed, named, epochs, batch, N_ROWS, N_JUDGED, SOURCE))
    path = Path(__file__).parent / ".cache" / "maps"
    path = path / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    if path.exists():
        return json.loads(path.read_text())
    rows = WORLDS[world](N_ROWS, seed)
    X = rows.render(1.0)
    if name.endswith("pixels"):
        # The same steps, half of them with the same knowledge of the group.
        factors = np.random.RandomState(seed).uniform(1.0, 1.5, len(X) // 2)
        for row, factor in zip(X, factors, strict=False):
            row[:] = stretched(row, rows.data_shape, factor)
    settings = {"max_epochs": epochs, "batch_size": batch, "random_state": seed}
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = VAEGenerator(rows.data_shape, **{**settings, **params})
        model.fit(X)
        seconds = time.process_time() - start
        node = "map" if "map" in model.nodes_ else "conv2"
        found = judged(model, WORLDS[world](N_JUDGED, FRESH + seed), node)
    last = model.history_.iloc[-1]
    for term in ("loss", "penalty distance", "penalty response"):
        found[term] = float(last.get(term, np.nan))
    found["seconds"] = seconds
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return found


COLUMNS = [
    *(f"{name} {factor}" for factor in JUDGED for name in ("keep", "drop")),
    *("skill", "explained", "sample distance", "bound", "loss"),
    *("penalty distance", "penalty response", "seconds"),
]


def chosen(found):
    """Values of the weight that the scorer likes best, seed by seed, by name."""
    names = [name for name in found if name == "map" or name.startswith("patches")]
    if len(names) < 2:
        return {}
    skill = COLUMNS.index("skill")
    best = [
        max(own, key=lambda v: v[skill])
        for own in zip(*(found[k] for k in names), strict=True)
    ]
    return {"chosen": best}


def moments(values):
    return np.mean(values, 0), np.std(values, 0, ddof=1 if len(values) > 1 else 0)


# Rows by the shape of an image, for epochs that take about as long.
SIZES = {(12, 28): 640, (28, 28): 320, (64, 64, 3): 64, (128, 128, 3): 16}
DECODERS = {"usual": None, "map": map_decoder, "parts": parts_decoder}
TIMED = {"max_epochs": 3, "batch_size": 32, "lr_schedule": "constant"}


def timed(shape, n_rows, decoder, repeats):
    """Seconds of an epoch of each arm, ``{name: (repeats,)}``."""
    params = {"n_latents": 16, "latent_density": "gaussian", "random_state": 0}
    params |= {**TIMED, "batch_size": min(TIMED["batch_size"], n_rows // 2)}
    model = VAEGenerator(shape, decoder=decoder, **params)
    X = np.random.RandomState(0).rand(n_rows, int(np.prod(shape)))
    # A step of no length: the weights that a fit starts from.
    start = copy.deepcopy(model).set_params(max_epochs=1, lr=1e-12).fit(X)
    start = start._fitted.model
    rows = start.layout.to_node(torch.from_numpy(X)).float()
    setup = _peers.Setup(params["max_epochs"], params["batch_size"], lr=model.lr)
    arms = {
        "loop": lambda: _peers.train_best(copy.deepcopy(start), rows, setup),
        "fit": lambda: model.fit(X),
    }
    if decoder is map_decoder:
        penalty = patches(1)["icm_penalty"]
        hard = copy.deepcopy(model).set_params(icm_penalty=penalty, icm_weight=1.0)
        arms["penalty"] = lambda: hard.fit(X)
    seconds = interleaved(arms, repeats, time.process_time) / params["max_epochs"]
    return dict(zip(arms, seconds.T, strict=True))


def print_speed(sizes, repeats):
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for shape, n_rows in sizes.items():
            for name, decoder in DECODERS.items():
                timed(shape, n_rows, decoder, 1)
                found = timed(shape, n_rows, decoder, repeats)
                cells = [" x ".join(map(str, shape)), n_rows, name]
                cells.append(f"{1000 * np.median(found['fit']):.0f}")
                cells += _peers.ratio_cells(found["fit"], found["loop"])[:2]
                cells += ["-", "-"]
                if "penalty" in found:
                    cells[-2:] = _peers.ratio_cells(found["penalty"], found["fit"])[:2]
                rows.append(cells)
    header = ["images", "rows", "decoder", "ms", "fit / loop", "95 %"]
    header += ["with the penalty / without", "95 %"]
    print_table(f"An epoch, {repeats} repeats", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", default=["pairs", "faces"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101, 102])
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--speed", action="store_true", help="times epochs instead")
    parser.add_argument("--repeats", type=int, default=7, help="of times")
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    if options.quick:
        options.worlds, options.seeds, options.epochs = ["pairs"], [100], 1
        options.arms = ["map", "patches 3", "default, pixels"]
    print(versions())
    if options.speed:
        print_speed(SIZES, options.repeats)
        return
    if options.quick:
        print_speed({(8, 8): 8}, 2)
    for world in options.worlds:
        found = {}
        for seed in options.seeds:
            for arm in options.arms:
                own = fitted(arm, world, seed, options.epochs, options.batch)
                found.setdefault(arm, []).append([own[k] for k in COLUMNS])
                print(
                    world,
                    seed,
                    arm,
                    {k: round(v, 4) for k, v in own.items()},
                    flush=True,
                )
            fresh = WORLDS[world](N_JUDGED, FRESH + seed)
            pixels = [
                error(
                    stretched(fresh.render(1.0), fresh.data_shape, f), fresh.render(f)
                )
                for f in JUDGED
                for _ in range(2)
            ]
            own = pixels + [np.nan] * (len(COLUMNS) - len(pixels))
            found.setdefault(STRETCHED, []).append(own)
        found |= chosen(found)
        rows = [
            [
                name,
                *(
                    f"{v:.3f} +- {sd:.3f}"
                    for v, sd in zip(*moments(values), strict=True)
                ),
            ]
            for name, values in found.items()
        ]
        title = f"{world}, {options.epochs} epochs, seeds {options.seeds}"
        print_table(title, ["arm", *COLUMNS], rows)


if __name__ == "__main__":
    main()
