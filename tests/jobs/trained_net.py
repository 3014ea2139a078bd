"""A trained DCGAN-like net: ask a torch generator what its hidden maps do.

It was trained elsewhere (here: on squares at random places); its blocks become the
mechanisms of a graph, and nothing is fitted again.
"""

import numpy as np
import torch
from torch import nn

from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import Translate, Units
from sklearn_icm.mechanisms import MechanismGraph

torch.manual_seed(0)


def up(n_in, n_out, last):
    return nn.Sequential(nn.ConvTranspose2d(n_in, n_out, 4, 2, 1), last)


net = nn.Sequential(
    nn.Sequential(nn.Linear(2, 16 * 16), nn.Unflatten(1, (16, 4, 4)), nn.ReLU()),
    up(16, 8, nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())),
    up(8, 1, nn.Sigmoid()),
)


# %%
def squares(z):
    """Soft squares of 4 pixels; the noise is where they are."""
    place = 8 + 3 * torch.tanh(z)
    pixels = torch.arange(16.0)
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
print(f"The net was trained to an error of {loss.item():.4f}.")

# %%
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
print(model.nodes_)

# %%
# The net is as it was: rows of the model are rows of the net.
noise = model.abduct(X[:10], method="optimise").noise
with torch.no_grad():
    again = net(torch.as_tensor(noise)).flatten(1).numpy()
error = np.abs(again - X[:10]).mean()
print(f"The noise found for rows of the net gives them back (error {error:.1e}).")
assert error < 0.02

# %%
# The last block doubles the grid: one grid point of "block2" is two pixels.
moved = model.intervene({"block2": Translate(1)}, X=X[:50], residual="drop")
images = model.intervene({}, X=X[:50], residual="drop").reshape(50, 16, 16)
inside = moved.reshape(50, 16, 16)[:, :, 4:-2]
error = np.abs(inside - images[:, :, 2:-4]).max()
print(f"Moving block2 by one moves the image by two pixels (error {error:.1e}).")
assert error < 1e-4
gone = model.intervene({"block2": Units(range(8), 0.0)}, X=X[:5], residual="drop")
assert np.ptp(gone) < 0.3 * np.ptp(X[:5])
