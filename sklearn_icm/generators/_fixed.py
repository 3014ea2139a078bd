"""Generator whose mechanisms are given: a simulator with the verbs of a fitted one."""

import copy
from numbers import Real

import torch
from torch import nn

from .._fitting import CONSTRAINTS
from .._training.abduction import most_probable_noise
from ..base import BaseGenerator
from ..mechanisms import GaussianLikelihood, MechanismGraph
from ..mechanisms._checks import refuse_random
from ..mechanisms._modules import tensor_of
from ..mechanisms._noise import MixtureNoise
from ..models import Explains, GenerativeModel
from ..utils._sklearn import Interval
from ..utils.streams import Streams

__all__ = ["FixedGenerator"]

N_STARTS = 1024
MOST_STEPS = 500
TOLERANCE = 1e-4
# Observation noise relative to the data, and in all, whose square float32 can hold.
MOST_NOISE, LARGEST_NOISE = 1e18, 1e37


class FixedModule(GenerativeModel, Explains):
    """A given graph, standard normal noise, and an abduction that needs no encoder."""

    def __init__(self, graph, likelihood, noise_std, *, is_table):
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

    def prepare(self, rows, streams):
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

    def resume(self, rows, streams, *, renew):
        """Take the units of all rows so far."""
        return self.prepare(rows, streams)

    def players(self):
        """Nobody: nothing is trained."""
        return {}

    def loss_terms(self, batch):
        """Nothing is trained."""
        return {}, None

    def _count(self, x):
        """Join moments of rows with those of earlier ones."""
        mean, deviation = (m.to(self.mean) for m in self.likelihood.moments(x))
        share = len(x) / (len(x) + int(self.n_rows))
        gap = (mean - self.mean) * (share * (1 - share)) ** 0.5
        within = share**0.5 * deviation, (1 - share) ** 0.5 * self.deviation
        self.deviation.copy_(torch.hypot(torch.hypot(*within), gap))
        self.mean.lerp_(mean.expand_as(self.mean), share)
        self.n_rows += len(x)

    def abduct(self, x):
        """Most probable noise, from the nearest of many draws."""
        starts = self.noise.draw(N_STARTS, Streams(0)).to(tensor_of(self))
        outputs = torch.cat(
            [self.graph(z)[self.graph.data_node] for z in starts.split(128)]
        )
        standardised = self.likelihood.standardised
        distances = torch.cdist(
            standardised(x).flatten(1), standardised(outputs).flatten(1)
        )
        return most_probable_noise(
            self, x, starts[distances.argmin(1)], max_steps=MOST_STEPS, tol=TOLERANCE
        ).noise


class FixedGenerator(BaseGenerator):
    """Generator whose mechanisms are given and not learned.

    It lends the verbs of the fitted generators to a simulator, or to the true
    mechanisms of a synthetic world: what a perfect fit would answer.

    Parameters
    ----------
    graph : MechanismGraph, default=None
        Its one root is standard normal noise, and its data node is in the units of the
        data. None stands for independent normal columns with the means and variances
        of the rows that `fit`, and `partial_fit` since, got.
    data_shape : tuple of int, default=None
        Shape of one row: ``(length,)`` of a signal, ``(height, width)`` of a grey and
        ``(height, width, channels)`` of a colour image. None means a table.
    data_kind : {"auto", "table", "signal", "image"}, default="auto"
        What a row is. "auto" goes by `data_shape`, as above; only "signal" allows
        ``(length, channels)``, a signal of several channels.
    noise_std : float, default=0.0
        Standard deviation of observation noise, in the units of the data.
    observational : label or list of labels, default=None
        Environment label(s) of the rows that `fit` takes; None takes all rows.
    bounds : {"data"}, (low, high) or None, default=None
        Samples are clipped to the observed range, to a given range, or not at all.
    device : str, default="auto"
        "auto" is CUDA, else MPS, else CPU; or the name of a torch device.
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    graph_ : MechanismGraph
        A copy of `graph`.
    nodes_ : dict of str to tuple
        Nodes that can be intervened on, with their shapes.
    mechanisms_ : dict of str to tuple of str
        Mechanisms, which bear the names of their nodes, with the nodes they read.
    bounds_ : ndarray of shape (2, 1) or (2, n_features), or None
    random_state_ : RandomState
        Where unseeded draws come from.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if X has string column names.

    Notes
    -----
    There is no encoder: the noise behind a given row is the most probable one that
    Adam finds from the nearest of 1,024 draws.

    Examples
    --------
    >>> from sklearn_icm.datasets import make_faces
    >>> from sklearn_icm.generators import FixedGenerator
    >>> faces = make_faces(50, random_state=0)
    >>> truth = FixedGenerator(faces.mechanisms, data_shape=faces.data_shape)
    >>> truth.fit(faces.data).sample(3).shape
    (3, 576)
    """

    model_class = FixedModule

    _parameter_constraints = {
        **CONSTRAINTS,
        "graph": [MechanismGraph, None],
        "noise_std": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        graph=None,
        *,
        data_shape=None,
        data_kind="auto",
        noise_std=0.0,
        observational=None,
        bounds=None,
        device="auto",
        random_state=None,
    ):
        self.graph = graph
        self.data_shape = data_shape
        self.data_kind = data_kind
        self.noise_std = noise_std
        self.observational = observational
        self.bounds = bounds
        self.device = device
        self.random_state = random_state

    def _build(self, space):
        graph = copy.deepcopy(self.graph)
        if graph is None:
            shape = space.layout.node_shape
            likelihood = GaussianLikelihood(shape)
            identity = {"data": ("noise", nn.Unflatten(1, shape))}
            graph = MechanismGraph({"noise": (space.n_features,)}, identity)
            graph = graph.with_link(likelihood.link)
        else:
            likelihood = GaussianLikelihood(graph.nodes[graph.data_node])
        if len(graph.roots) != 1 or len(next(iter(graph.roots.values()))) != 1:
            raise ValueError(
                f"graph must have one root of shape (n_latents,), got {graph.roots}."
            )
        refuse_random(graph)
        is_table = self.data_shape is None
        return FixedModule(graph, likelihood, self.noise_std, is_table=is_table)
