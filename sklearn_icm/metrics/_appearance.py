"""Do parts move as pixels do from afar, and look like the data close by?"""

import warnings
from numbers import Real

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter

from ..base import is_generator
from ..compose._wrap import in_input_space, rows_under
from ..exceptions import FewRowsWarning
from ..independence import PatchDistribution
from ..interventions import Flip, Rotate, Stretch
from ..interventions._base import applied, as_intervention
from ..utils.checks import check_choice, is_count
from ..utils.environments import observational_rows
from ..utils.pipelines import last_step
from ..utils.rows import take_rows
from ._inputs import direction_stream, name_changes
from ._predictions import PREDICT, PredictingScorer

__all__ = ["make_appearance_scorer"]

HALVES = ["motion", "appearance"]
# Of the shorter side of an image: standard deviation of the blur.
BLUR = 1 / 8
N_PATCHES = 2000
# Of the mean mass of the data: what is fainter counts as empty.
FAINT = 0.1
# In an image's own units a change means the same on maps of any grid.
SCALE_FREE = (Flip, Rotate, Stretch)


class AppearanceScorer(PredictingScorer):
    """Scorer: whether parts of images move as a whole and are drawn as before.

    Made by :func:`make_appearance_scorer`, which documents the parameters. Called as
    ``scorer(estimator, X, y=None, *, environments=None)``; higher is better.
    """

    metadata = ("environments",)
    title = "The appearance scorer"

    def __call__(self, estimator, X, y=None, *, environments=None):
        """1 less both ratios, averaged over the changes."""
        found = self.components(estimator, X, y, environments)["ratio"]
        return float(1 - found.groupby(level="half").mean().sum())

    def components(self, estimator, X, y=None, environments=None):
        """Both halves of the score, of every change.

        Parameters
        ----------
        estimator : fitted generator of images, or pipeline that ends in one
        X : array-like of shape (n_samples, n_features)
        y, environments : array-like of shape (n_samples,), optional
            Labels, where `observational` names those of the rows to be looked at.

        Returns
        -------
        DataFrame
            Two rows for each change (index ``change`` and ``half``), "motion" and
            "appearance": the ``distance`` of what the model draws, ``reference``, that
            of rows as they were (motion) or of changed pixels (appearance), and
            ``ratio``, their quotient. The last score's is kept as
            ``score_components_``.
        """
        if not is_generator(estimator):
            raise TypeError(
                "The appearance scorer needs a generator with `intervene`, got "
                f"{type(last_step(estimator)).__name__}."
            )
        shape = _image_shape(last_step(estimator))
        self._check_patches(shape)
        estimator = in_input_space(estimator)
        X = observational_rows(X, y, environments, self.observational)
        X = self._some(X)
        real = _as_images(estimator, X, shape)
        if not np.ptp(real.reshape(len(real), -1, real.shape[-1]), axis=1).any():
            raise ValueError(
                "X must show parts, but its images are of one colour each, so that "
                "nothing can be seen to move."
            )
        changes = name_changes(self.interventions)
        tables = {
            name: self._halves(estimator, name, change, X, real)
            for name, change in changes.items()
        }
        self.score_components_ = pd.concat(tables, names=["change", "half"])
        return self.score_components_

    def _check_patches(self, shape):
        if self.patch_size > min(shape[:2]):
            raise ValueError(
                "patch_size must be at most the shorter side of the images, "
                f"{min(shape[:2])}, got {self.patch_size}. Patches should be smaller "
                "than a part."
            )

    def _some(self, X):
        """At most `n_samples` rows, the same ones for every estimator."""
        n = np.shape(X)[0]
        if n < 4:
            raise ValueError(
                f"The appearance scorer needs at least 4 rows, got {n}. Give more "
                "rows, or fewer folds."
            )
        if n <= self.n_samples:
            return X
        return take_rows(X, np.sort(self._stream().permutation(n)[: self.n_samples]))

    def _halves(self, estimator, name, change, X, real):
        """Distances of one change of the model's nodes."""
        pixels = self._pixels(estimator, name, change)
        given, predicted = self._asked(estimator, change, X, real)
        ground = _background(given)
        stretched = ground + _changed(pixels, given - ground)
        blur = (self.blur or BLUR) * min(real.shape[1:3])
        mass = _blurred(real, blur).sum((1, 2)).mean()
        seen, goal, before = (
            _of_mass_one(_blurred(images, blur), mass)
            for images in (predicted, stretched, given)
        )
        motion = np.square(seen - goal).sum(), np.square(before - goal).sum()
        if not motion[1] > 0:
            raise ValueError(
                f"interventions[{name!r}] moves nothing: the same change of pixels, "
                f"{pixels!r}, leaves images as they are. Give a stronger one."
            )
        appearance = self._appearances(name, pixels, real, predicted, stretched)
        table = pd.DataFrame(
            [motion, appearance], index=HALVES, columns=["distance", "reference"]
        )
        return table.assign(ratio=table["distance"] / table["reference"])

    def _appearances(self, name, pixels, real, predicted, stretched):
        """Patches of predicted images, and of changed pixels, to those of the data."""
        middle, seeds = real.mean(), self._stream().randint(2**31, size=3).tolist()
        patches = PatchDistribution((self.patch_size,), N_PATCHES)

        def distance(images, seed=seeds[0]):
            # All at the same places, and in float32 about the middle.
            maps = (_as_maps(v - middle).float() for v in (images, real))
            return float(patches.distance(*maps, torch.Generator().manual_seed(seed)))

        changed = distance(stretched)
        # Of the places: images are the same ones.
        chance = max(abs(distance(real, seed)) for seed in seeds)
        if changed <= chance:
            warnings.warn(
                f"The same change of pixels as in {name!r}, {pixels!r}, leaves patches "
                "of images as they are, as far as these rows can tell: the appearance "
                "is in units of chance. More rows tell more, or a change that alters "
                "what it moves (a stretch, no translation).",
                FewRowsWarning,
                stacklevel=5,
            )
        return distance(predicted), max(changed, chance)

    def _stream(self):
        return direction_stream(self.random_state)

    def _pixels(self, estimator, name, change):
        """What is the same change of the images."""
        pixels = self.pixels
        if pixels is not None:
            found = pixels.get(name) if isinstance(pixels, dict) else pixels
            if found is None:
                raise ValueError(
                    f"pixels must name each of the interventions, got {list(pixels)} "
                    f"without {name!r}."
                )
            return as_intervention(found, "data")
        nodes = last_step(estimator).nodes_
        shape = list(nodes.values())[-1]
        found = [as_intervention(value, node) for node, value in change.items()]
        same_grid = all(nodes.get(node, shape)[1:] == shape[1:] for node in change)
        free = isinstance(found[0], SCALE_FREE) if found else False
        # A place other than the middle is in points of the node's own grid.
        free = free and not np.any(getattr(found[0], "about", 0.0))
        if len(found) != 1 or not (same_grid or free):
            raise ValueError(
                f"interventions[{name!r}] does not say what the same change of pixels "
                f"is: {change} is not of one node with the grid of the data, "
                f"{shape[1:]}. Give it as pixels=, such as Stretch(1.5)."
            )
        return found[0]

    def _asked(self, estimator, change, X, real):
        """Images without the change and with it, which share their noise."""
        query = self._query(estimator, change, X, len(real))
        query["random_state"], shape = self.random_state, real.shape[1:]
        if "X" in query:
            rows = rows_under(estimator, change, **query)
            return real, _as_images(estimator, rows, shape)
        query |= {"return_factual": True, "observation_noise": False}
        both = rows_under(estimator, change, **query)
        return tuple(_as_images(estimator, rows, shape) for rows in both)


