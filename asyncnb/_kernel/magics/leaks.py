"""``%tasks leaks``: what cells have left behind, with the cell and line that made each."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from asyncnb._core.base.errors import CommandError
from asyncnb._core.base.text import count, escape_control_chars
from asyncnb._core.introspection.info import CellRef
from asyncnb._core.launched.record import current_record
from asyncnb._core.leaks.finding import KINDS, Finding
from asyncnb._core.leaks.look import look
from asyncnb._core.loop.current import running_embedded_loop

#: Lines that are shown at most.
MAX_SHOWN = 50

#: The calls that make what is found, by its kind, to find their line in the cell.
_CALLS = {
    "server": ("start_server", "create_server", "start_unix_server", "start"),
    "connection": ("open_connection", "create_connection", "AsyncClient", "ClientSession"),
    "thread": ("to_thread", "run_in_executor"),
    "task": ("create_task", "ensure_future"),
}


class Leaks:
    """Looks for leaks in one shell."""

    def __init__(self, ip: Any) -> None:
        self.ip = ip
        # A cell may have left thousands of coroutines behind.
        self._line_of_call = functools.lru_cache(maxsize=None)(self._call)
        self._line_of_variable = functools.lru_cache(maxsize=None)(self._assignment)

    def find(self) -> list[Finding]:
        """Return the leaks, each with the cell and line that made it, as far as known."""
        self._line_of_call.cache_clear()
        self._line_of_variable.cache_clear()
        names = self.ip.user_ns
        hidden = {*self.ip.user_ns_hidden, "In", "Out", "exit", "quit", "get_ipython"}
        variables = {
            name: value
            for name, value in list(names.items())
            if name not in hidden and not _is_cached(name)
        }
        outputs = dict(names.get("Out") or {})
        stops = [names, names.get("Out"), self.ip, names.get("In")]
        found = [self._placed(each) for each in look(variables, outputs, stops)]
        return [each for each in found if self._is_left(each)]

    def _placed(self, found: Finding) -> Finding:
        """Return the finding with the line of its cell that made it, if that is known."""
        if found.place and not found.defined:
            return found
        calls = _CALLS.get(found.kind, ())
        if found.kind == "client":
            calls = (type(found.thing).__name__,)
        elif found.kind == "coroutine":
            calls = (found.thing.cr_code.co_name,)
        number = found.cell.number if found.cell is not None else 0
        if found.variable.startswith("Out["):
            number = int(found.variable[4:-1])
        if found.kind in ("coroutine", "generator") and not number:
            at = self._line_of_variable(found.variable)
        else:
            number = number or self._only_cell(calls)
            at = self._line_of_call(number, calls, found.what)
        if number and found.cell is None:
            found = found._replace(cell=CellRef(number))
        return found._replace(place=at, defined=False) if at else found

    def _source(self, number: int) -> str:
        cells = self._cells()
        return cells[number] if 0 < number < len(cells) else ""

    def _cells(self) -> Sequence[str]:
        """Return the text of each cell, by its number, with its magics as typed."""
        cells: Sequence[str] = self.ip.history_manager.input_hist_raw
        return cells

    def _only_cell(self, names: Iterable[str]) -> int:
        """Return the first run of the one cell that has such a call; 0 if several have."""
        texts: dict[str, int] = {}
        for number in range(1, len(self._cells())):
            source = self._source(number)
            has_name = source not in texts and any(name in source for name in names)
            if has_name and any(_calls(source, names)):
                texts[source] = number
        return next(iter(texts.values())) if len(texts) == 1 else 0

    def _call(self, number: int, names: Iterable[str], what: str) -> str:
        """Return the line of such a call in a cell, or the cell if it has several."""
        if not self._source(number):
            return ""
        calls = list(_calls(self._source(number), names))
        calls = [call for call in calls if ast.unparse(call) in what] or calls
        lines = {call.lineno for call in calls}
        return f"In[{number}], line {lines.pop()}" if len(lines) == 1 else f"In[{number}]"

    def _assignment(self, variable: str) -> str:
        """Return the newest line, outside of functions, that assigned ``variable``."""
        for number in reversed(range(1, len(self._cells()))):
            source = self._source(number)
            if variable not in source:
                continue
            for node in reversed(_parsed(source).body):
                targets = getattr(node, "targets", [getattr(node, "target", None)])
                names = [n for target in targets if target for n in ast.walk(target)]
                if any(isinstance(n, ast.Name) and n.id == variable for n in names):
                    return f"In[{number}], line {node.lineno}"
        return ""

    def _is_left(self, found: Finding) -> bool:
        """Return whether a resource is one that cannot be closed any more by the user's names."""
        if found.kind not in ("server", "client", "connection") or not found.variable:
            return True
        number = int(found.variable[4:-1])
        return self._ran_again(number) is not None

    def _ran_again(self, number: int) -> int | None:
        """Return the number under which the cell has run again, with the same text."""
        cells, source = self._cells(), self._source(number)
        for later in range(number + 1, len(cells)):
            if source and cells[later] == source:
                return later
        return None

    def describe(self, found: Finding) -> str:
        """Return what is known of one leak, in a line, and what to do about it in a second one."""
        parts = [found.what]
        if found.place:
            parts.append(f"{'code in ' if found.defined else ''}{found.place}")
        if found.variable:
            parts.append(f"held by {found.variable}")
        number = found.cell.number if found.cell is not None else 0
        again = self._ran_again(number) if number else None
        if again is not None:
            parts.append(f"the cell ran again as In[{again}]")
        return f"{escape_control_chars(', '.join(parts))}\n    {found.advice}"


