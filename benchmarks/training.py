"""What does the sklearn comfort cost, and what do other frameworks cost?

The same model, rows in memory, Adam, learning rate, batch size and epochs; all arms
run interleaved. Ratios are of medians, with a 95 % bootstrap interval over the repeats
and the range of the single ratios. "Whole fit" counts all of `fit`: validation,
building, history, snapshots and the pass over the rows that fits the variance; "epochs"
its epoch loop alone. The mixture of the latents, which no other arm fits, is off.
pythae trains networks of the same sizes with its own loss; all others the same module.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import _peers
import numpy as np
import torch
from _common import interleaved, print_table, versions
from _peers import Setup
from sklearn.datasets import load_digits

from sklearn_icm.generators import VAEGenerator

EPOCHS, WHOLE = "VAEGenerator, epochs", "VAEGenerator, whole fit"
PLAIN, BEST = "raw loop, plain", "raw loop, best"
UNFOLDED = "raw loop, best, plain resize"
SKORCH, PYTHAE, LIGHTNING = "skorch, default", "pythae", "lightning"
LATENTS = 12


# ------------------------------------------------------------------------ cases
@dataclass
class Case:
    """A data set with the model of it, and pythae's networks of the same sizes."""

    title: str
    X: np.ndarray
    networks: object
    reconstruction: str
    params: dict = field(default_factory=dict)


def table_case(n_rows, width=256):
    """A table and two hidden layers of a width: 256, the default, or a small model."""
    X = make_rows(n_rows)
    return Case(
        f"Table, {n_rows:,} x 20, hidden ({width}, {width})",
        X,
        lambda: _peers.dense_networks(X.shape[1], LATENTS, width),
        "mse",
        {"hidden": (width, width)},
    )


def image_case(n_rows):
    """Digits at 28 x 28; Bernoulli entries, so that pythae's loss is ours."""
    digits = load_digits().images / 16
    rows = np.random.RandomState(0).choice(len(digits), n_rows)
    images = np.kron(digits[rows], np.ones((1, 3, 3)))
    X = np.pad(images, ((0, 0), (2, 2), (2, 2))).reshape(n_rows, -1)
    return Case(
        f"Images, {n_rows:,} of 28 x 28",
        X.astype(np.float32),
        lambda: _peers.conv_networks(LATENTS),
        "bce",
        {"data_shape": (28, 28), "likelihood": "bernoulli"},
    )


def make_rows(n_rows, out=None):
    """Twenty columns of five smooth factors and noise, made in pieces."""
    loadings = np.random.RandomState(0).randn(5, 20).astype(np.float32)
    out = np.empty((n_rows, 20), np.float32) if out is None else out
    for start in range(0, n_rows, 10_000):
        rng = np.random.RandomState(1 + start)
        piece = out[start : start + 10_000]
        factors = rng.randn(len(piece), 5).astype(np.float32)
        noise = rng.randn(len(piece), 20).astype(np.float32)
        piece[:] = np.tanh(factors @ loadings) + 0.3 * noise
    return out


def make_model(case, setup, **changes):
    return VAEGenerator(
        **{
            "n_latents": LATENTS,
            "latent_density": "gaussian",
            "icm_penalty": None,
            "lr_schedule": "constant",
            "lr": setup.lr,
            "max_epochs": setup.epochs,
            "batch_size": setup.batch_size,
            "device": setup.device,
            "random_state": 0,
            **case.params,
            **changes,
        }
    )


def initial_module(case, setup):
    """Module with the weights that a fit starts from: a step of no length."""
    return make_model(case, setup, max_epochs=1, lr=1e-12).fit(case.X)._fitted.model


# ------------------------------------------------------------------------- arms
def make_arms(case, setup, durations):
    """Every arm from the same start to a trained module: name to function."""
    start = initial_module(case, setup)
    model = make_model(case, setup)

    def rows():
        node = start.layout.to_node(torch.from_numpy(case.X))
        return node.float().to(setup.device)

    def fit():
        model.fit(case.X)
        durations.append(model.history_["duration"].sum())
        return model._fitted.model

    def on_copy(train, source=start):
        return lambda: train(copy.deepcopy(source), rows(), setup)

    arms = {
        WHOLE: fit,
        PLAIN: on_copy(_peers.train_plain),
        BEST: on_copy(_peers.train_best),
    }
    if "data_shape" in case.params:
        arms[UNFOLDED] = on_copy(_peers.train_best, unfolded(case, start))
    if _peers.is_installed("skorch"):
        arms[SKORCH] = on_copy(_peers.train_skorch)
    if _peers.is_installed("pythae"):
        arms[PYTHAE] = on_copy(_peers.train_pythae, pythae_start(case, start))
    if _peers.is_installed("lightning"):
        arms[LIGHTNING] = on_copy(_peers.train_lightning)
    return {k: synchronised(arm, setup.device) for k, arm in arms.items()}


def synchronised(arm, device):
    """A GPU still works when a loop has ended: wait for it."""
    if device == "cpu":
        return arm

    def run():
        module = arm()
        torch.cuda.synchronize()
        return module

    return run


