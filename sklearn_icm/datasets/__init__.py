"""Data with known truth, and glyphs of real images."""

from ._balls import make_two_balls
from ._chains import make_conv_chain, make_linear_chain
from ._faces import make_faces
from ._fluohair import make_fluohair
from ._glyphs import load_glyphs
from ._pairs import make_glyph_pairs
from ._sachs import load_sachs
from ._scm import make_scm

__all__ = [
    "load_glyphs",
    "load_sachs",
    "make_conv_chain",
    "make_faces",
    "make_fluohair",
    "make_glyph_pairs",
    "make_linear_chain",
    "make_scm",
    "make_two_balls",
]
