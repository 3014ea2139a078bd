"""Rows under perturbations of latents, alone and together."""

from itertools import combinations
from numbers import Integral

import numpy as np
import torch
from sklearn.utils import Bunch
from torch import nn

from ..interventions import Shift
from ..mechanisms import MechanismGraph
from ..utils.checks import check_choice, check_scalar, new_stream
from ..utils.designs import design_matrix
from ._scm_functions import Network
from ._worlds import check_number, constant, draw_noise, draw_rows

__all__ = ["make_perturbations"]

N_REFERENCE = 2000
# Of the standard deviation of a latent: the length of an effect.
LENGTH = 2.0
# How fast an effect saturates with its dose; 1 at dose 1.
SATURATION = 2.0


def make_perturbations(
    n_samples=200,
    *,
    n_perturbations=4,
    n_latents=4,
    n_features=20,
    labels=None,
    decoder="nonlinear",
    dose_response="linear",
    interaction=0.0,
    noise=0.3,
    random_state=None,
):
    """Rows of a control and of perturbations that shift their latents.

    Every environment has rows of its own, as screens have that destroy what they
    measure.

    Parameters
    ----------
    n_samples : int, default=200
        Rows per environment.
    n_perturbations : int, default=4
        At most 26, named A, B, C and so on.
    n_latents, n_features : int, default=4, 20
    labels : list of str, default=None
        Environments beside "control", such as ``"A"``, ``"A+B"``, ``"B:0.5"`` (a dose)
        or ``"A:0.5+C"``. None takes each perturbation alone.
    decoder : {"nonlinear", "linear"}, default="nonlinear"
        From latents to each feature: a small network of tanh units and a line, or a
        line.
    dose_response : {"linear", "saturating"}, default="linear"
        How an effect grows with its dose; 1 at dose 1, 0 without any.
    interaction : float, default=0.0
        Length of what two perturbations do together beyond the sum of their effects,
        as a part of the length of one effect.
    noise : float, default=0.3
        Standard deviation of what is added to each feature, whose own is 1.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    Bunch
        ``data`` ((1 + n_labels) * n_samples, n_features); ``environments``, the label
        of every row; ``effects`` (n_perturbations, n_latents), shifts at dose 1;
        ``latents`` of every row, shifted; ``interventions``, ``{label: {"latents":
        Shift}}``; ``change(label)``, the same of any label; ``render(label)``, the
        control's rows under it, with their noise; ``mechanisms``, the true graph from
        ``noise`` to ``latents`` to ``data``; ``DESCR``.

    Raises
    ------
    ValueError, TypeError
        For parameters outside their range, and labels that are no combination of
        perturbations, or name none that there is.

    References
    ----------
    Ahlmann-Eltze, Huber, Anders (2025), *Deep-learning-based gene perturbation effect
    prediction does not yet outperform simple linear baselines*, Nature Methods. von
    Kügelgen et al. (2025), *Representation learning for distributional perturbation
    extrapolation*, arXiv 2504.18522: shifts of latents behind a nonlinear decoder.

    Examples
    --------
    >>> world = make_perturbations(100, labels=["A", "B", "A:0.5"], random_state=0)
    >>> world.data.shape
    (400, 20)
    >>> rows = world.render("A+B")  # never seen
    """
    _check(n_perturbations, n_latents, n_features, decoder, dose_response)
    interaction = check_number("interaction", interaction, 0, closed="left")
    noise = check_number("noise", noise, 0, closed="left")
    names = [chr(ord("A") + k) for k in range(n_perturbations)]
    labels = names if labels is None else labels
    if isinstance(labels, str) or len(set(labels)) < len(labels):
        raise ValueError(
            "labels must be a list of different ones, such as ['A', 'B', 'A:0.5'], got "
            f"{labels!r}."
        )
    rng = new_stream(random_state)
    effects = LENGTH * _directions(n_perturbations, n_latents, rng)
    pairs = list(combinations(range(n_perturbations), 2))
    together = interaction * LENGTH * _directions(len(pairs), n_latents, rng)
    graph = _true_mechanisms(n_latents, n_features, decoder, noise, rng)

    def change(label):
        doses = design_matrix([label], names=names)[0]
        if dose_response == "saturating":
            doses = np.tanh(SATURATION * doses) / np.tanh(SATURATION)
        joint = [doses[i] * doses[j] for i, j in pairs]
        return {"latents": Shift(doses @ effects + np.array(joint) @ together)}

    environments = {"control": {}} | {label: change(label) for label in labels}
    normal = draw_noise(n_samples * len(environments), n_latents + n_features, rng)
    parts = dict(zip(environments, np.split(normal, len(environments)), strict=True))

    def rows_of(node, changes, own):
        return draw_rows(lambda chunk: graph(chunk, changes)[node], own)

    def render(label="control"):
        changes = {} if label == "control" else change(label)
        return rows_of("data", changes, parts["control"])

    data, latents = (
        np.concatenate(
            [rows_of(node, environments[k], own) for k, own in parts.items()]
        )
        for node in ("data", "latents")
    )
    return Bunch(
        data=data,
        environments=np.repeat(list(environments), n_samples),
        effects=effects,
        latents=latents,
        interventions={label: environments[label] for label in labels},
        change=change,
        render=render,
        mechanisms=graph,
        noise=normal,
        DESCR=make_perturbations.__doc__,
    )


def _check(n_perturbations, n_latents, n_features, decoder, dose_response):
    check_scalar(n_perturbations, "n_perturbations", Integral, min_val=1, max_val=26)
    check_scalar(n_latents, "n_latents", Integral, min_val=1)
    check_scalar(n_features, "n_features", Integral, min_val=1)
    check_choice("decoder", decoder, ("nonlinear", "linear"))
    check_choice("dose_response", dose_response, ("linear", "saturating"))


def _directions(n, n_latents, rng):
    """Random rows of length 1."""
    rows = rng.randn(n, n_latents)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _true_mechanisms(n_latents, n_features, decoder, noise, rng):
    # As wide as the latents of single perturbations.
    reference = torch.from_numpy(LENGTH * rng.randn(N_REFERENCE, n_latents))
    lines = rng.randn(n_latents, n_features) / np.sqrt(n_latents)
    networks = [
        Network(reference, 1.0, rng)
        for _ in range(n_features if decoder == "nonlinear" else 0)
    ]
    mechanisms = {
        "latents": ("noise", _Latents(n_latents)),
        "data": (("latents", "noise"), _Features(lines, networks, noise)),
    }
    return MechanismGraph({"noise": (n_latents + n_features,)}, mechanisms)


class _Latents(nn.Module):
    def __init__(self, n_latents):
        super().__init__()
        self.n_latents = n_latents

    def forward(self, noise):
        return noise[:, : self.n_latents]


class _Features(nn.Module):
    """Lines, and networks beside them if there are, of variance about 1."""

    def __init__(self, lines, networks, noise):
        super().__init__()
        self.lines, self.noise = lines, noise
        self.networks = nn.ModuleList(networks)

    def forward(self, latents, noise):
        value = latents @ constant(self.lines, latents)
        if len(self.networks):
            curves = torch.stack([network(latents) for network in self.networks], 1)
            value = (value + curves) / np.sqrt(2)
        return value + self.noise * noise[:, -value.shape[1] :]