def unfolded(case, module):
    """Return the module with a decoder that resizes, then convolves the large map."""
    _, decoder = case.networks()
    plain = copy.deepcopy(module)
    plain.graph = _peers.PlainGraph(_peers.copy_weights(module.graph, decoder))
    return plain.to(next(module.parameters()).device)


def pythae_start(case, module):
    encoder, decoder = case.networks()
    return _peers.make_pythae(
        _peers.copy_weights(module.encoder, encoder),
        _peers.copy_weights(module.graph, decoder),
        module.layout.node_shape,
        LATENTS,
        case.reconstruction,
    )


# ----------------------------------------------------------------------- checks
@torch.no_grad()
def loss_of(module, x):
    """Loss per feature of all rows, the same noise for every module."""
    module.eval()
    if hasattr(module, "loss_terms"):
        generator = torch.Generator().manual_seed(0)
        return float(_peers.summed_loss(module, x, generator))
    return float(module({"data": x}).loss) / x[0].numel()


def check_arms(case, setup):
    """Every arm lowers a finite loss; where loss and start are ours, to the same."""
    module = initial_module(case, setup)
    x = module.layout.to_node(torch.from_numpy(case.X)).float().to(setup.device)
    with _peers.quiet():
        trained = {k: arm() for k, arm in make_arms(case, setup, []).items()}
        starts = dict.fromkeys(trained, module)
        if PYTHAE in trained:
            starts[PYTHAE] = pythae_start(case, module).to(setup.device)
    for each in [module, *trained.values()]:
        share_buffers(trained[WHOLE], each)
    found = {k: (loss_of(starts[k], x), loss_of(m, x)) for k, m in trained.items()}
    for name, (first, last) in found.items():
        require(np.isfinite(last) and last < first, f"{name}: {first} to {last}")
        if name == PYTHAE and case.reconstruction == "mse":
            continue
        gap = abs(last - found[WHOLE][1]) / (first - last)
        require(gap < 0.1, f"{name} reaches {last} from {first}, fit {found[WHOLE]}")
    return found


@torch.no_grad()
def share_buffers(source, target):
    """Only `fit` fits the variance when training ends: compare under the common one."""
    buffers = dict(target.named_buffers())
    for name, value in source.named_buffers():
        if name.startswith("likelihood.") and name.endswith(("knots", "variances")):
            value = value[:0]  # How it depends on the mean is that of one model.
        if name in buffers:
            buffers[name].resize_(value.shape).copy_(value)


def check_unfolded(case, setup):
    """The plain decoder is the same function as the graph of mechanisms."""
    module = initial_module(case, setup)
    z = torch.randn(64, LATENTS, generator=torch.Generator().manual_seed(1))
    z = z.to(setup.device)
    with torch.no_grad():
        ours = module.graph(z)[module.graph.data_node]
        plain = unfolded(case, module).graph(z)["data"]
    error = float((ours - plain).abs().max())
    require(error < 1e-5, f"decoders agree; their outputs differ by {error:.2g}")


def require(condition, message):
    if not condition:
        raise RuntimeError(f"Benchmark check failed: {message}")


# ------------------------------------------------------------------- comparison
def compare(case, setup, repeats):
    """Time all arms; returns the seconds of each, shape (repeats,)."""
    durations = []
    arms = make_arms(case, setup, durations)
    with _peers.quiet():
        seconds = interleaved(arms, repeats)
    found = {EPOCHS: np.array(durations)}
    found |= dict(zip(arms, seconds.T, strict=True))
    rows = [
        [
            name,
            f"{np.median(s) / setup.epochs * 1000:.1f}",
            *_peers.ratio_cells(s, found[PLAIN]),
            *_peers.ratio_cells(s, found[BEST])[:2],
        ]
        for name, s in found.items()
    ]
    missing = [n for n in (SKORCH, PYTHAE, LIGHTNING) if n not in found]
    rows += [[name, "not installed", *["-"] * 5] for name in missing]
    print_table(
        f"{case.title}, {setup.epochs} epochs, batch {setup.batch_size}, "
        f"{setup.device}, {repeats} repeats",
        [
            "arm",
            "ms per epoch",
            "/ plain",
            "95 % interval",
            "range",
            "/ best",
            "95 % interval",
        ],
        rows,
    )
    return found


def print_targets(found, fixed, factors):
    """Targets: ``fixed`` are (arm below, at most); ``factors`` are of the peers."""
    rows = [
        _peers.target_row(f"whole fit / {arm}", found[WHOLE], found[arm], target)
        for arm, target in fixed
    ]
    rows += [
        _peers.target_row(f"{arm} / whole fit", found[arm], found[WHOLE], target, False)
        for arm, target in factors
        if arm in found
    ]
    print_table("Targets", _peers.TARGET_HEADER, rows)


