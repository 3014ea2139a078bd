"""Laws of the combined, scaled and rearranging interventions."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.interventions import (
    Ablate,
    Clip,
    Compose,
    Do,
    Permute,
    Scale,
    Shift,
    SignFlip,
    Stretch,
    Where,
)

CONTINUOUS = [
    Shift(2.0),
    Shift([[[1.0]], [[2.0]]]),
    Scale(0.5),
    Stretch(1.3),
    Stretch(0.7, axis="height"),
    Shift(1.0) >> Stretch(1.5),
    Where([[[True]], [[False]]], Scale(3.0)),
]
DISCRETE = [Do(1.0), Ablate(0), Clip(0, 1), Permute([1, 0]), SignFlip(1)]


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 2, 5, 7, generator=generator)


@pytest.mark.parametrize("intervention", CONTINUOUS + DISCRETE, ids=repr)
def test_value_object(intervention):
    copy = pickle.loads(pickle.dumps(intervention))
    assert copy == intervention
    assert hash(copy) == hash(intervention)
    assert eval(repr(intervention)) == intervention
    value = maps()
    intervention(value)
    assert torch.equal(value, maps())


@pytest.mark.parametrize("intervention", CONTINUOUS, ids=repr)
def test_strength_goes_from_nothing_to_the_intervention(intervention):
    assert torch.equal(intervention.scaled(0)(maps()), maps())
    assert torch.allclose(intervention.scaled(1)(maps()), intervention(maps()))


@pytest.mark.parametrize("intervention", DISCRETE, ids=repr)
def test_interventions_without_strength_say_so(intervention):
    with pytest.raises(TypeError, match="no strength"):
        intervention.scaled(0.5)


@pytest.mark.parametrize("t", [np.nan, np.inf, "1", True])
def test_strengths_must_be_finite_numbers(t):
    for intervention in CONTINUOUS:
        with pytest.raises(ValueError, match="finite number"):
            intervention.scaled(t)


def test_a_callable_has_no_strength():
    with pytest.raises(TypeError, match="callable has no strength"):
        Compose([Shift(1.0), torch.sin]).scaled(0.5)


@given(st.permutations(range(4)), st.integers(0, 99))
def test_permutations_invert(order, seed):
    value = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(seed))
    both = Permute(order) >> Permute(order).inverse()
    assert torch.equal(both(value), value)


def test_sign_flip_undoes_itself():
    assert torch.equal((SignFlip(0) >> SignFlip(0))(maps()), maps())


def test_composition_is_associative_and_ordered():
    a, b, c = Shift(1.0), Scale(2.0), Stretch(1.2)
    assert (a >> b) >> c == a >> (b >> c) == Compose([a, b, c])
    assert torch.equal((a >> b)(maps()), b(a(maps())))
    assert a >> b != b >> a


def test_where_leaves_the_other_places_alone():
    mask = maps(1)[0] > 0
    changed = Where(mask.numpy(), Do(5.0))(maps())
    assert torch.equal(changed[:, mask], torch.full_like(maps()[:, mask], 5.0))
    assert torch.equal(changed[:, ~mask], maps()[:, ~mask])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Compose([]), "non-empty"),
        (lambda: Where([1.0], Do(0.0)), "bool"),
        (lambda: Permute([0, 2]), "once"),
        (lambda: Permute("ab"), "once"),
        (lambda: Clip(1, 0), "low <= high"),
        (lambda: Clip("a", 0), "low <= high"),
        (lambda: SignFlip(-1), "non-negative"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    "intervention",
    [
        Permute([0, 1, 2]),
        SignFlip(2),
        Where(np.ones((3, 5, 7), bool), Do(0.0)),
        Shift(1.0) >> Permute([0, 1, 2]),
        Where(True, Ablate(2)),
    ],
    ids=repr,
)
def test_interventions_that_do_not_fit_a_node_are_refused(intervention):
    with pytest.raises(ValueError, match="node 'conv1'"):
        intervention.check("conv1", (2, 5, 7))
