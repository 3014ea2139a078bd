"""Tables from a random structural causal model, and the same rows under do()."""

from collections.abc import Mapping
from numbers import Integral

import numpy as np
import torch
from torch import nn

from ..mechanisms import MechanismGraph
from ..utils.checks import check_choice, check_scalar, new_stream
from ._worlds import check_number, constant, draw_noise, make_world

__all__ = ["make_scm"]

MECHANISMS = ("additive", "location-scale", "linear")
N_UNITS = 6
# Share of a node's variance that its parents explain.
EXPLAINED = 0.7
N_REFERENCE = 4000


def make_scm(
    n_samples=1000,
    *,
    n_nodes=5,
    density=0.5,
    mechanism="additive",
    n_unobserved=0,
    interventions=None,
    random_state=None,
):
    """Rows of a random structural causal model, and the same noise under interventions.

    A node without parents is standard normal noise. Any other one is a random smooth
    function of its parents plus noise, of about zero mean and unit variance, so that
    scales tell nothing of the order. Columns are in no causal order.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows per environment.
    n_nodes : int, default=5
        Nodes ``x0``, ``x1``, ..., hidden ones included.
    density : float, default=0.5
        Probability in [0, 1] of an edge between two nodes.
    mechanism : {"additive", "location-scale", "linear"}, default="additive"
        Additive: a small tanh network of the parents plus noise. Location-scale: the
        noise is multiplied by another bounded function of them. Linear: a linear
        function plus noise.
    n_unobserved : int, default=0
        Nodes, drawn at random, that are left out of `data`; less than `n_nodes`.
    interventions : dict of str to dict, default=None
        One environment each: its label and ``{node: number, array, intervention or
        callable}``. Numbers are do-interventions.
    random_state : int, RandomState or None, default=None
        Of the graph, the mechanisms and the noise.

    Returns
    -------
    Bunch
        As :mod:`sklearn_icm.datasets` says, with ``data`` ((1 + n_interventions) *
        n_samples, n_nodes - n_unobserved); ``feature_names`` of the columns;
        ``unobserved`` names of the other nodes; ``graph`` parents of every node,
        ``{name: tuple of names}``, in topological order; ``factors`` values of all
        nodes in "observational", each (n_samples,); ``noise`` (n_samples, n_nodes),
        column k of node ``xk``; ``render(interventions)``. If linear, also ``weights``
        (n_nodes, n_nodes), effect of the second on the first, and ``noise_scales``
        (n_nodes,).

    Raises
    ------
    ValueError, TypeError
        For parameters outside their range, unknown nodes, or a label that is taken.

    Notes
    -----
    For new rows of the same world sample from
    ``FixedGenerator(world.mechanisms).fit(world.data)``: another `random_state` is
    another world.

    Graph nodes: ``noise``, then every node of shape (1,) with the parents ``noise``
    and its own, then ``data``, which has the observed columns. Nodes that do not
    descend from an intervened one stay exactly the same.

    With linear mechanisms ``x = B x + s * e``, so that the mean and covariance under
    ``do(x_j = v)`` are those of ``(I - B')^-1 (v 1_j + s' * e)``, where B' and s' have
    the row of j set to zero.

    References
    ----------
    Hoyer, Janzing, Mooij, Peters, Schölkopf (2008), *Nonlinear causal discovery with
    additive noise models*, NIPS. Reisach, Seiler, Weichwald (2021), *Beware of the
    simulated DAG!*, arXiv 2102.13647 (why scales are standardised).

    Examples
    --------
    >>> scm = make_scm(10, interventions={"low": {"x0": -2.0}}, random_state=0)
    >>> scm.data.shape, scm.feature_names
    ((20, 5), ['x0', 'x1', 'x2', 'x3', 'x4'])
    >>> float(scm.render({"x0": -2.0})[:, 0].max())
    -2.0
    """
    _check_parameters(n_nodes, density, mechanism, n_unobserved)
    interventions = _check_environments(interventions)
    rng = new_stream(random_state)
    parents = _random_graph(n_nodes, density, rng)
    hidden = set(rng.choice(n_nodes, n_unobserved, replace=False).tolist())
    nodes = _calibrated_nodes(parents, mechanism, rng)
    noise = draw_noise(n_samples, n_nodes, rng)
    observed = [f"x{k}" for k in range(n_nodes) if k not in hidden]
    graph = _true_mechanisms(parents, nodes, observed)

    # All rows at once: a callable may treat rows differently.
    @torch.no_grad()
    def render(interventions=None):
        return graph(torch.from_numpy(noise), interventions)["data"].numpy()

    return make_world(
        render,
        {label: {"interventions": v} for label, v in interventions.items()},
        noise=noise,
        data_shape=None,
        feature_names=observed,
        unobserved=[f"x{k}" for k in sorted(hidden)],
        graph={f"x{k}": tuple(f"x{p}" for p in ps) for k, ps in parents.items()},
        factors=_values_of_nodes(graph, noise),
        mechanisms=graph,
        interventions=interventions,
        DESCR=make_scm.__doc__,
        **(_linear_truth(parents, nodes) if mechanism == "linear" else {}),
    )


