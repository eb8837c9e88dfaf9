"""What arrives for a cell that a client runs: text, displays and errors, within bounds.

The beginning and the end of the text are kept, since a reader wants these; how much is gone between
them is known.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

Message = dict[str, Any]

#: Characters of text that are kept of a cell: its beginning, and at least so many of its end.
MAX_HEAD: Final = 50_000
MAX_TAIL: Final = 2_000_000
#: Displays that are kept, the newest, and about how many characters of them.
MAX_DISPLAYS: Final = 100
MAX_DISPLAY_SIZE: Final = 30_000_000
#: Errors that are kept, the newest.
MAX_ERRORS: Final = 20

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def plain(text: str) -> str:
    """Return ``text`` without the colours of a terminal."""
    return _ANSI.sub("", text) if "\x1b" in text else text


@dataclass
class Excerpt:
    """Text from a cursor on: ``head``, ``gone`` characters that are not kept, then ``tail``."""

    head: str
    gone: int
    tail: str
    #: Where the next question starts.
    cursor: int
    #: Lines in the part that is gone.
    gone_lines: int = 0


class TextLog:
    """Text whose beginning and end are kept. One thread at a time."""

    def __init__(self) -> None:
        self.length = 0
        self._head: list[str] = []
        self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._gone = 0
        self._gone_lines = 0

    def add(self, text: str) -> None:
        """Append ``text``."""
        self.length += len(text)
        if self._head_size < MAX_HEAD:
            fits = MAX_HEAD - self._head_size
            self._head.append(text[:fits])
            self._head_size += len(self._head[-1])
            text = text[fits:]
        if not text:
            return
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size - len(self._tail[0]) >= MAX_TAIL:
            dropped = self._tail.popleft()
            self._tail_size -= len(dropped)
            self._gone += len(dropped)
            self._gone_lines += dropped.count("\n")

    def since(self, cursor: int) -> Excerpt:
        """Return what is kept from character ``cursor`` on."""
        head = "".join(self._head)[cursor:]
        gone_until = self._head_size + self._gone
        tail = "".join(self._tail)[max(0, cursor - gone_until) :]
        gone = max(0, gone_until - max(cursor, self._head_size))
        if not gone:
            return Excerpt(head + tail, 0, "", self.length)
        lines = self._gone_lines if cursor <= self._head_size else 0  # of a part, not known
        return Excerpt(head, gone, tail, self.length, lines)


@dataclass
class Display:
    """A picture, a table or another value that was displayed, by type."""

    #: Where it is in the text, which has a line in its place.
    at: int
    data: Message
    display_id: str | None = None

    @property
    def size(self) -> int:
        """About how many characters it has."""
        return sum(len(value) for value in self.data.values() if isinstance(value, str))

    @property
    def image(self) -> tuple[str, str] | None:
        """The type and the base64 text of its picture, if it has one."""
        for kind in ("image/png", "image/jpeg", "image/gif", "image/webp"):
            data = self.data.get(kind)
            if isinstance(data, str) and data:
                return kind, data.replace("\n", "")
        return None


@dataclass
class Error:
    """An exception that was shown below a cell."""

    type: str
    message: str
    #: Without colours.
    traceback: str


@dataclass
class Received:
    """What has arrived for one cell. Written by one thread; readers hold ``lock``."""

    cell_id: str
    code: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: n of its ``In[n]``, once it has begun.
    number: int | None = None
    begun: bool = False
    #: Whether the kernel has reported the end of the request.
    idle: bool = False
    reply: Message | None = None
    log: TextLog = field(default_factory=TextLog)
    #: Characters of stdout and stderr, as the kernel counts them.
    printed: int = 0
    displays: deque[Display] = field(default_factory=deque)
    errors: deque[Error] = field(default_factory=lambda: deque(maxlen=MAX_ERRORS))

    def take(self, msg_type: str, content: Message) -> None:
        """File a message that arrived on IOPub."""
        with self.lock:
            if msg_type == "execute_input":
                self.begun = True
                self.number = content.get("execution_count")
            elif msg_type == "status":
                self.idle = content.get("execution_state") == "idle"
            elif msg_type == "stream":
                text = str(content.get("text", ""))
                self.printed += len(text)
                self.log.add(plain(text))
            elif msg_type in ("display_data", "execute_result"):
                self._display(content)
            elif msg_type == "update_display_data":
                self._update(content)
            elif msg_type == "error":
                self._error(content)

    def _display(self, content: Message) -> None:
        display = Display(
            self.log.length,
            dict(content.get("data") or {}),
            (content.get("transient") or {}).get("display_id"),
        )
        image = display.image
        text = str(display.data.get("text/plain", ""))
        if image is not None:
            text = f"[{image[0]}, {len(image[1]) * 3 // 4:,} bytes]"
        if not text and display.display_id is None:
            return
        self.displays.append(display)
        size = sum(each.size for each in self.displays)
        while len(self.displays) > MAX_DISPLAYS or (
            size > MAX_DISPLAY_SIZE and len(self.displays) > 1
        ):
            size -= self.displays.popleft().size
        if text:
            self.log.add(plain(text) + "\n")

    def _update(self, content: Message) -> None:
        display_id = (content.get("transient") or {}).get("display_id")
        for display in self.displays:
            if display.display_id == display_id:
                display.data = dict(content.get("data") or {})

    def _error(self, content: Message) -> None:
        lines = content.get("traceback") or ()
        error = Error(
            str(content.get("ename", "")),
            str(content.get("evalue", "")),
            plain("\n".join(str(line) for line in lines)),
        )
        self.errors.append(error)
        self.log.add(f"{error.type}: {error.message}\n")
