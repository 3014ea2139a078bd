"""A second device for machines that have none: a CPU that torch takes for another.

Inside of `second_device()` "cuda" is a device of real numbers, whose tensors, as those
of CUDA, meet neither numpy nor tensors or generators of the CPU; what is read from it
is listed. It knows no forward mode of differentiation, and no speed.
"""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from sklearn_icm.independence._correlations import lag_matrices

aten, T = torch.ops.aten, torch.Tensor
READERS = (T.tolist, T.item, T.__float__, T.__bool__, T.__int__, T.__index__)
# These may take tensors of both devices: copies, and indices of the CPU.
MOVES = (aten._to_copy.default, aten.copy_.default)
INDEXES = (
    aten.index.Tensor,
    *(aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default),
)


class There(torch.Tensor):
    """A tensor of the second device; the CPU's, which holds its numbers, is `inner`.

    (torch takes it for one of the meta device, for which it starts no driver.)
    """

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            inner.stride(),
            inner.storage_offset(),
            dtype=inner.dtype,
            device="meta",
        )
        made.inner = inner
        return made

    def __repr__(self):
        return f"There({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return called(func, args, kwargs or {}, [])


def is_there(device):
    return device is not None and torch.device(device).type in ("cuda", "meta")


def called(func, args, kwargs, reads):
    """Call an operator of torch on the numbers; the result is where CUDA's would be."""
    leaves = tree_leaves((args, kwargs))
    tensors = [v for v in leaves if isinstance(v, torch.Tensor)]
    there = [isinstance(v, There) for v in tensors]
    lost = [v for v, own in zip(tensors, there, strict=True) if v.is_meta and not own]
    assert not lost, f"{func} got numbers that the second device has lost"
    device = kwargs.get("device")
    goes = any(there) if device is None else is_there(device)
    if not goes and not any(there):
        return func(*args, **kwargs)
    asked = [args[0], *args[2:]] if func in INDEXES else tensors
    if func not in MOVES and any(there):
        mixed = [v for v in asked if isinstance(v, torch.Tensor) and v.ndim]
        if not all(isinstance(v, There) for v in mixed):
            raise RuntimeError(f"{func}: expected all tensors on the same device")
    if goes and any(isinstance(v, torch.Generator) for v in leaves):
        raise RuntimeError(f"{func}: expected a generator of the device")
    args_here, kwargs_here = tree_map(
        lambda v: v.inner if isinstance(v, There) else v, (args, kwargs)
    )
    if device is not None:
        kwargs_here["device"] = torch.device("cpu")
    result = func(*args_here, **kwargs_here)
    written = func is aten.copy_.default and not isinstance(args[0], There)
    if written or not goes:
        reads.append(func)
        return args[0] if written else result
    wrapped = tree_map(lambda v: There(v) if isinstance(v, T) else v, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


class _Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.reads = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return called(func, args, kwargs or {}, self.reads)


class _Functions(TorchFunctionMode):
    """What torch does to tensors before it asks operators."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        own = len(args) > 0 and isinstance(args[0], There)
        if func is torch.device:
            return func(*args, **kwargs)
        if own and func is T.numpy:
            raise TypeError("can't convert a tensor of the second device to numpy")
        if own and func in READERS:
            return func(args[0].cpu())
        if func in (torch.tensor, torch.as_tensor) and is_there(kwargs.get("device")):
            return func(*args, **{**kwargs, "device": "cpu"}).to("meta")
        if func is T.to and len(args) > 1 and isinstance(args[1], T):
            args = (args[0], args[1].device, args[1].dtype, *args[2:])
        if own and func in (T.__getitem__, T.__setitem__):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = (torch.tensor(k) if isinstance(k, list) else k for k in places)
            args = (args[0], tuple(places), *args[2:])
        args = [_renamed(v) for v in args]
        return func(*args, **{k: _renamed(v) for k, v in kwargs.items()})


def _renamed(value):
    named = isinstance(value, torch.device) or (type(value) is str and value == "cuda")
    return torch.device("meta") if named and is_there(value) else value


@contextmanager
def second_device():
    """Let "cuda" be the second device; the reads from it are listed."""
    # Kept by device, of which torch takes the second one for its meta device.
    lag_matrices.cache_clear()
    try:
        with _Operators() as operators, _Functions():
            yield operators.reads
    finally:
        lag_matrices.cache_clear()
