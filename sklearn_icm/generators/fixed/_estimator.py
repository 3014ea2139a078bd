"""Generator whose mechanisms are given: a simulator with the verbs of a fitted one."""

import copy
from numbers import Real

from torch import nn

from ..._fitting import CONSTRAINTS
from ...base import BaseGenerator
from ...mechanisms import MechanismGraph
from ...mechanisms._checks import refuse_random
from ...models import GaussianLikelihood
from ...utils._sklearn import Interval
from ._model import FixedModule

__all__ = ["FixedGenerator"]


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
    There is no encoder: the noise behind a given row is the most probable one that is
    found from the nearest of 1,024 draws, by damped least squares from each of four
    (Marquardt, 1963; a row takes tens of milliseconds), or by Adam from one if there
    are more than 64 latents. Slopes are differences: mechanisms need no gradient, but
    where they are steps, the search may end at another value than the best.

    References
    ----------
    Marquardt (1963), *An algorithm for least-squares estimation of nonlinear
    parameters*, Journal of the Society for Industrial and Applied Mathematics 11.

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
