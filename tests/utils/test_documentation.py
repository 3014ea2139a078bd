"""HTML of estimators links to pages that the documentation has."""

import pytest
from sklearn.utils import estimator_html_repr

from sklearn_icm.generators import GraphGenerator
from sklearn_icm.utils import documentation
from sklearn_icm.utils.discovery import all_estimators


@pytest.mark.parametrize(("name", "estimator"), all_estimators())
def test_every_estimator_has_the_page_of_its_public_name(name, estimator, monkeypatch):
    monkeypatch.setattr(documentation, "ADDRESS", "https://docs/")
    package = estimator.__module__.split(".")[1]
    page = f"https://docs/generated/sklearn_icm.{package}.{name}.html"
    # Some need arguments; a link does not.
    assert estimator._get_doc_link(estimator.__new__(estimator)) == page


def test_links_are_those_of_built_pages(monkeypatch, tmp_path):
    monkeypatch.setattr(documentation, "BUILT", tmp_path)
    assert GraphGenerator()._get_doc_link() == ""
    page = tmp_path / "generated" / "sklearn_icm.generators.GraphGenerator.html"
    page.parent.mkdir()
    page.touch()
    assert page.as_uri() in estimator_html_repr(GraphGenerator())


def test_an_own_family_has_no_page_of_ours():
    own = type("Own", (GraphGenerator,), {"__module__": "somewhere"})
    assert own()._get_doc_link() == ""
