import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.interventions import (
    Do,
    Intervention,
    Shift,
    Stretch,
    Units,
)
from sklearn_icm.interventions._base import (
    as_intervention,
    check_interventions,
)
from sklearn_icm.mechanisms import MechanismGraph


def test_equality_is_of_values_and_types():
    assert Do(1) == Do(1.0) == Do(np.array(1))
    assert Do(1.0) != Shift(1.0)
    assert Do([1.0, 2.0]) != Do([1.0, 3.0])
    assert Stretch(1.3, axis="width") != Stretch(1.3, axis="height")
    assert Units([1, 0], 0.0) == Units((1, 0, 1), Do(0))


def maps(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("intervention", [Do(0.5), Do([[1.0], [2.0]]), Units(1, 0.0)])
def test_hard_interventions_are_idempotent(intervention):
    once = intervention(maps((3, 2, 2, 2)))
    assert torch.equal(intervention(once), once)


@given(factor=st.floats(0.3, 4.0), n=st.integers(1, 12), seed=st.integers(0, 99))
def test_stretch_is_numpys_interpolation_inside_the_map(factor, n, seed):
    value = maps((1, 1, n), seed).double()
    centre = (n - 1) / 2
    source = centre + (np.arange(n) - centre) / factor
    inside = (source >= 0) & (source <= n - 1)
    expected = np.interp(source, np.arange(n), value[0, 0].numpy())
    stretched = Stretch(factor, axis="length")(value)[0, 0].numpy()
    assert np.allclose(stretched[inside], expected[inside], atol=1e-12)
    far = (source <= -1) | (source >= n)
    assert np.all(stretched[far] == 0)


@given(st.floats(1.0, 3.0))
def test_stretch_of_linear_ramps_composes_exactly(factor):
    ramp = torch.arange(-5.0, 6.0, dtype=torch.float64).reshape(1, 1, -1)
    there = Stretch(factor, axis="length")(ramp)
    assert torch.allclose(there, ramp / factor, atol=1e-12)


def test_stretch_axes_are_height_and_width():
    value = maps((2, 3, 5, 5))
    turned = Stretch(1.5, axis="height")(value.transpose(2, 3)).transpose(2, 3)
    assert torch.allclose(Stretch(1.5, axis="width")(value), turned, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Do(np.nan), ValueError, "Do: value must be finite, got nan"),
        (lambda: Shift("a"), TypeError, "Shift: value must be a number.*got 'a'"),
        (lambda: Stretch(0.0), ValueError, "factor must be positive and finite"),
        (lambda: Stretch(np.inf), ValueError, "factor must be positive and finite"),
        (lambda: Stretch("2"), TypeError, "factor must be a number, got '2'"),
        (lambda: Stretch(True), TypeError, "factor must be a number, got True"),
        (lambda: Stretch(2, axis="x"), ValueError, "axis must be one of.*got 'x'"),
        (lambda: Units([], 0.0), TypeError, "index must be a non-negative int"),
        (lambda: Units(-1, 0.0), TypeError, "index must be a non-negative int"),
        (lambda: Units(0.5, 0.0), TypeError, "index must be a non-negative int"),
    ],
)
def test_bad_parameters(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("intervention", "shape", "match"),
    [
        (Do([1.0, 2.0]), (3,), r"shape \(2,\) does not fit node 'a'.*\(3,\)"),
        (Units(4, 0.0), (4, 5), "unit 4 is out of range for node 'a', which has 4"),
        (Stretch(2.0), (4,), "it is not a map"),
        (Stretch(2.0, "width"), (4, 9), r"its axes are \['length'\]"),
        (Stretch(2.0, axis="length"), (4, 5, 5), r"axes are \['height', 'width'\]"),
    ],
)
def test_interventions_refuse_nodes_that_they_do_not_fit(intervention, shape, match):
    with pytest.raises(ValueError, match=match):
        check_interventions({"a": intervention}, {"a": shape})


def test_numbers_arrays_and_callables_are_wrapped():
    assert as_intervention(2) == Do(2.0)
    assert as_intervention(np.ones(3)) == Do([1.0, 1.0, 1.0])
    wrapped = as_intervention(torch.relu)
    assert isinstance(wrapped, Intervention)
    assert wrapped == as_intervention(torch.relu)
    assert wrapped == as_intervention(wrapped)


@pytest.mark.parametrize("value", ["x", None, True])
def test_other_things_are_refused(value):
    with pytest.raises(
        TypeError, match="must be an intervention, a callable, a number"
    ):
        as_intervention(value)


def test_interventions_must_be_a_dict():
    with pytest.raises(TypeError, match="must be a dict.*got list"):
        check_interventions([Do(1)], {"a": (2,)})


def changed(change, value):
    """Value of a node "a" with a change."""
    identity = {"a": ("noise", torch.nn.Identity())}
    graph = MechanismGraph({"noise": value.shape[1:]}, identity)
    return graph(value, {"a": change})["a"]


def test_callables_may_return_numpy_and_other_dtypes():
    value = maps((2, 3))
    result = changed(lambda v: (2 * v.numpy()).astype(np.float64), value)
    assert result.dtype == value.dtype
    assert torch.allclose(result, 2 * value)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda v: v[:1], "must return a tensor of the shape that it is given"),
        (lambda v: None, "got NoneType"),
        (lambda v: v / 0, "values that are not finite"),
    ],
)
def test_bad_results_of_callables(function, match):
    with pytest.raises(ValueError, match=f"on node 'a'.*{match}"):
        changed(function, maps((2, 3)))
