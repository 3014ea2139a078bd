"""Interventions that lead out of the range that a table was fitted in are said."""

import warnings

import pytest
from helpers import EDGES, NAMES, graph_table

from sklearn_icm.exceptions import FarInterventionWarning
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import (
    Clip,
    Compose,
    Do,
    Noise,
    Resample,
    Scale,
    Shift,
    SwapMechanism,
    Units,
    Where,
)


@pytest.fixture(scope="module")
def table():
    return graph_table()


@pytest.fixture(scope="module")
def model(table):
    """Tests must not change it."""
    return GraphGenerator(EDGES, max_epochs=20, random_state=0).fit(table)


def test_far_interventions_warn_where_they_are_asked_for(model, table):
    far = 5 * table["cause"].std() + table["cause"].max()
    with pytest.warns(
        UserWarning, match="'cause' is 5.0 standard deviations outside"
    ) as record:
        model.intervene({"cause": float(far)}, n_samples=3)
    assert record[0].filename == __file__


def test_range_of_far_interventions_grows_with_the_rows(table):
    est = GraphGenerator(EDGES, random_state=0).partial_fit(table)
    with pytest.warns(FarInterventionWarning):
        est.intervene({"cause": 40.0}, n_samples=2)
    est.partial_fit(table.assign(cause=table["cause"] + 40)).partial_fit(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est.intervene({"cause": 40.0}, n_samples=2)


def one_of(v):
    """Sets one of the rows far away, and leaves the others."""
    changed = v.clone()
    changed[-1] += 60.0
    return changed


@pytest.mark.parametrize("query", ["draws", "rows"])
@pytest.mark.parametrize(
    "change",
    [
        60.0,
        Shift(-60.0),
        Scale(-8e4),
        Compose([Do(1), Scale(80.0)]),
        lambda v: v + 1e6,
        one_of,
        Resample([[1e6]]),
        Noise(100.0),
        Where([True], 60.0),
        Units([0], Shift(60.0)),
    ],
    ids=lambda change: type(change).__name__,
)
def test_what_is_set_far_outside_the_range_is_said(query, change, model, table):
    rows = {"X": table[:40]} if query == "rows" else {"n_samples": 40}
    with pytest.warns(FarInterventionWarning, match="outside the fitted") as record:
        model.intervene({"cause": change}, random_state=0, **rows)
    assert len(record) == 1


def test_another_mechanism_that_goes_far_is_said(model, table):
    other = GraphGenerator(EDGES, max_epochs=1, random_state=0).fit(table + 60)
    swap = SwapMechanism(other, "cause")
    with pytest.warns(FarInterventionWarning, match="'cause' .*outside the fitted"):
        model.intervene({"cause": swap}, n_samples=9)
    # The mechanisms of the other model know these values.
    children = {name: SwapMechanism(other, name) for name in NAMES}
    model.intervene(children, n_samples=9)


@pytest.mark.parametrize(
    "change",
    [
        Shift(0.1),
        Compose([Scale(80.0), Clip(-0.5, 0.5)]),
        lambda v: v + 0.1,
        Resample([[0.0], [0.5]]),
    ],
    ids=lambda change: type(change).__name__,
)
def test_what_is_set_within_the_range_is_not_warned_of(model, change, recwarn):
    model.intervene({"cause": change}, n_samples=2)
    assert not recwarn.list


def test_what_is_far_already_or_read_by_no_mechanism_is_not_warned_of(
    model, table, recwarn
):
    model.intervene({"effect": 60.0}, n_samples=2)
    model.intervene({"data": Shift(60.0)}, n_samples=2)
    far = table[:5].assign(cause=60.0)
    model.intervene({"cause": lambda v: v}, X=far)
    model.intervene({"middle": 0.0}, X=far)
    assert not recwarn.list


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_another_value_of_a_constant_column_is_said(table, constant):
    est = GraphGenerator(EDGES, max_epochs=1, random_state=0)
    est.fit(table.assign(cause=constant))
    with pytest.warns(FarInterventionWarning, match=f"another value than {constant:g}"):
        est.intervene({"cause": 0.2}, n_samples=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est.intervene({"cause": constant}, n_samples=2)
