"""A flame graph as a static SVG: readable in a saved notebook, without scripts or style sheets.

The outermost code is at the top. Exact numbers are in the title of each box. The colours are those
of JupyterLab's theme where the page has them; else those of a light page.
"""

from __future__ import annotations

from typing import Any

from asyncnb._core.base.text import duration, escape_control_chars, truncate
from asyncnb._core.profiling.counts import Node

WIDTH = 960
_ROW = 19
_CHAR = 6.3
#: Boxes that are less wide than this are left out, and boxes of deeper rows.
_LEAST, _MAX_DEPTH, _MAX_BOXES = 0.8, 60, 3000

#: The colour of each kind of box, which every theme can be read with: dark text on light ground.
FILLS = {"all": "#d0d7de", "task": "#f2cc8f", "place": "#f4a582", "wait": "#92c5de"}
FILL_OF_CELL = "#ffd966"


def svg(root: Node, title: str, total: float) -> str:
    """Return the flame graph of ``root``; ``total`` is the seconds that shares are of."""
    boxes: list[str] = []
    depth = _draw(root, 0.0, WIDTH / root.seconds if root.seconds else 0.0, total, boxes)
    height = _ROW * (depth + 1)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" style="max-width:100%;height:auto" '
            'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="10.5">',
            f"<title>{escape(title)}</title>",
            *boxes,
            "</svg>",
        ]
    )


def _draw(root: Node, left: float, scale: float, total: float, boxes: list[str]) -> int:
    """Draw ``root`` and what is below it; return the depth of the deepest row."""
    deepest = 0
    todo = [(root, left, 0)]
    for node, x, depth in todo:  # by rows: the outermost are drawn even where there are too many
        wide = node.seconds * scale
        if wide < _LEAST or depth > _MAX_DEPTH or len(boxes) >= _MAX_BOXES:
            continue
        deepest = max(deepest, depth)
        boxes.append(_box(node, x, depth * _ROW, wide, total))
        for child in node.sorted():
            todo.append((child, x, depth + 1))
            x += child.seconds * scale
    return deepest


def _box(node: Node, x: float, y: float, wide: float, total: float) -> str:
    name = escape_control_chars(node.name)
    percent = 100 * node.seconds / total if total else 0.0
    details = [f"{name}: {percent:.1f} %, {duration(node.seconds, fine=True)}"]
    if node.at is not None and node.at.source and node.at.source not in name:
        details.append(escape_control_chars(node.at.source))
    most = int((wide - 6) / _CHAR)
    words = ""
    if most >= 3:
        shown = escape(truncate(name, most))
        words = f'<text x="{x + 3:.1f}" y="{y + 13}" fill="#1f2328">{shown}</text>'
    return (
        f"<g><title>{escape(chr(10).join(details))}</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{max(wide - 0.6, 0.4):.1f}" height="{_ROW - 1}" rx="2" '
        f'fill="{fill(node)}"/>{words}</g>'
    )


def fill(node: Node) -> str:
    """Return the colour of a box: code of a cell differs from that of a library."""
    if node.at is not None and node.at.where.startswith("In["):
        return FILL_OF_CELL
    return FILLS[node.kind]


def escape(words: str) -> str:
    """Escape text for use between tags, without the characters that XML does not allow."""
    words = "".join(c for c in words if c == "\n" or _allowed(c))
    return (
        words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )


def _allowed(char: str) -> bool:
    return char.isprintable() and not 0xD800 <= ord(char) <= 0xDFFF


def as_data(node: Node) -> dict[str, Any]:
    """Return the tree as plain data for the widget, without boxes that cannot be seen."""
    least = node.seconds / 5000

    def walk(node: Node, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {
            "n": escape_control_chars(node.name),
            "s": node.seconds,
            "f": fill(node),
        }
        if node.at is not None and node.at.source:
            data["t"] = escape_control_chars(node.at.source)
        if depth < _MAX_DEPTH:
            children = [walk(c, depth + 1) for c in node.sorted() if c.seconds >= least]
            if children:
                data["c"] = children
        return data

    return walk(node, 0)
