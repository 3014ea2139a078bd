import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import FixedGenerator, GraphGenerator
from sklearn_icm.interventions import Resample, Scale, Shift
from sklearn_icm.metrics import energy_distance, mechanism_shift
from sklearn_icm.metrics._mechanism_shift import (
    _matched,
    _permutation_test,
    _relabellings,
    _swaps,
)

NODES = ["x0", "x1", "x2", "x3"]


def worlds(seed=0):
    scm = make_scm(400, n_nodes=4, density=0.7, random_state=seed)
    parents = dict(scm.graph)
    node = next(k for k in reversed(parents) if parents[k])
    root = next(k for k in parents if not parents[k])
    return scm, node, root


@pytest.fixture(scope="module")
def fitted():
    scm, node, root = worlds()
    est = GraphGenerator(scm.graph, observational="seen", max_epochs=30, random_state=0)
    est.fit(scm.data, ["seen"] * len(scm.data))
    return scm, est, node, root


def shifted(fitted, **environments):
    scm, est, _, _ = fitted
    fresh = make_scm(400, n_nodes=4, density=0.7, random_state=0)
    rows, labels = [scm.data], ["seen"] * 400
    for label, interventions in environments.items():
        rows.append(fresh.render(interventions))
        labels += [label] * 400
    return np.concatenate(rows), labels


def changed_nodes(table, environment):
    table = table[table["environment"] == environment]
    return set(table["node"][table["changed"]])


@pytest.mark.parametrize("change", [Shift(1.0), Scale(2.0), Resample([[0.0], [2.0]])])
def test_the_changed_mechanism_is_found_and_its_children_are_not_blamed(fitted, change):
    _, est, node, root = fitted
    X, labels = shifted(fitted, a={node: change}, b={root: Shift(0.7)})
    report = mechanism_shift(est, X, labels)
    table = report.table_
    assert re.search(f"^a: Of 4 mechanisms these differ: {node} ", str(report), re.M)
    assert changed_nodes(table, "a") == {node}
    assert changed_nodes(table, "b") == {root}
    assert list(table["node"]) == NODES * 2


def test_nothing_changed_where_rows_are_drawn_alike(fitted):
    _, est, _, _ = fitted
    p_values = []
    for seed in range(5):
        draws = est.sample(400, random_state=seed)
        labels = np.repeat(["seen", "same"], 200)
        report = mechanism_shift(est, draws, labels, n_permutations=199)
        table = report.table_
        says_none = report.sentences_["same"].startswith("No mechanism differs")
        assert says_none != table["changed"].any()
        p_values += list(table["p_value"])
    # Of 20 uniform p-values, the share below .2 stays within five standard errors.
    assert np.mean(np.less(p_values, 0.2)) < 0.2 + 5 * 0.4 / np.sqrt(20)
    assert min(p_values) >= 1 / 200


def test_the_observational_rows_alone_give_an_empty_table(fitted):
    scm, est, _, _ = fitted
    report = mechanism_shift(est, scm.data, ["seen"] * 400)
    table = report.table_
    assert len(table) == 0
    assert "changed" in table
    assert len(report.sentences_) == 0


def test_constant_columns_have_not_changed():
    X = np.column_stack([np.ones(60), np.random.RandomState(0).randn(60)])
    est = GraphGenerator([(0, 1)], max_epochs=1, random_state=0).fit(X)
    labels = np.repeat(["a", "b"], 30)
    table = mechanism_shift(est, X, labels, observational="a").table_
    constant = table[table["node"] == "x0"].iloc[0]
    assert constant["p_value"] == 1
    assert constant["distance"] == 0


def test_bad_input(fitted):
    scm, est, _, _ = fitted
    with pytest.raises(ValueError, match="needs the environment label of every row"):
        mechanism_shift(est, scm.data, None)
    with pytest.raises(ValueError, match="observational='none' is not the label"):
        mechanism_shift(est, scm.data, ["a"] * 400, observational="none")
    plain = GraphGenerator(max_epochs=1).fit(scm.data)
    with pytest.raises(ValueError, match="needs the label of the rows to compare with"):
        mechanism_shift(plain, scm.data, ["a"] * 400)
    other = FixedGenerator(observational="a").fit(scm.data, ["a"] * 400)
    with pytest.raises(TypeError, match="must be a fitted GraphGenerator"):
        mechanism_shift(other, scm.data, ["a"] * 400)


