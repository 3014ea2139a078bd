"""Public docstrings are numpydoc and name every parameter."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import sklearn_icm

TOOLS = ["utils.estimator_checks", "utils.discovery"]
PUBLIC = [
    (f"{package}.{name}", value)
    for package in sklearn_icm._SUBPACKAGES
    for name in getattr(import_module(f"sklearn_icm.{package}"), "__all__", [])
    if callable(value := getattr(import_module(f"sklearn_icm.{package}"), name))
]
METHODS = [
    (f"{name}.{attribute}", member)
    for name, value in PUBLIC
    if inspect.isclass(value)
    for attribute, member in vars(value).items()
    if not attribute.startswith("_") and inspect.isfunction(member)
]


def test_the_api_page_shows_the_public_names():
    page = (Path(__file__).parents[1] / "doc" / "api.rst").read_text()
    shown = re.findall(r"^   ([\w.]+)$", page, re.M)
    public = [
        f"{package}.{name}"
        for package in (*sklearn_icm._SUBPACKAGES, *TOOLS)
        for name in getattr(import_module(f"sklearn_icm.{package}"), "__all__", [])
    ]
    assert sorted(shown) == sorted(public)


def parameters_of(value):
    signature = inspect.signature(value)
    return {p for p in signature.parameters if p not in {"self", "args", "kwargs"}}


def documented_in(text):
    """Names at the start of the lines of the Parameters section."""
    section = re.search(
        r"Parameters\n\s*-+\n(.*?)(\n\s*[A-Z]\w+\n\s*-+\n|\Z)", text, re.S
    )
    lines = section.group(1).splitlines() if section else []
    names = set()
    for line in lines:
        head = line.split(":")[0]
        if re.fullmatch(r"\s*\**\w+(,\s*\**\w+)*\s*", head):
            names |= {n.strip().lstrip("*") for n in head.split(",")}
    return names


def test_docstrings_start_with_a_sentence():
    for name, value in PUBLIC + METHODS:
        text = inspect.getdoc(value)
        assert text, name
        assert text.splitlines()[0].endswith((".", "?")), name


EXEMPT = re.compile(
    # One-line verbs of torch modules, whose parameters their class documents.
    r"mechanisms\.|models\.\w+\.|exceptions\.|utils\.|independence\.\w+\.|interventions\.\w+\."
)


def test_every_parameter_is_documented():
    for name, value in PUBLIC + METHODS:
        text = inspect.getdoc(value) or ""
        elsewhere = ("Parameters are those of", "documents the parameters")
        if not EXEMPT.match(name) and not any(words in text for words in elsewhere):
            missing = parameters_of(value) - documented_in(text)
            assert not missing, f"{name} does not document {sorted(missing)}"
