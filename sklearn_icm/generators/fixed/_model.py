"""A given graph as a model: noise behind rows is searched, nothing is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from ...mechanisms import MechanismGraph
from ...mechanisms._modules import tensor_of
from ...models import Explains, GaussianLikelihood, GenerativeModel, Player
from ...models._abduction import most_probable_noise
from ...models._noise import MixtureNoise
from ...rows._batches import Batch, Rows
from ...utils.streams import Streams
from ._search import least_squares_noise

N_STARTS, N_NEAREST = 1024, 4
MOST_LATENTS = 64
MOST_STEPS = 500
TOLERANCE = 1e-4
# Observation noise relative to the data, and in all, whose square float32 can hold.
MOST_NOISE, LARGEST_NOISE = 1e18, 1e37


class FixedModule(GenerativeModel, Explains):
    """A given graph, standard normal noise, and an abduction that needs no encoder."""

    def __init__(
        self,
        graph: MechanismGraph,
        likelihood: GaussianLikelihood,
        noise_std: float,
        *,
        is_table: bool,
    ) -> None:
        super().__init__()
        self.graph = graph.requires_grad_(False)
        self.likelihood = likelihood
        shape = graph.nodes[graph.data_node]
        # Of each entry: noise of one deviation in the units of the data.
        self.likelihood.variance = torch.zeros(shape)
        self.noise_std, self.is_table = noise_std, is_table
        self.noise = MixtureNoise(next(iter(graph.roots.values()))[0])
        self.register_buffer("n_rows", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.zeros(shape))

    def prepare(self, rows: Rows, streams: Streams) -> Rows:
        """Take the units of all rows so far, and the observation noise in them."""
        self._count(rows.x)
        moments = (m.cpu().double() for m in (self.mean, self.deviation))
        self.likelihood.take_units(*moments)
        scale = self.likelihood.link.scale
        if not self.is_table:
            # Entries of images have one unit, also where the data node is flat.
            scale.copy_(scale.double().square().mean().sqrt())
        most = min(MOST_NOISE * float(scale.min()), LARGEST_NOISE)
        if self.noise_std > most:
            raise ValueError(
                f"noise_std must be at most {most:.3g} in the units of these data, for "
                f"float32 to hold it beside them, got {self.noise_std}."
            )
        # The noise has one deviation in the units of the data, not in these.
        self.likelihood.variance = (self.noise_std / scale) ** 2
        self.spread = self.likelihood.squared(self.deviation).mean()
        return rows

    def resume(self, rows: Rows, streams: Streams, *, renew: bool) -> Rows:
        """Take the units of all rows so far."""
        return self.prepare(rows, streams)

    def players(self) -> dict[str, Player]:
        """Nobody: nothing is trained."""
        return {}

    def loss_terms(self, batch: Batch) -> tuple[dict[str, Tensor], None]:
        """Nothing is trained."""
        return {}, None

    def _count(self, x: Tensor) -> None:
        """Join moments of rows with those of earlier ones."""
        mean, deviation = (m.to(self.mean) for m in self.likelihood.moments(x))
        share = len(x) / (len(x) + int(self.n_rows))
        gap = (mean - self.mean) * (share * (1 - share)) ** 0.5
        within = share**0.5 * deviation, (1 - share) ** 0.5 * self.deviation
        self.deviation.copy_(torch.hypot(torch.hypot(*within), gap))
        self.mean.lerp_(mean.expand_as(self.mean), share)
        self.n_rows += len(x)

    def abduct(self, x: Tensor) -> Tensor:
        """Most probable noise, from the nearest of many draws.

        By least squares; of more latents than a matrix of slopes is made for, by Adam.
        """
        starts = self.noise.draw(N_STARTS, Streams(0)).to(tensor_of(self))
        outputs = torch.cat(
            [self.graph(z)[self.graph.data_node] for z in starts.split(128)]
        )
        standardised = self.likelihood.standardised
        distances = torch.cdist(
            standardised(x).flatten(1), standardised(outputs).flatten(1)
        )
        nearest = starts[distances.topk(N_NEAREST, largest=False).indices]
        if starts.shape[1] <= MOST_LATENTS:
            return least_squares_noise(self, x, nearest)
        return most_probable_noise(
            self, x, nearest[:, 0], max_steps=MOST_STEPS, tol=TOLERANCE
        ).noise
