"""The torch side of linear chains: mechanisms, what they are fitted to, descent."""

import math

import torch
from torch import nn
from torch.distributions import MultivariateNormal
from torch.nn import functional

from ..exceptions import FitDivergedError
from ..interventions._affine import linear_part
from ..interventions._base import replaces_mechanism
from ..mechanisms import GaussianLikelihood, LinearOperator, MechanismGraph
from ..models import Explains, GenerativeModel, Scores

# Of the data's mean variance: below it a density of rank-deficient data has no value.
LEAST_VARIANCE = 1e-6
ADAM_EPS = 1e-8


class DenseLink(nn.Module):
    """Multiply by a matrix (out, in)."""

    is_linear = True

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, parent):
        return parent.to(self.weight) @ self.weight.T

    def operator(self):
        """The matrix."""
        return LinearOperator(self.weight)


class ConvLink(nn.Module):
    """Convolve one channel with a kernel (1, 1, *kernel) that has lag 0 at ``n // 2``.

    The map keeps its size: it is a circle, or surrounded by zeros.
    """

    def __init__(self, shape, out_shape, *, circular):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))
        self.out_shape, self.circular = tuple(out_shape), circular
        phase = _phase_of_centre(shape[2:], self.out_shape[1:])
        self.register_buffer("phase", phase, persistent=False)

    def forward(self, parent):
        value = parent.to(self.weight).reshape(-1, *self.out_shape)
        return self._on_circle(value) if self.circular else self._among_zeros(value)

    def _on_circle(self, value):
        grid = self.out_shape[1:]
        axes = tuple(range(-len(grid), 0))
        spectrum = torch.fft.rfftn(self.weight[0], s=grid, dim=axes) * self.phase
        value = torch.fft.rfftn(value, dim=axes) * spectrum
        return torch.fft.irfftn(value, s=grid, dim=axes)

    def _among_zeros(self, value):
        kernel = self.weight
        axes = tuple(range(2, kernel.ndim))
        sizes = reversed(kernel.shape[2:])
        padding = [p for k in sizes for p in ((k - 1) // 2, k // 2)]
        conv = {1: functional.conv1d, 2: functional.conv2d}[len(axes)]
        # torch's convolutions are cross-correlations.
        return conv(functional.pad(value, padding), kernel.flip(axes))

    def operator(self):
        """The kernel; its correlations are taken at linear lags."""
        ones = (1,) * (self.weight.ndim - 2)
        return LinearOperator(self.weight, ones, ones)


def _phase_of_centre(kernel_shape, grid):
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
    circular : bool
        Whether maps, if there are any, are circles.
    """

    def __init__(self, layout, shapes, *, circular):
        super().__init__()
        self.on_circle = circular and len(shapes[0]) > 2
        self.likelihood = GaussianLikelihood(layout.node_shape)
        chain = _chain_graph(layout, shapes, circular)
        self.graph = chain.with_link(self.likelihood.link)
        self.n_inputs = chain.roots["noise"][0]
        self.register_buffer("gain", torch.zeros(self.n_inputs, layout.n_features))
        self.double()

    def prepare(self, rows):
        """Keep the units of the data."""

    def loss_terms(self, batch):
        """None: `descend` lowers an objective that is no mean over rows."""
        return {}, None

    @property
    def weights(self):
        """Weights of the mechanisms, input side first."""
        return [getattr(m, "mechanism", m).weight for m in self.graph.mechanisms]

    def linear(self, z):
        """Values of all nodes, and the data node's as rows."""
        nodes = self.graph(z)
        return nodes, nodes[self.graph.data_node].flatten(1)

    def matrix(self):
        """Matrix (n_features, n_inputs) of the whole chain."""
        columns = self.linear(torch.eye(self.n_inputs, dtype=torch.float64))[1]
        return (columns - self.likelihood.link.offset.flatten()).T

    def complete(self, offset, variance):
        """Set what the weights leave open, and the gain of the posterior mean."""
        own = self.likelihood.link.offset
        own.copy_(offset.expand(self.layout.n_features).view_as(own))
        matrix = self.matrix()
        explained = float(matrix.square().sum()) / self.layout.n_features
        power = max(explained, variance) or 1.0
        self.likelihood.variance.fill_(max(variance, LEAST_VARIANCE * power))
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        shrunk = s / (s.square() + self.likelihood.variance)
        self.gain.copy_((u * shrunk @ vh).T)

    def abduct(self, x):
        """Noise that explains given data: the posterior mean."""
        residual = x.to(self.gain) - self.likelihood.link.offset
        return residual.flatten(1) @ self.gain.T

    def log_prob(self, x, changes, streams):
        """Log density of rows: normal, since the changes are affine."""
        return self._density(changes).log_prob(x.flatten(1))

    def _density(self, inside):
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


def _check_linear(name, module):
    """Refuse a mechanism of another kind of generator."""
    link = getattr(module, "mechanism", module)
    if not isinstance(link, (DenseLink, ConvLink)):
        raise ValueError(
            f"The density of a chain is known if its mechanisms are linear, but that "
            f"given to node {name!r} is a {type(link).__name__}: take it from another "
            "ChainGenerator."
        )


def _chain_graph(layout, shapes, circular):
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


class Regression:
    """Squared error of the rows, given the values of the noise behind them.

    Parameters
    ----------
    x : Tensor of shape (n, n_features)
    z : Tensor of shape (n, n_inputs)
    axes : tuple of int
        Over which one offset is shared.
    label_noise : float
    """

    # Weights and learning rate are in the units of the data.
    scale = 1.0

    def __init__(self, x, z, axes, label_noise):
        self.axes, self.label_noise = axes, label_noise
        self.means = x.mean(axes), z.mean(axes)
        self.x, self.z = x - self.means[0], z - self.means[1]
        self.exact = _few_rows(self.z, self.x)

    def loss(self, module, batch_size, generator):
        """Mean squared error of a batch (None for all rows), and its nodes."""
        if batch_size is None:
            z, x = self.exact
        else:
            rows = _drawn_rows(len(self.x), batch_size, generator)
            z, x = self.z[rows], self.x[rows]
            if self.label_noise:
                noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
                x = x + self.label_noise * noise.to(x)
        nodes, output = module.linear(z)
        return (output - x).square().mean(), nodes

    def rest(self, module):
        """Offset and variance of what a chain without offset leaves."""
        x, z = self.means
        constant = module.linear(z.expand(1, module.n_inputs))[1]
        variance = self.loss(module, None, None)[0]
        return x - constant.mean(self.axes), float(variance)


class SecondOrder:
    """Distance of a chain's covariance (power spectrum, on a circle) from the rows'.

    The squared Frobenius norm of the difference over ``n_features``, relative to the
    squared mean variance. Parameters are those of `Regression`; ``grid`` is the
    circle's shape, or None.
    """

    def __init__(self, x, n_inputs, axes, grid):
        self.offset = x.mean(axes)
        self.x, self.grid = x - self.offset, grid
        self.power = float(self.x.square().mean())
        self.scale = math.sqrt(self.power) or 1.0
        self.target = self._moments(self.x)
        # Together as white as the noise: impulses everywhere, or on a circle just one.
        n_probes = n_inputs if grid is None else 1
        impulses = torch.eye(n_probes, n_inputs, dtype=x.dtype)
        self.probes = math.sqrt(n_inputs) * impulses

    def loss(self, module, batch_size, generator):
        """Distance from a batch (None for all rows), and nodes at white noise."""
        target = self.target
        if batch_size is not None:
            rows = _drawn_rows(len(self.x), batch_size, generator)
            target = self._moments(self.x[rows])
        nodes, output = module.linear(self.probes)
        distance = (self._moments(output) - target).square().sum()
        nodes = {name: torch.cat([value, -value]) for name, value in nodes.items()}
        return distance / (output.shape[1] * self.scale**4), nodes

    def _moments(self, rows):
        if self.grid is None:
            return rows.T @ rows / len(rows)
        axes = tuple(range(1, 1 + len(self.grid)))
        spectrum = torch.fft.fftn(rows.unflatten(1, self.grid), dim=axes, norm="ortho")
        return torch.view_as_real(spectrum).square().sum(-1).mean(0)

    def rest(self, module):
        """Offset of the rows, and their variance that a chain leaves."""
        own = float(module.matrix().square().sum()) / self.x.shape[1]
        return self.offset, max(0.0, self.power - own)


def _drawn_rows(n, size, generator):
    return torch.randint(n, (size,), generator=generator)


def _few_rows(z, x):
    """Rows with the same second moments, and mean 0, as many centred ones."""
    n, m = len(z), z.shape[1] + x.shape[1]
    if n <= 2 * m:
        return z, x
    factor = torch.linalg.qr(torch.hstack([z, x]), mode="r").R * math.sqrt(m / n)
    both = torch.cat([factor, -factor])
    return both[:, : z.shape[1]], both[:, z.shape[1] :]


def make_optimizer(name, module, objective, lr):
    """Optimiser "gd", "sgd" or "adam", with a rate in units of the data's scale."""
    unit = objective.scale ** (1 / len(module.weights))
    if name == "adam":
        return torch.optim.Adam(module.weights, lr=lr * unit, eps=ADAM_EPS / unit)
    # A step of Adam has the unit of a weight, a gradient its inverse.
    return torch.optim.SGD(module.weights, lr=lr * unit**2)


def descend(module, loss_terms, optimizer, n_steps, n_before=0):
    """Make some steps; return the terms before each, and the error if it diverged.

    Ctrl-C ends them early. After an error the weights are the last good ones. (Epochs
    of one step in the loop of the networks take more than twice the time.)

    Parameters
    ----------
    module : ChainModule
    loss_terms : callable
        Returns ``{"loss": Tensor, ...}``.
    optimizer : torch.optim.Optimizer
    n_steps, n_before : int
        Steps to make, and steps made before these.
    """
    rows, good, bad = [], (), []
    try:
        for _ in range(n_steps):
            terms = loss_terms()
            row = {name: float(value.detach()) for name, value in terms.items()}
            bad = [name for name, value in row.items() if not math.isfinite(value)]
            if bad:
                break
            good = [w.detach().clone() for w in module.weights]
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
            rows.append(row)
    except KeyboardInterrupt:
        pass
    with torch.no_grad():
        if not bad and bool(module.matrix().square().sum().isfinite()):
            return rows, None
        for weight, value in zip(module.weights, good, strict=False):
            weight.copy_(value)
    term = bad[-1] if bad else "fit"
    return rows[:-1], FitDivergedError(max(n_before + len(rows), 1), term)
