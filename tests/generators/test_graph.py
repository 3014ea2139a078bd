import pickle

import networkx
import numpy as np
import pandas as pd
import pytest
from helpers import EDGES, NAMES, graph_table
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import (
    Do,
    Resample,
    Shift,
    SwapMechanism,
)


@pytest.fixture(scope="module")
def table():
    return graph_table()


@pytest.fixture(scope="module")
def model(table):
    """Tests must not change it."""
    return GraphGenerator(EDGES, max_epochs=20, random_state=0).fit(table)


def mixed_rows(n=600, seed=0):
    rng = np.random.RandomState(seed)
    dose = rng.randn(n)
    chance = 1 / (1 + np.exp(-3 * dose))
    group = np.where(rng.rand(n) < chance, "treated", "control")
    level = np.where(group == "treated", 2.0, 0.0) + 0.5 * rng.randn(n)
    return pd.DataFrame({"dose": dose, "group": group, "level": level})


@pytest.fixture(scope="module")
def mixed():
    return GraphGenerator(
        {"group": "dose", "level": "group"}, max_epochs=30, random_state=0
    ).fit(mixed_rows())


# ----------------------------------------------------------------------- graphs
ADJACENCY = pd.DataFrame(0, index=NAMES, columns=NAMES)
for cause, effect in EDGES:
    ADJACENCY.loc[cause, effect] = 1


@pytest.mark.parametrize(
    "graph",
    [
        EDGES,
        [(0, 1), (0, "effect"), (1, 2)],
        {"middle": "cause", "effect": ["cause", "middle"]},
        {1: 0, 2: (0, 1)},
        ADJACENCY,
        ADJACENCY.loc[NAMES[::-1], NAMES[::-1]],
        ADJACENCY.to_numpy(),
        networkx.DiGraph(EDGES),
        networkx.MultiDiGraph([*EDGES, EDGES[0]]),
        {"cause": None, "middle": "cause", "effect": ["cause", "middle"]},
    ],
    ids=["pairs", "positions", "dict", "dict of positions", "frame", "reversed frame"]
    + ["array", "networkx", "networkx multi", "dict with none"],
)
def test_every_form_of_a_graph_gives_the_same_model(graph, model, table):
    other = clone(model).set_params(graph=graph).fit(table)
    assert other.mechanisms_ == model.mechanisms_
    assert np.array_equal(other.sample(5, random_state=0), model.sample(5, 0))


def test_nodes_bear_the_names_of_the_columns(model):
    assert list(model.nodes_) == ["noise", *NAMES[:1], "alone", "middle", "effect"] + [
        "data"
    ]
    assert model.mechanisms_["effect"] == ("cause", "middle", "noise")
    assert model.mechanisms_["data"] == tuple(NAMES)


def test_columns_named_like_our_own_nodes():
    X = pd.DataFrame(np.random.RandomState(0).randn(30, 2), columns=["noise", "data"])
    est = GraphGenerator([("noise", "data")], max_epochs=1).fit(X)
    assert list(est.nodes_) == ["noise_", "noise", "data", "data_"]
    assert np.all(est.intervene({"noise": 2.0}, n_samples=4)[:, 0] == 2)


def test_what_was_read_of_a_graph_is_shown(model):
    assert model.edges_ == ["cause -> middle", "cause -> effect", "middle -> effect"]
    shown = repr(model.graph_)
    assert "middle: 1 <- cause, noise\n" in shown
    assert "effect: 1 <- cause, middle, noise\n" in shown
    turned = networkx.to_dict_of_lists(networkx.DiGraph([("cause", "middle")]))
    est = GraphGenerator(turned, max_epochs=1).fit(graph_table()[["cause", "middle"]])
    assert est.edges_ == ["middle -> cause"]


@given(st.integers(2, 7), st.integers(0, 1000))
def test_any_cycle_is_refused_and_named(size, seed):
    names = [f"x{k}" for k in np.random.RandomState(seed).permutation(size)]
    edges = [*zip(names, names[1:], strict=False), (names[-1], names[0])]
    X = np.random.RandomState(0).randn(10, size)
    with pytest.raises(ValueError, match="graph must have no cycles, got x") as error:
        GraphGenerator(edges).fit(X)
    assert str(error.value).count(" -> ") == size


