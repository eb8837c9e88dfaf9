"""A timeline as a static SVG: no scripts, no style sheet, no external resources.

Notebooks show it as an image, which the page's theme does not reach, so it has its own light
background; inlined into a page it uses JupyterLab's colours. Bars differ in shape and ends in their
sign as well as in colour. All elements of one kind are one path, so that a thousand tasks take well
under 100 kB.
"""

from __future__ import annotations

from typing import Any

from asyncnb._core.base.text import count, duration, escape_control_chars
from asyncnb._core.timeline.rows import (
    ARROW,
    BARS,
    ENDS,
    MARKS,
    Line,
    deliveries,
    end_of,
    lines,
    notes,
    spans,
    tick_label,
    ticks,
    verdict,
)

_ROW = 22
_NAME, _PLOT, _WORD = 190, 560, 200
_LEFT = 12
_X0 = _LEFT + _NAME
_WIDTH = _X0 + _PLOT + 14 + _WORD
_TOP = 38
_MAX_LINES = 60
_MAX_ARROWS = 150

_INK, _QUIET, _GROUND, _RULE = (
    ("--jp-ui-font-color1", "#1f2328"),
    ("--jp-ui-font-color2", "#59636e"),
    ("--jp-layout-color0", "#ffffff"),
    ("--jp-border-color2", "#d8dee4"),
)
_BLUE = ("--jp-brand-color1", "#1769aa")
_RED = ("--jp-error-color1", "#c62828")
_AMBER = ("--jp-warn-color1", "#b15c00")
_GREEN = ("--jp-success-color1", "#2e7d32")

_STROKES = {
    "pending": (_QUIET, ""),
    "wait": (_BLUE, ' opacity=".65"'),
    "life": (_BLUE, ' opacity=".55"'),
    "thread": (_BLUE, ""),
    "worker": (_BLUE, ""),
    "stop": (_RED, ""),
    "run": (_BLUE, ""),
}


def svg(data: dict[str, Any]) -> str:
    """Return ``data`` of :func:`timeline_data` as an SVG document."""
    shown = lines(data, _MAX_LINES)
    return _Drawing(data, shown).document()


