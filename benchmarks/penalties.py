"""What do the spectral penalties cost? Their step against a generator's alone.

The step is forward, backward and fused Adam of a decoder of plain torch modules: 16
latents, dense, then three layers that double the map to 32 x 32 (kernel 4: transposed
convolutions with a stride; kernel 5: nearest resizing, then a convolution), batch 64.
A penalty is evaluated, forward and backward, for the two pairs of convolutions. All
arms run interleaved; "ratio" is the median of the ratios of single repeats to the
step, "error" the relative one against the definition in float64.

"plain kernels" leaves the resizing between the layers out, so that all lags count;
"our operators" are the pairs as `mechanism_pairs` finds them, searched at every step.
"""

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _common import interleaved, print_table, versions
from torch import nn

from sklearn_icm.independence import SpectralPenalty
from sklearn_icm.independence._pairs import mechanism_pairs
from sklearn_icm.mechanisms import MechanismGraph

BATCH, LATENTS, GRID = 64, 16, 32
# The slowest arms need gibibytes at the greatest widths.
SLOW = ("FFT triplets, 32 x 32 grid", "triplets, log")
PENALTIES = {
    "triplets, log": SpectralPenalty("triplet"),
    "triplets, squared (Gram)": SpectralPenalty("triplet", loss="squared"),
    "pooled, log": SpectralPenalty(),
}


def decoder(widths, kernel):
    torch.manual_seed(0)
    a, b, c = widths

    def doubling(n_in, n_out, *activation):
        if kernel == 4:
            steps = [nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)]
        else:
            steps = [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2),
            ]
        return nn.Sequential(*steps, *activation)

    first = nn.Sequential(nn.Linear(LATENTS, a * 16), nn.Unflatten(1, (a, 4, 4)))
    return MechanismGraph(
        {"noise": (LATENTS,)},
        {
            "dense": ("noise", nn.Sequential(*first, nn.SiLU())),
            "conv1": ("dense", doubling(a, b, nn.SiLU())),
            "conv2": ("conv1", doubling(b, c, nn.SiLU())),
            "data": ("conv2", doubling(c, 1)),
        },
    )


def convolution_pairs(graph, plain):
    """The two pairs of convolutions, at every step anew as in training."""
    pairs = [p for p in mechanism_pairs(graph) if p.first != "dense"]
    if plain:
        pairs = [
            replace(p, earlier=_plain(p.earlier), later=_plain(p.later)) for p in pairs
        ]
    return pairs


def _plain(operator):
    return replace(operator, upsample=(1, 1), downsample=(1, 1), resize=None)


def penalty_of_pairs(penalty, graph, plain):
    pairs, (measure,) = convolution_pairs(graph, plain), penalty.measures[penalty.form]
    return torch.stack([penalty._of_pair(measure, pair) for pair in pairs]).mean()


