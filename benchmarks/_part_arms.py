"""Decoders of `image_parts.py`: one setting for all worlds, fits kept on disk."""

import pickle
import re
import warnings
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from _part_worlds import LARGEST, NEGATIVE, PIXELS, WORLDS
from _validity_cells import Sources, cached

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import GenericPenalty, PatchDistribution
from sklearn_icm.interventions import InterventionFamily, Stretch
from sklearn_icm.mechanisms import (
    conv_decoder,
    map_decoder,
    parts_decoder,
)

N_TRAIN, N_CHOOSE, N_JUDGE = 1200, 400, 400
SETTING = {
    "n_latents": 16,
    "max_epochs": 24,
    "batch_size": 32,
    "lr": 4e-3,
    "beta": 0.02,
}
# Of the penalty, reached in the last epoch.
WEIGHTS = (3, 10, 30)
PATCH = 7


@dataclass(frozen=True)
class Arm:
    """A decoder, how it is trained, and the node whose stretch moves the parts.

    ``penalty(world, strongest)`` gives parameters of the fit; ``augmented`` takes rows
    beside which their pixels are stretched, for half as many epochs.
    """

    node: str = "conv2"
    params: dict = field(default_factory=dict)
    penalty: object = None
    augmented: bool = False

    def change(self, world, stretch):
        """Interventions that stretch the layout."""
        return {self.node: Stretch(stretch, axis=world.axis)}

    def fit(self, world, X, seed, strongest):
        """Fit to rows without an environment, strengths of the group up to a number."""
        params = {**SETTING, **self.params}
        if self.penalty is not None:
            params |= self.penalty(world, strongest)
        if self.augmented:
            stretches = np.random.RandomState(seed).uniform(1, strongest, len(X))
            pairs = zip(X, stretches, strict=True)
            X = np.concatenate([X, *(world.pixels(x[None], s) for x, s in pairs)])
            params["max_epochs"] //= 2
        model = VAEGenerator(world.data_shape, random_state=seed, **params)
        with warnings.catch_warnings():
            # Collapsed decoders are seen by their errors.
            warnings.simplefilter("ignore", UserWarning)
            return model.fit(X)


def smooth_decoder(n_latents, data_shape):
    """Resize linearly before each convolution, not by repetition."""
    return conv_decoder(n_latents, data_shape, (32, 16), resize="linear")


def patch_penalty(weight, world, strongest):
    """Parameters of a fit that keeps patches as they are under stretches."""
    group = InterventionFamily(
        partial(Stretch, axis=world.axis), {"factor": (1.0, strongest)}
    )
    return {
        "icm_penalty": GenericPenalty(group, PatchDistribution((PATCH,))),
        "icm_weight": weight,
        "icm_warmup": SETTING["max_epochs"],
    }


ON_MAP = {"decoder": map_decoder}
ARMS = {
    "default": Arm(),
    "default, pixels too": Arm(augmented=True),
    "linear resizing": Arm(params={"decoder": smooth_decoder}),
    "map": Arm("map", ON_MAP),
    **{
        f"map + patches {weight:g}": Arm("map", ON_MAP, partial(patch_penalty, weight))
        for weight in WEIGHTS
    },
    "parts": Arm("places", {"decoder": parts_decoder}),
}
EVERY_WORLD = {**WORLDS, **NEGATIVE}


def make_rows(name, seed, n_train=N_TRAIN):
    """A world, and slices of its rows to fit, to choose with and to judge."""
    world = EVERY_WORLD[name](n_train + N_CHOOSE + N_JUDGE, seed)
    ends = np.cumsum([0, n_train, N_CHOOSE, N_JUDGE])
    return world, [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


def sources_of(world, arm, strongest, *, files=(), more=()):
    """What a fit, and what is computed of it, depends on."""
    about = EVERY_WORLD[world], SETTING, PATCH, ARMS[arm], strongest
    text = re.sub(" at 0x[0-9a-f]+", "", repr(about))
    return Sources(("_part_worlds.py", "_part_arms.py", *files), text, more)


def fitted(world, arm, seed, strongest=LARGEST):
    """The fit of an arm to a world, from disk if it is there."""

    def make():
        rows, (train, *_) = make_rows(world, seed)
        model = ARMS[arm].fit(rows, rows.render(1.0)[train], seed, strongest)
        return {"model": np.frombuffer(pickle.dumps(model), np.uint8)}

    # The rows of a negative control are those of the world that it is made of.
    world = world.removesuffix(PIXELS)
    key = f"{arm}-{strongest:g}-fit"
    kept = cached(world, seed, key, sources_of(world, arm, strongest), make)
    return pickle.loads(kept["model"].tobytes()), float(kept["seconds"])
