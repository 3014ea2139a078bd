"""How fast and how exact are the distances between samples? Against the peers.

All arms of a table run interleaved, on one CPU; ratios are of medians, with the range
of the ratios of single repeats. The floor is what no implementation of the exact
all-pairs value can avoid, measured in the same run: the float32 matrix products of
n m + n^2/2 + m^2/2 pairs at 784 features, one float32 square root (energy) or
exponential (mmd2) of each of these pairs, in the cache, at 16 features. Errors are
relative to float64; the extra memory is the peak that numpy allocates beside the
inputs, which leaves out torch's. Peers get the inputs in the type that suits them,
converted beforehand.
"""

import argparse
import contextlib
import io
import os
import tracemalloc
from importlib import import_module

import numpy as np
import torch
from _common import interleaved, print_table, versions
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import rbf_kernel

from sklearn_icm.metrics import (
    energy_distance,
    mmd2,
    precision_recall_density_coverage,
    sliced_wasserstein,
)


def optional(name):
    try:
        return import_module(name)
    except ImportError:
        return None


ot, prdc = optional("ot"), optional("prdc")


class Inputs:
    """Two Gaussian samples, the second shifted, in each type that an arm wants."""

    def __init__(self, n, d):
        rng = np.random.RandomState(0)
        self.n, self.d = n, d
        self.X, self.Y = rng.randn(n, d), rng.randn(n, d) + 0.1
        self.X32, self.Y32 = self.X.astype(np.float32), self.Y.astype(np.float32)
        self.tX, self.tY = torch.from_numpy(self.X32), torch.from_numpy(self.Y32)
        self.bandwidth = float(np.sqrt(2 * d))

    @property
    def n_pairs(self):
        return 2 * self.n**2


def unbiased(mean_across, sum_real, sum_gen, n, at_zero=0.0):
    """U-statistic of two samples of n rows, as 2 across - real - gen."""
    within = sum_real + sum_gen - 2 * n * at_zero
    return float(2 * mean_across - within / (n * (n - 1)))


def matmul_floor(data):
    """Across once, within each sample half of the pairs: three matrix products."""
    half = data.n // 2
    out = np.empty((data.n, data.n), np.float32)
    within = np.empty((half, data.n), np.float32)

    def run():
        np.matmul(data.X32, data.Y32.T, out=out)
        np.matmul(data.X32[:half], data.X32.T, out=within)
        np.matmul(data.Y32[:half], data.Y32.T, out=within)

    return run


def elementwise_floor(data, function, sign):
    tile = sign * np.random.RandomState(0).uniform(0, 4, 2**17).astype(np.float32)
    out = np.empty_like(tile)

    def run():
        done = 0
        while done < data.n_pairs:
            part = min(tile.size, data.n_pairs - done)
            function(tile[:part], out=out[:part])
            done += part

    return run


def blockwise_sum(A, B, function, rows=256):
    return sum(
        function(cdist(A[i : i + rows], B)).sum() for i in range(0, len(A), rows)
    )


def scipy_arm(data, function, at_zero):
    def run():
        across = blockwise_sum(data.X, data.Y, function) / data.n**2
        real = blockwise_sum(data.X, data.X, function)
        gen = blockwise_sum(data.Y, data.Y, function)
        return unbiased(across, real, gen, data.n, at_zero)

    return run


def torch_arm(data, function, at_zero):
    def total(A, B):
        return float(function(torch.cdist(A, B)).sum(dtype=torch.float64))

    def run():
        across = total(data.tX, data.tY) / data.n**2
        real, gen = total(data.tX, data.tX), total(data.tY, data.tY)
        return unbiased(across, real, gen, data.n, at_zero)

    return run


def sklearn_arm(data):
    gamma = 0.5 / data.bandwidth**2

    def run():
        across = rbf_kernel(data.X, data.Y, gamma=gamma).mean()
        real, gen = (rbf_kernel(Z, gamma=gamma).sum() for Z in (data.X, data.Y))
        return -unbiased(across, real, gen, data.n, 1.0)

    return run