def by_fft(graph, plain, *, loss="squared", pooled=False):
    """The definition as one writes it: spectra on a grid, a ratio per triplet."""
    values = []
    for pair in convolution_pairs(graph, plain):
        w1, w2 = pair.earlier.weight, pair.later.weight
        p1, p2 = (torch.fft.rfft2(w, s=(GRID, GRID)).abs().square() for w in (w1, w2))
        # Half of the spectrum: its inner columns count twice.
        weights = torch.full((GRID // 2 + 1,), 2.0, dtype=w1.dtype)
        weights[0] = weights[-1] = 1
        weights = (weights / GRID**2).repeat(GRID, 1).flatten()
        # Zero insertion repeats the earlier spectrum.
        if max(pair.later.upsample) > 1:
            index = torch.arange(GRID) * 2 % GRID
            p1 = torch.fft.fft2(w1, s=(GRID, GRID)).abs().square()
            p1 = p1[..., index, :][..., index[: GRID // 2 + 1]]
        p1, p2 = p1.flatten(2), p2.transpose(0, 1).flatten(2)
        if pooled:
            p1, p2 = p1.sum(1, keepdim=True), p2.sum(1, keepdim=True)
        products = torch.einsum("jif,jmf->jim", p1 * weights, p2)
        means = (p1 @ weights)[:, :, None] * (p2 @ weights)[:, None]
        rho = products / means
        distance = rho - 1 if loss == "squared" else rho.log()
        values.append(distance.square().mean())
    return torch.stack(values).mean()


def arms_of(graph, plain):
    """Functions of a graph that give a penalty, differentiable."""
    arms = {SLOW[0]: lambda: by_fft(graph, plain)}
    for name, penalty in PENALTIES.items():
        arms[name] = lambda p=penalty: penalty_of_pairs(p, graph, plain)
    return arms


def generator_step(graph):
    optimiser = torch.optim.Adam(graph.parameters(), lr=1e-4, fused=True)
    noise, target = torch.randn(BATCH, LATENTS), torch.randn(BATCH, 1, 32, 32)

    def step():
        optimiser.zero_grad(set_to_none=True)
        (graph(noise)["data"] - target).square().mean().backward()
        optimiser.step()

    return step


def errors(widths, kernel, plain):
    """Relative errors of the arms against their definitions in float64."""
    graph = decoder(widths, kernel)
    exact = decoder(widths, kernel).double()
    squared = by_fft(exact, plain).item()
    wanted = {
        SLOW[0]: squared,
        "triplets, log": by_fft(exact, plain, loss="log").item(),
        "triplets, squared (Gram)": squared,
        "pooled, log": by_fft(exact, plain, loss="log", pooled=True).item(),
    }
    with torch.no_grad():
        return {
            name: abs(arm().item() / wanted[name] - 1)
            for name, arm in arms_of(graph, plain).items()
        }


def peak_memory(name, widths, kernel, plain):
    """MiB above the graph and its gradients, in a process of its own; Linux only."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    code = f"""
import sys, torch
from pathlib import Path
def kib(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
sys.path.insert(0, {str(sys.path[0])!r})
from penalties import arms_of, decoder
def peak(widths):
    graph = decoder(widths, {kernel})
    arm = arms_of(graph, {plain})[{name!r}]
    for p in graph.parameters():
        p.grad = torch.zeros_like(p)
    Path("/proc/self/clear_refs").write_text("5")  # The peak starts anew.
    start = kib("VmRSS")
    arm().backward()
    return (kib("VmHWM") - start) / 2**10
peak((2, 2, 2))
print(peak({widths}))
"""
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    return float(found)


def compare(widths, kernel, plain, repeats, skip=(), with_memory=True):
    graph = decoder(widths, kernel)
    functions = {k: v for k, v in arms_of(graph, plain).items() if k not in skip}
    arms = {"generator-only step": generator_step(graph)}
    for name, function in functions.items():
        arms[name] = lambda f=function: f().backward()
    interleaved(arms, 1)
    seconds = interleaved(arms, repeats)
    ratios = seconds / seconds[:, :1]
    found = errors(widths, kernel, plain) if SLOW[0] not in skip else {}
    rows = []
    for k, name in enumerate(arms):
        memory, error = "", ""
        if k:
            if with_memory:
                memory = f"{peak_memory(name, widths, kernel, plain):.1f}"
            error = f"{found[name]:.0e}" if name in found else ""
        rows.append(
            [
                name,
                f"{np.median(seconds[:, k]) * 1000:.2f}",
                f"{np.median(ratios[:, k]):.3f}",
                f"{ratios[:, k].min():.3f}-{ratios[:, k].max():.3f}",
                memory,
                error,
            ]
        )
    title = f"Widths {widths}, kernel {kernel}, " + (
        "plain kernels" if plain else "our operators"
    )
    header = ["arm", "ms", "ratio", "range", "peak MiB", "error"]
    print_table(title, header, rows)
    return found


def backward_of(value):
    return lambda: value().backward()


def scaling(channels, repeats):
    """Time against the number of channels, all three widths equal, kernel 5."""
    graphs = [decoder((n, n, n), 5) for n in channels]
    rows = []
    for name in ("triplets, squared (Gram)", "pooled, log"):
        arms = {
            n: backward_of(arms_of(graph, False)[name])
            for n, graph in zip(channels, graphs, strict=True)
        }
        interleaved(arms, 1)
        ms = np.median(interleaved(arms, repeats), axis=0) * 1000
        slope = np.log2(ms[-1] / ms[-2]) / np.log2(channels[-1] / channels[-2])
        rows.append([name, *(f"{t:.2f}" for t in ms), f"{slope:.2f}"])
    header = ["ms", *(f"{n} channels" for n in channels), "last exponent"]
    print_table("Scaling, our operators, kernel 5", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    quick = parser.parse_args().quick
    print(versions())
    if quick:
        for kernel in (4, 5):
            for plain in (True, False):
                found = compare((8, 6, 4), kernel, plain, 2, with_memory=False)
                assert max(found.values()) < 1e-4, found
        scaling([4, 8], 2)
        return
    for widths, repeats in {(32, 16, 8): 41, (128, 64, 32): 15}.items():
        for kernel in (4, 5):
            for plain in (True, False):
                compare(widths, kernel, plain, repeats)
    for kernel in (4, 5):
        for plain in (True, False):
            compare((512, 256, 128), kernel, plain, 5, skip=SLOW)
    scaling([32, 64, 128, 256], 9)


if __name__ == "__main__":
    main()
