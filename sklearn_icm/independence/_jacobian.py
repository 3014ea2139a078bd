"""Jacobians of a map, and what their columns say about the independence of inputs."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import jacfwd, jvp, vmap

from ..utils.checks import is_count
from ._common import as_tensors, like_input

ArrayLike = np.ndarray | Tensor
RowMap = Callable[[Tensor], Tensor]

# Shrinkage of the cosine matrix per column, in units of the dtype's resolution.
RIDGE_IN_EPS = 64


def jacobian(f: RowMap, z: Tensor, *, chunk_size: int | None = None) -> Tensor:
    r"""Exact Jacobians of a torch function at the rows of a batch.

    Parameters
    ----------
    f : callable
        Maps a tensor of shape (n, \*in_shape) to one of shape (n, \*out_shape), each
        row on its own. It is called with one row at a time under
        :func:`torch.func.vmap`, so that its Python code runs once.
    z : Tensor of shape (n, \*in_shape)
    chunk_size : int, optional
        Rows computed at once, to bound memory; all rows by default.

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
    of_row, rows = _row_function(f, z, chunk_size)
    return vmap(jacfwd(of_row), chunk_size=chunk_size)(rows)


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
    j = _checked_jacobian(jacobian)
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
    return like_input(log_det.abs() / 2, jacobian)


def orthogonal_jacobian(jacobian: ArrayLike) -> ArrayLike:
    r"""Orthogonal Jacobian regulariser: squared inner products of pairs of columns.

    Parameters
    ----------
    jacobian : ndarray or Tensor of shape (n, d, k) or (d, k)

    Returns
    -------
    ndarray or Tensor of shape (n,); float or 0-d Tensor for a single matrix
        0 if and only if the columns are orthogonal; in the fourth power of the unit
        of the Jacobian.

    Notes
    -----
    With the columns :math:`J_i` of :math:`J`,

    .. math:: 2 \sum_{i \ne j} (J_i^T J_j)^2 = \mathrm{Var}_v \lVert J v \rVert^2

    for a vector :math:`v` of independent random signs, which the source samples.

    References
    ----------
    Wei, Shi, Liu, Ji, Gao, Wu, Zuo (2021), *Orthogonal Jacobian regularization for
    unsupervised disentanglement in image generation*, arXiv 2108.07668.

    Examples
    --------
    >>> import numpy as np
    >>> orthogonal_jacobian(np.array([[1.0, 1.0], [0.0, 1.0]]))
    4.0
    """
    j = _checked_jacobian(jacobian)
    value = 2 * _off_diagonal(j.mT @ j).square().sum((-2, -1))
    return like_input(value, jacobian)


def hessian_penalty(f: RowMap, z: Tensor, *, chunk_size: int | None = None) -> Tensor:
    r"""Hessian penalty: squared mixed second derivatives, summed over outputs.

    Parameters
    ----------
    f : callable
        As in :func:`jacobian`. A piecewise linear map, such as a ReLU network, has a
        Hessian of zeros.
    z : Tensor of shape (n, \*in_shape)
    chunk_size : int, optional
        As in :func:`jacobian`.

    Returns
    -------
    Tensor of shape (n,)
        0 if and only if f is additive in its inputs to second order at the row.
        Differentiable with respect to z and to every parameter that f uses.

    Notes
    -----
    With the Hessian :math:`H^l` of output :math:`l`,

    .. math::
        \sum_l \sum_{i \ne j} (H^l_{ij})^2
        = \tfrac12 \sum_l \mathrm{Var}_v (v^T H^l v)

    for a vector :math:`v` of independent random signs. The source takes the maximum
    over outputs of a sampled variance; the sum is smooth. Forward mode twice: the
    cost is one pass per pair of inputs, whatever the number of outputs.

    References
    ----------
    Peebles, Peebles, Zhu, Efros, Torralba (2020), *The Hessian penalty: a weak prior
    for unsupervised disentanglement*, arXiv 2008.10599.

    Examples
    --------
    >>> import torch
    >>> z = torch.tensor([[2.0, 3.0]])
    >>> hessian_penalty(lambda z: z.prod(1) ** 2, z)  # 2 (4 z_1 z_2)^2
    tensor([1152.])
    """
    of_row, rows = _row_function(f, z, chunk_size)
    mixed = vmap(
        lambda row: _off_diagonal(jacfwd(jacfwd(of_row))(row)).square().sum(),
        chunk_size=chunk_size,
    )
    # Second derivatives of some activations, such as SiLU, exist only in this mode.
    with torch.enable_grad():
        value = mixed(rows)
    return value if torch.is_grad_enabled() else value.detach()


