"""Data with known truth, and glyphs of real images."""

from ._glyphs import load_glyphs
from ._pairs import make_glyph_pairs

__all__ = ["load_glyphs", "make_glyph_pairs"]
