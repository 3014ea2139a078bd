"""Proteins of single cells, with and without interventions on the pathway."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

__all__ = ["load_sachs"]

FILES = ("sachs.csv.gz", "sachs.csv")
COLUMNS = [
    *("praf", "pmek", "plcg", "PIP2", "PIP3", "p44/42", "pakts473"),
    *("PKA", "PKC", "P38", "pjnk"),
]
EDGES = [
    *(("plcg", "PIP2"), ("PIP2", "PIP3"), ("PIP3", "plcg")),
    *(("plcg", "PKC"), ("PIP2", "PKC"), ("PIP3", "pakts473")),
    *(("PKC", "pjnk"), ("PKC", "P38"), ("PKC", "praf"), ("PKC", "pmek")),
    *(("PKA", "pjnk"), ("PKA", "P38"), ("PKA", "praf"), ("PKA", "pmek")),
    *(("PKA", "p44/42"), ("PKA", "pakts473"), ("praf", "pmek"), ("pmek", "p44/42")),
]
CYCLE = EDGES[:3]
TARGETS = {
    "aktinhib": "pakts473",
    "g0076": "PKC",
    "psitect": "PIP2",
    "u0126": "pmek",
    "ly294002": "PIP3",
}


def load_sachs(data_home=None):
    """Load the protein signalling data of Sachs et al.; nothing is ever downloaded.

    Eleven phosphorylated proteins and phospholipids, measured in single human T cells
    under nine conditions.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder of ``sachs.csv.gz`` or ``sachs.csv``, a table with a column
        ``condition`` and one column per molecule: praf, pmek, plcg, PIP2, PIP3,
        p44/42, pakts473, PKA, PKC, P38 and pjnk, as measured (raw). None:
        scikit-learn's data home.

    Returns
    -------
    Bunch
        ``data`` DataFrame (n_cells, 11) of the natural logarithms of the raw values;
        ``environments`` condition of every cell; ``feature_names``; ``edges``, the 18
        consensus edges; ``cycle``, the three of them that make one; ``targets``, the
        molecule that each of five inhibitors acts on; ``graphs``, for each of these
        conditions, the edges without the one of the cycle that is to be cut.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file has other columns, missing values, or values that are not positive.

    Notes
    -----
    "cd3cd28" is the observational condition. The consensus graph contains the cycle
    plcg -> PIP2 -> PIP3 -> plcg. It is cut at the edge into the target, which an
    intervention cuts anyhow; into PIP2 if the target is not in the cycle. (Of PIP2 and
    PIP3, the literature has both directions.)

    Of the five, only psitect is a fair test of a graph: under aktinhib nothing is
    downstream of the target, under g0076 all columns move, and under u0126 mostly those
    that are not downstream.

    References
    ----------
    Sachs, Perez, Pe'er, Lauffenburger, Nolan (2005), *Causal protein-signaling networks
    derived from multiparameter single-cell data*, Science 308.

    Examples
    --------
    >>> load_sachs("/no/such/folder")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no sachs.csv.gz or sachs.csv in /no/such/folder...
    """
    home = Path(get_data_home() if data_home is None else data_home).expanduser()
    path = next((home / name for name in FILES if (home / name).exists()), None)
    if path is None:
        raise FileNotFoundError(
            f"There is no {' or '.join(FILES)} in {home}. The data of Sachs et al. "
            "(2005) are not bundled, as no licence is known: give the folder of a "
            f"table with the columns ['condition', {str(COLUMNS)[1:]} as data_home."
        )
    table = pd.read_csv(path)
    wrong = set(table.columns) ^ {"condition", *COLUMNS}
    if wrong:
        raise ValueError(
            f"{path} must have the columns ['condition', {str(COLUMNS)[1:]} and no "
            f"others; too many or missing are {sorted(wrong)}."
        )
    missing = table.isna().sum()
    if missing.any():
        column = missing.idxmax()
        raise ValueError(
            f"{path} must have no missing values, got {missing[column]} in the column "
            f"{column!r}. Leave out these rows."
        )
    values = table[COLUMNS].astype(np.float64)
    if not (values > 0).to_numpy().all():
        raise ValueError(
            f"{path} must hold raw values, which are positive; their logarithms are "
            "taken here."
        )
    return Bunch(
        data=np.log(values),
        environments=table["condition"].to_numpy(str),
        feature_names=list(COLUMNS),
        edges=list(EDGES),
        cycle=list(CYCLE),
        targets=dict(TARGETS),
        graphs={name: _cut_at(target) for name, target in TARGETS.items()},
        DESCR=load_sachs.__doc__,
    )


def _cut_at(target):
    """Edges without the one of the cycle that points into the target, or into PIP2."""
    into = {effect: (cause, effect) for cause, effect in CYCLE}
    cut = into.get(target, into["PIP2"])
    return [edge for edge in EDGES if edge != cut]
