import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import TABLE, small

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.exceptions import FarInterventionWarning
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.inspection import what_if_report
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import average_effect

GRAPH = {"dose": "age", "plan": "dose", "score": ["age", "dose"]}
SHIFT = {"dose": Shift(1.0)}


@pytest.fixture(scope="module")
def table():
    rng = np.random.RandomState(0)
    age, *noise = rng.randn(4, 200)
    dose = age + noise[0]
    plan = np.where(dose + noise[1] > 0, "pro", "basic")
    columns = {"age": age, "dose": dose, "plan": plan, "score": dose + noise[2]}
    # An index that is not the place, with labels that occur twice.
    return pd.DataFrame(columns, index=np.repeat(np.arange(100), 2))


@pytest.fixture(scope="module")
def model(table):
    est = GraphGenerator(GRAPH, max_epochs=2, random_state=0)
    return BootstrapGenerator(est, n_estimators=3, random_state=0).fit(table)


def test_effects_are_those_of_average_effect(model, table):
    found = what_if_report(model, SHIFT, table).table_
    for name, target in (("score", "score"), ("plan = pro", _is_pro)):
        other = average_effect(model, "dose", Shift(1.0), None, target, X=table)
        row = found.loc[name]
        assert np.allclose(
            row[["effect", "low", "high"]].astype(float),
            [other.effect, other.low, other.high],
            atol=1e-6,
        )
        assert np.isclose(row["after"] - row["before"], row["effect"])
    assert found.index.tolist() == ["age", "dose", "score", "plan = pro"]
    assert found["set"].tolist() == [False, True, False, False]
    assert found["moved"].loc[["age", "dose", "score"]].tolist() == [0, 1, 1]


def _is_pro(rows):
    return rows[:, 2] == "pro"


def test_who_moves_most_is_the_row_that_does(table):
    lines = GraphGenerator({"score": ["age", "dose"]}, mechanism="linear")
    numbers = table[["age", "dose", "score"]].reset_index(drop=True)
    report = what_if_report(lines.fit(numbers), {"dose": 0.0}, numbers, n_affected=3)
    farthest = numbers["dose"].abs().sort_values(ascending=False).index[:3]
    assert report.affected_.index.tolist() == farthest.tolist()
    assert report.affected_.columns.tolist() == ["moved in all", "score"]
    alike = what_if_report(lines, SHIFT, numbers).sentences_["most affected"]
    assert alike.startswith("All rows move alike")


def test_rows_may_be_a_list(table):
    rows = table[["age", "dose"]].to_numpy().tolist()
    lines = GraphGenerator([(0, 1)], mechanism="linear").fit(rows)
    assert len(what_if_report(lines, {"x0": 0.0}, rows, n_affected=7).affected_) == 7


def test_sentences_say_what_is_counted_and_what_is_not(model, table):
    with pytest.warns(FarInterventionWarning, match="'dose' is"):
        report = what_if_report(model, {"dose": 50.0}, table)
    text = repr(report)
    assert "the rows X and 3 refits" in text
    assert "not of a wrong graph, a hidden cause" in text
    beyond = report.sentences_["support"]
    assert beyond.startswith("Beyond the fitted rows at plan (100 % of the units, by ")
    assert "and score (100 % of the units" in beyond
    assert "3 refits differ" in report.sentences_["trust"]
    assert "less than 0.01 % of their spread" in report.sentences_["composition"]
    single = what_if_report(model.estimator_, SHIFT, table)
    assert "BootstrapGenerator counts estimation too" in repr(single)
    nothing = what_if_report(model, {"score": 1.0}, table)
    assert nothing.sentences_["effects"] == "Nothing changes but what is set."
    assert nothing.sentences_["most affected"].startswith("No row moves")


def test_the_page_and_the_figure(model, table):
    report = what_if_report(model, SHIFT, table)
    open_ones = plt.get_fignums()
    html = report._repr_html_()
    assert html.startswith("<img alt=")
    assert "Most affected" in html
    assert plt.get_fignums() == open_ones
    display = report.plot()
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == ["dose", "score", "plan = pro", "age"]
    plt.close(display.figure_)


def test_rows_that_a_model_explains_in_part():
    est = small().fit(TABLE)
    with pytest.warns(UserWarning, match="does not explain"):
        report = what_if_report(est, {"dense1": Shift(1.0)}, TABLE)
    assert "what it does not is kept" in report.sentences_["unexplained"]
    assert {"composition", "reversibility"} <= set(report.sentences_.index)
    assert not report.table_["set"].any()


def test_what_cannot_be_asked_is_refused(model, table):
    with pytest.raises(ValueError, match="X must be the rows to change, at least 2"):
        what_if_report(model, SHIFT, table[:1])
    with pytest.raises(ValueError, match="n_affected"):
        what_if_report(model, SHIFT, table, n_affected=0)
    with pytest.raises(ValueError, match="nowhere"):
        what_if_report(model, {"nowhere": 1.0}, table)
    with pytest.raises(TypeError, match="generator that explains given rows"):
        what_if_report(plt, SHIFT, table)
