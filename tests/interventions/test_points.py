"""What moves maps moves points: the same changes, of coordinates alone."""

import pytest
import torch
from torch import nn

from sklearn_icm.independence._generic import acts_on
from sklearn_icm.interventions import (
    Flip,
    Intervention,
    Rotate,
    Stretch,
    Translate,
    Units,
    families_for,
)
from sklearn_icm.mechanisms import MechanismGraph

GRID = 41, 33
ON_IMAGES = [
    Stretch(1.5),
    Stretch(0.7, "height", about=2.5),
    Translate(2.5),
    Translate(-3.0, "height"),
    Flip("height"),
    Flip(),
    Rotate(30),
    Rotate(-110, about=(2.0, -1.5)),
]


class Bumps(nn.Module):
    """Places to maps of one bump each, (n, maps, *grid)."""

    def __init__(self, grid):
        super().__init__()
        self.grid = grid

    def forward(self, places):
        maps = places.new_ones(places.shape[:2])
        for axis, size in enumerate(self.grid):
            pixels = torch.arange(size) - (size - 1) / 2
            profile = (-((pixels - places[..., axis, None]) ** 2) / 4.5).exp()
            between = [1] * axis
            maps = maps[..., None] * profile.view(*maps.shape[:2], *between, size)
        return maps


def placed(n_axes):
    """A graph whose node of points is its root."""
    return MechanismGraph(
        {"places": (3, n_axes)},
        {"data": ("places", Bumps(GRID[:n_axes]))},
        {"places": "points"},
    )


def centres(maps):
    """Centre of each map from the middle, (n, maps, axes)."""
    found = []
    for axis in range(2, maps.ndim):
        other = [k for k in range(2, maps.ndim) if k != axis]
        mass = maps.sum(other) if other else maps
        n = maps.shape[axis]
        found.append(mass @ (torch.arange(n) - (n - 1) / 2) / mass.sum(2))
    return torch.stack(found, -1)


@pytest.mark.parametrize("change", ON_IMAGES, ids=repr)
def test_points_go_where_a_map_goes(change):
    noise = {"places": 8 * torch.rand(4, 3, 2) - 4}
    graph = placed(2)
    moved = graph(noise, {"places": change})
    expected = centres(graph(noise, {"data": change})["data"])
    assert torch.allclose(moved["places"], expected, atol=0.02)


@pytest.mark.parametrize("change", [Stretch(1.5), Stretch(2, "length"), Translate(3)])
def test_points_of_signals_have_one_coordinate(change):
    noise = {"places": 8 * torch.rand(4, 3, 1) - 4}
    graph = placed(1)
    moved = graph(noise, {"places": change})["places"]
    expected = centres(graph(noise, {"data": change})["data"])
    assert torch.allclose(moved, expected, atol=0.02)


@pytest.mark.parametrize("change", ON_IMAGES, ids=repr)
def test_changes_of_points_invert_and_are_told_in_full(change):
    noise = {"places": torch.randn(4, 3, 2)}
    there = placed(2)(noise, {"places": change >> change.inverse()})["places"]
    assert torch.allclose(there, noise["places"], atol=1e-5)
    assert Intervention.from_dict(change.to_dict()) == change
    about = torch.tensor(getattr(change, "about", 0.0))
    assert ("about" in repr(change)) == bool(about.any())


def test_some_points_alone():
    noise = {"places": torch.randn(4, 3, 2)}
    moved = placed(2)(noise, {"places": Units([0, 2], Rotate(180))})["places"]
    assert torch.equal(moved[:, 1], noise["places"][:, 1])
    assert torch.allclose(moved[:, [0, 2]], -noise["places"][:, [0, 2]], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "n_axes", "match"),
    [
        (Stretch(1.5, "length"), 2, r"its axes are \['height', 'width'\]"),
        (Stretch(1.5, "width"), 1, r"its axes are \['length'\]"),
        (Rotate(10), 1, r"points \(n, 2\)"),
        (Translate(1, cyclic=True), 2, "not on a ring. Leave out cyclic"),
    ],
)
def test_what_does_not_fit_points_is_refused(change, n_axes, match):
    with pytest.raises(ValueError, match=match):
        placed(n_axes).check_interventions({"places": change})


def test_points_of_more_than_coordinates_have_no_axes():
    with pytest.raises(ValueError, match="it is not a map, its kind is 'points'"):
        Stretch(1.5).check("places", (3, 4), "points")


@pytest.mark.parametrize("about", [1.0, (1.0,), "middle"])
def test_a_place_to_rotate_about_is_a_pair(about):
    with pytest.raises(TypeError, match=r"about must be a pair \(down, right\)"):
        Rotate(10, about=about)


def test_families_fit_points():
    names = {family.name for family in families_for((6, 2), "points")}
    assert {"shift", "stretch_width", "translate_height", "rotate"} <= names
    assert "stretch_length" not in names


def test_generic_measures_change_points_as_vectors_alone():
    """They act outside of a query, where values go by their shape."""
    here = "places", (6, 1), "points"
    assert all(acts_on(group, *here) for group in ("scale", "shift", "permute"))
    assert not any(acts_on(group, *here) for group in ("stretch_length", Stretch(2.0)))
