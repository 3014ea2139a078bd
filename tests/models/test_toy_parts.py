"""Interventions, penalties, groups and mechanisms that only documented names write."""

import json
import pickle

import numpy as np
import pytest
from helpers import TABLE, small
from sklearn.model_selection import GridSearchCV
from toy_parts import Follow, Gated, Neighbours, Silence, SmallNodes, gated_decoder

from sklearn_icm._training import queries
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.independence import GenericPenalty, generic_ratio
from sklearn_icm.interventions import Intervention, Shift

COLUMNS = GraphGenerator([(0, 1), (2, 1)], bounds=None, max_epochs=1, random_state=0)


@pytest.fixture(scope="module")
def columns():
    return COLUMNS.fit(TABLE[:, :3])


@pytest.fixture(scope="module")
def gated():
    return small(decoder=gated_decoder).fit(TABLE)


def test_a_policy_follows_what_another_intervention_made(columns):
    changes = {"x1": Follow("x0", 3.0), "x0": Shift(0.2)}
    rows = columns.intervene(changes, n_samples=20, random_state=0)
    np.testing.assert_allclose(rows[:, 1], 3 * rows[:, 0], rtol=1e-5)
    half = columns.intervene({"x1": Follow("x0", 3.0).scaled(0.5)}, n_samples=20)
    np.testing.assert_allclose(half[:, 1], 1.5 * half[:, 0], rtol=1e-5)
    with pytest.raises(ValueError, match="some depend on 'x0'"):
        columns.intervene({"x0": Follow("x1")}, n_samples=2)


@pytest.mark.parametrize("change", [Follow("x0", 3.0), Silence(0.5)], ids=repr)
def test_they_are_values(change, columns):
    copies = [
        pickle.loads(pickle.dumps(change)),
        Intervention.from_dict(json.loads(json.dumps(change.to_dict()))),
    ]
    rows = columns.intervene({"x1": change}, n_samples=9, random_state=0)
    for copy in copies:
        assert copy == change
        again = columns.intervene({"x1": copy}, n_samples=9, random_state=0)
        assert np.array_equal(again, rows)


def test_random_ones_follow_the_seed_and_no_chunk(columns, monkeypatch):
    change = {"x1": Silence(0.5) >> Silence(0.5)}
    rows = columns.intervene(change, n_samples=4000, random_state=0)
    # Two steps have streams of their own.
    share = (rows[:, 1] == 0).mean()
    assert abs(share - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 4000)
    monkeypatch.setattr(queries, "MOST_ROWS", 64)
    assert np.allclose(columns.intervene(change, n_samples=4000, random_state=0), rows)
    levels = GraphGenerator(categorical_features=[0], max_epochs=1).fit(TABLE.round())
    with pytest.raises(ValueError, match="Silence"):
        levels.intervene({"x0": Silence(0.5)}, n_samples=2)


def test_a_penalty_is_a_hyper_parameter(gated):
    model = small(decoder=gated_decoder, icm_penalty=SmallNodes(), icm_weight=0.1)
    grid = {"icm_weight": [0.0, 10.0], "icm_penalty__power": [1, 2]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(TABLE)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    weighted = model.set_params(icm_weight=100.0, max_epochs=20).fit(TABLE)
    sizes = [
        np.abs(m.node_values(TABLE)["gate2"]).mean()
        for m in (gated.set_params(max_epochs=20).fit(TABLE), weighted)
    ]
    assert sizes[1] < sizes[0]
    with pytest.raises(ValueError, match="sees nothing"):
        small(hidden=(), icm_penalty=SmallNodes(), icm_weight=1.0).fit(TABLE)


def test_a_group_is_drawn_from(gated):
    values = gated.node_values(TABLE)["gate1"]
    rho = generic_ratio(
        Gated(8, 3).double(), values.astype(float), Neighbours(), random_state=0
    )
    assert rho > 0
    penalty = GenericPenalty(group=Neighbours())
    model = small(decoder=gated_decoder, icm_penalty=penalty, icm_weight=0.1)
    assert model.fit(TABLE).history_["penalty"].notna().all()


def test_a_mechanism_that_says_its_operator_is_measured(gated):
    pairs = gated.independence(n_draws=9)["pair"].tolist()
    assert pairs == ["gate1 -> gate2", "gate2 -> data"]
