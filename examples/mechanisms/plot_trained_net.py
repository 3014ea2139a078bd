"""
Ask a generator that is trained already
=======================================

Somebody's torch net draws squares at random places. Its blocks become the mechanisms of
a graph, and nothing is fitted again: given rows are explained, and hidden maps can be
moved and switched off.
"""

# %%
# Stands for a net from elsewhere: trained here, within seconds.
import numpy as np
import torch
from torch import nn

from sklearn_icm.generators import FixedGenerator
from sklearn_icm.inspection import SamplesDisplay
from sklearn_icm.interventions import Translate, Units
from sklearn_icm.mechanisms import MechanismGraph

torch.manual_seed(0)


def up(n_in, n_out, *after):
    return nn.Sequential(nn.ConvTranspose2d(n_in, n_out, 4, 2, 1), *after)


net = nn.Sequential(
    nn.Sequential(nn.Linear(2, 16 * 16), nn.Unflatten(1, (16, 4, 4)), nn.ReLU()),
    up(16, 8, nn.BatchNorm2d(8), nn.ReLU()),
    up(8, 1, nn.Sigmoid()),
)


def squares(z):
    """Soft squares of 4 pixels; the noise says where."""
    place, pixels = 8 + 3 * torch.tanh(z), torch.arange(16.0)
    y, x = (torch.sigmoid(4 * (2.5 - (pixels - p[:, None]).abs())) for p in place.T)
    return (y[:, :, None] * x[:, None, :])[:, None]


optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
for _ in range(800):
    z = torch.randn(64, 2)
    loss = (net(z) - squares(z)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()

# %%
# A graph, block by block. `fit` looks at rows for their range alone.
graph = MechanismGraph(
    {"noise": (2,)},
    {
        "block1": ("noise", net[0]),
        "block2": ("block1", net[1]),
        "data": ("block2", net[2]),
    },
)
with torch.no_grad():
    X = net(torch.randn(200, 2)).flatten(1).numpy()
model = FixedGenerator(graph, data_shape=(16, 16), random_state=0).fit(X)
graph

# %%
# Given rows are explained by noise that is searched for, and then changed.
rows = X[:8]
found = model.abduct(rows, method="optimise")
ask = {"X": rows, "abduction": found, "residual": "drop"}
moved = model.intervene({"block2": Translate(2)}, **ask)
halved = model.intervene({"block2": Units(range(4), 0.0)}, **ask)
again = model.intervene({}, **ask)
SamplesDisplay(
    np.stack([rows, again, moved, halved]),
    data_shape=(16, 16),
    labels=["rows", "explained", "block2 moved by 2", "half its channels off"],
).plot()

# %%
# Two places of "block2" are four pixels of the image. What comes in at the border is
# zeros of "block2", of which this net makes grey.
images = again.reshape(-1, 16, 16)
gap = np.abs(moved.reshape(-1, 16, 16)[:, :, 6:-2] - images[:, :, 2:-6]).max()
rebuilt = np.square(again - rows).sum() / np.square(rows - rows.mean(0)).sum()
off = np.square(halved - again).sum() / np.square(again - again.mean(0)).sum()
print(
    f"The noise that was found leaves {rebuilt:.1%} of the rows unexplained; moving "
    f"block2 by 2 moves the image by 4 pixels (off by {gap:.0e}), and switching off "
    f"half of its channels changes {off:.0%} as much as the rows vary."
)
