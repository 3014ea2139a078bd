"""What an intervention is, and how one, or several in a row, change a node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..utils.streams import Streams
from ._checks import Shape, as_array, as_levels, check_broadcasts, check_numbers
from ._description import PACKAGE, described, made_from

# In what torch and numpy say of `if`, `max` or `float` of more than one value.
ONE_VALUE_ASKED = ("ambiguous", "to Scalar", "Python scalar")
ALL_ROWS = (
    "A callable gets the values of all rows at once: instead of `1.0 if v > 0 else "
    "0.0` write torch.where(v > 0, 1.0, 0.0)."
)


class Here(NamedTuple):
    """Where an intervention acts, and all that it may know there.

    A query hands it to every intervention, as the second argument.

    Parameters
    ----------
    node : str
        Name of the node.
    rows : slice
        Which rows of the query the values are; those of one call may be a part of them.
    nodes : dict of str to Tensor
        Copies of the values of the nodes that it ``reads``, as the changed model gives
        them.
    streams : Streams
        Random streams of the query, by name.
    part : tuple of int
        Where in a composition the intervention stands.
    kind : str or None
        What the node is, see `Intervention.check`.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from sklearn_icm.datasets import make_scm
    >>> from sklearn_icm.generators import GraphGenerator
    >>> @dataclass(frozen=True, eq=False)
    ... class Follow(Intervention):
    ...     reads: tuple
    ...
    ...     def __call__(self, value, here=None):
    ...         return here.nodes[self.reads[0]] / 2
    >>> scm = make_scm(100, n_nodes=3, random_state=0)
    >>> est = GraphGenerator(scm.graph, max_epochs=2, random_state=0).fit(scm.data)
    >>> rows = est.intervene({"x2": Follow(("x0",))}, n_samples=5)
    >>> bool((abs(rows[:, 2] - rows[:, 0] / 2) < 1e-5).all())
    True
    """

    node: str
    rows: slice
    nodes: Mapping[str, Tensor]
    streams: Streams
    part: tuple[int, ...] = ()
    kind: str | None = None

    @classmethod
    def alone(cls, value: Tensor) -> Here:
        """Where a value is changed outside of a query: one fixed stream."""
        return cls("node", slice(0, len(value)), {}, Streams(0))

    def inside(self, place: int) -> Here:
        """Where one step of a composition acts."""
        return self._replace(part=(*self.part, place))

    @property
    def generator(self) -> torch.Generator:
        """Stream of this intervention alone, which goes on from chunk to chunk."""
        return self.streams.torch(f"intervention {self.node} {self.part}")


class Intervention(ABC):
    """Base of the value objects that change a node's value.

    A subclass is a frozen dataclass with ``__call__(value, here=None) -> value`` on a
    tensor of shape ``(n, *node shape)``, and may refuse nodes that it does not fit in
    `check`. ``here`` is a `Here`, or None outside of a query. Other nodes that the
    tuple ``reads`` names come before this one, and they alone are in ``here.nodes``.
    Equality and hash compare the fields, arrays included.
    """

    reads: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        """Changed values of the node, in a new tensor."""

    def mechanism(self, f: nn.Module) -> Callable[..., Tensor]:
        """Return what stands in for the mechanism that produces the node."""
        return f

    def check_mechanism(
        self, node: str, module: nn.Module, parents: Sequence[Shape]
    ) -> None:
        """Raise ValueError if `mechanism` does not fit one and its parents' shapes."""
        return

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        """Raise ValueError if the intervention does not fit a node.

        Parameters
        ----------
        node : str
        shape : tuple of int
        kind : {"vector", "map", "points", "levels"}, optional
            None goes by the shape: maps have two or three axes. Points are ``(n,
            coordinates)``, in pixels from the middle, in the order of the axes.
        """
        return  # Most fit any node.

    def scaled(self, t: float) -> Intervention:
        """Return the intervention at a strength: 0 changes nothing, 1 is itself.

        Parameters
        ----------
        t : float
            Any finite number; beyond 1 it extrapolates.

        Raises
        ------
        TypeError
            For interventions that have no strength, such as ``Do``.
        """
        raise TypeError(
            f"{self!r} has no strength: only continuous interventions, such as Shift, "
            "Scale and Stretch, can be scaled."
        )

    def inverse(self) -> Intervention:
        """Return the intervention that undoes this one.

        Raises
        ------
        ValueError
            For interventions that forget what they change, such as ``Do``.
        """
        raise ValueError(f"{self!r} has no inverse that is known.")

    def __rshift__(self, other: Any) -> Intervention:
        """Do this intervention first, then the other one."""
        return Compose((self, other))

    def to_dict(self) -> dict[str, Any]:
        """Description of numbers, strings and lists, such as JSON can hold.

        Returns
        -------
        dict
            ``{"type": class name, field: value, ...}``; `from_dict` reads it.
        """
        return described(self, Intervention)

    @staticmethod
    def from_dict(description: Mapping[str, Any]) -> Intervention:
        """Make the intervention that `to_dict` described.

        Parameters
        ----------
        description : dict
            It may nest 50 deep and hold 1,000 interventions.

        Raises
        ------
        TypeError, ValueError
            For what is no description, or one that is too large.
        """
        return made_from(description, Intervention)

    def key(self) -> tuple:
        """Return what equality and hash compare."""
        return (type(self), *(_hashable(getattr(self, f.name)) for f in fields(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervention) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    if isinstance(value, np.ndarray):
        # Of objects the bytes are addresses.
        is_text = value.dtype == object
        entries = tuple(value.ravel()) if is_text else value.tobytes()
        return (value.shape, value.dtype.str, entries)
    return value


def shown(array: np.ndarray) -> str:
    return repr(array.item() if array.ndim == 0 else array.tolist())


@dataclass(frozen=True, eq=False, repr=False)
class ValuedIntervention(Intervention):
    """Interventions with one number or array that broadcasts to the node's shape."""

    value: Any

    def __post_init__(self) -> None:
        # Equality is of values: Do(1) == Do(1.0) == Do(np.array(1)).
        object.__setattr__(self, "value", as_array(self, "value", self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self.value)})"

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        check_broadcasts(self, self.value, node, shape)

    def _tensor(self, like: Tensor) -> Tensor:
        return torch.tensor(self.value, dtype=like.dtype, device=like.device)


class Do(ValuedIntervention):
    """Hard intervention: set the node to a value.

    Parameters
    ----------
    value : float or array-like
        Broadcasts to the shape of the node. Of a table's column of levels one level,
        of any type.

    Examples
    --------
    >>> Do(0.5)
    Do(0.5)
    >>> Do("treated")
    Do('treated')
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", as_levels(self, "value", self.value))

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        check_numbers(self, self.value, node)
        super().check(node, shape, kind)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        return self._tensor(value).expand_as(value).clone()


@dataclass(frozen=True, eq=False, repr=False)
class _Function(Intervention):
    """A user's callable on the values of a node, which may return numpy."""

    function: Callable[[Tensor], Any]

    def __repr__(self) -> str:
        return repr(self.function)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        what = f"The callable {self!r}"
        if here is not None:
            what = f"The intervention on node {here.node!r}"
        # It may write into what it is handed.
        return asked(self.function, value.clone(), what)


def asked(function: Callable, values: Any, what: str) -> Any:
    """What a user's callable returns; it is told that values are not one number."""
    try:
        return function(values)
    except (RuntimeError, TypeError, ValueError) as error:
        if not any(word in str(error) for word in ONE_VALUE_ASKED):
            raise
        raise ValueError(
            f"{what} treats what it is given as one number: {error}. {ALL_ROWS}"
        ) from error


def as_intervention(value: Any, node: str = "node") -> Intervention:
    """Wrap what a node is changed by, so that inside there is one type.

    A number or array becomes ``Do(value)``, a callable on values an intervention.
    """
    if isinstance(value, type):
        raise TypeError(
            f"The intervention on node {node!r} must be an instance, got the class "
            f"{value.__name__}: write {value.__name__}(...)."
        )
    if isinstance(value, Intervention):
        if isinstance(value.reads, str):
            raise TypeError(
                f"{type(value).__name__}: reads must be a tuple of names of nodes, got "
                f"{value.reads!r}: write ({value.reads!r},)."
            )
        return value
    if callable(value):
        return _Function(value)
    if isinstance(value, (bool, str, bytes)) or value is None:
        raise TypeError(
            f"The intervention on node {node!r} must be an intervention, a callable, a "
            f"number or an array, got {value!r}. Try Do(0.0), Scale(2.0), or "
            "lambda value: 2 * value; Do(level) sets a table's column of levels."
        )
    return Do(value)


def check_interventions(
    interventions: Mapping[str, Any],
    nodes: Mapping[str, Shape],
    kinds: Mapping[str, str] | None = None,
) -> dict[str, Intervention]:
    """Wrap interventions and check that each has a node which it fits."""
    if not isinstance(interventions, Mapping):
        raise TypeError(
            "interventions must be a dict {node name: intervention}, got "
            f"{type(interventions).__name__}."
        )
    checked = {}
    for name, value in interventions.items():
        if name not in nodes:
            close = get_close_matches(str(name), list(nodes), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"Unknown node {str(name)!r}; the nodes are {list(nodes)}.{hint}"
            )
        checked[name] = as_intervention(value, name)
        checked[name].check(name, nodes[name], (kinds or {}).get(name))
    return checked


def applied(change: Intervention, value: Tensor, here: Here | None = None) -> Tensor:
    """Values that an intervention makes: a tensor like the one that it is given."""
    is_ours = type(change).__module__.split(".")[0] == PACKAGE
    where = "" if here is None else f" on node {here.node!r}"
    try:
        # A class of a user's may write into what it is handed.
        result = change(value if is_ours else value.clone(), here)
    except (KeyError, TypeError) as error:
        if is_ours:
            raise
        raise TypeError(
            f"The intervention {change!r}{where} fails, {error!r}: a class has "
            "__call__(self, value, here=None), and here.nodes those that it reads."
        ) from error
    if isinstance(result, np.ndarray):
        result = torch.from_numpy(np.ascontiguousarray(result))
    if not isinstance(result, Tensor) or result.shape != value.shape:
        got = type(result).__name__
        if isinstance(result, Tensor):
            got = f"shape {tuple(result.shape)}"
        raise ValueError(
            f"The intervention {change!r}{where} must return a tensor of the shape "
            f"that it is given, {tuple(value.shape)}, got {got}. {ALL_ROWS}"
        )
    return result.to(value)


def steps_of(change: Intervention) -> tuple[Intervention, ...]:
    """Steps of a composition, or the intervention alone."""
    return change.steps if isinstance(change, Compose) else (change,)


def replaces_mechanism(change: Intervention | None) -> bool:
    """Whether something stands in for the mechanism of the node."""
    own = [type(step).mechanism for step in steps_of(change)] if change else []
    return any(method is not Intervention.mechanism for method in own)


def acting_inside(
    interventions: Mapping[str, Intervention], data_node: str
) -> dict[str, Intervention]:
    """What acts inside a graph: at the data node, only on its mechanism."""
    inside = {k: change for k, change in interventions.items() if k != data_node}
    own = interventions.get(data_node)
    steps = [] if own is None else list(filter(replaces_mechanism, steps_of(own)))
    return inside | ({data_node: Compose(steps)} if steps else {})


@dataclass(frozen=True, eq=False)
class Compose(Intervention):
    """Interventions on one node, the first one first; ``a >> b`` makes one.

    Parameters
    ----------
    steps : sequence of interventions, callables, numbers or arrays
        At least one.

    Examples
    --------
    >>> from sklearn_icm.interventions import Scale, Shift
    >>> Shift(1.0) >> Scale(2.0)
    Compose(steps=(Shift(1.0), Scale(2.0)))
    """

    steps: Sequence[Any]

    def __post_init__(self) -> None:
        listed = isinstance(self.steps, (list, tuple)) and len(self.steps) > 0
        if not listed:
            raise TypeError(
                "Compose: steps must be a non-empty list of interventions, got "
                f"{self.steps!r}."
            )
        flat = [part for step in self.steps for part in steps_of(as_intervention(step))]
        object.__setattr__(self, "steps", tuple(flat))

    @property
    def reads(self) -> tuple[str, ...]:
        """Nodes that one of the steps reads."""
        return tuple(name for step in self.steps for name in step.reads)

    def check(self, node: str, shape: Shape, kind: str | None = None) -> None:
        for step in self.steps:
            step.check(node, shape, kind)

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        here = here or Here.alone(value)
        for place, step in enumerate(self.steps):
            value = applied(step, value, here.inside(place))
        return value

    def mechanism(self, f: nn.Module) -> Callable[..., Tensor]:
        for step in self.steps:
            f = step.mechanism(f)
        return f

    def check_mechanism(
        self, node: str, module: nn.Module, parents: Sequence[Shape]
    ) -> None:
        for step in filter(replaces_mechanism, self.steps):
            step.check_mechanism(node, module, parents)

    def scaled(self, t: float) -> Compose:
        """Every step at the strength t."""
        return Compose(tuple(step.scaled(t) for step in self.steps))

    def inverse(self) -> Compose:
        """Return the inverses of the steps, the last one first."""
        return Compose(tuple(step.inverse() for step in reversed(self.steps)))
