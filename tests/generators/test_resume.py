"""Training that was stopped goes on as if it had not been."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from helpers import TABLE, small
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from torch import nn

from sklearn_icm.exceptions import FitInterruptedWarning
from sklearn_icm.generators import ChainGenerator, FixedGenerator, GraphGenerator
from sklearn_icm.independence import GenericPenalty
from sklearn_icm.mechanisms import MechanismGraph, parts_decoder

IMAGES = np.random.RandomState(0).uniform(size=(20, 48))
EDGES = {"x0": [], "x1": ["x0"], "x2": ["x0", "x1"], "x3": ["x2"]}
LEVELS = pd.DataFrame(TABLE, columns=list(EDGES)).assign(
    x1=np.where(TABLE[:, 1] > 0.5, "a", "b")
)
HOLES = np.where(np.random.RandomState(1).rand(*TABLE.shape) < 0.04, np.nan, TABLE)


def with_dropout(n_latents, node_shape):
    layers = nn.Sequential(nn.Linear(n_latents, 6), nn.BatchNorm1d(6), nn.Dropout(0.3))
    last = nn.Linear(6, *node_shape)
    parts = {"dense1": ("noise", layers), "data": ("dense1", last)}
    return MechanismGraph({"noise": (n_latents,)}, parts)


def table(graph=EDGES, **params):
    return GraphGenerator(graph, **{"n_units": 4, "random_state": 0, **params})


MOVING = {
    "vae": lambda **p: small(batch_size=20, **p),
    "vae, dropout": lambda **p: small(decoder=with_dropout, batch_size=20, **p),
    "vae, early": lambda **p: small(
        early_stopping=True, n_iter_no_change=4, lr=0.05, validation_fraction=0.3, **p
    ),
    "vae, penalty": lambda **p: small(
        hidden=(8, 8), icm_penalty=GenericPenalty(), icm_weight=0.1, icm_warmup=3, **p
    ),
    "vae, images": lambda **p: small(data_shape=(6, 8), hidden=(4, 3), **p),
    "vae, parts": lambda **p: small(
        data_shape=(6, 8), decoder=parts_decoder, optimizer="sgd", **p
    ),
    "table": table,
    "table, penalty": lambda **p: table(icm_weight=1.0, mechanism="linear", **p),
    "table, energy": lambda **p: table(mechanism="energy", **p),
    "table, levels": table,
    "table, holes": lambda **p: table(missing="available", **p),
    "table, hidden": lambda **p: table(
        {"x0": [], "u": [], "x1": ["u", "x0"], "x2": ["u", "x1"], "x3": ["x2"]},
        unobserved={"u": 2},
        **p,
    ),
}
cases = pytest.mark.parametrize("case", MOVING)


def rows_of(case):
    if "levels" in case:
        return LEVELS
    if "holes" in case:
        return HOLES
    return IMAGES if "images" in case or "parts" in case else TABLE


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


class StopAt(Callback):
    """Press Ctrl-C after an epoch."""

    def __init__(self, *epochs):
        self.epochs = epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) in self.epochs:
            raise KeyboardInterrupt


def assert_same(model, other):
    history = [
        m.history_.drop(columns="duration", errors="ignore") for m in (model, other)
    ]
    pd.testing.assert_frame_equal(*history, check_exact=True)
    first, second = (m._fitted.to_tree()["arrays"] for m in (model, other))
    for name, value in first.items():
        assert_array_equal(value, second[name], err_msg=name)
    rows = [pd.DataFrame(m.sample(9, random_state=0)) for m in (model, other)]
    pd.testing.assert_frame_equal(*rows, check_exact=True)


@pytest.mark.parametrize("copied", [copy.copy, by_pickle])
@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
@cases
def test_a_stopped_fit_goes_on_to_its_end(case, schedule, copied):
    X, params = rows_of(case), {"max_epochs": 5, "lr_schedule": schedule}
    whole = MOVING[case](**params).fit(X)
    model = MOVING[case](**params, warm_start=True, callbacks=[StopAt(2, 4)])
    for n_epochs in (2, 4):
        with pytest.warns(FitInterruptedWarning):
            model.fit(X)
        assert model.n_iter_ == n_epochs
        drawn = pd.DataFrame(model.sample(5)).select_dtypes("number")
        assert np.isfinite(drawn.to_numpy()).all()
        model = copied(model)
    assert_same(model.fit(X), whole)
    assert model.n_iter_ == whole.n_iter_
    # Of what ended there is nothing left: a fit makes as many epochs more.
    assert model.fit(X).n_iter_ > whole.n_iter_


@cases
def test_epochs_at_once_or_in_parts(case):
    if "early" in case:
        pytest.skip("Early stopping returns to the best epoch.")
    X, params = rows_of(case), {"lr_schedule": "constant", "warm_start": True}
    whole = MOVING[case](max_epochs=4, **params).fit(X)
    parts = MOVING[case](max_epochs=2, **params).fit(X)
    assert_same(by_pickle(parts).fit(X), whole)


@pytest.mark.parametrize("change", ["rows", "lr", "max_epochs"])
def test_a_stopped_fit_starts_a_plan_of_its_own_where_things_have_changed(change):
    model = small(max_epochs=4, warm_start=True, callbacks=[StopAt(2)])
    with pytest.warns(FitInterruptedWarning):
        model.fit(TABLE)
    if change != "rows":
        model.set_params(**{change: 3})
    model.fit(TABLE[::-1] if change == "rows" else TABLE)
    assert model.n_iter_ == 2 + model.max_epochs


class StopWithin:
    """A penalty that presses Ctrl-C in the middle of an epoch, once."""

    def __init__(self, n_calls):
        self.left = n_calls

    def __call__(self, step):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        values = (v.nan_to_num().square().mean() for v in step.nodes.values())
        return sum(values)


@pytest.mark.parametrize(
    "make",
    [
        lambda **p: small(max_epochs=6, batch_size=20, **p),
        lambda **p: ChainGenerator(max_iter=12, **p),
        lambda **p: ChainGenerator("conv", max_iter=12, batch_size=7, **p),
        lambda **p: table(max_epochs=6, batch_size=20, mechanism="linear", **p),
    ],
    ids=["vae", "chain", "chain, batches", "table"],
)
def test_what_was_stopped_within_an_epoch_goes_on_from_an_earlier_one(make):
    params = {"icm_weight": 0.1, "random_state": 0}
    whole = make(icm_penalty=StopWithin(0), **params).fit(TABLE)
    model = make(icm_penalty=StopWithin(8), warm_start=True, **params)
    with pytest.warns(FitInterruptedWarning):
        model.fit(TABLE)
    assert 1 <= model.n_iter_ < whole.n_iter_
    assert_same(model.set_params(icm_penalty=StopWithin(0)).fit(TABLE), whole)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_steps_of_chains_after_pickling(batch_size):
    params = {"batch_size": batch_size, "icm_weight": 0.1, "random_state": 0}
    whole = ChainGenerator(max_iter=20, **params).fit(TABLE)
    parts = ChainGenerator(max_iter=10, warm_start=True, **params).fit(TABLE)
    assert_same(by_pickle(parts).fit(TABLE), whole)


def test_batches_of_a_stream_after_pickling():
    for make in (small, table, ChainGenerator, FixedGenerator):
        models = [make().set_params(random_state=0) for _ in range(2)]
        for rows in np.split(TABLE[:40], 4):
            models = [
                by_pickle(models[0].partial_fit(rows)),
                models[1].partial_fit(rows),
            ]
        assert_same(*models)
