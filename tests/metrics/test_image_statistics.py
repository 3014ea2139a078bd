import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_icm.datasets import make_faces, make_glyph_pairs
from sklearn_icm.interventions import Stretch
from sklearn_icm.metrics import energy_distance, layout_distance, patch_distance

# At least five standard deviations of the distance of patches between two draws of the
# same images: 0.0003 and 0.0004 over 25 seeds.
TOLERANCE = {"make_faces": 0.0017, "make_glyph_pairs": 0.002}


def with_stretched_pixels(X, shape, factor):
    maps = torch.from_numpy(X).unflatten(1, (1, *shape))
    return Stretch(factor, axis="width")(maps).flatten(1).numpy()


@pytest.fixture(params=[make_faces, make_glyph_pairs], ids=lambda f: f.__name__)
def make(request):
    return request.param


def test_equal_samples_and_useless_ones(make):
    world, others = make(200, random_state=0), make(200, random_state=100)
    X, Y, shape = world.render(1.0), others.render(1.0), world.data_shape
    noise = np.random.RandomState(0).rand(*X.shape)
    tolerance = TOLERANCE[make.__name__]
    useless = layout_distance(X, noise, shape)
    for Z in (X, Y):
        assert abs(patch_distance(X, Z, shape)) < tolerance
        assert useless > 50 * abs(layout_distance(X, Z, shape))
    assert patch_distance(X, noise, shape) > 5 * tolerance


def test_moving_parts_raises_the_layout_alone_and_stretching_pixels_both(make):
    world = make(200, random_state=0)
    X, shape = world.render(1.0), world.data_shape
    moved, stretched = world.render(1.4), with_stretched_pixels(X, shape, 1.4)
    floor = abs(layout_distance(X, make(200, random_state=100).render(1), shape))
    assert layout_distance(X, moved, shape) > 5 * floor
    assert layout_distance(X, stretched, shape) > 5 * floor
    of_moved, of_stretched = (
        np.mean([patch_distance(X, Y, shape, random_state=k) for k in range(3)])
        for Y in (moved, stretched)
    )
    assert abs(of_moved) < TOLERANCE[make.__name__] < of_stretched


def test_one_kind_of_patch():
    X = np.array([[0.0, 0, 1, 1, 0, 0, 1, 1]])
    # The only window with contrast is (-.5, .5, -.5, .5): twice 1, and 2 apart.
    distance = patch_distance(X, -X, (2, 4), size=2)
    assert distance == pytest.approx(2 * 2.0)
    assert patch_distance(X, X, (2, 4), size=2) == 0


def test_an_empty_background_does_not_count():
    rng = np.random.RandomState(0)
    rough = rng.rand(50, 6, 6)
    smooth = np.broadcast_to(rough.mean((1, 2), keepdims=True), rough.shape)

    def framed(width):
        pads = (0, 0), (width, width), (width, width)
        rows = [np.pad(Z, pads).reshape(50, -1) for Z in (rough, smooth)]
        return patch_distance(*rows, (6 + 2 * width, 6 + 2 * width), n_patches=4000)

    assert framed(20) == pytest.approx(framed(3), rel=0.15)


def test_contrast_counts_unless_patches_are_normalised():
    X = np.random.RandomState(0).rand(40, 100)
    options = {"data_shape": (10, 10), "n_patches": 1000}
    faint, smooth = X / 4, X.cumsum(1)
    assert patch_distance(X, faint, **options) > 0.1
    assert patch_distance(X, faint, normalise=True, **options) < 0.01
    assert patch_distance(X, smooth, normalise=True, **options) > 0.02


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_images_without_contrast_have_no_patches_but_a_layout(value):
    X = np.full((5, 36), value)
    for normalise in (False, True):
        assert patch_distance(X, X + 1, (6, 6), size=3, normalise=normalise) == 0
    assert layout_distance(X, X, (6, 6)) == 0
    # All pairs across are (1, ..., 1) apart, and none within.
    expected = 2 * np.sqrt(9)
    assert layout_distance(X, X + 1, (6, 6), n_blocks=3) == pytest.approx(expected)


shapes = st.one_of(
    st.tuples(st.integers(4, 9), st.integers(4, 9)),
    st.tuples(st.integers(4, 9), st.integers(4, 9), st.integers(1, 3)),
)