def compare_all(device, repeats):
    # A framework's cost is per row and per step, whatever the model: what it is as a
    # ratio depends on the model's size, so there are two.
    for width in (256, 64):
        setup = Setup(8, 256, device=device)
        table = compare(table_case(10_000, width), setup, repeats)
        print_targets(
            table,
            [(PLAIN, 1.0), (BEST, 1.1)],
            [(SKORCH, 3.0), (PYTHAE, 3.0), (LIGHTNING, 2.2)],
        )
    # The pass over the rows that ends a fit weighs less the more epochs there are.
    setup = Setup(3, 256, device=device)
    images = compare(image_case(2000), setup, max(3, repeats - 2))
    print_targets(images, [(BEST, 1.05), (UNFOLDED, 0.4)], [])


# ---------------------------------------------------------------------- scaling
def memory(kind):
    """Bytes by the kernel's count: "VmHWM", the peak, or "RssAnon", without files.

    (`getrusage` would inherit the peak of the process that started this one.)
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return 1024 * int(lines[kind].split()[0])


class OwnMemory(threading.Thread):
    """Watch the peak of the memory that is the process's own, not the page cache."""

    def __init__(self):
        super().__init__(daemon=True)
        self.first = self.peak = memory("RssAnon")
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.02):
            self.peak = max(self.peak, memory("RssAnon"))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.done.set()
        self.join()
        self.growth = max(self.peak, memory("RssAnon")) - self.first


def fit_scaled(kind, n_rows, folder):
    """Fit one epoch to an array or to a file; returns times and growth of memory."""
    case, setup = Case("", make_rows(1000), None, ""), Setup(1, 256)
    make_model(case, setup).fit(case.X)
    if kind == "memmap":
        path = Path(folder) / "rows.dat"
        file = np.memmap(path, np.float32, "w+", shape=(n_rows, 20))
        make_rows(n_rows, file)
        file.flush()
        del file
        X = np.memmap(path, np.float32, "r", shape=(n_rows, 20))
    else:
        X = make_rows(n_rows)
    peak = memory("VmHWM")
    model = make_model(case, setup)
    start = time.perf_counter()
    with OwnMemory() as own:
        model.fit(X)
    return {
        "fit": time.perf_counter() - start,
        "epoch": float(model.history_["duration"].sum()),
        "loss": float(model.history_["loss"].iloc[-1]),
        "peak": memory("VmHWM") - peak,
        "own": own.growth,
    }


def fit_in_subprocess(kind, n_rows):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--scaled", kind, str(n_rows), folder],
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(f"The fit to {n_rows:,} rows failed:\n{done.stderr}")
    return json.loads(done.stdout)


def print_scaling(sizes, run):
    """Print time per row and growth of memory against the rows."""
    rows, losses = [], {}
    for n_rows in sizes:
        for kind in ("array", "memmap"):
            found = run(kind, n_rows)
            losses.setdefault(n_rows, []).append(found["loss"])
            rows.append(
                [
                    f"{n_rows:,}",
                    kind,
                    f"{80 * n_rows / 1e6:.1f}",
                    f"{found['epoch']:.2f}",
                    f"{found['epoch'] / n_rows * 1e6:.1f}",
                    f"{found['fit']:.2f}",
                    f"{found['own'] / 1e6:.0f}",
                    f"{found['peak'] / 1e6:.0f}",
                ]
            )
    print_table(
        "Scaling: one epoch of a table of 20 columns, batch 256, one run each",
        [
            "rows",
            "X",
            "MB of X",
            "epoch, s",
            "us per row",
            "fit, s",
            "own memory, + MB",
            "with file pages, + MB",
        ],
        rows,
    )
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--scaled", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scaled:
        kind, n_rows, folder = options.scaled
        print(json.dumps(fit_scaled(kind, int(n_rows), folder)))
        return
    print(versions())
    print(_peers.machine_rate())
    if options.quick:
        quick_checks()
        return
    print_scaling((10_000, 100_000, 1_000_000), fit_in_subprocess)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        # A first short run also pays for what each framework loads lazily.
        check_arms(table_case(2000), Setup(3, 256, device=device))
        check_unfolded(image_case(100), Setup(1, 64, device=device))
        compare_all(device, options.repeats)
    if "cuda" not in devices:
        print("GPU: skipped, no CUDA")


def quick_checks():
    """Correctness in seconds: every arm learns the same; times mean nothing."""
    # The peers shuffle by torch's global stream.
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        losses = print_scaling((500,), lambda kind, n: fit_scaled(kind, n, folder))
    for n_rows, (array, memmap) in losses.items():
        require(
            abs(array - memmap) < 0.05 * abs(array),
            f"{n_rows} rows as array and memmap: losses {array} and {memmap}",
        )
    table, images = table_case(1000), image_case(96)
    check_unfolded(images, Setup(1, 32))
    for case, setup in [(table, Setup(3, 100)), (images, Setup(3, 16))]:
        rows = [
            [name, f"{first:.3f}", f"{last:.3f}"]
            for name, (first, last) in check_arms(case, setup).items()
        ]
        print_table(f"Check: {case.title}", ["arm", "first loss", "last"], rows)
    if not torch.cuda.is_available():
        print("GPU: skipped, no CUDA")


if __name__ == "__main__":
    main()
