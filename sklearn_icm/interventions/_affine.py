"""Affine interventions: what densities under them need to know."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ._base import Compose, Do, Intervention, applied, replaces_mechanism
from ._checks import Shape
from ._geometric import Flip, Rotate, Stretch, Translate
from ._mixing import Orthogonal, Permute
from ._places import Units, Where
from ._soft import Scale, Shift

LINEAR = (Flip, Orthogonal, Permute, Rotate, Scale, Stretch, Translate)
# Of a node: its matrix has the square of it.
MOST_ENTRIES = 4096


def linear_part(change: Intervention, node: str) -> Intervention:
    """Return what an affine intervention does to differences of values.

    Parameters
    ----------
    change : intervention
    node : str
        Named in the error message.

    Raises
    ------
    ValueError
        If the intervention is not known to be affine.
    """
    if isinstance(change, Compose):
        return Compose([linear_part(step, node) for step in change.steps])
    if isinstance(change, (Where, Units)):
        return replace(change, then=linear_part(change.then, node))
    # What a subclass does is its own matter.
    if type(change) is Shift:
        return Scale(1.0)
    if type(change) is Do:
        return Scale(0.0)
    if type(change) in LINEAR or replaces_mechanism(change):
        return change
    raise ValueError(
        f"No density is known under the intervention {change!r} on node {node!r}: it "
        "must be affine (Do, Shift, Scale, Orthogonal, Permute and the like, also in "
        "Where, Units and a >> b) or replace a mechanism. Random ones, Clip and "
        "callables are not: instead of lambda v: 2 * v + 1 write Scale(2.0) >> "
        "Shift(1.0)."
    )


def affine_map(change: Intervention, shape: Shape, node: str) -> tuple[Tensor, Tensor]:
    """Matrix (n, n) and offset (n,) of an intervention on n entries, in float64.

    Raises
    ------
    ValueError
        If it is not known to be affine, or the node is too large for a matrix.
    """
    linear, n = linear_part(change, node), math.prod(shape)
    if n > MOST_ENTRIES:
        raise ValueError(
            f"A density under an intervention on node {node!r} needs a matrix of its "
            f"{n} entries; at most {MOST_ENTRIES} are allowed."
        )
    unit = torch.eye(n, dtype=torch.float64).reshape(n, *shape)
    matrix = applied(linear, unit).reshape(n, n).T
    return matrix, applied(change, 0 * unit[:1]).flatten()


def undone(change: Intervention, value: Tensor, node: str) -> tuple[Tensor, float]:
    """Values before an affine intervention, and the log volume that it makes of one.

    Parameters
    ----------
    change : intervention
    value : Tensor of shape (n, ``*node shape``)
        In float64.
    node : str

    Raises
    ------
    ValueError
        If the intervention is not known to be affine, or has no inverse.
    """
    matrix, offset = affine_map(change, value.shape[1:], node)
    scales = matrix.diagonal()
    if torch.equal(matrix, scales.diag()):
        invertible = bool(scales.all())
    else:
        invertible = int(torch.linalg.matrix_rank(matrix)) == len(matrix)
    if not invertible:
        raise ValueError(
            f"The intervention {change!r} on node {node!r} has no inverse, so that the "
            "rows lie in fewer dimensions than they have columns: there is no density. "
            "Intervene on a node before it, or compare samples by a distance "
            "(make_extrapolation_scorer)."
        )
    before = torch.linalg.solve(matrix, (value.flatten(1) - offset).T).T
    return before.reshape(value.shape), float(torch.linalg.slogdet(matrix)[1])
