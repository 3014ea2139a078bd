"""The README's examples run, in order, as they stand."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.example
def test_examples_of_the_readme_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) == 5
    namespace = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    shown = capsys.readouterr().out
    assert "conv1 -> conv2" in shown
    assert "icm_weight" in shown
    # The first two blocks answer as their comments say.
    low, high = map(float, re.search(r"interval (\S+) to (\S+) ", shown).groups())
    assert low < -1 < high
    slope, error, *_ = map(float, re.findall(r"^-?\d[\d.e-]*$", shown, re.M))
    assert abs(slope) < 0.2
    assert error < 0.05
    assert "most affected: Rows move by" in shown
    assert namespace["search"].best_score_ > 0
    assert namespace["mine"].shape == (5, 64)
    assert "Fitted to all rows, stretch_width at" in shown
