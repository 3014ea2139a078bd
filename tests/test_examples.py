"""Examples run within seconds and end by stating what was found."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").rglob("plot_*.py"))


@pytest.mark.example
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs_and_states_its_finding(path, capsys):
    assert path.read_text().count("\n") < 100
    runpy.run_path(str(path), run_name="__main__")
    plt.close("all")
    finding = capsys.readouterr().out.strip().splitlines()[-1]
    assert finding.endswith(".")
    assert len(finding) > 40


BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("[a-z]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda p: p.stem)
def test_benchmark_runs_quickly(path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [str(path), "--quick"])
    monkeypatch.syspath_prepend(str(path.parent))
    runpy.run_path(str(path), run_name="__main__")
    assert "|--" in capsys.readouterr().out
