"""Mechanisms that an environment changes are fitted without its rows."""

import numpy as np
import pandas as pd
import pytest
from helpers import EDGES, graph_table
from sklearn.base import clone

from sklearn_icm.generators import GraphGenerator


def two_environments():
    seen, other = graph_table(seed=0), graph_table(seed=1)
    other["middle"] = 2 - other["middle"]
    other["effect"] += 10 * (other["middle"] - np.tanh(other["cause"]))
    return pd.concat([seen, other]), ["seen"] * 400 + ["other"] * 400


def test_a_targeted_mechanism_is_fitted_without_the_environment():
    X, labels = two_environments()
    est = GraphGenerator(
        EDGES, targets={"other": ["middle", "effect"]}, max_epochs=20, random_state=0
    ).fit(X, labels)
    alone = clone(est).set_params(targets=None, observational="seen").fit(X, labels)
    both = clone(est).set_params(targets=None).fit(X, labels)
    shared, own, mixed = (
        e.intervene({"cause": 0.0}, n_samples=500, random_state=0)[:, 1].mean()
        for e in (est, alone, both)
    )
    assert abs(shared - own) < 0.15
    assert abs(shared - mixed) > 0.5
    assert est.was_fitted_on(X)


def test_environments_share_what_is_not_targeted():
    X, labels = two_environments()
    X.loc[np.array(labels) == "other", "cause"] += 3.0
    est = GraphGenerator(
        EDGES,
        targets={"other": ["cause", "middle", "effect"]},
        max_epochs=20,
        random_state=0,
    ).fit(X, labels)
    seen = X[np.array(labels) == "seen"]
    draws = est.sample(2000, random_state=0)
    error = 5 * seen.std() / np.sqrt(400)
    assert (abs(draws.mean(0) - seen.mean())[:3] < error[:3]).all()
    pool = 5 * X["alone"].std() / np.sqrt(800)
    assert abs(draws[:, 3].mean() - X["alone"].mean()) < pool


def test_wrong_targets():
    table = graph_table()
    labels = ["a"] * 400
    with pytest.raises(ValueError, match="needs the environment label of every row"):
        GraphGenerator(EDGES, targets={"a": "cause"}).fit(table)
    with pytest.raises(ValueError, match="targets names the column 'nowhere'"):
        GraphGenerator(EDGES, targets={"a": "nowhere"}).fit(table, labels)
    with pytest.raises(ValueError, match="leave 0 rows to fit the mechanism of column"):
        GraphGenerator(EDGES, targets={"a": "cause"}).fit(table, labels)
