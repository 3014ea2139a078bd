"""How mechanisms are fitted: what depends on the rows must not depend on the seed."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from skorch.callbacks import Callback

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.generators.graph.columns._lines import has_scale, is_bent
from sklearn_icm.metrics import evaluate, mechanism_shift


def parents_and_effect(n=200, seed=0):
    """Two numbers and three levels with an effect that is nearly linear in them."""
    rng = np.random.RandomState(seed)
    X = pd.DataFrame({"a": 50 + 9 * rng.randn(n), "b": rng.gumbel(size=n)})
    X["level"] = rng.choice(["x", "y", "z"], n, p=[0.5, 0.46, 0.04])
    step = X["level"].map({"x": 0.0, "y": 2.0, "z": 9.0})
    X["y"] = X["a"] - 5 * X["b"] + step + 0.2 * X["b"] ** 2 + 3 * rng.randn(n)
    return X


PARENTS = {"y": ["a", "b", "level"]}


def means(est, X):
    """Values of the last column without its noise: what its mechanism says."""
    noise = est.transform(X)
    noise[:, -1] = 0.0
    return est.inverse_transform(noise)[:, -1].astype(float)


# ------------------------------------------------------------------------ lines
@pytest.mark.parametrize("noise", ["kernel", "normal"])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_linear_mechanism_is_least_squares_whatever_the_seed(noise, seed):
    X = parents_and_effect()
    est = GraphGenerator(PARENTS, mechanism="linear", noise=noise, random_state=seed)
    inputs = pd.get_dummies(X.drop(columns="y")).astype(float)
    peer = LinearRegression().fit(inputs, X["y"])
    assert np.allclose(means(est.fit(X), X), peer.predict(inputs), atol=1e-3)
    assert est.n_iter_ == 1


def test_rows_with_holes_are_fitted_where_a_mechanism_is_known():
    X = parents_and_effect(400)
    X.loc[::5, "y"] = np.nan
    X.loc[::7, "b"] = np.nan
    X.loc[::11, "level"] = None
    est = GraphGenerator(PARENTS, mechanism="linear", missing="available").fit(X)
    known = X.dropna()
    inputs = pd.get_dummies(known.drop(columns="y")).astype(float)
    peer = LinearRegression().fit(inputs, known["y"])
    assert np.allclose(means(est, known), peer.predict(inputs), atol=1e-3)


def test_rows_of_changed_mechanisms_are_left_out():
    X, other = parents_and_effect(), parents_and_effect(seed=1).assign(y=7.0)
    est = GraphGenerator(PARENTS, mechanism="linear", targets={"set": "y"})
    both = est.fit(pd.concat([X, other]), ["seen"] * 200 + ["set"] * 200)
    alone = clone(est).set_params(targets=None).fit(X)
    assert np.allclose(means(both, X), means(alone, X), atol=1e-3)


def test_batches_give_the_line_of_all_their_rows():
    X = parents_and_effect(300)
    est = GraphGenerator(PARENTS, mechanism="linear", random_state=0)
    whole = clone(est).fit(X)
    streamed = clone(est).fit(X[:100])
    for start in (100, 200):
        streamed.partial_fit(X[start : start + 100])
    assert np.allclose(means(streamed, X), means(whole, X), atol=1e-2)
    again = clone(est).set_params(warm_start=True).fit(X[:100]).fit(X)
    assert np.allclose(means(again, X), means(whole, X), atol=1e-2)


def test_parents_that_determine_each_other_are_named_and_share_their_effect():
    order = ["a", "b", "total", "level", "y"]
    X = parents_and_effect().assign(total=lambda X: X["a"] + X["b"])[order]
    graph = {"y": ["a", "b", "total", "level"]}
    est = GraphGenerator(graph, mechanism="linear", random_state=0)
    message = r"other parents of column 'y' determine \['total'\] in these rows"
    with pytest.warns(UserWarning, match=message) as record:
        est.fit(X)
    assert len(record) == 1
    assert record[0].filename == __file__
    plain = clone(est).set_params(graph=PARENTS).fit(X)
    assert np.allclose(means(est, X), means(plain, X), atol=1e-3)


@pytest.mark.parametrize("constant", [1.0, 1e6])
def test_a_constant_parent_has_no_effect(constant):
    X = parents_and_effect().assign(level=constant)
    est = GraphGenerator(PARENTS, mechanism="linear").fit(X)
    peer = LinearRegression().fit(X[["a", "b"]], X["y"])
    assert np.allclose(means(est, X), peer.predict(X[["a", "b"]]), atol=1e-3)


def test_shares_of_levels_without_parents_are_those_of_the_rows():
    X = parents_and_effect()
    est = GraphGenerator(PARENTS, mechanism="linear", random_state=0).fit(X)
    drawn = est.sample(40_000, random_state=0)[:, 2]
    for level in "xyz":
        assert abs(np.mean(drawn == level) - np.mean(X["level"] == level)) < 0.01


# ------------------------------------------------------------------------ seeds
@pytest.mark.slow
def test_the_mechanism_depends_on_the_rows_more_than_on_the_seed():
    rng = np.random.default_rng(0)
    cause = rng.normal(size=300)
    X = pd.DataFrame({"x": cause, "y": np.sin(2 * cause) + 0.4 * rng.normal(size=300)})
    est = GraphGenerator([("x", "y")])

    def answer(rows, seed):
        fitted = clone(est).set_params(random_state=seed).fit(rows)
        return fitted.intervene({"x": lambda x: x + 0.5}, X=X)[:, 1].mean()

    by_seed = [answer(X, seed) for seed in range(4)]
    by_rows = [answer(X.sample(300, replace=True, random_state=k), k) for k in range(8)]
    assert np.std(by_seed, ddof=1) < np.std(by_rows, ddof=1) / 3


@pytest.mark.parametrize("mechanism", ["auto", "location-scale"])
@pytest.mark.parametrize("seed", range(2))
def test_a_rare_level_has_its_whole_effect(mechanism, seed):
    rng = np.random.default_rng(seed)
    event = rng.random(365) < 0.04
    views = 11_000 + 8_500 * event + 1_200 * rng.normal(size=365)
    X = pd.DataFrame({"event": event, "views": views})
    est = GraphGenerator([("event", "views")], mechanism=mechanism, random_state=seed)
    found = means(est.fit(X), X)
    effect = found[event].mean() - found[~event].mean()
    assert effect == pytest.approx(views[event].mean() - views[~event].mean(), rel=0.03)


# ------------------------------------------------------------------------ kinds
def rows_of(kind, n=600):
    rng = np.random.RandomState(0)
    cause = rng.randn(n)
    tails = rng.lognormal(0, 1, n)
    effect = {
        "linear": cause + rng.randn(n),
        "linear, heavy tails": cause + tails,
        "additive": np.sin(2 * cause) + 0.5 * rng.randn(n),
        "additive, heavy tails": 2 * np.sin(2 * cause) + tails,
        "location-scale": cause + np.exp(np.tanh(2 * cause)) * rng.randn(n),
    }[kind]
    return pd.DataFrame({"x": cause, "y": effect})


@pytest.mark.parametrize(
    "kind",
    [
        "linear",
        "linear, heavy tails",
        "additive",
        "additive, heavy tails",
        "location-scale",
    ],
)
def test_kinds_are_recognised_whatever_the_tails(kind):
    est = GraphGenerator([("x", "y")], random_state=0).fit(rows_of(kind))
    assert est.mechanism_kinds_["y"] == kind.split(",")[0]


def test_a_network_that_is_worse_than_a_line_is_warned_of():
    X = rows_of("linear", 300)
    est = GraphGenerator([("x", "y")], mechanism="additive", max_epochs=1, lr=1e-4)
    with pytest.warns(UserWarning, match="network of column 'y' predicts") as record:
        est.fit(X)
    assert record[0].filename == __file__
    linear = clone(est).set_params(mechanism="location-scale").fit(X)
    slope = np.polyfit(X["x"], X["y"], 1)[0]
    changed = linear.intervene({"x": lambda x: x + 1}, X=X)[:, 1] - X["y"]
    assert changed.mean() == pytest.approx(slope, rel=1e-3)


def test_the_mean_bends_where_its_noise_is_a_factor():
    rng = np.random.RandomState(0)
    cause, tail = rng.randn(1000), rng.exponential(size=1000) * (rng.rand(1000) < 0.6)
    X = np.column_stack([cause, np.exp(0.7 * cause) * tail])
    est = GraphGenerator([(0, 1)], max_epochs=30, random_state=0).fit(X)
    low = est.intervene({"x0": -1.5}, n_samples=20_000, random_state=0)[:, 1].mean()
    assert low == pytest.approx(0.6 * np.exp(0.7 * -1.5), rel=0.3)


def test_errors_in_a_tail_decide_no_kind():
    rng = torch.Generator().manual_seed(0)
    line, network = torch.randn(2, 500, generator=rng)
    assert not is_bent(line, network)
    network = 0.7 * line
    assert is_bent(line, network)
    line[0], network[0] = 50.0, 80.0
    assert is_bent(line, network)
    constant = torch.ones(500)
    assert not has_scale((line, constant), (line, constant))
    tiny = 1e-8 * line
    assert not has_scale((tiny, line.abs() + 0.1), (tiny, constant))


# --------------------------------------------------------------------- rounding
def exact(kind, move=0.0, n=200, seed=0):
    rng = np.random.RandomState(seed)
    a, b = 20 + 8 * rng.randn(n) + 10 * move, 5 * rng.randn(n)
    if kind == "money":
        a, b = rng.lognormal(10 + move, 1, n), rng.lognormal(9, 1, n)
    elif kind == "counts":
        a, b = rng.poisson(50 * (1 + move), n), rng.poisson(3, n)
    elif kind == "far from 0":
        a = a + 1e5
    total = 1.8 * a + 32 - b if kind in ("units", "far from 0") else a + b
    return pd.DataFrame({"a": a, "b": b, "total": total}).astype(float)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["money", "counts", "units", "far from 0"])
def test_a_column_that_is_a_sum_of_others_has_no_noise(kind, dtype):
    X, moved = (exact(kind, m, seed=s).astype(dtype) for s, m in enumerate((0.0, 0.3)))
    est = GraphGenerator({"total": ["a", "b"]}, mechanism="linear", random_state=0)
    est.fit(X)
    assert (est.transform(pd.concat([X, moved]))[:, 2] == 0).all()
    labels = np.repeat(["usual", "other"], len(X))
    found = mechanism_shift(
        est,
        pd.concat([X, moved]),
        labels,
        observational="usual",
        n_permutations=99,
        max_rows=60,
    ).table_.set_index("node")
    assert found.loc["total", "p_value"] == 1
    tested = est.independence(X, n_draws=19, n_samples=100)
    tested = tested.set_index(["mechanism", "against"])["p_value"]
    assert np.isnan(tested["total", "noise"])
    assert np.isnan(tested["total", "parents"])
    report = evaluate(est, X, n_draws=10)
    assert np.isnan(report.table_.loc["total", "linear_skill"])
    assert "linear mechanism has no error" in report.sentences_["total"]
    wrong = X.assign(total=X["total"] + 0.1 * X["total"].std())
    assert (est.transform(wrong)[:, 2] > 0.05).all()


# ------------------------------------------------------------------------ roots
def test_roots_are_not_trained():
    X = np.random.RandomState(0).randn(100, 30)
    est = GraphGenerator(random_state=0).fit(X)
    assert est.n_iter_ == 1
    assert not any(weight.requires_grad for weight in est._fitted.model.parameters())
    draws = est.sample(20_000, random_state=0)
    assert np.allclose(draws.mean(0), X.mean(0), atol=0.05)
    assert np.allclose(draws.std(0), X.std(0), rtol=0.05)


def test_a_wide_column_costs_others_nothing():
    rng = np.random.RandomState(0)
    levels = [f"level {k}" for k in range(60)]
    X = pd.DataFrame(
        {"wide": rng.choice(levels, 200), "narrow": rng.choice(list("ab"), 200)}
    )
    X["x"], X["alone"] = rng.randn(200), rng.choice(list("ab"), 200)
    graph = {"wide": "x", "narrow": "x"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = GraphGenerator(graph, max_epochs=1).fit(X)
    heads = est._fitted.model.fit.banks["categorical"].bias.shape[1]
    assert heads == X["wide"].nunique() + 2


def test_weights_are_those_of_the_edges():
    sizes = []
    for n_columns in (5, 21):
        X = np.random.RandomState(0).standard_normal((20, n_columns))
        chain = [(k, k + 1) for k in range(n_columns - 1)]
        est = GraphGenerator(chain, max_epochs=1, random_state=0).fit(X)
        sizes.append(sum(p.numel() for p in est._fitted.model.fit.parameters()))
        for bank in est._fitted.model.fit.banks.values():
            column = bank.places[-1]
            with torch.no_grad():
                bank.weights_of(column)[:] = 7.0
            assert int((bank.weight == 7).sum()) == bank.weights_of(column).numel()
    assert sizes[1] < 6 * sizes[0]


# ------------------------------------------------------------------------ worlds
def test_few_rows_are_enough_to_see_a_curve():
    scm = make_scm(300, n_nodes=5, mechanism="additive", random_state=3)
    est = GraphGenerator(scm.graph, random_state=0).fit(scm.data)
    bent = [
        k for k, ps in scm.graph.items() if ps and est.mechanism_kinds_[k] != "linear"
    ]
    assert len(bent) >= sum(map(bool, scm.graph.values())) / 2


@pytest.mark.parametrize("mechanism", ["linear", "auto"])
def test_rows_of_a_file_are_fitted_as_rows_in_memory(mechanism, tmp_path):
    X = parents_and_effect()[["a", "b", "y"]].to_numpy()
    mapped = np.memmap(tmp_path / "rows", mode="w+", dtype=X.dtype, shape=X.shape)
    mapped[:] = X
    est = GraphGenerator([(0, 2), (1, 2)], mechanism=mechanism, max_epochs=2)
    est.set_params(random_state=0)
    own, theirs = (clone(est).fit(rows) for rows in (X, mapped))
    assert np.allclose(own.score_samples(X), theirs.score_samples(X), atol=1e-4)


def test_rows_that_are_held_out_serve_lines():
    X = parents_and_effect()
    est = GraphGenerator(PARENTS, validation_fraction=0.1, max_epochs=3)
    est.fit(X)
    assert "valid_additive" in est.history_
    assert est._fitted.model.fit._sums(3)[0, 0] == len(X)


@pytest.mark.parametrize("mechanism", ["linear", "auto"])
def test_callbacks_hear_of_batches(mechanism):
    heard = []

    class Ears(Callback):
        def on_batch_end(self, net, **found):
            heard.append(float(found["loss"]))

    est = GraphGenerator(PARENTS, mechanism=mechanism, callbacks=[Ears()])
    est.set_params(max_epochs=1).fit(parents_and_effect())
    assert np.isfinite(heard).all()
    assert len(heard) == 2
