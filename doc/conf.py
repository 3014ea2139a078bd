"""Sphinx configuration; build with `make doc`. Nothing of it needs a network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from _pages import write_inventories
from sphinx_gallery.sorting import ExplicitOrder

from sklearn_icm import __version__

project = "sklearn_icm"
author = "the sklearn_icm developers"
release = version = __version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "numpydoc",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "auto_examples/**/GALLERY_HEADER.rst"]

autosummary_generate = True
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

# Addresses of what other projects document, by name: no inventory is fetched.
intersphinx_mapping = write_inventories(HERE / "_build" / "inventories")

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

SECTIONS = ["tables", "images", "signals", "mechanisms", "selection", "theory"]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "subsection_order": ExplicitOrder([f"../examples/{name}" for name in SECTIONS]),
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sklearn_icm",),
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_",),
    "image_srcset": ["2x"],
    "min_reported_time": 1e9,
    "reset_modules": ("matplotlib", "_pages.link_to_pages"),
    "remove_config_comments": True,
    "show_memory": False,
}
html_theme = "pydata_sphinx_theme"
html_title = "sklearn_icm"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    # None beside examples, whose code needs the width.
    "secondary_sidebar_items": {
        **dict.fromkeys(["*", "guide/**", "generated/**"], ["page-toc"]),
        "auto_examples/**": [],
    },
}
html_sidebars = {"index": []}