def _check_parameters(n_nodes, density, mechanism, n_unobserved):
    check_scalar(n_nodes, "n_nodes", Integral, min_val=1)
    check_number("density", density, 0, 1, "both")
    check_scalar(n_unobserved, "n_unobserved", Integral, min_val=0, max_val=n_nodes - 1)
    check_choice("mechanism", mechanism, MECHANISMS)


def _check_environments(interventions):
    environments = {} if interventions is None else interventions
    if not isinstance(environments, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Mapping) for k, v in environments.items()
    ):
        raise TypeError(
            "interventions must be a dict {environment: {node: intervention}} with "
            f"strings as environments, got {interventions!r}."
        )
    if "observational" in environments:
        raise ValueError(
            "interventions must not name an environment 'observational': those are the "
            "rows without one. Choose another label."
        )
    return dict(environments)


def _random_graph(n_nodes, density, rng):
    """Parents of every node as sorted indices, in topological order."""
    order = rng.permutation(n_nodes)
    edges = rng.uniform(size=(n_nodes, n_nodes)) < density
    return {
        int(child): tuple(sorted(int(p) for p in order[:i][edges[i, :i]]))
        for i, child in enumerate(order)
    }


def _calibrated_nodes(parents, mechanism, rng):
    """One module per node, scaled on reference noise so that variances are about 1."""
    reference = torch.from_numpy(rng.randn(N_REFERENCE, len(parents)))
    values, nodes = {}, {}
    for k, ps in parents.items():
        nodes[k] = _make_node(k, [values[p] for p in ps], mechanism, rng)
        values[k] = nodes[k](reference, *(values[p] for p in ps))
    return nodes


def _make_node(index, parents, mechanism, rng):
    if not parents:
        return _Node(index)
    values = torch.cat(parents, 1)
    if mechanism == "linear":
        location = _Affine(values, np.sqrt(EXPLAINED), rng)
    else:
        location = _TanhNetwork(values, np.sqrt(EXPLAINED), rng)
    spread = 1 - EXPLAINED
    log_scale = None
    if mechanism == "location-scale":
        log_scale = _TanhNetwork(values, 1.0, rng)
        spread /= float(_scale_factor(log_scale, values).square().mean())
    return _Node(index, location, np.sqrt(spread), log_scale)


def _true_mechanisms(parents, nodes, observed):
    mechanisms = {
        f"x{k}": (("noise", *(f"x{p}" for p in ps)), nodes[k])
        for k, ps in parents.items()
    }
    mechanisms["data"] = (observed, _Columns())
    return MechanismGraph({"noise": (len(parents),)}, mechanisms)


@torch.no_grad()
def _values_of_nodes(graph, noise):
    values = graph(torch.from_numpy(noise))
    names = [name for name in graph.parents if name != "data"]
    return {name: values[name][:, 0].numpy() for name in names}


def _linear_truth(parents, nodes):
    weights, scales = np.zeros((len(parents), len(parents))), np.ones(len(parents))
    for k, ps in parents.items():
        if ps:
            weights[k, list(ps)] = nodes[k].location.weight
            scales[k] = nodes[k].scale
    return {"weights": weights, "noise_scales": scales}


class _Node(nn.Module):
    """Structural equation of one node: its parents' part, and its own noise."""

    def __init__(self, index, location=None, scale=1.0, log_scale=None):
        super().__init__()
        self.index, self.scale = index, float(scale)
        self.location, self.log_scale = location, log_scale

    def forward(self, noise, *parents):
        own = self.scale * noise[:, self.index, None]
        if not parents:
            return own
        values = torch.cat(parents, 1)
        if self.log_scale is not None:
            own = _scale_factor(self.log_scale, values)[:, None] * own
        return self.location(values)[:, None] + own


def _scale_factor(log_scale, values):
    # Bounded by exp(1) both ways, so that no intervention makes rows explode.
    return log_scale(values).tanh().exp()


class _Affine(nn.Module):
    """Random linear function (n, n_parents) -> (n,) with a given deviation."""

    def __init__(self, values, deviation, rng):
        super().__init__()
        n_parents = values.shape[1]
        weight = rng.choice([-1.0, 1.0], n_parents) * rng.uniform(0.5, 1.5, n_parents)
        self.weight = weight * deviation / np.std(values.numpy() @ weight)

    def forward(self, values):
        return values @ constant(self.weight, values)


class _TanhNetwork(nn.Module):
    """Random bounded function (n, n_parents) -> (n,) of mean 0 and given deviation."""

    def __init__(self, values, deviation, rng):
        super().__init__()
        n_parents = values.shape[1]
        self.inner = 1.5 / np.sqrt(n_parents) * rng.randn(n_parents, N_UNITS)
        self.bias, self.outer = rng.randn(2, N_UNITS)
        raw = self._raw(values)
        self.mean, self.gain = float(raw.mean()), float(deviation / raw.std())

    def _raw(self, values):
        inner, bias, outer = (
            constant(array, values) for array in (self.inner, self.bias, self.outer)
        )
        return torch.tanh(values @ inner + bias) @ outer

    def forward(self, values):
        return self.gain * (self._raw(values) - self.mean)


class _Columns(nn.Module):
    def forward(self, *columns):
        return torch.cat(columns, 1)
