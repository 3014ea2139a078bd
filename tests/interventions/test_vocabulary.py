"""Laws of the combined, scaled and rearranging interventions."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.interventions import (
    Clip,
    Compose,
    Do,
    Flip,
    Intervention,
    Orthogonal,
    Permute,
    Rotate,
    Scale,
    Shift,
    Stretch,
    Translate,
    Units,
    Where,
)
from sklearn_icm.interventions._base import as_intervention

CONTINUOUS = [
    Shift(2.0),
    Shift([[[1.0]], [[2.0]]]),
    Scale(0.5),
    Stretch(1.3),
    Stretch(0.7, axis="height"),
    Translate(1.5),
    Rotate(20.0),
    Shift(1.0) >> Stretch(1.5),
    Where([[[True]], [[False]]], Scale(3.0)),
]
DISCRETE = [
    Do(1.0),
    Do([[[1.0]], [[2.0]]]),
    Units(0, 0.0),
    Units([1, 0], 0.0),
    Clip(0, 1),
    Permute([1, 0]),
    Flip(),
]


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 2, 5, 7, generator=generator)


@pytest.mark.parametrize("intervention", CONTINUOUS + DISCRETE, ids=repr)
def test_value_object(intervention):
    copy = pickle.loads(pickle.dumps(intervention))
    assert copy == intervention
    assert hash(copy) == hash(intervention)
    assert eval(repr(intervention)) == intervention != object()
    value = maps()
    intervention(value)
    assert torch.equal(value, maps())


@pytest.mark.parametrize("intervention", CONTINUOUS + DISCRETE, ids=repr)
def test_json_round_trip(intervention):
    text = json.dumps(intervention.to_dict())
    assert Intervention.from_dict(json.loads(text)) == intervention


def test_json_of_what_it_cannot_hold():
    with pytest.raises(TypeError, match="callable"):
        Compose([torch.sin]).to_dict()
    with pytest.raises(ValueError, match="type must be one of"):
        Intervention.from_dict({"type": "Stretchy", "factor": 2})


@given(shift=st.integers(-3, 3), axis=st.sampled_from(["height", "width"]))
def test_whole_translations_move_values_exactly(shift, axis):
    value = torch.nn.functional.pad(maps(), (4, 4, 4, 4))
    moved = Translate(shift, axis=axis)(value)
    assert torch.equal(moved, value.roll(shift, {"height": 2, "width": 3}[axis]))


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_quarter_turns_of_square_maps_are_exact_to_rounding(quarter):
    value = maps()[..., :5]
    turned = Rotate(90.0 * quarter)(value)
    assert torch.allclose(turned, torch.rot90(value, quarter, (2, 3)), atol=1e-5)


def test_flip_undoes_itself():
    assert torch.equal((Flip("height") >> Flip("height"))(maps()), maps())


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
        with pytest.raises(
            (TypeError, ValueError), match="t must be (a number|finite)"
        ):
            intervention.scaled(t)


def test_a_callable_has_no_strength():
    with pytest.raises(TypeError, match="has no strength: only continuous"):
        Compose([Shift(1.0), torch.sin]).scaled(0.5)


@given(st.permutations(range(4)), st.integers(0, 99))
def test_permutations_invert(order, seed):
    value = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(seed))
    both = Permute(order) >> Permute(order).inverse()
    assert torch.equal(both(value), value)


@given(shift=st.floats(-20, 20), n=st.integers(1, 6))
def test_cyclic_translations_wind_around(shift, n):
    """As reading a periodic line at any place."""
    value = torch.randn(1, 1, n, generator=torch.Generator().manual_seed(0)).double()
    moved = Translate(shift, axis="length", cyclic=True)(value)[0, 0]
    line = np.append(value[0, 0].numpy(), value[0, 0, 0])
    places = (np.arange(n) - shift) % n
    assert np.allclose(moved.numpy(), np.interp(places, np.arange(n + 1), line))


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
        (lambda: Flip("depth"), "axis must be one of"),
        (lambda: Rotate(np.nan), "finite"),
        (lambda: Translate(np.inf), "finite"),
        (lambda: Compose([]), "non-empty"),
        (lambda: Where([1.0], Do(0.0)), "bool"),
        (lambda: Permute([0, 2]), "once"),
        (lambda: Permute("ab"), "once"),
        (lambda: Clip(1, 0), "low <= high"),
        (lambda: Clip("a", 0), "low <= high"),
        (lambda: Clip(np.inf, np.inf), "low <= high"),
        (lambda: Stretch(1.5).scaled(1e5), r"1.5 \*\* t must be.*got inf for t=1"),
        (lambda: Stretch(1.5).scaled(-1e5), r"1.5 \*\* t must be.*got 0.0 for t=-1"),
        (lambda: Intervention.from_dict({"type": "Stretch"}), r"\['factor'\] are need"),
        (lambda: Intervention.from_dict({"type": ["Shift"]}), "type must be one of"),
        (
            lambda: Intervention.from_dict({"type": "MechanismIntervention"}),
            "got 'MechanismIntervention'",
        ),
        (
            lambda: Intervention.from_dict({"type": "StochasticIntervention"}),
            r"type must be one of \['Clip'.*\], got 'StochasticIntervention'",
        ),
        (lambda: Units(-1, 0.0), "non-negative"),
        (lambda: Translate(1, cyclic="no"), "cyclic must be True or False"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    "intervention",
    [
        Permute([0, 1, 2]),
        Units(2, 0.0),
        Where(np.ones((3, 5, 7), bool), Do(0.0)),
        Shift(1.0) >> Permute([0, 1, 2]),
        Where(True, Units(2, 0.0)),
        Flip("length"),
        Translate(1.0, "length"),
    ],
    ids=repr,
)
def test_interventions_that_do_not_fit_a_node_are_refused(intervention):
    with pytest.raises(ValueError, match="node 'conv1'"):
        intervention.check("conv1", (2, 5, 7))


def test_callables_inside_may_return_numpy():
    doubled = Compose([lambda v: 2 * v.numpy(), Shift(1.0)])(maps())
    assert torch.equal(doubled, 2 * maps() + 1)
    changed = Where(np.ones((5, 7), bool), lambda v: 2 * v.numpy().astype(float))
    assert torch.equal(changed(maps()), 2 * maps())


@pytest.mark.parametrize(
    "intervention", [Compose([lambda v: v[:1]]), Where(True, lambda v: v[:1])]
)
def test_callables_inside_must_keep_the_shape(intervention):
    with pytest.raises(ValueError, match=r"The intervention .*lambda.* must return"):
        intervention(maps())


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (5, "must be a dict"),
        ({}, "type must be one of"),
        ({"type": "Flip", "factor": 2}, r"fields of Flip are \['axis'\]"),
    ],
)
def test_wrong_descriptions_are_refused(description, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Intervention.from_dict(description)


@pytest.mark.parametrize(
    "change",
    [
        Shift([1.0, 2.0, 3.0]),
        Scale([0.5, 2.0, -1.0]),
        Permute([2, 0, 1]),
        Orthogonal(3),
        Units([0, 2], Scale(-1)),
        Shift(1.0) >> Scale(4.0) >> Permute([1, 2, 0]),
        Where([True, False, True], Scale(2.0)),
        Units([2, 0], Scale([2.0, 0.5]) >> Shift(3.0)),
    ],
    ids=repr,
)
def test_inverses_undo(change):
    value = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    undo = as_intervention(change).inverse()
    back = undo(change(value))
    assert torch.allclose(back, value, rtol=0, atol=1e-5)
    assert torch.allclose(change(undo(value)), value, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [Translate(2, "width"), Flip("height"), Stretch(2.0), Rotate(90)],
    ids=repr,
)
def test_inverses_undo_on_maps_that_are_smooth_and_empty_at_the_border(change):
    value = torch.zeros(1, 1, 9, 9)
    value[..., 4, 3:6] = torch.tensor([0.5, 1.0, 0.5])
    undo = as_intervention(change).inverse()
    assert torch.allclose(undo(change(value)), value, atol=1e-5)


@pytest.mark.parametrize(
    "clip", [Clip(0, np.inf), Clip(None, 1), Clip(-np.inf, None)], ids=repr
)
def test_no_limit_is_null_in_json(clip):
    described = json.dumps(clip.to_dict(), allow_nan=False)
    assert "null" in described
    assert Intervention.from_dict(json.loads(described)) == clip


@pytest.mark.parametrize(
    "neutral", [Shift(0.0), Shift([0.0, 1.0]), Translate(0.0), Rotate(0.0)], ids=repr
)
def test_there_is_one_zero(neutral):
    assert neutral.inverse().inverse() == neutral
    if not np.any(getattr(neutral, "value", 0)):
        assert neutral.inverse() == neutral
    assert Do(-0.0) == Do(0.0)
