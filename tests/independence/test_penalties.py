import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklearn_icm.exceptions import DegenerateMechanismWarning, UnreadMechanismWarning
from sklearn_icm.independence import (
    AutoPenalty,
    GenericPenalty,
    IMAPenalty,
    SpectralPenalty,
    Step,
    SumPenalty,
    TracePenalty,
    spectral_ratio,
)
from sklearn_icm.independence._pairs import mechanism_pairs
from sklearn_icm.independence._penalties import (
    call_penalty,
    checked_penalty,
    resolve_penalty,
)
from sklearn_icm.independence._table import independence_table
from sklearn_icm.mechanisms import (
    MechanismGraph,
    conv_decoder,
    conv_encoder,
    dense_decoder,
    dense_encoder,
)
from sklearn_icm.mechanisms._modules import DenseMechanism
from sklearn_icm.rows._batches import Batch

GRAPHS = {
    "conv decoder": lambda: conv_decoder(3, (1, 12, 9), (4, 3)),
    "conv encoder": lambda: conv_encoder((1, 12, 9), 6, (4, 3)),
    "dense decoder": lambda: dense_decoder(3, (5,), (6, 4)),
    "dense encoder": lambda: dense_encoder((5,), 6, (6, 4)),
}


# Every penalty in every form, at the first kind of graph that it sees.
PENALTIES = [
    *((AutoPenalty(), name) for name in GRAPHS),
    (SpectralPenalty("triplet"), "conv decoder"),
    (SpectralPenalty("full"), "conv decoder"),
    (SpectralPenalty("activation"), "conv decoder"),
    (SpectralPenalty("triplet", loss="squared"), "conv decoder"),
    (SpectralPenalty(loss="squared"), "conv encoder"),
    (TracePenalty("activation"), "dense encoder"),
    (GenericPenalty(), "dense decoder"),
    (IMAPenalty(), "dense decoder"),
    (IMAPenalty(n_rows=3), "conv decoder"),
    (SumPenalty([AutoPenalty(), IMAPenalty()], [1.0, 0.1]), "dense decoder"),
]


def rng():
    return torch.Generator().manual_seed(0)


def step_of(graph, nodes, generator):
    return Step(graph, nodes, Batch(nodes[graph.data_node], generator))


def seeded(name):
    torch.manual_seed(0)
    return GRAPHS[name]().double()


@pytest.mark.parametrize("name", GRAPHS)
def test_auto_penalty_sees_every_pair_and_is_differentiable(name):
    graph = seeded(name)
    assert len(list(mechanism_pairs(graph))) == 2
    value = AutoPenalty()(Step(graph))
    value.backward()
    assert value > 0
    assert all(
        p.grad is not None and p.grad.isfinite().all()
        for n, p in graph.named_parameters()
        if n.endswith("weight")
    )


def test_named_penalties_see_their_own_pairs():
    conv, dense = seeded("conv decoder"), seeded("dense decoder")
    assert SpectralPenalty()(Step(conv)) == AutoPenalty()(Step(conv))
    assert TracePenalty()(Step(dense)) == AutoPenalty()(Step(dense))
    assert SpectralPenalty()(Step(dense)) == TracePenalty()(Step(conv)) == 0
    assert SpectralPenalty().applies_to(conv)
    assert not SpectralPenalty().applies_to(dense)


@pytest.mark.parametrize(("penalty", "name"), PENALTIES, ids=str)
def test_descent_lowers_every_penalty(penalty, name):
    graph = seeded(name)
    noise = {
        root: torch.randn(20, *shape, dtype=torch.float64, generator=rng())
        for root, shape in graph.roots.items()
    }
    optimiser = torch.optim.Adam(graph.parameters(), lr=1e-2)
    values = []
    for _ in range(40):
        optimiser.zero_grad()
        values.append(call_penalty(penalty, step_of(graph, graph(noise), rng())))
        values[-1].backward()
        grads = [p.grad for p in graph.parameters() if p.grad is not None]
        assert grads
        assert all(grad.isfinite().all() for grad in grads)
        optimiser.step()
    assert values[0].ndim == 0
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize("penalty", [p for p, _ in PENALTIES], ids=repr)
def test_penalties_are_value_objects(penalty):
    copies = [clone(penalty), pickle.loads(pickle.dumps(penalty)), eval(repr(penalty))]
    for copy in copies:
        assert copy == penalty
        assert hash(copy) == hash(penalty)
    assert len({p for p, _ in PENALTIES}) == len(PENALTIES) - len(GRAPHS) + 1


