"""The genericity test: calibrated under independence, powerful under alignment."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from pandas.testing import assert_frame_equal
from scipy.stats import ks_2samp, kstest
from torch import nn

from sklearn_icm.exceptions import DegenerateMechanismWarning
from sklearn_icm.independence import GenericMeasure, Kurtosis, _null, genericity_test
from sklearn_icm.independence._pairs import measure_of, mechanism_pairs
from sklearn_icm.independence._table import (
    MEASURES,
    independence_table,
    two_sided_p_value,
)
from sklearn_icm.independence._trace import trace_measure
from sklearn_icm.interventions._mixing import haar_rotation
from sklearn_icm.mechanisms import conv_decoder, dense_decoder

# Ranks among 39 draws are multiples of 1/20: spread them evenly before the test.
N_DRAWS = 39
N_MODELS = 100


def rng(seed):
    return torch.Generator().manual_seed(seed)


def of_weights(seed, first, second):
    rng = np.random.RandomState(seed)
    pair = rng.randn(*first), rng.randn(*second)
    table = genericity_test(pair, n_draws=N_DRAWS, random_state=seed)
    return table["p_value"].item()


GRAPHS = {
    "conv": lambda: conv_decoder(2, (1, 16), (2, 2), kernel_size=3),
    "dense": lambda: dense_decoder(2, (5,), (4,)),
}


@cache
def graph_of(name):
    return GRAPHS[name]()


def of_graph(seed, name, form):
    """The last pair of a graph of random weights, and hidden values of random rows."""
    torch.manual_seed(seed)
    graph = graph_of(name)
    for module in graph.modules():
        if hasattr(module, "weight"):
            nn.init.normal_(module.weight)
    measure, pair = last_pair(graph, graph(torch.randn(10, 2)), form)
    draws = measure.null_draws(pair, N_DRAWS, rng(seed)).numpy()
    return two_sided_p_value(measure.ratio(pair).mean().item(), draws)


def last_pair(graph, nodes, form):
    """The last pair of a graph in float64, and the measure that applies to it."""
    nodes = {name: value.detach().double() for name, value in nodes.items()}
    pair = list(mechanism_pairs(graph, nodes))[-1].double()
    return measure_of(pair, MEASURES[form]), pair


def of_values(seed):
    """A linear mechanism with Gaussian weights, rotations and power."""
    torch.manual_seed(seed)
    f = nn.Linear(4, 3, bias=False)
    nn.init.normal_(f.weight)
    v = torch.randn(20, 4) * torch.tensor([3.0, 1.0, 0.5, 0.2])
    options = {"n_draws": N_DRAWS, "random_state": seed}
    table = genericity_test((f, v), measure=GenericMeasure("orthogonal"), **options)
    return table["p_value"].item()


# Under each of them the law of the mechanisms is invariant under the group.
CASES = {
    "signals": lambda s: of_weights(s, (3, 2, 4), (2, 3, 4)),
    "images": lambda s: of_weights(s, (3, 2, 3, 3), (2, 3, 3, 3)),
    "more rows than taps": lambda s: of_weights(s, (2, 2, 3), (5, 2, 3)),
    # The resizing filter is fixed; only the taps of the later kernel are rotated.
    "resized": lambda s: of_graph(s, "conv", "weights"),
    "resized triplets": lambda s: of_graph(s, "conv", "triplet"),
    "resized, full": lambda s: of_graph(s, "conv", "full"),
    "resized maps": lambda s: of_graph(s, "conv", "activation"),
    "matrices": lambda s: of_weights(s, (5, 7), (4, 5)),
    "narrow": lambda s: of_weights(s, (6, 2), (7, 6)),
    "dense": lambda s: of_graph(s, "dense", "weights"),
    "dense values": lambda s: of_graph(s, "dense", "activation"),
    "values under a group": of_values,
}


def p_values_are_uniform(case, n_models=N_MODELS):
    p_values = [CASES[case](seed) for seed in range(n_models)]
    jitter = np.random.RandomState(0).uniform(size=n_models)
    smoothed = np.array(p_values) - 2 * jitter / (N_DRAWS + 1)
    return kstest(smoothed, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_p_values_are_uniform(case):
    # The full form has no batches of draws.
    assert p_values_are_uniform(case, N_MODELS // 2 if "full" in case else N_MODELS)


@pytest.mark.parametrize("case", ["images", "matrices", "dense"])
def test_p_values_are_uniform_where_rotations_of_many_units_are_permutations(
    case, monkeypatch
):
    monkeypatch.setattr(_null, "MOST_ROTATED", 0)
    assert p_values_are_uniform(case)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
@pytest.mark.parametrize("shapes", [((5, 7), (4, 5)), ((3, 2, 4), (2, 3, 4))], ids=str)
def test_the_scale_of_the_weights_changes_no_column(shapes, scale):
    w1, w2 = (np.random.RandomState(0).randn(*shape) for shape in shapes)
    tables = [
        genericity_test((a * w1, b * w2), n_draws=99)
        for a, b in ((1, 1), (scale, 1), (1, scale), (scale, scale))
    ]
    for table in tables[1:]:
        assert_frame_equal(table, tables[0], rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_the_scale_of_hidden_units_counts_in_no_null_band(scale):
    graph = dense_decoder(2, (5,), (4,))
    tables = [independence_table(graph, n_draws=99)]
    with torch.no_grad():
        for p in graph.mechanisms[0].parameters():
            p.mul_(scale)
    tables.append(independence_table(graph, n_draws=99))
    assert_frame_equal(*tables, rtol=1e-5)


def test_aligned_pairs_are_found():
    diagonal = np.diag(np.linspace(0.1, 3.0, 8))
    smooth = np.ones((2, 2, 5))
    for pair in ((diagonal, diagonal), (smooth, smooth)):
        row = genericity_test(pair, n_draws=499).iloc[0]
        assert row["p_value"] < 0.02
        assert row["rho"] > 1.2
        # A random rotation loses more than it does of rotated weights.
        assert row["power_change"] == pytest.approx(1 / row["rho"] - 1)
        assert row["power_change"] < row["low"] < 0 < row["high"]


@pytest.mark.parametrize("shapes", [((6, 9), (4, 6)), ((5, 2), (8, 5))], ids=str)
def test_closed_form_deviation_agrees_with_the_draws(shapes):
    """Of a normal law the band has a width of 3.92 deviations."""
    w1, w2 = (np.random.RandomState(0).randn(*shape) for shape in shapes)
    row = genericity_test((w1, w2), n_draws=4000).iloc[0]
    s, w = torch.from_numpy(w1 @ w1.T), torch.from_numpy(w2)
    high, low = 1 / (1 + row[["low", "high"]].astype(float))
    width = 3.92 * trace_measure(w, s).null_sd.item()
    assert high - low == pytest.approx(width, rel=0.1)


def rotated_singly(pair, seed):
    """The pair after its later taps are rotated, or the dense one of lower rank."""
    earlier, later = pair.earlier.taps, pair.later.taps
    if later.ndim == 2:
        turn = haar_rotation((later.shape[1],) * 2, rng(seed))
        if earlier.shape[1] <= len(later):
            return replace(pair, earlier=replace(pair.earlier, taps=turn @ earlier))
        return replace(pair, later=replace(pair.later, taps=later @ turn))
    rows = later.flatten(2).transpose(0, 1)
    n_taps = rows.shape[-1]
    turned = rows @ haar_rotation((len(rows), n_taps, n_taps), rng(seed))
    turned = turned.transpose(0, 1).reshape(later.shape)
    return replace(pair, later=replace(pair.later, taps=turned))


@pytest.mark.parametrize(
    ("make", "form"),
    [
        *[
            (lambda: conv_decoder(2, (1, 8), (3, 2), kernel_size=3), f)
            for f in MEASURES
        ],
        (lambda: dense_decoder(2, (5,), (4,)), "weights"),
        (lambda: dense_decoder(4, (2,), (6,)), "weights"),
    ],
    ids=[*MEASURES, "narrow before", "narrow behind"],
)
@pytest.mark.parametrize("most_rotated", [0, 64])
def test_draws_have_the_law_of_single_rotations(make, form, most_rotated, monkeypatch):
    monkeypatch.setattr(_null, "MOST_ROTATED", most_rotated)
    torch.manual_seed(0)
    graph, n = make(), 500
    nodes = graph(torch.randn(20, *graph.roots["noise"]))
    measure, pair = last_pair(graph, nodes, form)
    draws = measure.null_draws(pair, n, rng(1))
    singles = [measure.ratio(rotated_singly(pair, seed)).mean() for seed in range(n)]
    assert ks_2samp(draws, torch.stack(singles)).pvalue > 1e-3


def test_generators_have_the_table_of_their_weights(fitted):
    table = genericity_test(fitted, n_draws=99)
    assert (table["p_adjusted"] >= table["p_value"]).all()
    assert (table["response"] > 0.1).all()
    own = fitted.independence()
    assert table.columns.equals(own.columns)
    assert table["rho"].to_numpy() == pytest.approx(own["rho"].to_numpy())
    assert table.equals(genericity_test(fitted, n_draws=99))


@pytest.mark.parametrize(
    ("group", "contrast"),
    [
        ("orthogonal", None),
        ("permute", None),
        ("translate", Kurtosis()),
        ("stretch", None),
        ("orthogonal", lambda output: output.abs().mean()),
    ],
)
def test_any_group_and_contrast_on_a_generator(fitted, pairs, group, contrast):
    measure = GenericMeasure(group, contrast)
    table = genericity_test(fitted, pairs.data[:20], measure=measure, n_draws=19)
    assert len(table) == 2
    own = fitted.independence(pairs.data[:20], measure=measure, n_draws=19)
    assert table["measure"].equals(own["measure"])
    assert table["p_value"].between(0.05, 1).all()
    assert np.isfinite(table["rho"]).all()


def test_an_output_that_ignores_the_group_has_no_response():
    """The invariance trap: every test is passed, and the response gives it away."""

    def ignores(v):
        return torch.ones(len(v), 3)

    with pytest.warns(DegenerateMechanismWarning, match="ignores the hidden node"):
        result = genericity_test((ignores, torch.randn(10, 4)), n_draws=39)
    row = result.iloc[0]
    assert row["degenerate"]
    assert row["rho"] == 1
    assert row["response"] == 0
    assert row[["low", "high", "p_value", "p_adjusted"]].isna().all()


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: genericity_test(3), TypeError, "needs a fitted generator.*got int"),
        (
            lambda: genericity_test((np.eye(2), np.eye(3))),
            ValueError,
            r"w1 must be .hidden, in",
        ),
        (
            lambda: genericity_test((np.eye(2), np.eye(2)), measure=GenericMeasure()),
            ValueError,
            "cannot be measured: .*has no mechanism that a group or contrast acts",
        ),
        (
            lambda: genericity_test(
                (nn.Linear(4, 2), torch.ones(5, 4)), measure=GenericMeasure("translate")
            ),
            ValueError,
            "'translate, power'. applies to a node of shape .4,. and kind 'vector'",
        ),
        (lambda: genericity_test((1, 2, 3)), ValueError, "two members, got 3"),
        (
            lambda: genericity_test((np.zeros((2, 2)), np.eye(2))),
            ValueError,
            "w1 must not be all zero",
        ),
        (
            lambda: genericity_test((np.eye(2), np.eye(2)), np.eye(2)),
            ValueError,
            "X is for a fitted generator",
        ),
        (
            lambda: genericity_test(
                (nn.Linear(4, 2), np.ones((5, 4))), measure=GenericMeasure(Kurtosis)
            ),
            TypeError,
            "group must be one of",
        ),
        (
            lambda: genericity_test((lambda v: v * np.nan, torch.randn(9, 3))),
            ValueError,
            "are not finite",
        ),
        (
            lambda: genericity_test((np.eye(2), np.eye(2)), n_draws=0),
            ValueError,
            "n_draws == 0, must be >= 1",
        ),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
