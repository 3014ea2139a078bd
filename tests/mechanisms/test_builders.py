import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sklearn_icm.mechanisms import (
    ConvMechanism,
    conv_decoder,
    conv_encoder,
    dense_decoder,
    dense_encoder,
    map_decoder,
)
from sklearn_icm.mechanisms._modules import LinkedMechanism
from sklearn_icm.mechanisms._operators import NoLinearOperator, read_operator
from sklearn_icm.rows._layout import DataLayout

SHAPES = st.one_of(
    st.tuples(st.integers(1, 3), st.integers(1, 70)),
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
)


@given(shape=SHAPES, hidden=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_conv_decoder_and_encoder_mirror_for_any_size(shape, hidden):
    decoder = conv_decoder(3, shape, hidden)
    encoder = conv_encoder(shape, 6, hidden)
    assert decoder.nodes["data"] == shape
    assert encoder.nodes["posterior"] == (6,)
    hidden_maps = {k: v for k, v in decoder.nodes.items() if k.startswith("conv")}
    assert hidden_maps.items() <= encoder.nodes.items()
    assert list(decoder.nodes) == [
        "noise",
        *[f"conv{i + 1}" for i in range(len(hidden))],
        "data",
    ]


@pytest.mark.parametrize("size", [8, 20, 25, 28, 64])
def test_maps_double_towards_the_data(size):
    nodes = conv_decoder(2, (1, size, size), (4, 4)).nodes
    assert nodes["conv2"][1] == -(-size // 2)


@given(shape=SHAPES | st.tuples(st.just(3), st.just(128), st.integers(1, 130)))
def test_by_default_the_first_map_is_small(shape):
    decoder, encoder = conv_decoder(3, shape), conv_encoder(shape, 6)
    maps = {k: v for k, v in decoder.nodes.items() if k.startswith("conv")}
    assert maps.items() <= encoder.nodes.items()
    first, second, *_ = (math.prod(v[1:]) for v in maps.values())
    assert first <= 64
    # As many maps as that takes, and not one more.
    assert len(maps) == 2 or second > 64
    assert [v[0] for v in maps.values()] == [32, *[16] * (len(maps) - 1)]


@given(shape=SHAPES)
def test_a_map_decoder_has_a_map_on_the_grid_of_the_data(shape):
    graph = map_decoder(3, shape, n_maps=2, n_parts=3)
    *_, full, parts, data = graph.nodes
    assert (full, parts, data) == ("map", "parts", "data")
    assert graph.nodes["map"] == (2, *shape[1:])
    assert graph.nodes["parts"] == (3, *shape[1:])
    assert graph.nodes["data"] == shape
    first = graph.nodes["conv1"][1:]
    assert max(first) <= 8
    # As many maps as that takes, and not one more.
    hidden = [name for name in graph.nodes if name.startswith("conv")]
    sizes = [graph.nodes[name][1:] for name in hidden]
    assert len(hidden) == 2 or max(sizes[1]) > 8
    assert dict(conv_decoder(3, shape, (32, *[16] * (len(hidden) - 1))).nodes) == {
        "noise": (3,),
        **{name: graph.nodes[name] for name in hidden},
        "data": shape,
    }


def test_kernels_of_a_map_decoder():
    graph = map_decoder(3, (2, 9, 7), (4,), kernel_size=5)
    assert graph.mechanism("map").conv.kernel_size == (5, 5)
    assert graph.mechanism("parts").conv.kernel_size == (5, 5)
    assert graph.mechanism("data").conv.kernel_size == (3, 3)
    small = map_decoder(3, (2, 9), (4,), kernel_size=1)
    assert small.mechanism("data").conv.kernel_size == (1,)


@pytest.mark.parametrize("name", ["n_maps", "n_parts", "n_latents"])
def test_counts_of_a_map_decoder(name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        map_decoder(**{"n_latents": 2, "data_shape": (1, 8, 8), name: 0})
    with pytest.raises(ValueError, match="data_shape"):
        map_decoder(2, (5,))


def test_dense_builders_mirror():
    assert list(dense_decoder(2, (5,), (7, 6)).nodes.values()) == [
        (2,),
        (7,),
        (6,),
        (5,),
    ]
    assert list(dense_encoder((5,), 4, (7, 6)).nodes.values()) == [
        (5,),
        (6,),
        (7,),
        (4,),
    ]


@pytest.mark.parametrize("activation", ["identity", "relu", "silu", "softplus", "tanh"])
def test_gradient_reaches_every_parameter(activation):
    for graph in (
        conv_decoder(3, (2, 9, 7), (4, 3), activation=activation),
        map_decoder(3, (2, 9, 7), activation=activation),
        dense_decoder(3, (5,), (4, 3), activation=activation),
    ):
        torch.manual_seed(0)
        graph(torch.randn(20, 3))["data"].square().sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in graph.parameters())


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5, 6])
def test_borders_are_padded_with_zeros_to_the_last_bit(kernel_size, down):
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(4, 3, 8, 6, generator=generator, requires_grad=True)
    out_shape, factors = ((2, 4, 3), (2, 2)) if down else ((2, 8, 6), (1, 1))
    mechanism = ConvMechanism(
        *(3, out_shape, factors),
        **{"kernel_size": kernel_size, "activation": "identity", "down": down},
    )
    padded = nn.functional.pad(value, [before, after] * 2)
    conv = mechanism.conv
    plain = nn.functional.conv2d(padded, conv.weight, conv.bias, stride=factors)
    found = mechanism(value)
    assert torch.equal(found, plain)
    inputs = value, *conv.parameters()
    gradients = (
        torch.autograd.grad(own.square().sum(), inputs) for own in (found, plain)
    )
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("resize", ["nearest", "linear"])
@pytest.mark.parametrize("factors", [(2, 2), (1, 2), (3, 1)])
def test_operator_is_the_impulse_response_of_its_mechanism(resize, factors):
    """Away from the border, a true convolution: kernels come out as they are."""
    torch.manual_seed(0)
    shape = (1, *(20 * f for f in factors))
    mechanism = ConvMechanism(
        1, shape, factors, kernel_size=3, activation="identity", resize=resize
    )
    nn.init.zeros_(mechanism.conv.bias)
    impulse = torch.zeros(1, 1, 20, 20)
    impulse[0, 0, 10, 10] = 1
    with torch.no_grad():
        response, operator = mechanism(impulse)[0, 0], mechanism.operator()
    assert operator.upsample == factors
    kernel = operator.weight[0, 0]
    rows, columns = (response.nonzero()[:, k].min() for k in (0, 1))
    height, width = kernel.shape
    found = response[rows : rows + height, columns : columns + width]
    assert torch.allclose(found, kernel, atol=1e-6)
    assert found.abs().sum() == pytest.approx(response.abs().sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("module", "up", "down"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU()), (), (2, 2)),
        (nn.ConvTranspose2d(3, 4, 5, stride=2), (2, 2), ()),
        (nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(3, 4, 5)), (2,), ()),
    ],
)
def test_operators_of_plain_torch_modules(module, up, down):
    operator = read_operator(module)
    assert operator.weight.shape[:2] == (4, 3)
    assert (operator.upsample, operator.downsample) == (up, down)


