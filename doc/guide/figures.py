"""Make figures of the guide: ``python doc/guide/figures.py [--out DIR] [NAME ...]``.

All are computed by the package from seeds, but for diagrams (`drawings`) and what is
copied from ``benchmarks/RESULTS.md`` (`peers`), which says so. It takes minutes.
"""

import argparse
import io
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from _figures import drawings, images, tables, theory
from _figures.style import STYLE

FIGURES = {
    drawings: ("which", "glossary", "authors", "bibliography"),
    tables: (
        "getting_started",
        "assumptions",
        "counterfactuals",
        "tables",
        "hidden_causes",
        "environments",
        "uncertainty",
        "pipelines",
        "pitfalls",
        "peers",
    ),
    images: ("interventions", "images", "signals", "decoders", "practice", "scoring"),
    theory: ("independence", "theory", "chains", "identifiability"),
}


def save(figure, path):
    """Write a PNG of few colours, which is small and the same wherever it is made."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", pad_inches=0.1)
    plt.close("all")
    colours = Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    colours.save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="all by default")
    parser.add_argument("--out", type=Path, default=HERE / "figures")
    asked = parser.parse_args()
    asked.out.mkdir(exist_ok=True)
    plt.switch_backend("agg")
    # Answers beyond the rows, and models that leave much of one, are what some show.
    warnings.simplefilter("ignore", UserWarning)
    for module, names in FIGURES.items():
        for name in names:
            if not asked.names or name in asked.names:
                with plt.rc_context(STYLE):
                    save(getattr(module, name)(), asked.out / f"{name}.png")


if __name__ == "__main__":
    main()
