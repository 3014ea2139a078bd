import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.base import is_generator
from sklearn_icm.exceptions import (
    DegenerateMechanismWarning,
    FitDivergedError,
    FitInterruptedWarning,
    SupportWarning,
)
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import Measure


def test_is_generator():
    assert is_generator(VAEGenerator())
    assert is_generator(make_pipeline(StandardScaler(), VAEGenerator()))
    assert not is_generator(GaussianMixture())
    assert not is_generator(KMeans())


@pytest.mark.parametrize("name", ["graph_", "encoder_", "nodes_", "history_"])
def test_fitted_attributes_do_not_exist_before_fit(name):
    assert not hasattr(VAEGenerator(), name)


def test_mechanisms_have_parents_and_bear_the_names_of_their_nodes(fitted):
    assert fitted.mechanisms_ == {
        "conv1": ("noise",),
        "conv2": ("conv1",),
        "data": ("conv2",),
    }
    assert fitted.nodes_["data"] == (1, 12, 24)


def test_independence_of_a_fitted_model(fitted):
    table = fitted.independence(n_draws=99)
    assert table["pair"].tolist() == ["conv1 -> conv2", "conv2 -> data"]
    assert (table["measure"] == "spectral").all()
    again = fitted.independence(n_draws=99)
    assert table.equals(again)
    # A band by default, where it is cheap.
    assert (fitted.independence()["low"] < fitted.independence()["high"]).all()
    for without in ({"n_draws": 0}, {"measure": "full"}):
        assert fitted.independence(**without)[["low", "p_value"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="n_draws == -1"):
        fitted.independence(n_draws=-1)


def test_independence_of_encoder_activations_and_forms(fitted, pairs):
    encoder = fitted.independence(network="encoder")
    assert encoder["pair"].tolist() == ["conv2 -> conv1", "conv1 -> posterior"]
    weights, triplet = (fitted.independence(measure=m) for m in ("weights", "triplet"))
    assert not weights.equals(triplet)
    rows = pairs.data[:50]
    active = fitted.independence(rows, measure="activation", n_draws=19)
    assert np.isfinite(active["rho"]).all()
    assert active["p_value"].between(0.05, 1).all()
    assert (active["low"] < active["high"]).all()
    assert (active["response"] > 0.1).all()
    with pytest.raises(ValueError, match=r"network must be one of \['decoder', 'enc"):
        fitted.independence(network="prior")
    for unknown in ("squared", ["weights", 3], [], Measure):
        with pytest.raises(ValueError, match="measure must be one of .*weights.* got"):
            fitted.independence(measure=unknown)


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
        DegenerateMechanismWarning([], "Nothing is seen."),
        SupportWarning("far"),
    ],
)
def test_messages_survive_worker_processes(message):
    import pickle

    again = pickle.loads(pickle.dumps(message))
    assert (type(again), str(again)) == (type(message), str(message))


def test_a_million_values_in_chunks_equal_one_seed(fitted):
    """Chunks are a matter of memory: a longer request does not repeat its draws."""
    rows = fitted.sample(3000, random_state=0)
    assert len(np.unique(rows[:, 100:].round(6), axis=0)) == 3000


def test_asking_for_pairs_does_not_change_the_intervened_rows(fitted):
    node = list(fitted.nodes_)[1]
    changes = {node: lambda h: 1.5 * h}
    options = {"n_samples": 50, "random_state": 0}
    _, paired = fitted.intervene(changes, return_factual=True, **options)
    assert np.array_equal(paired, fitted.intervene(changes, **options))