def normalised(n, kind=nn.BatchNorm1d):
    """Batch normalisation of a model that was trained."""
    norm = kind(n)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: [nn.Linear(3, 4), normalised(4)], (3,)),
        (lambda: [normalised(3), nn.Linear(3, 4)], (3,)),
        (lambda: [nn.Linear(3, 8), nn.Unflatten(1, (2, 4)), normalised(2)], (3,)),
        (lambda: [normalised(2), nn.Flatten(), nn.Linear(8, 3)], (2, 4)),
        (lambda: [nn.Conv1d(2, 3, 3, stride=2), normalised(3)], (2, 9)),
        (lambda: [normalised(2), nn.ConstantPad1d(2, 0.0), nn.Conv1d(2, 3, 3)], (2, 9)),
        (lambda: [nn.ConvTranspose1d(2, 3, 4, 2, 1), normalised(3)], (2, 5)),
        (
            lambda: [
                nn.Sequential(normalised(2, nn.BatchNorm2d), nn.Dropout2d()),
                nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.Identity()),
                normalised(3, nn.BatchNorm2d),
            ],
            (2, 4, 5),
        ),
    ],
)
def test_operators_are_what_modules_do_but_for_an_offset(make, shape):
    """A layer with the operator's weights instead of its own maps as the module."""
    torch.manual_seed(0)
    module = nn.Sequential(*make()).double().eval()
    operator = read_operator(module)
    plain = copy.deepcopy(module)
    for steps in (part for part in plain.modules() if isinstance(part, nn.Sequential)):
        for k, step in enumerate(steps):
            if isinstance(step, (nn.BatchNorm1d, nn.BatchNorm2d)):
                steps[k] = nn.Identity()
            elif hasattr(step, "stride"):
                turned = isinstance(step, (nn.ConvTranspose1d, nn.ConvTranspose2d))
                taps = operator.taps
                taps = (
                    taps.transpose(0, 1)
                    if turned
                    else taps.flip(tuple(range(2, taps.ndim)))
                )
                step.weight = nn.Parameter(taps)
            elif isinstance(step, nn.Linear):
                step.weight = nn.Parameter(operator.taps)
    v, origin = torch.randn(4, *shape).double(), torch.zeros(1, *shape).double()
    assert torch.allclose(module(v) - module(origin), plain(v) - plain(origin))


@pytest.mark.parametrize(
    "module",
    [
        nn.ReLU(),
        nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Sequential(nn.Upsample(scale_factor=1.5), nn.Conv2d(1, 1, 3)),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.ConvTranspose2d(1, 1, 3)),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.Linear(2, 2)),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, stride=2)),
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.Upsample(scale_factor=2)),
        nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(1, 1, 3),
        ),
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.AvgPool2d(2)),
        nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)),
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)),
        nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.BatchNorm1d(8)),
        nn.Sequential(nn.Upsample(size=4), nn.Conv2d(1, 1, 3)),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.Sequential(), nn.ReLU()),
        nn.MultiheadAttention(4, 2),
    ],
)
def test_modules_without_one_kernel_have_no_operator(module):
    reason = "no kernel|just one|must come|no running|other units|groups|understood"
    with pytest.raises(NoLinearOperator, match=reason):
        read_operator(module)


