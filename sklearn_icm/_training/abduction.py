"""Abduction by optimisation: the most probable noise behind given rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

RATE = 0.05
PATIENCE = 10


@dataclass(frozen=True)
class Refined:
    """Noise of rows, with what was reached; one entry per row."""

    noise: Tensor
    n_steps: Tensor
    converged: Tensor


def log_joint(module: nn.Module, x: Tensor, noise: Tensor) -> Tensor:
    """log p(x | z) + log p(z) of each row, up to a constant."""
    output = module.graph(noise)[module.graph.data_node]
    return module.likelihood.log_prob(x, output) + module.noise.log_prob(noise)


@torch.inference_mode(False)
@torch.enable_grad()
def most_probable_noise(
    module: nn.Module, x: Tensor, start: Tensor, *, max_steps: int, tol: float
) -> Refined:
    """Raise the log joint density of every row by Adam, and keep each row's best.

    A row has converged, and stays as it is, when ten steps together raised it by less
    than ``tol`` times its absolute value (at least one nat).
    """
    # Out of any inference mode, tensors may have been made in one.
    x, noise = x.clone(), start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([noise], lr=RATE)
    best, value = start.detach().clone(), torch.full((len(x),), -torch.inf).to(x)
    earlier = value.clone()
    active = torch.ones(len(x), dtype=torch.bool, device=x.device)
    n_steps = torch.zeros(len(x), dtype=torch.long, device=x.device)
    for step in range(max_steps + 1):
        joint = log_joint(module, x, noise)
        better = active & (joint.detach() > value)
        best[better], value[better] = noise.detach()[better], joint.detach()[better]
        if step % PATIENCE == 0:
            threshold = tol * value.abs().clamp(min=1)
            active &= ~(value - earlier < threshold)
            earlier = value.clone()
        if step == max_steps or not bool(active.any()):
            break
        (noise.grad,) = torch.autograd.grad(-joint.sum(), [noise])
        optimizer.step()
        n_steps += active
    return Refined(best, n_steps, ~active)