class _Drawing:
    def __init__(self, data: dict[str, Any], shown: list[Line]) -> None:
        self.data = data
        self.shown = shown
        # Leave room after the last moment for the sign of the end.
        self.scale = (_PLOT - 10) / data["end"] if data["end"] > 0 else 0.0
        self.bars: dict[str, list[str]] = {kind: [] for kind in BARS}
        self.ends: dict[str, list[str]] = {end: [] for end in ENDS}
        self.marks: dict[str, list[str]] = {what: [] for what in MARKS}
        self.crowds: list[str] = []
        self.bottom = _TOP + _ROW * len(shown)

    def x(self, when: float) -> float:
        return _X0 + when * self.scale

    def document(self) -> str:
        rows = [self._row(line, _TOP + _ROW * i + _ROW / 2) for i, line in enumerate(self.shown)]
        legend, height = self._legend(self.bottom + 34)
        for note in notes(self.data):
            legend.append(_text(_LEFT, height, note, _QUIET, 11))
            height += 18
        over = duration(self.data["end"], fine=True)
        title = f"Timeline of {count(len(self.data['rows']), 'task')} over {over}"
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
                f'viewBox="0 0 {_WIDTH} {height}" role="img" '
                'font-family="system-ui,-apple-system,Segoe UI,Roboto,sans-serif" '
                'font-size="12">',
                f"<title>{_escape(title)}</title>",
                f'<rect width="{_WIDTH}" height="{height}" rx="4" {_paint("fill", _GROUND)}/>',
                *self._axis(),
                *(part for row in rows for part in row),
                *self._arrows(),
                *self._bars(),
                *self._signs(),
                *legend,
                "</svg>",
            ]
        )

    # The parts, from the background up

    def _axis(self) -> list[str]:
        end = self.data["end"]
        marks = ticks(end, 8)
        grid = "".join(f"M{_n(self.x(when))} {_TOP}V{self.bottom}" for when in marks)
        out = [f'<path d="{grid}" {_paint("stroke", _RULE)} fill="none"/>']
        last = marks[-1]
        for when in marks:
            label = tick_label(when, end) + (" s" if when == last else "")
            out.append(_text(self.x(when), _TOP - 8, label, _QUIET, 11, "middle"))
        if not self.shown:
            out.append(_text(_LEFT, _TOP + 16, "No tasks.", _QUIET, 12))
            self.bottom += _ROW
        return out

    def _row(self, line: Line, y: float) -> list[str]:
        indent = _LEFT + 14 * min(line.depth, 6)
        if not line.rows:
            rule = f'<path d="M{indent} {_n(y + 10)}H{_WIDTH - 12}" {_paint("stroke", _RULE)}/>'
            label = _text(
                indent, y + 4, escape_control_chars(line.label, 60), _QUIET, 12, weight="600"
            )
            return [rule, label]
        most = int((_NAME - 8 - (indent - _LEFT)) / 6.6)
        out = [_text(indent, y + 4, escape_control_chars(line.label, most), _INK, 12)]
        word = escape_control_chars(verdict(line), 33)
        out.append(_text(_X0 + _PLOT + 14, y + 4, word, _QUIET, 11))
        if len(line.rows) > 1:
            self._crowd(line, y)
        else:
            self._task(line.rows[0], y)
        return out

    def _task(self, row: dict[str, Any], y: float) -> None:
        end = self.data["end"]
        pen: dict[str, float] = {}
        for kind, start, stop in spans(row, end):
            left, right = self.x(start), self.x(stop)
            if kind == "run":
                right = max(right, left + 1.5)  # a step takes microseconds, but must be visible
            path = self.bars[kind]
            if pen.get(kind, -1.0) >= left - 0.5 and path:
                # Too close to be told apart: extend the bar that was drawn last.
                if right > pen[kind] + 0.25:
                    path[-1] = path[-1].partition("H")[0] + f"H{_n(right)}"
                    pen[kind] = right
                continue
            if right - left < 0.3:
                continue
            path.append(f"M{_n(left)} {_n(y)}H{_n(right)}")
            pen[kind] = right
        last = None
        for when, what in deliveries(row):
            at = self.x(when)
            if last is None or at - last > 4:
                self.marks[what].append(f"M{_n(at - 4)} {_n(y - 10)}h8l-4 6z")
                last = at
        until = self.x(end if row["ended"] is None else row["ended"]) + 5
        if sign := end_of(row):
            self.ends[sign].append(_sign(sign, until, y))

    def _crowd(self, line: Line, y: float) -> None:
        """Draw the number of tasks alive at each time, as an area."""
        end, bins = self.data["end"], 140
        counts = [0] * (bins + 1)
        for row in line.rows:
            until = end if row["ended"] is None else row["ended"]
            first = min(bins - 1, int(row["created"] / end * bins)) if end else 0
            counts[first] += 1
            last = round(until / end * bins) if end else 1
            counts[min(bins, max(first + 1, last))] -= 1
        levels, alive = [], 0
        for change in counts[:bins]:
            alive += change
            levels.append(alive)
        most, wide = max(levels), (_PLOT - 10) / bins
        path, before = f"M{_X0} {_n(y + 8)}", 0
        for number, level in enumerate(levels):
            if level != before:
                path += f"H{_n(_X0 + number * wide)}V{_n(y + 8 - 16 * level / most)}"
                before = level
        self.crowds.append(path + f"H{_n(_X0 + bins * wide)}V{_n(y + 8)}Z")

    def _bars(self) -> list[str]:
        out = [f'<path d="{d}" {_paint("fill", _BLUE)} opacity=".55"/>' for d in self.crowds]
        for kind, paths in self.bars.items():
            if paths:
                colour, opacity = _STROKES[kind]
                how = f'stroke-width="{BARS[kind].width}"'
                if BARS[kind].dashes:
                    how += f' stroke-dasharray="{BARS[kind].dashes}"'
                how += opacity
                out.append(f'<path d="{"".join(paths)}" {_paint("stroke", colour)} {how}/>')
        return out

    def _arrows(self) -> list[str]:
        """Draw an arrow from the end of each task to the task that it woke."""
        places = {
            line.rows[0]["id"]: _TOP + _ROW * i + _ROW / 2
            for i, line in enumerate(self.shown)
            if len(line.rows) == 1
        }
        lines_: list[str] = []
        heads: list[str] = []
        for source, to, when in self.data["edges"]:
            if when is None or source not in places or to not in places:
                continue
            start, end = places[source], places[to]
            if len(lines_) == _MAX_ARROWS or start == end:
                continue
            x, way = self.x(when), 1 if end > start else -1
            lines_.append(f"M{_n(x)} {_n(start)}V{_n(end - way * 8)}")
            heads.append(f"M{_n(x - 3)} {_n(end - way * 11)}h6l-3 {way * 5}z")
        if not lines_:
            return []
        return [
            f'<path d="{"".join(lines_)}" {_paint("stroke", _QUIET)} fill="none" opacity=".8"/>',
            f'<path d="{"".join(heads)}" {_paint("fill", _QUIET)}/>',
        ]

    def _signs(self) -> list[str]:
        out = []
        for end, paths in self.ends.items():
            if paths:
                out.append(_sign_path(end, "".join(paths)))
        for what, paths in self.marks.items():
            if paths:
                colour = _RED if what == "cancel" else _AMBER
                hollow = "" if what == "cancel" else _hollow(colour)
                out.append(f'<path d="{"".join(paths)}" {hollow or _paint("fill", colour)}/>')
        return out

    def _legend(self, y: float) -> tuple[list[str], float]:
        """Draw the shapes used in the picture with their meaning; return that and the height."""
        entries: list[tuple[str, str, str]] = []
        entries += [("bar", kind, bar.word) for kind, bar in BARS.items() if self.bars[kind]]
        if self.crowds:
            entries.append(("crowd", "", "alive at the same time"))
        entries += [("end", end, sign.word) for end, sign in ENDS.items() if self.ends[end]]
        for what, word in MARKS.items():
            if self.marks[what]:
                entries.append(("mark", what, word))
        if any(edge[2] is not None for edge in self.data["edges"]):
            entries.append(("arrow", "", ARROW))
        saved = self.bars, self.ends, self.marks, self.crowds
        self.bars = {kind: [] for kind in BARS}
        self.ends = {end: [] for end in ENDS}
        self.marks = {what: [] for what in MARKS}
        self.crowds = []
        out, x, extra = [], float(_LEFT), []
        for what, key, word in entries:
            wide = 34 + 6.2 * len(word)
            if x + wide > _WIDTH - 12:
                x, y = float(_LEFT), y + 20
            if what == "bar":
                self.bars[key].append(f"M{_n(x)} {_n(y)}h18")
            elif what == "crowd":
                self.crowds.append(f"M{_n(x)} {_n(y + 6)}v-4h6v-6h6v4h6v6z")
            elif what == "end":
                self.ends[key].append(_sign(key, x + 9, y))
            elif what == "mark":
                self.marks[key].append(f"M{_n(x + 5)} {_n(y - 3)}h8l-4 6z")
            else:
                extra.append(f'<path d="M{_n(x + 9)} {_n(y - 8)}v9" {_paint("stroke", _QUIET)}/>')
                extra.append(f'<path d="M{_n(x + 6)} {_n(y)}h6l-3 5z" {_paint("fill", _QUIET)}/>')
            out.append(_text(x + 24, y + 4, word, _QUIET, 11))
            x += wide
        out += [*extra, *self._bars(), *self._signs()]
        self.bars, self.ends, self.marks, self.crowds = saved
        return out, y + 24


