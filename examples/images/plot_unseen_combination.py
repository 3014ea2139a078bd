"""
A combination that was never seen
=================================

Digits come in three colours, but the odd ones were never blue. What would they look
like in blue? A decoder of one's own says "a shape, times a colour", so that it has a
node for the colour; an ordinary one has latents, where one adds the step between means.
"""

# %%
# Real digits in colour. `left_out` marks the rows that are not fitted.
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import nn

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.inspection import SamplesDisplay
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.model_selection import LeaveCombinationOut

COLOURS = {"red": (1, 0.3, 0.2), "yellow": (0.9, 0.8, 0.1), "blue": (0.2, 0.4, 1)}
digits, labels = load_digits(return_X_y=True)
kind = np.where(labels % 2, "odd", "even")
colour = np.random.RandomState(0).choice(list(COLOURS), len(digits))


def painted(digits, colours):
    values = np.array([COLOURS[name] for name in colours])
    return (digits[:, :, None] / 16 * values[:, None]).reshape(len(digits), -1)


X, factors = painted(digits, colour), np.column_stack([kind, colour])
unseen = LeaveCombinationOut([("odd", "blue")]).left_out(X, factors)
part = np.where(unseen, "unseen", "seen")


# %%
# The own decoder: what is painted, and in which colour.
class Paint(nn.Module):
    def __init__(self, data_shape):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(data_shape))

    def forward(self, shape, colour):
        return shape * colour[:, :, None, None] + self.offset


def shape_times_colour(n, data_shape):
    layers = nn.Linear(n, 256), nn.SiLU(), nn.Linear(256, 64), nn.Softplus()
    made_by = {
        "shape": ("noise", nn.Sequential(*layers, nn.Unflatten(1, (1, 8, 8)))),
        "colour": ("noise", nn.Linear(n, 3)),
        "data": (("shape", "colour"), Paint(data_shape)),
    }
    return MechanismGraph({"noise": (n,)}, made_by)


# %%
# Both are asked for odd digits that are not blue, in blue.
settings = {"n_latents": 16, "max_epochs": 40, "observational": "seen"}
usual = VAEGenerator((8, 8, 3), **settings, random_state=0)
own = clone(usual).set_params(decoder=shape_times_colour)
usual.fit(X, part), own.fit(X, part)
ask = (kind == "odd") & (colour != "blue")
even = {name: (kind == "even") & (colour == name) for name in COLOURS}
blue = own.node_values(X=X[even["blue"]])["colour"].mean(0)
latents = usual.transform(X)
means = {name: latents[rows].mean(0) for name, rows in even.items()}
moved = latents[ask] + [means["blue"] - means[name] for name in colour[ask]]
answers = {
    "as seen": X[ask],
    "shape x colour": own.intervene({"colour": blue}, X=X[ask], residual="drop"),
    "latents, plus a step": usual.inverse_transform(moved),
    "truth": painted(digits[ask], ["blue"] * ask.sum()),
}

# %%
display = SamplesDisplay(
    np.stack([rows[:8] for rows in answers.values()]),
    data_shape=(8, 8, 3),
    labels=list(answers),
    title="Odd digits in blue, which was never fitted",
).plot()


# %%
# How far is each answer from the truth? 1 is as far as the mean image.
def error(rows, truth=answers["truth"]):
    return np.square(rows - truth).sum() / np.square(truth - truth.mean(0)).sum()


as_seen, own_error, usual_error, _ = map(error, answers.values())
print(
    f"Of {ask.sum()} odd digits in blue, the decoder with a node for the colour errs "
    f"by {own_error:.2f}, a step between means of latents by {usual_error:.2f}, and no "
    f"change by {as_seen:.2f}; 1 is the mean image."
)
