"""Modules as ``{name: ndarray}`` and back: what an estimator keeps when pickled."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import InconsistentVersionWarning
from torch import Tensor, nn

from .. import __version__

VERSIONS = {"sklearn_icm": __version__, "torch": str(torch.__version__)}
MOST_FAULTS = 3
PACKAGE = __name__.split(".")[0]
# Under which torch keeps what of a module is no tensor.
EXTRA = "_extra_state"


def to_arrays(module: nn.Module) -> dict[str, Any]:
    """Copy parameters and buffers to numpy; what modules share under its first name.

    Beside them is what modules say is their state, and is no tensor.
    """
    state = _state(module)
    arrays = {k: value.detach().cpu().numpy().copy() for k, value in state.items()}
    return arrays | {k: own.get_extra_state() for k, own in _extras(module).items()}


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; those of a shared module once."""
    owners = dict(module.named_modules())
    state = module.state_dict(keep_vars=True)
    return {
        name: value
        for name, value in state.items()
        if name.rpartition(".")[0] in owners and isinstance(value, Tensor)
    }


def _extras(module: nn.Module) -> dict[str, nn.Module]:
    """Modules whose state is more than tensors, by the name of it."""
    return {
        f"{name}.{EXTRA}": part
        for name, part in module.named_modules()
        if type(part).get_extra_state is not nn.Module.get_extra_state
    }


def appearance(module: nn.Module) -> str:
    """What a module prints, without addresses in memory: its layers and options."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(module))


def load_arrays(module: nn.Module, arrays: dict[str, np.ndarray], shown: str) -> None:
    """Put arrays back into a module that is as the one they were taken from.

    Names, shapes and what is printed must be the same, and numbers finite. A module
    says what fitting changes of that: ``sized_by_fit`` names buffers whose number of
    rows (one for all of a module) is only known then, ``any_number`` those that may
    hold NaN or infinity.

    Raises
    ------
    ValueError
        If something does not fit; the module is then as it was.
    """
    own, extras = _state(module), _extras(module)
    known = {*own, *extras}
    faults = [f"{name!r} is missing" for name in known if name not in arrays]
    faults += [f"{name!r} is not of this model" for name in arrays if name not in known]
    for name in filter(arrays.__contains__, own):
        faults += _faults(module, name, own[name], arrays)
    here = appearance(module)
    if here != shown:
        lines = zip_longest(shown.splitlines(), here.splitlines(), fillvalue="nothing")
        was, now = next((a.strip(), b.strip()) for a, b in lines if a != b)
        faults.append(f"it was fitted with {was}, where there is now {now}")
    if faults:
        more = len(faults) - MOST_FAULTS
        raise ValueError(
            f"The saved state does not fit the model: {'; '.join(faults[:MOST_FAULTS])}"
            f"{f'; and {more} more faults' if more > 0 else ''}. Load it where its "
            "decoder and the package are as they were when it was saved, or fit anew."
        )
    restore(module, {k: torch.from_numpy(np.array(arrays[k])) for k in own})
    for name, part in extras.items():
        part.set_extra_state(arrays[name])


def _faults(
    module: nn.Module, name: str, own: Tensor, arrays: Mapping[str, np.ndarray]
) -> Iterator[str]:
    """What is wrong with one array."""
    owner, leaf = _place(module, name)
    array, shape = np.asarray(arrays[name]), tuple(own.shape)
    sized = getattr(owner, "sized_by_fit", ())
    if leaf in sized:
        first = np.shape(arrays.get(name.removesuffix(leaf) + sized[0]))[:1]
        # Only what starts without rows may have none.
        shape = (max(*first, min(1, *shape[:1])) if first else 1, *shape[1:])
    kind = np.empty(0, str(own.dtype).split(".")[-1]).dtype
    if (array.shape, array.dtype) != (shape, kind):
        yield (
            f"{name!r} must be of shape {shape} and type {kind}, got {array.shape} and "
            f"{array.dtype}"
        )
    elif leaf not in getattr(owner, "any_number", ()) and array.dtype.kind in "fc":
        strange = ~np.isfinite(array)
        if leaf not in sized:
            # An own module may hold a mask of infinities.
            strange &= own.detach().isfinite().cpu().numpy()
        if strange.any():
            yield f"{name!r} holds {array[strange].flat[0]}"


def _place(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Which module holds a parameter or buffer, and under which name."""
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def warn_of_versions(name: str, versions: Mapping[str, str]) -> None:
    """Warn, as scikit-learn does, of a state that other versions saved."""
    if versions == VERSIONS:
        return
    said = [", ".join(f"{k} {v}" for k, v in vs.items()) for vs in (versions, VERSIONS)]
    warnings.warn(
        InconsistentVersionWarning(
            estimator_name=name,
            original_sklearn_version=said[0] or "unknown",
            current_sklearn_version=said[1],
        ),
        stacklevel=4,
    )