@given(
    shape=shapes,
    power=st.sampled_from([-300, -1, 0, 3, 300]),
    offset=st.sampled_from([0.0, -1.0, 64.0]),
    seed=st.integers(0, 10**6),
)
def test_units_and_offsets(shape, power, offset, seed):
    rng = np.random.RandomState(seed)
    X, Y = rng.rand(2, 6, np.prod(shape))
    Y *= 3
    options = {"data_shape": shape, "n_patches": 50}
    expected = patch_distance(X, Y, **options)
    shifted = patch_distance(X + offset, Y + offset, **options)
    assert shifted == pytest.approx(expected, rel=1e-6, abs=1e-6)
    scaled = patch_distance(X * 2.0**power, Y * 2.0**power, **options)
    assert scaled * 2.0**-power == pytest.approx(expected, rel=1e-6)
    layout = layout_distance(X * 2.0**power, Y * 2.0**power, shape)
    assert layout * 2.0**-power == pytest.approx(layout_distance(X, Y, shape))


@given(shape=shapes, n_blocks=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_layout_is_of_means_over_blocks(shape, n_blocks, seed):
    height, width, *_ = shape
    X, Y = np.random.RandomState(seed).rand(2, 5, np.prod(shape))
    finest = layout_distance(X, Y, shape, n_blocks=min(height, width))
    if height == width:
        assert finest == pytest.approx(energy_distance(X, Y))
    # Images made of blocks are told apart as the blocks are, whatever their sides.
    A, B = np.random.RandomState(seed).randn(2, 5, n_blocks, n_blocks)
    rows, columns = (np.arange(n * n_blocks) // n for n in (height, width))
    big = [Z[:, rows][:, :, columns].reshape(5, -1) for Z in (A, B)]
    distance = layout_distance(
        *big, (height * n_blocks, width * n_blocks), n_blocks=n_blocks
    )
    expected = energy_distance(A.reshape(5, -1), B.reshape(5, -1))
    assert distance == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_sides_that_blocks_do_not_divide():
    X = np.zeros((2, 5 * 7))
    assert layout_distance(X, X + 2, (5, 7), n_blocks=3) == pytest.approx(2 * 2 * 3)


@pytest.mark.parametrize("distance", [patch_distance, layout_distance])
def test_float32_and_lists(distance):
    X, Y = np.random.RandomState(0).rand(2, 10, 64).astype(np.float32)
    expected = distance(X.astype(float), Y.astype(float), (8, 8))
    assert distance(X, Y, [8, 8]) == pytest.approx(expected, abs=1e-6)
    assert distance(X.tolist(), Y.tolist(), (8, 8, 1)) == pytest.approx(expected)


def test_one_seed_one_value_and_the_global_stream_stays():
    X, Y = np.random.RandomState(0).rand(2, 10, 64)
    before = np.random.get_state()[1].copy()
    first = patch_distance(X, Y, (8, 8))
    assert first == patch_distance(X, Y, (8, 8), random_state=0)
    assert first != patch_distance(X, Y, (8, 8), random_state=1)
    assert np.array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("distance", [patch_distance, layout_distance])
@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((4, 5), r"data_shape=\(4, 5\) has 20 entries, but the samples have 16"),
        ((16,), r"data_shape must be \(height, width\) or .* got \(16,\)"),
        ((-4, -4), r"data_shape must be .* of positive ints, got \(-4, -4\)"),
        ((4.0, 4), r"data_shape must be .* of positive ints, got \(4.0, 4\)"),
        (16, r"data_shape must be .* got 16"),
        (None, r"data_shape must be .* got None"),
    ],
)
def test_bad_shapes(distance, shape, match):
    with pytest.raises(ValueError, match=match):
        distance(np.zeros((3, 16)), np.zeros((3, 16)), shape)


@pytest.mark.parametrize(
    ("distance", "params", "match"),
    [
        (patch_distance, {"size": 1}, "size must be from 2 to .* 4, got 1"),
        (patch_distance, {"size": 5}, "size must be from 2 to .* 4, got 5"),
        (patch_distance, {"size": 2.0}, "size must be an int >= 1, got 2.0"),
        (patch_distance, {"n_patches": 1}, "n_patches must be an int >= 2, got 1"),
        (patch_distance, {"n_patches": 2.5}, "n_patches must be an int >= 2"),
        (layout_distance, {"n_blocks": 0}, "n_blocks must be an int >= 1, got 0"),
        (layout_distance, {"n_blocks": 6}, "n_blocks must be from 1 to .* 4, got 6"),
    ],
)
def test_bad_parameters(distance, params, match):
    with pytest.raises(ValueError, match=match):
        distance(np.zeros((3, 20)), np.zeros((3, 20)), (4, 5), **params)


@pytest.mark.parametrize("distance", [patch_distance, layout_distance])
def test_bad_samples(distance):
    with pytest.raises(ValueError, match="same number of features, got 16 and 20"):
        distance(np.zeros((3, 16)), np.zeros((3, 20)), (4, 4))
    with pytest.raises(ValueError, match="X_gen contains NaN"):
        distance(np.zeros((3, 16)), np.full((3, 16), np.nan), (4, 4))
