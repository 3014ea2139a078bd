"""The distribution of the noise node."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from ..utils.streams import Streams


class MixtureNoise(nn.Module):
    """Mixture of Gaussians; a standard normal until `set` gives it components."""

    sized_by_fit = ("weights", "means", "factors")

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(1))
        self.register_buffer("means", torch.zeros(1, n_latents))
        self.register_buffer("factors", torch.eye(n_latents)[None])

    def set(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Replace the components: (k,), (k, d) and (k, d, d) float64 tensors."""
        self.weights = weights.to(self.weights)
        self.means = means.to(self.means)
        self.factors = torch.linalg.cholesky(covariances).to(self.factors)

    def draw(self, n: int, streams: Streams) -> Tensor:
        """Draw n rows; random numbers are drawn on the CPU."""
        n_latents = self.means.shape[1]
        components = streams.torch("components")
        which = torch.multinomial(
            self.weights.cpu(), n, replacement=True, generator=components
        ).to(self.weights.device)
        latents = streams.torch("latents")
        normal = torch.randn(n, n_latents, generator=latents).to(self.means)
        spread = torch.einsum("nij,nj->ni", self.factors[which], normal)
        return self.means[which] + spread

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of each row, shape (n,)."""
        mixture = MixtureSameFamily(
            Categorical(self.weights, validate_args=False),
            MultivariateNormal(
                self.means, scale_tril=self.factors, validate_args=False
            ),
            validate_args=False,
        )
        return mixture.log_prob(z)
