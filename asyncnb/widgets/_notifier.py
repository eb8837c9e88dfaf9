"""Notifier: a widget that is never shown itself; in each open page it shows notifications.

Of several pages of one browser, the first that takes a lock of the browser's for a notice shows it,
one that is looked at before those that are hidden. It then reports so; what no page has shown is
sent again to the page that opens next.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import anywidget
import traitlets

from asyncnb._core.launched.notices import Notice
from asyncnb.widgets._static import notify_js
from asyncnb.widgets._watcher import SubscribeComm

#: How many notices, the newest, are kept for a page that opens later.
MAX_KEPT: Final = 20

#: Seconds after which what no page has shown is late, also for a page that was loaded before: its
#: notebook may have been closed meanwhile. A page that is looked at shows what is late, too.
LATE: Final = 5.0

#: Has something called on the thread that uses the notifier.
CallSoon = Callable[[Callable[[], object]], None]


class Notifier(anywidget.AnyWidget):
    """Reaches all pages of this kernel. Its methods are called on one thread.

    ``call_soon`` brings the messages of pages to that thread.
    """

    _esm = notify_js()

    key = traitlets.Unicode().tag(sync=True)

    def __init__(self, call_soon: CallSoon, *, subscribe_comm: SubscribeComm | None = None) -> None:
        super().__init__(key=uuid.uuid4().hex)
        self._call_soon: CallSoon | None = call_soon
        #: What no page has shown yet, by number: when it was sent, and the message.
        self._kept: dict[int, tuple[float, dict[str, Any]]] = {}
        self._number = 0
        self._unsubscribe_comm: Callable[[], object] = bool
        if subscribe_comm is not None:
            self._unsubscribe_comm = subscribe_comm(self.comm.comm_id, self._arrived)
        self.on_msg(lambda _, content, buffers: self._arrived(content, buffers))

    def put(self, notice: Notice) -> None:
        """Make one page show ``notice``; if none is open, the next one that is."""
        self._number += 1
        message = {
            "k": "note",
            "n": self._number,
            "title": notice.title,
            "text": notice.text,
            "level": notice.level,
            "onlyUnseen": notice.only_unseen,
        }
        self._kept[self._number] = time.monotonic(), message
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self.send(message)

    def ask(self) -> None:
        """Make the pages offer a button that asks the browser for permission."""
        self.send({"k": "ask"})

    def close(self) -> None:
        """Remove it from all pages. A second call does nothing."""
        self._call_soon = None
        self._kept.clear()
        unsubscribe, self._unsubscribe_comm = self._unsubscribe_comm, bool
        unsubscribe()
        layout = self.layout  # a widget too: ipywidgets would keep it
        super().close()
        if layout is not None:
            layout.close()

    def _arrived(self, content: object, buffers: list[Any]) -> None:
        call_soon = self._call_soon
        if call_soon is not None:
            call_soon(lambda: self.take(content))

    def take(self, content: object) -> None:
        """Handle a message of a page, which can be anything."""
        if not isinstance(content, dict):
            return
        number = content.get("n")
        if content.get("c") == "hello":
            age = content.get("age")  # of the page, in seconds
            patience = min(age, LATE) if isinstance(age, int | float) else LATE
            now = time.monotonic()
            for sent, message in self._kept.values():
                self.send(message | {"late": now - sent > patience})
        elif content.get("c") == "shown" and type(number) is int:
            self._kept.pop(number, None)
