"""Tables from a random structural causal model, and the same rows under do()."""

from collections.abc import Mapping
from numbers import Integral

import numpy as np
import torch
from torch import nn

from ..mechanisms import MechanismGraph
from ..utils.checks import check_choice, check_scalar, new_stream
from ._scm_functions import FUNCTIONS, NOISES, Network
from ._worlds import check_number, constant, draw_noise, make_world

__all__ = ["make_scm"]

MIXTURE = "mixture"
# Of a mixture: how often a node has levels, and how many these are.
OFTEN, N_LEVELS = 0.2, 3
# Share of a node's variance that its parents explain.
EXPLAINED = 0.7
N_REFERENCE = 4000


def make_scm(
    n_samples=1000,
    *,
    n_nodes=5,
    density=0.5,
    mechanism="additive",
    noise="normal",
    n_unobserved=0,
    interventions=None,
    random_state=None,
):
    """Rows of a random structural causal model, and the same noise under interventions.

    A node without parents is noise. Any other one is a random function of its parents
    plus noise, of about zero mean and unit variance, so that scales tell nothing of the
    order. Columns are in no causal order.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows per environment.
    n_nodes : int, default=5
        Nodes ``x0``, ``x1``, ..., hidden ones included.
    density : float, default=0.5
        Probability in [0, 1] of an edge between two nodes.
    mechanism : str, default="additive"
        What is added to the noise of a node, a function of its parents:

        - "additive": a small network of tanh units, bounded;
        - "location-scale": the same, and another one multiplies the noise;
        - "linear";
        - "softplus", "sine": networks of other units, which grow or return;
        - "saturating", "exp", "threshold": a function of each parent, level on one
          side, growing ever faster (to e^3, then straight), or a step;
        - "product": of two parents (the square of a single one), and a linear function;
        - "mixture": one of these for every node, drawn at random; a fifth of the nodes
          are cut into three levels, -1, 0 and 1.
    noise : {"normal", "skewed", "heavy-tailed", "mixture"}, default="normal"
        Its shape, always of variance 1 before it is scaled: skewed is lognormal,
        heavy-tailed is sinh of a normal; a mixture draws one for every node.
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
        column k of node ``xk``, normal before it is shaped; ``families`` the function
        of every node with parents; ``levels`` names of the nodes that have levels;
        ``render(interventions)``. If linear, also ``weights`` (n_nodes, n_nodes),
        effect of the second on the first, and ``noise_scales`` (n_nodes,).

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

    With linear mechanisms and normal noise ``x = B x + s * e``, so that the mean and
    covariance under ``do(x_j = v)`` are those of ``(I - B')^-1 (v 1_j + s' * e)``,
    where B' and s' have the row of j set to zero.

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
    _check_parameters(n_nodes, density, mechanism, noise, n_unobserved)
    interventions = _check_environments(interventions)
    rng = new_stream(random_state)
    parents = _random_graph(n_nodes, density, rng)
    hidden = set(rng.choice(n_nodes, n_unobserved, replace=False).tolist())
    nodes = _calibrated_nodes(parents, mechanism, noise, rng)
    normal = draw_noise(n_samples, n_nodes, rng)
    observed = [f"x{k}" for k in range(n_nodes) if k not in hidden]
    graph = _true_mechanisms(parents, nodes, observed)

    # All rows at once: a callable may treat rows differently.
    @torch.no_grad()
    def render(interventions=None):
        return graph(torch.from_numpy(normal), interventions)["data"].numpy()

    return make_world(
        render,
        {label: {"interventions": v} for label, v in interventions.items()},
        noise=normal,
        data_shape=None,
        feature_names=observed,
        unobserved=[f"x{k}" for k in sorted(hidden)],
        graph={f"x{k}": tuple(f"x{p}" for p in ps) for k, ps in parents.items()},
        families={f"x{k}": nodes[k].family for k, ps in parents.items() if ps},
        levels=[f"x{k}" for k in sorted(parents) if nodes[k].cuts is not None],
        factors=_values_of_nodes(graph, normal),
        mechanisms=graph,
        interventions=interventions,
        DESCR=make_scm.__doc__,
        **(_linear_truth(parents, nodes) if mechanism == "linear" else {}),
    )


def _check_parameters(n_nodes, density, mechanism, noise, n_unobserved):
    check_scalar(n_nodes, "n_nodes", Integral, min_val=1)
    check_number("density", density, 0, 1, "both")
    check_scalar(n_unobserved, "n_unobserved", Integral, min_val=0, max_val=n_nodes - 1)
    check_choice("mechanism", mechanism, (*FUNCTIONS, MIXTURE))
    check_choice("noise", noise, (*NOISES, MIXTURE))


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


def _calibrated_nodes(parents, mechanism, noise, rng):
    """One module per node, scaled on reference noise so that variances are about 1."""
    reference = torch.from_numpy(rng.randn(N_REFERENCE, len(parents)))
    values, nodes = {}, {}
    for k, ps in parents.items():
        family = _one_of(FUNCTIONS, mechanism, rng)
        shape = NOISES[_one_of(NOISES, noise, rng)]
        nodes[k] = _make_node(k, [values[p] for p in ps], family, shape, rng)
        values[k] = nodes[k](reference, *(values[p] for p in ps))
        if mechanism == MIXTURE and rng.uniform() < OFTEN:
            shares = np.arange(1, N_LEVELS) / N_LEVELS
            nodes[k].cuts = np.quantile(values[k], shares)
            values[k] = nodes[k](reference, *(values[p] for p in ps))
    return nodes


def _one_of(table, name, rng):
    """The name, or one that is drawn for a mixture."""
    return str(rng.choice(list(table))) if name == MIXTURE else name


def _make_node(index, parents, family, shape, rng):
    if not parents:
        return _Node(index, shape)
    values = torch.cat(parents, 1)
    location = FUNCTIONS[family](values, np.sqrt(EXPLAINED), rng)
    spread = 1 - EXPLAINED
    log_scale = None
    if family == "location-scale":
        log_scale = Network(values, 1.0, rng)
        spread /= float(_scale_factor(log_scale, values).square().mean())
    return _Node(index, shape, location, np.sqrt(spread), log_scale, family)


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
    """Structural equation of one node: its parents' part, and its own noise.

    With ``cuts`` it has levels, the numbers of cuts below less their middle.
    """

    def __init__(
        self, index, shape, location=None, scale=1.0, log_scale=None, family=None
    ):
        super().__init__()
        self.index, self.shape, self.scale = index, shape, float(scale)
        self.location, self.log_scale, self.family = location, log_scale, family
        self.cuts = None

    def forward(self, noise, *parents):
        value = self.scale * self.shape(noise[:, self.index, None])
        if parents:
            values = torch.cat(parents, 1)
            if self.log_scale is not None:
                value = _scale_factor(self.log_scale, values)[:, None] * value
            value = self.location(values)[:, None] + value
        if self.cuts is None:
            return value
        levels = torch.bucketize(value.contiguous(), constant(self.cuts, value))
        return (levels - len(self.cuts) / 2).to(value.dtype)


def _scale_factor(log_scale, values):
    # Bounded by exp(1) both ways, so that no intervention makes rows explode.
    return log_scale(values).tanh().exp()


class _Columns(nn.Module):
    def forward(self, *columns):
        return torch.cat(columns, 1)
