"""Generic ratio of any mechanism, group and contrast, by Monte Carlo."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from ..interventions._apart import called_apart
from ..mechanisms import MechanismGraph, tensor_of
from ..mechanisms._modules import deterministic
from ..utils.checks import check_scalar
from ._common import like_input
from ._contrasts import Power
from ._groups import FrequencyShift, Group, Orthogonal
from ._penalties import SMALLEST_RATIO, PenaltyValue

ArrayLike = np.ndarray | Tensor
Mechanism = Callable[[Tensor], Tensor]
Contrast = Callable[[Tensor], Tensor]


def contrasts_over_group(
    f: Mechanism,
    v: Tensor,
    group: Group,
    contrast: Contrast,
    n_draws: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Contrast of ``f(v)``, 0-d, and of ``f(g v)`` per draw, shape (n_draws,)."""
    observed = _contrast_of(contrast, called_apart(f, v))
    changed = _changed_values(v, group, n_draws, generator)
    return observed, torch.stack(
        [_contrast_of(contrast, f(value)) for value in changed]
    )


def ratio_to_mean(observed: Tensor, draws: Tensor) -> Tensor:
    """Observed contrast by the mean of the draws; 1 where that mean is zero."""
    mean = draws.mean()
    seen = _is_seen(mean)
    # The inner where keeps the gradient of the branch that is not taken finite.
    ratio = observed / torch.where(seen, mean, torch.ones_like(mean))
    return torch.where(seen, ratio, torch.ones_like(ratio))


def _is_seen(mean: Tensor) -> Tensor:
    # NaN is seen, so that it reaches the caller.
    return ~(mean.abs() <= torch.finfo(mean.dtype).tiny)


def generic_ratio(
    f: Mechanism,
    v: ArrayLike,
    group: Group,
    contrast: Contrast,
    *,
    n_draws: int = 100,
    random_state: int | np.random.RandomState | None = None,
    return_draws: bool = False,
) -> float | Tensor | tuple[float | Tensor, ArrayLike]:
    r"""Generic ratio of a mechanism at a hidden node, for any group and contrast.

    Parameters
    ----------
    f : callable
        The later mechanism: from a tensor ``(n, *node_shape)`` to a tensor with n
        rows. It should be deterministic (modules with dropout in `eval` mode).
    v : ndarray or Tensor of shape (n, ``*node_shape``)
        Values of the hidden node. An ndarray takes the dtype and device of ``f`` if
        that is a module with parameters, else float64.
    group : Group
        Such as `Orthogonal()`, or any object with the methods of `Group`.
    contrast : callable
        Such as `Power()`, or any callable from the output to a 0-d tensor.
    n_draws : int
        Number of group elements, at least 1.
    random_state : int, RandomState or None
        Seed of the draws; None draws a new one, and leaves numpy's global stream.
    return_draws : bool
        Return the contrasts of the draws, too: a sample of the null distribution.

    Returns
    -------
    rho : float or 0-d Tensor
        1 for a generic value, that is independent mechanisms; a differentiable tensor
        if ``v`` is a tensor. 1, with a warning if no gradient is recorded, if the mean
        contrast over the group is zero, where nothing can be seen.
    draws : ndarray or Tensor of shape (n_draws,)
        Contrasts of ``f(g v)``. Only if ``return_draws``.

    Warns
    -----
    UserWarning
        If the mean contrast over the group is zero, and no gradient is recorded.

    See Also
    --------
    response : How much the output changes at all; to be read beside every ratio.

    Notes
    -----
    .. math:: \rho = C(f(v)) / \mathrm{E}_{g \sim \mu}\, C(f(g v))

    with the mean over ``n_draws`` elements drawn from the measure of the group.
    ``rho = 1`` may also mean that ``f`` ignores its input, or that the contrast is
    invariant to the group: see `response`. The ratio of means has a bias of order
    ``1 / n_draws``.

    References
    ----------
    Besserve, Shajarisales, Schölkopf, Janzing (2018), *Group invariance principles for
    causal generative models*, AISTATS, arXiv 1705.02212.

    Examples
    --------
    >>> import numpy as np
    >>> v = np.random.RandomState(0).randn(50, 3) * [10, 1, 1]
    >>> rho = generic_ratio(
    ...     lambda v: v[:, :1], v, Orthogonal(), Power(), n_draws=1000, random_state=0
    ... )
    >>> round(rho, 1)  # the mechanism reads the strongest of three units
    2.8
    """
    _check_parts(f, group, contrast, n_draws)
    values = _node_values(f, v, group)
    with torch.set_grad_enabled(torch.is_grad_enabled() and isinstance(v, Tensor)):
        observed, draws = contrasts_over_group(
            f, values, group, contrast, n_draws, _generator(random_state)
        )
        if not bool(observed.isfinite() & draws.isfinite().all()):
            raise ValueError(
                f"The contrast {contrast!r} of the output is not finite: check that f "
                "returns finite values, and does so for changed inputs, too."
            )
        rho = ratio_to_mean(observed, draws)
    if not rho.requires_grad and not bool(_is_seen(draws.mean())):
        warnings.warn(
            f"The mean contrast {contrast!r} over {group!r} is zero, so that nothing "
            "can be seen; rho is set to 1.",
            UserWarning,
            stacklevel=2,
        )
    if not return_draws:
        return like_input(rho, v)
    return like_input(rho, v), draws if isinstance(v, Tensor) else draws.cpu().numpy()


