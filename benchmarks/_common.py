"""What the benchmarks share: one torch thread, interleaved timing, a table."""

import platform
import time

import numpy as np
import sklearn
import torch

torch.set_num_threads(1)


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
