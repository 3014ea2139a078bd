"""Penalties on the Jacobian of the whole decoder, at the batch's own latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..mechanisms import MechanismGraph
from ..mechanisms._modules import deterministic
from ..utils.checks import is_count
from ._jacobian import (
    compositional_contrast,
    hessian_penalty,
    ima_contrast,
    jacobian,
    orthogonal_jacobian,
    scaled_to_one,
    slot_norms,
    slot_sizes,
)
from ._penalties import PenaltyValue

PIECEWISE_LINEAR = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Threshold),
    *(nn.Hardtanh, nn.Hardsigmoid, nn.Hardshrink, nn.Softshrink),
)


class _JacobianPenalty(PenaltyValue):
    """Mean over rows of a measure of the map from the root to the data node.

    A value object: equal parameters make equal penalties. Rows with a non-finite
    latent or derivative are left out; the penalty is 0 where none is left.
    """

    def __init__(self, n_rows=8):
        self.n_rows = n_rows

    def __call__(self, graph: MechanismGraph, nodes: Mapping[str, Tensor]) -> Tensor:
        """Penalty at the first rows of a batch's node values, a 0-d tensor."""
        self._check(graph)
        rows = self._rows(graph, nodes)
        with deterministic(graph):
            derivatives = self._finite_derivatives(_decoder(graph), rows)
        if not derivatives:
            return rows.new_zeros(())
        return self._measure(*derivatives).mean()

    def applies_to(self, graph: MechanismGraph) -> bool:
        """Whether the graph has a single root, of two latents or more."""
        return len(graph.roots) == 1 and _n_latents(graph) > 1

    def _check(self, graph: MechanismGraph) -> None:
        name = type(self).__name__
        if not is_count(self.n_rows):
            raise ValueError(f"{name}: n_rows must be an int > 0, got {self.n_rows!r}.")
        if len(graph.roots) != 1:
            raise ValueError(
                f"{name} needs a graph with one root, got the roots "
                f"{list(graph.roots)}: merge them, or use icm_penalty='auto'."
            )

    def _rows(self, graph: MechanismGraph, nodes: Mapping[str, Tensor]) -> Tensor:
        (root,) = graph.roots
        if root not in (nodes or {}):
            raise ValueError(
                f"{type(self).__name__}: nodes must hold the value of the root "
                f"{root!r}, got {sorted(nodes or {})}. Pass the result of graph(noise)."
            )
        return nodes[root].detach()[: self.n_rows]

    def _finite_derivatives(self, f: Callable, rows: Tensor) -> tuple[Tensor, ...]:
        """Derivatives at the rows where all are finite, () without any such row."""
        rows = rows[_finite_rows(rows)]
        derivatives = self._derivatives(f, rows) if len(rows) else ()
        if not derivatives or (finite := _finite_rows(*derivatives)).all():
            return derivatives
        # Anew, not by index: a zero gradient times an infinite slope is NaN.
        return self._derivatives(f, rows[finite]) if finite.any() else ()

    def _derivatives(self, f: Callable, rows: Tensor) -> tuple[Tensor, ...]:
        """What the measure is computed from, one entry per row."""
        return (jacobian(f, rows),)


class IMAPenalty(_JacobianPenalty):
    """Independent mechanism analysis: latents act along orthogonal directions.

    Parameters
    ----------
    n_rows : int
        Rows of the batch, from its start, at which the Jacobian is computed.

    Notes
    -----
    The mean over rows of :func:`sklearn_icm.independence.ima_contrast`, divided by the
    number of latents: nats per latent, whatever the unit of the data. Needs at least
    as many features as latents. A latent that is not used costs nothing.
    """

    def applies_to(self, graph):
        """Whether there is a single root, of 2 latents up to the number of features."""
        n_features = math.prod(graph.nodes[graph.data_node])
        return super().applies_to(graph) and _n_latents(graph) <= n_features

    def _measure(self, j: Tensor) -> Tensor:
        return ima_contrast(j) / j.shape[-1]


class OrthogonalJacobianPenalty(_JacobianPenalty):
    r"""Orthogonal Jacobian: latents act along orthogonal directions.

    Parameters
    ----------
    n_rows : int
        Rows of the batch, from its start, at which the Jacobian is computed.

    Notes
    -----
    The mean over rows of :func:`sklearn_icm.independence.orthogonal_jacobian` divided
    by its largest value for columns of the same mean squared norm,
    :math:`2 k (k - 1) (\lVert J \rVert_F^2 / k)^2`: between 0, orthogonal columns, and
    1, parallel columns of equal length, whatever the unit of the data. Unlike
    `IMAPenalty` it weighs latents by their effect. 0 for a single latent.
    """

    def _measure(self, j: Tensor) -> Tensor:
        k = j.shape[-1]
        j = scaled_to_one(j, dim=(-2, -1))
        power = j.square().sum((-2, -1)) / k
        return _ratio(orthogonal_jacobian(j), 2 * k * max(k - 1, 1) * power.square())


