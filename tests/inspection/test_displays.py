import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from helpers import TABLE
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_icm.generators import ChainGenerator, FixedGenerator, VAEGenerator
from sklearn_icm.inspection import (
    IndependenceDisplay,
    InterventionDisplay,
    NodeTraversalDisplay,
    SamplesDisplay,
    TrainingDisplay,
)
from sklearn_icm.interventions import Do, Shift, Stretch, Units
from sklearn_icm.mechanisms import dense_decoder, map_decoder, parts_decoder


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_samples_beside_real_rows(fitted, pairs):
    display = SamplesDisplay.from_estimator(
        fitted, pairs.data[:5], n_rows=2, n_columns=4, random_state=0
    )
    assert display.labels == ["real", "real", "sample", "sample"]
    assert display.rows.shape == (4, 4, pairs.data.shape[1])
    assert np.array_equal(np.concatenate(display.rows)[:5], pairs.data[:5])
    shown = display.artists_.get_array()
    first = pairs.data[0].reshape(pairs.data_shape)
    assert np.allclose(shown[:12, :24], first)


def test_cells_without_a_row_stay_empty(fitted, pairs):
    display = SamplesDisplay.from_estimator(fitted, pairs.data[:5], n_rows=1)
    display.figure_.canvas.draw()
    assert np.isfinite(display.rows[0, :5]).all()
    assert np.isnan(display.rows[0, 5:]).all()
    signals = VAEGenerator((4,), hidden=(3,), max_epochs=1).fit(TABLE)
    display = SamplesDisplay.from_estimator(signals, TABLE[:1], n_rows=1)
    display.figure_.canvas.draw()
    assert np.allclose(display.artists_[0].get_ydata(), TABLE[0])


@pytest.mark.parametrize(
    "ask",
    [
        SamplesDisplay.from_estimator,
        IndependenceDisplay.from_estimator,
        TrainingDisplay.from_estimator,
        lambda est: InterventionDisplay.from_nodes(est, Stretch(1.3)),
        NodeTraversalDisplay.from_estimator,
    ],
    ids=["samples", "independence", "training", "intervention", "traversal"],
)
def test_displays_need_a_fit(ask):
    with pytest.raises(NotFittedError):
        ask(VAEGenerator((2, 2)))


def test_displays_of_a_pipeline_are_in_its_input_space(fitted, pairs):
    double = FunctionTransformer(lambda X: X / 2, lambda X: 2 * X)
    pipe = make_pipeline(double.fit(pairs.data), fitted)
    rows = 2 * fitted.sample(8, random_state=0)
    shown = SamplesDisplay.from_estimator(pipe, n_rows=1, random_state=0).rows
    assert np.allclose(shown[0], rows)
    shown = InterventionDisplay.from_nodes(pipe, Stretch(1.3), nodes=["conv2"]).rows
    assert np.allclose(shown[0], rows)
    X = 2 * pairs.data[:50]
    given = IndependenceDisplay.from_estimator(pipe, X, n_draws=9).tables["decoder"]
    expected = fitted.independence(pairs.data[:50], n_draws=9)
    assert given.equals(expected)
    NodeTraversalDisplay.from_estimator(pipe, node="conv2", units=[0], n_values=3)


def test_a_history_without_a_penalty_has_one_axis():
    model = ChainGenerator(max_iter=5).fit(TABLE)
    display = TrainingDisplay.from_estimator(model)
    assert [line.get_label() for line in display.lines_] == ["loss", "fit"]
    assert len(display.figure_.axes) == 1


def test_interventions_per_node_with_truth(fitted, pairs):
    factual, truth = pairs.pairs[:, :3]
    display = InterventionDisplay.from_nodes(
        fitted,
        Stretch(1.3),
        pairs.data[factual],
        truth=pairs.data[truth],
        n_columns=3,
    )
    assert display.labels == ["factual", "at conv1", "at conv2", "at data", "truth"]
    expected = fitted.intervene({"conv2": Stretch(1.3)}, X=pairs.data[factual])
    assert np.allclose(display.rows[2], expected)


