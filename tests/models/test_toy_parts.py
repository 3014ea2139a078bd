"""Interventions, penalties, groups and mechanisms that only documented names write."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import TABLE, small
from scipy.stats import kstest
from sklearn.model_selection import GridSearchCV
from toy_parts import (
    Follow,
    Gated,
    Neighbours,
    PointsTrace,
    Silence,
    SmallNodes,
    gated_decoder,
    points_decoder,
)

from sklearn_icm.exceptions import DegenerateMechanismWarning, UnreadMechanismWarning
from sklearn_icm.generators import FixedGenerator, GraphGenerator
from sklearn_icm.independence import (
    GenericMeasure,
    GenericPenalty,
    Measure,
    generic_ratio,
    genericity_test,
)
from sklearn_icm.independence._pairs import mechanism_pairs
from sklearn_icm.interventions import Intervention, Shift
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.models import _query

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
    monkeypatch.setattr(_query, "MOST_ROWS", 64)
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


@pytest.fixture(scope="module")
def points():
    return small(decoder=points_decoder).fit(TABLE)


def test_a_measure_of_an_own_kind_of_node_has_rows(points):
    both = [PointsTrace(), "weights"]
    table = points.independence(measure=both, n_draws=39)
    assert table["pair"].tolist() == ["points -> drawn", "drawn -> data"]
    assert table["measure"].tolist() == ["trace of points", "trace"]
    assert table["p_value"].between(0.05, 1).all()
    assert (table["low"] < table["high"]).all()
    assert (table["response"] > 0.01).all()
    assert not table["degenerate"].any()
    assert table.equals(points.independence(measure=both, n_draws=39))
    tested = genericity_test(points, measure=both, n_draws=39)
    np.testing.assert_allclose(tested["rho"], table["rho"])
    with pytest.warns(UnreadMechanismWarning, match="points -> drawn.*kind 'points'"):
        weights = points.independence(n_draws=39)
    assert weights["rho"].item() == table["rho"].iloc[1]


def p_values_of_points(seeds, align=lambda graph: None):
    """Of graphs of random weights, or aligned ones."""
    for seed in seeds:
        torch.manual_seed(seed)
        graph = points_decoder(2, (4,))
        torch.nn.init.normal_(graph.mechanism("points")[0].weight)
        torch.nn.init.normal_(graph.mechanism("drawn").linear.weight)
        align(graph)
        model = FixedGenerator(graph).fit(TABLE)
        table = model.independence(measure=PointsTrace(), n_draws=19, random_state=seed)
        yield table["p_value"].item()


def test_p_values_of_an_own_measure_are_uniform_and_find_alignment():
    jitter = np.random.RandomState(0).uniform(size=60)
    with pytest.warns(
        UnreadMechanismWarning, match="drawn -> data: none of .'trace of"
    ):
        found = np.array(list(p_values_of_points(range(60))))
    assert kstest(found - 2 * jitter / 20, "uniform").pvalue > 1e-2

    @torch.no_grad()
    def align(graph):
        scale = torch.tensor([3.0, 0.3, 0.03])
        graph.mechanism("points")[0].weight.unflatten(0, (5, 3)).mul_(scale[:, None])
        graph.mechanism("drawn").linear.weight.mul_(scale)

    with pytest.warns(UnreadMechanismWarning):
        assert max(p_values_of_points(range(5), align)) == 0.1


class LargestCorrelation(Measure):
    """Of a mechanism's noise and the columns that it is compared with."""

    name = "correlation"

    def applies(self, pair):
        return pair.noise is not None and pair.first == "noise"

    def ratio(self, pair):
        both = torch.cat([pair.noise, pair.hidden], 1).T
        return torch.corrcoef(both)[0, 1:].abs().max()

    def null_draws(self, pair, n_draws, generator):
        orders = (
            torch.randperm(len(pair.noise), generator=generator) for _ in range(n_draws)
        )
        return torch.stack(
            [self.ratio(replace(pair, noise=pair.noise[k])) for k in orders]
        )


def test_a_measure_of_noise_has_rows_in_tables_of_columns(columns):
    rng = np.random.RandomState(0)
    hidden = rng.randn(300)
    X = rng.randn(300, 3)
    X[:, [0, 2]] += hidden[:, None]
    table = columns.independence(X, measure=LargestCorrelation(), n_draws=49)
    assert table["mechanism"].tolist() == ["x0", "x1", "x2"]
    assert (table["against"] == "noise").all()
    assert table["p_value"].iloc[0] == table["p_value"].iloc[2] == 0.02
    both = columns.independence(X, measure=[LargestCorrelation(), "noise"], n_draws=49)
    by_noise = both[both["against"] == "noise"].reset_index(drop=True)
    assert by_noise.equals(table)
    assert (both["against"] == "parents").sum() == 1
    with pytest.raises(ValueError, match=r"measure must be one of \['noise'\]"):
        columns.independence(measure="weights")


def test_mechanisms_of_several_parents_are_measured_by_values():
    class Sum(torch.nn.Linear):
        def forward(self, *parents):
            return super().forward(parents[0] + parents[1].tanh())

    torch.manual_seed(0)
    first, second, last = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3), Sum(3, 4)
    mechanisms = {
        "a": ("noise", first),
        "b": ("noise", second),
        "data": (("a", "b"), last),
    }
    model = FixedGenerator(MechanismGraph({"noise": (2,)}, mechanisms)).fit(TABLE)
    table = model.independence(measure=GenericMeasure("permute"), n_draws=19)
    assert table["pair"].tolist() == ["a -> data", "b -> data"]
    assert (table["measure"] == "permute, power").all()
    values = {
        k: torch.from_numpy(v)
        for k, v in model.node_values(n_samples=9, random_state=0).items()
    }
    pair = list(mechanism_pairs(model.graph_, values))[1]
    torch.testing.assert_close(pair.f(values["b"]), values["data"])
    assert table["rho"].iloc[0] != table["rho"].iloc[1]


class Constant(PointsTrace):
    """Nothing could have moved it."""

    def null_draws(self, pair, n_draws, generator):
        return self.ratio(pair).expand(n_draws)


def test_a_measure_without_spread_is_degenerate(points):
    with pytest.warns(DegenerateMechanismWarning, match="points -> drawn"):
        table = points.independence(measure=[Constant(), "weights"], n_draws=9)
    assert table["degenerate"].tolist() == [True, False]
    assert table[["low", "p_value"]].iloc[0].isna().all()


@pytest.mark.parametrize(
    ("name", "returned", "error", "match"),
    [
        (
            "ratio",
            torch.tensor(torch.nan),
            ValueError,
            "'points -> drawn' are not fini",
        ),
        ("ratio", 1.0, TypeError, "ratio of <.*Broken.* must return a tensor, got 1.0"),
        ("null_draws", torch.ones(8), ValueError, r"of shape .9,., got .*8"),
        ("null_draws", [1.0] * 9, ValueError, "tensor of shape .9,., got .*list"),
    ],
)
def test_what_a_measure_returns_is_checked(points, name, returned, error, match):
    broken = type("Broken", (PointsTrace,), {name: lambda *args: returned})()
    with pytest.raises(error, match=match):
        points.independence(measure=[broken, "weights"], n_draws=9)
