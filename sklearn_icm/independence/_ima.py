"""Independent mechanism analysis: the columns of a map's Jacobian, and a penalty."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.func import jacfwd, jvp, vmap

from ..mechanisms import MechanismGraph
from ..mechanisms._modules import deterministic
from ..utils.checks import is_count
from ._common import as_tensors, like_input
from ._pairs import is_of_columns
from ._penalties import PenaltyValue, Step

ArrayLike = np.ndarray | Tensor
RowMap = Callable[[Tensor], Tensor]

# Shrinkage of the cosine matrix per column, in units of the dtype's resolution.
RIDGE_IN_EPS = 64


def jacobian(f: RowMap, z: Tensor) -> Tensor:
    r"""Exact Jacobians of a torch function at the rows of a batch.

    Parameters
    ----------
    f : callable
        Maps a tensor of shape (n, \*in_shape) to one of shape (n, \*out_shape), each
        row on its own. It is called with one row at a time under
        :func:`torch.func.vmap`, so that its Python code runs once.
    z : Tensor of shape (n, \*in_shape)

    Returns
    -------
    Tensor of shape (n, n_outputs, n_inputs)
        Outputs and inputs are flattened. Differentiable with respect to z and to every
        parameter that f uses.

    Notes
    -----
    Forward mode: the cost is one pass per input, whatever the number of outputs.

    Examples
    --------
    >>> import torch
    >>> jacobian(lambda z: z.square(), torch.tensor([[1.0, 3.0]]))
    tensor([[[2., 0.],
             [0., 6.]]])
    """
    of_row, rows = _row_function(f, z)
    return vmap(jacfwd(of_row))(rows)


def ima_contrast(jacobian: ArrayLike) -> ArrayLike:
    r"""Contrast of independent mechanism analysis: how far columns are from orthogonal.

    Parameters
    ----------
    jacobian : ndarray or Tensor of shape (n, d, k) or (d, k), with d >= k

    Returns
    -------
    ndarray or Tensor of shape (n,); float or 0-d Tensor for a single matrix
        In nats: 0 if and only if the non-zero columns are orthogonal, and at most
        ``(k - 1) / 2 * log(1 / delta)`` with the ridge ``delta`` of the notes.

    Notes
    -----
    With the columns :math:`J_i` of :math:`J`,

    .. math::
        c = \sum_i \log \lVert J_i \rVert - \tfrac12 \log \det J^T J
          = -\tfrac12 \log \det R, \quad
        R_{ij} = \frac{J_i^T J_j}{\lVert J_i \rVert \lVert J_j \rVert}.

    The contrast ignores the length of columns. That of a rank-deficient Jacobian is
    infinite; here :math:`R` is replaced by :math:`(1 - \delta) R + \delta I`, where
    ``delta = 64 * k * eps`` and ``eps`` is the resolution of the dtype, so that value
    and gradient stay finite. Two columns at an angle :math:`\theta` lose
    :math:`\delta \cot^2 \theta` nats by it. A column of zeros (no entry above the
    square root of the smallest normal number) has no direction, and counts as
    orthogonal to all others: the contrast does not see a latent that is not used.

    References
    ----------
    Gresele, von Kügelgen, Stimper, Schölkopf, Besserve (2021), *Independent mechanism
    analysis, a new concept?*, arXiv 2106.05200.

    Examples
    --------
    >>> import numpy as np
    >>> ima_contrast(np.array([[3.0, 0.0], [0.0, 0.1], [0.0, 0.0]]))
    0.0
    >>> round(ima_contrast(np.array([[1.0, 1.0], [0.0, 1.0]])), 4)  # log sqrt 2
    0.3466
    """
    return like_input(_contrasts(_checked_jacobian(jacobian)), jacobian)


def _contrasts(j: Tensor) -> Tensor:
    """Contrast of each finite matrix."""
    d, k = j.shape[-2:]
    if d < k:
        raise ValueError(
            "ima_contrast: jacobian must have at least as many rows (outputs) as "
            f"columns (inputs), got shape {tuple(j.shape)}. Transpose it if the axes "
            "are swapped, or use fewer inputs."
        )
    units = _unit_columns(j)
    delta = RIDGE_IN_EPS * k * torch.finfo(j.dtype).eps
    eye = torch.eye(k, dtype=j.dtype, device=j.device)
    shrunk = (1 - delta) * _off_diagonal(units.mT @ units) + eye
    log_det = torch.linalg.slogdet(shrunk).logabsdet.clamp(max=0)
    return log_det.abs() / 2


def _row_function(f: RowMap, z: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The map of one flattened row to its flattened output, and the rows."""
    if not isinstance(z, Tensor) or not z.is_floating_point():
        got = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(
            f"z must be a floating point tensor with one row per point, got {got}. "
            "Convert it to the dtype of the parameters of f."
        )
    if z.ndim == 0 or len(z) == 0:
        raise ValueError(f"z must have at least one row, got shape {tuple(z.shape)}.")
    _load_forward_mode()
    in_shape = z.shape[1:]

    def of_row(row: Tensor) -> Tensor:
        value = f(row.reshape(1, *in_shape))
        if not isinstance(value, Tensor) or value.shape[:1] != (1,):
            raise ValueError(
                "f must return a tensor with one row per row of z, got "
                f"{type(value).__name__} of shape {tuple(getattr(value, 'shape', ()))} "
                "for one row. Keep the first axis of its argument."
            )
        return value.flatten()

    # A copy: in forward mode, what f does in place would reach the rows themselves.
    return of_row, z.reshape(len(z), -1).clone()


