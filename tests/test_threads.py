"""One fitted model answers many threads as it answers one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
)
from sklearn_icm.interventions import (
    Clip,
    Do,
    Flip,
    Noise,
    Orthogonal,
    Permute,
    Reparametrise,
    Resample,
    Rotate,
    Scale,
    Shift,
    Stretch,
    SwapMechanism,
    Translate,
    Units,
    Where,
)

N_CALLS, N_THREADS = 1000, 8
ROWS = np.random.RandomState(0).normal(size=(40, 16))
FAMILIES = {
    "image": VAEGenerator((4, 4), n_latents=3, hidden=(3, 3), max_epochs=1),
    "table": VAEGenerator(n_latents=3, hidden=(4, 4), max_epochs=1, bounds=None),
    "simulator": FixedGenerator(),
    "chain": ChainGenerator(n_layers=3, max_iter=5),
    "columns": GraphGenerator(
        [(0, 1), (1, 2), (0, 3)], n_units=4, max_epochs=1, bounds=None
    ),
}


def changes_of(model):
    """Every class of interventions, at every node that it fits."""
    found = [{}]
    for node, shape in model.nodes_.items():
        n = shape[0]
        swap = [SwapMechanism(model, node)] if node in model.mechanisms_ else []
        for change in (
            *(Do(0.3), Shift(0.5), Scale(1.2), Clip(-0.2, 0.2), Noise(0.3), Flip()),
            *(Stretch(1.3), Translate(0.5), Rotate(20.0), Orthogonal(1)),
            *(Permute(range(n)[::-1]), Units(0, Noise(0.1)), Where(True, Shift(0.1))),
            *(Resample(np.ones((2, *shape))), Noise(0.1) >> Noise(0.2), *swap),
            *(Reparametrise(2 * np.eye(n)), lambda value: value.mul_(2.0)),
        ):
            try:
                model.graph_.check_interventions({node: change})
            except ValueError:
                continue
            found.append({node: change})
    return found


def questions(model, rows):
    """Calls of every verb, with the changes in turn; each returns an array."""
    changes = changes_of(model)
    known = model.abduct(rows[:5])
    node = list(model.nodes_)[1]

    def call(k):
        change, draw = changes[k % len(changes)], {"n_samples": 5, "random_state": k}
        verbs = [
            lambda: model.intervene(change, **draw),
            lambda: model.intervene(change, rows[:5], random_state=k, abduction=known),
            lambda: model.sample(5, random_state=k),
            lambda: model.node_values(**draw)[node],
            lambda: model.hybridise(rows[:5], rows[5:10], node, 0),
            lambda: model.abduct(rows[:3]).noise,
        ]
        if model.__class__ is FixedGenerator:
            # It abducts by many steps.
            verbs = verbs[:4]
        if hasattr(model, "score_samples"):
            verbs.append(lambda: model.score_samples(rows[:5]))
        # Not in step with the changes.
        return np.asarray(verbs[k // 7 % len(verbs)]())

    return call


def state_of(model):
    return {k: v.numpy().tobytes() for k, v in model.graph_.state_dict().items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_threads_get_what_one_gets(family):
    with torch.random.fork_rng():
        model = clone(FAMILIES[family]).set_params(random_state=0).fit(ROWS)
    call, before = questions(model, ROWS), state_of(model)
    n_calls = N_CALLS // len(FAMILIES)
    expected = [call(k) for k in range(n_calls)]
    with ThreadPoolExecutor(N_THREADS) as pool:
        found = list(pool.map(call, range(n_calls)))
    for k, (own, other) in enumerate(zip(expected, found, strict=True)):
        assert np.array_equal(own, other), k
    assert state_of(model) == before
