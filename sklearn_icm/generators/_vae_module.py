"""The torch side of the variational autoencoder: its bound and its latent density."""

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import nn

from .._training.seeds import numpy_stream, torch_stream
from ..mechanisms import MixtureNoise, tensor_of

ROWS_PER_COMPONENT = 12
MAX_COMPONENTS = 100
MIXTURE_ROWS = 50_000
CHUNK = 1024


class VAEModule(nn.Module):
    """Decoder graph, encoder and the two distributions at their ends."""

    def __init__(self, layout, *, graph, encoder, likelihood, beta, fits_mixture):
        super().__init__()
        self.layout = layout
        self.graph = graph
        self.encoder = encoder
        self.likelihood = likelihood
        self.beta = beta
        self.fits_mixture = fits_mixture
        self.noise = MixtureNoise(next(iter(graph.roots.values()))[0])

    def prepare(self, x):
        """Take the units of the data."""
        self.likelihood.set_units(x)

    def posterior(self, x):
        """Mean and log variance of q(z | x)."""
        x = self.likelihood.standardised(x)
        return self.encoder(x)["posterior"].chunk(2, dim=1)

    def loss_terms(self, x, generator):
        """Terms of the negative evidence bound per feature, and the node values."""
        mean, log_variance = self.posterior(x)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        nodes = self.graph(mean + (0.5 * log_variance).exp() * noise)
        output = nodes[self.graph.data_node]
        if self.training:
            self.likelihood.track(x, output.detach())
        per_feature = 1 / self.layout.n_features
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(
            1
        )
        terms = {
            "reconstruction": -per_feature * self.likelihood.log_prob(x, output).mean(),
            "kl": self.beta * per_feature * divergence.mean(),
        }
        return terms, nodes

    @torch.no_grad()
    def finish(self, x, entropy):
        """Fit what sampling needs to the rows: variances, density of the latents."""
        generator = torch_stream(entropy, "finish")
        chosen = _chosen_rows(len(x), MIXTURE_ROWS, generator)
        # Filled in place: small tensors kept from every chunk would lie between large
        # freed ones, and the process would grow with the rows.
        n_latents = next(iter(self.graph.roots.values()))[0]
        kept = tensor_of(self).new_empty(2, int(chosen.sum()), n_latents)
        squared, filled = 0.0, 0
        for chunk, keep in zip(x.split(CHUNK), chosen.split(CHUNK), strict=True):
            m, v = self.posterior(chunk)
            z = m + (0.5 * v).exp() * torch.randn(m.shape, generator=generator).to(m)
            residual = chunk - self.graph(z)[self.graph.data_node]
            squared = squared + self.likelihood.squared(residual).sum(0)
            stop = filled + int(keep.sum())
            kept[:, filled:stop] = torch.stack([m, v])[:, keep.to(m.device)]
            filled = stop
        self.likelihood.fit_variance(squared / len(x))
        if self.fits_mixture:
            mean, log_variance = kept
            self._fit_mixture(mean, (0.5 * log_variance).exp(), generator, entropy)

    def _fit_mixture(self, mean, spread, generator, entropy):
        """Fit a mixture to draws from all posteriors together."""
        repeats = max(1, min(5, MIXTURE_ROWS // len(mean)))
        draws = torch.randn(repeats, *mean.shape, generator=generator).to(mean)
        z = (mean + spread * draws).flatten(0, 1).double().cpu().numpy()
        n_components = max(1, min(MAX_COMPONENTS, len(mean) // ROWS_PER_COMPONENT))
        mixture = GaussianMixture(
            n_components,
            reg_covar=1e-4,
            max_iter=50,
            tol=1e-2,
            random_state=numpy_stream(entropy, "mixture"),
        ).fit(z)
        self.noise.set(
            *(
                torch.from_numpy(a)
                for a in (mixture.weights_, mixture.means_, mixture.covariances_)
            )
        )

    def abduct(self, x):
        """Noise that explains given data: the posterior mean."""
        return self.posterior(x)[0]

    def log_weights(self, x, noise):
        """log p(x | z) + log p(z) - log q(z | x); one row per draw of noise."""
        mean, log_variance = self.posterior(x)
        weights = []
        for draw in noise:
            z = mean + (0.5 * log_variance).exp() * draw
            log_q = -0.5 * (draw.square() + log_variance + np.log(2 * np.pi)).sum(1)
            output = self.graph(z)[self.graph.data_node]
            log_p = self.likelihood.log_prob(x, output) + self.noise.log_prob(z)
            weights.append(log_p - log_q)
        return torch.stack(weights)


def _chosen_rows(n, most, generator):
    """Mask of at most ``most`` of n rows, drawn only if there are more."""
    if n <= most:
        return torch.ones(n, dtype=torch.bool)
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[torch.randperm(n, generator=generator)[:most]] = True
    return chosen
