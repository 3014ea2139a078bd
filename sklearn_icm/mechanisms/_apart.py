"""Call foreign maps so that what they write into their arguments stays theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

PACKAGE = __name__.split(".")[0]
# By module and by mode of training: whether a call wrote into what it was handed.
_WROTE: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()


def called_apart(f: Callable[..., Any], *values: Tensor, what: str = "f") -> Any:
    """Result of a map; the values stay as they are, even where it works in place.

    A module is handed copies in its first call, and later ones if that wrote into them.
    Other callables always are, but for those of this package.

    Parameters
    ----------
    f : callable
    *values : Tensor
    what : str
        Names the map in the error message.

    Raises
    ------
    RuntimeError
        If a module that wrote nothing before does so now.
    """
    if not isinstance(f, nn.Module):
        # Of a partial function, that of what it calls.
        made_in = str(getattr(getattr(f, "func", f), "__module__", ""))
        own = made_in.split(".")[0] == PACKAGE
        return f(*(values if own else map(Tensor.clone, values)))
    if any(value.is_inference() for value in values):
        # They count no writes.
        return f(*map(Tensor.clone, values))
    known = _WROTE.setdefault(f, {})
    copied = known.get(f.training, True)
    handed = [value.clone() for value in values] if copied else values
    before = versions(handed)
    result = f(*handed)
    wrote = before != versions(handed)
    if wrote and not copied:
        raise RuntimeError(
            f"{what} wrote into the values that it was handed, which it did not in its "
            "first call: clone what its forward changes in place."
        )
    known[f.training] = wrote
    return result


def versions(values: Iterable[Tensor]) -> list[int | None]:
    """Counters of the writes into tensors; those of an inference mode have none."""
    return [None if value.is_inference() else value._version for value in values]
