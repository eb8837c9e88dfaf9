"""Chips: one live line for one task, where a task is displayed.

A chip is a widget of a few hundred bytes. What draws it and what feeds it is one other widget, the
hub, which is made with the first chip and never shown itself: a thousand chips have one
connection, and news are sent only of those in sight.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from asyncnb.widgets._feed import Feed
from asyncnb.widgets._static import chip_js, joined

OpenLane = Callable[[str, Callable[[object, list[Any]], object]], Callable[[], None]]


class ChipHub(anywidget.AnyWidget):
    """What all chips of a kernel share."""

    _esm = chip_js()

    key = traitlets.Unicode().tag(sync=True)
    css = traitlets.Unicode(joined("chip.css")).tag(sync=True)

    def __init__(self, feed: Feed, *, open_lane: OpenLane, prompt: Callable[[], bool]) -> None:
        super().__init__(key=uuid.uuid4().hex)
        self._feed = feed
        self._subscription = feed.subscribe(self._tell, only=(), answers=prompt())
        self._close_lane = open_lane(self.comm.comm_id, self._arrived)
        self.on_msg(lambda _, content, buffers: self._arrived(content, buffers))

    def _arrived(self, content: object, buffers: list[Any]) -> None:
        self._feed.submit(self._subscription, content)

    def _tell(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        if self.comm is None:
            raise RuntimeError("the hub of the chips was closed")
        self.send(message, buffers)

    def close(self) -> None:
        """Leave the chips as they are."""
        if hasattr(self, "_subscription"):
            self._close_lane()
            self._feed.unsubscribe(self._subscription)
        super().close()


class Chip(anywidget.AnyWidget):
    """One task, as one line. ``text`` stands there until the hub draws it."""

    _esm = joined("chip-place.js")

    key = traitlets.Unicode().tag(sync=True)
    task = traitlets.Int().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)

    def __init__(self, hub: ChipHub, task: int, text: str) -> None:
        # One layout for all: each chip's own would be one more widget.
        super().__init__(key=hub.key, task=task, text=text, layout=hub.layout)

    def bundle(self) -> dict[str, Any]:
        """Return what is displayed, by mime type."""
        shown = self._repr_mimebundle_()
        return {} if shown is None else shown[0]