@given(
    shape=st.one_of(
        st.none(),
        st.tuples(st.integers(1, 9)),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    )
)
def test_layout_is_inverted(shape):
    n_features = 7 if shape is None else int(torch.tensor(shape).prod())
    layout = DataLayout(n_features, shape)
    rows = torch.arange(3.0 * n_features).reshape(3, -1)
    node = layout.to_node(rows)
    assert node.shape == (3, *layout.node_shape)
    assert torch.equal(layout.to_rows(node), rows)


def test_colour_channels_come_last_in_rows_and_first_in_nodes():
    rows = torch.arange(12.0).reshape(1, 12)
    node = DataLayout(12, (2, 2, 3)).to_node(rows)
    assert node[0, :, 0, 1].tolist() == [3.0, 4.0, 5.0]


def test_layout_refuses_a_wrong_shape():
    with pytest.raises(ValueError, match=r"data_shape=\(2, 3\) has 6 entries.*7 feat"):
        DataLayout(7, (2, 3))


DENSE = {"n_latents": 2, "data_shape": (3,)}
CONV = {"n_latents": 2, "data_shape": (1, 8, 8)}


@pytest.mark.parametrize(
    ("build", "params", "message"),
    [
        (conv_decoder, {"resize": "cubic"}, r"resize.*\['nearest', 'linear'\]"),
        (conv_decoder, {"activation": "foo"}, "activation must be one of.*'foo'"),
        (conv_decoder, {"data_shape": (8,)}, "one or two axes, got"),
        (conv_decoder, {"data_shape": (1, 4, 4, 4)}, "one or two axes"),
        (conv_decoder, {"kernel_size": 0}, "kernel_size must be an int of at least 1"),
        (conv_decoder, {"hidden": ()}, "hidden must be a sequence of 1 or more"),
        (conv_decoder, {"n_latents": 0}, "n_latents must be an int.*got 0"),
        (conv_encoder, {"n_outputs": True}, "n_outputs must be an int.*got True"),
        (conv_encoder, {"kernel_size": 2.0}, "kernel_size must be an int"),
        (dense_decoder, {"hidden": (0,)}, r"ints of at least 1, got \[0\]"),
        (dense_decoder, {"hidden": 8}, "hidden must be a sequence of ints"),
        (dense_decoder, {"data_shape": 3}, "data_shape must be a sequence"),
        (dense_decoder, {"n_latents": -1}, "n_latents must be an int"),
        (dense_encoder, {"activation": "foo"}, "activation must be one of"),
    ],
)
def test_parameters_that_mean_nothing(build, params, message):
    name = build.__name__
    given = dict(CONV if name.startswith("conv") else DENSE)
    if name.endswith("encoder"):
        given["n_outputs"] = given.pop("n_latents")
    with pytest.raises(ValueError, match=message):
        build(**{**given, **params})


def test_the_reason_is_given():
    class Residual(nn.Sequential):
        def forward(self, value):
            return value + super().forward(value)

    class Masked(nn.Linear):
        def forward(self, value):
            return super().forward(value) * (value > 0)

    scaled = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    assert torch.equal(read_operator(scaled).taps, scaled.weight)

    for module, reason in [
        (Residual(nn.Linear(2, 2)), "Residual has no kernel"),
        (nn.Sequential(nn.Sequential(), Masked(2, 2)), "Masked has no kernel"),
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), "LayerNorm has no kernel"),
        (nn.Tanh(), "just one linear layer, got none"),
        (nn.Conv1d(2, 2, 3, groups=2), "Conv1d has groups"),
        (nn.Sequential(nn.Upsample(2), nn.Conv1d(1, 1, 3)), "whole scale_factor"),
        (LinkedMechanism(Residual(), nn.Identity()), "Residual has no kernel"),
    ]:
        with pytest.raises(NoLinearOperator, match=reason):
            read_operator(module)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((3, 8, 8), "auto"),
        ((1, 28, 28), "image"),
        ([3, 5, 7], "auto"),
        ((2, 9), "signal"),
    ],
)
def test_channels_that_come_first_are_pointed_out(shape, kind):
    with pytest.warns(UserWarning, match=f"its {shape[-1]} channels last.*moveaxis"):
        layout = DataLayout.of(math.prod(shape), shape, kind)
    assert layout.node_shape == (shape[-1], *shape[:-1])


@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 3, 3), (1, 9, 4), (5, 6, 7), (3, 9)])
def test_channels_that_come_last_are_taken_so(shape):
    layout = DataLayout.of(math.prod(shape), shape)
    channels_first = (shape[2], *shape[:2]) if len(shape) == 3 else (1, *shape)
    assert layout.node_shape == channels_first
