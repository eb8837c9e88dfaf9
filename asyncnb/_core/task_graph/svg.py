"""A graph of tasks as a static SVG: no scripts, no style sheet, no external resources.

A state has a sign and a word as well as a colour, a kind of edge its width and dashes.
"""

from __future__ import annotations

from asyncnb._core.base.text import count, escape_control_chars
from asyncnb._core.svg import (
    AMBER,
    BLUE,
    GREEN,
    GROUND,
    INK,
    QUIET,
    RED,
    Colour,
    document,
    paint,
    px,
    write,
)
from asyncnb._core.task_graph.data import KINDS, Graph, Node
from asyncnb._core.task_graph.layout import Layout, layout

#: The sign and the colour of each state: those of ``%tasks``.
SIGNS: dict[str, tuple[str, Colour]] = {
    "": ("?", QUIET),
    "pending": ("○", QUIET),
    "running": ("▶", BLUE),
    "waiting": ("◔", BLUE),
    "paused": ("‖", AMBER),
    "cancelling": ("◑", AMBER),
    "done": ("✓", GREEN),
    "failed": ("✗", RED),
    "cancelled": ("⊘", QUIET),
}
_LINES: dict[str, tuple[Colour, str]] = {
    "after": (QUIET, 'stroke-width="1.5"'),
    "follow": (BLUE, 'stroke-width="2.5"'),
    "await": (AMBER, 'stroke-width="1.5" stroke-dasharray="5 4"'),
}
_HIGH, _BETWEEN, _ASIDE, _EDGE = 42, 44, 14, 14
#: Characters of a name, and pixels of a character.
_LONGEST, _CHARACTER = 28, 7.2
#: The width of a page: beyond it a page scales a picture down until it cannot be read.
_PAGE = 1000


def svg(graph: Graph) -> str:
    """Return ``graph`` as an SVG document."""
    return _Drawing(graph).document()


