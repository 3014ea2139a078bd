"""What stands beside a score: baselines, pairs, changes of means."""

import numpy as np
import pytest
import sklearn
from helpers import shifted, table_model, table_scorer
from sklearn.base import BaseEstimator
from sklearn.model_selection import cross_validate

from sklearn_icm.base import GeneratorMixin
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import counterfactual_errors, make_extrapolation_scorer
from sklearn_icm.model_selection import LeaveEnvironmentOut


def test_baselines_are_shown_beside_the_skill():
    """A shift of the mean explains a shift; of a hidden node, one of the data does."""
    X, labels = shifted()
    model, scorer = table_model().fit(X, labels), table_scorer(2.0)
    scorer(model, X, labels)
    row = scorer.score_components_.loc["moved"]
    assert row["identity"] < row["mean_shift"]
    assert row[row["best_baseline"]] >= row["mean_shift"] > 0.9
    assert row[["additive", "neighbours", "at_data"]].isna().all()
    hidden = make_extrapolation_scorer(
        {"moved": {"dense1": lambda value: value + 2.0}}, observational="seen"
    )
    row = hidden.components(model, X[20:], labels[20:]).loc["moved"]
    assert row["at_data"] == pytest.approx(scorer(model, X[20:], labels[20:]), abs=0.1)


def test_single_changes_add_up_to_a_baseline():
    rng = np.random.RandomState(0)
    X = rng.randn(240, 2)
    labels = np.repeat(["seen", "first", "second", "both"], 60)
    X[60:120, 0] += 2
    X[120:180, 1] -= 1
    X[180:] += [2, -1]
    est = GraphGenerator({}, observational="seen", random_state=0).fit(X, labels)
    changes = {"x0": Shift(2.0)}, {"x1": Shift(-1.0)}
    both = {**changes[0], **changes[1]}
    scorer = make_extrapolation_scorer(
        dict(zip(["first", "second", "both"], [*changes, both], strict=True)),
        observational="seen",
    )
    table = scorer.components(est, X[10:], labels[10:])
    assert table["additive"].notna().tolist() == [False, False, True]
    assert table.loc["both", "additive"] > 0.9
    assert (table["skill"] > 0.9).all()


def test_neighbours_are_observed_rows_with_the_nearest_values():
    """What goes with a value is not what setting it does, if a cause is hidden."""
    rng = np.random.RandomState(0)
    cause = rng.randn(400, 1)
    X = cause + 0.3 * rng.randn(400, 2)
    env = np.column_stack([np.full(200, 1.0), cause[200:, 0] + 0.3 * rng.randn(200)])
    rows, labels = np.concatenate([X, env]), np.repeat(["seen", "done"], [400, 200])
    est = GraphGenerator({}, observational="seen", random_state=0).fit(rows, labels)
    scorer = make_extrapolation_scorer({"done": {"x0": 1.0}}, observational="seen")
    row = scorer.components(est, rows[10:], labels[10:]).loc["done"]
    assert row["skill"] > 0.85
    assert row["neighbours"] < 0.5


def test_rows_or_draws_are_predicted():
    X, labels = shifted()
    model = table_model().fit(X, labels)
    change = {"moved": {"dense1": Shift(0.5)}}
    ways = [
        {},
        {"predict": "rows"},
        {"residual": "keep"},
        {"predict": "draws"},
    ]
    scores = [
        make_extrapolation_scorer(change, observational="seen", **way)(model, X, labels)
        for way in ways
    ]
    assert scores[0] == scores[1]
    assert len(set(scores)) == 3
    with pytest.raises(ValueError, match="predict must be one of"):
        make_extrapolation_scorer(change, observational="seen", predict="pairs")


def paired_rows(n=60, seed=0):
    """Rows that a shift is added to, with the ids of the units."""
    X, labels = shifted(n, seed=seed)
    X[n:] = X[:n] + 2.0
    order = np.random.RandomState(seed).permutation(2 * n)
    return X[order], labels[order], np.tile(np.arange(n), 2)[order]


