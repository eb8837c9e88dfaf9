"""What ``asyncnb top`` draws: lines of text from what is known of kernels and tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from asyncnb._cli.live.kernels import LiveKernel
from asyncnb._client.wire import Message
from asyncnb._core.base.text import (
    count,
    duration,
    escape_control_chars,
    truncate_columns,
    width,
)

BOLD, DIM, REVERSE, RED, GREEN, YELLOW = ("1", "2", "7", "31", "32", "33")
HELP: Final = (
    "q quit  ↑↓ select  tab next kernel  enter details  c cancel  p pause/resume  / filter  s sort"
)
_COLOURS: Final = {
    "failed": RED,
    "cancelled": DIM,
    "done": DIM,
    "running": GREEN,
    "paused": YELLOW,
    "cancelling": YELLOW,
    "pending": DIM,
}
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_BAR: Final = 10


def paint(text: str, *codes: str) -> str:
    """Return ``text`` in these colours."""
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes and text else text


def fit(text: str, columns: int) -> str:
    """Return ``text`` in exactly so many columns."""
    text = truncate_columns(text, columns)
    return text + " " * (columns - width(text))


def summary(kernels: Sequence[LiveKernel], match: str, order: str, columns: int) -> str:
    """Return the first line: how many kernels and tasks there are."""
    counts: dict[str, int] = {}
    for kernel in kernels:
        for state, number in kernel.counts.items() if kernel.state == "alive" else ():
            counts[state] = counts.get(state, 0) + number
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(counts.items()))
    text = f"asyncnb top  {count(len(kernels), 'kernel')}, {count(sum(counts.values()), 'task')}"
    text += f": {states}" if states else ""
    shown = f"sort: {order}" + (f"  filter: {escape_control_chars(match)}" if match else "")
    return paint(fit(f"{text}  {shown}", columns), BOLD)


def kernel_line(kernel: LiveKernel, columns: int) -> str:
    """Return the line of a kernel: what its loop and its main thread do."""
    name = escape_control_chars(kernel.label, 40)
    if kernel.state != "alive":
        return paint(fit(f"{name}  ({kernel.state or 'asked'})", columns), BOLD)
    hello = kernel.hello
    parts = [name, f"pid {hello.get('pid')}", count(kernel.total, "task")]
    blocked = hello.get("blocked")
    if blocked:
        since = duration(max(0.0, kernel.now - blocked["since"]))
        where = escape_control_chars(f"{blocked['name']} at {blocked['where']}", 60)
        parts.append(f"loop BLOCKED for {since} by {where}")
    elif hello.get("loop") is None:
        parts.append("no loop yet")
    else:
        parts.append(f"lag {hello.get('lag') or 0} ms")
    busy = hello.get("busy")
    if busy:
        parts.append(f"cell [{busy.get('cell') or '*'}] {'awaits' if busy['awaits'] else 'runs'}")
    return paint(fit("  ".join(parts), columns), BOLD, *((RED,) if blocked else ()))


def task_line(kernel: LiveKernel, task: Message | None, columns: int, selected: bool) -> str:
    """Return the line of a task; of one that is not known yet, an ellipsis."""
    if task is None:
        return paint(fit("  …", columns), DIM)
    began = task["started"]
    age = "" if began is None else duration(max(0.0, (task["ended"] or kernel.now) - began))
    name = min(30, max(10, columns // 3))
    text = f"  {fit(escape_control_chars(task['name']), name)} {fit(task['state'], 10)} "
    text += f"{age:>12} {fit(_progress(kernel, task), 32)} "
    text += escape_control_chars(task["note"] or task["waits_for"], 200)
    text = fit(text, columns)
    return paint(text, REVERSE) if selected else paint(text, *_colour(task["state"]))


def _colour(state: str) -> tuple[str, ...]:
    return (_COLOURS[state],) if state in _COLOURS else ()


def _progress(kernel: LiveKernel, task: Message) -> str:
    done, total = task["done"], task["total"]
    if done is None:
        return ""
    rate = kernel.rates.get(task["id"])
    speed = "" if rate is None else f" {rate:,.1f}/s"
    if not total:
        return f"{done:,}{speed}"
    filled = min(_BAR, _BAR * done // total)
    return f"{'█' * filled}{'░' * (_BAR - filled)} {done:,}/{total:,}{speed}"


def detail_lines(task: Message | None, error: str, columns: int, lines: int) -> list[str]:
    """Return what is known of one task, for a whole screen."""
    if task is None:
        return [paint(fit(error or "…", columns), *((RED,) if error else ()))]
    head = f"{escape_control_chars(task['name'])}  {task['state']}  id {task['id']}"
    found = [paint(fit(head, columns), BOLD)]
    for label, value in (("waits for", task.get("waits_for")), ("error", task.get("note"))):
        if value:
            found.append(fit(f"{label}: {escape_control_chars(value)}", columns))
    for place in task.get("frames") or ():
        found += [fit(line, columns) for line in _frame(place)]
    traceback = _lines(task.get("traceback"))
    output = _lines(task.get("output"))
    room = max(3, lines - len(found) - 3)
    if traceback:
        found += [paint("traceback", BOLD), *(fit(line, columns) for line in traceback[-room:])]
    room = max(3, lines - len(found) - 3)
    if output:
        found += [paint("output", BOLD), *(fit(line, columns) for line in output[-room:])]
    return found


def _frame(place: Sequence[Any]) -> list[str]:
    file, line, function, source = [*place, "", "", "", ""][:4]
    text = f"  {escape_control_chars(str(file))}:{line} in {escape_control_chars(str(function))}"
    return [text, f"    {escape_control_chars(str(source))}"] if source else [text]


def _lines(text: str | None) -> list[str]:
    lines = _ANSI.sub("", text or "").splitlines()
    return [line if line.isprintable() else escape_control_chars(line) for line in lines]
