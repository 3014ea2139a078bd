"""Laws of a step of training: what it reads, what it leaves alone, what it weighs."""

import copy
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TABLE, small
from toy_families import EnergyGenerator, FlowGenerator
from toy_parts import Neighbours

import sklearn_icm
from sklearn_icm.generators import ChainGenerator, GraphGenerator
from sklearn_icm.independence import (
    AutoPenalty,
    GenericPenalty,
    IMAPenalty,
    Kurtosis,
    Marginals,
    NoisePenalty,
    PatchDistribution,
    PatchStatistics,
    SpectralPenalty,
    Step,
    SumPenalty,
    TracePenalty,
)
from sklearn_icm.independence._generic_penalty import is_distribution
from sklearn_icm.interventions import Scale, families_for
from sklearn_icm.interventions._groups import GROUPS
from sklearn_icm.mechanisms import map_decoder, parts_decoder
from sklearn_icm.rows._batches import Batch, Rows

GRAPH = {"x0": [], "x1": ["x0"], "x2": ["x0", "x1"], "x3": ["x2"]}
HIDDEN = {"x0": [], "u": [], "x1": ["u", "x0"], "x2": ["u", "x1"], "x3": ["x2"]}
LEVELS = pd.DataFrame(TABLE, columns=list(GRAPH)).assign(
    x1=np.where(TABLE[:, 1] > 0.5, "a", "b")
)
CHANGES = [
    *GROUPS,
    *{f.name for shape in ((4,), (2, 4), (2, 4, 4)) for f in families_for(shape)},
    Scale(2.0),
    Neighbours(),
]
IMAGES = np.random.RandomState(0).uniform(size=(20, 48))


def table(mechanism="auto", X=TABLE, graph=GRAPH, **params):
    model = GraphGenerator(
        graph, mechanism=mechanism, n_units=4, max_epochs=1, random_state=0, **params
    )
    return model.fit(X)


FITS = {
    "vae": lambda: small().fit(TABLE),
    "vae, dense": lambda: small(hidden=(8, 8)).fit(TABLE),
    "vae, image": lambda: small(data_shape=(6, 8), hidden=(4, 3)).fit(IMAGES),
    "vae, bernoulli": lambda: small(likelihood="bernoulli").fit(TABLE),
    "vae, map": lambda: small(
        data_shape=(6, 8), decoder=partial(map_decoder, n_maps=4, n_parts=4)
    ).fit(IMAGES),
    "vae, parts": lambda: small(
        data_shape=(6, 8), decoder=partial(parts_decoder, n_parts=2, hidden=8)
    ).fit(IMAGES),
    "table": table,
    "table, energy": lambda: table("energy"),
    "table, scales": lambda: table("location-scale"),
    "table, levels": lambda: table(X=LEVELS),
    "table, hidden": lambda: table(graph=HIDDEN, unobserved={"u": 2}),
    "table, penalised": lambda: table(icm_weight=1.0),
    "table, levels, penalised": lambda: table(X=LEVELS, icm_weight=1.0),
    "table, hidden, penalised": lambda: table(
        graph=HIDDEN, unobserved={"u": 2}, icm_weight=1.0
    ),
    "toy, energy": lambda: EnergyGenerator(max_epochs=1, random_state=0).fit(TABLE),
    "toy, flow": lambda: FlowGenerator(max_epochs=1, random_state=0).fit(TABLE),
}


@pytest.fixture(scope="module")
def modules():
    return {name: fit()._fitted.model.train() for name, fit in FITS.items()}


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(module, n=12, device="cpu", **options):
    """A batch of some rows, of which a table knows not all."""
    x = torch.rand(n, *module.layout.node_shape, generator=draws(1))
    if hasattr(module, "fit"):
        for k, reader in enumerate(module.readers):
            if reader.width > 1:
                x[:, k] = x[:, k].round()
        x[2, 3] = torch.nan
        known = ~x.isnan()
        known[:3, 1] = False
        fold = torch.arange(n) % 4
        options |= {"known": known.to(device), "fold": fold.to(device)}
    return Batch(x.to(device), draws(), **options)


