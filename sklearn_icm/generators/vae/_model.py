"""The torch side of the variational autoencoder: its bound and its latent density."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from ...exceptions import CollapsedDecoderWarning, PoorFitWarning
from ...interventions._base import Intervention
from ...mechanisms import MechanismGraph
from ...models import Explains, GenerativeModel, Scores
from ...models._base import Nodes
from ...models._noise import MixtureNoise
from ...models._query import RowQueries
from ...rows._batches import Batch, Rows, renewed
from ...rows._layout import DataLayout
from ...utils.streams import Streams, numpy_stream

DRAWS_PER_COMPONENT = 60
N_BOUND_DRAWS = 4
LEAST_VARIANCE = 1e-4
MAX_COMPONENTS = 100
MIXTURE_ROWS = 50_000
# What a stream of batches leaves for the next one.
MOST_KEPT, DRAWS_WHEN_RENEWED = 1024, 2
# Of a row, by which the course of the variance goes.
ENTRIES_PER_ROW = 8
CHUNK = 1024
# By which the variance of the rows goes, and what principal components explain of it.
FEW_ROWS = 200
# Of the largest variance of a component, the least that counts.
PCA_FLOOR = 1e-9
# A decoder has collapsed that explains less than a quarter of what principal
# components do, where these find something in common.
LEAST_SHARE, LEAST_LINEAR = 0.25, 0.2
# Beyond these the exponential is no number that means anything.
LOG_VARIANCES = (-30.0, 20.0)

# Of a mean or a deviation that clipping moves, in deviations.
MOST_MOVED = 0.1
# What float32 makes of a constant column may not vary at all.
TINY = np.finfo(float).tiny
# Rows of the rarer value: of fewer little is known.
FEWEST_ROWS = 10
# Of images and signals few have many entries.
N_TABLE_DRAWS, N_IMAGE_DRAWS = 1000, 50


class VAEModule(GenerativeModel, Explains, Scores):
    """Decoder graph, encoder and the two distributions at their ends."""

    sized_by_fit = ("kept",)

    def __init__(
        self,
        layout: DataLayout,
        *,
        graph: MechanismGraph,
        encoder: MechanismGraph,
        likelihood: nn.Module,
        beta: float,
        fits_mixture: bool,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.encoder = encoder
        self.likelihood = likelihood
        self.beta = beta
        self.fits_mixture = fits_mixture
        (self.n_latents,) = next(iter(graph.roots.values()))
        self.noise = MixtureNoise(self.n_latents)
        # Shares of the variance that the decoder and principal components explain.
        self.explained = (math.nan, math.nan)
        # Of rows of the stream: posterior mean and log variance, and of some entries
        # the standardised mean and the squared residual.
        n_entries = min(ENTRIES_PER_ROW, layout.n_features)
        self.sizes = (self.n_latents, self.n_latents, n_entries, n_entries)
        self.register_buffer("kept", torch.empty(0, sum(self.sizes)))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x)."""
        x = self.likelihood.standardised(x)
        mean, log_variance = self.encoder(x)["posterior"].chunk(2, dim=1)
        if not self.training:
            # Rows far from those of the fit have an answer; training must diverge.
            log_variance = log_variance.clamp(*LOG_VARIANCES)
        return mean, log_variance

    def loss_terms(self, batch: Batch) -> tuple[dict[str, Tensor], Nodes]:
        """Terms of the negative evidence bound per feature, and the node values."""
        mean, log_variance = self.posterior(batch.x)
        noise = batch.randn(*mean.shape)
        nodes = self.graph(mean + (0.5 * log_variance).exp() * noise)
        output = nodes[self.graph.data_node]
        # In training that which follows the step; `track` writes it afterwards.
        variance = None
        if self.training:
            variance = self.likelihood.tracked(batch.x, output, batch.weights)
        per_feature = 1 / self.layout.n_features
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(
            1
        )
        log_prob = self.likelihood.log_prob(batch.x, output, variance)
        terms = {
            "reconstruction": -per_feature * batch.mean(log_prob),
            "kl": self.beta * per_feature * batch.mean(divergence),
        }
        return terms, nodes

    def track(self, batch: Batch, nodes: Nodes) -> None:
        """Let the variance follow a step of training."""
        self.likelihood.track(batch.x, nodes[self.graph.data_node], batch.weights)

    @torch.no_grad()
    def finish(self, rows: Rows, streams: Streams, *, renew: bool = False) -> list:
        """Fit what sampling needs to the rows: variances, density of the latents.

        With ``renew`` earlier batches count too, by the rows that are kept of them.
        Returns warnings of what makes the model doubtful.
        """
        x = rows.x
        generator, places, shares = map(streams.torch, ("finish", "entries", "shares"))
        rows, squared = self._explained(x, generator, places)
        order = torch.randperm(len(x), generator=shares)
        (some,) = x[order[:FEW_ROWS]].split(FEW_ROWS)  # Of a file too.
        spread = self.likelihood.squared(some - some.mean(0)).mean()
        earlier = self.kept if renew else self.kept[:0]
        self.spread.lerp_(spread, len(x) / (len(x) + len(earlier)))
        if not renew:
            explained = 1 - float(squared.mean() / spread)
            self.explained = explained, self._linear_share(some)
        self.kept = renewed(earlier, rows, MOST_KEPT, generator)
        if renew:
            rows = self.kept
        mean, log_variance, *entries = rows.split(self.sizes, dim=1)
        entries = (part.flatten() for part in entries)
        self.likelihood.fit_rest(x, *entries, renew=renew)
        if self.fits_mixture:
            spread = (0.5 * log_variance).exp()
            self._fit_mixture(mean, spread, generator, streams.entropy, renew)
        return self._doubts()

    def _doubts(self) -> list:
        share, linear = self.explained
        # A table may have nothing that its columns share: then no decoder varies.
        judged = self.layout.data_shape is not None and linear > LEAST_LINEAR
        if judged and share < LEAST_SHARE * linear:
            return [CollapsedDecoderWarning(share, linear, self.n_latents)]
        return []

    def _explained(
        self, x: Tensor, generator: torch.Generator, places: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What is kept of at most so many rows, and the mean squares of all."""
        chosen = torch.zeros(len(x), dtype=torch.bool)
        chosen[torch.randperm(len(x), generator=places)[:MIXTURE_ROWS]] = True
        # Filled in place: small tensors kept from every chunk would lie between large
        # freed ones, and the process would grow with the rows.
        rows = self.kept.new_empty(int(chosen.sum()), self.kept.shape[1])
        total, filled = 0.0, 0
        for chunk, keep in zip(x.split(CHUNK), chosen.split(CHUNK), strict=True):
            m, v = self.posterior(chunk)
            z = m + (0.5 * v).exp() * torch.randn(m.shape, generator=generator).to(m)
            output = self.graph(z)[self.graph.data_node]
            squared = self.likelihood.squared(chunk - output).flatten(1)
            total = total + squared.sum(0)
            at = torch.arange(squared.shape[1]).expand(squared.shape)
            if squared.shape[1] > ENTRIES_PER_ROW:
                shape = len(chunk), ENTRIES_PER_ROW
                at = torch.randint(squared.shape[1], shape, generator=places)
            means = self.likelihood.standardised(output).flatten(1)
            entries = (part.gather(1, at.to(m.device)) for part in (means, squared))
            found = torch.hstack([m, v, *entries])
            stop = filled + int(keep.sum())
            rows[filled:stop] = found[keep.to(m.device)]
            filled = stop
        return rows, total / len(x)

    def _linear_share(self, x: Tensor) -> float:
        """Share of the variance of rows that principal components explain.

        Those of one half of the rows are judged on the other half.
        """
        rows = self.likelihood.standardised(x).flatten(1).cpu().double()
        fitted, other = rows.tensor_split(2)
        # In the space of the rows, of which there are fewer than of entries.
        fitted, other = fitted - fitted.mean(0), other - fitted.mean(0)
        values, vectors = torch.linalg.eigh(fitted @ fitted.mT)
        values, vectors = (v[..., -self.n_latents :] for v in (values, vectors))
        kept = values > PCA_FLOOR * values.max()
        scores = other @ fitted.mT @ vectors[:, kept] / values[kept].sqrt()
        return float(scores.square().sum() / other.square().sum())

    def _fit_mixture(
        self,
        mean: Tensor,
        spread: Tensor,
        generator: torch.Generator,
        entropy: int,
        renew: bool,
    ) -> None:
        """Fit a mixture to draws from all posteriors together."""
        repeats = max(1, min(5, MIXTURE_ROWS // len(mean)))
        if renew:
            repeats = DRAWS_WHEN_RENEWED
        draws = torch.randn(repeats, *mean.shape, generator=generator).to(mean)
        z = (mean + spread * draws).flatten(0, 1).double().cpu()
        if not bool(z.isfinite().all()):
            return
        n_components = max(1, min(MAX_COMPONENTS, len(z) // DRAWS_PER_COMPONENT))
        mixture = GaussianMixture(
            n_components,
            reg_covar=LEAST_VARIANCE,
            max_iter=50,
            tol=0.3 if renew else 1e-2,
            random_state=numpy_stream(entropy, "mixture"),
        )
        if renew:
            mixture.set_params(**self._earlier_components(z, n_components, generator))
        try:
            mixture.fit(z.numpy())
        except ValueError:
            # Latents of a model that all but diverged span too many magnitudes.
            variances = z.var(0, correction=0) + LEAST_VARIANCE
            self.noise.set(torch.ones(1), z.mean(0)[None], variances.diag()[None])
            return
        covariances = _shrunk(mixture.weights_, mixture.covariances_, len(mean))
        components = (mixture.weights_, mixture.means_, covariances)
        self.noise.set(*map(torch.from_numpy, components))

    def _earlier_components(
        self, z: Tensor, n_components: int, generator: torch.Generator
    ) -> dict[str, np.ndarray]:
        """Where to start: heavy components as they are, the other ones at some rows."""
        n_reused = min(len(self.noise.weights), n_components - n_components // 10)
        heaviest = self.noise.weights.argsort(descending=True)[:n_reused]
        n_new = n_components - n_reused
        places = z[torch.randperm(len(z), generator=generator)[:n_new]]
        factors = self.noise.factors[heaviest].double().cpu()
        covariances = factors @ factors.mT
        around = covariances.mean(0).expand(n_new, -1, -1)
        weights = self.noise.weights[heaviest].double().cpu()
        weights = torch.cat([weights, weights.mean().expand(n_new)])
        means = self.noise.means[heaviest].double().cpu()
        return {
            "weights_init": (weights / weights.sum()).numpy(),
            "means_init": torch.cat([means, places]).numpy(),
            "precisions_init": torch.cat([covariances, around]).inverse().numpy(),
        }

    def abduct(self, x: Tensor) -> Tensor:
        """Noise that explains given data: the posterior mean."""
        return self.posterior(x)[0]

    def posterior_draw(self, x: Tensor, normal: Tensor) -> Tensor:
        """Draw of the encoder's distribution."""
        mean, log_variance = self.posterior(x)
        return mean + (0.5 * log_variance).exp() * normal

    def log_prob(
        self,
        x: Tensor,
        changes: Mapping[str, Intervention],
        streams: Streams,
        n_importance: int | None = None,
    ) -> Tensor:
        """Evidence lower bound at beta = 1, or the importance-weighted one."""
        if changes:
            raise ValueError(
                f"There is no density under interventions on {list(changes)}: the "
                "encoder of this generator knows the unchanged decoder alone. Change "
                f"the values of {self.graph.data_node!r}, compare samples by a "
                "distance (make_extrapolation_scorer), or take a ChainGenerator or a "
                "GraphGenerator."
            )
        self.likelihood.check(x)
        shape = n_importance or N_BOUND_DRAWS, self.n_latents
        noise = torch.randn(
            shape, generator=streams.torch("bound"), dtype=torch.float64
        )
        weights = self._log_weights(x, noise.to(x))
        if n_importance is None:
            return weights.mean(0)
        return weights.logsumexp(0) - math.log(n_importance)

    def _log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """log p(x | z) + log p(z) - log q(z | x); one row per draw of noise."""
        mean, log_variance = self.posterior(x)
        weights = []
        for draw in noise:
            z = mean + (0.5 * log_variance).exp() * draw
            log_q = -0.5 * (draw.square() + log_variance + np.log(2 * np.pi)).sum(1)
            output = self.graph(z)[self.graph.data_node]
            log_p = self.likelihood.log_score(x, output) + self.noise.log_prob(z)
            weights.append(log_p - log_q)
        return torch.stack(weights)


def _shrunk(weights: np.ndarray, covariances: np.ndarray, n_rows: int) -> np.ndarray:
    """Covariances as full as the rows allow that they were estimated from.

    To each are added rows that have the covariance common to all, and to this as many
    that have only its variances: one for twelve free entries of a covariance, and half
    as many as there are latents at least. (Draws of a row say much about each other: a
    dozen rows in 100 dimensions have but their own plane.)
    """
    n_latents = covariances.shape[1]
    n_added = max(n_latents**2 / 24, n_latents / 2)
    weights = n_rows * weights[:, None, None]
    common = (weights * covariances).sum(0) / n_rows
    variances = np.diag(np.diag(common))
    common = (n_rows * common + n_added * variances) / (n_rows + n_added)
    return (weights * covariances + n_added * common) / (weights + n_added)


def doubts_of_two_values(
    module: VAEModule,
    bounds: np.ndarray | None,
    names: np.ndarray,
    n_rows: int,
    entropy: int,
) -> list[PoorFitWarning]:
    """What to warn of: entries of two values whose moments clipping to bounds moves.

    Columns of a table each, else all entries together.
    """
    levels = getattr(module.likelihood, "levels", None)
    if bounds is None or levels is None or not bool(levels.diff(dim=0).any()):
        return []
    is_table = module.layout.data_shape is None
    n, axis = (N_TABLE_DRAWS, 0) if is_table else (N_IMAGE_DRAWS, None)
    # The same draws twice, so that chance moves none.
    chunks = RowQueries(module, None).prior(
        {}, n, Streams(entropy), noisy=True, paired=False
    )
    drawn = np.concatenate([rows for _, rows in chunks])
    clipped, deviation = np.clip(drawn, *bounds), drawn.std(axis)
    changes = clipped.mean(axis) - drawn.mean(axis), clipped.std(axis) - deviation
    moved, which = np.abs(changes).max(0) / np.maximum(deviation, TINY), "all entries"
    if is_table:
        low, high = levels.cpu().numpy()
        above = module.likelihood.link.offset.cpu().numpy() - low
        rarer = n_rows * np.minimum(above, high - low - above)
        is_known = (high > low) & (rarer >= (FEWEST_ROWS - 0.5) * (high - low))
        moved = np.where(is_known, moved, 0.0)
        which = "columns " + ", ".join(map(str, names[moved > MOST_MOVED]))
    if moved.max() <= MOST_MOVED:
        return []
    return [
        PoorFitWarning(
            f"Of two values ({which}), samples have another mean or standard "
            f"deviation, by {moved.max():.0%} of the latter, since bounds clip their "
            "Gaussian noise. Set likelihood='bernoulli' if all of X is 0 or 1; else "
            "bounds=None keeps the moments, and GraphGenerator draws the values of "
            "such columns. An image may need more epochs."
        )
    ]
