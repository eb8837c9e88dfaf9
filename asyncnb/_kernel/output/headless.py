"""Headless runs: nbclient, papermill, nbval.

They discard every message whose parent is not the cell that is running now, so the output of a
background task after the end of its cell would be lost. The one exception is
``update_display_data``: they store it where the display is. So a launching cell ends with an empty
display, and the later output of its task is put into that display when a later cell waits for the
task or ends.

Other programs send the same kind of request, and keep reading: agents, tool servers. They have
already received the late output, as a front end does. Nothing in a request distinguishes the two;
what they read does. So each time the display is filled by a message of the running cell, a message
of its own cell empties it right afterwards. A program that discards the second message keeps the
first; one that reads both ends up with the task's output once.
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
from asyncnb._core.config import config
from asyncnb._kernel.current_cell import current_record
from asyncnb._kernel.ipykernel.parents import is_headless

#: Seconds between the end of a cell's code and its ``idle`` message, with a wide margin: output of
#: a task in between would be stored twice, so it is held back that long.
HOLD_SECONDS = 0.1

_EMPTY = {"text/plain": ""}


class LateOutputs:
    """The cells of a kernel whose late output may have to be stored, and that output."""

    def __init__(self) -> None:
        #: By the launching cell's message; alive as long as one of its tasks is remembered.
        self._by_message: WeakValueDictionary[str, LateOutput] = WeakValueDictionary()

    def for_cell(self, parent: dict[str, Any], make: Callable[[], LateOutput]) -> LateOutput | None:
        """Return what collects the late output of the cell of ``parent``; None if nothing has to.

        A silent request is not a notebook cell: programs use it to look something up, and get what
        a plain kernel sends. A request that is not stored in the history may be one: nbval's are.
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
        """Note the end of the cell of ``message``: the output of its tasks is late from now on."""
        late = self._by_message.get(message)
        if late is not None:
            late.cell_ended()

    def deliver(self) -> None:
        """Put the output of tasks since the last call into the cells that launched them.

        Does nothing in a task: the programs that need it read the cell that is running.
        """
        if current_record.get() is None:
            for late in list(self._by_message.values()):
                late.deliver()


class LateOutput:
    """The display in a launching cell that receives the output of its tasks after the cell's end.

    ``publish`` sends a display to the cell of the context in which it is called, whatever a cell
    captures. Must be created in the context of the launching cell.
    """

    def __init__(self, publish: Callable[..., None]) -> None:
        self._lock = fork_safe_lock()
        self._publish = publish
        self._in_its_cell = contextvars.copy_context().run
        self._ended = False
        self._held: list[Callable[[], object]] | None = None
        self._items: deque[tuple[str, Any]] = deque(maxlen=config.late_items)
        self._stale = False
        self._filled = False  # whether clients that keep reading see the display filled
        #: By display_id: the newest state of the displays that this cell itself shows.
        self._updates: dict[str, tuple[Any, Any]] = {}
        self._lines = {"stdout": "", "stderr": ""}  # started before the cell's end
        self._emit_line: dict[str, Callable[[Any], object]] = {}
        self.display_id = f"asyncnb-{uuid.uuid4().hex}"

    def add(self, kind: str, value: Any, emit: Callable[[Any], object]) -> None:
        """Call ``emit(value)``, slightly later if the cell is just ending; keep late output."""
        with self._lock:
            if not self._ended and kind in self._lines:
                # print() writes in pieces, and a line that the end of its cell cuts in two would
                # be stored in two places.
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
        """Apply an update to the earlier display that it is for; return whether it is an update."""
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
        """Show the display for late output in the cell, still empty: output is late from now on."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._held = []
            for kind, started in self._lines.items():
                if started:
                    self._add(kind, started, self._emit_line[kind])
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

    def clear(self) -> None:
        """Drop the late output so far: the task that it is of runs again."""
        with self._lock:
            self._stale = self._stale or bool(self._items)
            self._items.clear()

    def deliver(self) -> None:
        """Put late output that was not delivered yet into the display; update the other displays.

        Must be called in the context of the running cell.
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
        # While output is held back, the clients may still be reading this very cell.
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
    """Return all late output as one mime bundle; with HTML only if something needs it."""
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
