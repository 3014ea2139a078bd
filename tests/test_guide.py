"""The guide: every code block runs in order and prints what the page says."""

import doctest
import re
import runpy
import sys
from pathlib import Path

import matplotlib
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


def run_figures(monkeypatch, *arguments):
    script = GUIDE / "figures.py"
    monkeypatch.setattr("sys.argv", [str(script), *map(str, arguments)])
    monkeypatch.setattr("sys.path", list(sys.path))
    with matplotlib.rc_context():
        return runpy.run_path(str(script), run_name="__main__")


def test_script_makes_every_figure(tmp_path, monkeypatch):
    made = run_figures(monkeypatch, "--out", tmp_path, "glossary")["FIGURES"]
    named = {f"figures/{name}.png" for names in made.values() for name in names}
    assert named == {
        name for page in PAGES for name, _ in FIGURE.findall(page.read_text())
    }
    assert [path.name for path in tmp_path.iterdir()] == ["glossary.png"]


@pytest.mark.slow
def test_figures_can_be_made_anew(tmp_path, monkeypatch):
    run_figures(monkeypatch, "--out", tmp_path)
    kept = {path.name for path in (GUIDE / "figures").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == kept
