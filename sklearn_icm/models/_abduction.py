"""Abduction by optimisation: the most probable noise behind given rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import GenerativeModel

FIRST_RATE, LAST_RATE, DECAY = 0.1, 0.002, 0.3
MOMENTUM, SCALING = 0.9, 0.99
PATIENCE = 10


@dataclass(frozen=True)
class Refined:
    """Noise of rows, with what was reached; one entry per row."""

    noise: Tensor
    n_steps: Tensor
    converged: Tensor


def log_joint(module: GenerativeModel, x: Tensor, noise: Tensor) -> Tensor:
    """log p(x | z) + log p(z) of each row."""
    output = module.graph(noise)[module.graph.data_node]
    return module.likelihood.log_prob(x, output) + module.log_prior(noise)


@torch.inference_mode(False)
@torch.enable_grad()
def most_probable_noise(
    module: GenerativeModel, x: Tensor, start: Tensor, *, max_steps: int, tol: float
) -> Refined:
    """Raise the log joint density of every row by Adam, and keep each row's best.

    Every row has its own learning rate, and so is treated alike among other rows. It
    falls when ten steps together raised the row's density by less than ``tol`` times
    its absolute value (at least one nat), and the row has converged below a last rate.
    """
    # Tensors that were made in an inference mode cannot be differentiated.
    x, z = x.clone(), start.detach().clone()
    best, value = z.clone(), torch.full((len(x),), -torch.inf).to(z)
    earlier, rate = value.clone(), torch.full_like(value, FIRST_RATE)
    mean, square = torch.zeros_like(z), torch.zeros_like(z)
    n_steps = torch.zeros(len(x), dtype=torch.long, device=x.device)
    for step in range(max_steps + 1):
        joint, gradient = _with_gradient(module, x, z)
        better = joint > value
        best[better], value[better] = z[better], joint[better]
        if step % PATIENCE == 0:
            stalled = value - earlier < tol * value.abs().clamp(min=1)
            rate[stalled] *= DECAY
            z[stalled] = best[stalled]
            earlier = value.clone()
        active = rate >= LAST_RATE
        if step == max_steps or not bool(active.any()):
            break
        mean = torch.lerp(gradient, mean, MOMENTUM)
        square = torch.lerp(gradient.square(), square, SCALING)
        unbiased = mean / (1 - MOMENTUM ** (step + 1))
        spread = (square / (1 - SCALING ** (step + 1))).sqrt()
        z = z + (rate * active)[:, None] * unbiased / (spread + 1e-12)
        n_steps += active
    return Refined(best, n_steps, rate < LAST_RATE)


def _with_gradient(
    module: GenerativeModel, x: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    z = z.detach().requires_grad_()
    joint = log_joint(module, x, z)
    (gradient,) = torch.autograd.grad(joint.sum(), [z])
    return joint.detach(), gradient
