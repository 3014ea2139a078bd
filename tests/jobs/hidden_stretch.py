"""Images with a hidden stretch: what if the parts were further apart? With a figure."""

import tempfile
from pathlib import Path

import numpy as np

from sklearn_icm.datasets import make_faces
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.inspection import InterventionDisplay
from sklearn_icm.interventions import Stretch
from sklearn_icm.mechanisms import parts_decoder

faces = make_faces(500, stretch=1.5, random_state=0)
seen, stretched = faces.data[faces.pairs]

# %%
model = VAEGenerator(
    faces.data_shape,
    decoder=parts_decoder,
    n_latents=5,
    beta=0.02,
    batch_size=32,
    lr=4e-3,
    max_epochs=50,
    observational="observational",
    random_state=0,
)
model.fit(faces.data, faces.environments)


# %%
def error(rows):
    """0 is the truth, 1 as good as the mean image."""
    spread = np.square(stretched - stretched.mean(0)).sum()
    return np.square(rows - stretched).sum() / spread


change = Stretch(1.5)
places = error(model.intervene({"places": change}, X=seen))
pixels = error(model.intervene({"data": change}, X=seen))
print(f"Error of stretched places {places:.2f}, of stretched pixels {pixels:.2f}.")
assert places < 0.8 * pixels

# %%
display = InterventionDisplay.from_estimator(model, change, seen, strengths=[0, 1, 2])
print(display.ax_.get_title())
assert "places" in display.ax_.get_title()
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "stretched.png"
    display.figure_.savefig(path)
    assert path.stat().st_size > 1000
