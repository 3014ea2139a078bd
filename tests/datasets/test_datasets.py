import gzip
import struct

import joblib
import numpy as np
import pytest

from sklearn_icm.datasets import load_glyphs, make_glyph_pairs


def test_pairs_differ_in_distance_alone():
    data = make_glyph_pairs(50, random_state=0)
    images = data.data.reshape(-1, *data.data_shape)
    narrow, wide = images[data.pairs]
    # The mass of every row of pixels stays: glyphs move sideways and nothing else.
    assert np.allclose(narrow.sum(2), wide.sum(2), atol=0.2)
    columns = np.arange(data.data_shape[1])
    spread = [
        np.sqrt((m * (columns - (m @ columns)[:, None]) ** 2).sum(1))
        for m in (x.sum(1) / x.sum((1, 2))[:, None] for x in (narrow, wide))
    ]
    assert (spread[1] > spread[0]).all()


def test_render_reproduces_both_environments_and_the_factor():
    data = make_glyph_pairs(20, stretch=1.5, random_state=0)
    assert np.array_equal(data.render(1.0), data.data[data.pairs[0]])
    assert np.array_equal(data.render(1.5), data.data[data.pairs[1]])
    assert data.environments.tolist() == ["narrow"] * 20 + ["wide"] * 20


def test_render_draws_what_fits():
    data = make_glyph_pairs(20, random_state=0)
    assert np.array_equal(data.render(), data.data[data.pairs[0]])
    whole = data.render(stretch=0.5).sum()
    assert np.isclose(data.render(stretch=0.6).sum(), whole, rtol=0.1)
    for wrong in (3.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="stretch"):
            data.render(wrong)


def test_centres_of_single_pixels_are_exact():
    """A glyph of one pixel: its place is the centre, to linear interpolation."""
    glyphs = np.zeros((1, 3, 3))
    glyphs[0, 1, 1] = 1.0
    data = make_glyph_pairs(30, glyphs=glyphs, distance=(2, 4), random_state=0)
    images = data.data.reshape(-1, *data.data_shape).sum(1)
    centre = (data.data_shape[1] - 1) / 2
    offsets = np.abs(np.arange(data.data_shape[1]) - centre)
    gaps = np.concatenate([data.factors["distance"], 1.3 * data.factors["distance"]])
    assert np.allclose(images @ offsets, gaps)


def test_same_seed_same_pairs_and_any_glyphs():
    a, b = (make_glyph_pairs(5, random_state=3) for _ in range(2))
    assert np.array_equal(a.data, b.data)
    odd = make_glyph_pairs(5, glyphs=np.ones((2, 5, 7)), random_state=0)
    assert odd.data.shape == (10, np.prod(odd.data_shape))


def test_the_middle_one_of_three_stays():
    three = make_glyph_pairs(20, n_glyphs=3, stretch=1.5, random_state=0)
    assert set(three.factors) == {"distance", "left", "right", "middle"}
    middle = three.data_shape[1] // 2
    images = [three.render(s).reshape(-1, *three.data_shape) for s in (1.0, 1.5)]
    mass = [image.sum((1, 2)) for image in images]
    assert np.allclose(*mass, rtol=0.02)
    # The outer ones have left what only the middle one shows.
    inner = slice(middle - 2, middle + 2)
    assert np.allclose(images[0][:, :, inner], images[1][:, :, inner], atol=1e-9)
    columns = np.arange(three.data_shape[1]) - (three.data_shape[1] - 1) / 2
    first = [(image.sum(1) * np.abs(columns)).sum(1) for image in images]
    assert (first[1] > 1.2 * first[0]).all()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"glyphs": np.ones((3, 3))}, "must be .n_glyphs, height, width"),
        ({"distance": (2, 1)}, "0 < low <= high"),
        ({"distance": 1.0}, "0 < low <= high"),
        ({"stretch": 0}, "stretch == 0, must be > 0"),
        ({"stretch": np.inf}, "stretch == inf, must be"),
        ({"n_samples": 0}, "n_samples == 0, must be >= 1"),
        ({"n_glyphs": 4}, "n_glyphs == 4, must be <= 3"),
    ],
)
def test_bad_input(params, match):
    with pytest.raises(ValueError, match=match):
        make_glyph_pairs(**{"n_samples": 5, **params})


@pytest.mark.parametrize("name", ["n_samples", "stretch"])
def test_numbers_are_numbers(name):
    with pytest.raises(TypeError, match=f"{name} must be an instance of"):
        make_glyph_pairs(**{name: "a"})


def test_digits():
    glyphs = load_glyphs()
    assert glyphs.shape == (1797, 8, 8)
    assert (glyphs.min(), glyphs.max()) == (0, 1)


def test_fashion_mnist_is_read_from_a_folder(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (3, 28, 28), dtype=np.uint8)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">4i", 2051, 3, 28, 28) + images.tobytes())
    glyphs = load_glyphs("fashion-mnist", tmp_path)
    assert glyphs.shape == (3, 14, 14)
    assert glyphs[0, 0, 0] == pytest.approx(images[0, :2, :2].mean() / 255)


def test_olivetti_is_read_from_sklearns_cache(tmp_path):
    faces = np.random.RandomState(0).uniform(size=(400, 4096)).astype(np.float32)
    joblib.dump(faces, tmp_path / "olivetti_py3.pkz")
    glyphs = load_glyphs("olivetti", tmp_path)
    assert glyphs.shape == (400, 16, 16)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("fashion-mnist", "apt install dataset-fashion-mnist"),
        ("olivetti", "fetch_olivetti_faces.*data_home"),
    ],
)
def test_missing_data_say_how_to_get_them(tmp_path, name, match):
    with pytest.raises(FileNotFoundError, match=match):
        load_glyphs(name, tmp_path)


def test_unknown_name():
    with pytest.raises(ValueError, match="one of.*got 'mnist'"):
        load_glyphs("mnist")
