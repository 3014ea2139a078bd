"""
Parts that move without changing
================================

A face generator is asked for eyes further apart than it ever saw. Stretching a hidden
map of an ordinary decoder also widens the eyes. A decoder whose drawing mechanism was
trained under random dilations of its input moves them, and draws them as before.
"""

# %%
# Faces at usual distances, and the truth of the same faces stretched.
import matplotlib.pyplot as plt
import numpy as np

from sklearn_icm.datasets import make_faces
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.interventions import Stretch
from sklearn_icm.mechanisms import layout_decoder

faces = make_faces(1400, random_state=1)
rows, truth = faces.render(1.0), faces.render(1.5)[1200:]
asked = rows[1200:]

# %%
# The same autoencoder twice, with another decoder.
params = {"n_latents": 5, "beta": 0.02, "latent_density": "gaussian", "hidden": (16, 8)}
training = {"max_epochs": 18, "batch_size": 32, "lr": 4e-3, "random_state": 2}
models = {
    "conv2": VAEGenerator(faces.data_shape, **params, **training),
    "layout": VAEGenerator(
        faces.data_shape, decoder=layout_decoder, **params, **training
    ),
}
answers = {"as seen": asked, "truth": truth}
for node, model in models.items():
    model.fit(rows[:1200])
    answers[node] = model.intervene({node: Stretch(1.5)}, X=asked)
answers["pixels"] = model.intervene({"data": Stretch(1.5)}, X=asked)

# %%
# Six faces in each answer.
figure, axes = plt.subplots(len(answers), 6, figsize=(6, 5.2))
for line, (name, images) in zip(axes, answers.items(), strict=True):
    for ax, image in zip(line, images, strict=False):
        ax.imshow(image.reshape(faces.data_shape), cmap="gray", vmin=0, vmax=0.8)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)


# %%
# How far is each answer from the truth? 1 is as far as the mean image.
def error(images):
    return np.square(images - truth).sum() / np.square(truth - truth.mean(0)).sum()


errors = {name: error(images) for name, images in answers.items() if name != "truth"}
print("  ".join(f"{name}: {value:.2f}" for name, value in errors.items()))

# %%
# The finding.
best = min(errors, key=errors.get)
stretched = "No stretch" if best == "as seen" else f"Stretching {best!r}"
print(f"{stretched} comes closest to the faces that nobody has seen.")