@pytest.mark.parametrize(
    ("graph", "error", "match"),
    [
        ([("cause", "nowhere")], ValueError, "names the column 'nowhere'"),
        ([(0, 4)], ValueError, "names the column 4"),
        ({"effect": [True]}, ValueError, "names the column True"),
        (networkx.DiGraph([("a", "b")]), ValueError, "names the column 'a'"),
        (np.zeros((3, 3)), ValueError, r"\(4, 4\), got \(3, 3\)"),
        (pd.DataFrame({"from": ["a"], "to": ["b"]}), ValueError, "the same, got"),
        ([("cause", "middle", "effect")], TypeError, "graph must be None, a list"),
        ("cause -> effect", TypeError, "graph must be None, a list"),
        ({"nowhere": []}, ValueError, "names the column 'nowhere'"),
        ({"effect": 1.5}, ValueError, "names the column 1.5"),
        (networkx.Graph(EDGES), ValueError, "must be directed.*undirected Graph"),
        (np.full((4, 4), np.nan), ValueError, "no missing entries, got 16"),
        (ADJACENCY.replace(0, np.nan), ValueError, "no missing entries, got 13"),
        ([("cause", "cause")], ValueError, "cause -> cause"),
    ],
)
def test_wrong_graphs(graph, error, match, table):
    with pytest.raises(error, match=match):
        GraphGenerator(graph).fit(table)


@pytest.mark.parametrize(
    ("mechanism", "match"),
    [
        ({"nowhere": "linear"}, "mechanism names the column 'nowhere'"),
        ({7: "linear"}, "mechanism names the column 7"),
        ({"cause": "cubic"}, "mechanism must map columns to one of"),
    ],
)
def test_wrong_mechanisms(mechanism, match, table):
    with pytest.raises(ValueError, match=match) as error:
        GraphGenerator(EDGES, mechanism=mechanism).fit(table)
    assert "hidden=" not in str(error.value)


@pytest.mark.parametrize(
    "named", [("middle", "effect"), (1, 2)], ids=["names", "positions"]
)
def test_mechanisms_per_column(named, table):
    kinds = dict(zip(named, ["location-scale", "linear"], strict=True))
    est = GraphGenerator(EDGES, mechanism=kinds, max_epochs=2).fit(table)
    assert est.mechanism_kinds_["middle"] == "location-scale"
    assert est.mechanism_kinds_["effect"] == "linear"


# ------------------------------------------------------------------------ verbs
@given(st.sampled_from(NAMES), st.floats(-2, 2))
def test_do_acts_on_its_column_and_descendants_alone(node, value):
    est = MODEL[0]
    value = float(est.sample(1, random_state=0)[0, NAMES.index(node)]) + 0.2 * value
    before, after = est.intervene(
        {node: value}, n_samples=20, random_state=1, return_factual=True
    )
    below = est.graph_.descendants([node])
    for k, name in enumerate(NAMES):
        if name == node:
            assert (after[:, k] == value).all()
        else:
            unchanged = np.array_equal(before[:, k], after[:, k])
            assert unchanged == (name not in below)


MODEL = []


@pytest.fixture(autouse=True)
def _share_model(model):
    MODEL[:] = [model]


def test_abduction_is_exact(model, table):
    abducted = model.abduct(table)
    means = model.node_values(table)["data"]
    assert np.allclose(means, table, atol=1e-4)
    assert abducted.residual.max() < 1e-4
    assert abducted.noise.shape == (len(table), 4)


def test_counterfactuals_of_a_linear_model_are_those_of_its_equations():
    rng = np.random.RandomState(0)
    cause, noise = rng.randn(2, 2000)
    X = np.column_stack([cause, 3 * cause + noise])
    est = GraphGenerator([(0, 1)], mechanism="linear", max_epochs=9, random_state=0)
    changed = est.fit(X).intervene({"x0": Shift(1.0)}, X=X)
    error = 5 / np.sqrt(len(X))
    assert np.allclose(changed - X, [1.0, 3.0], atol=error)


