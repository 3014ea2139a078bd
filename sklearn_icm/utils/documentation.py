"""Where the page of an estimator is, which its HTML links to."""

from pathlib import Path

__all__ = ["DocumentedMixin"]

# Of all pages; None takes those that `make doc` has built in a checkout, if it has.
ADDRESS = None
BUILT = Path(__file__).parents[2] / "doc" / "_build" / "html"


class DocumentedMixin:
    """Mixin of estimators whose HTML links to their own page, not scikit-learn's."""

    _doc_link_module = __name__.split(".")[0]

    @property
    def _doc_link_template(self):
        root, package, *_ = type(self).__module__.split(".")
        page = f"generated/{root}.{package}.{type(self).__name__}.html"
        if ADDRESS is not None:
            return ADDRESS + page
        return (BUILT / page).as_uri() if (BUILT / page).exists() else ""
