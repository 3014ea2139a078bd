"""Real glyphs side by side: images in which parts can move while strokes stay."""

from numbers import Integral

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import check_array

from ..utils.checks import check_scalar, new_stream
from ._worlds import check_number, make_world

__all__ = ["make_glyph_pairs"]

# Empty rows above and below.
MARGIN = 2
# In this order the glyphs of a pair are two of three.
SIDES = {"left": -1, "right": 1, "middle": 0}


def make_glyph_pairs(
    n_samples=1000,
    *,
    glyphs=None,
    n_glyphs=2,
    stretch=1.3,
    distance=(1.0, 1.35),
    random_state=None,
):
    """Pairs of glyphs on one canvas, in two environments of different distance.

    In the environment "narrow" the distance of the centres is drawn uniformly;
    in "wide" it is `stretch` times larger, and the glyphs are the same. Each row of
    "wide" is the counterfactual of one row of "narrow".

    Parameters
    ----------
    n_samples : int, default=1000
        Rows per environment.
    glyphs : array-like of shape (n_glyphs, height, width), default=None
        Images with a background of 0; None takes scikit-learn's 8 x 8 digits, scaled
        to [0, 1].
    n_glyphs : {2, 3}, default=2
        In a row; of three the middle one stays where it is.
    stretch : float, default=1.3
        Ratio of the distances in the two environments.
    distance : (float, float), default=(1.0, 1.35)
        Range of the distance of neighbours' centres in "narrow", in widths of a glyph.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    Bunch
        As :mod:`sklearn_icm.datasets` says, with ``data`` (2 * n_samples, n_features),
        "narrow" first; ``factors`` ``distance`` (of the centres, in pixels) and the
        indices ``left``, ``right`` (and ``middle``) of the glyphs, each (n_samples,);
        ``render(stretch=1.0)``, which draws the same glyphs at another ratio, as far
        as they fit on the canvas.

    Raises
    ------
    ValueError, TypeError
        For parameters outside their range.

    Notes
    -----
    Glyphs are placed at fractional positions by linear interpolation.

    Examples
    --------
    >>> pairs = make_glyph_pairs(10, random_state=0)
    >>> pairs.data.shape, pairs.data_shape
    ((20, 288), (12, 24))
    """
    if glyphs is None:
        glyphs = load_digits().images / 16
    glyphs = check_array(glyphs, allow_nd=True, ensure_2d=False, dtype=np.float64)
    if glyphs.ndim != 3:
        raise ValueError(
            f"glyphs must be (n_glyphs, height, width), got shape {glyphs.shape}."
        )
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(n_glyphs, "n_glyphs", Integral, min_val=2, max_val=3)
    stretch = check_number("stretch", stretch, 0)
    low, high = _check_range(distance)
    rng = new_stream(random_state)
    height, width = glyphs.shape[1:]
    sides = dict(list(SIDES.items())[:n_glyphs])
    drawn = rng.randint(len(glyphs), size=(n_glyphs, n_samples))
    which = dict(zip(sides, drawn, strict=True))
    gaps = width * rng.uniform(low, high, size=n_samples)
    widest = (n_glyphs - 1) * width * high * max(stretch, 1)
    # Room for a glyph and one pixel at both ends, in multiples of 4 so maps halve well.
    lengths = height + 2 * MARGIN, widest + width
    shape = tuple(-(-int(np.ceil(length)) // 4) * 4 for length in lengths)

    # A glyph may leave the canvas by less than half a pixel.
    largest = (shape[1] + 1 - width) / ((n_glyphs - 1) * gaps.max())

    def render(stretch=1.0):
        stretch = check_number("stretch", stretch, 0, closed="left")
        if stretch >= largest:
            raise ValueError(
                f"stretch must be less than {largest:.3g}, beyond which glyphs leave "
                f"the canvas, got {stretch!r}. Make the pairs with a larger stretch."
            )
        canvas = np.zeros((n_samples, *shape))
        top = (shape[0] - height) // 2
        for name, side in sides.items():
            offset = side * stretch * (n_glyphs - 1) * gaps / 2
            start = (shape[1] - 1) / 2 + offset - (width - 1) / 2
            rows = _placed(glyphs[which[name]], start, shape[1])
            canvas[:, top : top + height] += rows
        return np.clip(canvas, 0, glyphs.max()).reshape(n_samples, -1)

    return make_world(
        render,
        {"wide": {"stretch": stretch}},
        usual="narrow",
        data_shape=shape,
        factors={"distance": gaps, **which},
        DESCR=make_glyph_pairs.__doc__,
    )


def _check_range(distance):
    try:
        low, high = (float(end) for end in distance)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not 0 < low <= high < np.inf:
        raise ValueError(
            "distance must be (low, high) with 0 < low <= high, finite, got "
            f"{distance!r}."
        )
    return low, high


def _placed(images, start, width):
    """Rows of a canvas with each image's left edge at a fractional position."""
    n = images.shape[-1]
    # Weight of glyph column j at canvas column i: linear interpolation.
    offset = np.arange(width)[:, None] - np.arange(n) - start[:, None, None]
    weights = np.clip(1 - np.abs(offset), 0, None)
    return images @ weights.transpose(0, 2, 1)