def _image_shape(generator):
    """Shape (height, width, channels) of the images that a generator was fitted to."""
    layout = generator.space_.layout
    shape = None if layout is None else layout.data_shape
    if shape is None or len(layout.node_shape) != 3:
        raise ValueError(
            "The appearance scorer is about parts of images, (height, width) or "
            f"(height, width, channels), but this {type(generator).__name__} has "
            f"data_shape={shape}. Of tables and signals use make_extrapolation_scorer."
        )
    return (*shape, 1)[:3]


def _as_images(estimator, rows, shape):
    return np.asarray(estimator.space_.numeric(rows), float).reshape(-1, *shape)


def _as_maps(images):
    """Tensor (n, channels, height, width)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def _changed(change, images):
    """Images (n, height, width, channels) under an intervention on maps."""
    maps = _as_maps(images)
    change.check("data", tuple(maps.shape[1:]), "map")
    return np.moveaxis(applied(change, maps).numpy(), 1, -1)


def _background(images):
    """Colour of each image's border, (n, 1, 1, channels): the median there."""
    edges = [images[:, [0, -1]], images[:, :, [0, -1]].swapaxes(1, 2)]
    border = np.concatenate([e.reshape(len(e), -1, e.shape[-1]) for e in edges], 1)
    return np.median(border, axis=1)[:, None, None]


def _blurred(images, sd):
    """Energy that stands out of the background, (n, height, width), blurred.

    Squares of all channels: what is faint but wide, such as a shaded background, would
    else weigh as much as parts do.
    """
    energy = np.square(images - _background(images)).sum(-1)
    return gaussian_filter(energy, (0, sd, sd), mode="constant")


def _of_mass_one(images, usual):
    """Images over their mass; fainter ones than usual stay faint."""
    mass = np.maximum(images.sum((1, 2)), FAINT * usual)
    return images / mass[:, None, None]


