"""Laws that hold in every family: of parameters, of rows, and of what comes out."""

import copy
from functools import partial
from numbers import Integral, Real

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from helpers import TABLE
from numpy.testing import assert_array_equal
from torch.utils.data import DataLoader, Dataset, TensorDataset

from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
    _fixed,
)

QUICK = {
    VAEGenerator: {"hidden": (8,), "n_latents": 4, "max_epochs": 2, "batch_size": 16},
    GraphGenerator: {"graph": [(0, 1)], "n_units": 4, "max_epochs": 2},
    FixedGenerator: {"noise_std": 0.3},
    ChainGenerator: {"kind": "conv", "kernel_size": 2, "max_iter": 3},
}


def quick(family, **params):
    return family(**{**QUICK[family], "random_state": 0, **params})


@pytest.fixture(scope="module")
def fitted():
    return {family: quick(family).fit(TABLE) for family in QUICK}


families = pytest.mark.parametrize("family", QUICK, ids=lambda f: f.__name__)


# ----------------------------------------------------------------- parameters
def numeric_parameters(family):
    """``{parameter: kind of number}`` of every constraint that is an interval."""
    return {
        name: constraint.type
        for name, constraints in family._parameter_constraints.items()
        for constraint in constraints
        if hasattr(constraint, "closed")
    }


@pytest.mark.parametrize("whole", [np.int64, np.uint8])
@families
def test_numbers_of_numpy_are_numbers(family, whole):
    given, kinds = quick(family).get_params(), numeric_parameters(family)
    defaults = {Integral: 16, Real: 0.25}
    numbers = {
        name: given[name] if isinstance(given[name], (int, float)) else defaults[kind]
        for name, kind in kinds.items()
    }
    numpys = {
        name: (whole if kinds[name] is Integral else np.float64)(value)
        for name, value in numbers.items()
    }
    expected = quick(family, **numbers).fit(TABLE).sample(3, 0)
    model = quick(family, **numpys).fit(TABLE)
    assert_array_equal(model.sample(3, 0), expected)
    assert model.partial_fit(TABLE).sample(3).shape == (3, 4)


@pytest.mark.parametrize("wrong", [True, np.True_])
@families
def test_booleans_are_no_numbers(family, wrong):
    for name in numeric_parameters(family):
        with pytest.raises(ValueError, match=f"The '{name}' parameter of .* Got"):
            quick(family, **{name: wrong}).fit(TABLE)


@families
def test_counts_in_questions(family, fitted):
    model = fitted[family]
    expected = model.sample(200, random_state=0)
    assert_array_equal(model.sample(np.uint8(200), random_state=0), expected)
    questions = [
        lambda: model.sample(True),
        lambda: model.intervene({}, n_samples=True),
        lambda: model.node_values(n_samples=True),
        lambda: model.abduct(TABLE, max_steps=True),
        lambda: model.abduct(TABLE, tol=True),
        lambda: model.independence(n_draws=True),
        lambda: model.influence_map(next(iter(model.nodes_)), 0, n_samples=True),
    ]
    for ask in questions:
        with pytest.raises(TypeError, match=r"must be an? \w+, not a bool, got True"):
            ask()


# ----------------------------------------------------------------------- rows
class Images(Dataset):
    """As torchvision has them; numpy would ask for items for ever."""

    def __len__(self):
        return len(TABLE)

    def __getitem__(self, index):
        return torch.tensor(TABLE[index % len(TABLE)]), 0


class Duck:
    __len__, __getitem__ = Images.__len__, Images.__getitem__


