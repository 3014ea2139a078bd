"""The guide: every code block runs in order and prints what the page says."""

import doctest
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

GUIDE = Path(__file__).parents[1] / "doc" / "guide"
PAGES = sorted(GUIDE.glob("*.rst"))
BLOCK = re.compile(r"^\.\. code-block:: (python|none)\n\n((?:    .*\n|\n)+)", re.M)
FIGURE = re.compile(r"^\.\. figure:: (\S+)\n((?:   .*\n|\n)+)", re.M)
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)


def blocks_of(text):
    """Code and, where the page shows it, what it prints."""
    found = [
        (kind, re.sub("^    ", "", code, flags=re.M))
        for kind, code in BLOCK.findall(text)
    ]
    for k, (kind, code) in enumerate(found):
        if kind == "python":
            shown = found[k + 1 : k + 2]
            yield code, shown[0][1] if shown and shown[0][0] == "none" else None


@pytest.mark.example
@pytest.mark.filterwarnings("error")
@pages
def test_code_of_a_page_runs(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for code, shown in blocks_of(page.read_text()):
        exec(compile(code, page.name, "exec"), namespace)
        printed = capsys.readouterr().out
        if shown is None:
            assert not printed, f"the page does not show {printed!r}"
            continue
        want = shown.strip() + "\n"
        assert doctest.OutputChecker().check_output(want, printed, LOOSE), printed
    plt.close("all")


@pages
def test_page_has_a_small_figure_that_says_what_it_shows(page):
    text = page.read_text()
    figures = FIGURE.findall(text)
    assert figures
    for name, options in figures:
        assert ":alt:" in options
        assert (GUIDE / name).stat().st_size < 60_000


@pages
def test_page_has_no_code_that_does_not_run(page):
    text = page.read_text()
    assert not re.findall(r"^(?!\s*\.\. ).*::$", text, re.M)
    languages = re.findall(r"\.\. code-block:: *(\S*)", text)
    assert len(languages) == len(BLOCK.findall(text))