def places(module: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Which module holds each parameter and buffer, and under which name."""
    return {name: _place(module, name) for name in _state(module)}


def restore(module: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Put a snapshot back; buffers may have had another number of rows."""
    with torch.no_grad():
        for name, value in kept.items():
            owner, leaf = _place(module, name)
            now = getattr(owner, leaf)
            if now.shape == value.shape:
                now.copy_(value)
            else:
                setattr(owner, leaf, value.to(now))


def in_double(module: nn.Module, known: dict[int, nn.Module] | None = None) -> Any:
    """A module for queries on the CPU in double precision, whose own stays as it is.

    Modules of this package hold their tensors where torch looks for them, and what is
    beside can be shared; others are copied as a whole. What stands at several places is
    one module there too, by ``known``. Parts that a module names in ``for_training``,
    which no query asks, stay as they are.
    """
    known = {} if known is None else known
    if id(module) in known:
        return known[id(module)]
    own = type(module).__module__
    if own.split(".")[0] != PACKAGE and own != nn.ModuleList.__module__:
        made = copy.deepcopy(module).cpu().double().requires_grad_(False)
    else:
        made = object.__new__(type(module))
        tensors = {
            kind: {k: _doubled(v) for k, v in vars(module)[kind].items()}
            for kind in ("_parameters", "_buffers")
        }
        kept = getattr(module, "for_training", ())
        parts = {
            k: v if k in kept else in_double(v, known)
            for k, v in vars(module)["_modules"].items()
        }
        vars(made).update(vars(module) | tensors, _modules=parts)
    known[id(module)] = made
    return made


def _doubled(value: Tensor | None) -> Tensor | None:
    if value is None:
        return None
    value = value.detach().cpu()
    return value.double() if value.is_floating_point() else value


class Packed:
    """A module that is a parameter, without torch's tensors: arrays beside its frame.

    Parameters
    ----------
    module : nn.Module
    """

    def __init__(self, module: nn.Module) -> None:
        tensors: dict[int, tuple[Tensor, list[str]]] = {}
        named = (
            module.named_parameters(remove_duplicate=False),
            module.named_buffers(remove_duplicate=False),
        )
        # One that is shared stands at several places.
        for name, tensor in chain(*named):
            tensors.setdefault(id(tensor), (tensor, []))[1].append(name)
        self.frame = copy.deepcopy(module, dict.fromkeys(tensors))
        self.tensors = [
            {
                "names": names,
                "value": tensor.detach().cpu().numpy().copy(),
                "is_parameter": isinstance(tensor, nn.Parameter),
                "requires_grad": tensor.requires_grad,
            }
            for tensor, names in tensors.values()
        ]

    def module(self) -> nn.Module:
        """The module, on the CPU."""
        module = copy.deepcopy(self.frame)
        for kept in self.tensors:
            value = torch.from_numpy(np.array(kept["value"]))
            if kept["is_parameter"]:
                value = nn.Parameter(value, requires_grad=kept["requires_grad"])
            for name in kept["names"]:
                owner, leaf = _place(module, name)
                setattr(owner, leaf, value)
        return module


def packed(value: Any) -> Any:
    """A value, whose modules are `Packed` ones if it is a module or a dict of some."""
    if type(value) is dict:
        return {name: packed(part) for name, part in value.items()}
    return Packed(value) if isinstance(value, nn.Module) else value


def unpacked(value: Any) -> Any:
    """The value that was `packed`."""
    if type(value) is dict:
        return {name: unpacked(part) for name, part in value.items()}
    return value.module() if isinstance(value, Packed) else value


def kept(value: Any) -> Any:
    """A copy that later edits leave alone; of functions the reference."""
    if callable(value) and not isinstance(value, nn.Module):
        return value
    return copy.deepcopy(value)


def comparable(value: Any) -> Any:
    """A value that equals that of the same parameter.

    Sequences are lists, partial functions what they bind, modules arrays, estimators
    their parameters.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [comparable(v) for v in value]
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items()}
    if isinstance(value, nn.Module):
        arrays = {
            k: v.tobytes() if isinstance(v, np.ndarray) else comparable(v)
            for k, v in to_arrays(value).items()
        }
        return [appearance(value), arrays]
    if isinstance(value, partial):
        return [partial, value.func, *map(comparable, (value.args, value.keywords))]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return [type(value), comparable(value.get_params(deep=False))]
    return value
