"""Do parts that are moved on a full-grid map keep their appearance?

A map of the decoder is stretched; the errors of counterfactual rows are judged on fresh
rows, with what the model leaves of them kept and dropped (0 = exact, 1 = as the mean).
Arms: the default decoder, `map_decoder`, and that with a `GenericPenalty` which
compares patches of what is behind the stretched map with those of the rows, at several
weights; the default decoder trained on stretched pixels too; and pixels that are
stretched. "skill" is what the default extrapolation scorer says of an environment at
1.25; "chosen" is the weight that it likes best, as a search would. Fits are kept in
.cache by all that they depend on.
"""

import argparse
import hashlib
import json
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import print_table, versions
from _worlds import MOVED, USUAL

import sklearn_icm
from sklearn_icm.datasets import load_glyphs, make_faces, make_glyph_pairs
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import GenericPenalty, PatchDistribution
from sklearn_icm.interventions import InterventionFamily, Stretch
from sklearn_icm.mechanisms import map_decoder
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", default=["pairs", "faces"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101, 102])
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    if options.quick:
        options.worlds, options.seeds, options.epochs = ["pairs"], [100], 1
        options.arms = ["map", "patches 3", "default, pixels"]
    print(versions())
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
