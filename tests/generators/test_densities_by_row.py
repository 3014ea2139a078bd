"""Densities under values per row and policies."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from sklearn_icm.generators import ChainGenerator, GraphGenerator
from sklearn_icm.interventions import Policy


def _constant(value, *others):
    return value


def test_what_is_set_row_by_row_has_no_density():
    """Values per row and policies: the others are scored as they are in the row."""
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"a": rng.randn(200)})
    X["plan"] = np.where(X["a"] + rng.randn(200) > 0, "pro", "free")
    X["b"] = X["a"] + rng.randn(200)
    graph = {"plan": "a", "b": ["a", "plan"]}
    est = GraphGenerator(graph, n_units=4, max_epochs=2, random_state=0).fit(X)
    whole = est.score_samples(X)
    for node, value in {"a": 0.0, "plan": "pro", "b": 0.0}.items():
        known = est.score_samples(X, interventions={node: value})
        each = X[node].sample(frac=1.0, random_state=0)
        ruled = Policy(partial(_constant, value), reads=["a"])
        changes = [each, each.to_numpy(), *([ruled] if node != "a" else [])]
        for change in changes:
            scores = est.score_samples(X, interventions={node: change})
            np.testing.assert_allclose(scores, known)
        assert not np.allclose(known, whole)
    with pytest.raises(ValueError, match="one for each of the 200 rows"):
        est.score_samples(X, interventions={"a": np.ones(3)})
    half = Policy(lambda a: a, reads=["a"]).scaled(0.5)
    with pytest.raises(ValueError, match="No density is known"):
        est.score_samples(X, interventions={"b": half})
    rows = rng.randn(3, 2)
    chain = ChainGenerator(max_iter=5, random_state=0).fit(rng.randn(40, 2))
    with pytest.raises(ValueError, match="No density is known"):
        chain.score_samples(rows, interventions={"noise": np.ones((3, 2))})