def make_appearance_scorer(
    interventions,
    *,
    pixels=None,
    observational=None,
    predict="auto",
    residual="drop",
    patch_size=7,
    blur=None,
    n_samples=500,
    random_state=0,
):
    r"""Make a scorer of parts of images that move, which needs no environment.

    Parameters
    ----------
    interventions : dict of str to dict, or dict of str to intervention
        ``{name: {node: intervention}}``, or one ``{node: intervention}``, as
        `intervene` takes it, at the strengths that are of interest.
    pixels : intervention, or dict of str to intervention, default=None
        The same change, made to the image: for all names, or by name. None is the
        intervention itself, if its node has the image's grid or it means the same on
        every grid (``Stretch``, ``Rotate``, ``Flip``).
    observational : label or list of labels, default=None
        Environment(s) whose rows are looked at; None takes all rows.
    predict : {"auto", "rows", "draws"}, default="auto"
        Whether given rows are changed, which is the default of a generator that
        explains them, or draws.
    residual : {"drop", "keep"}, default="drop"
        Of given rows, as `intervene` takes it. The better of both tells which to ask
        for: what is kept of parts that moved is seen where they were.
    patch_size : int, default=7
        Side of a patch in pixels, less than a part's.
    blur : float, default=None
        Standard deviation of the blur, in shares of the shorter side of an image;
        None is 1 / 8.
    n_samples : int, default=500
        Rows at most.
    random_state : int, RandomState or None, default=0
        Of rows, patches and draws; the same for every candidate by default.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None, *, environments=None)``: ``1 - motion -
        appearance``, averaged over the changes. Its ``score_components_`` are both
        halves of the last score, and ``components(estimator, X, y)`` gives them.

    Raises
    ------
    ValueError
        When scoring: for tables and signals, a node that the model lacks or that the
        change does not fit, patches larger than the image, images of one colour, and
        changes of which nothing can be seen.

    See Also
    --------
    make_extrapolation_scorer : What an environment says, which assumes nothing.
    sklearn_icm.independence.PatchDistribution : The distance behind "appearance".

    Notes
    -----
    With rows x, what the model predicts of them :math:`\hat x`, the same change of
    their pixels s, a blur B, and the energy distance ED of patches,

    .. math:: \text{motion} = \frac{\sum |B \hat x - B s|^2}{\sum |B x - B s|^2},
              \qquad
              \text{appearance} = \frac{ED(\hat x, x)}{ED(s, x)}.

    From afar parts should be where their pixels go; close by they should look as parts
    of the data do. Rows as they are have motion 1 and appearance 0, changed pixels 0
    and 1: both score 0. 1 is exact. What is blurred is the energy of what stands out
    of the colour of an image's border, in units of its mass, so that neither the scale
    nor the offset of images counts, nor that stretched parts have more mass.

    Several starts of one model are a search over ``random_state``; with ``cv=[(rows,
    rows)]``, all rows twice, the refit is what was scored. Of three starts of
    `parts_decoder` it took the best for pairs of digits in three of three data sets:
    error .292 at a stretch of 1.5, where a single one has .351 on average and that of
    the least training loss .340 (faces: .007, .011, .009).

    It *assumes* that parts keep their appearance, which the observational rows cannot
    tell: in a world whose parts are stretched with their places it prefers, wrongly,
    a model that keeps them. Rows of an environment can tell, by
    :func:`make_extrapolation_scorer`. Nor does it see which part is where, if parts
    are as bright as each other, nor shifts that are small for the blur.

    References
    ----------
    Besserve, Sun, Janzing, Schölkopf (2021), *A theory of independent mechanisms for
    extrapolation in generative models*, arXiv 2004.00184: that replacing a map by its
    stretched version leaves local statistics as they are. The score is this package's.

    Examples
    --------
    >>> from sklearn_icm.interventions import Stretch
    >>> make_appearance_scorer({"conv2": Stretch(1.5)})
    make_appearance_scorer(interventions={'conv2': Stretch(factor=1.5, axis=None)},
    pixels=None, observational=None, predict='auto', residual='drop', patch_size=7,
    blur=None, n_samples=500, random_state=0)
    """
    for name, change in name_changes(interventions).items():
        if any(hasattr(value, "draw") for value in change.values()):
            raise TypeError(
                f"interventions[{name!r}] must be of fixed strengths, got {change!r}. "
                "Give members of the family, such as Stretch(1.25) and Stretch(1.5)."
            )
    check_choice("predict", predict, PREDICT)
    check_choice("residual", residual, ("keep", "drop"))
    if not is_count(patch_size, 2):
        raise ValueError(f"patch_size must be an int >= 2, got {patch_size!r}.")
    if blur is not None and not (isinstance(blur, Real) and 0 < blur < np.inf):
        raise ValueError(f"blur must be None or a positive number, got {blur!r}.")
    if not is_count(n_samples, 4):
        raise ValueError(f"n_samples must be an int >= 4, got {n_samples!r}.")
    return AppearanceScorer(
        "make_appearance_scorer",
        interventions=dict(interventions),
        pixels=pixels,
        observational=observational,
        predict=predict,
        residual=residual,
        patch_size=patch_size,
        blur=blur,
        n_samples=n_samples,
        random_state=random_state,
    )