def response(
    f: Mechanism,
    v: ArrayLike,
    group: Group,
    *,
    n_draws: int = 100,
    random_state: int | np.random.RandomState | None = None,
) -> float | Tensor:
    r"""Mean relative change of a mechanism's output under a group.

    A generic ratio of 1 can be met by an output that ignores the changes (the
    invariance trap): then the response is 0, and the ratio says nothing.

    Parameters
    ----------
    f : callable
        The later mechanism: from a tensor ``(n, *node_shape)`` to a tensor with n
        rows.
    v : ndarray or Tensor of shape (n, ``*node_shape``)
        Values of the hidden node; see `generic_ratio`.
    group : Group
        Such as `Orthogonal()`, or any object with the methods of `Group`.
    n_draws : int
        Number of group elements, at least 1.
    random_state : int, RandomState or None
        Seed of the draws. The same one gives the draws of `generic_ratio`.

    Returns
    -------
    float or 0-d Tensor
        0 if the output never changes; infinite if it does, but all rows of ``f(v)``
        are equal.

    Notes
    -----
    .. math:: \mathrm{E}_g \| f(g v) - f(v) \| / \| f(v) - \overline{f(v)} \|

    with Euclidean norms over rows and units, and the mean over rows, so that the unit
    and the offset of the output do not matter. (A single row is not centred.)

    Examples
    --------
    >>> import numpy as np
    >>> response(lambda v: 0 * v + 1, np.eye(3), Orthogonal(), random_state=0)
    0.0
    """
    _check_parts(f, group, Power(), n_draws)
    values = _node_values(f, v, group)
    norm = torch.linalg.vector_norm
    with torch.set_grad_enabled(torch.is_grad_enabled() and isinstance(v, Tensor)):
        output = called_apart(f, values)
        centred = output - output.mean(0) if len(output) > 1 else output
        changed = _changed_values(values, group, n_draws, _generator(random_state))
        change = torch.stack([norm(f(value) - output) for value in changed]).mean()
        size = norm(centred)
        relative = change / torch.where(size > 0, size, torch.ones_like(size))
        unbounded = (size == 0) & (change > 0)
        relative = torch.where(unbounded, torch.full_like(size, torch.inf), relative)
    return like_input(relative, v)