def test_a_pipeline_is_asked_in_the_space_of_its_input(fitted):
    _, _, node, _ = fitted
    X, labels = shifted(fitted, a={node: Shift(1.0)})
    scm, est, _, _ = fitted
    pipe = make_pipeline(StandardScaler(), clone(est)).fit(scm.data, ["seen"] * 400)
    table = mechanism_shift(pipe, X, labels, n_permutations=199).table_
    assert changed_nodes(table, "a") == {node}


@pytest.mark.parametrize("seed", range(5))
def test_a_small_change_is_found_where_rows_are_many(seed):
    rng = np.random.RandomState(seed)
    labels = np.repeat(["a", "b"], 6000)
    cause = rng.randn(12_000) + 0.1 * (labels == "b")
    X = np.column_stack([cause, cause + 0.5 * rng.randn(12_000)])
    X[:, 1] += 0.1 * (labels == "b")
    est = GraphGenerator([(0, 1)], mechanism="linear", max_epochs=3, random_state=0)
    est.fit(X[:500])
    params = {"observational": "a", "n_permutations": 99, "random_state": seed}
    table = mechanism_shift(est, X, labels, **params).table_
    assert table["changed"].all()
    assert table["n_rows"].tolist() == [6000, 3000]
    few = mechanism_shift(est, X, labels, max_rows=50, **params).table_
    assert few["n_rows"].tolist() == [6000, 50]


def test_the_distance_is_the_energy_distance_of_the_noise():
    rng = np.random.RandomState(0)
    a, b = rng.randn(40), rng.randn(25).round(1) + 0.5
    found, _ = _permutation_test(np.r_[a, b], _relabellings(40, 25, rng), 9)
    expected = energy_distance(a[:, None], b[:, None], biased=True)
    assert found == pytest.approx(expected)
    paired, _ = _permutation_test(np.r_[a[:25], b], _swaps(25, rng), 9)
    expected = energy_distance(a[:25, None], b[:, None], biased=True)
    assert paired == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["numbers", "levels", "shifted", "constant"])
def test_rows_are_matched_once_with_others_like_them(kind):
    rng = np.random.RandomState(0)
    parents = rng.randn(4000, 2)
    own, other = rng.permutation(1000), 1000 + rng.permutation(3000)
    if kind == "levels":
        parents = (parents > 0).astype(float)
    elif kind == "shifted":
        parents[own] += 50
    elif kind == "constant":
        parents[:] = 1
    first, second = _matched(parents, own, other)
    assert len(first) == len(second) == len(set(first)) == len(set(second))
    assert set(first) <= set(own)
    assert set(second) <= set(other)
    apart = np.abs(parents[first] - parents[second]).mean()
    if kind == "shifted":
        assert len(first) == 300
    elif kind == "numbers":
        assert apart < 0.2
        assert len(first) > 800
    else:
        assert apart < 0.05


def bent(n, seed, shift=0.0, change=0.0):
    rng = np.random.RandomState(seed)
    cause = rng.randn(n) + shift
    effect = cause**2 / 2 + change + 0.3 * rng.randn(n)
    return pd.DataFrame({"cause": cause, "effect": effect, "alone": rng.randn(n)})


@pytest.mark.parametrize("seed", range(3))
def test_there_is_no_verdict_where_the_parents_left_the_support(seed):
    parts = {
        "seen": bent(300, seed),
        "far": bent(200, seed + 100, shift=3.0),
        "changed": bent(200, seed + 300, shift=0.3, change=0.3),
    }
    labels = np.repeat(list(parts), [len(rows) for rows in parts.values()])
    est = GraphGenerator([("cause", "effect")], max_epochs=20, random_state=0)
    est.fit(parts["seen"])
    report = mechanism_shift(est, pd.concat(parts), labels, observational="seen")
    table = report.table_.set_index(["environment", "node"])
    assert table["changed"].isna().sum() == 1
    assert table.loc["far", "changed"].isna().to_dict() == {
        "cause": False, "effect": True, "alone": False
    }  # fmt: skip
    far = table.loc["far", "effect"]
    assert far["outside"] > 0.3
    assert far["p_value"] < 0.05
    assert np.isnan(far["q_value"])
    assert table.loc["changed", "effect"]["changed"]
    # What is unknown does not count among the tests of the others.
    p_values = table.loc["far", "p_value"][["cause", "alone"]]
    assert table.loc["far", "q_value"].min() == pytest.approx(2 * p_values.min())
    told = f"the observational support: effect ({far['outside']:.0%} of the rows)."
    assert told in report.sentences_["far"]
    assert report.sentences_["far"].startswith("Of 2 mechanisms these differ: cause ")
    assert "No verdict" not in report.sentences_["changed"]