ROWS = TABLE[:6]
FRAME = pd.DataFrame(TABLE, columns=list("abcd"))
NO_ROWS = {
    "dataset": (Images(), r"Images. Give np.stack"),
    "tensors": (TensorDataset(torch.tensor(TABLE)), r"TensorDataset. Give np.stack"),
    "loader": (DataLoader(Images()), r"DataLoader. Give np.concatenate"),
    "duck": (Duck(), r"Duck. Give an array.*list\(X\)"),
    "generator": ((row for row in TABLE), r"generator. Give an array.*list\(X\)"),
    "series": (FRAME.iloc[0], r"Series. Give X.to_frame\(\).T for one row"),
    "dict": (dict(FRAME.iloc[0]), r"dict. Give pandas.DataFrame\(\[X\]\) for one row"),
    "records": (FRAME.to_dict("records"), r"list. Give pandas.DataFrame\(X\)"),
    "sparse": (scipy.sparse.csr_array(TABLE), r"csr_array. Give X.toarray\(\)"),
}
VERBS = {
    "fit": lambda m, X: m.fit(X),
    "partial_fit": lambda m, X: m.partial_fit(X),
    "fit some": lambda m, X: m.set_params(observational=0).fit(X, np.zeros(6)),
    "intervene": lambda m, X: m.intervene({}, X=X),
    "abduct": lambda m, X: m.abduct(X),
    "node_values": lambda m, X: m.node_values(X),
    "independence": lambda m, X: m.independence(X, n_draws=0),
    "hybridise": lambda m, X: m.hybridise(X, ROWS, next(iter(m.nodes_)), 0),
    "hybridise from": lambda m, X: m.hybridise(ROWS, X, next(iter(m.nodes_)), 0),
    "influence_map": lambda m, X: m.influence_map(next(iter(m.nodes_)), 0, X),
    "support": lambda m, X: m.support({}, X),
    "was_fitted_on": lambda m, X: m.was_fitted_on(X),
    "transform": lambda m, X: m.transform(X),
    "inverse_transform": lambda m, X: m.inverse_transform(X),
    "score_samples": lambda m, X: m.score_samples(X),
    "score": lambda m, X: m.set_params(observational=0).score(X, np.zeros(6)),
}


def verbs_of(model):
    def asked(X, verb):
        # What a fit sets is set here; a copy would build the module again.
        other = object.__new__(type(model))
        vars(other).update(vars(model))
        return verb(other, X)

    for name, verb in VERBS.items():
        if hasattr(model, name) or " " in name:
            yield partial(asked, verb=verb)


@families
def test_what_holds_no_rows_is_refused_with_advice(family, fitted):
    for verb in verbs_of(fitted[family]):
        for X, match in NO_ROWS.values():
            with pytest.raises(TypeError, match=match):
                verb(X)


DIGITS = (9 * ROWS).astype(int).astype(str)
TEXT = {
    "array": DIGITS,
    "bytes": DIGITS.astype(bytes),
    "objects": DIGITS.astype(object),
    "frame": FRAME[:6].assign(a=DIGITS[:, 0]),
    "categories": FRAME[:6].assign(a=pd.Categorical(DIGITS[:, 0])),
    "mixed": FRAME[:6].assign(a=[1.0, 2, 3, 4, 5, "6"]),
    "list": DIGITS.tolist(),
}


@pytest.mark.parametrize("X", TEXT.values(), ids=TEXT)
@families
def test_text_of_digits_is_refused_by_column(family, X, fitted):
    name = "'a'" if hasattr(X, "columns") else "0"
    match = f"Column {name} of X holds text, such as .*astype.float.*GraphGenerator"
    questions = [lambda: quick(family).fit(X)]
    if not hasattr(X, "columns"):
        questions.append(lambda: fitted[family].intervene({}, X=X))
    if family is GraphGenerator:
        # There text has levels.
        questions = questions[1:]
    for ask in questions:
        with pytest.raises(ValueError, match=match):
            ask()


DATES = pd.DataFrame({"at": pd.date_range("2020", periods=6)})