def test_interventions_on_draws_share_their_noise(fitted):
    display = InterventionDisplay.from_nodes(
        fitted, Stretch(1.3), nodes=["conv2"], n_columns=3, random_state=5
    )
    assert np.allclose(display.rows[0], fitted.sample(3, random_state=5))


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2), (2, 2, 3), (2, 2, 1)])
def test_signals_grey_and_colour(shape):
    X = np.random.RandomState(0).uniform(size=(10, int(np.prod(shape))))
    model = VAEGenerator(shape, hidden=(3,), max_epochs=1, random_state=0).fit(X)
    display = SamplesDisplay.from_estimator(model, X, n_rows=1, n_columns=2)
    display.figure_.canvas.draw()
    assert display.ax_.get_yticklabels()[0].get_text() == "real"


def test_plots_into_given_axes(fitted):
    _, ax = plt.subplots()
    assert SamplesDisplay.from_estimator(fitted, ax=ax).ax_ is ax
    assert TrainingDisplay.from_estimator(fitted, ax=ax).figure_ is ax.figure


def test_independence_and_training_curves(fitted):
    display = IndependenceDisplay.from_estimator(fitted, n_draws=19)
    assert list(display.tables) == ["decoder", "encoder"]
    for points, table in zip(display.points_, display.tables.values(), strict=True):
        assert points.get_xdata() == pytest.approx(table["power_change"])
        assert (table["low"] < table["high"]).all()
    curves = TrainingDisplay(fitted.history_.assign(penalty=1.0)).plot()
    labels = [line.get_label() for line in curves.lines_]
    assert labels == ["loss", "reconstruction", "kl", "penalty (right)"]


def test_tables_have_no_image():
    model = VAEGenerator(max_epochs=1).fit(np.eye(4))
    with pytest.raises(ValueError, match="data_shape, got data_shape=None"):
        SamplesDisplay.from_estimator(model)


def test_strengths_at_a_node(fitted, pairs):
    display = InterventionDisplay.from_estimator(
        fitted, Stretch(1.5), pairs.data, node="conv2", strengths=[0, 1], n_rows=3
    )
    X = pairs.data[:3]
    assert display.rows.shape == (3, 2, X.shape[1])
    assert np.array_equal(display.rows[:, 0], X)
    expected = fitted.intervene({"conv2": Stretch(1.5)}, X=X)
    assert np.array_equal(display.rows[:, 1], expected)
    shown = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert shown == ["0", "1"]


def test_strengths_need_an_intervention_that_has_one(fitted):
    with pytest.raises(TypeError, match="with a strength"):
        InterventionDisplay.from_estimator(fitted, 1.0, node="conv2")
    with pytest.raises(TypeError, match="no strength"):
        InterventionDisplay.from_estimator(fitted, Do(1.0), node="conv2")


def test_traversal_moves_one_unit_by_its_spread(fitted):
    display = NodeTraversalDisplay.from_estimator(
        fitted, node="conv2", units=[1, 3], n_values=3, width=2.0
    )
    assert display.rows.shape == (2, 3, fitted.n_features_in_)
    draw = {"random_state": 0, "observation_noise": False}
    assert np.allclose(display.rows[:, 1], fitted.sample(1, **draw))
    spread = fitted.node_values(n_samples=256, random_state=0)["conv2"]
    shift = Units(3, Shift(2 * spread[:, 3].std()))
    expected = fitted.intervene({"conv2": shift}, n_samples=1, **draw)
    assert np.allclose(display.rows[1, 2], expected, atol=1e-5)
    assert display.labels == ["conv2[1]", "conv2[3]"]


def test_unknown_nodes_are_listed(fitted):
    ask = NodeTraversalDisplay.from_estimator
    with pytest.raises(ValueError, match=r"node must be one of \['noise', 'conv1'"):
        ask(fitted, node="conv9")
    with pytest.raises(ValueError, match=r"node must be one of .*got array"):
        ask(fitted, node=np.ones(3))


def full_grid():
    return FixedGenerator(map_decoder(2, (1, 6, 6)), data_shape=(6, 6))


