"""What builders ask of their parameters, and estimators of a decoder."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import nn

from ._modules import tensor_of

# By the names of autograd's nodes, so that calls of functions are seen, too.
ONE_SIDED = {
    *("Celu", "Elu", "Exp", "Gelu", "Hardsigmoid", "Hardswish", "LogSigmoid"),
    *("LogSoftmax", "Mish", "Relu", "Sigmoid", "Silu", "Softmax", "Softplus", "Tanh"),
}
RESHAPING = {
    *("Clone", "Expand", "Permute", "ReshapeAlias", "Slice", "Squeeze", "T"),
    *("Transpose", "UnsafeView", "Unsqueeze", "View"),
}


def check_count(name: str, value: Any) -> None:
    """Refuse what is not an int of at least 1."""
    if not is_count(value):
        raise ValueError(f"{name} must be an int of at least 1, got {value!r}.")


def check_counts(name: str, values: Any, *, least: int = 0) -> None:
    """Refuse what is not a sequence of so many ints of at least 1."""
    listed = isinstance(values, Iterable) and not isinstance(values, str)
    values = list(values) if listed else values
    if not listed or len(values) < least or not all(map(is_count, values)):
        some = f"{least} or more " if least else ""
        raise ValueError(
            f"{name} must be a sequence of {some}ints of at least 1, got {values!r}."
        )


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Refuse what is not one of some names."""
    if value not in tuple(choices):
        raise ValueError(f"{name} must be one of {list(choices)}, got {value!r}.")


def check_map_shape(data_shape: Sequence[int]) -> None:
    """Refuse what is not the shape of maps along one or two axes."""
    check_counts("data_shape", data_shape)
    if len(data_shape) not in (2, 3):
        raise ValueError(
            "data_shape must be (channels, length) or (channels, height, width): maps "
            f"lie along one or two axes, got {data_shape!r}. Give the estimator the "
            "data_shape of its images or signals."
        )


@torch.no_grad()
def refuse_random(graph: nn.Module) -> None:
    """Refuse a graph of which a mechanism is no function of its parents in `eval`."""
    graph, start = copy.deepcopy(graph).eval(), torch.Generator().manual_seed(0)
    roots = {
        name: torch.randn(4, *shape, generator=start).to(tensor_of(graph))
        for name, shape in graph.roots.items()
    }
    first, second = graph(roots), graph(roots)
    for name, value in first.items():
        if not torch.allclose(value, second[name], equal_nan=True):
            raise ValueError(
                f"The mechanism of node {name!r} gives other values for the same "
                "parents: in eval mode, too, it draws random numbers, counts calls or "
                "writes into the .data of its parents, so that no two answers would "
                "share their noise. Let it read its noise from the root, and draw only "
                "while self.training."
            )


def final_activation(graph: nn.Module) -> str | None:
    """Name of a function of limited range that makes the values of the data node."""
    if torch.is_inference_mode_enabled():
        return None  # Such as where a model is loaded: it was asked at the fit.
    # A copy without what works in place, which autograd names otherwise.
    graph = copy.deepcopy(graph).eval()
    for module in graph.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    roots = {
        name: tensor_of(graph).new_zeros(2, *shape, requires_grad=True)
        for name, shape in graph.roots.items()
    }
    with torch.enable_grad():
        made_by = graph(roots)[graph.data_node].grad_fn
    while made_by is not None:
        name = made_by.name().partition("Backward")[0]
        if name not in RESHAPING:
            return name if name in ONE_SIDED else None
        made_by = made_by.next_functions[0][0]
    return None


def is_count(value: Any) -> bool:
    """Whether a value is an int of at least 1."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
