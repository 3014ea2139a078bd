"""What is saved is what is loaded, or it is refused: every family, with its options."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TABLE
from numpy.testing import assert_array_equal
from sklearn.exceptions import InconsistentVersionWarning
from torch import nn

from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
)
from sklearn_icm.independence import TracePenalty
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.models._state import Packed, load_arrays

HIDDEN_LAYERS = [nn.Linear(2, 5), nn.BatchNorm1d(5), nn.ReLU()]


def own_decoder(n_latents, shape):
    return MechanismGraph(
        {"noise": (n_latents,)},
        {
            "hidden": ("noise", nn.Sequential(*HIDDEN_LAYERS)),
            "data": ("hidden", nn.Linear(5, *shape)),
        },
    )


def own_graph():
    torch.manual_seed(0)
    return own_decoder(2, (4,))


class Shifted(nn.Module):
    """A mechanism with a mask that is infinite, and one tensor at two places."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("mask", torch.tensor([0.0, 0.0, -torch.inf, 0.0]))

    def forward(self, value):
        return self.second(self.first(value)) + self.mask.exp()


def tied():
    return MechanismGraph({"noise": (4,)}, {"data": ("noise", Shifted())})


LEVELS = pd.DataFrame(TABLE, columns=list("abcd")).assign(
    d=np.where(TABLE[:, 3] > 0.5, "high", "low")
)
VAE = {"hidden": (8,), "n_latents": 2, "max_epochs": 2, "random_state": 0}
GRAPH = {"graph": [(0, 1), (1, 3)], "max_epochs": 2, "random_state": 0}
CASES = {
    "vae": VAEGenerator(**VAE),
    "vae, own decoder": VAEGenerator(**VAE, decoder=own_decoder),
    "vae, images": VAEGenerator(
        **VAE, data_shape=(2, 2), likelihood="bernoulli", latent_density="gaussian"
    ),
    "vae, penalty": VAEGenerator(**VAE, icm_penalty=TracePenalty(), icm_weight=1.0),
    "graph": GraphGenerator(**GRAPH),
    "graph, normal": GraphGenerator(**GRAPH, noise="normal", mechanism="linear"),
    "graph, energy": GraphGenerator(**GRAPH, mechanism="energy", bounds="data"),
    "graph, hidden": GraphGenerator(
        [("H", 1), ("H", 2)], unobserved={"H": 2}, max_epochs=2, random_state=0
    ),
    "graph, levels": GraphGenerator(**GRAPH),
    "fixed": FixedGenerator(random_state=0, bounds="data"),
    "fixed, graph": FixedGenerator(own_graph(), noise_std=0.3, random_state=0),
    "fixed, tied": FixedGenerator(tied(), random_state=0),
    "chain": ChainGenerator(max_iter=5, random_state=0),
    "chain, conv": ChainGenerator(
        "conv", data_shape=(2, 2), kernel_size=2, max_iter=5, random_state=0
    ),
}


def rows_of(case):
    return LEVELS if "levels" in case else TABLE


@pytest.fixture(scope="module")
def fitted():
    return {case: copy.deepcopy(e).fit(rows_of(case)) for case, e in CASES.items()}


def by_skops(estimator):
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(estimator)
    return skops.loads(data, trusted=skops.get_untrusted_types(data=data))


def by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


@pytest.mark.parametrize("copied", [by_pickle, by_skops, copy.deepcopy])
@pytest.mark.parametrize("case", CASES)
def test_round_trips(case, copied, fitted):
    model, rows = fitted[case], rows_of(case)
    twin = copied(model)
    assert repr(twin) == repr(model)
    assert_array_equal(twin.sample(5, 0), model.sample(5, 0))
    more = twin.partial_fit(rows).sample(5, 0)
    assert_array_equal(copied(twin).sample(5, 0), more)
    assert_array_equal(copied(CASES[case]).fit(rows).sample(5, 0), model.sample(5, 0))


def parts(model):
    """A module, and what is kept of it."""
    tree = model._fitted.to_tree()
    return model._fitted.model, tree["arrays"], tree["appearance"]


def loads(model, **changes):
    """A new estimator from a model's state with some changes."""
    twin = type(model)()
    twin.__setstate__({**model.__getstate__(), **changes})
    return twin


@pytest.mark.parametrize("case", CASES)
def test_a_state_that_does_not_fit_is_refused(case, fitted):
    module, arrays, shown = parts(fitted[case])
    with pytest.raises(ValueError, match="'own.weight' is not of this model"):
        load_arrays(module, {**arrays, "own.weight": np.ones(2)}, shown)
    for name, array in arrays.items():
        others = {k: v for k, v in arrays.items() if k != name}
        with pytest.raises(ValueError, match=f"{name!r} is missing"):
            load_arrays(module, others, shown)
        wrong = [array[None], np.zeros(array.shape, np.float16)]
        # One column may have any number of rows, which others then lack.
        if array.shape[1:] != (1,):
            wrong.append(np.ones((1, 1), array.dtype))
        for other in wrong:
            with pytest.raises(ValueError, match=f"{name!r} must be of shape"):
                load_arrays(module, {**others, name: other}, shown)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("case", CASES)
