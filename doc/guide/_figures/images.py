"""Figures of images and signals."""

import matplotlib.pyplot as plt
import numpy as np

from .style import BLUE, ORANGE, axes


def show_images(figure_rows, row_labels, column_labels, shape, size):
    """Draw images, a list of rows of images."""
    n_rows, n_columns = len(figure_rows), len(figure_rows[0])
    brightest = max(image.max() for images in figure_rows for image in images)
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=size, squeeze=False, layout="constrained"
    )
    for r in range(n_rows):
        for c in range(n_columns):
            ax = grid[r, c]
            ax.imshow(
                figure_rows[r][c].reshape(shape), cmap="gray_r", vmin=0, vmax=brightest
            )
            ax.set(xticks=[], yticks=[])
            if column_labels and r == 0:
                ax.set_title(column_labels[c], fontsize=8.5)
            if row_labels and c == 0:
                ax.set_ylabel(row_labels[r], rotation=0, ha="right", va="center")
    return figure


def interventions():
    from sklearn_icm.datasets import make_faces
    from sklearn_icm.generators import FixedGenerator
    from sklearn_icm.interventions import Flip, Rotate, Scale, Stretch, Translate, Units

    faces = make_faces(20, random_state=0)
    model = FixedGenerator(faces.mechanisms, data_shape=(24, 24)).fit(faces.data)
    changes = {
        "as it is": Scale(1.0),
        "Stretch(1.4)": Stretch(1.4),
        "Translate(3)": Translate(3.0),
        "Flip()": Flip(),
        "Rotate(20)": Rotate(20.0),
        "Units(0, Scale(0))": Units(0, Scale(0.0)),
        "Stretch >> Rotate": Stretch(1.3) >> Rotate(-20.0),
    }
    rows = [
        model.intervene({"layout": change}, n_samples=1, random_state=3)[0]
        for change in changes.values()
    ]
    return show_images([rows], None, list(changes), (24, 24), (8.4, 1.5))


def images():
    from sklearn_icm.datasets import make_faces
    from sklearn_icm.generators import VAEGenerator
    from sklearn_icm.interventions import Stretch
    from sklearn_icm.mechanisms import map_decoder, parts_decoder

    faces = make_faces(700, random_state=0)
    X, truth = faces.data[faces.pairs]
    rows, expected = X[600:], truth[600:]
    arms = {
        "default": (None, "conv2"),
        "map": (map_decoder, "map"),
        "parts": (parts_decoder, "places"),
    }
    answers = {"as seen": rows, "truth": expected}
    for name, (decoder, node) in arms.items():
        model = VAEGenerator(
            (24, 24),
            n_latents=5,
            decoder=decoder,
            max_epochs=40,
            batch_size=32,
            lr=4e-3,
            beta=0.02,
            random_state=0,
        ).fit(X[:600])
        answers[name] = model.intervene({node: Stretch(1.5)}, X=rows, residual="drop")
    answers["pixels"] = model.intervene({"data": Stretch(1.5)}, X=rows)
    scale = np.square(expected - expected.mean(0)).sum()
    labels = [
        name
        if name == "truth"
        else f"{name} ({np.square(a - expected).sum() / scale:.2f})"
        for name, a in answers.items()
    ]
    chosen = [list(a[:6]) for a in answers.values()]
    return show_images(chosen, labels, None, (24, 24), (5.6, 5.2))


