"""Runs without a person: nbclient, papermill, nbval.

They drop every message whose parent is not the cell that runs now, so what a background task says
after its cell has ended would be lost. The one exception is ``update_display_data``: they store it
where the display is. So a launching cell ends with an empty display, and what its task says later
is put into that display when a later cell waits for the task or ends.

Other programs ask in the same way, and read on: agents, servers of tools. They have got the late
output already, as a front end does. Nothing in a request tells the two apart; what they read does.
So each time the display is filled in a message of the cell that runs, it is emptied in a message of
its own cell right afterwards. A program that drops the second message keeps the first; one that
reads both is left with what the task said, once.
"""

from __future__ import annotations

import base64
import contextvars
import functools
import html
import re
import threading
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.launched.record import current_record

#: Seconds between the end of a cell's code and its ``idle`` message, amply: a task's output in
#: between would be stored twice, so it is held back that long.
HOLD_SECONDS = 0.1

#: Late things that are kept for a cell, the newest.
MAX_ITEMS = 10_000

_EMPTY = {"text/plain": ""}


def is_headless(parent: dict[str, Any]) -> bool:
    """Return whether a program runs the notebook, not a person.

    Those clients allow no stdin; the front ends for people do (Jupyter protocol, execute_request).
    """
    return (parent.get("content") or {}).get("allow_stdin") is False


class LateOutputs:
    """The cells of a kernel whose late output may have to be stored, and what it is."""

    def __init__(self) -> None:
        #: By the launching cell's message; alive as long as a task of it is remembered.
        self._by_message: WeakValueDictionary[str, LateOutput] = WeakValueDictionary()

    def for_cell(self, parent: dict[str, Any], make: Callable[[], LateOutput]) -> LateOutput | None:
        """Return what takes the late output of the cell that ``parent`` runs; None if nothing does.

        A silent request is no cell of a notebook: programs look something up with it, and get what
        a plain kernel sends. One that is not to be in the history may well be one: nbval's are.
        """
        content = parent.get("content") or {}
        if not is_headless(parent) or content.get("silent"):
            return None
        message = parent["header"]["msg_id"]
        late = self._by_message.get(message)
        if late is None:
            late = self._by_message[message] = make()
        return late

    def __bool__(self) -> bool:
        return bool(self._by_message)

    def cell_ended(self, message: str) -> None:
        """The running cell, that of ``message``, has ended: its tasks' output is late from now."""
        late = self._by_message.get(message)
        if late is not None:
            late.cell_ended()

    def deliver(self) -> None:
        """Put what tasks said since the last call into the cells that launched them.

        Not from a task: the programs that need it read the cell that runs.
        """
        if current_record.get() is None:
            for late in list(self._by_message.values()):
                late.deliver()


