"""Generic ratio of any mechanism, group and contrast, by Monte Carlo."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from ..exceptions import DegenerateMechanismWarning
from ..interventions import InterventionFamily
from ..interventions._groups import as_group
from ..mechanisms._modules import called_apart
from ..utils.checks import check_scalar
from ._common import PairMeasure, like_input
from ._contrasts import power
from ._pairs import Measure, MechanismPair
from ._relative import refuse_units, resolved

ArrayLike = np.ndarray | Tensor
Mechanism = Callable[[Tensor], Tensor]
Contrast = Callable[[Tensor], Tensor]


def contrasts_over_group(
    f: Mechanism,
    v: Tensor,
    group: Any,
    contrast: Contrast,
    n_draws: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Contrast of ``f(v)``, 0-d, and of ``f(g v)`` per draw, shape (n_draws,)."""
    observed = contrast_of(contrast, called_apart(f, v))
    changed = changed_values(v, group, n_draws, generator)
    return observed, torch.stack([contrast_of(contrast, f(value)) for value in changed])


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
    group: Any = "orthogonal",
    contrast: Contrast | None = None,
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
    group : str, InterventionFamily, intervention or object
        Random changes of the node. "orthogonal" (Haar rotations and reflections of the
        units of a vector, or channels of a map), "permute", "flip_signs" of units;
        "translate" (cyclic) or "stretch" (by log-uniform factors, 0.7 to 1.4 along each
        axis) of maps; a family, whose parameters are uniform within their bounds; an
        intervention, at strengths from -1 to 2; or any object with the methods
        ``check(node, shape, kind)``, which raises ValueError for nodes that it does not
        act on, and ``draw(node_shape, generator)``, which returns a change of the
        node's value, alike for all rows.
    contrast : callable, optional
        From the output to a 0-d tensor, such as `Kurtosis()`; None is the power, the
        mean square over rows and units.
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
    DegenerateMechanismWarning
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
    >>> rho = generic_ratio(lambda v: v[:, :1], v, n_draws=1000, random_state=0)
    >>> round(rho, 1)  # the mechanism reads the strongest of three units
    3.0

    A group of one's own, the rotations of a vector by 0 and by 180 degrees:

    >>> class PointReflection:
    ...     def check(self, node, shape, kind):
    ...         if len(shape) != 1:
    ...             raise ValueError(f"needs a vector, got {node!r} of shape {shape}.")
    ...
    ...     def draw(self, node_shape, generator):
    ...         sign = 1 - 2 * torch.randint(2, (), generator=generator)
    ...         return lambda value: sign * value
    >>> generic_ratio(lambda v: v + 1, np.eye(2), PointReflection(), n_draws=9) > 0
    True
    """
    contrast = power if contrast is None else contrast
    check_parts(f, group, contrast, n_draws)
    values, group = node_values(f, v, group)
    with torch.set_grad_enabled(torch.is_grad_enabled() and isinstance(v, Tensor)):
        observed, draws = contrasts_over_group(
            f, values, group, contrast, n_draws, seeded(random_state)
        )
        if not bool(observed.isfinite() & draws.isfinite().all()):
            raise ValueError(
                f"The contrast {contrast!r} of the output is not finite: check that f "
                "returns finite values, and does so for changed inputs, too."
            )
        rho = ratio_to_mean(observed, draws)
    if not rho.requires_grad and not bool(_is_seen(draws.mean())):
        reason = (
            f"The mean contrast {contrast!r} over {group!r} is zero, so that nothing "
            "can be seen; rho is set to 1."
        )
        warnings.warn(DegenerateMechanismWarning([], reason), stacklevel=2)
    if not return_draws:
        return like_input(rho, v)
    return like_input(rho, v), draws if isinstance(v, Tensor) else draws.cpu().numpy()


def response(
    f: Mechanism,
    v: ArrayLike,
    group: Any = "orthogonal",
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
    group : str, InterventionFamily, intervention or object
        As `generic_ratio` takes it.
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
    >>> response(lambda v: 0 * v + 1, np.eye(3), random_state=0)
    0.0
    """
    check_parts(f, group, power, n_draws)
    values, group = node_values(f, v, group)
    with torch.set_grad_enabled(torch.is_grad_enabled() and isinstance(v, Tensor)):
        output = called_apart(f, values)
        changed = changed_values(values, group, n_draws, seeded(random_state))
        relative = relative_change(output, map(f, changed))
    return like_input(relative, v)


def relative_change(output: Tensor, changed: Iterable[Tensor]) -> Tensor:
    """Mean distance of changed outputs from an output, over its spread; 0-d."""
    norm = torch.linalg.vector_norm
    change = torch.stack([norm(value - output) for value in changed]).mean()
    size = norm(output - output.mean(0) if len(output) > 1 else output)
    relative = change / torch.where(size > 0, size, torch.ones_like(size))
    unbounded = (size == 0) & (change > 0)
    return torch.where(unbounded, torch.full_like(size, torch.inf), relative)


