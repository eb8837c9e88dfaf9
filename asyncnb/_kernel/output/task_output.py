"""Keeps what a task printed and displayed, so that it can be shown again, within bounds.

Two limits, of which the newest output is kept: the size in characters, whatever the type, and the
number of prints and displays. Of a display that is updated repeatedly, only the last state is kept.
"""

from __future__ import annotations

import sys
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

#: The most characters of one display that ``shown=True`` has.
_MAX_SHOWN = 2000

#: While another program follows the output, what it has not read yet is kept beyond both limits, up
#: to this many times as much.
FOLLOWED = 10

_TEXT = ("stdout", "stderr")

_first_output = fork_safe_lock()

_TOO_LARGE = "<a display of more than {:,} characters, the option output_tail>"


class TaskOutput:
    """The output of one task: the newest ``most`` characters and MAX_ITEMS items.

    There is no lock: an interrupt, or an exception raised in a task that blocks, could leave it
    held. Threads change places after a call and at the end of a loop only, so what has to change
    together changes without a call in between.
    """

    __slots__ = (
        "_displays",
        "_gone",
        "_gone_others",
        "_items",
        "_news",
        "_reader",
        "_size",
        "most",
    )

    def __init__(self, most: int | None = None) -> None:
        self.most = config.output_tail if most is None else most
        #: Each is (kind, value, size, ..., extent); a list for a display that may be updated. The
        #: extent is how far it moves a cursor: of a text that was cut, with what was cut off.
        self._items: deque[Any] = deque()
        self._displays: dict[str, list[Any]] | None = None  # by display_id, of those in _items
        self._size = 0
        #: The extents of what is no longer in _items: of texts, and of displays and errors.
        self._gone = self._gone_others = 0
        #: Called when there is more; what a follower has read so far. None: nothing follows it.
        self._news: Callable[[], object] | None = None
        self._reader: int | None = None

    def add(self, kind: str, text: str) -> None:
        """Append text of the stream ``kind``; from any thread (a deque's append is atomic)."""
        length = len(text)
        if length > self.most:
            text = text[-(self.most // 2 or 1) :]  # not all, or the next "\n" pushes it out
            self._append((kind, text, len(text), length))
        else:
            self._append(_LINE_ENDS[kind] if text == "\n" else (kind, text, length))

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
            self._append(("display", (data, metadata, keywords), size, *_shown(data)))
            return
        if self._displays is None:
            self._displays = {}
        entry = self._displays.get(display_id)
        if entry is not None and keywords.get("update"):
            self._size += size - entry[2]
            entry[1:3] = (data, metadata, entry[1][2]), size  # shown as it was at first
            self._trim()
        else:
            entry = ["display", (data, metadata, keywords), size, *_shown(data)]
            self._displays[display_id] = entry
            self._append(entry)

    def add_error(self, ename: str, evalue: str, lines: list[str]) -> None:
        """Append a traceback; from any thread."""
        text = "\n".join(lines)
        if len(text) > self.most:
            text = text[-self.most :]
            lines = [text]
        size = len(text)
        self._append(("error", (ename, evalue[: self.most], lines), size, size + 1))

    def _append(self, item: Any) -> None:
        self._items.append(item)
        self._size += item[2]
        if self._size > self.most or len(self._items) > MAX_ITEMS:
            self._trim()
        news = self._news
        if news is not None:
            news()

    def _trim(self) -> None:
        items = self._items
        while len(items) > 1 and (self._size > self.most or len(items) > MAX_ITEMS):
            if self._reader is not None and self._keeps_unread(len(items)):
                return
            try:
                first = items[0]
            except IndexError:  # other threads trim it, too
                return
            # Without a call from here to `del`: see above.
            if first[0] in _TEXT:
                self._gone += first[-1]
            else:
                self._gone_others += first[-1]
            self._size -= first[2]
            del items[0]
            if self._displays and first[0] == "display":
                display_id: Any = (first[1][2].get("transient") or {}).get("display_id")
                if self._displays.get(display_id) is first:
                    del self._displays[display_id]
            del first  # the end of a display may run code: not at the next assignment

    def _keeps_unread(self, items: int) -> bool:
        """Return whether the oldest item is kept for a follower that has not read it yet."""
        if self._size > FOLLOWED * self.most or items > FOLLOWED * MAX_ITEMS:
            return False
        end = self._gone + self._gone_others + self._items[0][-1]
        return self._reader is not None and end > self._reader

    def follow(self, news: Callable[[], object] | None, reader: int | None) -> None:
        """Call ``news`` whenever there is more, and keep what follows the cursor ``reader``.

        ``news`` is called in the thread that prints, so it must only take note. With None, nothing
        follows the output any more, or for the moment. Any thread.
        """
        self._news = news
        self._reader = reader
        if reader is None:
            self._trim()

    def items(self) -> list[tuple[str, Any]]:
        """Return the kept output as (kind, value), oldest first.

        Kinds: ``stdout`` and ``stderr`` (text), ``display`` (data, metadata, keywords),
        ``error`` (name, message, traceback lines).
        """
        return [(item[0], item[1]) for item in list(self._items)]

    def ends_with_traceback(self) -> bool:
        """Return whether the newest output is a traceback. Any thread."""
        return any(item[0] == "error" for item in [*self._items][-1:])

    @property
    def text(self) -> str:
        """The printed text, stdout and stderr in the order in which they were printed."""
        return "".join(v for k, v in self.items() if k in ("stdout", "stderr"))

    def since(
        self, cursor: int, most: int | None = None, *, shown: bool = False
    ) -> tuple[str, int, int]:
        """Return the kept text from character ``cursor`` on, the next cursor, and how much is gone.

        Characters are counted from the first one that was printed. What is gone was in front of the
        returned text, which ends where more is missing, or after about ``most`` characters.
        ``shown``: with displays and tracebacks, as text; cursors then count these, too. Of what is
        beyond the end, the next cursor is the end. Any thread.
        """
        # One moment, as there is no call in it.
        gone, others, items = self._gone, self._gone_others, [*self._items]
        position = gone + others if shown else gone
        missing = max(0, position - cursor)
        pieces: list[str] = []
        size = 0
        for item in items:
            if not (shown or item[0] in _TEXT):
                continue
            begin, position = position, position + item[-1]
            if position <= cursor:
                continue
            text = _text_of(item)
            first = position - len(text)
            if first > begin and first > cursor:  # the start of this text was cut off
                if pieces:
                    position = begin
                    break
                missing += first - max(begin, cursor)
            pieces.append(text[max(0, cursor - first) :])
            size += len(pieces[-1])
            if most is not None and size >= most:
                break
        return "".join(pieces), position, missing


def _shown(data: dict[str, Any]) -> tuple[str, int]:
    """Return a display as text that ends its line, and the length of that."""
    text = data.get("text/plain")
    kind = next((kind for kind in data if kind.startswith(("image/", "video/", "audio/"))), None)
    if kind is not None or not isinstance(text, str):
        text = f"[{kind or next(iter(data), 'nothing')}]"
    text = text[:_MAX_SHOWN] + "\n"
    return text, len(text)


def _text_of(item: Any) -> str:
    """Return what ``since`` shows of an item."""
    if item[0] == "display":
        return str(item[3])
    return "\n".join(item[1][2]) + "\n" if item[0] == "error" else str(item[1])


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
