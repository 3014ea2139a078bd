"""Interventions as nobody should write them: refused by name, and at once."""

import math
import time

import numpy as np
import pytest
import torch
from helpers import EDGES, TABLE, graph_table, small
from torch import Tensor

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.interventions import (
    Clip,
    Compose,
    Do,
    Intervention,
    InterventionFamily,
    Noise,
    Reparametrise,
    Resample,
    Rotate,
    Scale,
    Shift,
    Stretch,
    Translate,
    Units,
    Where,
)
from sklearn_icm.interventions._base import check_interventions

HUGE = 10**400


@pytest.fixture(scope="module")
def table():
    return small(bounds=None).fit(TABLE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Do(HUGE), "Do: value must be finite"),
        (lambda: Do([1, -HUGE]), "Do: value must be finite"),
        (lambda: Shift(HUGE), "Shift: value must be finite"),
        (lambda: Scale(HUGE), "Scale: value must be finite"),
        (lambda: Clip(0, HUGE), "Clip: low and high must be numbers"),
        (lambda: Noise(HUGE), "Noise: scale must be finite"),
        (lambda: Stretch(HUGE), "Stretch: factor must be positive and finite"),
        (lambda: Rotate(HUGE), "Rotate: degrees must be finite"),
        (lambda: Translate(HUGE), "Translate: offset must be finite"),
        (lambda: Resample([[HUGE]]), "Resample: from_ must be finite"),
        (lambda: Reparametrise([[HUGE]]), "Reparametrise: matrix must be finite"),
        (lambda: Where(True, HUGE), "Do: value must be finite"),
        (lambda: Units(0, HUGE), "Do: value must be finite"),
        (lambda: Shift(1.0).scaled(HUGE), "t must be finite"),
        (lambda: InterventionFamily(Shift, {"value": (0, HUGE)}), "bounds"),
    ],
)
def test_integers_beyond_floats_are_not_finite(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_limits_beyond_float32_are_none(dtype):
    value = torch.tensor([[-3.0, 0.5, 3e38]], dtype=dtype)
    assert torch.equal(Clip(-1e40, 1e40)(value), value)
    assert torch.equal(Clip(None, 1.0)(value), value.clamp(max=1.0))
    assert torch.equal(Clip(-1e40, 1)(value), value.clamp(max=1.0))


def test_an_unknown_node_is_named_before_what_is_done_to_it():
    for change in ("pro", None, Do, Do([1.0, 2.0, 3.0])):
        with pytest.raises(ValueError, match="Unknown node 'plann'.*mean 'plan'"):
            check_interventions({"plann": change}, {"plan": (1,)})
    graph = GraphGenerator(EDGES, max_epochs=1, random_state=0).fit(graph_table(40))
    for change in ("pro", None, Do, 0.5):
        with pytest.raises(ValueError, match="Unknown node 'casue'.*mean 'cause'"):
            graph.intervene({"casue": change}, n_samples=2)


# ---------------------------------------------------------- descriptions as JSON
def nested(depth):
    description = {"type": "Do", "value": 0.0}
    for _ in range(depth):
        description = {"type": "Units", "index": [0], "then": description}
    return description


def in_row(n):
    return {"type": "Compose", "steps": [{"type": "Shift", "value": 1.0}] * n}


@pytest.mark.parametrize(
    "description",
    [nested(900), nested(50), in_row(10**5), in_row(1000)],
    ids=["deep", "just too deep", "long", "just too long"],
)
def test_descriptions_that_are_too_large_are_refused_at_once(description):
    start = time.perf_counter()
    with pytest.raises(ValueError, match="may nest 50 deep and hold 1000 interv"):
        Intervention.from_dict(description)
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("description", [nested(49), in_row(999)])
def test_large_descriptions_are_read(description):
    made = Intervention.from_dict(description)
    assert Intervention.from_dict(made.to_dict()) == made


def test_a_class_of_the_name_of_ours_is_not_taken_for_it():
    from dataclasses import dataclass

    @dataclass(frozen=True, eq=False)
    class Scale(Intervention):
        value: float

        def __call__(self, value: Tensor, here: object = None) -> Tensor:
            return value - self.value

    ours = Intervention.from_dict({"type": "Scale", "value": 2.0})
    assert type(ours).__module__.startswith("sklearn_icm")
    for holder in (lambda x: x, lambda x: Units(0, x), lambda x: Compose([x])):
        with pytest.raises(
            TypeError, match=r"Scale cannot .*Scale has its name. Rename"
        ):
            holder(Scale(2.0)).to_dict()


def test_a_class_that_a_notebook_defines_again_is_described():
    from dataclasses import dataclass

    def cell():
        @dataclass(frozen=True, eq=False)
        class OfANotebook(Intervention):
            value: float

            def __call__(self, value: Tensor, here: object = None) -> Tensor:
                return value - self.value

        return OfANotebook

    first, second = cell()(1.0), cell()(1.0)
    assert first.to_dict() == second.to_dict()
    assert type(Intervention.from_dict(first.to_dict())) is type(second)


# ------------------------------------------------------ callables of one number
@pytest.mark.parametrize(
    "change",
    [
        lambda v: 1.0 if v > 0 else 0.0,
        lambda v: max(v, 0.0),
        lambda v: float(v),
        lambda v: math.exp(v),
        lambda v: 1.0 if v.numpy() > 0 else 0.0,
        lambda v: int(v.numpy().item()),
        lambda v: v if bool(np.asarray(v) > 0) else -v,
    ],
)
def test_a_callable_that_asks_for_one_number_is_told_of_the_rows(table, change):
    for wrapped in (change, Compose([change]), Units([0, 1], change)):
        with pytest.raises(ValueError, match="all rows at once.*torch.where"):
            table.intervene({"dense1": wrapped}, n_samples=3)


def test_one_row_of_one_number_is_not_another_case():
    with pytest.raises(ValueError, match="got float. A callable gets .* all rows"):
        Units(0, lambda v: 1.0 if v > 0 else 0.0)(torch.ones(1, 2))


def test_other_errors_of_a_callable_are_its_own(table):
    with pytest.raises(AttributeError, match="no_such"):
        table.intervene({"dense1": lambda v: v.no_such}, n_samples=3)
    with pytest.raises(RuntimeError, match="size of tensor"):
        table.intervene({"dense1": lambda v: v + torch.ones(9)}, n_samples=3)
