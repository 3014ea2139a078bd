import pytest
from helpers import BEND, ROWS, TABLE, Chain, small
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from sklearn_icm.inspection import identifiability_report
from sklearn_icm.interventions import Scale, Shift
from sklearn_icm.metrics import fit_refits, refit_agreement


def test_the_report_holds_what_the_functions_say():
    changes = {"more": {"dense1": Scale(2.0)}, "moved": {"noise": Shift(1.0)}}
    report = identifiability_report(
        small(), TABLE, interventions=changes, factors=TABLE[:, :2], random_state=7
    )
    refits = fit_refits(small(), TABLE, random_state=7)
    agreement = refit_agreement(refits, TABLE, changes, random_state=7)
    consistency = refit_agreement(refits, TABLE, random_state=7)
    table = report.table_
    assert list(table.index) == [
        "extrapolation agreement",
        "latent consistency",
        "mcc with factors",
        "affine R2 of factors",
        "independence: dense1 -> data",
    ]
    assert table["value"].iloc[0] == agreement.value
    assert table["worst"].iloc[0] == agreement.table_["agreement"].iloc[1:].min()
    assert table["value"].iloc[1] == consistency.value
    assert table["chance"].iloc[1] == consistency.chance
    assert (table["worst"].iloc[:4] <= table["value"].iloc[:4] + 1e-12).all()
    assert (table["perfect"] == 1).all()
    assert report.sentences_.str.endswith(".").all()


def test_the_report_in_a_notebook_and_in_a_terminal():
    report = identifiability_report(Chain(), ROWS, interventions={"<b>": BEND})
    text, html = repr(report), report._repr_html_()
    assert "latent consistency" in text
    assert "times as far apart under" in html
    assert "&lt;b&gt;" in html


def test_the_report_says_when_refits_agree():
    report = identifiability_report(
        Chain(turned=False), ROWS, interventions={"nothing": {}}, factors=ROWS
    )
    readings = report.sentences_
    assert "as well as without" in readings["extrapolation agreement"]
    assert "explains 100%" in readings["affine R2 of factors"]
    assert report.table_["value"]["mcc with factors"] < 1


def test_the_report_says_when_independence_is_empty():
    report = identifiability_report(small(hidden=(1,)), TABLE, n_refits=2)
    reading = report.sentences_["independence: dense1 -> data"]
    assert reading.startswith("In 2 of 2 refits rho is 1 whatever was learned")


def test_the_report_leaves_out_what_an_estimator_cannot_do():
    report = identifiability_report(PCA(2), TABLE, alignment="affine")
    assert list(report.table_.index) == ["latent consistency"]
    assert "explain 100% of the variance" in report.sentences_.iloc[0]


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"interventions": BEND}, TypeError, "need a generator.*LinearRegression"),
        ({"factors": ROWS}, TypeError, "`transform`, got LinearRegression"),
        ({}, ValueError, "Nothing can be measured: LinearRegression has neither"),
    ],
)
def test_the_report_refuses_what_it_cannot_measure(params, error, match):
    with pytest.raises(error, match=match):
        identifiability_report(LinearRegression(), ROWS, **params)
