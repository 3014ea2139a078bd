"""The torch side of linear chains: mechanisms, and what they are fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn import functional

from ...interventions._affine import linear_part
from ...interventions._base import Intervention, replaces_mechanism
from ...mechanisms import LinearOperator, MechanismGraph
from ...models import Explains, GaussianLikelihood, GenerativeModel, Player, Scores
from ...models._base import Nodes
from ...rows._batches import Batch, Rows
from ...rows._layout import DataLayout
from ...utils.streams import Streams, numpy_stream
from ._weights import given_weights, initial_weights

# Of the data's mean variance: below it a density of rank-deficient data has no value.
LEAST_VARIANCE = 1e-6
CHUNK = 8192


class DenseLink(nn.Module):
    """Multiply by a matrix (out, in)."""

    is_linear = True

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, parent: Tensor) -> Tensor:
        return parent.to(self.weight) @ self.weight.T

    def operator(self) -> LinearOperator:
        """The matrix."""
        return LinearOperator(self.weight)


class ConvLink(nn.Module):
    """Convolve one channel with a kernel (1, 1, *kernel) that has lag 0 at ``n // 2``.

    The map keeps its size: it is a circle, or surrounded by zeros.
    """

    def __init__(
        self, shape: Sequence[int], out_shape: Sequence[int], *, circular: bool
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))
        self.out_shape, self.circular = tuple(out_shape), circular
        phase = _phase_of_centre(shape[2:], self.out_shape[1:])
        self.register_buffer("phase", phase, persistent=False)

    def forward(self, parent: Tensor) -> Tensor:
        value = parent.to(self.weight).reshape(-1, *self.out_shape)
        return self._on_circle(value) if self.circular else self._among_zeros(value)

    def _on_circle(self, value: Tensor) -> Tensor:
        grid = self.out_shape[1:]
        axes = tuple(range(-len(grid), 0))
        spectrum = torch.fft.rfftn(self.weight[0], s=grid, dim=axes) * self.phase
        value = torch.fft.rfftn(value, dim=axes) * spectrum
        return torch.fft.irfftn(value, s=grid, dim=axes)

    def _among_zeros(self, value: Tensor) -> Tensor:
        kernel = self.weight
        axes = tuple(range(2, kernel.ndim))
        sizes = reversed(kernel.shape[2:])
        padding = [p for k in sizes for p in ((k - 1) // 2, k // 2)]
        conv = {1: functional.conv1d, 2: functional.conv2d}[len(axes)]
        # torch's convolutions are cross-correlations.
        return conv(functional.pad(value, padding), kernel.flip(axes))

    def operator(self) -> LinearOperator:
        """The kernel; its correlations are taken at linear lags."""
        ones = (1,) * (self.weight.ndim - 2)
        return LinearOperator(self.weight, ones, ones)


def _phase_of_centre(kernel_shape: Sequence[int], grid: Sequence[int]) -> Tensor:
    """Half spectrum that moves index ``n // 2`` of a kernel to the grid's origin."""
    impulse = torch.zeros(grid, dtype=torch.float64)
    impulse[tuple(-(k // 2) for k in kernel_shape)] = 1.0
    return torch.fft.rfftn(impulse)


class ChainModule(GenerativeModel, Explains, Scores):
    """A linear chain, its noise at both ends, and the exact answer to given rows.

    Parameters
    ----------
    layout : DataLayout
    shapes : list of tuple of int
        Of the weights, input side first.
    init : str or list of ndarray
        Where training starts.
    circular : bool
        Whether maps, if there are any, are circles.
    label_noise : float
        Deviation of noise that is added to the rows of a step.
    """

    def __init__(
        self,
        layout: DataLayout,
        shapes: Sequence[tuple[int, ...]],
        init: str | Sequence[np.ndarray],
        *,
        circular: bool,
        label_noise: float,
    ) -> None:
        super().__init__()
        self.shapes, self.init, self.label_noise = shapes, init, label_noise
        self.on_circle = circular and len(shapes[0]) > 2
        self.likelihood = GaussianLikelihood(layout.node_shape)
        chain = _chain_graph(layout, shapes, circular)
        self.graph = chain.with_link(self.likelihood.link)
        self.n_inputs = chain.roots["noise"][0]
        self.register_buffer("gain", torch.zeros(self.n_inputs, layout.n_features))
        # Together as white as the noise: impulses everywhere, or on a circle just one.
        impulses = torch.eye(1 if self.on_circle else self.n_inputs, self.n_inputs)
        self.register_buffer("probes", math.sqrt(self.n_inputs) * impulses.double())
        # Of the rows, in which the distance of their moments is measured.
        self.scale = 1.0
        self.double()

    def prepare(self, rows: Rows, streams: Streams) -> Steps:
        """Start the weights; return the rows as the steps see them."""
        trained = self.resume(rows, streams, renew=False)
        start = given_weights(self.init, len(self.shapes))
        if start is None:
            stream = numpy_stream(streams.entropy, "init")
            start = initial_weights(self.init, self.shapes, self._unit(), stream)
        with torch.no_grad():
            for weight, value in zip(self.weights, start, strict=True):
                weight.copy_(torch.from_numpy(value).view_as(weight))
        return trained

    def resume(self, rows: Rows, streams: Streams, *, renew: bool) -> Steps:
        """Return the rows as the steps see them; a batch of a stream is on its own."""
        self.likelihood.link.offset.zero_()
        x = torch.cat(list(rows.x.split(CHUNK))).flatten(1).double()
        # Circles have no distinguished place: one offset for all entries.
        axes = (0, 1) if self.on_circle else (0,)
        if rows.inputs is not None:
            self.scale = 1.0
            return Pairs.of(x, rows.inputs, axes, self.label_noise)
        grid = self.layout.node_shape[1:] if self.on_circle else None
        moments = Moments.of(x, axes, grid)
        self.scale = math.sqrt(moments.power) or 1.0
        return moments

    def _unit(self) -> float:
        return self.scale ** (1 / len(self.shapes))

    def players(self) -> dict[str, Player]:
        """The weights, with a rate that is relative to their size."""
        return {"model": Player(self.weights, self.loss_terms, self._unit())}

    def loss_terms(self, batch: Batch) -> tuple[dict[str, Tensor], Nodes]:
        """Squared error given the noise, or distance of the second moments."""
        if batch.inputs is not None:
            nodes, output = self.linear(batch.inputs)
            return {"fit": (output - batch.x).square().mean()}, nodes
        nodes, output = self.linear(self.probes)
        grid = self.layout.node_shape[1:] if self.on_circle else None
        distance = (second_moments(output, grid) - batch.x).square().sum()
        nodes = {name: torch.cat([value, -value]) for name, value in nodes.items()}
        return {"fit": distance / (output.shape[1] * self.scale**4)}, nodes

    @torch.no_grad()
    def finish(self, rows: Steps, streams: Streams, *, renew: bool = False) -> list:
        """Set what the weights leave open, and the gain of the posterior mean."""
        offset, variance = rows.left_by(self)
        own = self.likelihood.link.offset
        own.copy_(offset.expand(self.layout.n_features).view_as(own))
        matrix = self.matrix()
        explained = float(matrix.square().sum()) / self.layout.n_features
        power = max(explained, variance) or 1.0
        self.likelihood.variance.fill_(max(variance, LEAST_VARIANCE * power))
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        shrunk = s / (s.square() + self.likelihood.variance)
        self.gain.copy_((u * shrunk @ vh).T)
        return []

    @property
    def weights(self) -> list[nn.Parameter]:
        """Weights of the mechanisms, input side first."""
        return [getattr(m, "mechanism", m).weight for m in self.graph.mechanisms]

    def linear(self, z: Tensor) -> tuple[Nodes, Tensor]:
        """Values of all nodes, and the data node's as rows."""
        nodes = self.graph(z)
        return nodes, nodes[self.graph.data_node].flatten(1)

    def matrix(self) -> Tensor:
        """Matrix (n_features, n_inputs) of the whole chain."""
        columns = self.linear(torch.eye(self.n_inputs, dtype=torch.float64))[1]
        return (columns - self.likelihood.link.offset.flatten()).T

    def abduct(self, x: Tensor) -> Tensor:
        """Noise that explains given data: the posterior mean."""
        residual = x.to(self.gain) - self.likelihood.link.offset
        return residual.flatten(1) @ self.gain.T

    def posterior_draw(self, x: Tensor, normal: Tensor) -> Tensor:
        """Draw of the noise's normal distribution given the data."""
        left = torch.eye(self.n_inputs).to(self.gain) - self.gain @ self.matrix()
        sizes, axes = torch.linalg.eigh(0.5 * (left + left.T))
        steps = normal.to(self.gain) * sizes.clamp(0).sqrt()
        return self.abduct(x) + steps @ axes.T

    def log_prob(
        self, x: Tensor, changes: Mapping[str, Intervention], streams: Streams
    ) -> Tensor:
        """Log density of rows: normal, since the changes are affine."""
        return self._density(changes).log_prob(x.flatten(1))

    def _density(self, inside: Mapping[str, Intervention]) -> MultivariateNormal:
        """Distribution of the rows under changes inside the graph."""
        data = self.graph.data_node
        for name, change in inside.items():
            if replaces_mechanism(change):
                _check_linear(name, change.mechanism(self.graph.mechanism(name)))
        linear = {name: linear_part(change, name) for name, change in inside.items()}
        white = torch.eye(self.n_inputs, dtype=torch.float64)
        mean = self.graph(0 * white[:1], inside)[data].flatten()
        units = self.graph(torch.cat([0 * white[:1], white]), linear)[data].flatten(1)
        matrix = (units[1:] - units[0]).T
        isotropic = self.likelihood.variance * torch.eye(len(matrix)).to(matrix)
        return MultivariateNormal(mean, matrix @ matrix.T + isotropic)


def _check_linear(name: str, module: nn.Module) -> None:
    """Refuse a mechanism of another kind of generator."""
    link = getattr(module, "mechanism", module)
    if not isinstance(link, (DenseLink, ConvLink)):
        raise ValueError(
            f"The density of a chain is known if its mechanisms are linear, but that "
            f"given to node {name!r} is a {type(link).__name__}: take it from another "
            "ChainGenerator."
        )


def _chain_graph(
    layout: DataLayout, shapes: Sequence[tuple[int, ...]], circular: bool
) -> MechanismGraph:
    """Path graph ``noise -> dense1 (or conv1) -> ... -> data``."""
    is_dense = len(shapes[0]) == 2
    prefix = "dense" if is_dense else "conv"
    names = [f"{prefix}{k}" for k in range(1, len(shapes))] + ["data"]
    mechanisms, parent = {}, "noise"
    for name, shape in zip(names, shapes, strict=True):
        if is_dense:
            link = DenseLink(shape)
        else:
            link = ConvLink(shape, layout.node_shape, circular=circular)
        mechanisms[name], parent = (parent, link), name
    n_inputs = shapes[0][1] if is_dense else layout.n_features
    return MechanismGraph({"noise": (n_inputs,)}, mechanisms)


@dataclass(frozen=True, eq=False)
class Steps(Rows):
    """Rows of which every step draws some with replacement, or takes all."""

    means: tuple = ()

    def to(self, device: torch.device | str) -> Steps:
        """The rows: chains are trained where they are, in double precision."""
        return self

    def _drawn(self, size: int, generator: torch.Generator) -> Tensor:
        return torch.randint(len(self.x), (size,), generator=generator)


@dataclass(frozen=True, eq=False)
class Pairs(Steps):
    """Centred rows and noise behind them, and a few with the same second moments."""

    few: tuple = ()
    label_noise: float = 0.0

    @classmethod
    def of(
        cls, x: Tensor, z: Tensor, axes: tuple[int, ...], label_noise: float
    ) -> Pairs:
        """Pairs of rows and inputs; one offset is shared over some axes."""
        means = x.mean(axes), z.mean(axes)
        x, z = x - means[0], z - means[1]
        few = _few_rows(z, x)
        return cls(x, inputs=z, means=(*means, axes), few=few, label_noise=label_noise)

    def batches(
        self, size: int | None, generator: torch.Generator, epoch: int = 0
    ) -> Iterator[Batch]:
        """Yield the batch of one step."""
        z, x = self.few
        if size is not None:
            rows = self._drawn(size, generator)
            z, x = self.inputs[rows], self.x[rows]
            if self.label_noise:
                noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
                x = x + self.label_noise * noise
        yield Batch(x, generator, inputs=z, epoch=epoch)

    def left_by(self, model: ChainModule) -> tuple[Tensor, float]:
        """Offset and variance of what a chain without offset leaves."""
        x, z, axes = self.means
        constant = model.linear(z.expand(1, model.n_inputs))[1]
        (batch,) = self.batches(None, None)
        variance = model.loss_terms(batch)[0]["fit"]
        return x - constant.mean(axes), float(variance)


@dataclass(frozen=True, eq=False)
class Moments(Steps):
    """Centred rows, of which a step sees the second moments."""

    whole: torch.Tensor | None = None
    power: float = 0.0
    grid: tuple | None = None

    @classmethod
    def of(
        cls, x: Tensor, axes: tuple[int, ...], grid: tuple[int, ...] | None
    ) -> Moments:
        """Moments of rows, on a circle of this shape power spectra."""
        mean = x.mean(axes)
        x = x - mean
        power = float(x.square().mean())
        return cls(
            x, means=(mean,), whole=second_moments(x, grid), power=power, grid=grid
        )

    def batches(
        self, size: int | None, generator: torch.Generator, epoch: int = 0
    ) -> Iterator[Batch]:
        """Yield the batch of one step."""
        moments = self.whole
        if size is not None:
            rows = self._drawn(size, generator)
            moments = second_moments(self.x[rows], self.grid)
        yield Batch(moments, generator, epoch=epoch)

    def left_by(self, model: ChainModule) -> tuple[Tensor, float]:
        """Offset of the rows, and their variance that a chain leaves."""
        own = float(model.matrix().square().sum()) / self.x.shape[1]
        return self.means[0], max(0.0, self.power - own)


def second_moments(rows: Tensor, grid: tuple[int, ...] | None) -> Tensor:
    """Second moments of centred rows, or their power spectrum on a circle."""
    if grid is None:
        return rows.T @ rows / len(rows)
    axes = tuple(range(1, 1 + len(grid)))
    spectrum = torch.fft.fftn(rows.unflatten(1, grid), dim=axes, norm="ortho")
    return torch.view_as_real(spectrum).square().sum(-1).mean(0)


def _few_rows(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows with the same second moments, and mean 0, as many centred ones."""
    n, m = len(z), z.shape[1] + x.shape[1]
    if n <= 2 * m:
        return z, x
    factor = torch.linalg.qr(torch.hstack([z, x]), mode="r").R * math.sqrt(m / n)
    both = torch.cat([factor, -factor])
    return both[:, : z.shape[1]], both[:, z.shape[1] :]
