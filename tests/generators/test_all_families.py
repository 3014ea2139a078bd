"""Laws that hold in every family: of parameters, of rows, and of what comes out."""

import copy
from numbers import Integral, Real

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from helpers import TABLE
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from torch.utils.data import DataLoader, Dataset, TensorDataset

from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
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
        if hasattr(constraint, "closed") and name in family().get_params()
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
VERBS = [
    *("transform", "inverse_transform", "score_samples", "score"),
    *("abduct", "node_values", "independence"),
]


@pytest.mark.parametrize("verb", VERBS)
@families
def test_verbs_need_a_fit(family, verb):
    model = quick(family)
    if hasattr(model, verb):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(model, verb)(TABLE)


@families
def test_noise_goes_there_and_back_by_name(family, fitted):
    model = copy.deepcopy(fitted[family]).set_output(transform="pandas")
    noise = model.transform(FRAME.to_numpy())
    assert list(noise) == list(model.get_feature_names_out())
    assert np.allclose(noise, fitted[family].transform(TABLE))
    means = fitted[family].intervene({}, X=TABLE, residual="drop")
    assert np.allclose(model.inverse_transform(noise), means, atol=0.01)
