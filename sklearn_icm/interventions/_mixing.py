"""Interventions that mix or rearrange the units of a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import Here, Intervention
from ._checks import Shape, as_array, check_flag

TOLERANCE = 1e-6


def haar_rotation(
    shape: tuple[int, ...],
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw orthogonal matrices of a shape (..., n, n) from the Haar measure.

    Of a shape (..., n, k) the first k columns of them.

    References
    ----------
    Mezzadri (2007), *How to generate random matrices from the classical compact
    groups*, arXiv math-ph/0609050.
    """
    q, r = torch.linalg.qr(torch.randn(shape, generator=generator, dtype=dtype))
    # QR alone is not uniform: its signs follow the algorithm's convention.
    return q * torch.sign(r.diagonal(dim1=-2, dim2=-1))[..., None, :]


@dataclass(frozen=True, eq=False, repr=False)
class Orthogonal(Intervention):
    """Rotate or reflect the units of a node: entries of a vector, channels of a map.

    Parameters
    ----------
    matrix : array-like of shape (n_units, n_units), or int
        An orthogonal matrix; or the seed of one that is drawn from the Haar measure,
        of whatever size the node has.
    transposed : bool
        Use the transpose, which is the inverse.

    Examples
    --------
    >>> import torch
    >>> Orthogonal([[0.0, -1.0], [1.0, 0.0]])(torch.tensor([[3.0, 4.0]]))
    tensor([[-4.,  3.]])
    """

    matrix: Any
    transposed: bool = False

    def __post_init__(self) -> None:
        check_flag(self, "transposed")
        if isinstance(self.matrix, Integral) and not isinstance(self.matrix, bool):
            if not 0 <= self.matrix < 2**63:
                raise ValueError(
                    "Orthogonal: a seed must not be negative, and less than 2**63, got "
                    f"{self.matrix!r}."
                )
            object.__setattr__(self, "matrix", int(self.matrix))
            return
        matrix = as_array(self, "matrix", self.matrix)
        square = matrix.ndim == 2 and len(matrix) == matrix.shape[1] and len(matrix)
        if not square or np.abs(matrix @ matrix.T - np.eye(len(matrix))).max() > (
            TOLERANCE
        ):
            raise ValueError(
                "Orthogonal: matrix must be a seed or a square array with orthonormal "
                f"rows (to {TOLERANCE:g}), got {self.matrix!r}."
            )
        object.__setattr__(self, "matrix", matrix)

    def __repr__(self) -> str:
        seeded = isinstance(self.matrix, int)
        shown = self.matrix if seeded else self.matrix.tolist()
        return f"Orthogonal({shown}{', transposed=True' if self.transposed else ''})"

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        if not isinstance(self.matrix, int) and len(self.matrix) != shape[0]:
            raise ValueError(
                f"Orthogonal: a matrix for {len(self.matrix)} units does not fit node "
                f"{node!r}, which has {shape[0]}."
            )

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        if isinstance(self.matrix, int):
            stream = torch.Generator().manual_seed(self.matrix)
            matrix = haar_rotation((value.shape[1],) * 2, stream).to(value)
        else:
            matrix = torch.tensor(self.matrix).to(value)
        matrix = matrix.T if self.transposed else matrix
        return torch.tensordot(value.movedim(1, -1), matrix.T, dims=1).movedim(-1, 1)

    def inverse(self) -> Orthogonal:
        """Return the rotation or reflection that undoes this one."""
        return Orthogonal(self.matrix, not self.transposed)


@dataclass(frozen=True, eq=False)
class Permute(Intervention):
    """Reorder the units of a node.

    Parameters
    ----------
    order : sequence of int
        Unit ``k`` of the result is unit ``order[k]`` of the value: each of 0, 1, ...
        once.

    Examples
    --------
    >>> import torch
    >>> Permute([1, 0])(torch.tensor([[3.0, 4.0]]))
    tensor([[4., 3.]])
    """

    order: Sequence[int]

    def __post_init__(self) -> None:
        try:
            order = tuple(int(k) for k in self.order)
        except (TypeError, ValueError):
            order = ()
        if not order or sorted(order) != list(range(len(order))):
            raise ValueError(
                "Permute: order must hold each of 0, 1, ..., n - 1 once, got "
                f"{self.order!r}."
            )
        object.__setattr__(self, "order", order)

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        if len(self.order) != shape[0]:
            raise ValueError(
                f"Permute: {len(self.order)} units do not fit node {node!r}, which has "
                f"{shape[0]}."
            )

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        return value[:, list(self.order)]

    def inverse(self) -> Permute:
        """Return the permutation that undoes this one."""
        return Permute(sorted(range(len(self.order)), key=self.order.__getitem__))
