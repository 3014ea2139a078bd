"""What goes into a graph of columns, in any container, and what comes out."""

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_icm.exceptions import (
    ClippedInterventionWarning,
    FarInterventionWarning,
)
from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import Do, Resample, Shift, SwapMechanism
from sklearn_icm.metrics import average_effect

EDGES = [("price", "sold"), ("price", "sale")]


def rows(n=300, seed=0):
    """A price, sold pieces (a count), and whether there is a sale (0 or 1)."""
    rng = np.random.RandomState(seed)
    price = rng.randint(7, size=n) / 2
    sold = rng.poisson(8 - 2 * price)
    sale = (rng.rand(n) < 1 / (1 + np.exp(price - 1.5))).astype(int)
    return pd.DataFrame({"price": price, "sold": sold, "sale": sale})


def fitted(X, edges=EDGES, **params):
    est = GraphGenerator(edges, mechanism="linear", max_epochs=5, random_state=0)
    return est.set_params(**params).fit(X)


@pytest.fixture(scope="module")
def table():
    return rows()


@pytest.fixture(scope="module")
def model(table):
    """Tests must not change it."""
    return fitted(table)


# ------------------------------------------------------------------ what are numbers
def with_hole(values, hole):
    return pd.Series([hole, *values[1:]], dtype=object)


