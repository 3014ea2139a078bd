"""
What if the beats of a signal came later?
=========================================

A signal has two channels: a beat, and its echo of opposite sign. All training rows beat
early; the question is about all of them 12 steps later. Moving a hidden map answers it,
and moving latents does not.
"""

# %%
# Rows of shape (length, channels), in C order, and the truth of every one.
import matplotlib.pyplot as plt
import numpy as np

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.interventions import Shift, Translate

LENGTH, LATER = 64, 12


def beats(when, height):
    steps = np.arange(LENGTH)
    beat = np.exp(-0.5 * ((steps - when[:, None]) / 2) ** 2)
    echo = np.exp(-0.5 * ((steps - when[:, None] - 8) / 2) ** 2)
    signal = np.stack([beat, -echo], axis=-1) * height[:, None, None]
    return signal.reshape(len(when), -1)


rng = np.random.default_rng(0)
when, height = rng.uniform(12, 28, 400), rng.uniform(0.5, 1.5, 400)
X, truth = beats(when, height), beats(when + LATER, height)

# %%
model = VAEGenerator(
    (LENGTH, 2),
    data_kind="signal",
    n_latents=4,
    batch_size=32,
    max_epochs=40,
    random_state=0,
).fit(X)
print(model.nodes_)

# %%
# A hidden map has half the grid points, so that 12 steps of the data are 6 of its own.
# Latents can only go on in the direction in which the beats came later in the rows.
Z = model.transform(X)
slope = np.linalg.lstsq(np.c_[when, height, np.ones(400)], Z, rcond=None)[0][0]
arms = {
    "no change": {},
    "latents shifted": {"noise": Shift(LATER * slope)},
    "hidden map moved": {"conv2": Translate(LATER // 2)},
    "signal itself moved": {"data": Translate(LATER)},
}
answers = {
    name: model.intervene(change, X=X, residual="keep" if "data" in change else "drop")
    for name, change in arms.items()
}

# %%
# Three rows in each answer: the beat is a line, its echo is dotted.
figure, axes = plt.subplots(
    *(3, 4), figsize=(9, 4.5), sharex=True, sharey=True, layout="constrained"
)
for k, line in enumerate(axes):
    for ax, (name, rows) in zip(line, answers.items(), strict=True):
        for channel, style in ((0, "-"), (1, ":")):
            curve = np.s_[k, channel::2]
            ax.plot(truth[curve], "0.7", linestyle=style, linewidth=3, label="truth")
            ax.plot(rows[curve], "C0", linestyle=style, label="answer")
        ax.set_title(name if k == 0 else "", fontsize="medium")
figure.legend(axes[0, 0].lines[:2], ["truth", "answer"], loc="outside right upper")
figure.supxlabel("time step", fontsize="medium")
figure.supylabel("value", fontsize="medium")


# %%
# How far is each answer from the truth? 1 is as far as the mean row.
def error(rows):
    return np.square(rows - truth).sum() / np.square(truth - truth.mean(0)).sum()


errors = {name: error(rows) for name, rows in answers.items()}
told = ", ".join(f"{name} {value:.2f}" for name, value in errors.items())
print(f"Error of each answer for beats {LATER} steps later: {told}.")
