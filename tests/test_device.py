"""What is fitted and asked on another device is what the CPU gives.

The second device, a CPU that refuses what CUDA refuses, is always there; CUDA, or MPS,
where it is (`make device`, which prints times).
"""

import copy
import os
import pickle
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TABLE
from second_device import second_device
from sklearn.linear_model import SGDClassifier, SGDRegressor
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from toy_families import EnergyGenerator, FlowGenerator

from sklearn_icm.generators import FixedGenerator, GraphGenerator, VAEGenerator
from sklearn_icm.interventions import Noise, Scale, Units

NAMES = ["x0", "x1", "x2", "x3"]
EDGES = {"x0": [], "x1": ["x0"], "x2": ["x0", "x1"], "x3": ["x2"]}
HIDDEN = {**EDGES, "u": [], "x1": ["u", "x0"], "x2": ["u", "x1"]}
ROWS = np.random.RandomState(0).normal(size=(40, 16))
TRAINED = {"max_epochs": 2, "batch_size": 10}
COLUMNS = {**TRAINED, "n_units": 4, "icm_weight": 1.0}
NUMBERS = pd.DataFrame(TABLE, columns=NAMES)
LEVELS = NUMBERS.assign(x1=np.where(TABLE[:, 1] > 0.5, "a", "b"))
OWN = {"x1": SGDClassifier(loss="log_loss"), "x2": SGDRegressor(), "x3": nn.PReLU()}
# (Linear chains compute on the CPU: in float64, which not all devices have.)
FAMILIES = {
    "dense": (
        VAEGenerator(n_latents=3, hidden=(8, 8), icm_weight=1.0, **TRAINED),
        ROWS,
    ),
    "conv": (
        VAEGenerator((4, 4), n_latents=3, hidden=(3, 3), icm_weight=1.0, **TRAINED),
        ROWS,
    ),
    "levels": (GraphGenerator(EDGES, **COLUMNS), LEVELS),
    "own": (GraphGenerator(EDGES, mechanism=OWN, **COLUMNS), LEVELS),
    "hidden": (GraphGenerator(HIDDEN, unobserved={"u": 2}, **COLUMNS), NUMBERS),
    "fixed": (FixedGenerator(), ROWS),
    "energy": (EnergyGenerator(max_epochs=2), TABLE),
    "flow": (FlowGenerator(max_epochs=2), TABLE),
}
# Ranks among few draws jump, and the noise of levels is drawn.
UNSTABLE = ["p_value", "z"]
LOAD = """
import pickle, sys, torch
model = pickle.load(sys.stdin.buffer)
assert all(p.device.type == "cpu" for p in model.graph_.parameters())
sys.stdout.buffer.write(pickle.dumps(model.sample(20, random_state=1)))
"""


def name_of_device():
    return "cuda" if torch.cuda.is_available() else "mps"


@pytest.fixture(
    scope="module", params=["second", pytest.param("real", marks=pytest.mark.device)]
)
def place(request):
    """Name of a device, and what it exists inside of; the times of what is done."""
    if request.param == "second":
        yield "cuda", second_device, {}
        return
    times, precision = {}, torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield name_of_device(), nullcontext, times
    torch.backends.cudnn.allow_tf32 = precision
    print(f"\nSeconds on the CPU and on {name_of_device()}")
    for (family, verb), (here, there) in times.items():
        print(f"{family:10} {verb:18} {here:8.4f} {there:8.4f}")


# They abduct by many steps, each of which takes its time on the second device.
SLOW = ("fixed", "hidden")


@pytest.fixture(scope="module", params=FAMILIES)
def case(request, place):
    """A family fitted on the CPU and on the device, and how long that took."""
    (device, inside, times), (made, X) = place, FAMILIES[request.param]
    models, taken = [], []
    for name, context in (("cpu", nullcontext), (device, inside)):
        model = copy.deepcopy(made).set_params(random_state=0)
        # Not a parameter of every family.
        model.device = name
        start = time.perf_counter()
        with context():
            models.append(model.fit(X))
        taken.append(time.perf_counter() - start)
    times[request.param, "fit"] = taken
    return request.param, models, X