def test_pairs_are_judged_row_by_row():
    X, labels, ids = paired_rows()
    model = table_model().fit(X, labels)
    score = table_scorer(1.5)(model, X[9:], labels[9:], pairs=ids[9:])
    truth = X[labels == "moved"]
    part = 3 * 0.5**2 / np.square(truth - truth.mean(0)).sum(1).mean()
    assert score == pytest.approx(1 - part, abs=0.03)
    assert table_scorer(2.0)(model, X[9:], labels[9:], pairs=ids[9:]) > 0.999
    report = table_scorer(1.5).report(model, X[9:], labels[9:], pairs=ids[9:])
    row = report.table_.loc["moved"]
    assert row["low"] < row["skill"] < row["high"]
    assert row["mean_shift"] == pytest.approx(1)


@pytest.mark.parametrize("node", ["dense1", "data"])
def test_errors_by_the_axioms_stand_beside_pairs(node):
    """Of the mates' rows, in their order, and handled as the scorer handles them."""
    X, labels, ids = paired_rows()
    model, change = table_model().fit(X, labels), {node: Shift(1.5)}
    scorer = make_extrapolation_scorer({"moved": change}, observational="seen")
    report = scorer.report(model, X, labels, pairs=ids)
    residual = "drop" if node == "dense1" else "keep"
    seen = X[labels == "seen"]
    alone = counterfactual_errors(model, seen, change, residual=residual).table_
    row = report.table_.loc["moved", alone.columns]
    assert row.to_numpy(float) == pytest.approx(alone.iloc[0], nan_ok=True)
    assert f"composition {row['composition']:.2f}" in report.sentences_["moved"]
    assert "nan" not in report.sentences_["moved"]
    without = scorer.report(model, X, labels).table_
    assert not set(alone.columns) & set(without.columns)


def test_axioms_beside_pairs_of_a_graph_that_knows_levels():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.randn(160), rng.randint(2, size=160)])
    X[80:] = X[:80] + [1.0, 0.0]
    labels, ids = np.repeat(["seen", "moved"], 80), np.tile(np.arange(80), 2)
    est = GraphGenerator({}, observational="seen", random_state=0).fit(X, labels)
    scorer = make_extrapolation_scorer(
        {"moved": {"x0": Shift(1.0)}}, observational="seen"
    )
    row = scorer.report(est, X, labels, pairs=ids).table_.loc["moved"]
    assert row["skill"] == pytest.approx(1)
    assert row["composition"] == pytest.approx(0, abs=1e-6)


def test_pairs_need_a_generator_that_explains_rows():
    """Draws have no order: beside the truths of rows they are no predictions."""

    class Draws(GeneratorMixin, BaseEstimator):
        nodes_ = {"data": None}

        def intervene(self, interventions, X, n_samples, random_state):
            return np.zeros((n_samples, 3))

    X, labels, ids = paired_rows()
    with pytest.raises(ValueError, match="needs fixed interventions and predict='row"):
        table_scorer(2.0)(Draws(), X, labels, pairs=ids)


@pytest.mark.parametrize("n_out", [0, 1, 2])
def test_reports_of_pairs_that_parts_do_not_divide(n_out):
    X, labels, ids = paired_rows()
    left = ids >= n_out
    model = table_model().fit(X, labels)
    report = table_scorer(1.5).report(model, X[left], labels[left], pairs=ids[left])
    row = report.table_.loc["moved"]
    assert row["low"] < row["skill"] < row["high"]


