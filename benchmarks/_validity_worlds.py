"""Worlds of `score_validity.py`: for design, for judging, and twins of a judged one."""

from functools import partial
from pathlib import Path

from _validity_cells import Sources, make_cell
from _validity_images import (
    clothes_pairs,
    conv_chain,
    faces,
    glyph_pairs,
    hair,
    packets,
    pulses,
    raised_digits,
    two_balls,
)
from _validity_tables import Levels, Tails, Unlike, scm

# Where Debian's package dataset-fashion-mnist puts it.
CLOTHES_HOME = "/usr/share/datasets/fashion-mnist"
DESIGN = {
    "glyph pairs": glyph_pairs,
    "faces": faces,
    "two balls": two_balls,
    "raised digits": raised_digits,
    "hair": hair,
    "pulses": pulses,
    "packets": packets,
    "conv chain": conv_chain,
    "table beside": partial(scm, shift=1.0, mechanism="location-scale"),
    "table beyond": scm,
    "hidden cause": partial(scm, shift=1.5, n_nodes=7, n_unobserved=1),
    "unlike units": partial(scm, shift=2.0, columns=Unlike),
    "heavy tails": partial(scm, shift=1.0, columns=Tails),
    "levels": partial(scm, shift=2.0, columns=Levels),
}
JUDGED = {
    "glyph pairs 1.5": partial(glyph_pairs, factor=1.5),
    "glyph pairs 1.15": partial(glyph_pairs, factor=1.15),
    "faces 1.25": partial(faces, factor=1.25),
    "right ball": partial(two_balls, side=1, raised=3),
    "lowered digits": partial(raised_digits, side=0, raised=-2),
    "hair of six": partial(hair, n_cues=6, angle=0.8),
    "pulses 1.2": partial(pulses, factor=1.2),
    "packets 1.25": partial(packets, factor=1.25),
    "conv chain 1.25": partial(conv_chain, factor=1.25),
    "table of eight": partial(scm, shift=1.5, n_nodes=8),
    "table below": partial(scm, shift=-3.0, mechanism="location-scale"),
    "hidden causes": partial(scm, shift=-2.0, n_nodes=9, n_unobserved=2),
    "other units": partial(scm, shift=-1.5, n_nodes=8, columns=Unlike),
    "other tails": partial(scm, shift=1.0, mechanism="location-scale", columns=Tails),
    "other levels": partial(scm, shift=-1.5, n_nodes=8, columns=Levels),
}
# Of the judged world that a score fails in: other strengths, and with more rows.
TWINS = {
    "packets 1.2": partial(packets, factor=1.2),
    "packets 1.3": partial(packets, factor=1.3),
    "packets 1.2 of 3000 rows": partial(packets, factor=1.2, n_rows=7000),
    "packets 1.3 of 3000 rows": partial(packets, factor=1.3, n_rows=7000),
}
if Path(CLOTHES_HOME).exists():
    JUDGED["clothes"] = clothes_pairs


def maker_of(world):
    """``maker(seed)`` of a world by name, and the sources that it depends on."""
    maker = {**DESIGN, **JUDGED, **TWINS}[world]
    function, params = maker, {}
    if isinstance(maker, partial):
        function, params = maker.func, maker.keywords
    return maker, Sources((f"{function.__module__}.py",), repr(params))


def cell(world, seed, stale=False):
    """Rows and predictions of a world by name, see `_validity_cells.Cell`.

    ``stale`` takes fits of other sources from disk rather than to fit again.
    """
    maker, sources = maker_of(world)
    return make_cell(world, maker, seed, sources, stale)
