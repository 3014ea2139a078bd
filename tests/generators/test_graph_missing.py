"""Tables with missing values."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import EDGES, graph_table
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from sklearn_icm.generators import GraphGenerator


@pytest.fixture(scope="module")
def table():
    return graph_table()


def test_missing_values_are_refused_without_a_policy(table):
    with pytest.raises(ValueError, match="contains NaN"):
        GraphGenerator(EDGES).fit(table.mask(table > table.max() - 1e-9))


def test_available_rows_are_enough(table):
    rng = np.random.RandomState(0)
    holes = rng.rand(*table.shape) < 0.2
    est = GraphGenerator(
        EDGES,
        mechanism="linear",
        missing="available",
        max_epochs=20,
        random_state=0,
    ).fit(table.mask(holes))
    whole = clone(est).fit(table)
    a, b = (
        e.intervene({"cause": 1.0}, n_samples=500, random_state=0) for e in (est, whole)
    )
    assert np.isfinite(a).all()
    assert (abs(a.mean(0) - b.mean(0)) < 0.25 * table.std()).all()


def test_known_mechanisms_score_rows_with_missing_values(table):
    est = GraphGenerator(EDGES, missing="available", max_epochs=3, random_state=0)
    rng = np.random.RandomState(0)
    holes = table.mask(rng.rand(*table.shape) < 0.2)
    est.fit(holes)
    whole = est.score_samples(table)
    # "effect" reads "cause" and "middle", "middle" reads "cause", "alone" nothing.
    only = {
        name: est.score_samples(table.assign(**dict.fromkeys(missing, np.nan)))
        for name, missing in {
            "alone": ["cause"],
            "cause": ["middle", "alone"],
            "cause, middle": ["effect", "alone"],
            "cause, middle, effect": ["alone"],
        }.items()
    }
    assert np.allclose(only["alone"] + only["cause, middle, effect"], whole)
    assert not np.allclose(only["cause"], only["cause, middle"])
    assert np.isfinite(cross_val_score(est, holes)).all()


def test_a_column_needs_two_known_values(table):
    X = table.assign(alone=np.nan)
    with pytest.raises(ValueError, match="'alone' is known in 0 of 400 rows; at least"):
        GraphGenerator(EDGES, missing="available").fit(X)


def never_together(n_joint, n=200):
    """Cause and effect, each known in half of the rows, and both in few of them."""
    cause = np.random.RandomState(0).randn(n)
    X = pd.DataFrame({"x": cause, "y": 3 * cause + 0.1})
    half = (n + n_joint) // 2
    X.loc[half:, "x"] = np.nan
    X.loc[: half - n_joint - 1, "y"] = np.nan
    return X


@pytest.mark.parametrize("n_joint", [0, 1])
def test_cause_and_effect_that_are_never_known_together_are_refused(n_joint):
    est = GraphGenerator([("x", "y")], missing="available", random_state=0)
    with pytest.raises(ValueError, match=r"'y' and its parents \['x'\].* in [01] of"):
        est.fit(never_together(n_joint))


@pytest.mark.parametrize("n_joint", [2, 5, 29, 30])
def test_few_rows_where_both_are_known_are_warned_of(n_joint):
    est = GraphGenerator([("x", "y")], missing="available", random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(never_together(n_joint))
    messages = [str(w.message) for w in caught]
    assert len(messages) == (n_joint < 30)
    if messages:
        assert f"together in {n_joint} of" in messages[0]
        assert caught[0].filename == __file__


def test_rows_that_targets_and_holes_leave_are_counted_together():
    X = pd.concat([never_together(0, 100), never_together(100, 100)])
    labels = np.repeat(["other", "set"], 100)
    est = GraphGenerator([("x", "y")], missing="available", targets={"set": "y"})
    with pytest.raises(ValueError, match="known together in 0 of 200 rows"):
        est.fit(X, labels)


def test_missing_values_are_refused_with_advice():
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="1 missing values in column 0.*'available'"):
        GraphGenerator().fit(frame)
