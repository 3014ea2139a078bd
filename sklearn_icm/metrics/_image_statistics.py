"""Distances of images as seen close by (patches) and from afar (layout)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.preprocessing import normalize

from ..independence._contrasts import energies
from ..utils.checks import is_count
from ._distances.pairwise import energy_distance
from ._inputs import check_integer, check_samples, direction_stream

__all__ = ["layout_distance", "patch_distance"]


def patch_distance(
    X_real,
    X_gen,
    data_shape,
    *,
    size=4,
    n_patches=2000,
    normalise=False,
    random_state=None,
):
    r"""Energy distance between small patches of two samples of images: their texture.

    Parameters
    ----------
    X_real : array-like of shape (n, n_features)
        Images as rows, C order.
    X_gen : array-like of shape (m, n_features)
    data_shape : tuple of int
        Shape of a row: ``(height, width)`` or ``(height, width, channels)``.
    size : int
        Side of a patch in pixels, at least 2.
    n_patches : int
        Patches drawn from each sample, at least 2.
    normalise : bool
        Scale patches to unit norm, so that contrast does not count, only what is drawn
        with it. (Patches without contrast stay 0.)
    random_state : int, RandomState or None
        Of the places of the patches. None is a fixed stream.

    Returns
    -------
    float
        Unbiased energy distance of vectors of ``size * size * channels`` values, in the
        unit of the features, or without unit if normalised; about 0 for equal
        distributions, and maybe below.

    Raises
    ------
    ValueError
        If the samples have different columns, do not fit `data_shape`, or have values
        that are not finite, or if a parameter is out of range.

    See Also
    --------
    layout_distance : What the images look like from afar.

    Notes
    -----
    A patch is drawn, with replacement, from all places of all images of a sample with a
    probability proportional to its variance (summed over channels), so that an empty
    background does not count; then the mean of each channel is taken away. Parts that
    move as they are so leave the distribution of patches alone, as long as they stay
    `size` pixels apart and from the border, and stretching pixels does not. Patches of
    images without contrast are 0.

    References
    ----------
    Székely, Rizzo (2013), *Energy statistics: a class of statistics based on
    distances*, Journal of Statistical Planning and Inference 143. That hidden maps be
    stretched while local statistics stay is from Besserve, Sun, Janzing, Schölkopf
    (2021), *A theory of independent mechanisms for extrapolation in generative models*,
    arXiv 2004.00184.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.RandomState(0).rand(20, 64)
    >>> patch_distance(X, X + 1, (8, 8)) < 0.01 < patch_distance(X, 2 * X, (8, 8))
    True
    """
    real, gen = _check_images(X_real, X_gen, data_shape)
    _check_side("size", size, 2, real)
    check_integer("n_patches", n_patches, least=2)
    stream = direction_stream(random_state)
    patches = [_draw_patches(images, size, n_patches, stream) for images in (real, gen)]
    if normalise:
        patches = [normalize(p) for p in patches]
    # As penalties compare patches, but in float64.
    distance, _ = energies(*(torch.from_numpy(p).double() for p in patches))
    return float(distance)


def layout_distance(X_real, X_gen, data_shape, *, n_blocks=4):
    """Energy distance between coarse versions of images: where what is.

    Parameters
    ----------
    X_real, X_gen, data_shape
        As :func:`patch_distance` takes them; at least two rows of each.
    n_blocks : int
        Blocks along each axis; images are averaged over each block. Sides of blocks
        differ by at most a pixel.

    Returns
    -------
    float
        Unbiased energy distance of vectors of ``n_blocks * n_blocks * channels``
        means, in the unit of the features; about 0 for equal distributions, and maybe
        below.

    Raises
    ------
    ValueError
        If the samples have different columns, too few rows, do not fit `data_shape`,
        or have values that are not finite, or if `n_blocks` is out of range.

    See Also
    --------
    patch_distance : What the images look like close by.

    Examples
    --------
    >>> import numpy as np
    >>> left = np.zeros((50, 16, 16))
    >>> left[:, 6:10, 4:6] = np.random.RandomState(0).rand(50, 4, 2)
    >>> right = np.roll(left, 6, axis=2)
    >>> X, Y = left.reshape(50, -1), right.reshape(50, -1)
    >>> layout_distance(X, Y, (16, 16)) > 0.1 > 10 * patch_distance(X, Y, (16, 16))
    True
    """
    real, gen = _check_images(X_real, X_gen, data_shape)
    _check_side("n_blocks", n_blocks, 1, real)
    return energy_distance(*(_block_means(images, n_blocks) for images in (real, gen)))


def _check_images(X_real, X_gen, data_shape):
    """Both samples as arrays (n, height, width, channels)."""
    X_real, X_gen = check_samples(X_real, X_gen)
    shape = tuple(data_shape) if isinstance(data_shape, Sequence) else ()
    whole = all(map(is_count, shape))
    if not whole or len(shape) not in (2, 3):
        raise ValueError(
            "data_shape must be (height, width) or (height, width, channels) of "
            f"positive ints, got {data_shape!r}."
        )
    if np.prod(shape) != X_real.shape[1]:
        raise ValueError(
            f"data_shape={shape} has {np.prod(shape)} entries, but the samples have "
            f"{X_real.shape[1]} features. Give the shape of one row."
        )
    shape = (*shape, 1)[:3]
    return X_real.reshape(-1, *shape), X_gen.reshape(-1, *shape)


def _check_side(name, value, smallest, images):
    """An int that does not exceed either side of the images."""
    check_integer(name, value)
    height, width = images.shape[1:3]
    if not smallest <= value <= min(height, width):
        raise ValueError(
            f"{name} must be from {smallest} to the shorter side of the images, "
            f"{min(height, width)}, got {value}."
        )


def _draw_patches(images, size, n_patches, stream):
    """Patches (n_patches, size * size * channels), their means taken away."""
    windows = _windows(images, size)
    variances = _window_variances(images, size)
    total = variances.sum()
    weights = variances.ravel() / total if total else None
    places = stream.choice(variances.size, n_patches, p=weights)
    patches = windows[np.unravel_index(places, variances.shape)]
    # First relative to a pixel, so that the mean of equal pixels is exact.
    patches = patches - patches[..., :1, :1]
    patches -= patches.mean(axis=(2, 3), keepdims=True)
    return patches.reshape(n_patches, -1)


def _windows(images, size):
    """View of shape (n, rows, columns, channels, size, size)."""
    return sliding_window_view(images, (size, size), axis=(1, 2))


def _window_variances(images, size):
    """Variance of every window, summed over channels, up to a factor.

    One pixel of all windows after the other, as views: copies of the windows would take
    ``size * size`` times the memory of the images. Squares of differences, so that
    windows without contrast have none by rounding.
    """
    images = np.divide(images, np.abs(images).max() or 1, dtype=np.float64)
    windows = np.moveaxis(_windows(images, size), (-2, -1), (0, 1))
    pixels = [pixel for row in windows for pixel in row]
    mean = pixels[0] + sum(p - pixels[0] for p in pixels) / len(pixels)
    return sum(np.square(p - mean) for p in pixels).sum(-1)


def _block_means(images, n_blocks):
    """Means over blocks, shape (n, n_blocks * n_blocks * channels)."""
    for axis in (1, 2):
        edges = np.linspace(0, images.shape[axis], n_blocks + 1).round().astype(int)
        sums = np.add.reduceat(images, edges[:-1], axis=axis, dtype=np.float64)
        images = np.moveaxis(np.moveaxis(sums, axis, -1) / np.diff(edges), -1, axis)
    return images.reshape(len(images), -1)
