import networkx
import numpy as np
import pandas as pd
import pytest

from sklearn_icm.datasets import load_sachs
from sklearn_icm.generators import GraphGenerator

CONDITIONS = ["cd3cd28", "psitect", "u0126"]


def write_cells(folder, name="sachs.csv.gz", **changes):
    """A file in the format of the data, with random numbers."""
    columns = load_columns()
    raw = np.exp(np.random.RandomState(0).randn(30, len(columns)))
    table = pd.DataFrame(raw, columns=columns)
    table.insert(0, "condition", np.repeat(CONDITIONS, 10))
    table.assign(**changes).to_csv(folder / name, index=False)
    return table


def load_columns():
    from sklearn_icm.datasets._sachs import COLUMNS

    return COLUMNS


@pytest.mark.parametrize("name", ["sachs.csv.gz", "sachs.csv"])
def test_logarithms_with_their_conditions(tmp_path, name):
    table = write_cells(tmp_path, name)
    cells = load_sachs(tmp_path)
    assert np.allclose(np.exp(cells.data), table.drop(columns="condition"))
    assert cells.environments.tolist() == table["condition"].tolist()
    assert list(cells.data) == cells.feature_names


def test_a_folder_may_start_with_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_cells(tmp_path)
    assert len(load_sachs("~").data) == 30


def test_each_graph_lacks_one_edge_of_the_only_cycle(tmp_path):
    write_cells(tmp_path)
    cells = load_sachs(tmp_path)
    assert len(set(cells.edges)) == 18
    (cycle,) = networkx.simple_cycles(networkx.DiGraph(cells.edges))
    assert set(cycle) == {cause for cause, _ in cells.cycle}
    for condition, edges in cells.graphs.items():
        target = cells.targets[condition]
        (cut,) = set(cells.edges) - set(edges)
        assert cut in cells.cycle
        assert cut[1] == (target if target in cycle else "PIP2")
        assert networkx.is_directed_acyclic_graph(networkx.DiGraph(edges))


def test_fits_a_generator(tmp_path):
    write_cells(tmp_path)
    cells = load_sachs(tmp_path)
    est = GraphGenerator(
        cells.graphs["psitect"], observational="cd3cd28", max_epochs=2, random_state=0
    ).fit(cells.data, cells.environments)
    assert est.intervene({"PIP2": -1.0}, n_samples=5).shape == (5, 11)
    with pytest.raises(ValueError, match="graph must have no cycles, got .*plcg"):
        GraphGenerator(cells.edges).fit(cells.data)


def test_what_is_expected_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="columns .'condition', 'praf'"):
        load_sachs(tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"extra": 1.0}, r"too many or missing are \['extra'\]"),
        ({"PKA": 0.0}, "must hold raw values, which are positive"),
        ({"PKA": [np.nan, *[1.0] * 29]}, "no missing values, got 1 in the .* 'PKA'"),
        ({"condition": [None, *["a"] * 29]}, "got 1 in the column 'condition'"),
    ],
)
def test_other_files_are_refused(tmp_path, changes, match):
    write_cells(tmp_path, **changes)
    with pytest.raises(ValueError, match=match):
        load_sachs(tmp_path)