def compositional_contrast(
    jacobian: ArrayLike, group_sizes: int | Sequence[int]
) -> ArrayLike:
    r"""Compositional contrast: outputs that depend on more than one slot of inputs.

    Parameters
    ----------
    jacobian : ndarray or Tensor of shape (n, d, k) or (d, k)
        Every output is one pixel.
    group_sizes : int or sequence of int
        Numbers of successive inputs that form a slot; an int is the size of each.

    Returns
    -------
    ndarray or Tensor of shape (n,); float or 0-d Tensor for a single matrix
        0 if and only if every output depends on at most one slot; in the squared unit
        of the Jacobian.

    Notes
    -----
    With the inputs :math:`z_k` of slot :math:`k` and output :math:`f_l`,

    .. math::
        \sum_l \sum_{k < j} \left\lVert \frac{\partial f_l}{\partial z_k} \right\rVert
        \left\lVert \frac{\partial f_l}{\partial z_j} \right\rVert.

    The gradient of the norm of a slot that an output does not depend on is taken as 0.

    References
    ----------
    Brady, Zimmermann, Sharma, Schölkopf, von Kügelgen, Brendel (2023), *Provably
    learning object-centric representations*, arXiv 2305.14229.

    Examples
    --------
    >>> import numpy as np
    >>> compositional_contrast(np.array([[3.0, 4.0, 0.0], [0.0, 2.0, 5.0]]), [2, 1])
    10.0
    """
    j = _checked_jacobian(jacobian)
    norms = slot_norms(j, group_sizes)
    earlier = norms.cumsum(-1)[..., :-1]
    return like_input((earlier * norms[..., 1:]).sum((-2, -1)), jacobian)


def slot_norms(j: Tensor, group_sizes: int | Sequence[int]) -> Tensor:
    """Norms of each output's gradient by each slot, shape (..., d, n_slots)."""
    slots = j.split(slot_sizes(group_sizes, j.shape[-1]), dim=-1)
    return torch.stack([torch.linalg.vector_norm(s, dim=-1) for s in slots], dim=-1)


def slot_sizes(group_sizes: int | Sequence[int], n_inputs: int) -> list[int]:
    """Sizes of the slots of ``n_inputs`` inputs, checked."""
    if is_count(group_sizes, 0):
        sizes = [group_sizes] * (n_inputs // max(group_sizes, 1))
    else:
        sizes = list(group_sizes) if isinstance(group_sizes, Iterable) else []
    whole = all(map(is_count, sizes))
    if not whole or sum(sizes) != n_inputs:
        raise ValueError(
            "group_sizes must be a positive int that divides the number of inputs, or "
            f"positive ints that add up to it, got {group_sizes!r} for {n_inputs} "
            "inputs. Pass one size per slot, in the order of the inputs."
        )
    return [int(s) for s in sizes]


def _row_function(
    f: RowMap, z: Tensor, chunk_size: int | None
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The map of one flattened row to its flattened output, and the rows."""
    if not isinstance(z, Tensor) or not z.is_floating_point():
        got = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(
            f"z must be a floating point tensor with one row per point, got {got}. "
            "Convert it to the dtype of the parameters of f."
        )
    if z.ndim == 0 or len(z) == 0:
        raise ValueError(f"z must have at least one row, got shape {tuple(z.shape)}.")
    if chunk_size is not None and not is_count(chunk_size):
        raise ValueError(
            f"chunk_size must be a positive int, or None for all, got {chunk_size!r}."
        )
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
    directions = scaled_to_one(j, dim=(-2,))
    squares = directions.square().sum(-2, keepdim=True)
    return directions * torch.where(squares > 0, squares, 1).rsqrt()


def scaled_to_one(j: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Divide by the largest entry along some axes, so that squares do not overflow.

    The divisor is a constant to autograd: only for measures that ignore the scale.
    Where all entries are next to zero, the result and its gradient are 0.
    """
    largest = j.detach().abs().amax(dim, keepdim=True)
    used = largest > torch.finfo(j.dtype).tiny ** 0.5
    return j / largest.masked_fill(~used, torch.inf)


def _off_diagonal(matrices: Tensor) -> Tensor:
    eye = torch.eye(matrices.shape[-1], dtype=torch.bool, device=matrices.device)
    return matrices.masked_fill(eye, 0)
