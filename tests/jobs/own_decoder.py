"""An own decoder: two halves of an image have mechanisms of their own."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.interventions import Shift, Units
from sklearn_icm.mechanisms import MechanismGraph


class Beside(nn.Module):
    """Draw the halves from their own nodes, and put them side by side."""

    def __init__(self, data_shape):
        super().__init__()
        channels, height, width = data_shape
        half = (channels, height, width // 2)
        size = channels * height * (width // 2)
        self.halves = nn.ModuleList(
            nn.Sequential(nn.Linear(16, size), nn.Unflatten(1, half)) for _ in range(2)
        )

    def forward(self, left, right):
        drawn = [half(v) for half, v in zip(self.halves, (left, right), strict=True)]
        return torch.cat(drawn, dim=-1)


def two_halves(n_latents, data_shape):
    def part():
        return nn.Sequential(nn.Linear(n_latents, 16), nn.Tanh())

    return MechanismGraph(
        {"noise": (n_latents,)},
        {
            "left": ("noise", part()),
            "right": ("noise", part()),
            "data": (("left", "right"), Beside(data_shape)),
        },
    )


X = load_digits().data / 16
model = VAEGenerator(
    (8, 8), decoder=two_halves, max_epochs=40, bounds=None, random_state=0
).fit(X)
print(model.nodes_)
assert list(model.nodes_) == ["noise", "left", "right", "data"]

# %%
# It has learnt the digits: rows are reproduced far better than by the mean image.
rebuilt = model.inverse_transform(model.transform(X))
share = 1 - np.square(X - rebuilt).sum() / np.square(X - X.mean(0)).sum()
print(f"It explains {share:.0%} of the variance of the rows.")
assert share > 0.6

# %%
# By construction what happens to "left" must not reach the right half.
for change in (Units(range(16), 0.0), Shift(0.5)):
    moved = model.intervene({"left": change}, X=X[:50], residual="drop") - rebuilt[:50]
    moved = np.abs(moved).reshape(50, 8, 8)
    print(change, moved[:, :, :4].mean().round(3), moved[:, :, 4:].max())
    assert moved[:, :, :4].mean() > 0.05
    assert moved[:, :, 4:].max() < 1e-6

# %%
# Where in the image does a unit matter?
influence = model.influence_map("right", [0, 1, 2]).reshape(8, 8)
assert influence[:, :4].max() < 1e-6 < influence[:, 4:].max()
print("The halves of the image are moved by their own nodes alone.")