def penalties_of(graph):
    found = [
        AutoPenalty(),
        *(SpectralPenalty(form) for form in SpectralPenalty.measures),
        SpectralPenalty("triplet", loss="squared"),
        *(TracePenalty(form) for form in TracePenalty.measures),
        *(GenericPenalty(change) for change in CHANGES),
        GenericPenalty(contrast=Kurtosis()),
        GenericPenalty("stretch", PatchStatistics(2)),
        IMAPenalty(),
        NoisePenalty(),
        SumPenalty([AutoPenalty(), IMAPenalty()]),
    ]
    if len(graph.nodes[graph.data_node]) > 1:
        # (The default decoder's last hidden map is coarser than the data.)
        for node in [name for name in graph.nodes if graph.kinds[name] == "map"][-2:-1]:
            found += [
                GenericPenalty("stretch", PatchDistribution((2, 3), 20), node=node),
                GenericPenalty("translate", Marginals(), node=node),
            ]
    elif len(graph.roots) == 1:
        found.append(GenericPenalty("scale", Marginals(), n_draws=3))
    return [penalty for penalty in found if penalty.applies_to(graph)]


@pytest.mark.parametrize(
    "read",
    [float, bool, np.asarray, torch.Tensor.cpu, torch.Tensor.item, torch.Tensor.tolist],
)
def test_a_device_without_numbers_is_not_read(read):
    """What runs there moves nothing from any device to the CPU, and waits for none."""
    with pytest.raises((RuntimeError, NotImplementedError, TypeError), match="meta"):
        read(torch.zeros((), device="meta"))
    sources = Path(sklearn_icm.__file__).parent.rglob("*.py")
    assert not [path for path in sources if "is_meta" in path.read_text("utf-8")]


@pytest.mark.parametrize("case", FITS)
def test_a_step_runs_without_numbers(case, modules):
    """No shape and no branch may depend on values: this device has none."""
    module = copy.deepcopy(modules[case]).to("meta")
    batch = batch_of(module, device="meta")
    terms, nodes = module.loss_terms(batch)
    loss = sum(terms.values())
    versions = nodes if isinstance(nodes, list) else [nodes]
    for penalty in [] if nodes is None else penalties_of(module.graph):
        for own in versions:
            value = penalty(Step(module.graph, own, batch))
            assert value.is_meta, penalty
            assert value.ndim == 0
            loss = loss + value
    loss.backward()
    module.track(batch, nodes)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("of_pairs", [False, True])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_a_step_of_a_chain_runs_without_numbers(kind, of_pairs, batch_size):
    model = ChainGenerator(kind, label_noise=0.1 if of_pairs else 0.0, random_state=0)
    x = torch.from_numpy(TABLE)
    given = {"inputs": TABLE} if of_pairs else {}
    module = model.set_params(max_iter=1).fit(TABLE, **given)._fitted.model
    node = module.layout.to_node(x)
    rows = module.resume(Rows(node, inputs=x if of_pairs else None), None, renew=False)
    (batch,) = rows.batches(batch_size, draws())
    beside = {"x": batch.x, "inputs": batch.inputs}
    module.to("meta")
    batch = batch._replace(
        **{k: v.to("meta") for k, v in beside.items() if v is not None}
    )
    terms, nodes = module.loss_terms(batch)
    loss = terms["fit"]
    assert loss.is_meta
    for penalty in penalties_of(module.graph):
        of_rows = is_distribution(getattr(penalty, "contrast", None))
        if of_rows and batch.x.shape != nodes["data"].shape:
            with pytest.raises(ValueError, match="compares with rows of the data"):
                penalty(Step(module.graph, nodes, batch))
            continue
        loss = loss + penalty(Step(module.graph, nodes, batch))
    loss.backward()