def extra_memory(run):
    """MiB that numpy allocates beside the inputs, at most, during a call."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def report(title, arms, repeats, *, ours, floor, exact=None, missing=()):
    """Run the arms and print one row for each; floors are arms that return None."""
    values = {name: run() for name, run in arms.items()}
    seconds = interleaved(arms, repeats)
    medians = dict(zip(arms, np.median(seconds, axis=0), strict=True))
    column = {name: k for k, name in enumerate(arms)}
    rows = []
    for name, run in arms.items():
        ratios = seconds[:, column[name]] / seconds[:, column[ours]]
        if floor:
            of_floor = seconds[:, column[name]] / seconds[:, column[floor]]
            over = f"{medians[name] / medians[floor]:.2f}"
            over += f" ({of_floor.min():.2f}-{of_floor.max():.2f})"
        else:
            over = "-"
        has_error = exact is not None and isinstance(values[name], float)
        rows.append(
            [
                name,
                f"{medians[name] * 1000:.1f}",
                over,
                f"{medians[name] / medians[ours]:.2f}",
                f"{ratios.min():.2f}-{ratios.max():.2f}",
                f"{abs(values[name] / exact - 1):.0e}" if has_error else "-",
                "-" if "torch" in name or name == floor else f"{extra_memory(run):.1f}",
            ]
        )
    rows += [[name, "not installed", *"-----"] for name in missing]
    header = ["arm", "ms", "of the floor", "of ours", "range", "error", "MiB"]
    print_table(title, header, rows)
    return values


def compare_energy(data, repeats):
    if data.d >= 128:
        floor = {"floor: float32 matmul": matmul_floor(data)}
    else:
        floor = {"floor: float32 sqrt": elementwise_floor(data, np.sqrt, 1)}
    arms = {
        **floor,
        "energy_distance": lambda: energy_distance(data.X, data.Y),
        "scipy cdist, blocks": scipy_arm(data, lambda d: d, 0.0),
        "torch.cdist, float32": torch_arm(data, lambda d: d, 0.0),
    }
    exact = arms["scipy cdist, blocks"]()
    title = f"Energy distance, {data.n} x {data.n} rows, {data.d} features"
    values = report(
        title,
        arms,
        repeats,
        ours="energy_distance",
        floor=next(iter(arms)),
        exact=exact,
    )
    assert abs(values["energy_distance"] / exact - 1) < 3e-6


def compare_mmd(data, repeats):
    rate = 0.5 / data.bandwidth**2
    if data.d >= 128:
        floor = {"floor: float32 matmul": matmul_floor(data)}
    else:
        floor = {
            "floor: float32 sqrt": elementwise_floor(data, np.sqrt, 1),
            "float32 exp alone": elementwise_floor(data, np.exp, -1),
        }
    by_scipy = scipy_arm(data, lambda d: np.exp(-rate * d**2), 1.0)
    arms = {
        **floor,
        "mmd2": lambda: mmd2(data.X, data.Y, bandwidth=data.bandwidth),
        'mmd2, "median"': lambda: (mmd2(data.X, data.Y), None)[1],
        "scipy cdist, blocks": lambda: -by_scipy(),
        "sklearn rbf_kernel": sklearn_arm(data),
        "torch.cdist, float32": torch_arm(
            data, lambda d: d.square_().mul_(-rate).exp_(), 1.0
        ),
    }
    arms["torch.cdist, float32"] = negated(arms["torch.cdist, float32"])
    exact = arms["scipy cdist, blocks"]()
    title = f"MMD, {data.n} x {data.n} rows, {data.d} features"
    values = report(
        title, arms, repeats, ours="mmd2", floor=next(iter(arms)), exact=exact
    )
    assert abs(values["mmd2"] / exact - 1) < 3e-6


def negated(run):
    return lambda: -run()


def sliced_exactly(data, n_projections):
    """The value of our directions in float64."""
    stream = np.random.RandomState(0)
    directions = stream.standard_normal((n_projections, data.d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    real, gen = (np.sort(directions @ Z.T, axis=1) for Z in (data.X, data.Y))
    return float(np.sqrt(np.mean((real - gen) ** 2)))


def sliced_by_torch(data, n_projections):
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(n_projections, data.d, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    real, gen = (torch.sort(directions @ Z.T, dim=1)[0] for Z in (data.tX, data.tY))
    return (real - gen).square().mean().sqrt()


def compare_sliced(data, repeats):
    arms = {
        "sliced_wasserstein": lambda: sliced_wasserstein(data.X, data.Y),
        "torch.sort, float32": lambda: sliced_by_torch(data, 200),
    }
    if ot:
        arms["POT, float32"] = lambda: np.float32(
            ot.sliced_wasserstein_distance(
                data.X32, data.Y32, n_projections=200, seed=0
            )
        )
    exact = sliced_exactly(data, 200)
    values = report(
        f"Sliced Wasserstein, 200 directions, {data.n} rows, {data.d} features",
        arms,
        repeats,
        ours="sliced_wasserstein",
        floor=None,
        exact=exact,
        missing=[] if ot else ["POT, float32"],
    )
    assert abs(values["sliced_wasserstein"] / exact - 1) < 3e-6


def compare_neighbours(data, repeats):
    name = "precision_recall_..."
    arms = {name: lambda: precision_recall_density_coverage(data.X, data.Y)}
    if prdc:

        def package():
            with contextlib.redirect_stdout(io.StringIO()):
                return prdc.compute_prdc(data.X, data.Y, 5)

        arms["prdc package"] = package
    values = report(
        f"Precision to coverage, {data.n} x {data.n} rows, {data.d} features",
        arms,
        repeats,
        ours=name,
        floor=None,
        missing=[] if prdc else ["prdc package"],
    )
    if prdc:
        assert values[name] == values["prdc package"]
        print("The four values are identical.")


def use_one_cpu():
    """prdc asks for eight threads; here every arm has one CPU."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    quick = parser.parse_args().quick
    use_one_cpu()
    print(versions())
    if os.environ.get("OMP_NUM_THREADS") != "1":
        print("Set OMP_NUM_THREADS=1: numpy's products use more threads otherwise.")
    full = [(2000, 784, 9), (10_000, 16, 5)]
    for n, d, repeats in [(300, 784, 1), (600, 16, 1)] if quick else full:
        data = Inputs(n, d)
        compare_energy(data, repeats)
        compare_mmd(data, repeats)
        compare_sliced(data, repeats)
        compare_neighbours(data, repeats)


if __name__ == "__main__":
    main()