def test_there_is_no_verdict_of_a_combination_of_levels_that_never_occurred():
    rng = np.random.RandomState(0)
    sex, drug = rng.randint(2, size=400), rng.randint(8, size=400)
    # Of women every other level, whose codes are close to those of men alone.
    drug[sex == 0] -= drug[sex == 0] % 2
    frame = pd.DataFrame({"age": rng.randn(400), "y": rng.randn(400)})
    frame["sex"], frame["drug"] = (
        np.array(["f", "m"])[sex],
        np.array(list("abcdefgh"))[drug],
    )
    new = frame[sex == 0].assign(drug="b")
    est = GraphGenerator({"y": ["sex", "drug", "age"]}, max_epochs=2, random_state=0)
    est.fit(frame)
    both, labels = pd.concat([frame, new]), np.repeat(["seen", "new"], [400, len(new)])
    table = mechanism_shift(est, both, labels, observational="seen").table_
    assert table["node"][table["changed"].isna()].tolist() == ["y"]
    assert table["outside"].max() == 1


@pytest.mark.slow
def test_an_unchanged_mechanism_is_rarely_blamed_when_a_cause_moves_far():
    blamed, n_rows = [], 200
    for seed in range(20):
        params = {"n_nodes": 3 + seed % 3, "density": 0.9, "random_state": seed}
        world = make_scm(300, **params)
        truth = FixedGenerator(world.mechanisms, random_state=0).fit(world.data)
        root = next(iter(world.graph))
        moved = truth.intervene({root: Shift(3.0)}, n_samples=n_rows, random_state=1)
        est = GraphGenerator(world.graph, random_state=0).fit(world.data)
        labels = np.repeat(["seen", "moved"], [300, n_rows])
        X = np.concatenate([world.data, moved])
        params = {"observational": "seen", "n_permutations": 199}
        report = mechanism_shift(est, X, labels, **params)
        found = changed_nodes(report.table_, "moved")
        assert root in found
        blamed.append(len(found) > 1)
    # Of .05 more than three of 20 have a probability of .02.
    assert sum(blamed) <= 3


def rows_with_levels(n, seed, shift=0.0):
    rng = np.random.RandomState(seed)
    dose = rng.randn(n) + shift
    group = np.where(rng.rand(n) < 1 / (1 + np.exp(1 - dose)), "yes", "no")
    return pd.DataFrame({"dose": dose, "group": group})


def test_levels_are_not_blamed_for_a_shift_of_their_parents():
    est = GraphGenerator([("dose", "group")], max_epochs=10, random_state=0)
    est.fit(rows_with_levels(1000, 0))
    labels = np.repeat(["seen", "shifted"], 150)
    p_values = []
    for seed in range(8):
        X = [rows_with_levels(150, 10 * seed + k, 1.2 * k) for k in range(2)]
        table = mechanism_shift(
            est,
            pd.concat(X),
            labels,
            observational="seen",
            n_permutations=99,
            random_state=seed,
        ).table_
        p_values += table["p_value"][table["node"] == "group"].tolist()
    assert np.less(p_values, 0.05).sum() <= 3
    assert np.median(p_values) > 0.1


def test_p_values_of_levels_follow_the_random_state():
    X, labels = rows_with_levels(60, 0), np.repeat(["a", "b"], 30)
    est = GraphGenerator([("dose", "group")], max_epochs=2, random_state=0).fit(X)
    found = [
        mechanism_shift(est, X, labels, observational="a", random_state=seed).table_
        for seed in (0, 0, 1)
    ]
    assert found[0].equals(found[1])
    assert not found[0].equals(found[2])