def descend_from_equal_kernels(noise):
    torch.manual_seed(0)
    kernel = torch.randn(1, 1, 5, 5, dtype=torch.float64)
    w1, w2 = (
        (kernel + noise * torch.randn_like(kernel)).requires_grad_() for _ in range(2)
    )
    optimiser = torch.optim.Adam([w1, w2], lr=0.01)
    for _ in range(700):
        optimiser.zero_grad()
        rho = spectral_ratio(w1, w2)
        rho.log().square().sum().backward()
        optimiser.step()
    return rho.item()


def test_symmetric_start_traps_and_noise_frees():
    """Theory 3: equal kernels stay equal, which is a trap; 2 % of noise frees them."""
    assert descend_from_equal_kernels(0.0) > 1.05
    assert descend_from_equal_kernels(0.02) == pytest.approx(1, abs=1e-4)


def test_unknown_form_names_the_allowed_ones():
    for form in ("x", ["x"]):
        with pytest.raises(ValueError, match=r"form must be one of \['pooled'.*'x'"):
            SpectralPenalty(form=form)(seeded("conv decoder"))


@pytest.mark.parametrize("penalty", [GenericPenalty(), TracePenalty("activation")])
def test_penalties_of_values_say_that_they_need_some(penalty):
    with pytest.raises(ValueError, match=r"needs the values of the nodes.*\(graph, no"):
        penalty(Step(seeded("dense decoder")))


def test_resolve_penalty():
    assert resolve_penalty("spectral") == SpectralPenalty()
    assert resolve_penalty(None) is None
    with pytest.raises(
        ValueError, match=r"one of \['auto', 'noise', 'spectral', 'trace'\]"
    ):
        resolve_penalty("spectrum")
    with pytest.raises(TypeError, match="a callable penalty"):
        resolve_penalty(3)


def table(graph, n_draws=0, **params):
    return independence_table(graph, n_draws=n_draws, **params)


@pytest.mark.parametrize("name", GRAPHS)
def test_table_has_the_agreed_columns(name):
    rows = table(seeded(name), n_draws=19)
    assert {
        "pair",
        "measure",
        "power_change",
        "low",
        "high",
        "rho",
        "anisotropy_in",
        "anisotropy_out",
        "p_value",
        "degenerate",
    } <= set(rows.columns)
    assert np.allclose(rows["rho"] * (1 + rows["power_change"]), 1)
    assert rows["p_value"].between(1 / 20, 1).all()
    assert not rows["degenerate"].any()


def test_single_hidden_unit_is_degenerate():
    graph = MechanismGraph(
        {"noise": (3,)},
        {"h": ("noise", nn.Linear(3, 1)), "data": ("h", nn.Linear(1, 2))},
    )
    with pytest.warns(DegenerateMechanismWarning, match="h -> data"):
        rows = table(graph, n_draws=9)
    assert rows["rho"].tolist() == [1.0]
    assert rows[["low", "high", "p_value"]].isna().all(axis=None)


def test_mechanisms_without_a_single_kernel_are_left_out():
    graph = MechanismGraph(
        {"noise": (3,)},
        {
            "a": ("noise", nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))),
            "data": ("a", nn.Linear(3, 2)),
        },
    )
    with pytest.warns(UnreadMechanismWarning, match="of 'a' has no operator"):
        assert len(table(graph)) == 0
    assert AutoPenalty()(Step(graph)) == 0
    reason = "a -> data: the mechanism of 'a' has no operator: it needs just one "
    with pytest.raises(
        ValueError, match=f"{reason}.*got Linear and Linear, and none of .* icm_w"
    ):
        checked_penalty(AutoPenalty(), graph, 1.0)


def test_pairs_that_do_not_meet_are_named():
    graph = MechanismGraph(
        {"noise": (3,)},
        {
            "a": ("noise", nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (2, 2)))),
            "data": ("a", nn.Linear(2, 3)),
        },
    )
    with pytest.warns(UnreadMechanismWarning, match=r"a -> data: .* shape \(2, 2\)"):
        assert len(table(graph)) == 0


