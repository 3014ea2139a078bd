"""Columns of levels: what they are, and the noise behind them."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_score

from sklearn_icm.exceptions import FitDivergedError
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.generators.graph._model import GraphModule
from sklearn_icm.generators.graph.columns._lines import (
    PRIOR_ROWS,
    cross_entropies,
    levels_of_prior,
)
from sklearn_icm.interventions import Do, Resample
from sklearn_icm.metrics import average_effect

EDGES = [("dose", "group"), ("group", "level")]


def rows(n=600, seed=0):
    rng = np.random.RandomState(seed)
    dose = rng.randn(n)
    chance = 1 / (1 + np.exp(1 - dose))
    group = np.where(rng.rand(n) < chance, "treated", "control")
    level = (group == "treated") + 0.5 * rng.randn(n)
    return pd.DataFrame({"dose": dose, "group": group, "level": level})


@pytest.fixture(scope="module")
def table():
    return rows()


@pytest.fixture(scope="module")
def model(table):
    """Tests must not change it."""
    return GraphGenerator(EDGES, max_epochs=8, random_state=0).fit(table)


# ------------------------------------------------------------- noise of levels
@pytest.mark.parametrize("dose", [-1.0, 0.0, 1.0])
def test_counterfactuals_average_to_the_interventional_law(dose, model, table):
    own = model.intervene({"dose": dose}, X=table)[:, 1] == "treated"
    drawn = model.intervene({"dose": dose}, n_samples=8000, random_state=0)[:, 1]
    share = np.mean(drawn == "treated")
    error = np.sqrt(share * (1 - share) / len(table))
    assert abs(own.mean() - share) < 4 * error


def test_the_effect_on_given_rows_is_that_on_draws(model, table):
    query = {"node": "dose", "a": 1.0, "b": -1.0, "target": "level", "random_state": 0}
    own = average_effect(model, X=table, **query)
    drawn = average_effect(model, n_samples=4000, **query)
    width = (own.high - own.low) / 4
    assert abs(own.effect - drawn.effect) < 4 * width


def test_noise_of_all_rows_together_is_standard_normal(model, table):
    noise = model.abduct(table).noise[:, 1]
    assert abs(noise.mean()) < 4 / np.sqrt(len(table))
    assert abs(noise.std() - 1) < 4 / np.sqrt(2 * len(table))
    assert len(np.unique(noise)) > 0.99 * len(table)


def test_given_rows_come_back_and_non_descendants_stay(model, table):
    kept = model.set_output().intervene({}, X=table)
    assert np.array_equal(kept, table.to_numpy(object))
    changed = model.intervene({"level": 0.25}, X=table)
    assert np.array_equal(changed[:, :2], table.to_numpy(object)[:, :2])
    moved = model.intervene({"group": "treated"}, X=table)
    same = table["group"].to_numpy() == "treated"
    assert np.array_equal(moved[:, 0], table["dose"])
    assert np.array_equal(moved[same], table.to_numpy(object)[same])


def test_all_questions_to_the_same_rows_share_their_noise(model, table):
    asked = model.intervene({"dose": 0.3}, X=table)
    abducted = model.abduct(table)
    assert np.array_equal(asked, model.intervene({"dose": 0.3}, X=table))
    assert np.array_equal(
        asked, model.intervene({"dose": 0.3}, X=table, abduction=abducted)
    )


def test_transform_does_not_depend_on_other_rows(model, table):
    noise = model.transform(table)
    assert np.allclose(model.transform(table[10:12]), noise[10:12])
    assert np.array_equal(model.inverse_transform(noise)[:, 1], table["group"])


# ----------------------------------------------------- noise belongs to the content
@pytest.mark.parametrize("choose", [lambda n: np.arange(n)[::-1], lambda n: [17]])
@pytest.mark.parametrize("change", [{"dose": 0.3}, {"group": "treated"}], ids=str)
def test_counterfactuals_of_a_row_do_not_depend_on_the_others(
    choose, change, model, table
):
    chosen = table.iloc[choose(len(table))]
    whole = pd.DataFrame(model.intervene(change, X=table)).iloc[choose(len(table))]
    assert np.array_equal(model.intervene(change, X=chosen), whole)
    noise = model.abduct(chosen).noise
    assert np.array_equal(noise, model.abduct(table).noise[choose(len(table))])


def test_equal_rows_have_noise_of_their_own_and_their_averages_are_right(model, table):
    few = pd.concat([table[:4]] * 150, ignore_index=True)
    noise = model.abduct(few).noise[:, 1]
    assert len(np.unique(noise)) == len(few)
    # Of each row the noise is normal within the interval that gives its level.
    chance = norm.cdf(noise).reshape(150, 4)
    middle = norm.cdf(model.transform(table[:4])[:, 1])
    width = 2 * np.minimum(middle, 1 - middle)
    assert (abs(chance.mean(0) - middle) < 4 * width / np.sqrt(12 * 150)).all()
    again = model.abduct(few.sample(frac=1, random_state=0)).noise[:, 1]
    assert np.array_equal(np.sort(again), np.sort(noise))


def test_another_fit_draws_other_noise(model, table):
    other = clone(model).set_params(random_state=1).fit(table)
    draws = [norm.cdf(est.abduct(table).noise[:, 1]) for est in (model, other)]
    assert abs(np.corrcoef(*draws)[0, 1]) < 0.95


# --------------------------------------------------------------- missing levels
@pytest.mark.parametrize("kind", ["str", "category", "boolean", "object"])
def test_unknown_levels_leave_the_rest_of_a_row(kind, table):
    group = table["group"]
    if kind == "boolean":
        group = group == "treated"
    group = group.astype(kind)
    group[::5] = pd.NA if kind == "boolean" else None
    est = GraphGenerator(EDGES, missing="available", max_epochs=3, random_state=0)
    drawn = est.fit(table.assign(group=group)).sample(50, random_state=0)
    assert set(drawn[:, 1]) == set(group.dropna())
    assert np.isfinite(drawn[:, [0, 2]].astype(float)).all()


# ------------------------------------------------------------- which have them
def test_a_table_of_draws_can_be_fitted(model):
    drawn = pd.DataFrame(model.sample(100, random_state=0), columns=list("abc"))
    assert drawn["a"].dtype == object
    refitted = GraphGenerator([("a", "b")], max_epochs=1).fit(drawn)
    assert list(refitted.categories_) == ["b"]
    assert np.isfinite(refitted.score_samples(drawn)).all()


def test_objects_that_are_truth_values_are_levels(table):
    X = table.assign(group=(table["group"] == "treated").astype(object))
    est = GraphGenerator(EDGES, max_epochs=1).fit(X)
    assert est.categories_["group"].tolist() == [False, True]


def test_levels_without_order_are_refused(table):
    X = table.assign(group=pd.Series([1, "a"] * 300, dtype=object))
    with pytest.raises(ValueError, match="levels of column 'group' must have an order"):
        GraphGenerator(EDGES).fit(X)


@pytest.mark.parametrize(
    "level", [(1, "a"), frozenset("a"), ["a"], {"a": 1}], ids=lambda v: type(v).__name__
)
def test_levels_that_hold_several_things_are_refused(level, table):
    X = table[:20].assign(group=pd.Series([level] * 20, dtype=object))
    with pytest.raises(ValueError, match=r"levels of column 'group'.*astype\(str\)"):
        GraphGenerator(EDGES).fit(X)
    if isinstance(level, tuple):
        X["group"] = pd.Categorical(X["group"])
        with pytest.raises(ValueError, match=r"levels of column 'group'.*\(1, 'a'\)"):
            GraphGenerator(EDGES).fit(X)


def test_messages_show_levels_and_names_plainly(model, table):
    labels = np.repeat(["seen", "trial"], 300)
    X = table.assign(group="new")
    calls = [
        lambda: model.intervene({"group": np.str_("new")}, n_samples=2),
        lambda: model.intervene({np.str_("new"): 1.0}, n_samples=2),
        lambda: model.score_samples(X),
        lambda: model.space_.numeric(X),
        lambda: average_effect(model, "dose", 1.0, 0.0, "group"),
        lambda: GraphGenerator([(np.str_("new"), "dose")]).fit(table),
        lambda: GraphGenerator(mechanism={np.str_("new"): "auto"}).fit(table),
        lambda: GraphGenerator(mechanism={"dose": np.str_("new")}).fit(table),
        lambda: GraphGenerator(targets={np.str_("new"): 1}).fit(table, labels),
        lambda: GraphGenerator(observational=np.array(["new"])).fit(table, labels),
        lambda: GraphGenerator(observational=np.str_("new")).fit(table[:2], ["new", 1]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="'new'|'treated'|'control'") as error:
            call()
        assert "np." not in str(error.value)


@pytest.mark.parametrize("node", ["dose", "group"])
def test_interventions_of_no_value_or_several_are_refused(node, model):
    with pytest.raises(ValueError, match="Do: value must hold at least one value"):
        model.intervene({node: []}, n_samples=2)
    with pytest.raises(ValueError, match=rf"Do: .*node '{node}'.*(got|shape)"):
        model.intervene({node: Do([1, 2])}, n_samples=2)


def test_a_callable_that_takes_all_levels_for_one_is_told(model):
    change = {"group": lambda v: "control" if v == "treated" else "treated"}
    with pytest.raises(ValueError, match="on node 'group' treats what .* one number"):
        model.intervene(change, n_samples=5)


def test_rows_with_levels_are_recognised(model, table):
    assert model.was_fitted_on(table)
    assert model.was_fitted_on(table.to_numpy())
    assert not model.was_fitted_on(table[::-1])
    assert not model.was_fitted_on(table[["dose"]])


def test_a_column_that_identifies_rows_is_warned_of(table):
    X = table[:60].assign(group=[f"row {k}" for k in range(60)])
    warned = "'group' has 60 levels in 60 rows.*identifies rows, leave it out"
    for verb in ("fit", "partial_fit"):
        with pytest.warns(UserWarning, match=warned) as record:
            getattr(GraphGenerator(max_epochs=1), verb)(X)
        assert record[0].filename == __file__
    est = GraphGenerator()
    with pytest.raises(UserWarning, match=warned):
        est.fit(X)
    # Before anything is trained.
    assert not hasattr(est, "history_")


def test_bounds_are_of_numeric_columns(table):
    est = GraphGenerator(EDGES, bounds=(-0.5, 0.5), max_epochs=3, random_state=0)
    drawn = est.fit(table).sample(200)
    assert est.bounds_.T.tolist() == [[-0.5, 0.5], [0.0, 1.0], [-0.5, 0.5]]
    assert set(drawn[:, 1]) == {"control", "treated"}
    by_data = clone(est).set_params(bounds="data").fit(table).bounds_
    assert by_data[:, 1].tolist() == [0.0, 1.0]


def test_a_numeric_mechanism_of_levels_is_refused(table):
    with pytest.raises(ValueError, match="'group', which has levels, must be 'auto'"):
        GraphGenerator(EDGES, mechanism={"group": "linear"}).fit(table)
    est = GraphGenerator(EDGES, mechanism="linear", max_epochs=1).fit(table)
    assert est.mechanism_kinds_["group"] == "categorical"


@pytest.mark.parametrize("column", ["x1", 1], ids=str)
def test_numbers_of_frames_without_names_can_be_levels(column, table):
    X = pd.DataFrame(np.column_stack([table["dose"], table["group"] == "treated"]))
    est = GraphGenerator(mechanism={column: "categorical"}, max_epochs=1).fit(X)
    assert list(est.categories_) == ["x1"]


@pytest.mark.parametrize("columns", [["group", "dose", "level"], ["dose", "level"]])
def test_other_columns_than_those_of_fit_are_named(columns, model, table):
    with pytest.raises(ValueError, match="feature names should match those"):
        model.score_samples(table[columns])


# --------------------------------------------------------------- names, targets
def test_names_that_are_numbers_are_not_taken_for_positions():
    X = pd.DataFrame(np.random.RandomState(0).randn(20, 3), columns=[1, 2, 3])
    with pytest.raises(ValueError, match=r"got \[1, 2, 3\].*X.columns.astype\(str\)"):
        GraphGenerator([(2, 1)]).fit(X)
    X.columns = X.columns.astype(str)
    est = GraphGenerator([("2", "1")], max_epochs=1).fit(X)
    assert est.mechanisms_["1"] == ("2", "noise")


def test_targets_of_unknown_environments(table):
    labels = np.repeat(["seen", "trial"], 300)
    est = GraphGenerator(EDGES, max_epochs=1)
    with pytest.raises(ValueError, match=r"'trail'.* labels are \['seen', 'trial'\]"):
        clone(est).set_params(targets={"trail": 1}).fit(table, labels)
    est.set_params(targets={"trial": "dose", "trail": "level"})
    with pytest.warns(UserWarning, match="label 'trail', which no fitted") as record:
        est.fit(table, labels)
    assert record[0].filename == __file__


def test_hidden_nodes_are_no_targets(table):
    est = GraphGenerator(
        [("H", "dose"), ("H", "level")], unobserved={"H": 1}, targets={"trial": "H"}
    )
    with pytest.raises(ValueError, match="such nodes cannot be targets"):
        est.fit(table, np.repeat(["seen", "trial"], 300))


# ------------------------------------------------------------------ declared levels
@pytest.fixture(scope="module")
def declared(table):
    """A model of levels that are declared, of which no row has the first."""
    X = table[["group", "level"]][:200].assign(
        group=pd.Categorical(table["group"][:200], ["rare", "control", "treated"])
    )
    est = GraphGenerator([("group", "level")], mechanism="linear", random_state=0)
    return est.set_params(max_epochs=8).fit(X), X


def test_declared_levels_are_kept_with_a_prior_weight(declared, table):
    est, X = declared
    assert est.categories_["group"].tolist() == ["rare", "control", "treated"]
    plain = clone(est).fit(X.assign(group=X["group"].astype(str)))
    few = X[:40].assign(group="rare")
    roots = clone(est).set_params(graph=None).fit(X)
    same_level = X.assign(level=1.0)
    others = roots.score_samples(same_level)
    share = 0.5 / 200.5
    ratio = [others[X["group"] == g][0] for g in ("control", "treated")]
    level = np.logaddexp(*ratio) - np.log1p(-share)
    at_one = roots.score_samples(few.assign(level=1.0))[0]
    assert np.exp(at_one - level) == pytest.approx(share)
    drawn = est.sample(20000, random_state=0)[:, 0]
    assert abs(np.mean(drawn == "rare") - share) < 5 * np.sqrt(share / 20000)
    assert abs(est.score(X) - plain.score(X)) < 0.05
    assert np.array_equal(
        est.intervene({"group": "treated"}, X=few)[:, 0], np.full(40, "treated", object)
    )


def test_setting_a_level_that_no_row_has_is_warned_of(declared):
    est, X = declared
    for change in ("rare", Do("rare"), Resample([["rare"], ["treated"]])):
        with pytest.warns(UserWarning, match=r"levels \['rare'\], which no") as record:
            est.intervene({"group": change}, X=X)
        assert record[0].filename == __file__
    later = clone(est).partial_fit(X).partial_fit(X.assign(group="rare")[:3])
    later.intervene({"group": "rare"}, X=X)


def test_a_fit_that_diverges_late_can_be_asked_about_levels(declared, monkeypatch):
    est, X = declared
    calls, loss_terms = [], GraphModule.loss_terms

    def failing(module, batch):
        terms, values = loss_terms(module, batch)
        calls.append(len(calls) > 8)
        return {k: v * (np.nan if calls[-1] else 1) for k, v in terms.items()}, values

    monkeypatch.setattr(GraphModule, "loss_terms", failing)
    est = clone(est).set_params(mechanism="additive")
    with pytest.raises(FitDivergedError, match="is kept"):
        est.fit(X)
    with pytest.warns(UserWarning, match="no fitted row had"):
        rows = est.intervene({"group": "rare"}, n_samples=3)
    assert set(rows[:, 0]) == {"rare"}


def test_folds_without_a_declared_level_are_scored(declared):
    est, X = declared
    X = X.assign(group=["rare", "rare", *X["group"][2:]]).astype(
        {"group": X["group"].dtype}
    )
    est = clone(est).set_params(max_epochs=1)
    assert np.isfinite(cross_val_score(est, X, cv=KFold(2))).all()
    undeclared = X.astype({"group": str})
    est.fit(undeclared[2:])
    with pytest.raises(ValueError, match=r"'group' has the level 'rare'.*Declare all"):
        est.score(undeclared)
    whole = undeclared.assign(group=np.r_[2, np.arange(199) % 2])
    est.fit(whole[1:])
    with pytest.raises(ValueError, match="level 2.*'from_dtype' takes whole ones"):
        est.score(whole)
    assert np.isfinite(
        est.set_params(categorical_features="from_dtype").fit(whole[1:]).score(whole)
    )


# ------------------------------------------------------------------ rows of a prior
def test_rows_of_a_prior_stand_beside_those_of_a_level():
    """Where all rows alike have one level, the others keep what the prior gives."""
    codes = torch.tensor([0.0] * 30 + [1.0] * 10)[:, None]
    prior = levels_of_prior(torch.tensor([30.0, 10.0]).double())
    expected = torch.tensor([30.0, 0.0]) + PRIOR_ROWS * 30 / 40 * prior / prior.sum()
    heads = (expected / expected.sum()).log().requires_grad_()
    loss = cross_entropies(heads.expand(30, 2), codes[:30], prior, [2])
    loss.sum().backward()
    torch.testing.assert_close(heads.grad, torch.zeros(2).double(), atol=1e-5, rtol=0)


def test_few_rows_make_no_level_sure():
    rng = np.random.RandomState(0)
    cause = rng.randn(40)
    effect = np.where(cause > 0, "b", "a")
    X = pd.DataFrame({"cause": cause, "effect": effect})
    model = GraphGenerator({"effect": ["cause"]}, max_epochs=400, random_state=0)
    found = model.fit(X).intervene({"cause": 0.5}, n_samples=2000, random_state=0)
    assert 0.005 < np.mean(found[:, 1] == "a") < 0.2
