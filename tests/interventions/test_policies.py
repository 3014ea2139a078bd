"""Values that differ from row to row: arrays of them, and functions of other nodes."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import FAMILIES, FAMILY_ROWS, fitted_families
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import (
    GraphGenerator,
)
from sklearn_icm.interventions import Intervention, Policy, Scale, Shift, Units, Where

families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def fitted():
    return fitted_families()


def table(n=300):
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"age": rng.randint(20, 60, n)}, index=1000 + np.arange(n))
    X["plan"] = rng.choice(["free", "pro"], n)
    X["dose"] = X["age"] / 10 + rng.randn(n)
    X["effect"] = 2 * X["dose"] + 3 * (X["plan"] == "pro") + rng.randn(n)
    return X


@pytest.fixture(scope="module")
def customers():
    graph = {"plan": ["age"], "dose": ["age", "plan"], "effect": ["dose", "plan"]}
    model = GraphGenerator(graph, n_units=4, max_epochs=5, random_state=0)
    return model.set_output(transform="pandas").fit(table())


# ------------------------------------------------------------------ a value per row
@families
@pytest.mark.parametrize("given", [False, True], ids=["drawn", "given"])
def test_every_node_takes_a_value_for_each_row(fitted, family, given):
    model = fitted[family]
    query = {"X": FAMILY_ROWS} if given else {"n_samples": len(FAMILY_ROWS)}
    query["random_state"] = 0
    for node, shape in model.nodes_.items():
        values = np.random.RandomState(3).normal(size=(len(FAMILY_ROWS), *shape))
        rows, nodes = model.intervene({node: values}, return_nodes=True, **query)
        if node != model.graph_.data_node:
            np.testing.assert_allclose(nodes[node][1], values, rtol=1e-6)
        elif model.bounds_ is None:
            np.testing.assert_allclose(rows, values.reshape(rows.shape), rtol=1e-6)
        if shape == (1,):
            flat = model.intervene({node: values[:, 0].tolist()}, **query)
            assert np.array_equal(flat, model.intervene({node: values}, **query))


def test_an_array_of_the_shape_of_the_node_is_one_value(fitted):
    model = fitted["table"]
    node = next(name for name, shape in model.nodes_.items() if shape == (4,))
    value = np.arange(4.0)
    *_, nodes = model.intervene({node: value}, X=FAMILY_ROWS[:4], return_nodes=True)
    np.testing.assert_allclose(nodes[node][1], np.tile(value, (4, 1)))


def test_constant_values_are_a_do(customers):
    X = table()
    assert customers.intervene({"dose": np.full(len(X), 0.1)}, X=X).equals(
        customers.intervene({"dose": 0.1}, X=X)
    )


def test_series_are_aligned_and_numbers_exact(customers):
    X = table()
    values = pd.Series(np.random.RandomState(1).rand(len(X)), X.index)
    shuffled = values.sample(frac=1, random_state=0)
    assert customers.intervene({"dose": shuffled}, X=X)["dose"].equals(
        values.rename("dose")
    )
    drawn = customers.intervene({"dose": shuffled}, n_samples=len(X), random_state=0)
    assert np.array_equal(drawn["dose"], shuffled)
    support = customers.support({"dose": shuffled}, X=X).table_
    assert support.equals(customers.support({"dose": values.to_numpy()}, X=X).table_)


def test_levels_per_row(customers):
    X = table()
    plans = np.where(X["age"] > 40, "pro", "free")
    changed = customers.intervene({"plan": plans}, X=X)
    assert (changed["plan"] == plans).all()
    # Rows whose level is as it was are as they were.
    same = X["plan"] == plans
    assert np.allclose(changed["effect"][same], X["effect"][same], atol=1e-4)


def test_pipelines_align_with_their_own_rows():
    X = table()[["age", "dose"]].astype(float)
    graph = GraphGenerator([(0, 1)], mechanism="linear", max_epochs=2, random_state=0)
    model = GenerativePipeline([("scale", StandardScaler()), ("graph", graph)]).fit(X)
    values = pd.Series(np.random.RandomState(0).randn(len(X)), X.index)
    found = model.intervene({"x0": values.sample(frac=1)}, X=X)
    assert np.allclose(found, model.intervene({"x0": values.to_numpy()}, X=X))


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        (np.ones(5), ValueError, r"one for each of the 300 rows, of shape \(300,\) or"),
        (np.ones((300, 2)), ValueError, r"got shape \(300, 2\)"),
        (np.full(300, np.nan), ValueError, "'dose' must be finite, got .* in row 0"),
        (["a"] * 300, TypeError, "'dose' must be numbers, got 'a'"),
        (pd.Series(np.ones(300)), ValueError, "no value for 300 of 300 .* 1000"),
        (pd.Series([1.0] * 301, [*range(1000, 1300), 1000]), ValueError, "twice"),
    ],
)
def test_values_that_do_not_fit(customers, values, error, match):
    with pytest.raises(error, match=match):
        customers.intervene({"dose": values}, X=table())


def test_levels_that_are_none(customers):
    X = table()
    with pytest.raises(ValueError, match="one of its levels.*got 'gold'"):
        customers.intervene({"plan": ["gold"] * len(X)}, X=X)
    with pytest.raises(ValueError, match="whole rows.*set the columns one by one"):
        customers.intervene({"data": X.to_numpy()}, X=X)


# ------------------------------------------------------------------------- policies
@families
def test_a_policy_is_what_it_says_at_every_node(fitted, family):
    """It sees what the changed model gives, and sets a node before others read it."""
    model = fitted[family]
    first, *later = model.nodes_
    for node in later:
        shape = model.nodes_[node]

        def follow(value, shape=shape):
            value = torch.as_tensor(value).flatten(1 if np.ndim(value) > 1 else 0)
            value = value if value.ndim == 1 else value[:, 0]
            return value.reshape(-1, *[1] * len(shape)).expand(-1, *shape).float()

        changes = {first: Shift(0.5), node: Policy(follow, reads=[first])}
        _, nodes = model.intervene(changes, n_samples=20, return_nodes=True)
        if node != model.graph_.data_node:
            expected = follow(torch.from_numpy(nodes[first][1]))
            np.testing.assert_allclose(nodes[node][1], expected, rtol=1e-6)


def test_exact_mechanisms_under_a_policy():
    scm = make_scm(50, n_nodes=3, density=1, mechanism="linear", random_state=0)
    cause, middle, effect = scm.graph
    policy = Policy(lambda v: 3 * v + 1, reads=[cause])
    rows = scm.render({middle: policy})
    columns = [int(name[1:]) for name in (cause, middle, effect)]
    at = rows[:, columns]
    assert np.allclose(at[:, 1], 3 * at[:, 0] + 1)
    per_row = scm.render({middle: lambda v: torch.from_numpy(at[:, [1]])})
    assert np.allclose(rows, per_row)


def test_policies_read_columns_as_rows_show_them(customers):
    given = []

    def dose(age, plan):
        given.append((age, plan))
        return np.where((age > 40) & (plan == "pro"), 2.0, 4.0)

    policy = Policy(dose, reads=["age", "plan"])
    for query in ({"X": table()}, {"n_samples": 200, "random_state": 0}):
        rows = customers.intervene({"dose": policy}, **query)
        age, plan = given.pop()
        assert np.array_equal(age, rows["age"])
        assert np.array_equal(plan, rows["plan"])
        assert np.array_equal(rows["dose"], dose(age, plan))
        given.clear()


def test_policies_see_changed_nodes_and_combine(customers):
    X = table()
    policy = Policy(lambda age: age / 10, reads=["age"])
    older = customers.intervene({"dose": policy, "age": 50}, X=X)
    assert (older["dose"] == 5).all()
    twice = customers.intervene({"dose": policy >> Scale(2.0), "age": 50}, X=X)
    assert (twice["dose"] == 10).all()
    half = customers.intervene({"dose": policy.scaled(0.5)}, X=X)
    assert np.allclose(half["dose"], (X["dose"] + X["age"] / 10) / 2, atol=1e-5)
    for places in (Where(True, policy), Units(0, policy)):
        whole = customers.intervene({"dose": places}, X=X)
        assert whole.equals(customers.intervene({"dose": policy}, X=X))
    assert np.allclose(
        customers.intervene({"dose": Where(False, policy)}, X=X)["dose"], X["dose"]
    )


def test_policies_give_levels(customers):
    policy = Policy(lambda age: np.where(age > 40, "pro", "free"), reads=["age"])
    rows = customers.intervene({"plan": policy}, n_samples=100, random_state=0)
    assert ((rows["plan"] == "pro") == (rows["age"] > 40)).all()
    one = customers.intervene(
        {"plan": Policy(lambda age: "pro", reads=["age"])}, table()
    )
    assert (one["plan"] == "pro").all()
    with pytest.raises(ValueError, match="set or not, they have no strength"):
        customers.intervene({"plan": policy.scaled(0.5)}, n_samples=5)
    short = Policy(lambda age: ["pro"], reads=["age"])
    with pytest.raises(ValueError, match="a level for each of 5 rows"):
        customers.intervene({"plan": short}, n_samples=5)


@pytest.mark.parametrize(
    ("function", "reads", "error", "match"),
    [
        (lambda e: e, ["effect"], ValueError, "reads .'effect'., of which some depend"),
        (lambda d: d, ["dose"], ValueError, "some depend on 'dose' themselves"),
        (lambda a: a, ["ages"], ValueError, "read the nodes .'ages'., which do not"),
        (lambda a: a[:2], ["age"], ValueError, "one value for each of 5 rows, shape"),
        (lambda a: a * np.nan, ["age"], ValueError, "node 'dose' .*not finite"),
        (lambda a: "x", ["age"], TypeError, "must return numbers, got 'x'"),
        (lambda a: None, ["age"], TypeError, "must return numbers, got None"),
        (lambda a: 1 if a > 3 else 2, ["age"], ValueError, "as one number"),
    ],
)
def test_policies_that_fail(customers, function, reads, error, match):
    before = customers.sample(3, random_state=0)
    with pytest.raises(error, match=match):
        customers.intervene({"dose": Policy(function, reads=reads)}, n_samples=5)
    assert before.equals(customers.sample(3, random_state=0))


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"function": 3.0, "reads": ["a"]}, TypeError, "function must be a callable"),
        ({"function": abs, "reads": "a"}, TypeError, r"list of names.*write \['a'\]"),
        ({"function": abs, "reads": [0]}, TypeError, "reads must be a list of names"),
        ({"function": abs, "reads": []}, ValueError, "reads names no node"),
        ({"function": lambda a: a, "reads": ["a", "b"]}, TypeError, "one argument for"),
        ({"function": "numpy:nowhere", "reads": ["a"]}, ValueError, "importable as"),
        (
            {"function": abs, "reads": ["a"], "strength": "1"},
            TypeError,
            "strength must",
        ),
    ],
)
def test_policies_that_are_none(params, error, match):
    with pytest.raises(error, match=match):
        Policy(**params)


def test_policies_are_values_that_json_can_hold():
    policy = Policy(np.maximum, reads=["a", "b"], strength=0.5)
    assert policy == Policy(np.maximum, reads=("a", "b")).scaled(0.5)
    assert pickle.loads(pickle.dumps(policy)) == policy
    named = Policy(pd.to_numeric, reads=["a"])
    held = json.loads(json.dumps((named >> Shift(1.0)).to_dict()))
    assert Intervention.from_dict(held) == named >> Shift(1.0)
    with pytest.raises(TypeError, match="can be imported by its name.*with def"):
        Policy(lambda a: a, reads=["a"]).to_dict()
    with pytest.raises(ValueError, match="acts in a query alone"):
        policy(torch.zeros(3, 1))
