"""What does GridSearchCV cost beside the loop of fits that it stands for?

Twenty values of icm_weight on one split: GridSearchCV without a refit against the bare
loop of clone, fit and score, interleaved in one process. Then the time of imports, each
in a fresh interpreter: before torch is needed, the package should not load it.
"""

import argparse
import json
import subprocess
import sys

import _peers
import numpy as np
from _common import interleaved, print_table, versions
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from sklearn_icm.generators import VAEGenerator

IMPORTS = (
    "sklearn",
    "torch",
    "skorch",
    "sklearn_icm",
    "sklearn_icm.generators",
)
TIMED_IMPORT = """
import json, sys, time
start = time.perf_counter()
import {}
seconds = time.perf_counter() - start
print(json.dumps([seconds, "torch" in sys.modules, len(sys.modules)]))
"""


def make_rows(n_rows):
    rng = np.random.RandomState(0)
    factors = np.tanh(rng.randn(n_rows, 5) @ rng.randn(5, 20))
    return (factors + 0.3 * rng.randn(n_rows, 20)).astype(np.float32)


class Comparison:
    """The same candidates, split and scores by GridSearchCV and by a bare loop."""

    def __init__(self, n_rows, n_candidates, epochs):
        self.X = make_rows(n_rows)
        self.weights = [0.0, *np.logspace(-3, 0, n_candidates - 1)]
        self.model = VAEGenerator(
            max_epochs=epochs,
            batch_size=256,
            latent_density="gaussian",
            random_state=0,
        )
        self.cv = ShuffleSplit(1, test_size=0.25, random_state=0)

    def search(self):
        search = GridSearchCV(
            self.model,
            {"icm_weight": self.weights},
            cv=self.cv,
            refit=False,
            n_jobs=1,
        )
        return search.fit(self.X).cv_results_["mean_test_score"]

    def loop(self):
        ((train, test),) = self.cv.split(self.X)
        scores = []
        for weight in self.weights:
            model = clone(self.model).set_params(icm_weight=weight)
            scores.append(model.fit(self.X[train]).score(self.X[test]))
        return np.array(scores)

    def check(self):
        """Both arms compute the same scores, and the candidates differ."""
        searched, looped = self.search(), self.loop()
        if not np.allclose(searched, looped) or np.ptp(looped) == 0:
            raise RuntimeError(
                f"Benchmark check failed: scores {searched} of the search and {looped} "
                "of the loop should agree, and differ between candidates."
            )


def compare_search(n_rows, n_candidates, epochs, repeats):
    comparison = Comparison(n_rows, n_candidates, epochs)
    comparison.check()
    arms = {"GridSearchCV": comparison.search, "bare loop": comparison.loop}
    seconds = dict(zip(arms, interleaved(arms, repeats).T, strict=True))
    print_table(
        f"{n_candidates} candidates, one split of {n_rows:,} x 20, {epochs} epochs, "
        f"{repeats} repeats",
        ["arm", "s", "ratio", "95 % interval", "range"],
        [
            [name, f"{np.median(s):.2f}", *_peers.ratio_cells(s, seconds["bare loop"])]
            for name, s in seconds.items()
        ],
    )
    row = _peers.target_row(
        "search / bare loop", seconds["GridSearchCV"], seconds["bare loop"], 1.05
    )
    print_table("Target", _peers.TARGET_HEADER, [row])


def time_import(module):
    """Seconds, whether torch came along, and modules loaded; a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED_IMPORT.format(module)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def compare_imports(modules, repeats):
    found = {module: [] for module in modules}
    for _ in range(repeats):
        for module in modules:
            found[module].append(time_import(module))
    rows = []
    for module, runs in found.items():
        seconds = [run[0] for run in runs]
        _, has_torch, n_modules = runs[0]
        if module == "sklearn_icm" and has_torch:
            raise RuntimeError("Benchmark check failed: import sklearn_icm loads torch")
        rows.append(
            [
                f"import {module}",
                f"{np.median(seconds):.2f}",
                f"{min(seconds):.2f}-{max(seconds):.2f}",
                "yes" if has_torch else "no",
                n_modules,
            ]
        )
    print_table(
        f"Imports in a fresh interpreter, {repeats} each",
        ["statement", "s", "range", "loads torch", "modules"],
        rows,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    parser.add_argument("--repeats", type=int, default=13)
    options = parser.parse_args()
    print(versions())
    print(_peers.machine_rate())
    if options.quick:
        compare_search(120, 3, 2, 1)
        compare_imports(["sklearn_icm"], 1)
        return
    compare_search(2000, 20, 3, options.repeats)
    compare_imports(IMPORTS, 3)


if __name__ == "__main__":
    main()