@pytest.mark.parametrize(
    "X",
    [DATES, DATES.to_numpy(), DATES - DATES.min(), DATES.assign(b=1.0)],
    ids=["frame", "array", "differences", "mixed"],
)
@families
def test_times_are_refused_by_column(family, X):
    name = "'at'" if hasattr(X, "columns") else "['0]+"
    with pytest.raises(ValueError, match=f"Column {name} must hold numbers .*seconds"):
        quick(family).fit(X)


@families
def test_objects_that_are_numbers_are_numbers(family, fitted):
    expected = fitted[family].abduct(ROWS).noise
    assert_array_equal(fitted[family].abduct(ROWS.astype(object)).noise, expected)


@pytest.mark.parametrize("X", [TEXT["objects"], TEXT["array"]], ids=["objects", "str"])
def test_text_of_digits_has_levels_in_a_graph(X):
    drawn = quick(GraphGenerator).fit(X).sample(5)
    assert set(drawn[:, 0]) <= set(X[:, 0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@families
def test_tensors_are_rows(family, dtype, fitted, monkeypatch):
    monkeypatch.setattr(_fixed, "MOST_STEPS", 5)
    tensor = torch.tensor(ROWS, dtype=dtype, requires_grad=True)
    rows = tensor.detach().double().numpy().astype(np.float32)
    if dtype == torch.float64:
        rows = ROWS
    for verb in verbs_of(fitted[family]):
        found, expected = verb(tensor), verb(rows)
        if isinstance(expected, np.ndarray):
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rows_with_levels_and_gaps_are_recognised():
    rows = FRAME.assign(d=np.where(FRAME["d"] > 0.5, "high", "low"))
    rows.loc[3, "a"] = np.nan
    model = quick(GraphGenerator, missing="available").fit(rows)
    assert model.was_fitted_on(rows)
    assert not model.was_fitted_on(rows[::-1])
    assert not model.was_fitted_on(rows[:10])


# --------------------------------------------------------------- what comes out
@families
@pytest.mark.parametrize("unit", [1e-40, 1e-42])
def test_units_that_float32_does_not_have(family, unit):
    rows = TABLE * [1.0, unit, 1.0, 1.0]
    if family is ChainGenerator:
        assert np.isfinite(quick(family).fit(rows).sample(5)).all()
        return
    with pytest.raises(ValueError, match="Column 1 of X varies by .*StandardScaler"):
        quick(family).fit(rows)
    frame = pd.DataFrame(rows, columns=list("abcd"))
    with pytest.raises(ValueError, match="Column 'b' of X varies by"):
        quick(family).fit(frame)
    if family is GraphGenerator:
        frame.iloc[0, 0] = np.nan
        with pytest.raises(ValueError, match="Column 'b' of X varies by"):
            quick(family, missing="available").fit(frame)


@families
def test_answers_are_finite_or_refused(family, fitted):
    model = fitted[family]
    match = "NaN or infinite: noise or an intervention is so large"
    for number in (np.nan, np.inf):
        abducted = model.abduct(TABLE[:3])
        abducted.noise[1, 0] = number
        with pytest.raises(ValueError, match=match):
            model.intervene({}, X=TABLE[:3], abduction=abducted)
    if hasattr(model, "inverse_transform"):
        with pytest.raises(ValueError, match=match):
            model.inverse_transform(np.full((1, 4), 1e40))


@families
def test_copies_draw_alike_without_seeds_and_differ_with_spawned_ones(family, fitted):
    copies = [copy.deepcopy(fitted[family]) for _ in range(3)]
    alike = [model.sample(2).tobytes() for model in copies]
    assert len(set(alike)) == 1
    seeds = [s.generate_state(1)[0] for s in np.random.SeedSequence(0).spawn(3)]
    own = [m.sample(2, s).tobytes() for m, s in zip(copies, seeds, strict=True)]
    assert len(set(own)) == 3


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, int])
@families
def test_dtype_of_samples(family, dtype):
    drawn = quick(family).fit((9 * TABLE).astype(dtype)).sample(2)
    assert drawn.dtype == (np.float32 if dtype == np.float32 else np.float64)