def _sign(end: str, x: float, y: float) -> str:
    """Return the path of the sign for an end."""
    return f"M{_n(x)} {_n(y)}{ENDS[end].path}"


def _sign_path(end: str, d: str) -> str:
    colours = {"done": _GREEN, "failed": _RED, "timed out": _AMBER, "alive": _BLUE}
    colour = colours.get(end, _QUIET)
    return f'<path d="{d}" fill="none" {_paint("stroke", colour)} stroke-width="2"/>'


def _hollow(colour: tuple[str, str]) -> str:
    return f'{_paint("stroke", colour)} stroke-width="1.5" fill="none"'


def _paint(what: str, colour: tuple[str, str]) -> str:
    # The attribute for viewers that ignore or strip CSS, the style for pages with a theme.
    return f'{what}="{colour[1]}" style="{what}:var({colour[0]},{colour[1]})"'


def _text(
    x: float,
    y: float,
    words: str,
    colour: tuple[str, str],
    size: int,
    anchor: str = "start",
    weight: str = "",
) -> str:
    more = f' text-anchor="{anchor}"' if anchor != "start" else ""
    more += f' font-weight="{weight}"' if weight else ""
    more += f' font-size="{size}"' if size != 12 else ""
    return f'<text x="{_n(x)}" y="{_n(y)}"{more} {_paint("fill", colour)}>{_escape(words)}</text>'


def _escape(words: str) -> str:
    """Escape text for use between tags, without the characters that XML does not allow."""
    words = "".join(c for c in words if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF)
    return (
        words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )


def _n(value: float) -> str:
    """Format a coordinate; a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")
