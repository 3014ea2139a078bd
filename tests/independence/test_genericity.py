"""The genericity test: calibrated under independence, powerful under alignment."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from sklearn_icm.exceptions import DegenerateMechanismWarning
from sklearn_icm.independence import (
    Kurtosis,
    Orthogonal,
    Permutation,
    Power,
    SpatialStretch,
    Translation,
    genericity_test,
)
from sklearn_icm.independence._pairs import mechanism_pairs
from sklearn_icm.mechanisms import conv_decoder

# Ranks among 39 draws are multiples of 1/20: spread them evenly before the test.
N_DRAWS = 39
N_MODELS = 200


def smoothed(p_values):
    jitter = np.random.RandomState(0).uniform(size=len(p_values))
    return np.array(p_values) - 2 * jitter / (N_DRAWS + 1)


def is_uniform(p_values):
    return kstest(smoothed(p_values), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("shape", [(4,), (3, 3)], ids=["signal", "image"])
def test_p_values_of_spectral_pairs_are_uniform(shape):
    """iid Gaussian kernels: their law is invariant under rotations of the taps."""
    rng = np.random.RandomState(0)
    p_values = [
        genericity_test(
            (rng.randn(3, 2, *shape), rng.randn(2, 3, *shape)),
            n_draws=N_DRAWS,
            random_state=seed,
        ).table["p_value"][0]
        for seed in range(N_MODELS)
    ]
    assert is_uniform(p_values)


def test_p_values_behind_a_resizing_are_uniform():
    """The resizing filter is fixed; only the taps of the later kernel are rotated."""
    p_values = []
    for seed in range(N_MODELS):
        torch.manual_seed(seed)
        graph = conv_decoder(2, (1, 16), (2, 2), kernel_size=3)
        for module in graph.modules():
            if hasattr(module, "weight"):
                nn.init.normal_(module.weight)
        pair = list(mechanism_pairs(graph))[-1].double()
        generator = torch.Generator().manual_seed(seed)
        draws = pair.null_draws(N_DRAWS, generator).numpy()
        rank = np.sum(draws >= pair.measure().rho.mean().item())
        p_values.append(2 * min(rank + 1, N_DRAWS + 1 - rank) / (N_DRAWS + 1))
    assert is_uniform(np.minimum(p_values, 1))


def test_p_values_of_trace_pairs_are_uniform():
    rng = np.random.RandomState(0)
    p_values = [
        genericity_test(
            (rng.randn(5, 7), rng.randn(4, 5)), n_draws=N_DRAWS, random_state=seed
        ).table["p_value"][0]
        for seed in range(N_MODELS)
    ]
    assert is_uniform(p_values)


def test_p_values_of_values_under_a_group_are_uniform():
    """A linear mechanism with Gaussian weights, rotations and power."""
    p_values = []
    for seed in range(N_MODELS):
        torch.manual_seed(seed)
        f = nn.Linear(4, 3, bias=False)
        nn.init.normal_(f.weight)
        v = torch.randn(20, 4) * torch.tensor([3.0, 1.0, 0.5, 0.2])
        result = genericity_test(
            (f, v), group=Orthogonal(), n_draws=N_DRAWS, random_state=seed
        )
        p_values.append(result.table["p_value"][0])
    assert is_uniform(p_values)


def test_aligned_pairs_are_found():
    diagonal = np.diag(np.linspace(0.1, 3.0, 8))
    smooth = np.ones((2, 2, 5))
    for pair in ((diagonal, diagonal), (smooth, smooth)):
        row = genericity_test(pair, n_draws=499).table.iloc[0]
        assert row["p_value"] < 0.02
        assert row["rho"] > 1.2
        assert row["z"] > 3


def test_closed_form_deviation_agrees_with_the_draws():
    rng = np.random.RandomState(0)
    w1, w2 = rng.randn(6, 9), rng.randn(4, 6)
    result = genericity_test((w1, w2), n_draws=4000)
    from sklearn_icm.independence._trace import trace_measure

    s, w = torch.from_numpy(w1 @ w1.T), torch.from_numpy(w2)
    predicted = trace_measure(w, s).null_sd.item()
    assert result.null_draws["pair"].std() == pytest.approx(predicted, rel=0.06)
    assert result.null_draws["pair"].mean() == pytest.approx(
        1, abs=5 * predicted / 4000**0.5
    )


def test_generators_are_tested_at_every_pair(fitted):
    result = genericity_test(fitted, n_draws=99)
    assert result.table["pair"].tolist() == list(result.null_draws)
    assert (result.table["p_adjusted"] >= result.table["p_value"]).all()
    assert (result.table["response"] > 0.1).all()
    rho = fitted.independence()["rho"]
    assert result.table["rho"].to_numpy() == pytest.approx(rho.to_numpy())
    again = genericity_test(fitted, n_draws=99)
    assert result.table.equals(again.table)


@pytest.mark.parametrize(
    ("group", "contrast"),
    [
        (Orthogonal(), None),
        (Permutation(), Power()),
        (Translation(), Kurtosis()),
        (SpatialStretch(), None),
        (None, lambda output: output.abs().mean()),
    ],
)
def test_any_group_and_contrast_on_a_generator(fitted, pairs, group, contrast):
    result = genericity_test(
        fitted, pairs.data[:20], group=group, contrast=contrast, n_draws=19
    )
    assert result.table["p_value"].between(0.05, 1).all()
    assert np.isfinite(result.table["rho"]).all()


def test_an_output_that_ignores_the_group_has_no_response():
    """The invariance trap: every test is passed, and the response gives it away."""

    def ignores(v):
        return torch.ones(len(v), 3)

    with pytest.warns(DegenerateMechanismWarning, match="ignores the hidden node"):
        result = genericity_test(
            (ignores, torch.randn(10, 4)), group=Orthogonal(), n_draws=39
        )
    row = result.table.iloc[0]
    assert row["degenerate"]
    assert row["rho"] == 1
    assert row["p_value"] == 1
    assert row["response"] == 0


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
            lambda: genericity_test((np.eye(2), np.eye(2)), group=Orthogonal()),
            ValueError,
            "needs a mechanism to act through",
        ),
        (
            lambda: genericity_test(
                (nn.Linear(4, 2), torch.ones(5, 4)), group=Translation()
            ),
            ValueError,
            "does not act on a node of shape",
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
                (nn.Linear(4, 2), np.ones((5, 4))), group=Orthogonal
            ),
            TypeError,
            "group must be an instance",
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
