import numpy as np
import pytest
import torch
from torch import nn

from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import Do, Scale, Shift
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.metrics import counterfactual_errors

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
    fixed._fitted.model.abduct = lambda x: kept * x
    return fixed


MODEL = model()


AXIOMS = ["composition", "reversibility", "effectiveness", "minimality"]


def test_one_row_per_intervention_and_a_column_per_axiom():
    table = counterfactual_errors(MODEL, X, CHANGES).table_
    assert list(table.columns) == [*AXIOMS, *(f"{axiom}_se" for axiom in AXIOMS)]
    assert list(table.index) == list(CHANGES)
    for name, change in CHANGES.items():
        alone = counterfactual_errors(MODEL, X, change).table_
        assert list(alone.index) == ["intervention"]
        assert alone.iloc[0].to_numpy() == pytest.approx(table.loc[name].to_numpy())
    without = counterfactual_errors(MODEL, X).table_
    assert list(without.columns) == ["composition", "composition_se"]
    assert (table["composition"] == without.loc["none", "composition"]).all()


@pytest.mark.parametrize(("kept", "bound"), [(1.0, 0.0), (0.0, 1.0)])
def test_bounds_of_the_values(kept, bound):
    change = {"first": Scale(2.0) >> Shift(1.0)}
    table = counterfactual_errors(
        model(kept), X, change, keep=lambda rows: rows[:, 1]
    ).table_
    values = table[["composition", "effectiveness", "minimality"]]
    assert np.allclose(values, bound, atol=1e-6)


def test_a_standard_error_is_that_of_the_mean_over_rows():
    table = counterfactual_errors(MODEL, X, units="common").table_
    by_row = np.sum((0.1 * X) ** 2, 1) / np.mean(np.sum(X**2, 1))
    assert table["composition"].item() == pytest.approx(0.01, rel=1e-4)
    expected = by_row.std(ddof=1) / np.sqrt(len(X))
    assert table["composition_se"].item() == pytest.approx(expected, rel=1e-4)


def test_sentences_hold_the_numbers():
    report = counterfactual_errors(MODEL, X, CHANGES)
    assert len(report.sentences_) == 4 * len(CHANGES)
    for (name, axiom), told in report.sentences_.items():
        value, error = report.table_.loc[name, [axiom, f"{axiom}_se"]]
        assert f"{100 * value:.3g} % (standard error {100 * error:.2g} %)" in told
        assert axiom == "composition" or repr(name) in told
        assert told.endswith(").")
        assert told in str(report)
        assert told.replace("'", "&#x27;") in report._repr_html_()


def test_what_is_not_defined_is_nan_with_the_reason():
    changes = {"set": {"first": Do(1.0)}, "all": {"noise": Shift(1.0)}}
    report = counterfactual_errors(MODEL, X, changes)
    missing = report.table_[AXIOMS].stack(future_stack=True).isna()
    missing = missing[missing].index
    assert list(missing) == [("set", "reversibility"), ("all", "minimality")]
    for place, why in zip(
        missing, ["no inverse that is known", "leaves alone no hidden"], strict=True
    ):
        assert report.sentences_[place].startswith("Not defined.")
        assert why in report.sentences_[place]


def test_rows_are_explained_once():
    counted, calls = model(), []
    abduct = counted._fitted.model.abduct
    counted._fitted.model.abduct = lambda x: calls.append(len(x)) or abduct(x)
    counterfactual_errors(counted, X, CHANGES)
    # The rows, and the counterfactual rows of each intervention.
    assert len(calls) == 1 + len(CHANGES)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"interventions": {"up": {"third": 1.0}}}, "Unknown node 'third'; the nodes"),
        ({"abduction": "guess"}, "abduction must be one of"),
        ({"residual": "lose"}, "residual must be 'keep' or 'drop'"),
    ],
)
def test_what_the_report_refuses(params, message):
    given = {"X": X, "interventions": CHANGES, **params}
    with pytest.raises(ValueError, match=message):
        counterfactual_errors(MODEL, **given)


def test_of_one_row_effectiveness_alone_is_defined():
    report = counterfactual_errors(MODEL, X[:1], CHANGES)
    defined = report.table_.notna().any()
    assert list(defined[defined].index) == ["effectiveness"]
    told = report.sentences_.drop("effectiveness", level=1)
    assert told.str.contains("differs? between").all()


def test_interventions_must_be_a_dict():
    with pytest.raises(TypeError, match="interventions must be a non-empty dict"):
        counterfactual_errors(MODEL, X, {})