CONTAINERS = {
    "Decimal": lambda v: pd.Series([Decimal(str(e)) for e in v], dtype=object),
    "Fraction": lambda v: pd.Series(list(map(Fraction, v)), dtype=object),
    "object": lambda v: pd.Series(v, dtype=object),
    "numpy in object": lambda v: pd.Series(list(map(np.float32, v)), dtype=object),
    "beside pd.NA": lambda v: with_hole(v, pd.NA),
    "beside None": lambda v: with_hole(v, None),
    "Decimal beside NaN": lambda v: with_hole([Decimal(str(e)) for e in v], np.nan),
    "int and float": lambda v: pd.Series(
        [int(e) if e == int(e) else e for e in v], dtype=object
    ),
    "Float64": lambda v: pd.Series(v, dtype="Float64"),
    "whole beside None": lambda v: with_hole([int(2 * e) for e in v], None),
    "Int64 beside pd.NA": lambda v: with_hole([int(2 * e) for e in v], pd.NA).astype(
        "Int64"
    ),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_numbers_are_numbers_in_whatever_container(container, table):
    prices = CONTAINERS[container](table["price"].tolist())
    X = table.assign(price=prices)
    est = fitted(X, missing="available")
    plain = fitted(X.assign(price=prices.astype("Float64")), missing="available")
    assert est.mechanism_kinds_["price"] == "linear"
    assert "price" not in est.categories_
    query = {"random_state": 0, "n_samples": 30}
    answer = est.intervene({"sold": 3}, **query)
    assert np.array_equal(answer[:, 1:], plain.intervene({"sold": 3}, **query)[:, 1:])
    known = X[1:20]
    assert np.allclose(est.score_samples(known), plain.score_samples(known))
    assert (est.intervene({"price": 1.25}, X=known)[:, 0] == 1.25).all()


def test_objects_of_an_array_may_be_missing(table):
    X = table.to_numpy(object)
    X[0, 0], X[1, 0] = pd.NA, None
    est = fitted(X, [(0, 1), (0, 2)], missing="available")
    assert not est.categories_
    with pytest.raises(ValueError, match="2 missing values in column 0"):
        fitted(X)


DATES = pd.date_range("2020", periods=300)
TIMES = {
    "datetime64": DATES,
    "datetime64 ": DATES.tz_localize("UTC"),
    "datetime": pd.Series(DATES.to_pydatetime(), dtype=object),
    "date": pd.Series(DATES.date, dtype=object),
    "time": pd.Series([datetime.time(k % 24) for k in range(300)], dtype=object),
    "timedelta": pd.to_timedelta(np.arange(300), unit="D"),
    "period": pd.period_range("2020", periods=300, freq="D"),
    "interval": pd.interval_range(0, 300),
}


@pytest.mark.parametrize("kind", TIMES)
def test_columns_of_times_are_named_with_what_to_write(kind, table):
    X = table.assign(when=TIMES[kind])
    with pytest.raises(
        ValueError, match=f"Column 'when' must.*{kind.strip()}"
    ) as error:
        fitted(X)
    advice = str(error.value).split("such as ")[-1].split(", or levels")[0]
    number = eval(advice, {"pandas": pd, "X": X})
    est = fitted(X.assign(when=number))
    with pytest.raises(ValueError, match="Column 'when' must hold numbers or levels"):
        est.score_samples(X)


def test_an_array_of_times_says_what_to_do():
    with pytest.raises(ValueError, match="Column '0' must hold numbers.*datetime64"):
        GraphGenerator().fit(np.array([["2020-01-01"], ["2020-01-02"]], "M8[D]"))


def test_arrays_of_strings_have_levels():
    X = np.array([["a", "c"], ["b", "d"]] * 10)
    est = GraphGenerator([(0, 1)], max_epochs=1, random_state=0).fit(X)
    assert est.categories_["x1"].tolist() == ["c", "d"]
    assert np.array_equal(est.intervene({}, X=X), X)


def test_levels_that_nobody_names_are_refused_by_column(table):
    for text in (["a", "b"] * 150, pd.Categorical(["a", "b"] * 150)):
        X = table.assign(name=text)
        with pytest.raises(ValueError, match="Column 'name' has levels such as 'a'"):
            fitted(X, categorical_features=["sale"])


# ------------------------------------------------------------------- whole numbers
def test_two_whole_numbers_are_levels_and_counts_whole_by_default(model, table):
    assert list(model.categories_) == ["sale"]
    assert model.categories_["sale"].tolist() == [0, 1]
    drawn = model.sample(500, random_state=0)
    changed = model.intervene({"price": Shift(0.5)}, X=table)
    for answer in (drawn, changed, model.inverse_transform(model.transform(table))):
        sold = answer[:, 1]
        assert np.array_equal(sold, np.rint(sold))
        assert sold.min() >= 0
        assert sold.max() <= table["sold"].max()
        assert set(answer[:, 2]) == {0, 1}
    # A root is its empirical law, and floats are not made whole.
    assert set(drawn[:, 0]) == set(table["price"])
    assert any(drawn[:, 0] % 1 == 0.5)
    assert abs(drawn[:, 1].mean() - table["sold"].mean()) < 5 * table["sold"].std() / 17


@pytest.mark.parametrize(
    ("params", "levels"),
    [
        ({"categorical_features": "from_dtype"}, []),
        ({"categorical_features": []}, []),
        ({"categorical_features": ["sold"]}, ["sold"]),
        ({"mechanism": {"sale": "linear"}}, []),
        ({"mechanism": {"sale": "auto"}}, ["sale"]),
    ],
    ids=str,
)
def test_a_parameter_says_what_has_levels(params, levels, table):
    est = fitted(table, max_epochs=1, **params) if "mechanism" not in params else None
    est = est or GraphGenerator(EDGES, max_epochs=1, **params).fit(table)
    assert list(est.categories_) == levels
    # What is no level still is a whole number.
    assert set(est.sample(50, random_state=0)[:, 2]) <= {0, 1}


@pytest.mark.parametrize(
    ("column", "has_levels"),
    [
        (np.array([3, -7] * 150), True),
        (np.array([3, 7] * 150, np.uint8), True),
        (pd.array([1, 2, None] * 100, dtype="Int64"), True),
        (np.array([0.0, 1.0] * 150), False),
        (np.full(300, 4), False),
        (np.arange(300) % 3, False),
    ],
    ids=["negative", "uint8", "Int64", "floats", "constant", "three"],
)
def test_what_two_whole_numbers_are(column, has_levels, table):
    X = table.assign(extra=column)
    est = fitted(X, max_epochs=1, missing="available")
    assert ("extra" in est.categories_) == has_levels
    assert set(est.sample(20, random_state=0)[:, 3]) <= set(X["extra"].dropna()) or (
        X["extra"].dtype == float
    )


def test_whole_and_boolean_arrays():
    whole = np.column_stack([np.arange(60) % 5, np.arange(60) % 2])
    est = GraphGenerator([(0, 1)], max_epochs=1, random_state=0).fit(whole)
    assert list(est.categories_) == ["x1"]
    drawn = est.sample(50)
    assert drawn.dtype == np.float64
    assert np.array_equal(drawn, np.rint(drawn))
    assert np.array_equal(est.intervene({}, X=whole), whole)
    truth = whole > 0
    est.fit(truth)
    assert est.sample(5).dtype == bool
    assert np.array_equal(est.intervene({}, X=truth), truth)


@pytest.mark.parametrize("query", [{"n_samples": 40, "random_state": 0}, {"X": None}])
@pytest.mark.parametrize(
    ("change", "made"),
    [
        (2.5, lambda v: 2.5),
        (Do(25), lambda v: 25),
        (Do(0.25) >> Shift(0.5), lambda v: 0.75),
        (Resample([[1.5]]), lambda v: 1.5),
        (Shift(0.5), lambda v: v + 0.5),
        (Shift(1), lambda v: v + 1),
        (lambda v: 2 * v, lambda v: 2 * v),
    ],
    ids=["number", "Do", "composed", "Resample", "half", "one", "callable"],
)
def test_a_whole_column_that_is_set_has_what_was_asked_for(
    change, made, query, model, table
):
    query = {"X": table} if "X" in query else query
    before, after = model.intervene({"sold": change}, return_factual=True, **query)
    assert np.array_equal(before[:, 1], np.rint(before[:, 1]))
    expected = np.broadcast_to(made(before[:, 1]), len(after))
    assert np.array_equal(after[:, 1], expected)


def test_the_data_node_of_whole_numbers_has_what_was_asked_for(model, table):
    est = fitted(table[["price", "sold"]], EDGES[:1])
    for query in ({"X": table[["price", "sold"]]}, {"n_samples": 40}):
        query = {**query, "random_state": 0}
        moved = est.intervene({"data": Shift(0.25)}, **query)
        assert np.array_equal(moved[:, 1], est.intervene({}, **query)[:, 1] + 0.25)


def test_values_of_other_rows_are_whole(model, table):
    mixed = model.hybridise(table[:50], table[50:100], "sold", 0)
    assert np.array_equal(mixed[:, 1], table["sold"][50:100])
    drawn = Resample(model.node_values(table)["sold"])
    assert set(model.intervene({"sold": drawn}, X=table)[:, 1]) <= set(table["sold"])


def test_another_mechanism_still_gives_whole_numbers(model, table):
    other = clone(model).set_params(random_state=1).fit(table)
    drawn = model.intervene({"sold": SwapMechanism(other, "sold")}, n_samples=50)
    assert np.array_equal(drawn[:, 1], np.rint(drawn[:, 1]))


def test_children_see_what_the_model_gives_and_given_rows_stay(table):
    X = table.assign(total=2.0 * table["sold"])
    edges = [*EDGES, ("sold", "total")]
    est = fitted(X, edges)
    nodes = est.intervene({}, n_samples=40, random_state=0, return_nodes=True)[1]
    assert len(np.unique(nodes["sold"][0] % 1)) > 20
    # Values that the fit did not see, and that are not whole, are those of the rows.
    odd = X.assign(sold=X["sold"] + 30.25)
    assert np.array_equal(est.intervene({}, X=odd), odd)
    assert np.array_equal(est.intervene({"total": 0.0}, X=odd)[:, 1], odd["sold"])


def test_leaving_the_range_of_whole_numbers_is_warned_of(model, table):
    with (
        pytest.warns(ClippedInterventionWarning, match="made one of floats"),
        pytest.warns(FarInterventionWarning, match="'price' is 4.0 standard"),
    ):
        clipped = model.intervene({"price": lambda v: 0 * v - 4}, X=table)
    assert clipped[:, 1].max() == table["sold"].max()
    floats = fitted(table.astype({"sold": float}))
    assert floats.intervene({"price": -2.0}, X=table)[:, 1].max() > table["sold"].max()


def test_effects_on_whole_numbers_average_to_those_of_the_model(model, table):
    floats = fitted(table.astype({"sold": float}))
    query = {"node": "price", "a": 1.25, "b": 1.0, "target": "sold", "X": table}
    whole, exact = (average_effect(est, **query) for est in (model, floats))
    assert whole.low < exact.effect < whole.high
    # A change of all rows by less than 1/2 is no change of none.
    small = {**query, "a": Shift(0.05), "b": None, "target": "sold"}
    whole, exact = (average_effect(est, **small) for est in (model, floats))
    assert -0.2 < exact.effect < -0.05
    assert whole.low < exact.effect < whole.high < 0
    distinct = table.drop_duplicates()
    moved = model.intervene({"price": Shift(0.3)}, X=distinct)
    backwards = model.intervene({"price": Shift(0.3)}, X=distinct[::-1])
    assert np.array_equal(moved, backwards[::-1])


@pytest.mark.parametrize("dtype", ["int64", "uint8", "Int64", "UInt8"])
def test_frames_have_the_types_of_the_table(dtype, table):
    X = table.astype({"sold": dtype})
    est = fitted(X).set_output(transform="pandas")
    drawn = est.sample(30, random_state=0)
    assert drawn["sold"].dtype == dtype
    assert drawn["sale"].dtype == "int64"
    assert est.intervene({}, X=X)["sold"].equals(X["sold"])
    assert (est.intervene({"sold": 2.5}, n_samples=3)["sold"] == 2.5).all()
    assert (est.intervene({"sold": -1}, n_samples=3)["sold"] == -1).all()


# --------------------------------------------------------------------------- polars
def test_frames_of_polars_are_those_of_pandas(table):
    pl = pytest.importorskip("polars")
    names = np.array(["low", "middle", "high"])[table["sold"] % 3]
    truth = table["sold"] > 4
    columns = {name: table[name].to_numpy() for name in table}
    columns |= {
        "name": names.tolist(),
        "category": pl.Series(names.tolist(), dtype=pl.Categorical),
        "enum": pl.Series(names.tolist(), dtype=pl.Enum(["low", "middle", "high"])),
        "truth": truth.to_numpy(),
        "day": pl.Series([str(k) for k in table["sold"]]).cast(pl.Decimal(9, 2)),
    }
    frame = pl.DataFrame(columns)
    order = pd.CategoricalDtype(["low", "middle", "high"])
    X = table.assign(
        name=names,
        category=names,
        enum=pd.Series(names).astype(order),
        truth=truth,
        day=table["sold"].astype(float),
    )
    est = fitted(frame, [*EDGES, ("sold", "name"), ("sold", "enum")])
    same = fitted(X, [*EDGES, ("sold", "name"), ("sold", "enum")])
    assert {k: v.tolist() for k, v in est.categories_.items()} == {
        k: v.tolist() for k, v in same.categories_.items()
    }
    assert est.categories_["enum"].tolist() == ["low", "middle", "high"]
    assert np.array_equal(est.sample(30, 0), same.sample(30, 0))
    assert np.array_equal(est.score_samples(frame), same.score_samples(X))
    change = {"enum": "low", "truth": True}
    assert np.array_equal(est.intervene(change, X=frame), same.intervene(change, X=X))
    out = est.set_output(transform="polars").intervene({}, X=frame)
    assert isinstance(out, pl.DataFrame)
    assert out["sold"].dtype == pl.Int64
    assert out["truth"].dtype == pl.Boolean
    assert out["name"].to_list() == names.tolist()
    assert isinstance(est.set_output(transform="pandas").sample(3), pd.DataFrame)


def test_missing_entries_of_polars(table):
    pl = pytest.importorskip("polars")
    names = [None, *np.where(table["sold"] > 4, "many", "few")[1:].tolist()]
    lost = [None, *table["sold"].tolist()[1:]]
    truth = [None, *(table["sold"] > 4).tolist()[1:]]
    frame = pl.DataFrame({"sold": lost, "name": names, "truth": truth})
    est = fitted(frame, [("sold", "name")], missing="available", max_epochs=1)
    assert list(est.categories_) == ["name", "truth"]
    drawn = est.set_output(transform="polars").sample(20)
    assert drawn["sold"].dtype == pl.Int64
    assert set(drawn["name"]) <= {"many", "few"}
    with pytest.raises(ValueError, match="1 missing values in column 0"):
        fitted(frame)