def signals():
    from sklearn_icm.generators import VAEGenerator
    from sklearn_icm.interventions import Translate
    from sklearn_icm.mechanisms import parts_decoder

    rng, time = np.random.RandomState(0), np.arange(48)

    def beats(places, heights):
        beat = np.exp(-0.5 * ((time - places[:, None]) / 1.5) ** 2)
        echo = -np.exp(-0.5 * ((time - 8 - places[:, None]) / 1.5) ** 2)
        return heights[:, None, None] * np.stack([beat, echo], axis=-1)

    places, heights = rng.uniform(6, 16, 500), rng.uniform(0.5, 1, 500)
    noise = rng.normal(0, 0.05, (500, 48, 2))
    X = (beats(places, heights) + noise).reshape(500, -1)
    later = beats(places + 12, heights) + noise
    model = VAEGenerator(
        (48, 2),
        data_kind="signal",
        n_latents=3,
        decoder=parts_decoder,
        max_epochs=60,
        batch_size=32,
        lr=4e-3,
        random_state=0,
    ).fit(X)
    moved, shifted = (
        model.intervene({node: Translate(12.0)}, X=X[:1]).reshape(48, 2)[:, 0]
        for node in ("places", "data")
    )
    truth = later[0, :, 0]
    figure, (top, low) = plt.subplots(
        2,
        1,
        figsize=(6.2, 3.6),
        sharex=True,
        layout="constrained",
        height_ratios=(2, 1),
    )
    top.plot(time, X[0].reshape(48, 2)[:, 0], color="0.7", label="as seen")
    for rows, name, colour in ((shifted, "data", ORANGE), (moved, "places", BLUE)):
        top.plot(time, rows, color=colour, label=f"Translate(12) of {name}")
        low.plot(time, rows - truth, color=colour)
    top.plot(time, truth, "k--", linewidth=1, label="truth")
    top.set(ylabel="channel 0")
    low.set(xlabel="time", ylabel="off by")
    top.legend(loc="upper right", fontsize=7.5)
    return figure


def decoders():
    from sklearn_icm.datasets import make_faces
    from sklearn_icm.generators import FixedGenerator
    from sklearn_icm.interventions import Units

    faces = make_faces(20, random_state=0)
    model = FixedGenerator(faces.mechanisms, data_shape=(24, 24)).fit(faces.data)
    rows = [model.sample(3, random_state=1)] + [
        model.intervene({"layout": Units([k], 0.0)}, n_samples=3, random_state=1)
        for k in range(3)
    ]
    names = ["as it is", "map 0 off", "map 1 off", "map 2 off"]
    return show_images(list(zip(*rows, strict=True)), None, names, (24, 24), (4.6, 3.6))


def practice():
    from sklearn.datasets import load_digits

    from sklearn_icm.generators import VAEGenerator
    from sklearn_icm.inspection import TrainingDisplay

    model = VAEGenerator(
        hidden=(64, 64), max_epochs=30, icm_weight=0.1, icm_warmup=10, random_state=0
    ).fit(load_digits().data[:800] / 16)
    return TrainingDisplay.from_estimator(model).figure_


def scoring():
    from scipy.ndimage import gaussian_filter

    from sklearn_icm.datasets import make_faces
    from sklearn_icm.metrics import extrapolation_skill

    faces = make_faces(1000, stretch=1.3, random_state=0)
    seen, truth = faces.data[faces.pairs]
    rows, expected, other = seen[:500], truth[:500], truth[500:]
    rng = np.random.RandomState(0)
    blurred = gaussian_filter(expected.reshape(-1, 24, 24), (0, 1, 1)).reshape(500, -1)
    moments = rng.multivariate_normal(other.mean(0), np.cov(other.T), 500)
    wrong = {
        "the truth": expected,
        "truth + noise .1": expected + rng.normal(0, 0.1, expected.shape),
        "truth, blurred": blurred,
        "wrong pairs": expected[::-1],
        "mean and covariance": moments,
        "half of the rows twice": np.tile(expected[:250], (2, 1)),
        "not moved": rows,
        "the mean row": np.tile(other.mean(0), (500, 1)),
    }
    distances = ("transport", "energy", "mmd", "sliced_wasserstein")
    scale = np.square(expected - expected.mean(0)).sum()
    table = np.array(
        [
            [extrapolation_skill(other, w, rows, distance=d) for d in distances]
            + [1 - np.square(w - expected).sum() / scale]
            for w in wrong.values()
        ]
    )
    figure, ax = axes(width=6.6, height=3.8)
    shown = ax.imshow(
        np.clip(table, -1, 1), cmap="cividis", vmin=-1, vmax=1, aspect="auto"
    )
    for (r, c), value in np.ndenumerate(table):
        dark = value < 0.2
        ax.text(
            c, r, f"{value:.2f}", ha="center", va="center", color="w" if dark else "k"
        )
    names = [
        "transport",
        "energy",
        "mmd",
        "sliced\nWasserstein",
        "1 - true\nerror",
    ]
    ax.set(
        xticks=range(5),
        xticklabels=names,
        yticks=range(len(wrong)),
        yticklabels=list(wrong),
    )
    figure.colorbar(shown, label="skill (clipped at -1)")
    return figure