class _Drawing:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layout: Layout = layout(list(graph.nodes), [edge[:2] for edge in graph.edges])
        texts = [t for node in graph.nodes.values() for t in (_name(node), "  " + _words(node))]
        self.wide = max(96.0, 20 + _CHARACTER * max(map(len, texts), default=0))
        self.layers = max(self.layout.layer.values(), default=0) + 1
        self.places = max(self.layout.place.values(), default=0.0) + 1
        across = self.layers * (self.wide + _BETWEEN)
        #: Whether the layers are columns; else rows, which suit a long chain.
        self.across = across <= max(_PAGE, self.places * (self.wide + _ASIDE))

    def corner(self, layer: int, place: float) -> tuple[float, float]:
        """Return the upper left corner of a node."""
        if self.across:
            return _EDGE + layer * (self.wide + _BETWEEN), _EDGE + place * (_HIGH + _ASIDE)
        return _EDGE + place * (self.wide + _ASIDE), _EDGE + layer * (_HIGH + _BETWEEN)

    def document(self) -> str:
        width, height = self.corner(self.layers - 1, self.places - 1)
        width, height = width + self.wide + _EDGE, height + _HIGH + _EDGE
        parts = self._edges() + [part for key in self.graph.nodes for part in self._node(key)]
        legend, width, height = self._legend(max(width, 360.0), height)
        tasks = count(len(self.graph.nodes), "node")
        return document(width, height, f"Graph of tasks: {tasks}", parts + legend)

    def _node(self, key: str) -> list[str]:
        node = self.graph.nodes[key]
        x, y = self.corner(self.layout.layer[key], self.layout.place[key])
        sign, colour = SIGNS[node.state]
        dashes = ' stroke-dasharray="4 3"' if node.state in ("", "pending") else ""
        size = f'width="{px(self.wide)}" height="{_HIGH}" rx="6"'
        box = f'fill="{GROUND[1]}" stroke="{colour[1]}" stroke-width="1.5"{dashes}'
        style = f"fill:var({GROUND[0]},{GROUND[1]});stroke:var({colour[0]},{colour[1]})"
        at = f'x="{px(x)}" y="{px(y)}"'
        return [
            f'<rect {at} {size} {box} style="{style}"/>',
            write(x + 10, y + 17, _name(node), INK, 12, weight="600"),
            write(x + 10, y + 33, sign, colour, 11),
            write(x + 26, y + 33, _words(node), QUIET, 11),
        ]

    def _edges(self) -> list[str]:
        lines: dict[str, list[str]] = {}
        heads: dict[str, list[str]] = {}
        for source, target, kind in self.graph.edges:
            if source == target:
                continue
            way = self.layout.ways[source, target]
            points = [self.corner(*each) for each in way]
            forward = way[0][0] < way[-1][0]
            lines.setdefault(kind, []).append(self._path(points, forward))
            heads.setdefault(kind, []).append(self._head(points[-1], forward))
        out = []
        for kind in KINDS:
            if kind in lines:
                colour, how = _LINES[kind]
                d = "".join(lines[kind])
                out.append(f'<path d="{d}" fill="none" {paint("stroke", colour)} {how}/>')
                out.append(f'<path d="{"".join(heads[kind])}" {paint("fill", colour)}/>')
        return out

    def _path(self, points: list[tuple[float, float]], forward: bool) -> str:
        at = self._doors(*points[0], forward)[1]
        out = f"M{_point(at)}"
        for number, corner in enumerate(points[1:], 2):
            last = number == len(points)
            enter, leave = self._doors(*corner, forward)
            end = self._before_head(enter, forward) if last else enter
            middle = ((at[0] + end[0]) / 2, (at[1] + end[1]) / 2)
            one = (middle[0], at[1]) if self.across else (at[0], middle[1])
            two = (middle[0], end[1]) if self.across else (end[0], middle[1])
            out += f"C{_point(one)} {_point(two)} {_point(end)}"
            if not last:
                out += f"L{_point(leave)}"
            at = leave
        return out

    def _doors(self, x: float, y: float, forward: bool) -> tuple[tuple[float, float], ...]:
        """Return where a line enters a node at (x, y), and where it leaves it."""
        if self.across:
            doors = (x, y + _HIGH / 2), (x + self.wide, y + _HIGH / 2)
        else:
            doors = (x + self.wide / 2, y), (x + self.wide / 2, y + _HIGH)
        return doors if forward else doors[::-1]

    def _before_head(self, at: tuple[float, float], forward: bool) -> tuple[float, float]:
        way = -6 if forward else 6
        return (at[0] + way, at[1]) if self.across else (at[0], at[1] + way)

    def _head(self, corner: tuple[float, float], forward: bool) -> str:
        at = self._doors(*corner, forward)[0]
        back = 8 if forward else -8
        if self.across:
            return f"M{_point(at)}l{-back} -4v8z"
        return f"M{_point(at)}l-4 {-back}h8z"

    def _legend(self, width: float, y: float) -> tuple[list[str], float, float]:
        out, x = [], float(_EDGE)
        if not self.graph.nodes:
            out.append(write(x, y - _HIGH, "No task starts after another one.", QUIET, 12))
        for kind, words in KINDS.items():
            if any(edge.kind == kind for edge in self.graph.edges):
                colour, how = _LINES[kind]
                if x > _EDGE and x + 40 + 6.2 * len(words) > width:
                    x, y = float(_EDGE), y + 18
                rule = f"M{px(x)} {px(y + 8)}h26"
                out.append(f'<path d="{rule}" {paint("stroke", colour)} {how}/>')
                out.append(write(x + 32, y + 12, words, QUIET, 11))
                x += 52 + 6.2 * len(words)
        y += 20
        if self.graph.alone:
            more = f"Not drawn: {count(self.graph.alone, 'task')} without such a link."
            out.append(write(_EDGE, y + 8, more, QUIET, 11))
            y += 16
        return out, width, y + 6


def _name(node: Node) -> str:
    return escape_control_chars(node.name, _LONGEST)


def _words(node: Node) -> str:
    return escape_control_chars(", ".join(filter(None, (node.state, node.note))), _LONGEST + 10)


def _point(at: tuple[float, float]) -> str:
    return f"{px(at[0])} {px(at[1])}"