def test_a_search_over_pairs_keeps_mates_in_one_fold():
    X, labels, ids = paired_rows()
    cv = LeaveEnvironmentOut("seen", n_splits=3)
    for train, test in cv.split(X, labels, pairs=ids):
        assert not set(ids[train]) & set(ids[test])
        assert len(test) == 40
    with sklearn.config_context(enable_metadata_routing=True):
        found = cross_validate(
            table_model(),
            X,
            params={"environments": labels, "pairs": ids},
            scoring=table_scorer(2.0),
            cv=cv,
            error_score="raise",
        )
    assert (found["test_score"] > 0.999).all()


@pytest.mark.parametrize(
    ("ids", "params", "match"),
    [
        (np.zeros(120), {}, "0.0 is there more than once in 'seen'"),
        (np.arange(120), {}, "match at least 2 rows of 'seen'"),
        (np.arange(120) % 60, {"predict": "draws"}, "needs fixed interventions and"),
        (np.arange(9), {}, "inconsistent numbers of samples"),
    ],
)
def test_pairs_that_do_not_match(ids, params, match):
    X, labels = shifted()
    model = table_model().fit(X, labels)
    scorer = make_extrapolation_scorer(
        {"moved": {"data": Shift(2.0)}}, observational="seen", **params
    )
    with pytest.raises(ValueError, match=match):
        scorer(model, X, labels, pairs=ids)


def test_the_right_environment_is_told_by_the_change_of_its_means():
    rng = np.random.RandomState(0)
    X = rng.randn(180, 2)
    labels = np.repeat(["seen", "up", "down"], 60)
    X[60:120] += [2.0, 0.0]
    X[120:] -= [0.0, 2.0]
    est = GraphGenerator({}, observational="seen", random_state=0).fit(X, labels)
    right = {"up": {"x0": Shift(2.0)}, "down": {"x1": Shift(-2.0)}}
    table = make_extrapolation_scorer(right, observational="seen").components(
        est, X[9:], labels[9:]
    )
    assert (table["change_correlation"] > 0.9).all()
    assert table["rank"].tolist() == [0, 0]
    wrong = dict(zip(right, reversed(right.values()), strict=True))
    scorer = make_extrapolation_scorer(wrong, observational="seen")
    assert scorer.components(est, X[9:], labels[9:])["rank"].tolist() == [1, 1]


def test_a_report_is_finite_where_nothing_changed():
    X, labels = shifted(shift=0.0)
    model = table_model().fit(X, labels)
    for baseline in ("mean", "identity", "mean_shift", "best"):
        scorer = table_scorer(0.0, baseline=baseline)
        report = scorer.report(model, X[9:], labels[9:])
        assert np.isfinite(report.table_.loc["moved", ["skill", "low", "high"]]).all()
        assert "nothing to predict" in report.sentences_["moved"]


class HalfKnown:
    """What a fitted family looks like to the scorer."""

    def fit_to(self, estimator, X_env, random_state):
        return {"data": Shift(X_env[::2].mean(0))}, X_env[::2], X_env[1::2]


@pytest.mark.parametrize("baseline", ["mean", "identity"])
def test_score_and_report_take_the_mean_from_the_same_rows(baseline):
    X, labels = shifted()
    scorer = make_extrapolation_scorer(
        {"moved": HalfKnown()}, observational="seen", baseline=baseline
    )
    model = table_model().fit(X, labels)
    score = scorer(model, X[9:], labels[9:])
    assert scorer.report(model, X[9:], labels[9:]).table_["skill"].item() == score


def test_of_pairs_no_part_of_a_unit_is_chance():
    X, labels, ids = paired_rows()
    scorer = table_scorer(1.5, baseline="identity")
    score = scorer(table_model().fit(X, labels), X[9:], labels[9:], pairs=ids[9:])
    assert score == pytest.approx(1 - 0.5**2 / 2**2, abs=0.01)
    found = scorer.score_components_.loc["moved"]
    assert found["unit"] == found["baseline_distance"]


def test_components_come_with_a_score():
    with pytest.raises(AttributeError, match="score first"):
        _ = table_scorer(1.0).score_components_
