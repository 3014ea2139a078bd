"""What the benchmarks share: one torch thread, timing, a cache on disk, a table."""

import hashlib
import json
import platform
import time
from pathlib import Path

import numpy as np
import sklearn
import torch

import sklearn_icm

torch.set_num_threads(1)
HERE, PACKAGE = Path(__file__).parent, Path(sklearn_icm.__file__).parent


def versions():
    """One line that says what was measured with."""
    return (
        f"Python {platform.python_version()}, torch {torch.__version__}, scikit-learn "
        f"{sklearn.__version__}, numpy {np.__version__}, {platform.machine()}, 1 thread"
    )


def interleaved(arms, repeats, clock=time.perf_counter):
    """Seconds of each arm, shape (repeats, n_arms); all arms run in every repeat."""
    seconds = np.empty((repeats, len(arms)))
    for repeat in range(repeats):
        order = np.random.RandomState(repeat).permutation(len(arms))
        for k in order:
            start = clock()
            list(arms.values())[k]()
            seconds[repeat, k] = clock() - start
    return seconds


def cached(make, sources):
    """Keep what a function of names and numbers returns on disk, so that runs go on.

    Parameters
    ----------
    make : callable
        What it returns is kept as JSON.
    sources : list of str
        Patterns of files, in the package or beside this one, which it depends on.
    """
    files = [
        path for root in (PACKAGE, HERE) for part in sources for path in root.glob(part)
    ]
    text = b"".join(path.read_bytes() for path in sorted(files) if path.is_file())

    def kept(*key):
        name = hashlib.sha256(json.dumps(key).encode() + text).hexdigest()[:20]
        path = HERE / ".cache" / f"{make.__name__}-{name}.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            found = json.dumps(make(*key))
            path.write_text(found)
        return json.loads(path.read_text())

    return kept


def print_table(title, header, rows):
    """Print rows under a header, columns aligned, as Markdown."""
    cells = [[str(c) for c in row] for row in [header, *rows]]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    print(f"\n### {title}\n")
    for i, row in enumerate(cells):
        print(
            "| "
            + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))
            + " |"
        )
        if i == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    print()
