"""Values of a node that follow from those of other nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._base import Compose, Here, Intervention, asked
from ._checks import finite_number
from ._places import _InPlaces


@dataclass(frozen=True, eq=False, repr=False)
class Policy(Intervention):
    """Set a node to a function of other nodes, as the changed model gives them.

    Parameters
    ----------
    function : callable or str
        ``function(*values) -> values``, of all rows at once. Of columns of a table it
        is given arrays of shape (n,), in their units or with the names of their levels,
        and returns such an array (or one number or level); of other nodes tensors of
        shape ``(n, *node shape)``. Its importable name, "module:function", stands for
        it.
    reads : sequence of str
        The nodes whose values it is given, in this order. None of them may depend on
        the node that is set.
    strength : float, default=1.0
        The node is moved by this share of the way to what the function says: see
        `scaled`. Levels know the strength 1 alone.

    Notes
    -----
    In a composition ``a >> Policy(...)`` it sets what ``a`` made; in ``Where(mask,
    Policy(...))`` and ``Units(k, Policy(...))`` it sets these places.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn_icm.generators import GraphGenerator
    >>> rng = np.random.RandomState(0)
    >>> X = pd.DataFrame({"age": rng.uniform(20, 60, 200)})
    >>> X["dose"] = X["age"] / 10 + rng.randn(200)
    >>> graph = GraphGenerator([("age", "dose")], mechanism="linear", random_state=0)
    >>> graph = graph.set_output(transform="pandas")
    >>> halves = Policy(lambda age: np.where(age > 40, 2.0, 4.0), reads=["age"])
    >>> changed = graph.fit(X).intervene({"dose": halves}, X=X)
    >>> changed["dose"].groupby(X["age"] > 40).mean().to_dict()
    {False: 4.0, True: 2.0}
    """

    function: Callable | str
    reads: tuple[str, ...] = field(kw_only=True)
    strength: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.function, str):
            object.__setattr__(self, "function", _imported(self.function))
        if not callable(self.function):
            raise TypeError(
                "Policy: function must be a callable, or the importable name of one "
                f"such as 'module:function', got {self.function!r}."
            )
        reads = self.reads
        listed = isinstance(reads, (list, tuple))
        if not listed or not all(isinstance(n, str) for n in reads):
            raise TypeError(
                f"Policy: reads must be a list of names of nodes, got {reads!r}"
                + (f": write [{reads!r}]." if isinstance(reads, str) else ".")
            )
        if not reads:
            raise ValueError(
                "Policy: reads names no node: give a number, or a callable on the "
                "node's own values, instead."
            )
        object.__setattr__(self, "reads", tuple(reads))
        self._check_takes_all()
        strength = finite_number(self, "strength", self.strength)
        object.__setattr__(self, "strength", strength)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", repr(self.function))
        strength = "" if self.strength == 1 else f", strength={self.strength:g}"
        return f"Policy({name}, reads={self.reads}{strength})"

    def _check_takes_all(self) -> None:
        try:
            takes = signature(self.function)
        except (TypeError, ValueError):
            # Of what is written in C nothing may be known.
            return
        try:
            takes.bind(*self.reads)
        except TypeError as error:
            raise TypeError(
                f"Policy: function must take one argument for each of reads, "
                f"{list(self.reads)}, got {self.function!r}: {error}."
            ) from None

    def __call__(self, value: Tensor, here: Here | None = None) -> Tensor:
        if here is None:
            raise ValueError(f"{self!r} reads other nodes: it acts in a query alone.")
        made = self.asked(here, [here.nodes[name] for name in self.reads])
        return self.moved(value, made, here)

    def asked(self, here: Here, values: list) -> Any:
        """What the function makes of values of the nodes that it reads."""
        what = f"The policy on node {here.node!r}"
        return asked(lambda given: self.function(*given), values, what)

    def moved(self, value: Tensor, made: Any, here: Here) -> Tensor:
        """Values of the node, so far to those that were made as the strength says."""
        try:
            made = torch.as_tensor(np.asarray(made) if _is_array(made) else made)
            made = made.to(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"The policy on node {here.node!r} must return numbers, got {made!r}."
            ) from error
        if made.shape == value.shape[:1] and value.shape[1:] == (1,):
            made = made[:, None]
        if made.ndim and made.shape != value.shape:
            raise ValueError(
                f"The policy on node {here.node!r} must return one value for each of "
                f"{len(value)} rows, shape {tuple(value.shape)}, or a single number, "
                f"got shape {tuple(made.shape)}."
            )
        made = made.expand_as(value)
        return made.clone() if self.strength == 1 else value.lerp(made, self.strength)

    def scaled(self, t: float) -> Policy:
        """Move the node by the share t of the way; 0 leaves it, 1 sets it."""
        strength = self.strength * finite_number(self, "t", t)
        return replace(self, strength=strength)

    def to_dict(self) -> dict[str, Any]:
        """Description in which the function has its importable name."""
        known = {"type": "Policy", "function": _name_of(self.function)}
        return known | {"reads": list(self.reads), "strength": self.strength}


def rebound(change: Intervention, bind: Callable[[Policy], Policy]) -> Intervention:
    """The intervention with something else for each policy in it."""
    if isinstance(change, Policy):
        return bind(change)
    if isinstance(change, Compose):
        return Compose([rebound(step, bind) for step in change.steps])
    if isinstance(change, _InPlaces):
        return replace(change, then=rebound(change.then, bind))
    return change


def _is_array(made: Any) -> bool:
    return not isinstance(made, Tensor) and hasattr(made, "__array__")


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"Policy: function must be importable as 'module:function', got {name!r}: "
            f"{error}."
        ) from error
    return found


def _name_of(function: Callable) -> str:
    module = getattr(function, "__module__", None)
    path = getattr(function, "__qualname__", None)
    name = f"{module}:{path}"
    try:
        importable = module != "__main__" and _imported(name) is function
    except ValueError:
        importable = False
    if not importable:
        raise TypeError(
            f"A policy can be described as JSON if its function can be imported by its "
            f"name, got {function!r}: define it with def in a module, or pickle the "
            "intervention."
        )
    return name
