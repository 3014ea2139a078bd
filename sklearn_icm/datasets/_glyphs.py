"""Small real images from data sets that are already on this machine."""

import gzip
import struct
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_olivetti_faces, get_data_home, load_digits

from ..utils.checks import check_choice

__all__ = ["load_glyphs"]

FASHION_HOME = "/usr/share/datasets/fashion-mnist"
FASHION_FILE = "train-images-idx3-ubyte.gz"


def load_glyphs(name="digits", data_home=None):
    """Load small grey images in [0, 1]; nothing is ever downloaded.

    Parameters
    ----------
    name : {"digits", "fashion-mnist", "olivetti"}
        scikit-learn's digits (8 x 8), Fashion-MNIST averaged to 14 x 14, or the
        Olivetti faces averaged to 16 x 16.
    data_home : path-like, default=None
        Folder of Fashion-MNIST's files (None: where Debian's package puts them) or of
        scikit-learn's Olivetti cache (None: scikit-learn's data home).

    Returns
    -------
    ndarray of shape (n_images, height, width)

    Raises
    ------
    FileNotFoundError
        If the data set is not there; the message says how to get it.
    """
    loaders = {
        "digits": lambda data_home: load_digits().images / 16,
        "fashion-mnist": _load_fashion_mnist,
        "olivetti": _load_olivetti,
    }
    check_choice("name", name, loaders)
    return loaders[name](data_home)


def _load_fashion_mnist(data_home):
    path = Path(data_home or FASHION_HOME) / FASHION_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"Fashion-MNIST was not found at {path}. On Debian or Ubuntu install the "
            "package dataset-fashion-mnist (apt install dataset-fashion-mnist), or "
            f"give the folder that holds {FASHION_FILE} as data_home."
        )
    with gzip.open(path) as file:
        _, n, height, width = struct.unpack(">4i", file.read(16))
        images = np.frombuffer(file.read(), dtype=np.uint8)
    return _averaged(images.reshape(n, height, width) / 255.0, 2)


def _load_olivetti(data_home):
    try:
        faces = fetch_olivetti_faces(data_home=data_home, download_if_missing=False)
    except OSError as error:
        home = get_data_home() if data_home is None else data_home
        raise FileNotFoundError(
            f"The Olivetti faces are not in scikit-learn's cache at {home} "
            "(olivetti_py3.pkz). Fetch them once with "
            "sklearn.datasets.fetch_olivetti_faces(), which downloads 4 MB, or give "
            "the folder that holds the file as data_home."
        ) from error
    return _averaged(faces.images.astype(np.float64), 4)


def _averaged(images, block):
    n, height, width = images.shape
    blocks = images.reshape(n, height // block, block, width // block, block)
    return blocks.mean(axis=(2, 4))
