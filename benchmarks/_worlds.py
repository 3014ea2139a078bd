"""Worlds whose counterfactuals are known, and the generators fitted to them.

A world says how rows are made, which generator and methods are tried on them, what the
intervention is (`change` of a fitted model, `pixels` at the data), whether a stretched
row stays within the range that is trained on (`inside`), and what perfect mechanisms
are (`truth`).
"""

import copy
from dataclasses import dataclass, field

import numpy as np
import torch

from sklearn_icm.datasets import make_conv_chain, make_faces, make_glyph_pairs
from sklearn_icm.generators import ChainGenerator, FixedGenerator, VAEGenerator
from sklearn_icm.independence import IMAPenalty, SpectralPenalty
from sklearn_icm.interventions import Stretch, SwapMechanism
from sklearn_icm.mechanisms import conv_decoder

CHOICE = 1.25
USUAL, MOVED = "usual", "moved"
PLAIN = "weight 0"


def penalised(penalty, weight, **params):
    return {"icm_penalty": penalty, "icm_weight": weight, **params}


def smooth_decoder(n_latents, shape):
    """Resize linearly before each convolution, not by repetition."""
    return conv_decoder(n_latents, shape, (32, 16), resize="linear")


JACOBIAN = {"IMA 0.01": penalised(IMAPenalty(), 0.01)}
POOLED = {f"pooled {w:g}": penalised(SpectralPenalty("pooled"), w) for w in (0.1, 1)}
STRONG = {f"pooled {w:g}": penalised(SpectralPenalty("pooled"), w) for w in (10, 100)}
TRIPLET = {"triplet 1": penalised(SpectralPenalty("triplet"), 1)}
SMOOTH = {"decoder": smooth_decoder}
IMAGE_METHODS = {
    "main": {PLAIN: {}, "pooled 1": POOLED["pooled 1"], **TRIPLET, **JACOBIAN},
    "penalties": {PLAIN: {}, **POOLED, **STRONG, **TRIPLET, **JACOBIAN},
    "architectures": {
        PLAIN: {},
        "pooled 1": POOLED["pooled 1"],
        "linear resizing": SMOOTH,
        "linear resizing + pooled 1": {**SMOOTH, **POOLED["pooled 1"]},
        "linear resizing + triplet 1": {**SMOOTH, **TRIPLET["triplet 1"]},
        "linear resizing + beta 0.1": {**SMOOTH, "beta": 0.1},
    },
}
SQUARED = SpectralPenalty(loss="squared")
CHAIN_METHODS = {
    "main": {
        PLAIN: {},
        "spectral 0.1": penalised(SQUARED, 0.1),
        "spectral 1": penalised(SQUARED, 1.0),
        **JACOBIAN,
        "random start": {"init": "xavier"},
        "random start + spectral 0.1": penalised(SQUARED, 0.1, init="xavier"),
    },
    "penalties": {
        PLAIN: {},
        **{f"spectral {w:g}": penalised(SQUARED, w) for w in (0.01, 0.1, 1, 10)},
        "log spectral 0.1": penalised(SpectralPenalty(), 0.1),
        **JACOBIAN,
    },
    "architectures": {
        PLAIN: {},
        "small start": {"init": "small"},
        "small start + spectral 0.1": penalised(SQUARED, 0.1, init="small"),
        "random start": {"init": "xavier"},
        "random start + spectral 0.1": penalised(SQUARED, 0.1, init="xavier"),
    },
}


@dataclass(frozen=True)
class ImageWorld:
    """Images of parts that move apart; "rounds" are epochs of an autoencoder.

    ``offsets(world)`` are the factors (n_rows, k) that a stretch multiplies.
    """

    make: object
    offsets: object
    n_rows: int
    n_rounds: int
    node: str = "conv2"
    model: dict = field(default_factory=dict)
    true_node: str | None = None
    methods = IMAGE_METHODS
    quick = (80, 1)

    def build(self, world, n_rounds, seed):
        return VAEGenerator(
            world.data_shape,
            max_epochs=n_rounds,
            observational=USUAL,
            random_state=seed,
            **self.model,
        )

    def inputs(self, world):
        return None

    def change(self, model, factor):
        node = self.true_node if isinstance(model, FixedGenerator) else self.node
        return {node: Stretch(factor)}

    def pixels(self, model, factor):
        return {"data": Stretch(factor)}

    def inside(self, world, factor):
        offsets = self.offsets(world)
        return (factor * offsets <= offsets.max(0)).all(1)

    def truth(self, world, seed):
        if self.true_node is None:
            return None
        return FixedGenerator(
            world.mechanisms, data_shape=world.data_shape, random_state=seed
        ).fit(world.render(1.0))


@dataclass(frozen=True)
class ChainWorld:
    """Two circular convolutions; "rounds" are steps of descent from the true kernels.

    The inputs are known and the labels noisy anew in every step. One distance is
    trained on, so that no stretch is inside: every row is judged at every factor.
    """

    n_rows: int
    n_rounds: int
    methods = CHAIN_METHODS
    quick = (1000, 30)

    def make(self, n_rows, seed):
        return make_conv_chain(n_rows, label_noise=0.0, random_state=seed)

    def build(self, world, n_rounds, seed):
        return ChainGenerator(
            "conv",
            init=world.kernels,
            optimizer="sgd",
            lr=0.05,
            batch_size=16,
            label_noise=0.5,
            max_iter=n_rounds,
            observational=USUAL,
            random_state=seed,
        )

    def inputs(self, world):
        return world.noise

    def change(self, model, factor):
        """Take the first mechanism of a copy whose kernel is stretched about lag 0."""
        other = copy.deepcopy(model)
        kernel = model.weights_[0].ravel()
        lags = np.arange(len(kernel)) - len(kernel) // 2
        wide = np.interp(lags / factor, lags, kernel, left=0, right=0)
        weight = other.graph_.mechanism("conv1").weight
        with torch.no_grad():
            weight.copy_(torch.from_numpy(wide).view_as(weight))
        return {"conv1": SwapMechanism(other, "conv1")}

    def pixels(self, model, factor):
        return {"data": Stretch(factor, axis="length")}

    def inside(self, world, factor):
        return np.ones(len(world.noise), dtype=bool)

    def truth(self, world, seed):
        # Without label noise the gradient at the truth is 0.
        model = self.build(world, 1, seed)
        model.set_params(label_noise=0.0, observational=None)
        return model.fit(world.render(1.0), inputs=world.noise)


def face_offsets(faces):
    middle = (faces.data_shape[1] - 1) / 2
    return np.column_stack(
        [np.abs(faces.factors["x"] - middle), faces.factors["eye_distance"]]
    )


WORLDS = {
    "chain": ChainWorld(n_rows=4000, n_rounds=3000),
    "faces": ImageWorld(
        lambda n, seed: make_faces(n, stretch=CHOICE, random_state=seed),
        face_offsets,
        n_rows=2000,
        n_rounds=25,
        model={"n_latents": 5, "hidden": (32, 16)},
        true_node="layout",
    ),
    "digit pairs": ImageWorld(
        lambda n, seed: make_glyph_pairs(n, stretch=CHOICE, random_state=seed),
        lambda pairs: pairs.factors["distance"][:, None],
        n_rows=1500,
        n_rounds=20,
    ),
}
