"""
Do hidden maps move parts and keep their texture?
=================================================

Stretching an image's pixels widens all that it shows. Stretching a hidden map of a
generator may instead move the parts apart and leave their shapes as they are. Two
distances tell: of small patches, scaled to unit norm, and of the coarse layout. (A
decoder that moves parts as they are is in "Parts that move and stay what they are".)
"""

# %%
# The true generator of faces has a map of where the parts are; a fitted one of pairs of
# digits has maps that training found.
from sklearn_icm.datasets import make_faces, make_glyph_pairs
from sklearn_icm.generators import FixedGenerator, VAEGenerator
from sklearn_icm.inspection import InterventionDisplay
from sklearn_icm.interventions import Stretch
from sklearn_icm.metrics import layout_distance, patch_distance

faces = make_faces(400, random_state=0)
true = FixedGenerator(
    faces.mechanisms, data_shape=faces.data_shape, bounds=None, random_state=0
).fit(faces.render())

pairs = make_glyph_pairs(400, random_state=0)
fitted = VAEGenerator(
    pairs.data_shape,
    n_latents=24,
    bounds=None,
    max_epochs=15,
    batch_size=32,
    random_state=0,
).fit(pairs.render(1.0))

# %%
# The same stretch at one map after the other, for the same noise.
stretch = Stretch(1.3, axis="width")
draws = {"random_state": 0, "observation_noise": False}
for model, nodes in ((true, ["layout", "data"]), (fitted, ["conv1", "conv2", "data"])):
    InterventionDisplay.from_nodes(model, stretch, nodes=nodes, n_columns=6, **draws)


# %%
# Parts that move as they are change the layout alone.
def distances(model, node):
    """Layout and texture of stretched samples, against the same ones unstretched."""
    usual, changed = model.intervene(
        {node: stretch}, n_samples=500, return_factual=True, **draws
    )
    layout = layout_distance(usual, changed, model.data_shape)
    texture = patch_distance(
        usual, changed, model.data_shape, n_patches=4000, normalise=True
    )
    print(f"{node:>6}: layout {layout:.4f}, texture {texture:.4f}")
    return texture


print("True generator of faces")
in_truth = distances(true, "layout") / distances(true, "data")
print("Fitted generator of pairs of digits")
hidden = min(distances(fitted, "conv1"), distances(fitted, "conv2"))
in_fitted = hidden / distances(fitted, "data")

# %%
# The finding.
print(
    f"A stretch of a hidden map changes the texture {max(in_truth, 0):.1f} times as "
    "much as a stretch of the pixels in the true generator, and at least "
    f"{max(in_fitted, 0):.1f} times as much in the fitted one."
)
