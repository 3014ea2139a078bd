import numpy as np
import pytest
import torch
from torch import nn

from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import Do, Scale, Shift
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.metrics import (
    composition_error,
    counterfactual_report,
    effectiveness_error,
    minimality_error,
    reversibility_error,
)

X = np.random.RandomState(0).randn(30, 2)
X -= X.mean(0)
CHANGES = {"up": {"first": Shift(1.0)}, "twice": {"first": Scale(2.0)}}


class Column(nn.Module):
    def __init__(self, index):
        super().__init__()
        self.index = index

    def forward(self, noise):
        return noise[:, [self.index]]


class Beside(nn.Module):
    def forward(self, first, second):
        return torch.cat([first, second], 1)


def model(kept=0.9):
    """Two independent columns; finds `kept` times the noise behind a row."""
    graph = MechanismGraph(
        {"noise": (2,)},
        {
            "first": ("noise", Column(0)),
            "second": ("noise", Column(1)),
            "data": (("first", "second"), Beside()),
        },
    )
    fixed = FixedGenerator(graph).fit(X)
    fixed._module.abduct = lambda x: kept * x
    return fixed


MODEL = model()


def test_the_report_holds_what_the_axioms_give():
    report = counterfactual_report(MODEL, X, CHANGES)
    assert list(report.columns) == [
        "intervention",
        "axiom",
        "value",
        "standard_error",
        "perfect",
        "useless",
        "explanation",
    ]
    values = report.set_index(["intervention", "axiom"])["value"]
    assert len(values) == 1 + 3 * len(CHANGES)
    assert values["none", "composition"] == composition_error(MODEL, X)
    axioms = {
        "reversibility": reversibility_error,
        "effectiveness": effectiveness_error,
        "minimality": minimality_error,
    }
    for name, change in CHANGES.items():
        for axiom, error in axioms.items():
            assert values[name, axiom] == pytest.approx(error(MODEL, X, change))


@pytest.mark.parametrize(("kept", "bound"), [(1.0, "perfect"), (0.0, "useless")])
def test_bounds_of_the_values(kept, bound):
    change = {"first": Scale(2.0) >> Shift(1.0)}
    predictor = {"intervention": {"predictor": lambda rows: rows[:, 1]}}
    report = counterfactual_report(model(kept), X, change, minimality=predictor)
    rows = report[report["axiom"] != "reversibility"]
    assert np.allclose(rows["value"], rows[bound], atol=1e-6)


def test_a_standard_error_is_that_of_the_mean_over_rows():
    (row,) = counterfactual_report(
        MODEL, X, CHANGES, names=["composition"], units="common"
    ).itertuples()
    by_row = np.sum((0.1 * X) ** 2, 1) / np.mean(np.sum(X**2, 1))
    assert row.value == pytest.approx(0.01, rel=1e-4)
    expected = by_row.std(ddof=1) / np.sqrt(len(X))
    assert row.standard_error == pytest.approx(expected, rel=1e-4)


def test_sentences_hold_the_numbers():
    report = counterfactual_report(MODEL, X, CHANGES)
    for row in report.itertuples():
        amount = f"{100 * row.value:.3g} %"
        assert f"{amount} (standard error {100 * row.standard_error:.2g} %)" in (
            row.explanation
        )
        assert row.axiom == "composition" or repr(row.intervention) in row.explanation
        assert row.explanation.endswith(").")


def test_what_is_not_defined_is_nan_with_the_reason():
    changes = {"set": {"first": Do(1.0)}, "all": {"noise": Shift(1.0)}}
    report = counterfactual_report(MODEL, X, changes)
    missing = report[report["value"].isna()].set_index(["intervention", "axiom"])
    assert list(missing.index) == [("set", "reversibility"), ("all", "minimality")]
    for told, why in zip(
        missing["explanation"],
        ["no inverse that is known", "leaves alone no hidden"],
        strict=True,
    ):
        assert told.startswith("Not defined.")
        assert why in told
    assert missing["standard_error"].isna().all()


def test_options_go_to_the_axiom_of_one_intervention():
    report = counterfactual_report(
        MODEL,
        X,
        CHANGES,
        names=["minimality", "effectiveness", "reversibility"],
        reversibility={"up": {"n_rounds": 2}},
        effectiveness={"up": {"predictor": lambda rows: rows[:, 0], "target": 3.0}},
        minimality={"up": {"keep": ["first"]}},
    )
    values = report.set_index(["intervention", "axiom"])["value"]
    up = CHANGES["up"]
    assert list(values["up"].index) == ["reversibility", "effectiveness", "minimality"]
    assert values["up", "reversibility"] == pytest.approx(
        reversibility_error(MODEL, X, up, n_rounds=2)
    )
    assert values["up", "effectiveness"] == pytest.approx(
        effectiveness_error(MODEL, X, up, predictor=lambda r: r[:, 0], target=3.0)
    )
    assert values["up", "minimality"] == pytest.approx(
        minimality_error(MODEL, X, up, keep=["first"])
    )
    assert values["twice", "minimality"] == pytest.approx(
        minimality_error(MODEL, X, CHANGES["twice"])
    )


def test_rows_are_explained_once():
    counted, calls = model(), []
    abduct = counted._module.abduct
    counted._module.abduct = lambda x: calls.append(len(x)) or abduct(x)
    counterfactual_report(counted, X, CHANGES)
    # The rows, and the counterfactual rows of each intervention.
    assert len(calls) == 1 + len(CHANGES)


def test_one_intervention_needs_no_name():
    report = counterfactual_report(MODEL, X, {"first": Shift(1.0)})
    assert report["intervention"].tolist() == ["none"] + 3 * ["intervention"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"names": ["honesty"]}, r"names must be .*\['composition', .*got \['honesty'"),
        ({"names": "composition"}, "names must be a non-empty list of axioms"),
        ({"names": []}, "names must be a non-empty list of axioms"),
        (
            {"minimality": {"down": {}}},
            r"minimality must .*\['up', 'twice'\], got 'down'",
        ),
        ({"interventions": {"up": {"third": 1.0}}}, "Unknown node 'third'; the nodes"),
        ({"abduction": "guess"}, "abduction must be one of"),
        ({"residual": "lose"}, "residual must be 'keep' or 'drop'"),
    ],
)
def test_what_the_report_refuses(params, message):
    given = {"X": X, "interventions": CHANGES, **params}
    with pytest.raises(ValueError, match=message):
        counterfactual_report(MODEL, **given)


def test_of_one_row_effectiveness_alone_is_defined():
    report = counterfactual_report(MODEL, X[:1], CHANGES)
    defined = report["value"].notna()
    assert (defined == (report["axiom"] == "effectiveness")).all()
    assert report["explanation"][~defined].str.contains("differs? between").all()
    assert report["standard_error"].isna().all()


def test_interventions_must_be_a_dict():
    with pytest.raises(TypeError, match="interventions must be a non-empty dict"):
        counterfactual_report(MODEL, X, {})
