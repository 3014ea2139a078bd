"""Links of these pages to others: of other projects, and of estimators' HTML."""

import zlib
from pathlib import Path

from sklearn_icm.utils import documentation

EXAMPLES = Path(__file__).parents[1] / "examples"

# Address, how a page of it is called, and names of classes and functions.
PROJECTS = {
    "sklearn": (
        "https://scikit-learn.org/stable/",
        "modules/generated/{}.html#{}",
        {
            "class": [
                "sklearn.model_selection.GridSearchCV",
                "sklearn.model_selection.KFold",
                "sklearn.pipeline.Pipeline",
                "sklearn.preprocessing.StandardScaler",
            ],
            "function": [
                "sklearn.base.clone",
                "sklearn.datasets.load_digits",
                "sklearn.model_selection.cross_val_score",
                "sklearn.pipeline.make_pipeline",
                "sklearn.utils.Bunch",
            ],
        },
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        "reference/generated/{}.html#{}",
        {
            "class": ["numpy.ndarray", "numpy.random.RandomState"],
            "function": ["numpy.linspace", "numpy.random.default_rng"],
        },
    ),
    "pandas": (
        "https://pandas.pydata.org/docs/",
        "reference/api/{}.html#{}",
        {"class": ["pandas.DataFrame", "pandas.Series"]},
    ),
    "torch": (
        "https://docs.pytorch.org/docs/stable/",
        "generated/{}.html#{}",
        {"class": ["torch.nn.Module", "torch.nn.Sequential", "torch.nn.Linear"]},
    ),
}


def write_inventories(folder):
    """Write one file per project, and return what intersphinx is to read."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, (address, page, names) in PROJECTS.items():
        lines = [
            f"{name} py:{role} 1 {page.format(name, name)} -"
            for role, members in names.items()
            for name in members
        ]
        head = "# Sphinx inventory version 2\n# Project: {}\n# Version: stable\n"
        head += "# The remainder of this file is compressed using zlib.\n"
        text = zlib.compress("\n".join([*lines, ""]).encode())
        path = folder / f"{project}.inv"
        path.write_bytes(head.format(project).encode() + text)
        mapping[project] = (address, str(path))
    return mapping


def link_to_pages(gallery, name):
    """Link the HTML of estimators to the pages beside, from the page of an example."""
    (path,) = EXAMPLES.rglob(name)
    documentation.ADDRESS = "../" * len(path.relative_to(EXAMPLES).parts)