@pytest.mark.parametrize("case", FITS)
def test_a_step_writes_to_nothing_and_draws_from_its_batch_alone(case, modules):
    module, before = modules[case], torch.get_rng_state()
    state = {k: v.clone() for k, v in module.state_dict().items()}
    for training in (False, True):
        module.train(training)
        first, second = (module.loss_terms(batch_of(module))[0] for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)
    after = module.state_dict()
    for name, value in state.items():
        # As bytes: residuals that are missing are NaN.
        assert value.numpy().tobytes() == after[name].numpy().tobytes(), name
    assert torch.equal(torch.get_rng_state(), before)
    other, _ = module.loss_terms(batch_of(module)._replace(generator=draws(1)))
    drawn = "vae" in case or "hidden" in case or "energy" in case
    assert drawn == any(not torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize("case", FITS)
def test_weights_of_one_are_no_weights(case, modules):
    module = modules[case]
    plain, _ = module.loss_terms(batch_of(module))
    for weight in (1.0, 0.01):
        weights = torch.full((12,), weight)
        weighted, _ = module.loss_terms(batch_of(module, weights=weights))
        for name, value in plain.items():
            assert torch.allclose(weighted[name], value, rtol=1e-5), name


class Given(Batch):
    """Noise that belongs to rows, of which `generator` says how often each is there."""

    def randn(self, *shape):
        noise = torch.randn(*shape[:-2], 5, shape[-1], generator=draws())
        return noise.repeat_interleave(self.generator, -2)


# (Of a layout's bumps each row draws its own width.)
@pytest.mark.parametrize("case", [name for name in FITS if "layout" not in name])
def test_whole_weights_are_repeated_rows(case, modules):
    module, counts = modules[case], torch.tensor([1, 3, 0, 2, 1])
    rows = batch_of(module, n=5)
    weighted = Given(*rows)._replace(
        generator=torch.ones(5, dtype=torch.long), weights=counts.float()
    )
    repeated = Given(
        *(v.repeat_interleave(counts, 0) if torch.is_tensor(v) else v for v in rows)
    )._replace(generator=counts)
    found, expected = (module.loss_terms(batch) for batch in (weighted, repeated))
    for name, value in expected[0].items():
        assert torch.allclose(found[0][name], value, rtol=1e-4), name
    moved = []
    for batch, (_, nodes) in ((weighted, found), (repeated, expected)):
        tracking = copy.deepcopy(module)
        tracking.track(batch, nodes)
        moved.append(getattr(tracking.likelihood, "variance", torch.zeros(())))
    assert torch.allclose(*moved, rtol=1e-5)


def chain(**params):
    return ChainGenerator(**{"max_iter": 3, "random_state": 0, **params})


trained = pytest.mark.parametrize("make", [small, chain], ids=["vae", "chain"])


class Unasked:
    def __call__(self, step):
        raise AssertionError("a penalty of weight 0 was computed")


@trained
def test_a_penalty_of_weight_0_is_never_called(make):
    model = make(icm_penalty=Unasked(), icm_weight=0.0).fit(TABLE)
    assert not [name for name in model.history_ if name.startswith("penalty")]
    none = make(icm_penalty=None, icm_weight=1.0).fit(TABLE)
    assert np.array_equal(model.sample(5, 0), none.sample(5, 0))


class Old(torch.nn.Module):
    def forward(self, graph, nodes):
        return next(graph.parameters()).sum()


@trained
@pytest.mark.parametrize(
    "penalty",
    [
        lambda graph, nodes: 0,
        lambda: 0,
        Old(),
        SumPenalty([TracePenalty(), lambda graph, nodes: 0]),
        lambda graph, nodes=None: graph.mechanism("data").weight.sum(),
        SumPenalty([TracePenalty(), lambda step: 0.0]),
    ],
    ids=["function", "nothing", "module", "sum", "graph", "number in a sum"],
)
def test_penalties_of_other_arguments_are_told_of_the_step(make, penalty):
    model = make(icm_penalty=penalty, icm_weight=1.0)
    if make is small:
        model.set_params(hidden=(8, 8))
    with pytest.raises(TypeError, match=r"callable penalty\(step\) of one argument"):
        model.fit(TABLE)
    off = SumPenalty([TracePenalty(), penalty], weights=[1.0, 0.0])
    model.set_params(icm_penalty=off).fit(TABLE)


def test_a_penalty_sees_the_step():
    seen = []

    def look(step):
        seen.append((len(step.batch.x), step.batch.epoch, list(step.nodes)))
        drawn.append(torch.rand((), generator=step.batch.generator).item())
        return step.nodes["data"].square().mean()

    drawn = []
    params = {"max_epochs": 2, "batch_size": 20, "icm_weight": 1e-9}
    model = small(icm_penalty=look, **params).fit(TABLE)
    nodes = list(model.nodes_)
    assert seen == [(8, 0, nodes), *((20, epoch, nodes) for epoch in (0, 0, 1, 1))]
    assert len(set(drawn[1:])) == 4
    silent = small(icm_penalty=lambda step: look(step._replace(batch=Batch(TABLE))))
    other = silent.set_params(**params).fit(TABLE)
    assert np.array_equal(model.sample(5, 0), other.sample(5, 0))