class LateOutput:
    """The display in a launching cell that takes what its tasks say after the cell's end.

    ``publish`` sends a display to the cell of the context in which it is called, whatever a cell
    captures. To be made in the context of the launching cell.
    """

    def __init__(self, publish: Callable[..., None]) -> None:
        self._lock = fork_safe_lock()
        self._publish = publish
        self._in_its_cell = contextvars.copy_context().run
        self._ended = False
        self._held: list[Callable[[], object]] | None = None
        self._items: deque[tuple[str, Any]] = deque(maxlen=MAX_ITEMS)
        self._stale = False
        self._filled = False  # the display, for those that read on
        #: By display_id: the newest state of displays that this cell shows itself.
        self._updates: dict[str, tuple[Any, Any]] = {}
        self._lines = {"stdout": "", "stderr": ""}  # begun before the cell's end
        self._emit_line: dict[str, Callable[[Any], object]] = {}
        self.display_id = f"asyncnb-{uuid.uuid4().hex}"

    def add(self, kind: str, value: Any, emit: Callable[[Any], object]) -> None:
        """Call ``emit(value)``, a moment later if the cell is just ending; keep what is late."""
        with self._lock:
            if not self._ended and kind in self._lines:
                # print() writes in pieces, and a line cut by the end of its cell would be stored
                # in two places.
                value = self._lines[kind] + value
                value, newline, self._lines[kind] = value.rpartition("\n")
                value += newline
                if not value:
                    self._emit_line[kind] = _in_this_context(emit)
                    return
            self._add(kind, value, emit)

    def _add(self, kind: str, value: Any, emit: Callable[[Any], object]) -> None:
        if self._ended and not (kind == "display" and self._is_update(*value)):
            self._items.append((kind, value))
            self._stale = True
        if self._held is None:
            emit(value)
        else:
            self._held.append(functools.partial(_in_this_context(emit), value))

    def _is_update(self, data: Any, metadata: Any, keywords: dict[str, Any]) -> bool:
        """Note an update of an earlier display where that stands; return whether it is one."""
        display_id = (keywords.get("transient") or {}).get("display_id")
        if not keywords.get("update") or display_id is None:
            return False
        for n, (kind, value) in enumerate(self._items):
            if kind == "display" and (value[2].get("transient") or {}).get("display_id") == (
                display_id
            ):
                self._items[n] = (kind, (data, metadata, value[2]))
                self._stale = True
                return True
        self._updates[display_id] = (data, metadata)
        return True

    def cell_ended(self) -> None:
        """Draw the line between what the cell shows itself and what comes late, in that cell."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._held = []
            for kind, begun in self._lines.items():
                if begun:
                    self._add(kind, begun, self._emit_line[kind])
            self._show(self.display_id, _EMPTY)
        timer = threading.Timer(HOLD_SECONDS, self._release)
        timer.daemon = True
        timer.start()

    def _release(self) -> None:
        with self._lock:
            held, self._held = self._held or (), None
            for emit in held:
                emit()
            self._empty()

    def deliver(self) -> None:
        """Put what was said late, and not delivered yet, into the display; update the others.

        To be called in the context of the cell that runs.
        """
        with self._lock:
            updates, self._updates = self._updates, {}
            for display_id, (data, metadata) in updates.items():
                self._show(display_id, data, metadata, update=True)
            if not (self._ended and self._stale):
                return
            self._stale, self._filled = False, True
            self._show(self.display_id, _as_one(list(self._items)), update=True)
            self._empty()

    def _empty(self) -> None:
        # While output is held back, its cell may be the one that is being read.
        if self._filled and self._held is None:
            self._filled = False
            self._in_its_cell(functools.partial(self._show, update=True), self.display_id, _EMPTY)

    def _show(self, display_id: str, data: Any, metadata: Any = None, **keywords: Any) -> None:
        transient = {"display_id": display_id}
        self._publish(data, metadata or {}, transient=transient, **keywords)


def _in_this_context(emit: Callable[[Any], object]) -> Callable[[Any], object]:
    context = contextvars.copy_context()
    return lambda value: context.run(emit, value)


def _as_one(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return everything that was said as one mime bundle; HTML only if something needs it."""
    plain, rich = [], []
    is_rich = False
    for kind, value in items:
        if kind == "display":
            data = value[0]
            text = f"{data.get('text/plain', '')}\n"
            if "text/html" in data:
                markup = data["text/html"]
            elif "image/svg+xml" in data:
                markup = data["image/svg+xml"]
            elif "image/png" in data:
                markup = f'<img src="data:image/png;base64,{_base64(data["image/png"])}">'
            else:
                markup = ""
            is_rich = is_rich or bool(markup)
        else:
            text, markup = ("\n".join(value[2]) + "\n" if kind == "error" else value), ""
            text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        plain.append(text)
        rich.append(markup or f"<pre>{html.escape(text)}</pre>")
    bundle = {"text/plain": "".join(plain).rstrip("\n")}
    if is_rich:
        bundle["text/html"] = "".join(rich)
    return bundle


def _base64(image: str | bytes) -> str:
    return image.strip() if isinstance(image, str) else base64.b64encode(image).decode()
