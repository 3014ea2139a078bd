"""Worlds of `score_validity.py`: those that a score is designed on, and the judges."""

from functools import partial

from _validity_cells import make_cell
from _validity_images import conv_chain, glyph_pairs, pulses
from _validity_tables import scm

DESIGN = {
    "glyph pairs": glyph_pairs,
    "pulses": pulses,
    "conv chain": conv_chain,
    "table beyond": scm,
}
JUDGED = {}


def sources_of(maker):
    """File of this folder that makes a world."""
    function = maker.func if isinstance(maker, partial) else maker
    return (f"{function.__module__}.py",)


def cell(world, seed, stale=False):
    """Rows and predictions of a world by name, see `_validity_cells.Cell`.

    ``stale`` takes fits of other sources from disk rather than to fit again.
    """
    maker = {**DESIGN, **JUDGED}[world]
    return make_cell(world, maker, seed, sources_of(maker), stale)
