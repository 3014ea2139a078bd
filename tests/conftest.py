import os

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from hypothesis import settings

from sklearn_icm.datasets import make_glyph_pairs
from sklearn_icm.generators import VAEGenerator

# Doctests import every module: a job then runs, and interventions have two homes.
collect_ignore_glob = ["jobs/*", "toy_*.py", "second_device.py"]

# Here one thread is many times faster than two.
torch.set_num_threads(1)
settings.register_profile("default", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("default")


def pytest_collection_modifyitems(items):
    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        skip = pytest.mark.skip(reason="needs CUDA or MPS, of which there is none here")
        for item in items:
            if item.get_closest_marker("device"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def pairs():
    return make_glyph_pairs(200, random_state=0)


@pytest.fixture(scope="session")
def fitted(pairs):
    """A convolutional model of the narrow pairs. Tests must not change it."""
    return VAEGenerator(
        data_shape=pairs.data_shape,
        hidden=(8, 4),
        observational="narrow",
        max_epochs=8,
        random_state=0,
    ).fit(pairs.data, pairs.environments)
