"""How far does a call wander through the package?

By `sys.setprofile`, for fit, sample and intervene of every family on a small table: how
often the call stack changes folder of the package (a call or a return that crosses from
one folder into another; files at the top count as a folder each), in how many folders
and files of ours it runs, and how many calls these are. What happens inside of the
function that runs one epoch of training is not counted: it is the same few calls, over
and over.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from _common import print_table, versions

import sklearn_icm
from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
)

ROOT = f"{Path(sklearn_icm.__file__).parent}/"
LOOPS = {"_epoch"}
FAMILIES = {
    "VAE": lambda: VAEGenerator(n_latents=2, max_epochs=2, random_state=0),
    "graph": lambda: GraphGenerator([(0, 1), (1, 2)], max_epochs=2, random_state=0),
    "chain": lambda: ChainGenerator(max_iter=2, random_state=0),
    "fixed": lambda: FixedGenerator(random_state=0),
}


class Walk:
    """Follow the calls of a function through the files of the package."""

    def __init__(self):
        self.stack, self.files, self.inside = [], set(), 0
        self.n_changes, self.n_calls, self.pairs = 0, 0, Counter()

    def __call__(self, f):
        sys.setprofile(self._see)
        try:
            f()
        finally:
            sys.setprofile(None)
        return self

    def _see(self, frame, event, arg):
        code = frame.f_code
        if event not in {"call", "return"} or not code.co_filename.startswith(ROOT):
            return
        is_loop = code.co_name in LOOPS
        if event == "return":
            self.inside -= is_loop
        if not self.inside:
            self._pass(event, code.co_filename[len(ROOT) :])
        if event == "call":
            self.inside += is_loop

    def _pass(self, event, file):
        folder = file.split("/")[0]
        if event == "call":
            self.n_calls += 1
            self.files.add(file)
            self._cross(folder)
            self.stack.append(folder)
        else:
            self.stack.pop()
            self._cross(folder)

    def _cross(self, folder):
        if self.stack and self.stack[-1] != folder:
            self.n_changes += 1
            self.pairs[tuple(sorted((self.stack[-1], folder)))] += 1


def walks_of(make, X):
    """``{verb: walk}``; each was called once before, as caches would count."""
    make().fit(X)
    est, found = make(), {}
    node = next(reversed(est.fit(X).nodes_))
    for verb, call in {
        "fit": lambda: make().fit(X),
        "sample": lambda: est.sample(5, random_state=0),
        "intervene": lambda: est.intervene({node: lambda v: v}, n_samples=5),
        "intervene, rows": lambda: est.intervene({node: lambda v: v}, X=X[:5]),
    }.items():
        found[verb] = Walk()(call)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="it always is")
    parser.add_argument("--pairs", action="store_true", help="which folders, in fit")
    args = parser.parse_args()
    print(versions())
    X, rows = np.random.RandomState(0).uniform(size=(60, 3)), []
    for family, make in FAMILIES.items():
        for verb, walk in walks_of(make, X).items():
            folders = {file.split("/")[0] for file in walk.files}
            cells = [walk.n_changes, len(folders), len(walk.files), walk.n_calls]
            rows.append([family, verb, *cells])
            if args.pairs and verb == "fit":
                print(family, walk.pairs.most_common())
    header = ["family", "call", "changes of folder", "folders", "files", "calls"]
    print_table("Ways of a call outside of its epochs", header, rows)


if __name__ == "__main__":
    main()
