"""Queries leave the model alone, and what foreign parts do in place stays theirs."""

import threading

import numpy as np
import pytest
import torch
from helpers import EDGES, TABLE, graph_table, small
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.generators import (
    ChainGenerator,
    FixedGenerator,
    GraphGenerator,
    VAEGenerator,
)
from sklearn_icm.independence import (
    IMAPenalty,
    Step,
    SumPenalty,
    TracePenalty,
    generic_ratio,
    jacobian,
    response,
)
from sklearn_icm.independence._penalties import checked_penalty
from sklearn_icm.interventions import Noise, Reparametrise, Shift, SwapMechanism
from sklearn_icm.mechanisms import MechanismGraph


def path(*modules, n_latents=2, seed=0):
    """Graph noise -> h1 -> ... -> data; the modules are made from one seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = [make() for make in modules]
    names = [*(f"h{k + 1}" for k in range(len(made) - 1)), "data"]
    parents = ["noise", *names]
    return MechanismGraph(
        {"noise": (n_latents,)},
        {n: (p, m) for n, p, m in zip(names, parents, made, strict=False)},
    )


def in_place(n_latents, shape, inplace=True):
    """Decoder whose later mechanisms begin with an activation."""
    relu = nn.ReLU(inplace=inplace)
    return path(
        lambda: nn.Linear(n_latents, 4),
        lambda: nn.Sequential(relu, nn.Linear(4, 4)),
        lambda: nn.Sequential(relu, nn.Linear(4, *shape)),
        n_latents=n_latents,
    )


def apart(n_latents, shape):
    return in_place(n_latents, shape, inplace=False)


def fitted_families():
    graph = GraphGenerator(EDGES, max_epochs=2, random_state=0)
    yield "table", small(bounds=None).fit(TABLE), TABLE
    own = small(bounds=None, decoder=in_place)
    yield "own decoder", own.fit(TABLE), TABLE
    signals = VAEGenerator(
        (8,), n_latents=2, hidden=(4, 3), max_epochs=1, random_state=0
    )
    X = np.random.RandomState(0).rand(20, 8)
    yield "signals", signals.fit(X), X
    yield (
        "simulator",
        FixedGenerator(in_place(2, (4,)), random_state=0).fit(TABLE),
        (TABLE),
    )
    yield "chain", ChainGenerator(max_iter=5, random_state=0).fit(TABLE), TABLE
    frame = graph_table(60)
    yield "graph", graph.fit(frame), frame
    pipeline = GenerativePipeline(
        [("scale", StandardScaler()), ("model", small(bounds=None))]
    )
    yield "pipeline", pipeline.fit(TABLE), TABLE


@pytest.fixture(scope="module")
def families():
    return {name: (model, X[:4]) for name, model, X in fitted_families()}


FAMILIES = ["table", "own decoder", "signals", "simulator", "chain", "graph"]
FAMILIES.append("pipeline")


def module_of(model):
    return (
        model.steps[-1][1]._fitted.model
        if hasattr(model, "steps")
        else model._fitted.model
    )


def trace_of(model):
    """What a write would change: counters and values, modes, attributes."""
    module = module_of(model)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    owner = model.steps[-1][1] if hasattr(model, "steps") else model
    return (
        {k: (id(t), t._version, t.requires_grad, t.grad) for k, t in tensors.items()},
        {k: v.numpy().tobytes() for k, v in module.state_dict().items()},
        [m.training for m in module.modules()],
        {k: id(v) for k, v in vars(owner).items() if k != "random_state_"},
    )


def asked(model, X):
    """Every verb that there is, at every node, also inside torch's modes."""
    yield lambda: model.sample(3)
    for node in model.nodes_:
        for change in (0.5, Noise(0.1), lambda v: v.mul_(2.0)):
            yield lambda n=node, c=change: model.intervene({n: c}, n_samples=3)
            yield lambda n=node, c=change: model.intervene(
                {n: c}, X=X, return_factual=True, return_nodes=True
            )
    for node in getattr(model, "mechanisms_", {}):
        units = model.nodes_[node][0]
        change = Reparametrise(2 * np.eye(units))
        try:
            module_of(model).graph.check_interventions({node: change})
        except ValueError:
            change = Shift(1.0)
        if not hasattr(model, "steps"):
            change = SwapMechanism(model, node) >> change
        yield lambda n=node, c=change: model.intervene({n: c}, n_samples=3)
    for verb in ("abduct", "transform", "score_samples", "score", "was_fitted_on"):
        if hasattr(model, verb):
            yield lambda v=verb: getattr(model, v)(X)
    if hasattr(model, "abduct"):
        yield lambda: model.abduct(X, method="optimise", max_steps=3)
    if hasattr(model, "inverse_transform"):
        yield lambda: model.inverse_transform(model.transform(X))
    if hasattr(model, "influence_map"):
        node = list(model.nodes_)[0]
        yield lambda: model.influence_map(node, 0, n_samples=4)
        yield lambda: model.hybridise(X, X, node, 0)
        yield lambda: model.node_values(X)
    if hasattr(model, "independence"):
        yield lambda: model.independence(n_samples=8, n_draws=2)


