"""A signal of several channels: what if its beats came later?

Each row has two channels: a beat, and its echo of opposite sign 8 steps later. Training
rows beat in the first third; the question is about all of them 12 steps later.
"""

import numpy as np

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.inspection import SamplesDisplay
from sklearn_icm.interventions import Permute, Translate

LENGTH = 64


def beats(when, height):
    """Rows of shape (length, channels), in C order."""
    steps = np.arange(LENGTH)
    beat = np.exp(-0.5 * ((steps - when[:, None]) / 2) ** 2)
    echo = np.exp(-0.5 * ((steps - when[:, None] - 8) / 2) ** 2)
    signal = np.stack([beat, -echo], axis=-1) * height[:, None, None]
    return signal.reshape(len(when), -1)


rng = np.random.default_rng(0)
when, height = rng.uniform(12, 28, 400), rng.uniform(0.5, 1.5, 400)
X, later = beats(when, height), beats(when + 12, height)

# %%
model = VAEGenerator(
    data_shape=(LENGTH, 2),
    data_kind="signal",
    n_latents=4,
    batch_size=32,
    max_epochs=40,
    random_state=0,
).fit(X)
print(model.nodes_)
assert model.nodes_["data"] == (2, LENGTH)


# %%
def error(rows):
    return np.square(rows - later).sum() / np.square(later - later.mean(0)).sum()


# A hidden map has half the grid points: 12 steps of the data are 6 of "conv2".
answer = error(model.intervene({"conv2": Translate(6)}, X=X, residual="drop"))
exact = error(model.intervene({"data": Translate(12)}, X=X))
print(f"Error {error(X):.2f} of no change, {answer:.2f} of the hidden map moved.")
assert answer < 0.2
assert exact < 1e-3

# %%
# Channels are units: the two change places.
swapped = model.intervene({"data": Permute([1, 0])}, X=X[:3])
assert np.allclose(
    swapped.reshape(3, LENGTH, 2), X[:3].reshape(3, LENGTH, 2)[:, :, ::-1]
)

# %%
display = SamplesDisplay.from_estimator(model, X, n_rows=1, n_columns=3)
assert len(display.artists_) == 2 * 3 * 2  # a curve per channel, real and sampled
