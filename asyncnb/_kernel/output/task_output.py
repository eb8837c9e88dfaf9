"""Keeps what a task printed and displayed, so that it can be shown again, within bounds.

Two limits, of which the newest output is kept: the size in characters, whatever the type, and the
number of prints and displays. Of a display that is updated repeatedly, only the last state is kept.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.text import replace_surrogates
from asyncnb._core.config import config
from asyncnb._kernel.current_cell import current_record

if TYPE_CHECKING:
    from asyncnb._core.launched.record import TaskRecord
    from asyncnb._kernel.output.headless import LateOutput

#: print() writes the end of a line separately: half of all writes, and always the same.
_LINE_ENDS = {kind: (kind, "\n", 1) for kind in ("stdout", "stderr")}

#: Prints and displays of a task that are kept, the newest: small ones cost more than their text.
MAX_ITEMS = 10_000

#: What any part of a display counts for, in characters, besides its text: a list entry, a number.
_PART = 8

#: How often ``since`` looks for a moment at which nothing is being written.
_TRIES = 100

_first_output = fork_safe_lock()

_TOO_LARGE = "<a display of more than {:,} characters, the option output_tail>"


class TaskOutput:
    """The output of one task: the newest ``most`` characters and MAX_ITEMS items."""

    __slots__ = ("_begun", "_displays", "_items", "_size", "_written", "most")

    def __init__(self, most: int | None = None) -> None:
        self.most = config.output_tail if most is None else most
        #: Each is (kind, value, size); a list for a display that may be updated.
        self._items: deque[Any] = deque()
        self._displays: dict[str, list[Any]] | None = None  # by display_id, of those in _items
        self._size = 0
        #: Characters of text whose writes have begun, and have ended.
        self._begun = self._written = 0

    def add(self, kind: str, text: str) -> None:
        """Append text of the stream ``kind``; from any thread (a deque's append is atomic)."""
        if len(text) > self.most:
            text = text[-(self.most // 2 or 1) :]  # not all, or the next "\n" pushes it out
        size = len(text)
        self._begun += size
        self._append(_LINE_ENDS[kind] if text == "\n" else (kind, text, size))
        self._written += size

    def add_display(self, data: dict[str, Any], metadata: Any, keywords: dict[str, Any]) -> None:
        """Append a display, or note an update where the display is; from any thread.

        A display that exceeds the limit by itself is replaced by a line of text.
        """
        display_id = (keywords.get("transient") or {}).get("display_id")
        size = rough_size((data, metadata), self.most)
        if size > self.most:
            data, metadata = {"text/plain": _TOO_LARGE.format(self.most)}, {}
            size = len(data["text/plain"])
        if display_id is None:
            self._append(("display", (data, metadata, keywords), size))
            return
        if self._displays is None:
            self._displays = {}
        entry = self._displays.get(display_id)
        if entry is not None and keywords.get("update"):
            self._size += size - entry[2]
            entry[1:] = (data, metadata, entry[1][2]), size
            self._trim()
        else:
            self._displays[display_id] = entry = ["display", (data, metadata, keywords), size]
            self._append(entry)

    def add_error(self, ename: str, evalue: str, lines: list[str]) -> None:
        """Append a traceback; from any thread."""
        text = "\n".join(lines)
        if len(text) > self.most:
            text = text[-self.most :]
            lines = [text]
        self._append(("error", (ename, evalue[: self.most], lines), len(text)))

    def _append(self, item: Any) -> None:
        self._items.append(item)
        self._size += item[2]
        if self._size > self.most or len(self._items) > MAX_ITEMS:
            self._trim()

    def _trim(self) -> None:
        items = self._items
        while len(items) > 1 and (self._size > self.most or len(items) > MAX_ITEMS):
            dropped = items.popleft()
            self._size -= dropped[2]
            if self._displays and dropped[0] == "display":
                display_id: Any = (dropped[1][2].get("transient") or {}).get("display_id")
                if self._displays.get(display_id) is dropped:
                    del self._displays[display_id]

    def items(self) -> list[tuple[str, Any]]:
        """Return the kept output as (kind, value), oldest first.

        Kinds: ``stdout`` and ``stderr`` (text), ``display`` (data, metadata, keywords),
        ``error`` (name, message, traceback lines).
        """
        return [(kind, value) for kind, value, _ in list(self._items)]

    @property
    def text(self) -> str:
        """The printed text, stdout and stderr in the order in which they were printed."""
        return "".join(v for k, v in self.items() if k in ("stdout", "stderr"))

    def since(self, cursor: int) -> tuple[str, int, int]:
        """Return the kept text from character ``cursor`` on, the next cursor, and how much is gone.

        Characters are counted from the first one that was printed. Not counted is what was cut off
        the start of a single text longer than ``most``. Any thread.
        """
        written, text = self._written, self.text
        for _ in range(_TRIES):
            if self._begun == written:  # else a write was under way
                break
            time.sleep(0.001)
            written, text = self._written, self.text
        first = written - len(text)
        return text[max(0, cursor - first) :], written, max(0, first - cursor)


def rough_size(value: Any, limit: int) -> int:
    """Estimate the size of ``value``, as data of a display, in characters.

    Text and bytes are not read, so a picture costs 2 us. Lists and dicts are walked until the
    estimate exceeds ``limit``, a few microseconds for ten entries: with a limit of 200,000 at most
    25,000 entries, which takes 5 ms.
    """
    size = 0
    waiting = [value]
    while waiting and size <= limit:
        part = waiting.pop()
        if isinstance(part, (str, bytes, bytearray)):
            size += len(part)
        elif isinstance(part, dict):
            size += 2 * _PART * len(part)
            waiting += part.keys()
            waiting += part.values()
        elif isinstance(part, (list, tuple, set, frozenset)):
            size += _PART * len(part)  # all at once: a long one ends the walk here
            waiting += part
        elif part is not None and not isinstance(part, (int, float)):
            size += sys.getsizeof(part, _PART)  # an array, say
    return size


def output_of(record: TaskRecord) -> TaskOutput:
    """Return the output of the task, to append to it. Any thread, and any finaliser."""
    output: TaskOutput | None = record.output
    if output is None:
        # Made when the task first prints: most of 10,000 tasks do not, and it takes 700 bytes.
        with _first_output:
            new = TaskOutput()
            if record.output is None:  # else a finaliser has just printed
                record.output = new
            output = record.output
    return output


def current_task() -> TaskRecord | None:
    """Return the record of the task that the running code belongs to, if its output is kept."""
    record = current_record.get()
    return None if record is None or record.origin.message is None else record


def recording_write(original: Callable[[str], int], kind: str) -> Callable[[str], int]:
    """Return a ``write`` for the stream ``kind`` that also keeps what tasks print."""
    get = current_record.get

    def write(string: str) -> int:
        record = get()
        if record is None or record.origin.message is None or not isinstance(string, str):
            return original(string)
        written = len(string)
        string = replace_surrogates(string)
        (record.output or output_of(record)).add(kind, string)
        late: LateOutput | None = record.origin.late
        if late is None:
            original(string)
        else:
            late.add(kind, string, original)
        return written

    return write