def _is_cached(name: str) -> bool:
    """Return whether IPython's caches have this name: ``_``, ``__``, ``_5``, ``_i5``."""
    return name.strip("_") == "" or (name[0] == "_" and name[1:].lstrip("i").isdecimal())


def _calls(source: str, names: Iterable[str]) -> Iterable[ast.Call]:
    for node in ast.walk(_parsed(source)):
        if not isinstance(node, ast.Call):
            continue
        if getattr(node.func, "attr", getattr(node.func, "id", "")) in names:
            yield node


@functools.lru_cache(maxsize=256)
def _parsed(source: str) -> ast.Module:
    from IPython.core.inputtransformer2 import TransformerManager

    if source.startswith("%%"):  # the body is Python, for the magics that have coroutines
        source = "pass\n" + source.partition("\n")[2]
    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def show_leaks(ip: Any) -> None:
    """Print the leaks of this process. Raises CommandError on the loop's thread."""
    loop = running_embedded_loop()
    if current_record.get() is not None or (loop is not None and loop.is_own_thread()):
        raise CommandError(
            "%tasks leaks looks at every object, and this code runs on the loop's thread, where "
            "that would block all tasks. Run it in a cell without `await`."
        )
    leaks = Leaks(ip)
    print(as_text(leaks, leaks.find()))


def as_text(leaks: Leaks, found: list[Finding]) -> str:
    """Return the report: one entry for all findings that read the same, by kind."""
    if not found:
        *kinds, last = KINDS.values()
        return f"No leaks found. Looked for {', '.join(kinds)} and {last}."
    order = list(KINDS)
    found = sorted(found, key=lambda each: order.index(each.kind))
    entries = Counter((each.kind, leaks.describe(each)) for each in found)
    lines, before = [count(len(found), "leak")], ""
    for (kind, text), number in list(entries.items())[:MAX_SHOWN]:
        if kind != before:
            lines += ["", KINDS[kind].capitalize()]
            before = kind
        lines.append(f"  {f'{number:,} × ' if number > 1 else ''}{text}")
    if len(entries) > MAX_SHOWN:
        lines.append(f"\n{len(entries) - MAX_SHOWN:,} more are not shown.")
    return "\n".join(lines)
