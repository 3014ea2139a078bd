"""Do parts drawn at coordinates move as they should, and meet in new combinations?

Fits of 1,200 rows at `VAEGenerator`'s defaults are judged on 300 others, by the error
of true counterfactuals when the layout is stretched (0 exact, 1 as the mean image),
with what the model leaves of a row kept or dropped. Stretched pixels ("data") are the
answer without a model. "unseen" is a world in which near pairs show the digits 0-4 and
far pairs 5-9; it is judged by the error of what a model makes of rows that cross the
two, "seen" of rows that do not. Fits are cached by world, seed, arm and sources, so
that a run can be stopped and continued. Settings were explored on seeds from 100 on.
"""

import argparse
import time
import warnings
from functools import partial

import numpy as np
from _common import cached, print_table, versions
from extrapolation import counterfactual_error
from sklearn.datasets import load_digits

from sklearn_icm.datasets import make_faces, make_glyph_pairs
from sklearn_icm.exceptions import CollapsedDecoderWarning, UnexplainedRowsWarning
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.interventions import Stretch
from sklearn_icm.mechanisms import parts_decoder
from sklearn_icm.model_selection import LeaveCombinationOut

N_TRAIN, N_TEST = 1200, 300
FACTORS = 1.25, 1.5
SOURCES = ["mechanisms/*.py", "generators/vae/*.py", "_training/*.py", "parts.py"]
WORLDS = {
    "faces": lambda n, seed: make_faces(n, random_state=seed),
    "pairs": lambda n, seed: make_glyph_pairs(
        n, stretch=max(FACTORS), random_state=seed
    ),
}
# Decoder, and the nodes that are stretched.
ARMS = {
    "parts": (parts_decoder, ["places"]),
    "default": (None, ["conv2"]),
    "4 parts": (partial(parts_decoder, n_parts=4), ["places"]),
    "8 parts": (partial(parts_decoder, n_parts=8), ["places"]),
    "patches of 11": (partial(parts_decoder, patch_size=11), ["places"]),
    "parts, one in front": (partial(parts_decoder, compose="over"), ["places"]),
    "parts with poses": (partial(parts_decoder, poses=True), ["places"]),
}


def fitted(rows, shape, arm, seed, epochs):
    start = time.perf_counter()
    model = VAEGenerator(
        shape, decoder=ARMS[arm][0], max_epochs=epochs, random_state=seed
    ).fit(rows)
    return model, time.perf_counter() - start


def shares_of_parts(model, rows):
    """Share of each part in the squares that all of them draw, largest first."""
    drawn = model.node_values(X=rows)["parts"]
    squares = np.square(drawn).sum(axis=(0, *range(2, drawn.ndim)))
    return sorted((squares / squares.sum()).round(3).tolist(), reverse=True)


def judged(name, arm, seed, epochs):
    """Figures of one fit on a world that is stretched."""
    world = WORLDS[name](N_TRAIN + N_TEST, seed)
    rows = world.render(1.0)
    model, seconds = fitted(rows[:N_TRAIN], world.data_shape, arm, seed, epochs)
    test = rows[N_TRAIN:]
    found = {"seconds": seconds, "loss": model.history_["loss"].iloc[-1]}
    found["rebuilt"] = counterfactual_error(
        model.intervene({}, X=test, residual="drop"), test
    )
    if arm != "default":
        found["shares"] = shares_of_parts(model, test)
    for factor in FACTORS:
        truth = world.render(factor)[N_TRAIN:]
        for node in (*ARMS[arm][1], "data"):
            for residual in ("keep", "drop"):
                changed = model.intervene(
                    {node: Stretch(factor)}, X=test, residual=residual
                )
                error = counterfactual_error(changed, truth)
                found[f"{node} {factor} {residual}"] = error
    return found


def combined(arm, seed, epochs):
    """Errors of rows of seen and of unseen combinations of distance and digits."""
    pairs = make_glyph_pairs(8 * N_TRAIN, distance=(1.0, 1.8), random_state=seed)
    high = load_digits().target >= 5
    left, right = (high[pairs.factors[side]] for side in ("left", "right"))
    alike = np.flatnonzero(left == right)[: 2 * (N_TRAIN + N_TEST)]
    distance = pairs.factors["distance"][alike]
    far = np.where(distance > np.median(distance), "far", "near")
    digits = np.where(left[alike], "5-9", "0-4")
    rows = pairs.render(1.0)[alike]
    split = LeaveCombinationOut(
        [("far", "0-4"), ("near", "5-9")], n_splits=4, random_state=seed
    )
    factors = np.column_stack([far, digits])
    train, test = next(split.split(rows, factors))
    crossed = (factors[test, 0] == "far") == (factors[test, 1] == "0-4")
    model, seconds = fitted(rows[train], pairs.data_shape, arm, seed, epochs)
    made = model.intervene({}, X=rows[test], residual="drop")
    return {
        "n": len(train),
        "seconds": seconds,
        "seen": counterfactual_error(made[~crossed], rows[test][~crossed]),
        "unseen": counterfactual_error(made[crossed], rows[test][crossed]),
    }


def shown(values):
    spread = f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--arms", nargs="*", default=["parts", "default"])
    parser.add_argument("--worlds", nargs="*", default=[*WORLDS, "unseen"])
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.epochs, options.arms = 1, 1, ["parts", "default"]
        warnings.simplefilter("ignore", CollapsedDecoderWarning)
    # Of rows that a model leaves unexplained both answers are judged.
    warnings.simplefilter("ignore", UnexplainedRowsWarning)
    seeds, epochs = range(options.first, options.first + options.seeds), options.epochs
    print(versions())
    for name in options.worlds:
        table, figures = [], cached(combined if name == "unseen" else judged, SOURCES)
        for arm in options.arms:
            key = (arm,) if name == "unseen" else (name, arm)
            found = [figures(*key, seed, epochs) for seed in seeds]
            for column in found[0]:
                values = [seed[column] for seed in found]
                is_list = isinstance(values[0], list)
                cell = str(values) if is_list else shown(values)
                table.append([arm, column, cell])
                if "1.5 keep" in column and not column.startswith("data"):
                    table[-1][-1] += "  " + " ".join(f"{v:.3f}" for v in values)
        print_table(
            f"{name}, seeds {list(seeds)}", ["decoder", "figure", "value"], table
        )


if __name__ == "__main__":
    main()
