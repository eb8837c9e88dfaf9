"""Runs without a person: nbclient, papermill, nbval.

They drop every message whose parent is not the cell that runs now, so what a background task says
after its cell has ended would be lost. The one exception is ``update_display_data``: they store it
where the display stands. So a launching cell gets an empty display, and what its task says later
is put into that display when a later cell waits for the task or ends.
"""

from __future__ import annotations

import base64
import contextvars
import functools
import html
import re
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from IPython.display import display

from asyncnb._core._locks import fork_safe_lock

#: Seconds between the end of a cell's code and its ``idle`` message, amply: a task's output in
#: between would be stored twice, so it is held back that long.
HOLD_SECONDS = 0.1

#: Late things that are kept for a cell, the newest.
MOST_ITEMS = 10_000


def is_headless(parent: dict[str, Any]) -> bool:
    """Return whether a program runs the notebook, not a person.

    Those clients allow no stdin; the front ends for people do (Jupyter protocol, execute_request).
    """
    return (parent.get("content") or {}).get("allow_stdin") is False


class LateOutput:
    """The display in a launching cell that takes what its tasks say after the cell's end."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._ended = False
        self._held: list[Callable[[], object]] | None = None
        self._items: deque[tuple[str, Any]] = deque(maxlen=MOST_ITEMS)
        self._stale = False
        #: By display_id: the newest state of displays that this cell shows itself.
        self._updates: dict[str, tuple[Any, Any]] = {}
        self._lines = {"stdout": "", "stderr": ""}  # begun before the cell's end
        self._emit_line: dict[str, Callable[[Any], object]] = {}
        self.display_id = f"asyncnb-{uuid.uuid4().hex}"
        display({"text/plain": ""}, raw=True, display_id=self.display_id)

    def say(self, kind: str, value: Any, emit: Callable[[Any], object]) -> None:
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
            self._say(kind, value, emit)

    def _say(self, kind: str, value: Any, emit: Callable[[Any], object]) -> None:
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
        """Draw the line between what the cell shows itself and what comes late."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            sys.stdout.flush()
            sys.stderr.flush()
            self._held = []
            for kind, begun in self._lines.items():
                if begun:
                    self._say(kind, begun, self._emit_line[kind])
        timer = threading.Timer(HOLD_SECONDS, self._release)
        timer.daemon = True
        timer.start()

    def _release(self) -> None:
        with self._lock:
            held, self._held = self._held or (), None
            for emit in held:
                emit()

    def deliver(self) -> None:
        """Put what was said late, and not told yet, into the display; update the others."""
        with self._lock:
            updates, self._updates = self._updates, {}
            for display_id, (data, metadata) in updates.items():
                display(data, raw=True, metadata=metadata, display_id=display_id, update=True)
            if not self._stale:
                return
            self._stale = False
            items = list(self._items)
        display(_as_one(items), raw=True, display_id=self.display_id, update=True)


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
