import numpy as np
import pytest

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import compare_models, make_extrapolation_scorer

GRAPH = {"x1": ["x0"]}
CHANGE = {"done": {"x0": Shift(1.5)}}


def world(n, seed):
    """Rows before a shift of the cause, and other ones after it."""
    rng = np.random.RandomState(seed)
    x = rng.randn(2 * n) + np.repeat([0, 1.5], n)
    X = np.column_stack([x, x**2 / 2 + 0.3 * rng.randn(2 * n)])
    return X, np.repeat(["seen", "done"], n)


@pytest.fixture(scope="module")
def models():
    X, y = world(300, 0)
    return {
        kind: GraphGenerator(
            GRAPH, mechanism=kind, observational="seen", random_state=0
        ).fit(X, y)
        for kind in ("linear", "additive")
    }


def test_the_better_model_is_told_with_a_paired_interval(models):
    X, y = world(300, 1)
    report = compare_models(models, CHANGE, X, y, observational="seen")
    table = report.table_.loc["done"]
    assert table["behind"].to_dict() == {
        "linear": table["skill"]["additive"] - table["skill"]["linear"],
        "additive": 0,
    }
    linear = table.loc["linear"]
    assert 0 < linear["behind_low"] < linear["behind"] < linear["behind_high"]
    assert table["rank_by_agreement"].to_dict() == {"additive": 1, "linear": 2}
    assert "'additive' is best" in report.sentences_["done"]
    scorer = make_extrapolation_scorer(CHANGE, observational="seen")
    assert scorer(models["linear"], X, y) == pytest.approx(linear["skill"])
    # One data set's paired interval is narrower than that of either skill.
    assert linear["behind_high"] - linear["behind_low"] < linear["high"] - linear["low"]


def test_equal_models_are_not_told_apart(models):
    X, y = world(60, 1)
    report = compare_models([models["linear"]] * 2, CHANGE, X, y, observational="seen")
    assert (report.table_["behind"] == 0).all()
    assert "do not tell them apart" in report.sentences_["done"]


def test_few_rows_have_skills_and_no_intervals(models):
    table = compare_models(models, CHANGE, *world(10, 1), observational="seen").table_
    assert np.isnan(table["behind_low"]).all()
    assert np.isfinite(table["skill"]).all()


def test_bad_models(models):
    X, y = world(60, 1)
    with pytest.raises(ValueError, match="two or more fitted generators, got 1"):
        compare_models([models["linear"]], CHANGE, X, y, observational="seen")
    both = {"good": models["linear"], "other": GraphGenerator().fit(X[:, :1])}
    with pytest.raises(ValueError, match="expecting|columns|Unknown") as raised:
        compare_models(both, CHANGE, X, y, observational="seen")
    assert "'other' of the compared models" in raised.value.__notes__[0]
    with pytest.raises(TypeError, match="models must be generators.*got 3"):
        compare_models([models["linear"], 3], CHANGE, X, y, observational="seen")