@dataclass(frozen=True)
class GenericMeasure(Measure):
    """Generic ratio of the later mechanism at the values of the hidden node.

    A measure, for tables, of any mechanism: of nodes that the group acts on.

    Parameters
    ----------
    group : str, InterventionFamily, intervention or object
        As `generic_ratio` takes it.
    contrast : callable, optional
        As `generic_ratio` takes it.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from sklearn_icm.independence import genericity_test
    >>> pair = nn.Linear(3, 2), np.random.RandomState(0).randn(50, 3)
    >>> row = genericity_test(pair, measure=GenericMeasure("permute"), n_draws=19)
    >>> row["measure"].item()
    'permute, power'
    """

    group: Any = "orthogonal"
    contrast: Contrast | None = None

    @property
    def name(self) -> str:
        """Names of the group and the contrast."""
        return f"{_name_of(self.group)}, {_name_of(self._contrast)}"

    def applies(self, pair: MechanismPair) -> bool:
        """Whether the group acts on the hidden node of a pair."""
        return pair.f is not None and acts_on(
            self.group, pair.first, pair.node_shape, pair.kind
        )

    def ratio(self, pair: MechanismPair) -> Tensor:
        """Generic ratio, 0-d."""
        return self.measured(pair, 0, torch.Generator().manual_seed(0)).rho

    def null_draws(
        self, pair: MechanismPair, n_draws: int, generator: torch.Generator
    ) -> Tensor:
        """Ratios of random group elements."""
        return self.measured(pair, n_draws, generator).draws

    def measured(
        self, pair: MechanismPair, n_draws: int, generator: torch.Generator
    ) -> PairMeasure:
        """Ratio to the mean of the draws, and those of the draws."""
        contrast, n = self._contrast, n_draws or self.n_draws
        check_parts(pair.f, self.group, contrast, n)
        v, group = node_values(pair.f, pair.values, self.group)
        observed, draws = contrasts_over_group(pair.f, v, group, contrast, n, generator)
        rho, mean = ratio_to_mean(observed, draws), draws.mean()
        if not n_draws:
            return PairMeasure(rho)
        null = [ratio_to_mean(draw, mean[None]) for draw in draws]
        return PairMeasure(rho, draws=torch.stack(null))

    @property
    def _contrast(self) -> Contrast:
        return power if self.contrast is None else self.contrast


def _name_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return getattr(value, "name", getattr(value, "__name__", type(value).__name__))


def acts_on(group: Any, node: str, shape: tuple[int, ...], kind: str) -> bool:
    try:
        check_acts(group, node, shape, kind)
    except ValueError:
        return False
    return True


def check_acts(group: Any, node: str, shape: tuple[int, ...], kind: str) -> None:
    """Raise ValueError if random changes of a group cannot be made to a node."""
    group = as_group(group, shape)
    group.check(node, shape, kind)
    if kind == "points" and isinstance(group, InterventionFamily):
        # Draws act outside of a query, where values go by their shape.
        try:
            group.check(node, shape, "vector")
        except ValueError as error:
            raise ValueError(
                f"{group!r} moves the points of node {node!r} in queries alone; in "
                "training it would take them for a map. Name a node that holds maps: "
                "what is drawn at points is not changed by moving them."
            ) from error


def changed_values(
    v: Tensor, group: Any, n_draws: int, generator: torch.Generator
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


def contrast_of(contrast: Contrast, output: Tensor) -> Tensor:
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


def check_parts(f: Any, group: Any, contrast: Any, n_draws: int) -> None:
    if f is not None and not callable(f):
        raise TypeError(
            f"f must be a callable from tensor to tensor, got {type(f).__name__}."
        )
    as_group(group, (1,))
    if isinstance(contrast, type) or not callable(contrast):
        raise TypeError(
            "contrast must be a callable from a tensor to a 0-d tensor, such as "
            "Kurtosis(), or None (distributions are compared with rows, by "
            f"GenericPenalty alone), got {contrast!r}."
        )
    check_scalar(n_draws, "n_draws", numbers.Integral, min_val=1)


def node_values(f: Mechanism, v: ArrayLike, group: Any) -> tuple[Tensor, Any]:
    """Checked values of a node, as a tensor that f can take, and the group there."""
    values = as_values(f, v)
    shape = tuple(values.shape[1:])
    group = as_group(group, shape)
    group.check("node", shape, None)
    refuse_units(group, shape)
    return values, resolved(group, values)


def as_values(f: Mechanism, v: ArrayLike) -> Tensor:
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
    return values


def seeded(random_state: int | np.random.RandomState | None) -> torch.Generator:
    """Generator that a random state decides."""
    # None must not draw from numpy's global stream, which is not ours to move.
    fresh = np.random.RandomState() if random_state is None else random_state
    seed = check_random_state(fresh).randint(np.iinfo(np.int32).max)
    return torch.Generator().manual_seed(int(seed))
