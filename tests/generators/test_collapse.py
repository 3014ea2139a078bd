"""A decoder that does not vary with its noise is named, and no other one is."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_icm.datasets import make_faces, make_glyph_pairs
from sklearn_icm.exceptions import CollapsedDecoderWarning
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.mechanisms import dense_decoder, parts_decoder

RNG = np.random.RandomState(0)
WAVE = np.linspace(0, 9, 24)
SIGNALS = np.sin(WAVE + 6 * RNG.rand(60, 1)) * RNG.rand(60, 1)


def small_decoder(n_latents, data_shape):
    return dense_decoder(n_latents, data_shape, (8,))


def shares(X, **params):
    """Shares that decoder and components explain, and what `fit` warned of."""
    model = VAEGenerator(random_state=0, **params)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    return model._fitted.model.explained, [w.message for w in caught]


@pytest.mark.parametrize(
    "params",
    [
        {"beta": 1e3, "max_epochs": 8},
        {"max_epochs": 2},
        {"max_epochs": 2, "decoder": parts_decoder},
        {"max_epochs": 8, "beta": 1e3, "decoder": small_decoder},
    ],
    ids=["beta", "few steps", "parts", "dense"],
)
def test_a_collapsed_decoder_is_named_with_what_to_set(params):
    (share, linear), caught = shares(SIGNALS, data_shape=(24,), **params)
    assert share < 0.2 < 0.8 < linear
    (warning,) = caught
    assert isinstance(warning, CollapsedDecoderWarning)
    assert str(warning) == str(pickle.loads(pickle.dumps(warning)))
    for words in ("explains", "12 principal components", "max_epochs", "beta=0.02"):
        assert words in str(warning)


@pytest.mark.parametrize("n_latents", [4, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("X", "params"),
    [
        (SIGNALS, {"data_shape": (24,)}),
        (SIGNALS[:20], {"data_shape": (24,)}),
        (SIGNALS, {"data_shape": (12, 2), "data_kind": "signal"}),
        (SIGNALS, {"data_shape": (24,), "decoder": small_decoder, "lr": 0.02}),
        (load_digits().data[:50] / 16, {"data_shape": (8, 8), "batch_size": 16}),
    ],
    ids=["signals", "few", "channels", "dense", "images"],
)
def test_healthy_fits_of_few_rows_are_not_warned_of(X, params, n_latents):
    few_epochs = {"max_epochs": 20, "lr": 8e-3}
    _, caught = shares(X, n_latents=n_latents, **few_epochs | params)
    assert not caught


@pytest.mark.parametrize(
    "X",
    [
        RNG.rand(40, 36),
        np.ones((5, 36)),
        RNG.rand(2, 36),
        np.where(np.arange(36) == 7, RNG.rand(40, 36), 0),
        np.repeat(RNG.rand(1, 36), 40, axis=0) * 1e30,
    ],
    ids=["noise", "constant", "two rows", "one pixel", "huge"],
)
def test_rows_with_nothing_in_common_have_no_collapse(X):
    (_, linear), caught = shares(X, data_shape=(6, 6), hidden=(2,), max_epochs=2)
    assert caught == [] or linear > 0.2


def test_tables_and_streams_are_not_judged(recwarn):
    shares(SIGNALS, max_epochs=1)
    VAEGenerator((24,), random_state=0).partial_fit(SIGNALS).partial_fit(SIGNALS)
    assert len(recwarn) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("world", [make_glyph_pairs, make_faces])
def test_what_the_warning_advises_cures_a_decoder_of_parts(world, seed):
    """(As probabilities parts take three times as many steps.)"""
    made = world(150, random_state=seed)
    X = made.data[:150].clip(0, 1)
    params = {"data_shape": made.data_shape}
    params |= {"decoder": parts_decoder, "max_epochs": 60}
    cure = {"batch_size": 32, "lr": 4e-3, "beta": 0.02}
    before, after = shares(X, **params), shares(X, **params, **cure)
    assert after[0][0] > before[0][0] + 0.05
    assert not after[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("decoder", [None, parts_decoder], ids=["conv", "parts"])
@pytest.mark.parametrize("n_rows", [50, 200])
def test_default_fits_of_images_are_not_warned_of(decoder, n_rows, seed):
    pairs = make_glyph_pairs(n_rows, random_state=seed)
    X = pairs.data[:n_rows]
    _, caught = shares(X, data_shape=pairs.data_shape, decoder=decoder)
    assert not caught