@functools.cache
def _load_forward_mode() -> None:
    """Let torch load its forward mode, which warns of its own use of torch.jit."""
    zero = torch.zeros(())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`?torch.jit", DeprecationWarning)
        jvp(torch.sin, (zero,), (zero,))


def _checked_jacobian(jacobian: ArrayLike) -> Tensor:
    isfinite = torch.isfinite if isinstance(jacobian, Tensor) else np.isfinite
    if not bool(isfinite(jacobian).all()):
        raise ValueError("jacobian must be finite, got NaN or infinity: drop the rows.")
    (j,) = as_tensors(jacobian)
    if j.ndim not in (2, 3) or 0 in j.shape[-2:] or not j.is_floating_point():
        raise ValueError(
            "jacobian must be floating point of shape (n, d, k) or (d, k), with d, k "
            f">= 1, got {j.dtype} of shape {tuple(j.shape)}."
        )
    return j


def _unit_columns(j: Tensor) -> Tensor:
    """Columns divided by their norm; those of zeros stay so, with zero gradient."""
    # By the largest entry first, so that squares do not overflow: the divisor is a
    # constant to autograd, since the contrast ignores the scale.
    largest = j.detach().abs().amax(-2, keepdim=True)
    used = largest > torch.finfo(j.dtype).tiny ** 0.5
    directions = j / largest.masked_fill(~used, torch.inf)
    squares = directions.square().sum(-2, keepdim=True)
    return directions * torch.where(squares > 0, squares, 1).rsqrt()


def _off_diagonal(matrices: Tensor) -> Tensor:
    eye = torch.eye(matrices.shape[-1], dtype=torch.bool, device=matrices.device)
    return matrices.masked_fill(eye, 0)


class IMAPenalty(PenaltyValue):
    """Independent mechanism analysis: latents act along orthogonal directions.

    Parameters
    ----------
    n_rows : int
        Rows of the batch, from its start, at which the Jacobian is computed.

    Notes
    -----
    The mean over rows of :func:`sklearn_icm.independence.ima_contrast` of the map from
    the root to the data node, divided by the number of latents: nats per latent,
    whatever the unit of the data. Needs at least as many features as latents. A latent
    that is not used costs nothing. Rows with a non-finite latent or derivative are left
    out; the penalty is 0 where none is left (whose gradient is not finite where no
    derivative is).
    """

    def __init__(self, n_rows=8):
        self.n_rows = n_rows

    def __call__(self, step: Step) -> Tensor:
        """Penalty at the first rows of a batch's node values, a 0-d tensor."""
        graph = step.graph
        rows = self._rows(graph, step.nodes or {})
        if not len(rows):
            return rows.new_zeros(())
        (root,) = graph.roots
        with deterministic(graph):
            j, known = _jacobian(lambda z: graph({root: z})[graph.data_node], rows)
        total = torch.where(known, _contrasts(j), 0).sum()
        return total / known.sum().clamp(min=1) / j.shape[-1]

    def applies_to(self, graph: MechanismGraph) -> bool:
        """Whether there is a single root, of 2 latents up to the number of features.

        Of columns it sees nothing: their graph is put together after training.
        """
        if len(graph.roots) != 1 or is_of_columns(graph):
            return False
        n_latents = math.prod(next(iter(graph.roots.values())))
        return 1 < n_latents <= math.prod(graph.nodes[graph.data_node])

    def _rows(self, graph: MechanismGraph, nodes: Mapping[str, Tensor]) -> Tensor:
        if not is_count(self.n_rows):
            raise ValueError(
                f"IMAPenalty: n_rows must be an int > 0, got {self.n_rows!r}."
            )
        if len(graph.roots) != 1:
            raise ValueError(
                f"IMAPenalty needs a graph with one root, got the roots "
                f"{list(graph.roots)}: merge them, or use icm_penalty='auto'."
            )
        (root,) = graph.roots
        if root not in nodes:
            raise ValueError(
                f"IMAPenalty: nodes must hold the value of the root {root!r}, got "
                f"{sorted(nodes)}. Pass the result of graph(noise)."
            )
        return nodes[root].detach()[: self.n_rows]


def _jacobian(f: RowMap, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Jacobians at the rows, and at which of them, (n,), values and slopes are finite.

    The others are those of the first finite row.
    """
    _load_forward_mode()
    with torch.no_grad():
        # Slopes along one direction are finite where all are.
        slopes = jvp(f, (rows.clone(),), (torch.ones_like(rows),))[1]
    known = _finite_rows(rows) & _finite_rows(slopes)
    # Another row instead of a weight of 0: that times an infinite slope is NaN.
    first = known.int().argmax(0, keepdim=True)
    other = rows.nan_to_num(0, 0, 0).index_select(0, first)
    each = known.view(-1, *[1] * (rows.ndim - 1))
    return jacobian(f, torch.where(each, rows, other)), known


def _finite_rows(values: Tensor) -> Tensor:
    return torch.isfinite(values).flatten(1).all(1)
