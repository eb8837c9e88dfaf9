"""A timeline as a static SVG: no scripts, no style sheet, no external resources.

Notebooks show it as an image, which the page's theme does not reach, so it has its own light
background; inlined into a page it uses JupyterLab's colours. Bars differ in shape and ends in their
sign as well as in colour. All elements of one kind are one path, so that a thousand tasks take well
under 100 kB.
"""

from __future__ import annotations

from typing import Any

from asyncnb._core.base.text import count, duration, escape_control_chars
from asyncnb._core.svg import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    QUIET,
    RED,
    RULE,
    Colour,
    document,
    paint,
    px,
    write,
)
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

_STROKES = {
    "pending": (QUIET, ""),
    "wait": (BLUE, ' opacity=".65"'),
    "life": (BLUE, ' opacity=".55"'),
    "thread": (BLUE, ""),
    "worker": (BLUE, ""),
    "stop": (RED, ""),
    "run": (BLUE, ""),
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
            legend.append(write(_LEFT, height, note, QUIET, 11))
            height += 18
        over = duration(self.data["end"], fine=True)
        title = f"Timeline of {count(len(self.data['rows']), 'task')} over {over}"
        parts = [
            *self._axis(),
            *(part for row in rows for part in row),
            *self._arrows(),
            *self._bars(),
            *self._signs(),
            *legend,
        ]
        return document(_WIDTH, height, title, parts)

    # The parts, from the background up

    def _axis(self) -> list[str]:
        end = self.data["end"]
        marks = ticks(end, 8)
        grid = "".join(f"M{px(self.x(when))} {_TOP}V{self.bottom}" for when in marks)
        out = [f'<path d="{grid}" {paint("stroke", RULE)} fill="none"/>']
        last = marks[-1]
        for when in marks:
            label = tick_label(when, end) + (" s" if when == last else "")
            out.append(write(self.x(when), _TOP - 8, label, QUIET, 11, "middle"))
        if not self.shown:
            out.append(write(_LEFT, _TOP + 16, "No tasks.", QUIET, 12))
            self.bottom += _ROW
        return out

    def _row(self, line: Line, y: float) -> list[str]:
        indent = _LEFT + 14 * min(line.depth, 6)
        if not line.rows:
            rule = f'<path d="M{indent} {px(y + 10)}H{_WIDTH - 12}" {paint("stroke", RULE)}/>'
            label = write(
                indent, y + 4, escape_control_chars(line.label, 60), QUIET, 12, weight="600"
            )
            return [rule, label]
        most = int((_NAME - 8 - (indent - _LEFT)) / 6.6)
        out = [write(indent, y + 4, escape_control_chars(line.label, most), INK, 12)]
        word = escape_control_chars(verdict(line), 33)
        out.append(write(_X0 + _PLOT + 14, y + 4, word, QUIET, 11))
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
                # Too close to distinguish: extend the bar that was drawn last.
                if right > pen[kind] + 0.25:
                    path[-1] = path[-1].partition("H")[0] + f"H{px(right)}"
                    pen[kind] = right
                continue
            if right - left < 0.3:
                continue
            path.append(f"M{px(left)} {px(y)}H{px(right)}")
            pen[kind] = right
        last = None
        for when, what in deliveries(row):
            at = self.x(when)
            if last is None or at - last > 4:
                self.marks[what].append(f"M{px(at - 4)} {px(y - 10)}h8l-4 6z")
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
        path, before = f"M{_X0} {px(y + 8)}", 0
        for number, level in enumerate(levels):
            if level != before:
                path += f"H{px(_X0 + number * wide)}V{px(y + 8 - 16 * level / most)}"
                before = level
        self.crowds.append(path + f"H{px(_X0 + bins * wide)}V{px(y + 8)}Z")

    def _bars(self) -> list[str]:
        out = [f'<path d="{d}" {paint("fill", BLUE)} opacity=".55"/>' for d in self.crowds]
        for kind, paths in self.bars.items():
            if paths:
                colour, opacity = _STROKES[kind]
                how = f'stroke-width="{BARS[kind].width}"'
                if BARS[kind].dashes:
                    how += f' stroke-dasharray="{BARS[kind].dashes}"'
                how += opacity
                out.append(f'<path d="{"".join(paths)}" {paint("stroke", colour)} {how}/>')
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
            lines_.append(f"M{px(x)} {px(start)}V{px(end - way * 8)}")
            heads.append(f"M{px(x - 3)} {px(end - way * 11)}h6l-3 {way * 5}z")
        if not lines_:
            return []
        return [
            f'<path d="{"".join(lines_)}" {paint("stroke", QUIET)} fill="none" opacity=".8"/>',
            f'<path d="{"".join(heads)}" {paint("fill", QUIET)}/>',
        ]

    def _signs(self) -> list[str]:
        out = []
        for end, paths in self.ends.items():
            if paths:
                out.append(_sign_path(end, "".join(paths)))
        for what, paths in self.marks.items():
            if paths:
                colour = RED if what == "cancel" else AMBER
                hollow = "" if what == "cancel" else _hollow(colour)
                out.append(f'<path d="{"".join(paths)}" {hollow or paint("fill", colour)}/>')
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
                self.bars[key].append(f"M{px(x)} {px(y)}h18")
            elif what == "crowd":
                self.crowds.append(f"M{px(x)} {px(y + 6)}v-4h6v-6h6v4h6v6z")
            elif what == "end":
                self.ends[key].append(_sign(key, x + 9, y))
            elif what == "mark":
                self.marks[key].append(f"M{px(x + 5)} {px(y - 3)}h8l-4 6z")
            else:
                extra.append(f'<path d="M{px(x + 9)} {px(y - 8)}v9" {paint("stroke", QUIET)}/>')
                extra.append(f'<path d="M{px(x + 6)} {px(y)}h6l-3 5z" {paint("fill", QUIET)}/>')
            out.append(write(x + 24, y + 4, word, QUIET, 11))
            x += wide
        out += [*extra, *self._bars(), *self._signs()]
        self.bars, self.ends, self.marks, self.crowds = saved
        return out, y + 24


def _sign(end: str, x: float, y: float) -> str:
    """Return the path of the sign for an end."""
    return f"M{px(x)} {px(y)}{ENDS[end].path}"


def _sign_path(end: str, d: str) -> str:
    colours = {"done": GREEN, "failed": RED, "timed out": AMBER, "alive": BLUE}
    colour = colours.get(end, QUIET)
    return f'<path d="{d}" fill="none" {paint("stroke", colour)} stroke-width="2"/>'


def _hollow(colour: Colour) -> str:
    return f'{paint("stroke", colour)} stroke-width="1.5" fill="none"'
