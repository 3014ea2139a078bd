"""Decoders of one's own: any modules in a graph, and what is refused of them."""

import pickle

import numpy as np
import pytest
import torch
from helpers import TABLE, small
from numpy.testing import assert_array_equal
from torch import nn

from sklearn_icm.generators import FixedGenerator
from sklearn_icm.mechanisms import MechanismGraph, conv_decoder


def own_table(n_latents, data_shape):
    return MechanismGraph(
        {"noise": (n_latents,)},
        {
            "cause": ("noise", nn.Sequential(nn.Linear(n_latents, 6), nn.Tanh())),
            "data": ("cause", nn.Linear(6, data_shape[0])),
        },
    )


def own_maps(n_latents, data_shape):
    return conv_decoder(n_latents, data_shape, (3,), kernel_size=3)


@pytest.mark.parametrize(
    ("decoder", "shape", "node"),
    [(own_table, None, "cause"), (own_maps, (2, 2), "conv1")],
)
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_bring_your_own_decoder(decoder, shape, node, likelihood):
    model = small(decoder=decoder, data_shape=shape, likelihood=likelihood).fit(TABLE)
    assert node in model.nodes_
    changed = model.intervene({node: 0.0}, n_samples=3, random_state=0)
    loaded = pickle.loads(pickle.dumps(model))
    again = loaded.intervene({node: 0.0}, n_samples=3, random_state=0)
    assert np.array_equal(changed, again)


def ends_in(*last):
    def decoder(n_latents, data_shape):
        first = nn.Sequential(nn.Linear(n_latents, 4), nn.Tanh(), nn.BatchNorm1d(4))
        return MechanismGraph(
            {"noise": (n_latents,)},
            {"h": ("noise", first), "pixels": ("h", nn.Sequential(*last))},
        )

    return decoder


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, value):
        return self.function(value)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize(
    ("last", "name"),
    [
        ([nn.Sigmoid()], "Sigmoid"),
        ([nn.Sequential(nn.Dropout(), nn.Tanh()), nn.Identity()], "Tanh"),
        ([nn.Softmax(-1)], "Softmax"),
        ([nn.ReLU(inplace=True)], "Relu"),
        ([Calls(torch.sigmoid)], "Sigmoid"),
        ([Calls(lambda v: v.softmax(2).transpose(2, 3).contiguous())], "Softmax"),
        ([Calls(lambda v: v.exp())], "Exp"),
        ([nn.LeakyReLU()], None),
        ([nn.BatchNorm2d(1)], None),
        ([nn.Sigmoid(), nn.Conv2d(1, 1, 1)], None),
        ([Calls(lambda v: 8 * v.sigmoid() - 4)], None),
        ([Calls(lambda v: v.detach())], None),
    ],
)
def test_an_output_of_limited_range_is_refused(last, name, likelihood):
    start = [nn.Linear(4, 4), nn.Unflatten(1, (1, 2, 2))]
    model = small(decoder=ends_in(*start, *last), data_shape=(2, 2), max_epochs=1)
    model.set_params(likelihood=likelihood)
    if name is None:
        model.fit(TABLE)
    else:
        units = {"gaussian": "standardised units", "bernoulli": "logits"}[likelihood]
        message = f"data node 'pixels' is made by {name}.*taken as {units}.*Leave out"
        with pytest.raises(ValueError, match=message):
            model.fit(TABLE)


class Counts(nn.Module):
    calls = 0

    def forward(self, value):
        self.calls += 1
        return value + self.calls


@pytest.mark.parametrize(
    "noisy",
    [
        Calls(lambda v: v + torch.randn_like(v)),
        Calls(lambda v: nn.functional.dropout(v, 0.5)),
        Counts(),
    ],
)
def test_mechanisms_that_are_no_functions_are_refused(noisy):
    """One seed would give other rows each time, and pairs would share no noise."""
    decoder, message = ends_in(noisy, nn.Linear(4, 4)), "'pixels' gives other values"
    with pytest.raises(ValueError, match=message):
        small(decoder=decoder).fit(TABLE)
    with pytest.raises(ValueError, match=message):
        FixedGenerator(decoder(2, (4,)), random_state=0).fit(TABLE)
    own = ends_in(nn.Dropout(), nn.Linear(4, 4))
    model = small(decoder=own).fit(TABLE)
    assert_array_equal(model.sample(3, 0), model.sample(3, 0))


def test_a_forgotten_unflatten_is_named():
    message = r"'pixels' must have the shape \(1, 2, 2\).*got \(4,\).*nn.Unflatten\(1, "
    with pytest.raises(ValueError, match=message):
        small(decoder=ends_in(nn.Linear(4, 4)), data_shape=(2, 2)).fit(TABLE)
    message = r"node 'pixels' fails on rows .*\['h'\], \[\(4,\)\]: .*input to conv2d"
    with pytest.raises(ValueError, match=message):
        small(decoder=ends_in(nn.Conv2d(1, 1, 1)), data_shape=(2, 2)).fit(TABLE)


def test_a_model_with_an_own_decoder_loads_in_an_inference_mode():
    kept = pickle.dumps(small(decoder=own_table).fit(TABLE))
    with torch.inference_mode():
        loaded = pickle.loads(kept)
        assert loaded.sample(3).shape == (3, 4)
