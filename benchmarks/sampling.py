"""Images per second from a fitted model, against plain torch on the same weights.

"plain torch": one call of a hand-written decoder (nearest resizing, convolution) with
the same weights on all rows of a batch of 1,024; "compiled" is the same under
torch.compile, its compilation left out and shown. Outputs are compared first. All
arms give means in the data's units, float32, and run interleaved.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from _common import interleaved, print_table, versions
from torch import nn

from sklearn_icm.generators import VAEGenerator

BATCH = 1024


def fitted_model():
    X = np.random.RandomState(0).uniform(size=(256, 784)).astype(np.float32)
    model = VAEGenerator(data_shape=(28, 28), max_epochs=1, random_state=0)
    return model.fit(X)


def plain_decoder(model):
    """The fitted decoder as one would write it in torch."""
    graph = model.graph_
    dense, conv, last = (graph.mechanism(k) for k in ("conv1", "conv2", "data"))
    steps = [dense.linear, nn.SiLU(), nn.Unflatten(1, dense.out_shape)]
    for convolution in (conv.conv, last.mechanism.conv):
        copied = nn.Conv2d(
            convolution.in_channels, convolution.out_channels, 5, padding=2
        )
        copied.load_state_dict(convolution.state_dict())
        steps += [nn.Upsample(scale_factor=2), copied, nn.SiLU()]
    return nn.Sequential(*steps[:-1], last.link).eval()


@torch.no_grad()
def check_same_outputs(model, decoder):
    z = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
    difference = (decoder(z) - model.graph_(z)["data"]).abs().max()
    if float(difference) > 1e-5:
        raise AssertionError(f"Outputs differ by {float(difference):.1e}.")
    return float(difference)


def raw_arm(decoder, n, channels_last=False):
    if channels_last:
        decoder = decoder.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def run():
        for start in range(0, n, BATCH):
            decoder(torch.randn(min(BATCH, n - start), 12)).flatten(1).numpy()

    return run


@torch.no_grad()
def compiled(decoder, sizes):
    """The decoder under torch.compile, and the seconds that its first calls took."""
    start = time.perf_counter()
    module = torch.compile(decoder)
    try:
        for size in sizes:
            module(torch.randn(size, 12))
    except Exception as error:  # No compiler on this machine, most often.
        print(f"torch.compile: not available ({type(error).__name__})")
        return None, 0.0
    return module, time.perf_counter() - start


def speed(n, repeats, with_compile):
    model = fitted_model()
    decoder = plain_decoder(model)
    print(f"largest difference of outputs: {check_same_outputs(model, decoder):.1e}")
    arms = {
        "plain torch": raw_arm(decoder, n),
        "plain torch, channels_last": raw_arm(plain_decoder(model), n, True),
        "sample, means": lambda: model.sample(
            n, random_state=0, observation_noise=False
        ),
        "sample, with noise": lambda: model.sample(n, random_state=0),
        "intervene at conv1": lambda: model.intervene(
            {"conv1": lambda h: 0.9 * h}, n_samples=n, random_state=0
        ),
    }
    if with_compile:
        module, seconds = compiled(plain_decoder(model), [min(n, BATCH)])
        if module is not None:
            name = f"torch.compile (first call {seconds:.0f} s, left out)"
            arms[name] = raw_arm(module, n)
    for arm in arms.values():
        arm()
    seconds = interleaved(arms, repeats)
    base = seconds[:, 0]
    rows = [
        [
            arm,
            f"{n / np.median(seconds[:, k]):,.0f}",
            f"{np.median(base) / np.median(seconds[:, k]):.2f}",
            f"{(base / seconds[:, k]).min():.2f}-{(base / seconds[:, k]).max():.2f}",
        ]
        for k, arm in enumerate(arms)
    ]
    header = ["arm", "images per second", "times plain torch", "range"]
    print_table(f"{n:,} images of 28 x 28", header, rows)


def peak_of_child(n, iterate):
    """Memory (MiB) beyond the fitted model's own, in a process of its own."""
    result = subprocess.run(
        [sys.executable, __file__, "--child", str(n), "--iterate", str(iterate)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(result.stdout)


def status_of_process(field):
    """A field of Linux's process status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def child(n, iterate):
    model = fitted_model()
    model.sample(1)
    Path("/proc/self/clear_refs").write_text("5")  # The peak starts anew.
    before = status_of_process("VmRSS")
    if iterate:
        for _ in range(max(1, n // 1000)):
            model.sample(1000)
    else:
        model.sample(n, random_state=0)
    print((status_of_process("VmHWM") - before) / 1024)


def memory(sizes):
    rows = []
    for n in sizes:
        output = n * 784 * 4 / 2**20
        whole, batches = peak_of_child(n, 0), peak_of_child(n, 1)
        rows.append(
            [f"{n:,}", f"{output:.0f}", f"{whole - output:.0f}", f"{batches:.0f}"]
        )
    header = ["rows", "output, MiB", "sample beyond it", "in batches, in all"]
    print_table("Memory", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--iterate", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        child(options.child, options.iterate)
        return
    print(versions())
    if options.quick:
        speed(64, 1, with_compile=False)
        sizes = [64]
    else:
        speed(8192, 9, with_compile=True)
        sizes = [1_000, 10_000, 100_000]
    if Path("/proc/self/clear_refs").exists():
        memory(sizes)
    else:
        print("Memory: skipped, needs Linux's /proc")


if __name__ == "__main__":
    main()
