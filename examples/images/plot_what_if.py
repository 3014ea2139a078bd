"""
Ask a generator what it has not seen
====================================

A generator sees pairs of digits at one range of distances. Asked for a larger distance,
it stretches one of its hidden maps; the true answer is known for every pair.
"""

# %%
# Pairs of digits: the rows of "wide" are the counterfactuals of those of "narrow".
import numpy as np

from sklearn_icm.datasets import make_glyph_pairs
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.inspection import InterventionDisplay
from sklearn_icm.interventions import Stretch

pairs = make_glyph_pairs(500, random_state=0)
narrow, wide = pairs.data[pairs.pairs]

# %%
# Only "narrow" rows are fitted, whatever is passed to `fit`.
model = VAEGenerator(
    pairs.data_shape,
    n_latents=24,
    observational="narrow",
    max_epochs=30,
    batch_size=32,
    random_state=0,
)
model.fit(pairs.data, pairs.environments)

# %%
# The same stretch at every map, beside the truth.
stretch = Stretch(1.3, axis="width")
InterventionDisplay.from_nodes(
    model, stretch, narrow[:5], truth=wide[:5], n_columns=5, residual="drop"
)


# %%
# How far is each answer from the truth?
def error(rows):
    return np.square(rows - wide).sum() / np.square(wide - wide.mean(0)).sum()


errors = {"no intervention": error(narrow)}
for node in ("conv1", "conv2", "data"):
    errors[node] = error(model.intervene({node: stretch}, X=narrow, residual="drop"))

# %%
# The finding.
best = min(errors, key=errors.get)
print("  ".join(f"{node}: {value:.2f}" for node, value in errors.items()))
stretched = "No stretch" if best == "no intervention" else f"Stretching {best}"
print(f"{stretched} comes closest to the true counterfactuals on these data.")
