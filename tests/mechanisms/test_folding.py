import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.mechanisms import conv_decoder
from sklearn_icm.mechanisms._folding import FoldedResize
from sklearn_icm.mechanisms._modules import ConvMechanism


def both_ways(parent_size, factors, crop, kernel_size, seed=0):
    torch.manual_seed(seed)
    size = [
        max(1, n * f - min(c, f - 1))
        for n, f, c in zip(parent_size, factors, crop, strict=True)
    ]
    mechanism = ConvMechanism(
        2, (3, *size), factors, kernel_size=kernel_size, activation="identity"
    ).double()
    mechanism.folded = FoldedResize(kernel_size, factors).double()
    plain = copy.deepcopy(mechanism)
    plain.folded = None
    return mechanism, plain, torch.randn(4, 2, *parent_size, dtype=torch.float64)


@given(
    st.data(),
    st.integers(1, 2),
    st.integers(1, 7),
)
def test_folding_changes_no_output_and_no_gradient(data, n_axes, kernel_size):
    draw = data.draw
    factors = draw(st.tuples(*[st.integers(1, 3)] * n_axes))
    parent_size = draw(st.tuples(*[st.integers(1, 6)] * n_axes))
    crop = draw(st.tuples(*[st.integers(0, 2)] * n_axes))
    folded, plain, x = both_ways(parent_size, factors, crop, kernel_size)
    torch.testing.assert_close(folded(x), plain(x), rtol=0, atol=1e-12)
    for mechanism in (folded, plain):
        mechanism(x).square().sum().backward()
    torch.testing.assert_close(folded.conv.weight.grad, plain.conv.weight.grad)
    torch.testing.assert_close(folded.conv.bias.grad, plain.conv.bias.grad)


def test_float32_outputs_agree_to_rounding():
    folded, plain, x = both_ways((7, 7), (2, 2), (0, 0), 5)
    difference = folded.float()(x.float()) - plain.float()(x.float())
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize(
    ("kernel_size", "factors", "folds"),
    [(5, (2, 2), True), (4, (2,), True), (3, (2, 2), False), (1, (2, 2), False)],
)
def test_folding_is_chosen_where_it_saves_taps(kernel_size, factors, folds):
    size = tuple(6 * f for f in factors)
    mechanism = ConvMechanism(
        2, (3, *size), factors, kernel_size=kernel_size, activation="silu"
    )
    assert (mechanism.folded is not None) == folds


def test_linear_resizing_is_never_folded():
    graph = conv_decoder(4, (1, 28, 28), resize="linear")
    assert graph.mechanism("data").folded is None


def test_the_operator_is_that_of_the_plain_convolution():
    folded, plain, _ = both_ways((5, 6), (2, 2), (0, 1), 5)
    torch.testing.assert_close(folded.operator().weight, plain.operator().weight)


def test_the_state_of_a_fitted_model_holds_no_fold_matrix():
    model = VAEGenerator(data_shape=(28, 28), max_epochs=1, random_state=0)
    model.fit(torch.rand(20, 784, generator=torch.Generator().manual_seed(0)).numpy())
    assert model.graph_.mechanism("data").mechanism.folded is not None
    assert not [name for name in model.graph_.state_dict() if "fold" in name]