def test_resampled_cause_has_the_given_values(model):
    est = model.intervene({"cause": Resample([[0.0], [1.0]])}, n_samples=50)
    assert set(np.round(est[:, 0], 6)) == {0.0, 1.0}


def test_swapped_mechanism(model, table):
    flipped = table.assign(middle=-table["middle"])
    other = clone(model).fit(flipped)
    swap = {"middle": SwapMechanism(other, "middle")}
    before, after = model.intervene(
        swap, n_samples=500, random_state=0, return_factual=True
    )
    assert np.corrcoef(before[:, 0], before[:, 1])[0, 1] > 0.5
    assert np.corrcoef(after[:, 0], after[:, 1])[0, 1] < -0.5


def test_samples_have_the_moments_of_the_rows(model, table):
    draws = model.sample(4000, random_state=0)
    error = 5 * table.std() / np.sqrt(len(table))
    assert (abs(draws.mean(0) - table.mean()) < error).all()
    assert np.allclose(np.corrcoef(draws.T), np.corrcoef(table.T), atol=0.15)


def test_constant_columns_stay_constant(table):
    X = table.assign(alone=7.25)
    est = GraphGenerator([*EDGES, ("alone", "effect")], max_epochs=2).fit(X)
    assert (est.sample(50)[:, 3] == 7.25).all()
    assert np.isfinite(est.score_samples(X)).all()


def test_scores_of_rows_that_leave_a_constant_are_said_to_ignore_it(table):
    X = table.assign(alone=7.1)
    est = GraphGenerator([*EDGES, ("alone", "effect")], max_epochs=2).fit(X)
    est.score_samples(X.astype(np.float32))
    est.score_samples(X.assign(alone=8), interventions={"alone": 8.0})
    X.loc[:2, "alone"] = 8
    with pytest.warns(UserWarning, match=f"'alone' was 7.1 .*in 3 of {len(X)} rows"):
        scores = est.score_samples(X)
    assert np.isfinite(scores).all()


def test_pickle_keeps_kinds_and_scores(model, table):
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.mechanism_kinds_ == model.mechanism_kinds_
    assert np.array_equal(loaded.score_samples(table), model.score_samples(table))


def test_skops_round_trip(mixed):
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(mixed)
    loaded = skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    assert np.array_equal(loaded.sample(5, 0), mixed.sample(5, 0))


def test_warm_start_and_partial_fit_go_on(table):
    est = GraphGenerator(EDGES, max_epochs=2, warm_start=True, random_state=0)
    assert est.fit(table).fit(table).n_iter_ == 4
    assert est.partial_fit(table).n_iter_ == 5
    assert np.isfinite(est.sample(5)).all()


@pytest.mark.parametrize("mechanism", ["linear", "auto"])
def test_few_rows_more_do_not_replace_what_is_known_of_the_noise(mechanism, table):
    est = GraphGenerator(EDGES, mechanism=mechanism, max_epochs=5, random_state=0)
    before = est.fit(table).score(table)
    kinds = est.mechanism_kinds_
    for start in range(0, 8, 2):
        est.partial_fit(table[start : start + 2])
    assert abs(est.score(table) - before) < 0.2
    assert est.mechanism_kinds_ == kinds
    loaded = pickle.loads(pickle.dumps(est)).partial_fit(table[:2])
    assert abs(loaded.score(table) - before) < 0.5


def test_noise_of_a_stream_forgets_old_rows_slowly():
    rng = np.random.RandomState(0)
    est = GraphGenerator(random_state=0).partial_fit(rng.randn(3000, 1))
    spreads = []
    for _ in range(8):
        est.partial_fit(5 * rng.randn(2000, 1))
        spreads.append(est.sample(4000, random_state=0).std())
    assert 2 < spreads[0] < 4
    assert (np.diff(spreads[:4]) > 0).all()
    assert spreads[-1] == pytest.approx(5, rel=0.05)


def test_a_callable_that_takes_a_row_for_a_number_is_told_what_it_gets(model, table):
    with pytest.raises(ValueError, match="'cause' treats .* one number.*torch.where"):
        model.intervene({"cause": lambda v: 1.0 if v > 0 else 0.0}, X=table[:2])