@pytest.mark.parametrize(
    ("make", "intervention", "node"),
    [
        (lambda: VAEGenerator((12, 3), hidden=(2, 3, 3)), Stretch(1.2), "conv3"),
        (full_grid, Stretch(1.2), "map"),
        (lambda: ChainGenerator("conv", data_shape=(6, 6)), Stretch(1.2), "conv1"),
        (lambda: FixedGenerator(data_shape=(6, 6)), Stretch(1.2), "data"),
        (lambda: VAEGenerator((6, 6), hidden=(2,)), Shift(np.ones(12)), "noise"),
        (lambda: VAEGenerator((6, 6), decoder=dense_decoder), Shift(1.0), "dense1"),
    ],
    ids=["conv", "map", "chain", "no hidden node", "where it fits", "vectors"],
)
def test_a_node_is_chosen_and_named(make, intervention, node):
    X = np.random.RandomState(0).uniform(size=(10, 36))
    short = {"max_epochs": 1, "max_iter": 1, "random_state": 0}
    model = make()
    model.set_params(**{k: v for k, v in short.items() if k in model.get_params()})
    model.fit(X)
    ask = InterventionDisplay.from_estimator
    chosen = ask(model, intervention, X, strengths=[1], n_rows=2)
    named = ask(model, intervention, X, node=node, strengths=[1], n_rows=2)
    assert np.array_equal(chosen.rows, named.rows)
    assert f"at {node}," in chosen.ax_.get_title()


def test_one_node_may_be_named_without_a_list(fitted):
    ask = InterventionDisplay.from_nodes
    display = ask(fitted, Stretch(1.3), nodes="conv2", n_columns=1)
    assert display.labels == ["factual", "at conv2"]


def test_what_each_part_draws():
    torch.manual_seed(0)
    graph = parts_decoder(2, (1, 6, 6), n_parts=3)
    with torch.no_grad():
        # What it gives the last part is nothing.
        graph.mechanism("data").register_forward_pre_hook(
            lambda _, args: (args[0] * torch.tensor([1.0, 1, 0]).view(3, 1, 1, 1),)
        )
    model = FixedGenerator(graph, data_shape=(6, 6), random_state=0)
    model.fit(np.random.RandomState(0).uniform(size=(10, 36)))
    display = InterventionDisplay.from_parts(model, n_columns=4)
    assert display.rows.shape == (4, 4, 36)
    whole, *alone = display.rows
    # The ground is 0, so that rows are sums.
    assert np.allclose(sum(alone), whole, atol=1e-5)
    expected = model.node_values(n_samples=4, random_state=0)["parts"][:, 0, 0]
    assert np.allclose(alone[0].reshape(4, 6, 6), expected, atol=1e-5)
    shares = [int(label.split()[-1].rstrip("%")) for label in display.labels[1:]]
    assert min(shares[:2]) > 0 == shares[2]
    assert "parts" in display.ax_.get_title()
    with pytest.raises(ValueError, match="units draw nothing.*'places' holds places"):
        InterventionDisplay.from_parts(model, node="places")


def test_channels_of_a_map_are_parts_too(fitted, pairs):
    ask = InterventionDisplay.from_parts
    display = ask(fitted, pairs.data[:2], node="conv2")
    assert display.rows.shape == (5, 2, pairs.data.shape[1])
    with pytest.raises(ValueError, match=r"node must be one of .*got 'parts'"):
        ask(fitted, pairs.data)


@pytest.mark.parametrize("given", ["conv2", ["conv2", "data"]], ids=["str", "list"])
@pytest.mark.parametrize(
    "ask",
    [
        SamplesDisplay.from_estimator,
        NodeTraversalDisplay.from_estimator,
        IndependenceDisplay.from_estimator,
        lambda est, X: InterventionDisplay.from_estimator(est, Stretch(1.3), X),
        lambda est, X: InterventionDisplay.from_nodes(est, Stretch(1.3), X),
        lambda est, X: InterventionDisplay.from_parts(est, X, node="conv2"),
    ],
    ids=["samples", "traversal", "independence", "strengths", "nodes", "parts"],
)
def test_names_of_nodes_are_no_rows(ask, given, fitted):
    with pytest.raises(
        TypeError, match=r"X must be rows.*got .*conv2.*keyword: node='conv2'"
    ):
        ask(fitted, given)