def test_points_are_no_maps():
    """They have as many axes, but what is beside each other there is no place."""
    mechanisms = {
        "places": ("noise", DenseMechanism((3,), (6, 2), "silu")),
        "data": ("places", DenseMechanism((6, 2), (4,), "identity")),
    }
    assert len(table(MechanismGraph({"noise": (3,)}, mechanisms))) == 1
    # A convolution that reads units of a vector, too.
    read = nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Conv1d(4, 2, 3, padding=1))
    units = {"h": ("noise", nn.Linear(3, 4)), "data": ("h", read)}
    with pytest.warns(UnreadMechanismWarning, match="h -> data: none of .'trace', 'sp"):
        assert len(table(MechanismGraph({"noise": (3,)}, units))) == 0
    graph = MechanismGraph({"noise": (3,)}, mechanisms, {"places": "points"})
    with pytest.warns(UnreadMechanismWarning, match="places -> data: .* kind 'points'"):
        assert len(table(graph)) == 0


def test_mechanisms_of_several_parents_are_named():
    class Sum(nn.Linear):
        def forward(self, *parents):
            return super().forward(sum(parents))

    graph = MechanismGraph(
        {"noise": (3,)},
        {
            "a": ("noise", nn.Linear(3, 3)),
            "b": ("noise", nn.Linear(3, 3)),
            "data": (("a", "b", "noise"), Sum(3, 2)),
        },
    )
    several = "the mechanism of 'data' has several parents"
    with pytest.warns(
        UnreadMechanismWarning, match=f"a -> .*{several}.*; b -> .*{several}"
    ):
        assert len(table(graph)) == 0
    with pytest.raises(ValueError, match=f"It cannot read a -> data: {several}"):
        checked_penalty(AutoPenalty(), graph, 1.0)


def dcgan_like(norm):
    """Transposed convolutions, normalised or not, as people bring them."""
    return MechanismGraph(
        {"noise": (5,)},
        {
            "a": (
                "noise",
                nn.Sequential(
                    nn.Unflatten(1, (5, 1, 1)), nn.ConvTranspose2d(5, 4, 4), norm(4)
                ),
            ),
            "b": (
                "a",
                nn.Sequential(
                    nn.ReLU(inplace=True),
                    nn.Sequential(nn.ConvTranspose2d(4, 3, 4, 2, 1), norm(3)),
                    nn.Dropout2d(),
                ),
            ),
            "data": ("b", nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(3, 1, 4, 2, 1))),
        },
    )


def test_operators_are_seen_through_normalisation_dropout_and_nesting():
    graphs = []
    for norm in (nn.BatchNorm2d, nn.Identity):
        torch.manual_seed(0)
        graphs.append(dcgan_like(norm).eval())
    tables = [table(graph) for graph in graphs]
    assert tables[0]["pair"].tolist() == ["a -> b", "b -> data"]
    assert (tables[0]["measure"] == "spectral").all()
    # The pooled ratio of a hidden channel does not depend on the channel's scale.
    assert np.allclose(tables[0]["rho"], tables[1]["rho"])
    scales = graphs[0].mechanism("b")[1][1].weight
    value = SpectralPenalty("full")(Step(graphs[0]))
    value.backward()
    assert scales.grad.abs().sum() > 0
    checked_penalty(AutoPenalty(), graphs[0], 1.0)


@pytest.mark.parametrize("resize", ["nearest", "linear"])
def test_trivial_minimisers_are_flagged(resize):
    """A 1 x 1 kernel is a delta; after nearest resizing it is as long as the stride."""
    torch.manual_seed(0)
    graph = conv_decoder(3, (1, 12, 12), (4, 3), kernel_size=1, resize=resize)
    if resize == "nearest":
        with pytest.warns(DegenerateMechanismWarning, match="conv1 -> conv2"):
            rows = table(graph)
        assert rows["degenerate"].all()
        assert np.allclose(rows["rho"], 1)
    else:
        # Linear resizing smooths over more than a stride: there is something to see.
        assert not table(graph)["degenerate"].any()