def test_frames_come_out(model, table):
    est = clone(model).set_output(transform="pandas").set_params(max_epochs=1)
    draws = est.fit(table).sample(3)
    assert list(draws.columns) == NAMES


# --------------------------------------------------------------------- density
def test_density_of_a_normal_table_is_near_its_closed_form():
    rng = np.random.RandomState(0)
    cause, noise = rng.randn(2, 2000)
    X = np.column_stack([cause, cause + 2 * noise])
    est = GraphGenerator([(0, 1)], mechanism="linear", max_epochs=5, random_state=0)
    est.fit(X)
    entropy = np.log(2 * np.pi * np.e) + np.log(2)
    assert abs(est.score(X) + entropy) < 0.1


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_units_change_the_density_by_their_logarithm(scale, model, table):
    scaled = clone(model).fit(table * scale)
    difference = model.score_samples(table) - scaled.score_samples(table * scale)
    assert np.allclose(difference, 4 * np.log(scale), atol=0.05)


# ---------------------------------------------------------------------- levels
def test_levels_come_back(mixed):
    draws = mixed.sample(300, random_state=0)
    assert set(draws[:, 1]) == {"control", "treated"}
    X = mixed_rows(seed=1)
    assert mixed.intervene({}, X=X)[:, 1].tolist() == X["group"].tolist()
    frame = clone(mixed).set_output(transform="pandas").set_params(max_epochs=1)
    frame = frame.fit(X).sample(4)
    assert frame["group"].isin(["control", "treated"]).all()
    assert frame["level"].dtype == float


def test_levels_follow_their_parents(mixed):
    for dose, share in ((-1.0, 0.047), (1.0, 0.953)):
        group = mixed.intervene({"dose": dose}, n_samples=2000, random_state=0)[:, 1]
        assert abs((group == "treated").mean() - share) < 0.06


@pytest.mark.parametrize(("level", "mean"), [("treated", 2.0), ("control", 0.0)])
def test_do_on_a_level_by_name(mixed, level, mean):
    draws = mixed.intervene({"group": level}, n_samples=1000, random_state=0)
    assert (draws[:, 1] == level).all()
    assert abs(draws[:, 2].astype(float).mean() - mean) < 0.15


def test_unknown_levels(mixed):
    with pytest.raises(
        ValueError, match=r"one of its levels, \[.*'treated'.*'placebo'"
    ):
        mixed.intervene({"group": "placebo"}, n_samples=2)
    with pytest.raises(ValueError, match=r"levels, \['control', 'treated'\], got 2.0"):
        mixed.intervene({"group": Do(2)}, n_samples=2)
    with pytest.raises(ValueError, match="has the level 'placebo', which was not seen"):
        mixed.intervene({}, X=mixed_rows(3).assign(group="placebo"))


def test_numeric_levels_of_an_array():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.choice([1.0, 5.0, 9.0], 200), rng.randn(200)])
    est = GraphGenerator([(0, 1)], categorical_features=[0], max_epochs=2).fit(X)
    assert set(est.sample(100)[:, 0]) == {1.0, 5.0, 9.0}
    assert (est.intervene({"x0": 5.0}, n_samples=3)[:, 0] == 5.0).all()
    assert est.categories_["x0"].tolist() == [1.0, 5.0, 9.0]
    with pytest.raises(ValueError, match=r"names the column 7"):
        clone(est).set_params(categorical_features=[7]).fit(X)


def test_transform_and_back(model, table):
    noise = model.transform(table)
    assert np.allclose(model.inverse_transform(noise), table, atol=1e-4)
    assert (abs(noise.mean(0)) < 5 / np.sqrt(len(table))).all()
    named = clone(model).set_output(transform="pandas").fit(table).transform(table)
    assert list(named.columns) == list(model.get_feature_names_out())
    with pytest.raises(ValueError, match="needs 4 latents per row, got 2"):
        model.inverse_transform(noise[:, :2])


