"""What a query of one row costs, and that its ways to the answer are one."""

import copy
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import FAMILIES, fitted_families
from torch import nn

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.models._state import in_double

RNG = np.random.default_rng(0)
GRAPH = [("a", "b"), ("a", "c"), ("b", "c"), ("b", "d"), ("c", "d"), ("d", "e")]
TABLE = pd.DataFrame(RNG.normal(size=(80, 5)), columns=list("abcde"))
LEVELS = TABLE.assign(
    b=np.where(TABLE.b > 0, "high", "low"), e=TABLE.e.gt(0).astype(str)
)
TABLES = {"numbers": TABLE, "levels": LEVELS}


@pytest.fixture(scope="module")
def models():
    est = GraphGenerator(GRAPH, mechanism="auto", max_epochs=1, random_state=0)
    return {name: copy.copy(est).fit(X) for name, X in TABLES.items()}


def n_calls(ask):
    """Number of calls of functions, which does not depend on what else runs."""
    count = 0

    def counted(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    ask()
    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        ask()
    finally:
        sys.setprofile(before)
    return count


# A module that is copied for a query takes 25,000 more.
@pytest.mark.parametrize(("name", "most"), [("numbers", 3500), ("levels", 5300)])
def test_one_row_is_answered_in_few_calls(models, name, most):
    row = TABLES[name].iloc[:1]
    assert n_calls(lambda: models[name].intervene({"c": 1.0}, X=row)) < most


def test_codes_do_not_depend_on_the_container(models):
    """Levels beside numbers become an array at once, beside others column by column."""
    others = {
        "object": LEVELS.astype(object),
        "nullable": LEVELS.assign(a=LEVELS.a.astype("Float64")),
        "array": LEVELS.to_numpy(object),
        "categories": LEVELS.assign(b=LEVELS.b.astype("category")),
    }
    asked = {"c": 1.0}
    expected = models["levels"].intervene(asked, X=LEVELS)
    for name, X in others.items():
        if name == "array":
            with pytest.warns(UserWarning, match="does not have valid feature names"):
                found = models["levels"].intervene(asked, X=X)
        else:
            found = models["levels"].intervene(asked, X=X)
        assert (found == expected).all(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_module_in_double_is_its_copy(family):
    model = fitted_families()[family]._fitted.model
    types = {k: v.dtype for k, v in model.state_dict().items()}
    made, copied = in_double(model), copy.deepcopy(model).double()
    skipped = tuple(f"{name}." for name in getattr(model, "for_training", ()))
    own = dict(model.state_dict(keep_vars=True))
    expected = copied.state_dict()
    assert made.state_dict().keys() == expected.keys()
    for name, value in made.state_dict().items():
        if skipped and name.startswith(skipped):
            assert value.data_ptr() == own[name].data_ptr()
            continue
        assert value.dtype == expected[name].dtype
        assert value.equal(expected[name])
        assert not value.requires_grad
    assert {k: v.dtype for k, v in model.state_dict().items()} == types


def test_modules_of_others_are_copied_as_a_whole():
    class Holds(nn.Module):
        """It keeps a layer where torch does not look, beside where it does."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.again = (self.layer,)

        def forward(self, x):
            return self.again[0](x)

    own = nn.Sequential(Holds(), nn.BatchNorm1d(2, affine=False)).eval()
    x = torch.ones(3, 2)
    found = in_double(own)(x.double())
    assert found.dtype == torch.float64
    assert torch.allclose(found.float(), own(x), atol=1e-6)
    assert own[0].layer.weight.dtype == torch.float32
