"""Modules as ``{name: ndarray}`` and back: what an estimator keeps when pickled."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Copy parameters and buffers to numpy."""
    state = module.state_dict()
    return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}


def load_arrays(module: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Put arrays back; buffers may have another size than the new module's.

    (The number of mixture components, say, is known only after fitting.)
    """
    for name, array in arrays.items():
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        value = torch.from_numpy(np.array(array))
        if leaf in owner._buffers:
            owner._buffers[leaf] = value.to(owner._buffers[leaf])
        else:
            with torch.no_grad():
                owner.get_parameter(leaf).copy_(value)


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copy parameters and buffers, on their device."""
    return {name: v.detach().clone() for name, v in module.state_dict().items()}
