import numpy as np
import pytest

from sklearn_icm.datasets import make_scm
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Resample, Scale, Shift
from sklearn_icm.metrics import mechanism_shift

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
    table = mechanism_shift(est, X, labels)
    assert changed_nodes(table, "a") == {node}
    assert changed_nodes(table, "b") == {root}
    assert list(table["node"]) == NODES * 2


def test_nothing_changed_where_rows_are_drawn_alike(fitted):
    _, est, _, _ = fitted
    p_values = []
    for seed in range(5):
        draws = est.sample(400, random_state=seed)
        labels = np.repeat(["seen", "same"], 200)
        table = mechanism_shift(est, draws, labels, n_permutations=199)
        p_values += list(table["p_value"])
    # Of 20 uniform p-values, the share below .2 stays within five standard errors.
    assert np.mean(np.less(p_values, 0.2)) < 0.2 + 5 * 0.4 / np.sqrt(20)
    assert min(p_values) >= 1 / 200


def test_the_observational_rows_alone_give_an_empty_table(fitted):
    scm, est, _, _ = fitted
    table = mechanism_shift(est, scm.data, ["seen"] * 400)
    assert len(table) == 0
    assert "changed" in table


def test_constant_columns_have_not_changed():
    X = np.column_stack([np.ones(60), np.random.RandomState(0).randn(60)])
    est = GraphGenerator([(0, 1)], max_epochs=1, random_state=0).fit(X)
    labels = np.repeat(["a", "b"], 30)
    table = mechanism_shift(est, X, labels, observational="a")
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
