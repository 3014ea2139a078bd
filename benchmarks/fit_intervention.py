"""Does `fit_intervention` find the node and the stretch of another environment?

Faces whose parts were moved apart by 1.3: X_env is 200 rendered faces of a new seed,
never those of the model. First the true mechanisms as the model, over seeds of X_env;
then convolutional models fitted to the unstretched faces, over seeds of the whole job.
``--coverage N`` measures how often intervals hold the truth, in N environments that the
true model draws itself.
"""

import argparse
import time

import numpy as np
from _common import print_table, versions

from sklearn_icm.datasets import make_faces
from sklearn_icm.generators import FixedGenerator, VAEGenerator
from sklearn_icm.interventions import Shift, Stretch
from sklearn_icm.model_selection import fit_intervention

STRETCH = 1.3
HEADER = [
    "seed",
    "node",
    "factor",
    "interval",
    "skill",
    "distance",
    "unchanged",
    "noise floor",
    "seconds",
]


def environment(n_rows, seed):
    """Stretched faces alone."""
    return make_faces(n_rows, stretch=STRETCH, random_state=seed).data[n_rows:]


def fit_row(model, rows, seed):
    start = time.perf_counter()
    found = fit_intervention(model, "stretch_width", rows, random_state=seed)
    seconds = time.perf_counter() - start
    best = found.table_.iloc[0]
    return [
        seed,
        next(iter(found.intervention), None),
        f"{found.params['factor']:.3f}",
        f"[{found.low['factor']:.3f}, {found.high['factor']:.3f}]",
        f"{best['skill']:.2f}",
        f"{best['distance']:.4f}",
        f"{best['identity_distance']:.4f}",
        f"{best['noise_floor']:.4f}",
        f"{seconds:.1f}",
    ], found


def true_model(seed):
    faces = make_faces(200, random_state=seed)
    model = FixedGenerator(
        faces.mechanisms, data_shape=faces.data_shape, random_state=seed
    )
    return model.fit(faces.data[:200])


def learned_model(n_rows, epochs, seed):
    faces = make_faces(n_rows, random_state=seed)
    return VAEGenerator(
        data_shape=faces.data_shape,
        hidden=(16, 8),
        observational="observational",
        bounds=None,
        max_epochs=epochs,
        random_state=seed,
    ).fit(faces.data, faces.environments)


def report_true(seeds, n_rows):
    model = true_model(0)
    results = [
        fit_row(model, environment(n_rows, 1000 + seed), seed) for seed in range(seeds)
    ]
    print_table(
        f"True mechanisms, {n_rows} faces stretched by {STRETCH}",
        HEADER,
        [row for row, _ in results],
    )
    factors = np.array([f.params["factor"] for _, f in results])
    right = ["layout" in f.intervention for _, f in results]
    print(
        f"'layout' in {sum(right)} of {seeds} seeds; factor {factors.mean():.3f} +- "
        f"{factors.std():.3f}, largest error {np.abs(factors - STRETCH).max():.3f}"
    )


def report_learned(seeds, n_rows, n_train, epochs):
    rows, tables = [], []
    for seed in range(seeds):
        model = learned_model(n_train, epochs, seed)
        X_env = environment(n_rows, 1000 + seed)
        row, found = fit_row(model, X_env, seed)
        unshifted = make_faces(n_rows, random_state=1000 + seed).data[:n_rows]
        control, _ = fit_row(model, unshifted, seed)
        rows += [["stretched", *row], ["unstretched", *control]]
        tables += [
            [seed, c.node, f"{c.params['factor']:.3f}", f"{c.distance:.3f}", c.as_good]
            for c in found.table_.itertuples()
        ]
    title = f"VAEGenerator, {n_train} faces, {epochs} epochs; {n_rows} faces"
    print_table(title, ["environment", *HEADER], rows)
    print_table(
        "Its nodes, for the stretched faces",
        ["seed", "node", "factor", "distance", "as good"],
        tables,
    )


def report_coverage(n_environments):
    table = FixedGenerator(random_state=0).fit(np.random.RandomState(0).randn(300, 3))
    worlds = {
        "table, Shift(1), 50 rows": (table, "data", "shift", Shift(1.0), 1.0, 50),
        "faces, Stretch(1.3), 200 rows": (
            true_model(0),
            "layout",
            "stretch_width",
            Stretch(STRETCH),
            STRETCH,
            200,
        ),
    }
    rows = []
    for name, (model, node, family, change, truth, n_rows) in worlds.items():
        hits, errors = [], []
        for seed in range(n_environments):
            X_env = model.intervene({node: change}, n_samples=n_rows, random_state=seed)
            found = fit_intervention(
                model, family, X_env, node, random_state=10_000 + seed
            )
            ((parameter, value),) = found.params.items()
            hits.append(found.low[parameter] <= truth <= found.high[parameter])
            errors.append(value)
        rows.append([name, f"{np.mean(hits):.3f}", f"{np.std(errors):.4f}"])
    print_table(
        f"Coverage of 95 % intervals, {n_environments} environments",
        ["world", "coverage", "sd of the estimate"],
        rows,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="of the true model")
    parser.add_argument("--models", type=int, default=3, help="that are fitted")
    parser.add_argument("--coverage", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    print(versions())
    if options.quick:
        report_true(1, 40)
        return
    if options.seeds:
        report_true(options.seeds, 200)
    if options.models:
        report_learned(options.models, 200, n_train=1000, epochs=25)
    if options.coverage:
        report_coverage(options.coverage)


if __name__ == "__main__":
    main()