class HessianPenalty(_JacobianPenalty):
    r"""Hessian penalty: latents do not change each other's effects.

    Parameters
    ----------
    n_rows : int
        Rows of the batch, from its start, at which the Hessian is computed. Its cost
        is the number of latents times that of a Jacobian.

    Notes
    -----
    With the mean squares :math:`m` of the mixed second derivatives, over pairs of
    latents, and :math:`s` of the first derivatives, over latents (both summed over
    features), the mean over rows of

    .. math:: m / (s + m), \quad
        m = \frac{1}{k (k - 1)} \sum_l \sum_{i \ne j} (H^l_{ij})^2, \quad
        s = \lVert J \rVert_F^2 / k,

    where the sum in :math:`m` is :func:`sklearn_icm.independence.hessian_penalty`:
    between 0, an additive map, and 1, and 1/2 where one unit of a latent changes the
    slope of another by as much as that slope. Whatever the unit of the data; the
    unit of the latents matters. 0 for a single latent. Piecewise linear activations
    are refused, if they are modules: calls of ``torch.relu`` are not seen.
    """

    def __init__(self, n_rows=2):
        self.n_rows = n_rows

    def _check(self, graph: MechanismGraph) -> None:
        super()._check(graph)
        kinks = {
            type(m).__name__ for m in graph.modules() if isinstance(m, PIECEWISE_LINEAR)
        }
        if kinks:
            raise ValueError(
                "HessianPenalty needs smooth activations, got the piecewise linear "
                f"{', '.join(sorted(kinks))}, whose second derivative is 0: use "
                "activation='softplus', 'silu' or 'tanh'."
            )

    def _derivatives(self, f: Callable, rows: Tensor) -> tuple[Tensor, ...]:
        return jacobian(f, rows), hessian_penalty(f, rows)

    def _measure(self, j: Tensor, mixed: Tensor) -> Tensor:
        slopes = max(j.shape[-1] - 1, 1) * j.square().sum((-2, -1))
        return _ratio(mixed, slopes + mixed)


class CompositionalPenalty(_JacobianPenalty):
    r"""Compositional contrast: every feature depends on one slot of latents.

    Parameters
    ----------
    group_sizes : int or sequence of int
        Numbers of successive latents that form a slot; an int is the size of each.
    n_rows : int
        Rows of the batch, from its start, at which the Jacobian is computed.

    Notes
    -----
    The mean over rows of :func:`sklearn_icm.independence.compositional_contrast`
    divided by its largest value for the same total dependence of each feature: with
    the norms :math:`a_{lk}` of the gradient of feature :math:`l` by slot :math:`k`
    and :math:`K` slots, :math:`(1 - 1/K)/2 \sum_l (\sum_k a_{lk})^2`. Between 0, every
    feature depends on one slot, and 1, every feature depends on all slots alike,
    whatever the unit of the data. 0 for a single slot.
    """

    def __init__(self, group_sizes=1, *, n_rows=8):
        self.group_sizes = group_sizes
        self.n_rows = n_rows

    def applies_to(self, graph):
        """Whether the graph has a single root, of two slots or more."""
        if not super().applies_to(graph):
            return False
        return len(slot_sizes(self.group_sizes, _n_latents(graph))) > 1

    def _measure(self, j: Tensor) -> Tensor:
        j = scaled_to_one(j, dim=(-2, -1))
        norms = slot_norms(j, self.group_sizes)
        largest = (1 - 1 / norms.shape[-1]) / 2 * norms.sum(-1).square().sum(-1)
        return _ratio(compositional_contrast(j, self.group_sizes), largest)


def _decoder(graph: MechanismGraph) -> Callable[[Tensor], Tensor]:
    (root,) = graph.roots
    return lambda z: graph({root: z})[graph.data_node]


def _n_latents(graph: MechanismGraph) -> int:
    return math.prod(next(iter(graph.roots.values())))


def _finite_rows(*values: Tensor) -> Tensor:
    finite = [torch.isfinite(v[..., None]).flatten(1).all(1) for v in values]
    return torch.stack(finite).all(0)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Quotient of non-negative numbers, 0 with zero gradient where both vanish."""
    seen = whole > torch.finfo(whole.dtype).tiny
    return torch.where(seen, part, 0) / torch.where(seen, whole, 1)
