"""What a row is: a table, a signal of one or several channels, or an image."""

import pickle

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_icm.generators import FixedGenerator, VAEGenerator
from sklearn_icm.inspection import (
    InterventionDisplay,
    NodeTraversalDisplay,
    SamplesDisplay,
)
from sklearn_icm.interventions import Flip, Permute, Stretch, Translate
from sklearn_icm.mechanisms import map_decoder
from sklearn_icm.rows._layout import DataLayout

LENGTH, CHANNELS = 16, 3
ROWS = np.random.RandomState(0).randn(12, LENGTH * CHANNELS)
SIGNALS = {"data_shape": (LENGTH, CHANNELS), "data_kind": "signal"}


@pytest.fixture(scope="module")
def model():
    return VAEGenerator(
        **SIGNALS, n_latents=2, hidden=(4, 3), max_epochs=2, random_state=0
    ).fit(ROWS)


def as_signals(rows):
    return rows.reshape(-1, LENGTH, CHANNELS)


@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_a_node_holds_one_curve_per_channel_and_rows_come_back(n_channels):
    rows = torch.randn(3, 8 * n_channels)
    layout = DataLayout.of(8 * n_channels, (8, n_channels), "signal")
    node = layout.to_node(rows)
    assert node.shape[1:] == layout.node_shape == (n_channels, 8)
    assert torch.equal(node, rows.reshape(3, 8, n_channels).transpose(1, 2))
    assert torch.equal(layout.to_rows(node), rows)


def test_signals_of_several_channels_have_one_axis(model):
    assert model.nodes_["data"] == (CHANNELS, LENGTH)
    assert model.nodes_["conv2"] == (3, LENGTH // 2)
    assert model.sample(2).shape == (2, ROWS.shape[1])
    assert np.allclose(model.intervene({}, X=ROWS), ROWS)
    changes = {
        Flip(): as_signals(ROWS)[:, ::-1],
        Permute([2, 0, 1]): as_signals(ROWS)[..., [2, 0, 1]],
        Translate(1): np.pad(as_signals(ROWS), ((0, 0), (1, 0), (0, 0)))[:, :-1],
    }
    bounded = model.bounds_.ravel()
    for change, expected in changes.items():
        found = model.intervene({"data": change}, X=ROWS)
        assert np.allclose(as_signals(found), expected.clip(*bounded)), change


@pytest.mark.parametrize("node", ["conv1", "conv2", "data"])
def test_an_axis_is_needed_of_no_map(node, model, fitted, pairs):
    for estimator, X, axis in [(model, ROWS, "length"), (fitted, pairs.data, "width")]:
        for short, long in [
            (Stretch(1.3), Stretch(1.3, axis)),
            (Translate(0.5), Translate(0.5, axis)),
            (Flip(), Flip(axis)),
        ]:
            found = [estimator.intervene({node: c}, X=X[:3]) for c in (short, long)]
            assert np.array_equal(*found)


def test_the_kind_is_part_of_the_state(model):
    again = pickle.loads(pickle.dumps(model))
    again.set_params(data_kind="auto")
    assert np.array_equal(again.sample(2, 0), model.sample(2, 0))
    with pytest.raises(ValueError, match="data_kind cannot change from 'signal'"):
        again.partial_fit(ROWS)


def test_given_graphs_take_signals():
    graph = map_decoder(2, (CHANNELS, LENGTH), n_maps=4)
    truth = FixedGenerator(graph, **SIGNALS).fit(ROWS)
    assert truth.nodes_["map"] == (4, LENGTH)
    assert truth.intervene({"map": Stretch(1.2)}, n_samples=2).shape == (2, 48)
    free = FixedGenerator(**SIGNALS).fit(ROWS)
    assert np.allclose(free.intervene({}, X=ROWS), ROWS)


def test_independence_is_measured_between_maps_of_signals(model):
    table = model.independence()
    assert np.isfinite(table["rho"]).any()
    assert len(model.independence(measure="activation", n_samples=8)) > 0


SHOWN = {
    "samples": lambda est: SamplesDisplay.from_estimator(est, n_rows=1, n_columns=2),
    "nodes": lambda est: InterventionDisplay.from_nodes(
        est, Stretch(1.3), ROWS, nodes=["conv2"], n_columns=2, truth=ROWS
    ),
    "traversal": lambda est: NodeTraversalDisplay.from_estimator(
        est, units=[0], n_values=2
    ),
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_signals_of_several_channels_are_drawn_as_curves(show, model):
    for estimator in (model, make_pipeline(FunctionTransformer(), model)):
        display = show(estimator)
        assert len(display.artists_) == display.rows[..., 0].size * CHANNELS
        first = [line.get_ydata() for line in display.artists_[:CHANNELS]]
        assert np.allclose(np.transpose(first), as_signals(display.rows[0, 0])[0])
        assert len({line.get_color() for line in display.artists_}) == CHANNELS
    plt.close("all")


def test_kinds_that_shapes_already_say_change_nothing():
    params = {"hidden": (2,), "n_latents": 2, "max_epochs": 1, "random_state": 0}
    for shape, kind in [((48,), "signal"), ((6, 8), "image"), (None, "table")]:
        samples = [
            VAEGenerator(shape, data_kind=k, **params).fit(ROWS).sample(2, 0)
            for k in ("auto", kind)
        ]
        assert np.array_equal(*samples)


@pytest.mark.parametrize(
    ("kind", "shape", "match"),
    [
        ("signal", (4, 4, 3), r"\(length,\) or \(length, channels\) with data_kind="),
        ("signal", None, "data_shape must be .*'signal'.* got None"),
        ("image", (48,), r"data_shape must be \(height, width\) or .*got \(48,\)"),
        ("image", None, "data_shape must be .*'image'.* got None"),
        ("table", (16, 3), r"data_shape must be None .*'table'.* got \(16, 3\)"),
        ("signal", (16, 4), r"has 64 entries, .*\(length,\) or \(length, channels\)"),
        ("movie", (16, 3), "'data_kind' parameter"),
    ],
)
@pytest.mark.parametrize("family", [VAEGenerator, FixedGenerator])
def test_contradictions_are_refused(family, kind, shape, match):
    with pytest.raises(ValueError, match=match):
        family(data_shape=shape, data_kind=kind).fit(ROWS)