@pytest.mark.filterwarnings("ignore::sklearn_icm.exceptions.DegenerateMechanismWarning")
@pytest.mark.filterwarnings("ignore::sklearn_icm.exceptions.ClippedInterventionWarning")
@pytest.mark.filterwarnings("ignore::sklearn_icm.exceptions.FarInterventionWarning")
@pytest.mark.parametrize("name", FAMILIES)
def test_no_verb_writes_to_the_model(families, name):
    model, X = families[name]
    before = trace_of(model)
    for k, ask in enumerate(asked(model, X)):
        ask()
        assert trace_of(model) == before, k


class Interrupted(nn.Linear):
    """Lets something else happen in the middle of a pass, once."""

    meanwhile = None

    def forward(self, value):
        happens, Interrupted.meanwhile = Interrupted.meanwhile, None
        if happens is not None:
            happens()
        return super().forward(value)


def test_another_thread_sees_the_model_as_it_is_while_one_reparametrises():
    graph = path(lambda: Interrupted(2, 4))
    model = FixedGenerator(graph, random_state=0).fit(TABLE)
    expected, seen = model.sample(5, random_state=0), []

    def sample_in_another_thread():
        other = threading.Thread(
            target=lambda: seen.append(model.sample(5, random_state=0))
        )
        other.start()
        other.join()

    Interrupted.meanwhile = sample_in_another_thread
    change = {"data": Reparametrise(2 * np.eye(4))}
    model.intervene(change, n_samples=5, random_state=0)
    assert np.array_equal(seen[0], expected)


def test_reparametrise_shares_all_but_the_weights():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
    seen = []
    module[0].register_forward_pre_hook(lambda m, _: seen.append(m.weight))
    changed = Reparametrise(2 * np.eye(3)).mechanism(module)
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    new = dict(changed.named_parameters()) | dict(changed.named_buffers())
    assert [k for k in own if own[k] is not new[k]] == ["0.weight"]
    changed(torch.zeros(2, 2))
    assert torch.equal(seen[0], 2 * module[0].weight)
    weight_norm = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    graph = MechanismGraph({"noise": (2,)}, {"data": ("noise", weight_norm)})
    with pytest.raises(ValueError, match="plain weights, but those of node 'data'"):
        graph.check_interventions({"data": Reparametrise(np.eye(2))})


# --------------------------------------------------------- what works in place
def writes_an_entry(v):
    v[:, 0] = 0.25
    return v


def writes_by_numpy(v):
    np.multiply(v.numpy(), 2.0, out=v.numpy())
    return v


def entry(v):
    v = v.clone()
    v[:, 0] = 0.25
    return v


CALLABLES = [
    (lambda v: v.mul_(2.0), lambda v: 2 * v),
    (writes_an_entry, entry),
    (writes_by_numpy, lambda v: 2 * v),
    (torch.relu_, torch.relu),
]


@pytest.mark.filterwarnings("ignore::sklearn_icm.exceptions.ClippedInterventionWarning")
@pytest.mark.parametrize("name", FAMILIES)
def test_callables_that_write_are_those_that_do_not(families, name):
    model, X = families[name]
    given = {"X": X}
    if hasattr(model, "abduct"):
        given["abduction"] = model.abduct(X)
    for node in model.nodes_:
        for writing, pure in CALLABLES:
            for rows in (given, {"n_samples": 5, "random_state": 0}):
                factual, changed = model.intervene(
                    {node: writing}, return_factual=True, **rows
                )
                expected = model.intervene({node: pure}, return_factual=True, **rows)
                assert np.array_equal(factual, expected[0])
                assert np.array_equal(changed, expected[1])
                alone = model.intervene({node: writing}, **rows)
                assert np.array_equal(alone, changed)
                both = model.intervene({node: Shift(0.1) >> writing}, **rows)
                assert np.array_equal(
                    both, model.intervene({node: Shift(0.1) >> pure}, **rows)
                )