class GenericPenalty(PenaltyValue):
    r"""Genericity of every mechanism at the values of its hidden node.

    For every node that a mechanism produces, that is the only parent of exactly one
    child, and that the group acts on: the generic ratio of the child's mechanism at
    the batch's values of the node. A value object.

    Parameters
    ----------
    group : Group or None
        None is `Orthogonal()`.
    contrast : callable or None
        None is `Power()`.
    n_draws : int
        Number of group elements per node and call.

    Attributes
    ----------
    stochastic : bool
        True: the value depends on the ``generator`` of the call.

    Notes
    -----
    The mean over nodes of :math:`(\log \rho)^2`, with

    .. math:: \rho = C(f(v)) / \mathrm{E}_{g \sim \mu}\, C(f(g v))

    bounded below at 0.001. With few draws its expectation exceeds that of the exact
    ratio by the variance of the logarithm of the mean over draws, of order
    ``1 / n_draws``: it is not zero for independent mechanisms, and its minimisation
    also favours isotropic mechanisms a little. For dense or convolutional pairs
    `TracePenalty` and `SpectralPenalty` have no such term.

    References
    ----------
    Besserve, Shajarisales, Schölkopf, Janzing (2018), *Group invariance principles for
    causal generative models*, AISTATS, arXiv 1705.02212.
    """

    stochastic = True

    def __init__(self, group=None, contrast=None, n_draws=4):
        self.group = group
        self.contrast = contrast
        self.n_draws = n_draws

    def __call__(
        self,
        graph: MechanismGraph,
        nodes: dict[str, Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Penalty of a graph, a differentiable 0-d tensor; 0 without any such node.

        Parameters
        ----------
        graph : MechanismGraph
        nodes : dict of str to Tensor of shape (n,) + node shape
            Values of a batch, from a call of the graph.
        generator : torch.Generator, optional
            On the CPU; None takes a fixed seed, hence the same draws at every call.
        """
        group, contrast = self._resolved()
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        values = []
        for node, child in _only_children(graph, group):
            module = graph.mechanism(child)
            with deterministic(module):
                observed, draws = contrasts_over_group(
                    module, nodes[node], group, contrast, self.n_draws, generator
                )
            rho = ratio_to_mean(observed, draws)
            values.append(rho.clamp(min=SMALLEST_RATIO).log().square())
        if not values:
            return tensor_of(graph).new_zeros(())
        return torch.stack(values).mean()

    def applies_to(self, graph: MechanismGraph) -> bool:
        """Whether the graph has a node that the penalty can see.

        Parameters
        ----------
        graph : MechanismGraph
        """
        group, _ = self._resolved()
        return any(True for _ in _only_children(graph, group))

    def _resolved(self) -> tuple[Group, Contrast]:
        group = Orthogonal() if self.group is None else self.group
        contrast = Power() if self.contrast is None else self.contrast
        _check_parts(None, group, contrast, self.n_draws)
        if isinstance(group, FrequencyShift):
            group.check(())
        return group, contrast


def _only_children(graph: MechanismGraph, group: Group) -> Iterator[tuple[str, str]]:
    """Nodes between two mechanisms that the group acts on, with their children."""
    for node in graph.parents:
        children = [k for k, parents in graph.parents.items() if node in parents]
        if len(children) != 1 or len(graph.parents[children[0]]) != 1:
            continue
        try:
            group.check(graph.nodes[node])
        except ValueError:
            continue
        yield node, children[0]


def _changed_values(
    v: Tensor, group: Group, n_draws: int, generator: torch.Generator
) -> Iterator[Tensor]:
    shape = tuple(v.shape[1:])
    for _ in range(n_draws):
        value = called_apart(group.draw(shape, generator), v)
        if not isinstance(value, Tensor) or value.shape != v.shape:
            raise ValueError(
                f"A draw of {group!r} must return a tensor of the shape that it is "
                f"given, {tuple(v.shape)}, got {_described(value)}."
            )
        yield value


def _contrast_of(contrast: Contrast, output: Tensor) -> Tensor:
    value = called_apart(contrast, output)
    if not isinstance(value, Tensor) or value.ndim != 0:
        raise TypeError(
            f"contrast must return a 0-d tensor, got {_described(value)} from "
            f"{contrast!r}."
        )
    return value


def _described(value: Any) -> str:
    name = type(value).__name__
    return (
        f"{name} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else name
    )


def _check_parts(f: Any, group: Any, contrast: Any, n_draws: int) -> None:
    if f is not None and not callable(f):
        raise TypeError(
            f"f must be a callable from tensor to tensor, got {type(f).__name__}."
        )
    methods = [getattr(group, name, None) for name in ("check", "draw")]
    if isinstance(group, type) or not all(map(callable, methods)):
        raise TypeError(
            "group must be an instance with the methods check(node_shape) and "
            f"draw(node_shape, generator), such as Orthogonal(), got {group!r}."
        )
    if isinstance(contrast, type) or not callable(contrast):
        raise TypeError(
            "contrast must be a callable from a tensor to a 0-d tensor, such as "
            f"Power(), got {contrast!r}."
        )
    check_scalar(n_draws, "n_draws", numbers.Integral, min_val=1)


def _node_values(f: Mechanism, v: ArrayLike, group: Group) -> Tensor:
    """Checked values of a node, as a tensor that f can take."""
    if isinstance(v, Tensor):
        values = v
    else:
        values = torch.from_numpy(np.array(v, dtype=np.float64))
        weight = next(f.parameters(), None) if isinstance(f, nn.Module) else None
        values = values if weight is None else values.to(weight)
    if values.ndim < 2 or not len(values) or not values.is_floating_point():
        raise ValueError(
            "v must hold floating-point values of shape (n, *node_shape) with n at "
            f"least 1, got {values.dtype} of shape {tuple(values.shape)}."
        )
    if not bool(values.isfinite().all()):
        raise ValueError("v must be finite, got NaN or infinity.")
    group.check(tuple(values.shape[1:]))
    return values


def _generator(random_state: int | np.random.RandomState | None) -> torch.Generator:
    # None must not draw from numpy's global stream, which is not ours to move.
    fresh = np.random.RandomState() if random_state is None else random_state
    seed = check_random_state(fresh).randint(np.iinfo(np.int32).max)
    return torch.Generator().manual_seed(int(seed))
