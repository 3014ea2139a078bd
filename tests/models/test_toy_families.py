"""Families that are written with documented names alone keep every contract."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_families
from helpers import TABLE
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from toy_families import EnergyGenerator, FlowGenerator, GameGenerator, GameModel

from sklearn_icm._training.trainer import Trainer
from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.interventions import Scale, Shift
from sklearn_icm.metrics import energy_distance
from sklearn_icm.rows._batches import Rows
from sklearn_icm.utils.estimator_checks import check_generator
from sklearn_icm.utils.streams import Streams

QUICK = [
    EnergyGenerator(max_epochs=2, icm_weight=0.1),
    FlowGenerator(max_epochs=2),
    GameGenerator(max_epochs=2, icm_weight=0.1),
]
EXPLAINING = {
    *("abduct", "transform", "fit_transform", "inverse_transform"),
    *("hybridise", "influence_map"),
}
families = pytest.mark.parametrize("family", QUICK, ids=lambda m: type(m).__name__)


@parametrize_with_checks(QUICK)
def test_sklearn_contract(estimator, check):
    check(estimator)


@families
def test_generator_contract(family):
    check_generator(family)
    check_generator(GenerativePipeline([("scale", StandardScaler()), ("last", family)]))


@pytest.fixture(scope="module")
def energy():
    return EnergyGenerator(max_epochs=60, random_state=0).fit(TABLE)


@pytest.fixture(scope="module")
def flow():
    return FlowGenerator(max_epochs=60, random_state=0).fit(TABLE)


@pytest.mark.parametrize("name", sorted(EXPLAINING | {"score", "score_samples"}))
def test_verbs_are_those_that_the_model_can_answer(energy, flow, name):
    for fitted in (energy, flow):
        pipe = GenerativePipeline([("scale", StandardScaler()), ("last", fitted)])
        answers = fitted is flow
        assert hasattr(fitted, name) == hasattr(clone(fitted), name) == answers
        assert name == "fit_transform" or hasattr(pipe, name) == answers


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.intervene({"dense1": 0.0}, X=TABLE),
        lambda m: m.node_values(TABLE),
        lambda m: m.independence(TABLE),
        lambda m: m.support({"dense1": 0.0}, TABLE),
    ],
)
def test_given_rows_are_refused_with_advice(energy, ask):
    match = "EnergyGenerator cannot explain given rows.* leave X out"
    with pytest.raises(TypeError, match=match):
        ask(energy)


def test_the_reason_stands_behind_a_missing_verb(energy):
    with pytest.raises(AttributeError, match="has no attribute 'abduct'") as caught:
        energy.abduct(TABLE)
    assert "leave X out" in str(caught.value.__cause__)


def test_samples_are_like_the_rows(energy, flow):
    before = energy_distance(TABLE, TABLE.mean(0) + 0 * TABLE)
    for model in (energy, flow):
        rows = model.sample(500, random_state=0)
        assert energy_distance(TABLE, rows) < 0.2 * before


def test_players_of_a_game_take_turns():
    game = GameGenerator(max_epochs=600, lr=5e-3, random_state=0).fit(TABLE)
    assert {"loss", "generator", "critic"} <= {*game.history_}
    before = energy_distance(TABLE, TABLE.mean(0) + 0 * TABLE)
    assert energy_distance(TABLE, game.sample(500, random_state=0)) < 0.6 * before


def test_a_player_moves_its_own_weights_alone():
    model = GameModel(2, 4)
    rows = Rows(torch.rand(20, 4))
    for frozen in ("graph", "critic"):
        own = copy.deepcopy(model)
        getattr(own, frozen).requires_grad_(False)
        before = copy.deepcopy(own)
        Trainer(max_epochs=3, lr=0.1).fit(own, rows, None, Streams(0))
        for name in ("graph", "critic"):
            pairs = zip(
                getattr(own, name).parameters(),
                getattr(before, name).parameters(),
                strict=True,
            )
            same = [torch.equal(a, b) for a, b in pairs]
            assert all(same) == (name == frozen)


def test_independence_and_nodes_of_a_family_that_only_draws(energy):
    assert list(energy.independence(n_draws=9)["pair"]) == [
        "dense1 -> dense2",
        "dense2 -> data",
    ]
    nodes = energy.node_values(n_samples=3, random_state=0)
    assert {k: v.shape[1:] for k, v in nodes.items()} == energy.nodes_


def test_a_penalty_moves_the_mechanisms_towards_independence():
    def change(weight):
        model = EnergyGenerator(max_epochs=40, icm_weight=weight, random_state=0)
        return abs(model.fit(TABLE).independence(n_draws=0)["power_change"]).mean()

    assert change(1.0) < 0.5 * change(0.0)


def test_noise_and_density_of_a_flow_are_exact(flow):
    noise = flow.transform(TABLE)
    assert np.allclose(flow.inverse_transform(noise), TABLE, atol=1e-5)
    assert np.allclose(flow.abduct(TABLE).noise, noise, atol=1e-4)
    two = FlowGenerator(max_epochs=5, random_state=0).fit(TABLE[:, :2])

    # It jumps where a slope changes, so that the grid must be fine.
    low, high = TABLE[:, :2].min(0) - 1, TABLE[:, :2].max(0) + 1
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 500).T), 2).reshape(-1, 2)
    cell = np.prod((high - low) / 499)
    assert np.exp(two.score_samples(grid)).sum() * cell == pytest.approx(1, abs=0.01)


def test_densities_under_changes_of_the_data_alone(flow):
    rows = flow.sample(5, random_state=0)
    changes = {"data": Scale(2.0) >> Shift(1.0)}
    expected = flow.score_samples(rows) - TABLE.shape[1] * np.log(2)
    found = flow.score_samples(2 * rows + 1, interventions=changes)
    assert np.allclose(found, expected, atol=1e-4)
    with pytest.raises(ValueError, match="no density under changes of .'flow1'"):
        flow.score_samples(rows, interventions={"flow1": 0.0})


def test_searches_choose_parameters_of_toy_families():
    search = GridSearchCV(FlowGenerator(random_state=0), {"max_epochs": [1, 40]}, cv=2)
    assert search.fit(TABLE).best_params_ == {"max_epochs": 40}

    def closeness(model, X, y=None):
        return -energy_distance(X, model.sample(200, random_state=0))

    search = GridSearchCV(
        EnergyGenerator(max_epochs=20, random_state=0),
        {"icm_weight": [0.0, 1.0]},
        scoring=closeness,
        cv=2,
    )
    assert set(search.fit(TABLE).best_params_) == {"icm_weight"}


@families
def test_a_pickled_family_goes_on(family):
    model = clone(family).set_params(random_state=0).fit(TABLE)
    model.set_params(max_epochs=3)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.sample(4), model.sample(4))
    loaded.partial_fit(TABLE)
    assert loaded.n_iter_ == 3


def test_what_shapes_a_model_cannot_change_while_training_continues():
    model = EnergyGenerator(max_epochs=1, random_state=0).fit(TABLE)
    with pytest.raises(ValueError, match="n_latents cannot change from 4 to 5"):
        model.set_params(n_latents=5).partial_fit(TABLE)


def test_each_family_is_short():
    parts = Path(toy_families.__file__).read_text().split("\n# A ")[1:]
    lines = [len(part.splitlines()) for part in parts]
    assert all(n <= most for n, most in zip(lines, [80, 80, 40], strict=True))
