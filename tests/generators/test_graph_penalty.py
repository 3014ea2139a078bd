"""Penalties of tables: what they see is what is trained, and what is asked later."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import EDGES, graph_table
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator, VAEGenerator
from sklearn_icm.independence import (
    GenericPenalty,
    IMAPenalty,
    NoisePenalty,
    SumPenalty,
    TracePenalty,
)
from sklearn_icm.rows._batches import Batch

UNOBSERVED = {"unobserved": {"u": 2}}
CONFOUNDED = [*EDGES, ("u", "middle"), ("u", "effect")]


def made(graph=EDGES, **params):
    defaults = {"max_epochs": 3, "icm_penalty": "noise", "random_state": 0}
    return GraphGenerator(graph, **{**defaults, **params})


def levels_table():
    X = graph_table(200)
    X["kind"] = np.where(X["cause"] > 0.5, "high", "low")
    return X


def holed():
    X = graph_table(200)
    X[np.random.RandomState(0).rand(*X.shape) < 0.1] = np.nan
    return X


WITH_LEVELS = [*EDGES, ("cause", "kind"), ("kind", "effect")]
TABLES = {
    "auto": (made(), graph_table(200)),
    "linear": (made(mechanism="linear"), graph_table(200)),
    "location-scale": (made(mechanism="location-scale"), graph_table(200)),
    "energy": (made(mechanism={"effect": "energy"}), graph_table(200)),
    "levels": (made(WITH_LEVELS), levels_table()),
    "missing": (made(missing="available"), holed()),
    "hidden": (made(CONFOUNDED, **UNOBSERVED), graph_table(200)),
    "hidden, location-scale": (
        made(CONFOUNDED, mechanism="location-scale", **UNOBSERVED),
        graph_table(200),
    ),
}


def history(est):
    return est.history_.drop(columns="duration")


@pytest.mark.parametrize("name", TABLES)
def test_without_weight_it_is_as_if_there_were_none(name):
    est, X = TABLES[name]
    none = clone(est).set_params(icm_penalty=None).fit(X)
    zero = clone(est).set_params(icm_weight=0.0).fit(X)
    pd.testing.assert_frame_equal(history(none), history(zero))
    drawn = (np.asarray(fit.sample(20, random_state=0)) for fit in (none, zero))
    assert np.array_equal(*drawn)


@pytest.mark.parametrize("name", TABLES)
def test_with_weight_it_trains_in_every_kind_of_table(name):
    est, X = TABLES[name]
    zero = clone(est).set_params(max_epochs=1).fit(X)
    est = clone(est).set_params(icm_weight=20.0, icm_warmup=2).fit(X)
    assert est.history_["icm_weight"].tolist() == [10.0, 20.0, 20.0]
    assert est.history_["penalty"].between(0, 1).all()
    assert not np.array_equal(*(np.asarray(f.sample(20, 0)) for f in (est, zero)))
    again = clone(est).fit(X)
    assert np.array_equal(*(np.asarray(f.sample(20, 0)) for f in (est, again)))


# ------------------------------------------------- what is trained is what is asked
def nodes_of_training(module, x):
    """Node values in each version of what is trained, no row left out by a copy."""
    fold = torch.full((len(x),), -1)
    drawn = torch.Generator().manual_seed(0)
    return module.loss_terms(Batch(x, drawn, fold=fold))[1]


@pytest.mark.parametrize(
    ("mechanism", "bent", "version"),
    [
        ("linear", False, 0),
        ("additive", True, 0),
        ("location-scale", True, 1),
        ("location-scale", False, 0),
        ("auto", False, 0),
    ],
)
@pytest.mark.parametrize("graph", [EDGES, CONFOUNDED], ids=["known", "hidden"])
@pytest.mark.filterwarnings("ignore:The network of column")
def test_the_graph_of_the_noise_gives_the_batch_back(mechanism, bent, version, graph):
    X, options = graph_table(100), {} if graph is EDGES else UNOBSERVED
    est = made(graph, mechanism=mechanism, icm_weight=5.0, **options).fit(X)
    module, x = est._fitted.model.double(), torch.tensor(X.to_numpy())
    fit = module.fit
    fit.chosen = torch.tensor(
        [
            0 if kinds[0] == "linear" else fit.chosen[k]
            for k, kinds in enumerate(fit.kinds)
        ]
    )
    fit.means.fill_(2 * bent)
    fit.means *= torch.tensor([len(seen) > 0 for seen in fit.seen])
    fit.tied.fill_(False)
    fit.place(module.graph)
    *_, nodes = nodes_of_training(module, x)[: version + 1]
    assert list(nodes) == list(module.graph.nodes)
    again = module.graph(nodes["noise"])
    for name, value in nodes.items():
        assert torch.allclose(again[name], value, rtol=1e-4, atol=1e-4), name


def test_a_callable_sees_the_batch_and_what_is_left_of_it():
    seen, X = [], graph_table(100)

    def penalty(step):
        nodes = step.nodes
        seen.append(nodes)
        return nodes["noise"][:, 1].square().mean()

    made(icm_penalty=penalty, icm_weight=0.1, max_epochs=1).fit(X)
    # Lines and networks, after the check before training.
    assert len(seen) == 3
    for nodes in seen[1:]:
        assert sorted(nodes["effect"][:, 0].tolist()) == pytest.approx(
            sorted(X["effect"])
        )
        assert torch.equal(nodes["data"][:, 2:3], nodes["effect"])
    assert not torch.equal(seen[1]["noise"], seen[2]["noise"])


def test_noise_is_missing_where_it_is_not_known():
    est, X = TABLES["missing"]
    seen = []

    def penalty(step):
        nodes = step.nodes
        seen.append(nodes)
        return nodes["cause"].nan_to_num().sum() * 0

    clone(est).set_params(icm_penalty=penalty, icm_weight=1.0, max_epochs=1).fit(X)
    noise, data = seen[-1]["noise"], seen[-1]["data"]
    reads = {0: [0], 1: [0, 1], 2: [0, 1, 2], 3: [3]}
    for k, read in reads.items():
        assert torch.equal(noise[:, k].isnan(), data[:, read].isnan().any(1))


def test_rows_of_changed_mechanisms_have_no_noise():
    world = make_scm(
        100, n_nodes=3, density=1, interventions={"set": {"x1": 1.0}}, random_state=0
    )
    seen = []

    def penalty(step):
        nodes = step.nodes
        seen.append(nodes["noise"])
        return nodes["noise"].nan_to_num().mean()

    GraphGenerator(
        world.graph,
        targets={"set": "x1"},
        icm_penalty=penalty,
        icm_weight=1.0,
        max_epochs=1,
        batch_size=500,
        random_state=0,
    ).fit(world.data, world.environments)
    assert seen[-1].isnan().sum(0).tolist() == [0, 100, 0]


# ------------------------------------------------------------------------- lines
def slopes(est):
    return est.graph_.mechanism("effect").function.linear[0].numpy()


def test_lines_start_from_least_squares_and_are_trained():
    X = graph_table(200)
    X["effect"] += 10 * X["cause"] ** 2
    solved, faint, strong = (
        made(mechanism="linear", icm_weight=weight, max_epochs=20).fit(X)
        for weight in (0.0, 1e-6, 30.0)
    )
    assert solved.n_iter_ == 1
    assert slopes(faint) == pytest.approx(slopes(solved), abs=0.015)
    assert np.abs(slopes(strong) - slopes(solved)).max() > 0.03
    # Nothing is trained of columns without parents.
    roots = (est.graph_.mechanism("cause").function.bias for est in (solved, strong))
    assert torch.equal(*roots)


def test_lines_of_curved_truth_leave_less_dependent_noise():
    rng = np.random.RandomState(0)
    cause = rng.exponential(size=(1500, 1))
    X = np.hstack([cause, np.tanh(2 * cause) + 0.1 * rng.randn(1500, 1)])
    found = [
        made([(0, 1)], mechanism="linear", icm_weight=weight, max_epochs=20)
        .fit(X[:500])
        .independence(X[500:], n_draws=0)["dependence"]
        .mean()
        for weight in (0.0, 10.0)
    ]
    assert found[1] < 0.97 * found[0]


@pytest.mark.parametrize("mechanism", ["auto", "linear"])
def test_a_sum_of_columns_stays_without_noise(mechanism):
    X = np.random.RandomState(0).randn(200, 3)
    X[:, 2] = 2 * X[:, 0] - X[:, 1]
    est = made({2: [0, 1]}, mechanism=mechanism, icm_weight=20.0).fit(X)
    assert est.mechanism_kinds_["x2"] == "linear"
    drawn = est.sample(50)
    assert drawn[:, 2] == pytest.approx(2 * drawn[:, 0] - drawn[:, 1], abs=1e-5)


@pytest.mark.parametrize("after", [0.0, 30.0])
@pytest.mark.parametrize("before", [0.0, 30.0])
def test_training_goes_on_with_another_weight(before, after):
    X = graph_table(200)
    est = made(mechanism="linear", icm_weight=before, warm_start=True).fit(X)
    trained = slopes(est)
    reloaded = pickle.loads(pickle.dumps(est))
    for fit in (est, reloaded):
        fit.set_params(icm_weight=after, max_epochs=1, lr=1e-9).fit(X)
    assert slopes(reloaded) == pytest.approx(slopes(est), abs=1e-6)
    solved = slopes(made(mechanism="linear").fit(X))
    # Lines that a penalty trained are kept while there is one, and solved without.
    expected = trained if before and after else solved
    assert slopes(est) == pytest.approx(expected, abs=1e-6)


def test_partial_fits_take_the_penalty_along():
    X = graph_table(200)
    est = made(icm_weight=5.0)
    for part in (X[:100], X[100:]):
        est.partial_fit(part)
    assert est.history_["penalty"].gt(0).tolist() == [True, True]
    assert np.isfinite(np.asarray(est.sample(10))).all()


# --------------------------------------------------------------------- contracts
@pytest.mark.parametrize(
    ("graph", "mechanism"),
    [(None, "auto"), (EDGES, "energy"), (EDGES, "categorical")],
)
def test_a_penalty_that_sees_nothing_is_refused_before_training(graph, mechanism):
    X = graph_table(60).round(0)
    est = made(graph, mechanism=mechanism, icm_weight=1.0)
    with pytest.raises(ValueError, match="sees nothing in a graph.*numeric column"):
        est.fit(X)
    assert not hasattr(est, "history_")


@pytest.mark.parametrize(
    "penalty",
    [TracePenalty(), IMAPenalty(), GenericPenalty(), GenericPenalty("flip_signs")],
    ids=repr,
)
@pytest.mark.parametrize("graph", [EDGES, CONFOUNDED], ids=["known", "hidden"])
def test_penalties_of_weights_are_refused_by_name(penalty, graph):
    """The mechanisms of the graph are put together after training."""
    options = {} if graph is EDGES else UNOBSERVED
    with pytest.raises(ValueError, match="icm_weight=1.0 has no effect by"):
        made(graph, icm_penalty=penalty, icm_weight=1.0, **options).fit(graph_table(60))


def test_decoders_have_no_noise_of_columns():
    with pytest.raises(ValueError, match="no effect by NoisePenalty"):
        VAEGenerator(icm_penalty="noise", icm_weight=1.0).fit(graph_table(60))


def test_auto_is_the_noise_penalty():
    X = graph_table(100)
    fits = [
        made(icm_penalty=penalty, icm_weight=2.0).fit(X)
        for penalty in ("auto", "noise", NoisePenalty())
    ]
    for fit in fits[1:]:
        pd.testing.assert_frame_equal(history(fit), history(fits[0]))
    both = SumPenalty([NoisePenalty(), NoisePenalty()], [2.0, 0.0])
    summed = made(icm_penalty=both, icm_weight=1.0).fit(X)
    assert "penalty 0 NoisePenalty" in summed.history_


def test_a_search_over_the_weight():
    X = graph_table(120)
    search = GridSearchCV(
        made(icm_penalty="auto", max_epochs=2), {"icm_weight": [0, 10]}, cv=2
    ).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.icm_weight in (0, 10)


@pytest.mark.parametrize("penalty", ["auto", "trace"])
def test_a_table_without_noise_to_see_is_told_what_a_penalty_needs(penalty):
    model = made([], icm_penalty=penalty, icm_weight=1.0)
    with pytest.raises(ValueError, match="'data'.*noise penalties a numeric column"):
        model.fit(graph_table(50))