# ---------------------------------------------------------------- independence
def test_a_true_model_has_independent_noise(model):
    table = model.independence(n_samples=300)
    assert list(table["mechanism"].unique()) == NAMES
    assert (table["against"] == "parents").sum() == 2
    assert table["dependence"].between(0, 1).all()
    assert (table["p_value"] > 1e-2).mean() > 0.8


def test_a_missing_cause_and_a_wrong_mechanism_are_seen(table):
    cause, bent = [("cause", "effect")], np.square(table["cause"])
    table = table.assign(effect=bent + 0.1 * table["alone"])
    wrong = GraphGenerator(cause, mechanism="linear", max_epochs=5).fit(table)
    found = wrong.independence(table).set_index(["mechanism", "against"])["p_value"]
    assert found["effect", "parents"] < 0.01
    assert found["cause", "noise"] < 0.01
    assert np.isnan(wrong.independence(table, n_draws=0)["p_value"]).all()


def test_a_weak_missing_cause_is_seen_by_all_rows_and_not_by_a_few():
    rng = np.random.RandomState(0)
    hidden = rng.randn(5000, 1)
    est = GraphGenerator(random_state=0).fit(X := 0.3 * hidden + rng.randn(5000, 2))
    found = [est.independence(X, n_draws=99, n_samples=n) for n in (500, 5000)]
    assert [int(table["n_rows"].unique().item()) for table in found] == [500, 5000]
    few, many = (table["p_value"] for table in found)
    assert (few > 0.05).all()
    assert (many <= 0.01).all()
    pd.testing.assert_frame_equal(est.independence(X, n_draws=99), found[1])


def test_constant_columns_have_no_dependence(table):
    est = GraphGenerator(EDGES, max_epochs=1).fit(table.assign(alone=1.0))
    found = est.independence(n_draws=9, n_samples=50).set_index("mechanism")
    assert np.isnan(found.loc["alone", "dependence"])


def test_training_goes_on_with_an_equal_graph_in_another_form_alone(table):
    est = GraphGenerator(ADJACENCY, max_epochs=1, warm_start=True).fit(table)
    est.set_params(graph=EDGES).fit(table)
    assert est.n_iter_ == 2
    loaded = pickle.loads(pickle.dumps(est.set_params(graph=None)))
    assert loaded.mechanisms_ == est.mechanisms_
    with pytest.raises(ValueError, match="graph cannot change from"):
        est.fit(table)


@given(st.integers(3, 12), st.integers(1, 3), st.integers(0, 1000))
def test_small_tables(n_rows, n_columns, seed):
    X = np.random.RandomState(seed).choice([-1.0, 0.0, 5.0], (n_rows, n_columns))
    edges = [(k, k + 1) for k in range(n_columns - 1)]
    est = GraphGenerator(edges, max_epochs=1, random_state=0).fit(X)
    assert np.isfinite(est.sample(20)).all()
    assert np.isfinite(est.score_samples(X)).all()
    assert np.array_equal(est.intervene({}, X=X), X)


@pytest.mark.parametrize("mechanism", ["categorical", {"x1": "categorical"}])
def test_numbers_can_be_levels(mechanism):
    rng = np.random.RandomState(0)
    dose = rng.choice([0.0, 2.5], 300)
    kind = np.where(rng.rand(300) < 0.9, dose + 1, 7.0)
    est = GraphGenerator([(0, 1)], mechanism=mechanism, random_state=0)
    est.fit(np.column_stack([dose, kind]))
    assert list(est.categories_["x1"]) == [1.0, 3.5, 7.0]
    drawn = est.intervene({"x0": 2.5}, n_samples=2000, random_state=0)
    assert set(drawn[:, 1]) <= {1.0, 3.5, 7.0}
    usual = np.mean(kind[dose == 2.5] == 3.5)
    assert abs(np.mean(drawn[:, 1] == 3.5) - usual) < 0.04


def test_a_do_is_exact_and_leaves_other_columns_as_they_are(model, table):
    changed = model.intervene({"middle": 0.1}, X=table)
    assert (changed[:, 1] == 0.1).all()
    assert np.array_equal(changed[:, [0, 3]], table[["cause", "alone"]])
