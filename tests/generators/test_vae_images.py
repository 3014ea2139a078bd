"""Colour images of 28 x 28 and more are ordinary inputs of every decoder."""

import numpy as np
import pytest

from sklearn_icm.datasets import make_shapes
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.interventions import Stretch
from sklearn_icm.mechanisms import map_decoder, parts_decoder

NODES = {None: "conv{}", map_decoder: "map", parts_decoder: "places"}


@pytest.mark.parametrize(("size", "n_maps"), [(28, 2), (64, 3), (128, 4)])
@pytest.mark.parametrize("decoder", NODES, ids=["usual", "map", "parts"])
def test_large_images_are_fitted_and_asked(decoder, size, n_maps):
    X = make_shapes(8, size=size, random_state=0).render(1.0)
    model = VAEGenerator(
        (size, size, 3),
        n_latents=3,
        decoder=decoder,
        max_epochs=1,
        batch_size=4,
        random_state=0,
    ).fit(X)
    assert np.isfinite(model.history_["loss"]).all()
    node = NODES[decoder].format(n_maps)
    ask = {"X": X[:2], "residual": "drop"}
    same, plain, wide = (
        model.intervene({node: change}, **ask) if change else model.intervene({}, **ask)
        for change in (Stretch(1.0, axis="width"), None, Stretch(1.5, axis="width"))
    )
    np.testing.assert_array_equal(same, plain)
    assert wide.shape == (2, 3 * size**2)
    assert np.isfinite(wide).all()
    assert np.isfinite(model.sample(2, random_state=0)).all()
    # Of the encoder, too.
    first = model.encoder_.nodes["conv1"]
    assert max(first[1:]) <= 8