def test_weights_that_are_no_numbers_are_refused(case, number, fitted):
    module, arrays, shown = parts(fitted[case])
    weights = {k: v for k, v in arrays.items() if v.size and v.dtype.kind == "f"}
    for name, array in weights.items():
        if not name.endswith(("residuals", "smoothing", "mask")):
            spoiled = array.copy()
            spoiled.flat[-1] = number
            with pytest.raises(ValueError, match=f"{name!r} holds {number}"):
                load_arrays(module, {**arrays, name: spoiled}, shown)


@pytest.mark.parametrize(
    "layers",
    [
        [*HIDDEN_LAYERS[:2], nn.Tanh()],
        [*HIDDEN_LAYERS, nn.Softplus(beta=3.0)],
        [nn.Linear(2, 5, bias=False), *HIDDEN_LAYERS[1:]],
        [nn.Linear(2, 5), nn.BatchNorm1d(5, eps=0.1), nn.ReLU()],
    ],
    ids=["activation", "layer", "bias", "option"],
)
def test_another_decoder_is_refused(layers, fitted, monkeypatch):
    data = pickle.dumps(fitted["vae, own decoder"])
    monkeypatch.setitem(globals(), "HIDDEN_LAYERS", layers)
    with pytest.raises(ValueError, match="does not fit the model: .* Load it where"):
        pickle.loads(data)


@pytest.mark.parametrize("case", ["vae", "vae, images"])
def test_another_activation_is_refused(case, fitted):
    tree = fitted[case]._fitted.to_tree()
    tree["params"] = {**tree["params"], "activation": "relu"}
    with pytest.raises(ValueError, match=r"SiLU\(\), where there is now .*ReLU\(\)"):
        loads(fitted[case], _fitted=tree)


def test_the_message_says_what_is_different(fitted, monkeypatch):
    data = pickle.dumps(fitted["vae, own decoder"])
    monkeypatch.setitem(globals(), "HIDDEN_LAYERS", [*HIDDEN_LAYERS[:2], nn.Tanh()])
    with pytest.raises(ValueError, match=r"with \(2\): ReLU\(\).*now \(2\): Tanh\(\)"):
        pickle.loads(data)


@pytest.mark.parametrize(
    ("versions", "said"),
    [({"sklearn_icm": "0.0.1", "torch": "2.0"}, "sklearn_icm 0.0.1, torch 2.0"),
     ({}, "unknown")],
)  # fmt: skip
@pytest.mark.parametrize("case", ["vae", "graph", "fixed", "chain"])
def test_other_versions_are_named(case, versions, said, fitted):
    match = f"{type(fitted[case]).__name__} from version {said} when using version"
    with pytest.warns(InconsistentVersionWarning, match=match):
        loads(fitted[case], _versions=versions)


def test_a_state_that_is_refused_changes_nothing(fitted):
    model = copy.deepcopy(fitted["vae"])
    tree = {**model._fitted.to_tree(), "arrays": {}}
    with pytest.raises(ValueError, match="is missing"):
        model.__setstate__({**model.__getstate__(), "_fitted": tree, "n_latents": 99})
    assert model.n_latents == 2
    assert_array_equal(model.sample(5, 0), fitted["vae"].sample(5, 0))


def test_states_hold_no_tensors(fitted):
    def tensors(value):
        if isinstance(value, dict):
            return any(map(tensors, value.values()))
        if isinstance(value, Packed):
            return bool(list(value.frame.parameters()) + list(value.frame.buffers()))
        return isinstance(value, (nn.Module, torch.Tensor))

    for model in fitted.values():
        assert not tensors(model.__getstate__())


@pytest.mark.parametrize("case", CASES)
def test_what_modules_share_is_kept_once(case, fitted):
    module, arrays, _ = parts(fitted[case])
    names = [name.rpartition(".") for name in arrays]
    assert len({(module.get_submodule(o), leaf) for o, _, leaf in names}) == len(arrays)


def test_shared_tensors_stay_shared():
    mechanism = by_pickle(Packed(tied())).module().mechanism("data")
    assert mechanism.first.weight is mechanism.second.weight


def test_training_goes_on_with_an_equal_graph_alone():
    model = FixedGenerator(own_graph()).fit(TABLE).set_params(graph=own_graph())
    model.partial_fit(TABLE)
    other = own_graph()
    other.mechanism("data").bias.data += 1
    with pytest.raises(ValueError, match="graph cannot change"):
        model.set_params(graph=other).partial_fit(TABLE)
