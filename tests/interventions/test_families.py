import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.interventions import (
    Do,
    InterventionFamily,
    Noise,
    Scale,
    Shift,
    Stretch,
    Translate,
    families_for,
)
from sklearn_icm.interventions._families import as_family

SHAPES = [(5,), (2, 12), (3, 8, 12)]
READY = [(family, shape) for shape in SHAPES for family in families_for(shape)]
READY_IDS = [f"{family.name}-{shape}" for family, shape in READY]
WIDER = InterventionFamily(
    partial(Stretch, axis="width"), {"factor": (0.5, 2.0)}, {"factor": 1.0}
)


@pytest.mark.parametrize(("family", "shape"), READY, ids=READY_IDS)
def test_neutral_is_the_identity_and_lies_in_the_bounds(family, shape):
    value = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(family(**family.neutral)(value), value)
    for name, (low, high) in family.bounds.items():
        assert low <= family.neutral[name] <= high


@pytest.mark.parametrize(("family", "shape"), READY, ids=READY_IDS)
@given(share=st.floats(0, 1))
def test_every_point_in_the_bounds_is_an_intervention_that_fits(family, shape, share):
    params = {k: low + share * (high - low) for k, (low, high) in family.bounds.items()}
    change = family(**params)
    change.check("node", shape)
    assert change(torch.ones(2, *shape)).shape == (2, *shape)


@pytest.mark.parametrize(("family", "shape"), READY, ids=READY_IDS)
def test_families_are_value_objects(family, shape):
    again = pickle.loads(pickle.dumps(family))
    assert again == family
    assert hash(again) == hash(family)
    assert as_family(family.name, shape) == family
    assert family.name in repr(family)
    others = [f for f in families_for(shape) if f.name != family.name]
    assert family not in others


def test_ready_families_fit_the_shape():
    names = [{f.name for f in families_for(shape)} for shape in SHAPES]
    anywhere = {"shift", "scale", "affine", "noise"}
    assert names[0] == anywhere
    assert names[1] == anywhere | {"stretch_length", "translate_length"}
    assert names[2] == anywhere | {"rotate"} | {
        f"{verb}_{axis}"
        for verb in ("stretch", "translate")
        for axis in ("width", "height")
    }


def test_translations_reach_a_quarter_of_the_axis():
    assert as_family("translate_width", (3, 8, 12)).bounds == {"offset": (-3, 3)}
    assert as_family("translate_height", (3, 8, 12)).bounds == {"offset": (-2, 2)}


@given(sd=st.floats(1e-3, 1e3))
def test_relative_parameters_are_in_standard_deviations(sd):
    affine = as_family("affine", (4,)).in_units(sd)
    assert affine.bounds == {"scale": (0, 3), "shift": (-3 * sd, 3 * sd)}
    assert affine.neutral == {"scale": 1, "shift": 0}
    assert affine.relative == ()
    assert affine.in_units(2.0) == affine


@pytest.mark.parametrize(
    "change", [Stretch(1.5), Shift([1.0, 2.0]), Scale(2.0), Noise(0.5), Translate(2)]
)
def test_a_continuous_intervention_is_the_family_of_its_strengths(change):
    family = as_family(change, (2,))
    assert list(family.bounds) == ["strength"]
    assert family(strength=1.0) == change
    assert family(strength=0.0) == change.scaled(0)
    assert family.neutral == {"strength": 0}
    assert pickle.loads(pickle.dumps(family)) == family


@pytest.mark.parametrize(("family", "shape"), READY, ids=READY_IDS)
def test_draws_lie_in_the_bounds_and_follow_their_generator(family, shape):
    family = family.in_units(2.0)
    generator = torch.Generator().manual_seed(0)
    drawn, again = (
        family.draw(shape, torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert drawn == again != family.draw(shape, generator)
    drawn.check("node", shape)


def test_relative_families_are_drawn_in_the_units_of_a_node():
    with pytest.raises(ValueError, match="draw from family.in_units"):
        as_family("shift", (2,)).draw((2,), torch.Generator())


def test_callables_are_families_too():
    double = InterventionFamily(lambda factor: lambda v: factor * v, {"factor": (0, 1)})
    double.check("node", (3,))
    assert double(factor=0.5)(torch.ones(1, 3)).tolist() == [[0.5] * 3]
    assert double.neutral is None


def test_a_family_refuses_a_node_that_it_does_not_fit():
    with pytest.raises(ValueError, match="does not fit node 'noise' of shape"):
        WIDER.check("noise", (5,))


def test_unknown_names_are_listed_and_corrected():
    message = r"Unknown family 'strech_width'.*'shift'.*mean 'stretch_width'\?"
    with pytest.raises(ValueError, match=message):
        as_family("strech_width", (2,))


@pytest.mark.parametrize("value", [3, None, Stretch])
def test_other_objects_are_no_family(value):
    with pytest.raises(TypeError, match="family must be an InterventionFamily"):
        as_family(value, (2,))


def test_an_intervention_without_strength_is_no_family():
    with pytest.raises(TypeError, match="has no strength"):
        as_family(Do(1.0), (2,))


@pytest.mark.parametrize("pair", [(2, 1), (1, 1), (0, np.inf), (0,), "01", (0, True)])
def test_bounds_must_be_low_and_high(pair):
    with pytest.raises(ValueError, match=r"bounds\['value'\] must be \(low, high\)"):
        InterventionFamily(Shift, {"value": pair})


@pytest.mark.parametrize("bounds", [{}, None, [("value", (0, 1))]])
def test_bounds_must_be_a_dict(bounds):
    with pytest.raises(TypeError, match="bounds must be a non-empty dict"):
        InterventionFamily(Shift, bounds)


def test_make_must_be_a_callable():
    with pytest.raises(TypeError, match="make must be a callable"):
        InterventionFamily(3, {"value": (0, 1)})


@pytest.mark.parametrize("neutral", [{}, {"factor": 0}, {"value": np.nan}, 0.0])
def test_neutral_must_name_every_parameter(neutral):
    with pytest.raises(ValueError, match="neutral must be None or a dict"):
        InterventionFamily(Shift, {"value": (0, 1)}, neutral)


@pytest.mark.parametrize("relative", [["factor"], "value"])
def test_relative_must_name_parameters(relative):
    with pytest.raises(ValueError, match="relative must be a sequence of names"):
        InterventionFamily(Shift, {"value": (0, 1)}, relative=relative)