def test_decoders_that_work_in_place_are_those_that_do_not():
    """The same history, values of nodes, counterfactuals and measures."""
    options = {"bounds": None, "icm_weight": 1.0, "max_epochs": 3}
    options["icm_penalty"] = SumPenalty(
        [TracePenalty(form="activation"), IMAPenalty(n_rows=4)]
    )
    one, other = (small(decoder=d, **options).fit(TABLE) for d in (in_place, apart))
    columns = one.history_.columns.drop("duration")
    assert one.history_[columns].equals(other.history_[columns])
    for rows in ({"X": TABLE[:5]}, {"n_samples": 5, "random_state": 0}):
        for node in ("noise", "h1", "h2"):
            *got, nodes = one.intervene(
                {node: Shift(-0.4)}, return_factual=True, return_nodes=True, **rows
            )
            *want, expected = other.intervene(
                {node: Shift(-0.4)}, return_factual=True, return_nodes=True, **rows
            )
            assert np.array_equal(got, want)
            for key, pair in expected.items():
                assert np.array_equal(nodes[key], pair)
            assert np.array_equal(one.intervene({node: Shift(-0.4)}, **rows), got[1])
    tables = [m.independence(n_draws=9, n_samples=16) for m in (one, other)]
    assert tables[0].equals(tables[1])
    swap = {"h2": SwapMechanism(one, "h2") >> Reparametrise(2 * np.eye(4))}
    with torch.inference_mode():
        got = other.intervene(swap, n_samples=5, random_state=0, return_factual=True)
    want = one.intervene(swap, n_samples=5, random_state=0, return_factual=True)
    assert np.array_equal(got[1], want[1])
    noise = torch.zeros(3, 2)
    factual = one.graph_(noise)
    nodes = one.graph_(noise, {"noise": lambda v: v.add_(1.0)}, factual=factual)
    assert not noise.any()
    assert torch.equal(nodes["noise"], torch.ones(3, 2))


def test_nothing_is_copied_where_nothing_writes(monkeypatch):
    graph = in_place(2, (3,), inplace=False)
    pointers = []
    for module in graph.mechanisms:
        module.register_forward_pre_hook(lambda m, a: pointers.append(a[0].data_ptr()))
    graph(torch.ones(3, 2))
    nodes = graph(torch.ones(3, 2))
    kept = [nodes[k].data_ptr() for k in ("h1", "h2")]
    assert pointers[-2:] == kept
    graph = in_place(2, (3,))
    for module in graph.mechanisms:
        module.register_forward_pre_hook(lambda m, a: pointers.append(a[0].data_ptr()))
    nodes = graph(torch.ones(3, 2))
    assert pointers[-2:] != [nodes[k].data_ptr() for k in ("h1", "h2")]


class SometimesInPlace(nn.Module):
    def forward(self, value):
        return value.clamp_(max=1.0) if bool((value > 0).any()) else value + 0


class InPlaceInEval(nn.Module):
    def forward(self, value):
        return value + 1 if self.training else value.add_(1)


def test_writes_that_come_late_are_refused_and_those_of_a_mode_are_seen():
    graph = path(lambda: nn.Identity(), SometimesInPlace).eval()
    with pytest.raises(RuntimeError, match="mechanism of node 'data' wrote into"):
        graph(torch.ones(3, 2))
    graph = path(lambda: nn.Identity(), InPlaceInEval).eval()
    for _ in range(2):
        nodes = graph(torch.ones(3, 2))
        assert (nodes["h1"] == 1).all()
        assert (nodes["data"] == 2).all()


def test_measures_keep_the_values_that_they_are_given():
    v = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    linear = nn.Linear(3, 2)
    pairs = [
        (
            nn.Sequential(nn.ReLU(inplace=True), linear),
            nn.Sequential(nn.ReLU(), linear),
        ),
        (lambda v: linear(v.relu_()), lambda v: linear(v.relu())),
    ]
    for writing, pure in pairs:
        for measure in (
            lambda f, v: generic_ratio(f, v, random_state=0),
            lambda f, v: response(f, v, random_state=0),
            jacobian,
        ):
            given = v.clone()
            got = measure(writing, given)
            assert torch.equal(given, v)
            assert torch.equal(got, measure(pure, v))


def test_penalties_that_write_into_nodes_are_refused():
    graph = apart(2, (3,))

    def writes(step):
        return step.nodes["h1"].relu_().mean()

    def takes_away(step):
        return step.nodes.pop("h1").mean()

    for penalty in (writes, SumPenalty([TracePenalty(), writes])):
        with pytest.raises(ValueError, match="writes.* wrote into the values of nodes"):
            checked_penalty(penalty, graph, 1.0)
    twice = SumPenalty([takes_away, takes_away])
    assert twice(Step(graph, graph(torch.ones(3, 2)))).isfinite()
