"""Coloured shapes that move apart, hide each other, and keep their appearance."""

import numpy as np
import pytest

from sklearn_icm.datasets import make_shapes
from sklearn_icm.datasets._shapes import COLOURS

SHAPES = make_shapes(200, random_state=0)
NAMES = ("square", "diamond", "disc")


def images(rows):
    return rows.reshape(-1, *SHAPES.data_shape)


def shown(rows, k, brightness):
    """Pixels that have the colour of a shape, and no other's."""
    colour = brightness[:, None, None, None] * COLOURS[k]
    return np.abs(images(rows) - colour).max(-1) < 1e-6


@pytest.mark.parametrize("stretch", [1.0, 1.3, 1.7])
def test_shapes_move_and_keep_their_outline(stretch):
    rows, brightness = SHAPES.render(stretch), SHAPES.factors["brightness"]
    disc = shown(rows, 2, brightness)
    # In front of all others, it is seen as a whole.
    columns = (disc.sum(1) @ np.arange(24)) / disc.sum((1, 2))
    wanted = 11.5 + 24 * stretch * SHAPES.factors["disc_x"]
    assert np.allclose(columns, wanted, atol=0.5)
    widths = disc.any(1).sum(1)
    assert set(widths) <= {4, 5, 6}


def test_what_was_hidden_is_seen():
    brightness = SHAPES.factors["brightness"]
    hidden = [
        shown(SHAPES.render(stretch), 0, brightness).sum() for stretch in (1.0, 1.5)
    ]
    assert hidden[1] > 1.05 * hidden[0]


def test_the_background_does_not_move():
    corners = (slice(None), slice(None, 3), slice(None, 3))
    usual, moved = images(SHAPES.data)[SHAPES.pairs]
    assert np.array_equal(usual[corners], moved[corners])
    assert np.ptp(usual[corners], axis=(1, 2)).min() > 0
    level = SHAPES.factors["background"]
    assert np.allclose(usual[:, 0, 0, 0], level)


def test_values_sizes_and_bad_parameters():
    large = make_shapes(3, size=64, random_state=0)
    assert large.data_shape == (64, 64, 3)
    assert large.data.min() >= 0
    assert large.data.max() <= 1
    with pytest.raises(ValueError, match="size"):
        make_shapes(3, size=7)
    with pytest.raises(ValueError, match="stretch"):
        SHAPES.render(0)
