"""Parts of one's own, with what `doc/guide/authors.rst` documents."""

from dataclasses import dataclass, replace

import torch
from sklearn.base import BaseEstimator
from torch import nn

from sklearn_icm.independence import Measure, trace_ratio
from sklearn_icm.interventions import Here, Intervention, Permute
from sklearn_icm.mechanisms import LinearOperator, MechanismGraph


# A policy: it reads another node.
@dataclass(frozen=True, eq=False)
class Follow(Intervention):
    """Set a node to so many times another one of its shape."""

    other: str
    factor: float = 1.0

    @property
    def reads(self):
        return (self.other,)

    def __call__(self, value, here=None):
        return self.factor * here.nodes[self.other]

    def scaled(self, t):
        return Follow(self.other, t * self.factor)


# A random intervention, which does not fit every node.
@dataclass(frozen=True, eq=False)
class Silence(Intervention):
    """Set a random share of the entries of a node to zero."""

    share: float

    def check(self, node, shape, kind=None):
        if kind == "levels":
            raise ValueError(f"Silence: the levels of node {node!r} are no numbers.")

    def __call__(self, value, here=None):
        generator = (here or Here.alone(value)).generator
        kept = torch.rand(value.shape, generator=generator) >= self.share
        return value * kept.to(value)


# A penalty.
class SmallNodes(BaseEstimator):
    """Draw the values of hidden nodes to zero."""

    def __init__(self, power=2):
        self.power = power

    def applies_to(self, graph):
        return len(graph.parents) > 1

    def __call__(self, step):
        hidden = [k for k in step.graph.parents if k != step.graph.data_node]
        sizes = [step.nodes[k].abs().pow(self.power).mean() for k in hidden]
        return torch.stack(sizes).mean()


# A measure, of nodes that are points.
class PointsTrace(Measure):
    """Trace condition of the coordinates of points, each of which is read alike."""

    name = "trace of points"

    def applies(self, pair):
        return pair.kind == "points" and pair.later is not None

    def ratio(self, pair):
        made = pair.earlier.taps.unflatten(0, pair.node_shape)
        return trace_ratio(pair.later.taps, (made @ made.mT).sum(0))

    def null_draws(self, pair, n_draws, generator):
        taps, n_dims = pair.later.taps, pair.node_shape[1]
        normal = torch.randn(n_draws, n_dims, n_dims, generator=generator)
        q, r = torch.linalg.qr(normal.to(taps))
        turned = taps @ (q * r.diagonal(dim1=1, dim2=2).sign()[:, None])
        pairs = (replace(pair, later=LinearOperator(t)) for t in turned)
        return torch.stack([self.ratio(p) for p in pairs])


# A group, over which a generic ratio is taken.
class Neighbours:
    """Random exchanges of two units that stand side by side."""

    def check(self, node, shape, kind):
        if len(shape) != 1 or kind == "points" or shape[0] < 2:
            raise ValueError(f"Neighbours needs a vector, got {node!r} of {shape}.")

    def draw(self, node_shape, generator):
        first = int(torch.randint(node_shape[0] - 1, (), generator=generator))
        order = list(range(node_shape[0]))
        order[first : first + 2] = order[first + 1], order[first]
        return Permute(order)


# A mechanism that says its linear operator, and a decoder of such.
class Gated(nn.Module):
    """A linear map, and a gate of the same shape that opens where it is large."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, parent):
        value = self.linear(parent)
        return value * value.sigmoid()

    def operator(self):
        return LinearOperator(self.linear.weight)


def gated_decoder(n_latents, data_shape):
    return MechanismGraph(
        {"noise": (n_latents,)},
        {
            "gate1": ("noise", Gated(n_latents, 8)),
            "gate2": ("gate1", Gated(8, 8)),
            "data": ("gate2", nn.Linear(8, *data_shape)),
        },
    )


class Drawn(nn.Module):
    """A sum over points of what each of them adds."""

    def __init__(self, n_dims, n_out):
        super().__init__()
        self.linear = nn.Linear(n_dims, n_out)

    def forward(self, points):
        return self.linear(points).tanh().sum(1)

    def operator(self):
        return LinearOperator(self.linear.weight)


def points_decoder(n_latents, data_shape):
    placed = nn.Sequential(nn.Linear(n_latents, 15), nn.Unflatten(1, (5, 3)))
    return MechanismGraph(
        {"noise": (n_latents,)},
        {
            "points": ("noise", placed),
            "drawn": ("points", Drawn(3, 8)),
            "data": ("drawn", nn.Linear(8, *data_shape)),
        },
        kinds={"points": "points"},
    )
