"""Refits that are trained as one are those that would be trained one by one."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from sklearn_icm import _fitting as fitting
from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.compose import _bootstrap as bootstrap
from sklearn_icm.exceptions import FitDivergedError, FitInterruptedWarning
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.generators.graph.columns._mechanisms import ColumnBank
from sklearn_icm.independence import NoisePenalty
from sklearn_icm.metrics import average_effect

GRAPH = {"b": ["a"], "c": ["a", "b"]}


def table(n=60, seed=0):
    rng = np.random.RandomState(seed)
    a = rng.randn(n)
    b = np.sin(2 * a) + 0.3 * rng.randn(n)
    return pd.DataFrame({"a": a, "b": b, "c": a + b + 0.5 * rng.randn(n)})


def leveled(n=60):
    X = table(n)
    return X.assign(c=np.where(X["c"] > 0, "high", "low"))


def holed(n=60):
    return table(n).mask(np.random.RandomState(1).rand(n, 3) < 0.1)


def graph(**params):
    usual = {"graph": GRAPH, "max_epochs": 2, "random_state": 0}
    return GraphGenerator(**{**usual, **params})


def refitted(estimator, X, n_estimators=3, **fit):
    model = BootstrapGenerator(estimator, n_estimators=n_estimators, random_state=0)
    return model.fit(X, **fit)


def one_by_one(monkeypatch):
    monkeypatch.setattr(bootstrap, "MOST_TOGETHER", 1)


@pytest.fixture
def trained(monkeypatch):
    """How many models were trained as one, each time."""
    numbers, train = [], fitting.train_together

    def count(trainer, models, *rest):
        numbers.append(len(models))
        return train(trainer, models, *rest)

    monkeypatch.setattr(fitting, "train_together", count)
    return numbers


# ------------------------------------------------------------------- the same fits
def test_lines_are_the_same(monkeypatch, trained):
    estimator = graph(mechanism="linear")
    together = refitted(estimator, table())
    one_by_one(monkeypatch)
    alone = refitted(estimator, table())
    assert trained == [3]
    for one, other in zip(together.estimators_, alone.estimators_, strict=True):
        drawn = [refit.sample(20, random_state=0) for refit in (one, other)]
        np.testing.assert_allclose(*drawn, rtol=1e-6, atol=1e-6)
        losses = [own.history_.drop(columns="duration") for own in (one, other)]
        pd.testing.assert_frame_equal(*losses, check_exact=False, rtol=1e-5)


def test_networks_differ_by_the_order_of_rows_alone(monkeypatch):
    """Much less than the refits differ."""
    X, estimator = table(200), graph(max_epochs=30, mechanism="location-scale")
    together = refitted(estimator, X, 6)
    one_by_one(monkeypatch)
    alone = refitted(estimator, X, 6)
    slopes = [
        [
            average_effect(refit, "a", 0.5, -0.5, "c", random_state=0).effect
            for refit in own.estimators_
        ]
        for own in (together, alone)
    ]
    error = np.subtract(*slopes)
    assert np.sqrt(np.mean(error**2)) < 0.3 * np.std(slopes[1])


SETTINGS = {
    "auto": ({}, table),
    "levels": ({}, leveled),
    "missing values": ({"missing": "available"}, holed),
    "targets": ({"targets": {"here": "b"}}, table),
    "normal noise": ({"noise": "normal", "max_epochs": 1}, table),
    "one large batch": ({"batch_size": 999, "lr_schedule": "constant"}, table),
}
ALONE = {
    "callbacks": {"callbacks": []},
    "hidden nodes": {"unobserved": {"u": 1}, "graph": {"b": ["u"], "c": ["u", "a"]}},
    "energy": {"mechanism": "energy"},
    "a penalty": {"icm_penalty": NoisePenalty(), "icm_weight": 1.0},
    "held-out rows": {"validation_fraction": 0.2},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_refits_are_ordinary_generators(name, trained):
    params, rows = SETTINGS[name]
    X, labels = rows(), np.repeat(["here", "there"], 30)
    X = X.iloc[:, :3]
    model = refitted(graph(**params), X, y=labels)
    assert trained == [3]
    alone = clone(model.estimators_[0]).fit(X, labels)
    for refit in model.estimators_:
        assert list(refit.history_) == list(alone.history_)
        assert refit.n_iter_ == alone.n_iter_
        assert vars(refit).keys() == vars(alone).keys()
        loaded = pickle.loads(pickle.dumps(refit))
        drawn = [own.sample(5, random_state=0) for own in (refit, loaded)]
        np.testing.assert_array_equal(*drawn)
        more = refit.set_params(warm_start=True).fit(X, labels)
        assert more.n_iter_ == 2 * alone.n_iter_


@pytest.mark.parametrize("name", ALONE)
def test_what_cannot_be_trained_as_one_is_trained_one_by_one(name, trained):
    callbacks = name == "callbacks"
    params = ALONE[name] | ({"callbacks": [_Callback()]} if callbacks else {})
    model = refitted(graph(**params), table(), 2)
    assert len(model.estimators_) == 2
    assert not trained


def _Callback():
    from skorch.callbacks import Callback

    return Callback()


def test_models_of_different_form_are_trained_one_by_one(trained):
    """In which samples a rare value is there decides what is a level."""
    X = pd.DataFrame({"a": np.arange(40) % 2, "b": np.arange(40.0)})
    X.loc[0, "a"] = 2
    estimator = GraphGenerator({"b": ["a"]}, max_epochs=1)
    model = refitted(estimator, X, 6)
    kinds = {len(refit.categories_) for refit in model.estimators_}
    assert kinds == {0, 1}
    assert not trained


# ---------------------------------------------------------------- seeds and failures
def test_more_refits_leave_the_first_as_they_are():
    few, many = (refitted(graph(), table(), n).estimators_ for n in (2, 8))
    for one, other in zip(few, many, strict=False):
        drawn = [refit.sample(9, random_state=0) for refit in (one, other)]
        np.testing.assert_allclose(*drawn, rtol=1e-4, atol=1e-4)


def test_memory_bounds_how_many_are_trained_as_one(monkeypatch, trained):
    monkeypatch.setattr(bootstrap, "MOST_NUMBERS", 60 * 3 * 2)
    refitted(graph(), table(), 5)
    assert trained == [2, 2]


def test_one_that_diverges_does_not_spoil_the_others(monkeypatch):
    """It is looked for one by one."""

    def diverges(*args):
        raise FitDivergedError(1, "loss")

    monkeypatch.setattr(fitting, "train_together", diverges)
    assert len(refitted(graph(), table()).estimators_) == 3


def test_an_interrupt_keeps_those_that_are_finished(monkeypatch):
    train, calls = fitting.train_together, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*args)

    monkeypatch.setattr(fitting, "train_together", interrupted)
    monkeypatch.setattr(bootstrap, "MOST_TOGETHER", 2)
    with pytest.warns(FitInterruptedWarning, match="after 2 of 6 refits"):
        model = refitted(graph(), table(), 6)
    assert len(model.estimators_) == 2


# ------------------------------------------------------------------------ gradients
@pytest.mark.parametrize("tables", [(), (2,)])
def test_networks_are_sums_of_tanh_units_with_their_gradients(tables):
    torch.manual_seed(0)
    reads = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 1]]).bool()
    bank = ColumnBank([0, 2], reads, 4, n_copies=3).double()
    names = ("weight", "shift", "outer", "bias")
    values = [torch.randn(*tables, *getattr(bank, k).shape).double() for k in names]
    inputs = torch.randn(*tables, 5, 3).double()
    given = [v.requires_grad_() for v in (inputs, *values)]

    def heads(inputs, *values):
        for name, value in zip(names, values, strict=True):
            delattr(bank, name)
            setattr(bank, name, value)
        return bank(inputs)

    assert torch.autograd.gradcheck(heads, given)
    weight, shift, outer, bias = values
    for k, (column, width) in enumerate(((0, 2), (2, 3))):
        first = weight.detach()[..., 4 * 2 * k :][..., : 4 * width]
        first = first.unflatten(-1, (4, width))
        read = inputs.detach()[..., reads[column]]
        inner = torch.einsum("...cui,...ni->...ncu", first, read)
        units = (inner + shift.detach()[..., None, :, k, :]).tanh()
        found = (units * outer.detach()[..., None, :, k, :]).sum(-1)
        wanted = found + bias.detach()[..., None, :, k]
        torch.testing.assert_close(heads(*given)[..., k].detach(), wanted)
