"""Data with known truth, and glyphs of real images.

What the ``make_*`` functions return is a :class:`~sklearn.utils.Bunch` of

- ``data``: observational rows, then those of each environment, `n_samples` of each, and
  ``environments``, the label of every row;
- ``data_shape`` of one row, None for a table;
- ``factors``: dict of what the rows show, by name;
- ``pairs`` (2, n): indices of factual and counterfactual rows;
- ``render``: function that draws the same noise under another change, or none;

and, of all but glyph pairs, ``noise`` (n_samples, n_noise), ``mechanisms``, the true
:class:`~sklearn_icm.mechanisms.MechanismGraph`, and ``interventions``, ``{environment:
{node: intervention}}``.
"""

from ._balls import make_two_balls
from ._chains import make_conv_chain, make_linear_chain
from ._faces import make_faces
from ._fluohair import make_fluohair
from ._glyphs import load_glyphs
from ._pairs import make_glyph_pairs
from ._perturbations import make_perturbations
from ._sachs import load_sachs
from ._scm import make_scm
from ._shapes import make_shapes

__all__ = [
    "load_glyphs",
    "load_sachs",
    "make_conv_chain",
    "make_faces",
    "make_fluohair",
    "make_glyph_pairs",
    "make_linear_chain",
    "make_perturbations",
    "make_scm",
    "make_shapes",
    "make_two_balls",
]
