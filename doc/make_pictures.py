"""Draw the pictures of the front page and the README: `python doc/make_pictures.py`."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import fftconvolve

from sklearn_icm.datasets import make_faces
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.interventions import Stretch
from sklearn_icm.mechanisms import conv_decoder, parts_decoder

IMAGES = Path(__file__).parent / "images"
TITLES = ["hidden map", "drawn with", "image", "hidden map, stretched", "answer"]
SHARES = [61, 41, 61, 91, 91]


def eye(scale=1.0):
    y, x = np.mgrid[-10:11, -10 * scale : 10 * scale : 21j]
    r = np.hypot(x, y)
    return np.clip(8.5 - r, 0, 1) * np.clip(r - 4.5, 0, 1) + np.clip(2.6 - r, 0, 1)


def dots(width, distance):
    picture = np.zeros((41, width))
    places = width // 2 + np.array([-1, 1]) * distance // 2
    picture[20, places] = 1
    return picture


def stretched(picture, width, by):
    """Values at places that are `by` times as far from the middle."""
    middle, columns = picture.shape[1] // 2, np.arange(width)
    source = middle + (columns - width // 2) / by
    old = np.arange(picture.shape[1])
    return np.array([np.interp(source, old, row, 0, 0) for row in picture])


def draw_idea():
    """Two factorisations of the same image, and what each says of a stretch."""
    width, wide, by, distance = 61, 91, 1.6, 24
    point = np.zeros((21, 21))
    point[10, 10] = 1
    seen = fftconvolve(dots(width, distance), eye(), mode="same")
    lines = [
        (dots(width, distance), eye(), dots(wide, round(by * distance))),
        (seen, point, stretched(seen, wide, by)),
    ]
    figure, axes = plt.subplots(
        *(2, 5), figsize=(8.4, 2.6), layout="constrained", width_ratios=SHARES
    )
    for line, (first, second, changed) in zip(axes, lines, strict=True):
        answer = fftconvolve(changed, second, mode="same")
        for ax, picture in zip(
            line, (first, second, seen, changed, answer), strict=True
        ):
            # Points that are one pixel wide are seen as three.
            if np.count_nonzero(picture > 0.5) < 3:
                picture = fftconvolve(picture, np.ones((3, 3)), mode="same")
            if len(picture) < len(seen):
                picture = np.pad(picture, (len(seen) - len(picture)) // 2)
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    for ax, title in zip(axes[0], TITLES, strict=True):
        ax.set_title(title, fontsize="medium")
    axes[0, 0].set_ylabel("places,\nthen a shape", fontsize="medium")
    axes[1, 0].set_ylabel("shapes,\nthen a point", fontsize="medium")
    for ax, told in zip(axes[:, 4], ("eyes move", "eyes widen, too"), strict=True):
        ax.set_xlabel(told, fontsize="medium")
    for ax in axes[:, 2]:
        ax.set_xlabel("the same", fontsize="medium")
    figure.savefig(IMAGES / "idea.png", dpi=110)


def draw_parts():
    """Faces further apart than any that was fitted, as the README asks for them."""
    faces = make_faces(1000, stretch=1.5, random_state=0)
    X, truth = faces.render(1.0), faces.render(1.5)
    training = {"n_latents": 5, "max_epochs": 40, "batch_size": 32, "random_state": 0}
    parts, usual = (
        VAEGenerator(faces.data_shape, decoder=decoder, **training).fit(X)
        for decoder in (parts_decoder, conv_decoder)
    )
    answers = {
        "as fitted": X,
        "truth": truth,
        "places": parts.intervene({"places": Stretch(1.5)}, X=X),
        "a hidden map": usual.intervene({"conv2": Stretch(1.5)}, X=X),
        "pixels": parts.intervene({"data": Stretch(1.5)}, X=X),
    }
    spread = np.square(truth - truth.mean(0)).sum()
    figure, axes = plt.subplots(
        *(len(answers), 6), figsize=(6.6, 5.3), layout="constrained"
    )
    for line, (name, rows) in zip(axes, answers.items(), strict=True):
        error = np.square(rows - truth).sum() / spread
        for ax, row in zip(line, rows, strict=False):
            image = row.reshape(faces.data_shape)
            ax.imshow(image, cmap="gray", vmin=0, vmax=0.8, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(f"{name}\nerror {error:.2f}", fontsize="small")
    figure.savefig(IMAGES / "parts.png", dpi=110)


if __name__ == "__main__":
    draw_idea()
    draw_parts()
