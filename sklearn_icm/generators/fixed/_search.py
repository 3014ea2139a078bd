"""The most probable noise behind rows of a given graph: by damped least squares."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...models import GenerativeModel

# Halves of the intervals over which slopes are taken, of noise of variance 1.
HALF = 1e-2
MOST_ROUNDS, TOLERANCE = 40, 1e-5
FIRST_DAMPING, LEAST_DAMPING = 1e-2, 1e-6
# After a step that was better, and one that was not.
FACTORS = 0.1, 10.0
# Numbers in the nodes of the rows that are computed at once.
MOST_NUMBERS = 2**22


@torch.no_grad()
def least_squares_noise(module: GenerativeModel, x: Tensor, starts: Tensor) -> Tensor:
    """Most probable noise behind rows from the best of several starts, (n, n_latents).

    Parameters
    ----------
    module : GenerativeModel
        Its one root is standard normal, and its observation noise normal, of a variance
        that does not depend on the mean: then the logarithm of the joint density is a
        sum of squares.
    x : Tensor of shape (n, *node shape)
    starts : Tensor of shape (n, n_starts, n_latents)

    Notes
    -----
    Steps of Levenberg and Marquardt, each row with a damping of its own. Slopes are
    differences, so that no mechanism has to be differentiable, and all of a round cost
    two passes of the graph.

    References
    ----------
    Marquardt (1963), *An algorithm for least-squares estimation of nonlinear
    parameters*, Journal of the Society for Industrial and Applied Mathematics 11.
    """
    n_starts, n_latents = starts.shape[1:]
    per_row = sum(math.prod(shape) for shape in module.graph.nodes.values())
    size = max(1, MOST_NUMBERS // (n_starts * n_latents * per_row))
    pairs = zip(x.split(size), starts.split(size), strict=True)
    return torch.cat([_searched(module, *pair) for pair in pairs])


def _searched(module: GenerativeModel, x: Tensor, starts: Tensor) -> Tensor:
    n, n_starts, n_latents = starts.shape
    x, z = x.repeat_interleave(n_starts, 0), starts.flatten(0, 1).clone()
    left = _residuals(module, x, z)
    # Matrices are of doubles, which some devices do not have.
    loss, identity = _losses(left, z), torch.eye(n_latents, dtype=torch.double)
    damping, searched = torch.full_like(loss, FIRST_DAMPING), torch.arange(len(z))
    for _ in range(MOST_ROUNDS):
        own = searched.to(z.device)
        slopes, noise = _slopes(module, x[own], z[own]), z[own].cpu().double()
        gradient = (slopes @ left[own].cpu().double()[:, :, None])[:, :, 0] + noise
        curvature = slopes @ slopes.mT + identity
        diagonal = damping[searched, None] * curvature.diagonal(dim1=1, dim2=2)
        step = torch.linalg.solve(curvature + torch.diag_embed(diagonal), gradient)
        new = (noise - step).to(z)
        new_left = _residuals(module, x[own], new)
        new_loss, earlier = _losses(new_left, new), loss[searched]
        better = new_loss < earlier
        taken, place = better.to(z.device), searched[better]
        z[own[taken]], left[own[taken]] = new[taken], new_left[taken]
        loss[place] = new_loss[better]
        damping[searched] *= torch.where(better, *FACTORS)
        damping.clamp_(min=LEAST_DAMPING)
        # What the step was to gain at most, if the graph were linear, or has gained.
        gain = (step * gradient).sum(1)
        gain = torch.where(better, gain.minimum(earlier - new_loss), gain)
        searched = searched[gain > TOLERANCE * earlier.clamp(min=1)]
        if not len(searched):
            break
    best = loss.view(n, n_starts).argmin(1).to(z.device)
    return z.view(n, n_starts, n_latents)[torch.arange(n, device=z.device), best]


def _residuals(module: GenerativeModel, x: Tensor, z: Tensor) -> Tensor:
    """What the noise leaves of rows, in standard deviations of the observation."""
    likelihood = module.likelihood
    left = (module.graph(z)[module.graph.data_node] - x) / likelihood.link.scale
    return (left / likelihood.variance.clamp(likelihood.FLOOR).sqrt()).flatten(1)


def _losses(left: Tensor, z: Tensor) -> Tensor:
    """Twice the negative logarithm of the joint density but for a constant, (n,)."""
    squares = (part.cpu().double().square().sum(1) for part in (left, z))
    return sum(squares).nan_to_num(torch.inf)


def _slopes(module: GenerativeModel, x: Tensor, z: Tensor) -> Tensor:
    """Slopes of the residuals along each latent, (n, n_latents, n_features)."""
    n, n_latents = z.shape
    moves = HALF * torch.eye(n_latents).to(z)
    x = x.repeat_interleave(n_latents, 0)
    up, down = (
        _residuals(module, x, (z[:, None] + side * moves).flatten(0, 1))
        for side in (1, -1)
    )
    slopes = ((up - down) / (2 * HALF)).nan_to_num().cpu().double()
    return slopes.view(n, n_latents, -1)
