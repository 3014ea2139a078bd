"""A graph of mechanisms as a picture: nodes with their shapes, and what they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ..utils.layers import layers_of

__all__ = ["as_svg"]

# Of a node, and from one to the next, in pixels.
HEIGHT, GAP, STEP, LETTER = 42, 14, 56, 8
STYLE = 'fill="none" stroke="currentColor"'


def as_svg(
    nodes: Mapping[str, tuple[int, ...]], parents: Mapping[str, Sequence[str]]
) -> str:
    """Draw nodes from left to right, each behind its parents.

    Roots are round, the last node has a thick line; colours are those of the text.
    """
    layers = layers_of({name: parents.get(name, ()) for name in nodes})
    tallest = max(map(len, layers)) * (HEIGHT + GAP)
    left, boxes = 2, {}
    for names in layers:
        width = 16 + LETTER * max(max(len(k), len(_size(nodes[k]))) for k in names)
        top = (tallest - len(names) * (HEIGHT + GAP) + GAP) / 2
        for k, name in enumerate(names):
            boxes[name] = (left, top + k * (HEIGHT + GAP), width)
        left += width + STEP
    edges = [
        _edge(boxes[parent], boxes[name])
        for name, read in parents.items()
        for parent in read
    ]
    drawn = [
        _box(name, nodes[name], boxes[name], name in parents, name == [*nodes][-1])
        for name in nodes
    ]
    return (
        f'<div style="overflow-x: auto"><svg width="{left - STEP + 2}" '
        f'height="{tallest}" font-family="sans-serif" font-size="13" '
        'fill="currentColor" role="img" aria-label="graph of mechanisms">'
        f"{''.join(edges + drawn)}</svg></div>"
    )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _box(
    name: str,
    shape: tuple[int, ...],
    box: tuple[float, float, float],
    is_made: bool,
    is_last: bool,
) -> str:
    x, y, width = box
    middle, corner = x + width / 2, 4 if is_made else HEIGHT / 2
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="{corner}" '
        f'{STYLE} stroke-width="{2.5 if is_last else 1}"/>'
        f'<text x="{middle}" y="{y + 17}" text-anchor="middle" font-weight="bold">'
        f"{escape(name)}</text>"
        f'<text x="{middle}" y="{y + 34}" text-anchor="middle" opacity="0.75">'
        f"{_size(shape)}</text>"
    )


def _edge(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    x, y = start[0] + start[2], start[1] + HEIGHT / 2
    to_x, to_y = end[0], end[1] + HEIGHT / 2
    # Past the layers between, an edge runs below them, and is paler.
    sag, opacity = (0, 0.75) if to_x - x <= STEP else (HEIGHT, 0.35)
    bend = f"{x + STEP / 2},{y + sag} {to_x - STEP / 2},{to_y + sag} {to_x - 6},{to_y}"
    head = f"M{to_x - 8},{to_y - 4} L{to_x},{to_y} L{to_x - 8},{to_y + 4} Z"
    return (
        f'<path d="M{x},{y} C{bend}" {STYLE} opacity="{opacity}"/>'
        f'<path d="{head}" opacity="0.75"/>'
    )
