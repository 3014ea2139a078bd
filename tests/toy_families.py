"""Families of generators, complete, with what `doc/guide/authors.rst` documents."""

import math

import torch
from torch import nn

from sklearn_icm.base import BaseGenerator
from sklearn_icm.mechanisms import MechanismGraph, dense_decoder
from sklearn_icm.models import (
    ExactLikelihood,
    Explains,
    GenerativeModel,
    Player,
    Scores,
)


# A family that draws rows, and knows nothing of given ones.
class EnergyModel(GenerativeModel):
    """Noise through named mechanisms, trained by the energy score."""

    def __init__(self, n_latents, n_features):
        super().__init__()
        self.likelihood = ExactLikelihood((n_features,))
        decoder = dense_decoder(n_latents, (n_features,), (16, 16), activation="tanh")
        self.graph = decoder.with_link(self.likelihood.link)

    def loss_terms(self, batch):
        noise = batch.randn(2, len(batch.x), *self.graph.roots["noise"])
        nodes, others = map(self.graph, noise)
        first, second, x = map(
            self.likelihood.standardised, (nodes["data"], others["data"], batch.x)
        )
        near = (first - x).norm(dim=1) + (second - x).norm(dim=1)
        return {"energy": batch.mean(near - (first - second).norm(dim=1))}, nodes


class EnergyGenerator(BaseGenerator):
    """Generator that is sampled and intervened on alone."""

    model_class = EnergyModel

    def __init__(
        self,
        n_latents=4,
        *,
        max_epochs=30,
        lr=1e-2,
        icm_penalty="auto",
        icm_weight=0.0,
        random_state=None,
    ):
        self.n_latents = n_latents
        self.max_epochs = max_epochs
        self.lr = lr
        self.icm_penalty = icm_penalty
        self.icm_weight = icm_weight
        self.random_state = random_state

    def _build(self, space):
        return EnergyModel(self.n_latents, space.n_features)


# A family that explains rows and knows their density.
class Bend(nn.Module):
    """Invertible mechanism: a triangular matrix, then another slope below zero."""

    def __init__(self, n_features, slope, *, upper):
        super().__init__()
        self.slope, self.upper = slope, upper
        self.weight = nn.Parameter(torch.zeros(n_features, n_features))
        self.offset = nn.Parameter(torch.zeros(n_features))

    def matrix(self):
        strict = self.weight.triu(1) if self.upper else self.weight.tril(-1)
        return strict + self.weight.diagonal().exp().diag()

    def forward(self, value):
        return nn.functional.leaky_relu(
            value @ self.matrix().T + self.offset, self.slope
        )

    def inverse(self, value):
        """Value before the mechanism, and the log of the volume that it gives it."""
        bent = value < 0
        value = torch.where(bent, value / self.slope, value) - self.offset
        volume = self.weight.diagonal().sum() + bent.sum(1) * math.log(self.slope)
        before = torch.linalg.solve_triangular(self.matrix(), value.T, upper=self.upper)
        return before.T, volume


class FlowModel(GenerativeModel, Explains, Scores):
    """Invertible mechanisms from standard normal noise to data."""

    def __init__(self, n_features, n_layers):
        super().__init__()
        self.likelihood = ExactLikelihood((n_features,))
        mechanisms, parent = {}, "noise"
        for k in range(n_layers):
            name = "data" if k == n_layers - 1 else f"flow{k + 1}"
            slope = 1.0 if name == "data" else 0.5
            mechanisms[name] = parent, Bend(n_features, slope, upper=k % 2 == 0)
            parent = name
        self.bends = [bend for _, bend in mechanisms.values()]
        graph = MechanismGraph({"noise": (n_features,)}, mechanisms)
        self.graph = graph.with_link(self.likelihood.link)

    def _inverse(self, x):
        value, volume = self.likelihood.standardised(x), 0.0
        for bend in reversed(self.bends):
            value, own = bend.inverse(value)
            volume = volume + own
        return value, volume + self.likelihood.link.scale.log().sum()

    def abduct(self, x):
        return self._inverse(x)[0]

    def log_prob(self, x, changes, streams):
        if changes:
            raise ValueError(f"There is no density under changes of {list(changes)}.")
        noise, volume = self._inverse(x)
        return self.log_prior(noise) - volume

    def loss_terms(self, batch):
        return {"nll": -batch.mean(self.log_prob(batch.x, {}, None))}, None


class FlowGenerator(BaseGenerator):
    """Generator with an exact density, and the exact noise behind rows."""

    model_class = FlowModel

    def __init__(self, n_layers=3, *, max_epochs=30, lr=1e-2, random_state=None):
        self.n_layers = n_layers
        self.max_epochs = max_epochs
        self.lr = lr
        self.random_state = random_state

    def _build(self, space):
        return FlowModel(space.n_features, self.n_layers)


# A game of two players: a critic tells rows from draws, which learn to look alike.
class GameModel(EnergyModel):
    """Noise through named mechanisms, trained against a critic."""

    def __init__(self, n_latents, n_features):
        super().__init__(n_latents, n_features)
        self.critic = nn.Sequential(
            nn.Linear(n_features, 16), nn.ReLU(), nn.Linear(16, 1)
        )

    def players(self):
        return {
            "generator": Player(list(self.graph.parameters()), self.loss_terms),
            "critic": Player(list(self.critic.parameters()), self.critic_terms),
        }

    def _judged(self, x):
        return self.critic(self.likelihood.standardised(x))

    def _drawn(self, batch):
        return self.graph(batch.randn(len(batch.x), *self.graph.roots["noise"]))

    def loss_terms(self, batch):
        nodes = self._drawn(batch)
        return {"generator": -batch.mean(self._judged(nodes["data"])[:, 0])}, nodes

    def critic_terms(self, batch):
        drawn = self._drawn(batch)["data"].detach()
        margins = (1 - self._judged(batch.x)).relu() + (1 + self._judged(drawn)).relu()
        return {"critic": batch.mean(margins[:, 0])}, None


class GameGenerator(EnergyGenerator):
    """Generator that is sampled and intervened on alone."""

    model_class = GameModel

    def _build(self, space):
        return GameModel(self.n_latents, space.n_features)