def verbs(model, X):
    """Calls of every verb that a family has, by name."""
    node, last = list(model.nodes_)[1], list(model.nodes_)[-1]
    few, change = X[:5], {node: Scale(1.5), last: Units(0, Noise(0.1))}
    draw = {"n_samples": 40, "random_state": 1}
    calls = {
        "sample": lambda: model.sample(40, random_state=1),
        "intervene": lambda: model.intervene(change, **draw),
        "node_values": lambda: model.node_values(**draw)[last],
        "independence": lambda: model.independence(n_draws=9, random_state=0),
        "partial_fit": lambda: copy.deepcopy(model).partial_fit(X).sample(20, 0),
    }
    given = {
        "abduct": lambda: model.abduct(few).noise,
        "intervene X": lambda: model.intervene(change, few, random_state=1),
        "node_values X": lambda: model.node_values(few)[last],
        "independence X": lambda: model.independence(X, n_draws=9, random_state=0),
        "hybridise": lambda: model.hybridise(few, X[5:10], node, 0),
        "influence_map": lambda: model.influence_map(node, 0, n_samples=9),
        "support": lambda: model.support({node: Scale(1.5)}, few).table_,
        "transform": lambda: model.transform(few),
        "inverse_transform": lambda: model.inverse_transform(model.transform(few)),
        "score_samples": lambda: model.score_samples(few),
        "score": lambda: model.score(few),
    }
    asked = {k: ask for k, ask in given.items() if hasattr(model, k.split()[0])}
    return calls | (asked if hasattr(model, "abduct") else {})


def numbers(answer):
    """An answer as an array of numbers, and one of its words."""
    if isinstance(answer, (pd.DataFrame, dict)):
        frame = pd.DataFrame(answer)
        answer = frame.drop(columns=[k for k in UNSTABLE if k in frame])
    entries = np.ravel(np.asarray(answer, dtype=object)).tolist()
    words = [v for v in entries if isinstance(v, str)]
    return np.array([v for v in entries if not isinstance(v, str)], float), words


@pytest.mark.filterwarnings("ignore")
def test_a_device_gives_what_the_cpu_gives(case, place):
    (family, models, X), (_, inside, times) = case, place
    asked = verbs(models[0], X)
    if inside is second_device and family in SLOW:
        asked = ("sample", "intervene", "node_values", "transform")
    for verb in asked:
        found, taken = [], []
        for model, context in zip(models, (nullcontext, inside), strict=True):
            with context():
                found.append(numbers(verbs(model, X)[verb]()))
                start = time.perf_counter()
                if times:
                    verbs(model, X)[verb]()
            taken.append(time.perf_counter() - start)
        (here, words), (there, others) = found
        assert words == others, verb
        assert np.allclose(here, there, rtol=1e-4, atol=1e-4, equal_nan=True), verb
        times[family, verb] = taken


def test_a_model_of_a_device_loads_on_the_cpu(case, place):
    (_, (here, model), _), (device, inside, _) = case, place
    with inside():
        assert all(p.device.type != "cpu" for p in model.graph_.parameters())
        saved = pickle.dumps(model)
    if inside is second_device:
        rows = pickle.loads(saved).sample(20, random_state=1)
    elif device == "mps":
        pytest.skip("MPS cannot be hidden from a process")
    else:
        root = Path(__file__).parent
        hidden = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": f"{root.parent}:{root}"}
        rows = pickle.loads(
            subprocess.run(
                [sys.executable, "-c", LOAD],
                input=saved,
                stdout=subprocess.PIPE,
                env={**os.environ, **hidden},
                check=True,
            ).stdout
        )
    (found, words), (expected, others) = map(numbers, (rows, here.sample(20, 1)))
    assert words == others
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", [k for k in FAMILIES if k != "fixed"])
def test_training_reads_a_device_once_an_epoch(family):
    """(For all penalties the meta device says it: from that nothing can be read.)"""
    made, X = FAMILIES[family]
    model, counts = copy.deepcopy(made).set_params(random_state=0), []
    model.device, model.batch_size = "cuda", 10
    with second_device() as reads:
        hook = register_optimizer_step_pre_hook(lambda *_: counts.append(len(reads)))
        try:
            model.fit(X)
        finally:
            hook.remove()
    assert len(counts) >= 8
    assert len(set(counts)) == 2


@pytest.mark.parametrize(
    "refused",
    [
        lambda there: there + torch.zeros(3),
        lambda there: there.numpy(),
        lambda there: np.asarray(there),
        lambda there: torch.randn(3, generator=torch.Generator(), device=there.device),
        lambda there: torch.where(there > 0, there, torch.zeros(3)),
    ],
)
def test_the_second_device_is_one(refused):
    with second_device() as reads:
        there = torch.ones(3).to("cuda")
        with pytest.raises((RuntimeError, TypeError), match=r"device|numpy"):
            refused(there)
        assert not reads
        assert (there * 2).sum().item() == 6
        assert there[[0, 2]].tolist() == [1.0, 1.0]
        assert len(reads) == 2
