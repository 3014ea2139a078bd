import tracemalloc

import numpy as np
import pandas as pd
import pytest
from helpers import TABLE, small
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.base import is_generator
from sklearn_icm.exceptions import (
    DegenerateMechanismWarning,
    FitDivergedError,
    FitInterruptedWarning,
)
from sklearn_icm.generators import VAEGenerator


def test_is_generator():
    assert is_generator(VAEGenerator())
    assert is_generator(make_pipeline(StandardScaler(), VAEGenerator()))
    assert not is_generator(GaussianMixture())
    assert not is_generator(KMeans())


@pytest.mark.parametrize("name", ["graph_", "encoder_", "nodes_", "history_"])
def test_fitted_attributes_do_not_exist_before_fit(name):
    assert not hasattr(VAEGenerator(), name)


def test_mechanisms_bear_the_names_of_their_nodes(fitted):
    assert fitted.mechanisms_ == {
        "conv1": (("noise",), "conv1"),
        "conv2": (("conv1",), "conv2"),
        "data": (("conv2",), "data"),
    }
    assert fitted.nodes_["data"] == (1, 12, 24)


def test_independence_of_a_fitted_model(fitted):
    table = fitted.independence(n_draws=99)
    assert table["pair"].tolist() == ["conv1 -> conv2", "conv2 -> data"]
    assert (table["measure"] == "spectral").all()
    again = fitted.independence(n_draws=99)
    assert table.equals(again)
    assert fitted.independence()["p_value"].isna().all()
    with pytest.raises(ValueError, match="n_draws == -1"):
        fitted.independence(n_draws=-1)


def test_independence_of_encoder_activations_and_forms(fitted, pairs):
    encoder = fitted.independence(graph="encoder")
    assert encoder["pair"].tolist() == ["conv2 -> conv1", "conv1 -> posterior"]
    by_form = {f: fitted.independence(form=f) for f in ("weights", "pooled", "triplet")}
    assert by_form["weights"].equals(by_form["pooled"])
    assert not by_form["weights"].equals(by_form["triplet"])
    rows = pairs.data[:50]
    active = fitted.independence(rows, form="activation", n_draws=19)
    assert np.isfinite(active["rho"]).all()
    assert active["p_value"].between(0.05, 1).all()
    assert (active["null_low"] < active["null_high"]).all()
    assert (active["response"] > 0.1).all()
    with pytest.raises(
        ValueError, match=r"graph must be one of \['decoder', 'encoder'"
    ):
        fitted.independence(graph="prior")
    with pytest.raises(ValueError, match="form must be one of"):
        fitted.independence(form="squared")


def test_node_values_are_those_of_the_graph(fitted, pairs):
    values = fitted.node_values(n_samples=5, random_state=0)
    assert {k: v.shape[1:] for k, v in values.items()} == fitted.nodes_
    means = fitted.sample(5, random_state=0, observation_noise=False)
    assert np.allclose(
        np.clip(values["data"].reshape(5, -1), *fitted.bounds_), means, atol=1e-6
    )
    rows = fitted.node_values(pairs.data[:3])
    latents = fitted.transform(pairs.data[:3])
    assert np.allclose(rows["noise"], latents, atol=1e-4)
    with pytest.raises(ValueError, match="needs either n_samples"):
        fitted.node_values()


@pytest.mark.parametrize(
    "message",
    [
        FitDivergedError(3, "kl"),
        FitDivergedError(1, "kl"),
        FitInterruptedWarning(2, 9),
        DegenerateMechanismWarning(["a -> b"]),
    ],
)
def test_messages_survive_worker_processes(message):
    import pickle

    assert str(pickle.loads(pickle.dumps(message))) == str(message)


def test_a_million_values_in_chunks_equal_one_seed(fitted):
    """Chunks are a matter of memory: a longer request does not repeat its draws."""
    rows = fitted.sample(3000, random_state=0)
    assert len(np.unique(rows[:, 100:].round(6), axis=0)) == 3000


@pytest.mark.parametrize("batch_size", [1, 7, 1000, 5000])
def test_iter_sample_yields_the_rows_of_sample(fitted, batch_size):
    batches = list(fitted.iter_sample(2100, random_state=3, batch_size=batch_size))
    assert {len(b) for b in batches[:-1]} <= {batch_size}
    whole = fitted.sample(2100, random_state=3)
    assert np.array_equal(np.concatenate(batches), whole)


def test_iter_sample_checks_its_arguments_before_the_first_batch(fitted):
    with pytest.raises(ValueError, match="batch_size"):
        fitted.iter_sample(10, batch_size=0)


def test_memory_of_iter_sample_does_not_grow_with_the_number_of_rows(fitted):
    def peak(n):
        tracemalloc.start()
        for _ in fitted.iter_sample(n, random_state=0):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2000)
    assert peak(60_000) < 1.2 * peak(20_000)


def test_asking_for_pairs_does_not_change_the_intervened_rows(fitted):
    node = list(fitted.nodes_)[1]
    changes = {node: lambda h: 1.5 * h}
    options = {"n_samples": 50, "random_state": 0}
    _, paired = fitted.intervene(changes, return_factual=True, **options)
    assert np.array_equal(paired, fitted.intervene(changes, **options))


@pytest.mark.parametrize("given_rows", [False, True])
def test_iter_intervene_yields_the_pairs_of_intervene(fitted, pairs, given_rows):
    query = {"n_samples": 70, "random_state": 0}
    if given_rows:
        query = {"X": pairs.data[:70]}
    changes = {"conv2": lambda h: 1.2 * h}
    batches = fitted.iter_intervene(
        changes, batch_size=32, return_factual=True, **query
    )
    found = [np.concatenate(rows) for rows in zip(*batches, strict=True)]
    expected = fitted.intervene(changes, return_factual=True, **query)
    for ours, whole in zip(found, expected, strict=True):
        assert np.array_equal(ours, whole)
    with pytest.raises(ValueError, match="Unknown node"):
        fitted.iter_intervene({"conv9": 0.0}, **query)


@pytest.mark.parametrize("given", [True, False], ids=["given", "drawn"])
@pytest.mark.parametrize("paired", [True, False], ids=["pairs", "rows"])
def test_frames_of_batches_are_those_of_the_whole(given, paired):
    X = pd.DataFrame(TABLE, columns=list("abcd"), index=np.arange(40) * 3 + 7)
    model = small().fit(X).set_output(transform="pandas")
    query = {"X": X} if given else {"n_samples": 40, "random_state": 0}
    query["return_factual"] = paired
    whole = model.intervene({"dense1": 0.0}, **query)
    batches = list(model.iter_intervene({"dense1": 0.0}, **query, batch_size=9))
    if not paired:
        whole, batches = [whole], [batches]
    else:
        batches = zip(*batches, strict=True)
    for expected, parts in zip(whole, batches, strict=True):
        pd.testing.assert_frame_equal(pd.concat(list(parts)), expected)
