"""Drawn figures of the guide: diagrams, and the years of the bibliography."""

import re
from pathlib import Path

import matplotlib.pyplot as plt

from .style import BLUE, GREEN, ORANGE

PALE = {"question": "#E8EEF4", "answer": "#FFF4DC"}


def box(ax, x, y, text, kind="answer"):
    """Draw a box; it is returned, for arrows between boxes."""
    edge = BLUE if kind == "question" else ORANGE
    shape = {"boxstyle": "round,pad=0.45", "facecolor": PALE[kind], "edgecolor": edge}
    return ax.text(
        x, y, text, ha="center", va="center", fontsize=8.5, bbox=shape, zorder=3
    )


def edge(shape, towards):
    """Where the line from the middle of a box towards a point leaves it."""
    ax, (x, y) = shape.axes, shape.get_position()
    bounds = shape.get_bbox_patch().get_window_extent()
    bounds = bounds.transformed(ax.transData.inverted())
    dx, dy = towards[0] - x, towards[1] - y
    share = min(
        (bounds.width / 2) / max(abs(dx), 1e-9),
        (bounds.height / 2) / max(abs(dy), 1e-9),
    )
    return x + share * dx, y + share * dy


def arrow(start, end, text="", at=0.5):
    """Draw an arrow between the edges of two boxes, with a word at a share of it."""
    ax = start.axes
    ax.figure.canvas.draw()  # boxes have their size once they are drawn
    x0, y0 = edge(start, end.get_position())
    x1, y1 = edge(end, start.get_position())
    style = {"arrowstyle": "-|>", "color": "0.35", "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (x1, y1), (x0, y0), arrowprops=style, zorder=1)
    if text:
        white = {"facecolor": "w", "edgecolor": "none", "pad": 1}
        place = x0 + at * (x1 - x0), y0 + at * (y1 - y0)
        ax.text(
            *place, text, fontsize=8, ha="center", va="center", zorder=2, bbox=white
        )


def canvas(width, height, size):
    figure, ax = plt.subplots(figsize=size)
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return figure, ax


def which():
    figure, ax = canvas(10, 10, (8.2, 5.4))
    known = box(
        ax, 4.6, 9.6, "Are the mechanisms known,\nor trained elsewhere?", "question"
    )
    fixed = box(ax, 8.6, 9.6, "FixedGenerator")
    row = box(ax, 4.6, 7.8, "What is a row?", "question")
    graph = box(ax, 1.6, 5.9, "Do you know\nwhat causes what?", "question")
    chain = box(ax, 4.6, 5.6, "ChainGenerator")
    change = box(ax, 7.9, 5.9, "What is to be changed?", "question")
    blind = box(ax, 0.65, 3.7, "VAEGenerator\n(samples;\nno effects)")
    common = box(ax, 2.6, 3.7, "Are all common\ncauses columns?", "question")
    hidden = box(ax, 1.6, 1.8, "GraphGenerator(\nunobserved=...)")
    table = box(ax, 4.2, 1.8, "GraphGenerator")
    parts = box(ax, 5.6, 3.5, "VAEGenerator(\nparts_decoder)")
    maps = box(ax, 7.6, 1.8, "VAEGenerator(\nmap_decoder, a penalty)")
    other = box(ax, 9.3, 3.5, "VAEGenerator(\ndata_shape)")
    box(
        ax,
        4.9,
        0.3,
        "around any of them: GenerativePipeline (scalers), "
        "BootstrapGenerator (intervals), GridSearchCV (choices)",
    )
    for start, end, text in (
        (known, fixed, "yes"),
        (known, row, "no"),
        (row, graph, "columns"),
        (row, chain, "a linear\nchain"),
        (row, change, "an image\nor signal"),
        (graph, blind, "no"),
        (graph, common, "yes"),
        (common, hidden, "no"),
        (common, table, "yes"),
        (change, parts, "places of parts\nthat keep their look"),
        (change, maps, "what moves\non a map"),
        (change, other, "anything else"),
    ):
        arrow(start, end, text)
    return figure


def glossary():
    figure, ax = canvas(12, 4, (8, 2.5))
    names = ("noise", "node 1", "node 2", "data")
    nodes = [
        box(ax, x, 2, n, "question")
        for x, n in zip((1, 4.2, 7.4, 10.6), names, strict=True)
    ]
    for k in range(3):
        arrow(nodes[k], nodes[k + 1], f"$f_{k + 1}$")
    orange = {"ha": "center", "va": "center", "fontsize": 8.5, "color": ORANGE}
    ends = {"arrowstyle": "-|>", "color": ORANGE}
    text = "intervention:\nnode 1 becomes g(node 1)"
    ax.annotate(text, (4.2, 2.4), (4.2, 3.5), arrowprops=ends, **orange)
    ax.text(2.6, 1.4, "a mechanism", ha="center", fontsize=8.5, color=BLUE)
    ax.annotate("", (11.4, 0.75), (4.2, 0.75), arrowprops=ends)
    ax.text(7.8, 1.05, "downstream: what changes", **orange)
    ax.annotate("", (0.4, 0.2), (11.4, 0.2), arrowprops=ends | {"color": GREEN})
    ax.text(
        6, 0.45, "abduction: the noise behind given rows", **orange | {"color": GREEN}
    )
    ax.text(10.6, 3.1, "fit compares this\nwith the rows", **orange | {"color": "k"})
    return figure


def authors():
    figure, ax = canvas(12, 5, (8, 3))
    estimator = box(ax, 1.7, 4, "estimator\nmodel_class, _build(space)", "question")
    model = box(ax, 6.2, 4, "model (GenerativeModel)\nloss_terms(batch)", "question")
    graph = box(ax, 10.5, 4, "MechanismGraph\nnoise to data", "question")
    penalty = box(ax, 1.6, 1, "penalty\n__call__(step)")
    change = box(ax, 5.0, 1, "Intervention\n__call__(value, here)")
    measure = box(ax, 8.0, 1, "Measure\nratio, null_draws")
    mechanism = box(ax, 10.9, 1, "mechanism\nany module")
    arrow(estimator, model, "makes")
    arrow(model, graph, "has")
    arrow(penalty, model, "is added to")
    arrow(change, graph, "changes")
    arrow(measure, graph, "asks")
    arrow(mechanism, graph, "is part of")
    return figure


def bibliography():
    text = (Path(__file__).parents[1] / "bibliography.rst").read_text()
    rows, years = [], []
    for title, part in re.findall(
        r"\n([A-Z].*)\n-+\n((?:.*\n)+?)(?=\n[A-Z].*\n-+\n|\Z)", text
    ):
        rows.append(title)
        years.append([int(y) for y in re.findall(r"^- .*?\((\d{4})\)", part, re.M)])
    figure, ax = plt.subplots(figsize=(7.2, 2.6), layout="constrained")
    for row, found in enumerate(years):
        seen = {}
        for year in sorted(found):
            seen[year] = seen.get(year, -1) + 1
            ax.plot(
                year, row - 0.16 * seen[year], "o", color=BLUE, markersize=6, alpha=0.85
            )
    ax.set(yticks=range(len(rows)), yticklabels=rows, xlabel="year of publication")
    ax.invert_yaxis()
    ax.grid(axis="x", color="0.9")
    return figure
