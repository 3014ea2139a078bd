"""The contract of a family's model: what every one has, and what some can do."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..interventions._base import Intervention
from ..mechanisms import MechanismGraph
from ..rows._batches import Batch, Rows
from ..rows._layout import DataLayout
from ..utils.streams import Streams

Nodes = Mapping[str, Tensor]


class Exogenous(NamedTuple):
    """All that is random about some rows: drawn, or abducted from given ones.

    Parameters
    ----------
    roots : Tensor or dict of str to Tensor
        Values of the root nodes, (n, ``*root shape``); of one root a tensor alone.
    scatter : callable, optional
        From values of the data node to observed ones; None gives the former.
    """

    roots: Tensor | Nodes
    scatter: Callable[[Tensor], Tensor] | None = None


class Player(NamedTuple):
    """Who takes steps in training: the weights that it moves, and what it lowers.

    Of several players all take a step with every batch, one after the other, and may
    read what the others move; a penalty belongs to the first.

    Parameters
    ----------
    parameters : sequence of torch.nn.Parameter
    loss_terms : callable
        As that of a `GenerativeModel`.
    unit : float
        Size of the weights, to which the rate of learning is relative.
    """

    parameters: Sequence[nn.Parameter]
    loss_terms: Callable[[Batch], tuple[dict[str, Tensor], Any]]
    unit: float = 1.0


class GenerativeModel(nn.Module, ABC):
    """A graph of mechanisms, the noise behind it, and how rows scatter about its data.

    A family sets the first two attributes and writes `loss_terms`.

    Attributes
    ----------
    graph : MechanismGraph
    likelihood : torch.nn.Module
        Such as `GaussianLikelihood`, or `ExactLikelihood` if the data node is the data.
    layout : DataLayout
        How a row is arranged in the data node; the estimator sets it.
    noise : torch.nn.Module or None
        Distribution of the one root, with ``draw(n, streams)`` and ``log_prob(noise)``;
        None if all roots are standard normal.
    spread : Tensor, 0-d
        Mean squared deviation of the fitted rows as ``likelihood.squared`` sees it, by
        which shares of rows that are not explained are measured; 0 if there are none.
    """

    graph: MechanismGraph
    likelihood: nn.Module
    layout: DataLayout
    # Whether several can be trained as one: rows are in folds, and `loss_terms` draws
    # nothing, and takes weights and batches with a dimension for models in front.
    stacks = False

    def __init__(self) -> None:
        super().__init__()
        self.noise: nn.Module | None = None
        self.register_buffer("spread", torch.zeros(()))

    @abstractmethod
    def loss_terms(
        self, batch: Batch
    ) -> tuple[dict[str, Tensor], Nodes | list[Nodes] | None]:
        """Terms whose sum is lowered, and values of the nodes for a penalty.

        The terms are means over the batch. It writes to nothing, draws from the batch
        alone, and does not branch on numbers. Of several versions of the graph that are
        trained side by side there is a list of nodes.
        """

    def players(self) -> dict[str, Player]:
        """Who takes steps in training, by name: the model alone."""
        return {"model": Player(list(self.parameters()), self.loss_terms)}

    def prepare(self, rows: Rows, streams: Streams) -> Rows:
        """Take the units of the data, before training; return what is trained on."""
        self.likelihood.set_units(rows.x)
        return rows

    def resume(self, rows: Rows, streams: Streams, *, renew: bool) -> Rows:
        """Check the rows of a training that goes on; return what is trained on.

        With ``renew`` they are a batch of a stream, beside what earlier ones left.
        """
        self.likelihood.check(rows.x)
        return rows

    def track(self, batch: Batch, nodes: Nodes | list[Nodes] | None) -> None:
        """Let follow a step of training what moves beside the weights: nothing."""

    def finish(self, rows: Rows, streams: Streams, *, renew: bool = False) -> list:
        """Fit what sampling needs beside the weights, after training: nothing.

        It writes to nothing that training reads. With ``renew`` what earlier batches
        left counts too. Returns warnings of what makes the model doubtful.
        """
        return []

    def draw(self, n: int, streams: Streams, *, noisy: bool = True) -> Exogenous:
        """Draw what is random about n rows; random numbers are drawn on the CPU."""
        # It is where the model computes.
        own = self.spread
        if self.noise is not None:
            roots = self.noise.draw(n, streams)
        else:
            # All from one stream, so that chunks of rows change nothing.
            sizes = [math.prod(shape) for shape in self.graph.roots.values()]
            latents = streams.torch("latents")
            normal = torch.randn(n, sum(sizes), generator=latents, dtype=own.dtype)
            parts = zip(self.graph.roots.items(), normal.split(sizes, 1), strict=True)
            roots = {k: part.reshape(n, *s).to(own.device) for (k, s), part in parts}
        if not noisy:
            return Exogenous(roots)
        draw = self.likelihood.draw(n, streams.torch("observations")).to(own.device)
        return Exogenous(roots, partial(self.likelihood.observe, draw=draw))

    def factual(self, roots: Tensor, x: Tensor) -> Nodes:
        """Values of the nodes for the noise behind values of the data node."""
        return self.graph(roots)

    def log_prior(self, noise: Tensor) -> Tensor:
        """Log density of each value of the one root, (n,)."""
        if self.noise is not None:
            return self.noise.log_prob(noise)
        return -0.5 * (noise.square() + math.log(2 * math.pi)).flatten(1).sum(1)


class Explains(ABC):
    """A model that finds the noise behind given rows."""

    @abstractmethod
    def abduct(self, x: Tensor) -> Tensor:
        """Value of the one root for given values of the data node."""

    def posterior_draw(self, x: Tensor, normal: Tensor) -> Tensor:
        """Draw of it, where many values explain a row, for a standard normal one.

        Nothing need be known but the one value; then `intervene` refuses ``n_draws``.
        """
        raise NotImplementedError


class Scores(ABC):
    """A model with a log density of rows, or a bound of it."""

    @abstractmethod
    def log_prob(
        self, x: Tensor, changes: Mapping[str, Intervention], streams: Streams
    ) -> Tensor:
        """Log density of given values of the data node, in nats, (n,).

        Under changes inside the graph: those of the rows' values are undone before. A
        bound draws the same from the streams for every row.

        Raises
        ------
        ValueError
            For changes under which there is no density.
        """
