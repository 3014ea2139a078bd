"""A change of the unit of a column changes no answer about a table."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.generators import FixedGenerator, GraphGenerator
from sklearn_icm.interventions import Shift, Units
from sklearn_icm.metrics import (
    column_units,
    counterfactual_errors,
    energy_distance,
    extrapolation_skill,
    make_extrapolation_scorer,
    mmd2,
    precision_recall_density_coverage,
    refit_agreement,
    skill_interval,
    sliced_wasserstein,
    two_sample_test,
)
from sklearn_icm.model_selection import fit_intervention
from sklearn_icm.utils.units import row_units

# An income, a rate, and an environment in which the rate has moved by three sd.
SCALES = np.array([20_000.0, 0.1])
RNG = np.random.RandomState(0)
SEEN = np.array([50_000.0, 0.3]) + SCALES * RNG.randn(200, 2)
MOVED = SCALES * [0, 3] + np.array([50_000.0, 0.3]) + SCALES * RNG.randn(200, 2)
LABELS = np.repeat(["seen", "moved"], 200)


def model(scale=1.0):
    return FixedGenerator(bounds=None, random_state=0).fit(SEEN * scale)


def skill(amount, scale=1.0, **params):
    scorer = make_extrapolation_scorer(
        {"moved": {"noise": Units(1, Shift(amount))}},
        observational="seen",
        **{"baseline": "identity", **params},
    )
    return scorer(model(scale), np.concatenate([SEEN, MOVED]) * scale, LABELS)


@pytest.mark.parametrize("distance", ["transport", "energy", "mmd"])
def test_truth_nothing_and_the_opposite_are_told_apart(distance):
    assert skill(3.0, distance=distance) > 0.85
    assert abs(skill(0.0, distance=distance)) < 0.15
    # The kernel of mmd saturates.
    assert skill(-3.0, distance=distance) < (0 if distance == "mmd" else -0.5)


def test_one_unit_and_given_ones_are_for_who_asks_for_them():
    def units_of(**params):
        scorer = make_extrapolation_scorer(
            {"moved": {}}, observational="seen", **params
        )
        rows = np.concatenate([SEEN, MOVED])
        return scorer.predictions(model(), rows, LABELS)[0].units

    assert units_of() == pytest.approx(SCALES, rel=0.2)
    assert units_of(units="common") == 1
    assert units_of(units=[2.0, 3.0]).tolist() == [2, 3]
    # A callable gets the rows as they are.
    assert units_of(distance=energy_distance) == 1
    image = FixedGenerator(data_shape=(1, 2), random_state=0).fit(SEEN)
    assert row_units(image, SEEN) == 1


def answers(scale):
    """Numbers of everything that takes a distance of a table."""
    est, quick = model(scale), {"n_samples": 60, "n_bootstrap": 20, "random_state": 0}
    seen, moved = SEEN[:30] * scale, MOVED[:30] * scale
    change = {"noise": Units(1, Shift(3.0))}
    scorer = make_extrapolation_scorer({"moved": change}, observational="seen")
    report = scorer.report(
        est,
        np.concatenate([seen, moved]),
        np.repeat(["seen", "moved"], 30),
    ).table_
    other = FixedGenerator(bounds=None, random_state=0).fit(SEEN[:50] * scale)
    agreement = refit_agreement([est, other], seen, change)
    family = Units(1, Shift(1.0))
    found = fit_intervention(est, family.scaled(4.0), moved, "noise", **quick)
    return {
        "skill": skill(2.0, scale),
        "report": report[["skill", "low", "high", "noise_floor"]].to_numpy(),
        "agreement": agreement.table_[["distance", "floor"]].to_numpy(),
        "fit": [found.low["strength"], found.high["strength"]],
        "judged": found.table_[["distance", "skill", "gain_se"]].to_numpy(),
        "axioms": counterfactual_errors(est, seen, change).table_.to_numpy(),
    }


@pytest.fixture(scope="module")
def reference():
    return answers(np.ones(2))


@pytest.mark.parametrize("scale", [[1e-4, 1.0], [0.01, 100.0]])
def test_units_of_columns_change_nothing(reference, scale):
    for name, values in answers(np.array(scale)).items():
        assert values == pytest.approx(reference[name], rel=0.02, abs=2e-3), name


def test_a_level_weighs_what_a_number_of_two_values_weighs():
    rng = np.random.RandomState(0)
    treated = rng.rand(100) < 0.3
    income = 20_000 * rng.randn(100)
    X = pd.DataFrame({"income": income, "treated": np.where(treated, "yes", "no")})
    est = GraphGenerator(max_epochs=1, random_state=0).fit(X)
    numbers = np.column_stack([income, treated, treated])
    numbers[:, 1:] = np.sqrt(0.5) * np.column_stack([~treated, treated])
    units = row_units(est, numbers)
    assert units[0] == pytest.approx(column_units(income[:, None])[0])
    assert units[1] == pytest.approx(np.sqrt(treated.mean() * (1 - treated.mean())))
    assert units[1] == units[2] == pytest.approx(column_units(treated[:, None])[0])


def test_constant_columns_are_named():
    X = pd.DataFrame({"a": np.arange(50.0), "b": 7.0})
    est = FixedGenerator(bounds=None, random_state=0).fit(X)
    moved = X.assign(b=X["a"])
    labels = np.repeat(["seen", "moved"], 50)
    scorer = make_extrapolation_scorer({"moved": {}}, observational="seen")
    with pytest.warns(UserWarning, match=r"columns \['b'\] are constant"):
        scorer(est, pd.concat([X, moved]), labels)


@given(
    scale=st.floats(1e-6, 1e6),
    tail=st.floats(1e3, 1e12),
    kind=st.sampled_from(["normal", "ties", "binary", "rare"]),
)
def test_units_scale_with_the_column_and_survive_its_tails(scale, tail, kind):
    rng = np.random.RandomState(0)
    column = {
        "normal": rng.randn(200),
        "ties": np.maximum(rng.randn(200), 0),
        "binary": rng.rand(200) < 0.5,
        "rare": rng.rand(200) < 0.02,
    }[kind][:, None].astype(float)
    (unit,) = column_units(column)
    assert unit > 0
    assert column_units(scale * column + 3 * scale) == pytest.approx(scale * unit)
    if kind in {"binary", "rare"}:
        assert unit == pytest.approx(column.std())
    if kind == "normal":
        spoilt = np.concatenate([column, [[tail]] * 5])
        assert column_units(spoilt)[0] == pytest.approx(unit, rel=0.1)


BARE = {
    "energy": energy_distance,
    "mmd": mmd2,
    "wasserstein": sliced_wasserstein,
    "test": lambda *X, **p: two_sample_test(*X, n_permutations=9, **p).value,
    "prdc": lambda *X, **p: precision_recall_density_coverage(*X, **p)["density"],
    "skill": lambda X, Y, **p: extrapolation_skill(X, X[::-1] + 1, Y, **p),
    "interval": lambda X, Y, **p: skill_interval(X, X[::-1] + 1, Y, **p).skill,
}


@pytest.mark.parametrize("name", BARE)
def test_bare_functions_divide_by_the_units_that_they_are_given(name):
    X, Y = RNG.randn(30, 2), RNG.randn(30, 2) + 2
    units = np.array([1.0, 8.0])
    given = BARE[name](X, Y, units=units)
    if name in {"skill", "interval"}:
        assert np.isfinite(given)
        assert given != BARE[name](X, Y)
    else:
        assert given == pytest.approx(BARE[name](X / units, Y / units))
    with pytest.raises(ValueError, match="units must have a positive number for each"):
        BARE[name](X, Y, units=[1.0, 2.0, 3.0])


@pytest.mark.parametrize("units", ["rows", [1.0, 0.0], [1.0, np.nan], None, 2.0])
def test_bad_units(units):
    with pytest.raises(ValueError, match="units must be one of"):
        make_extrapolation_scorer({"a": {}}, observational="b", units=units)
    with pytest.raises(ValueError, match="units must be one of"):
        fit_intervention(model(), Shift(1.0), SEEN, units=units)
