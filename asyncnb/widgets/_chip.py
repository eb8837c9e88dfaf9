"""Chips: one live line for a task, wherever the task is displayed.

A chip is a widget of a few hundred bytes. It is drawn and kept up to date by one other widget, the
hub, which is created with the first chip and is itself never shown. So a thousand chips share one
connection, and updates are sent only for those in sight.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from asyncnb.widgets._feed import Feed
from asyncnb.widgets._static import chip_js, joined
from asyncnb.widgets._watcher import SubscribeComm, Watcher


class ChipHub(Watcher):
    """The connection that all chips of a kernel share. Closing it leaves the chips as they are."""

    _esm = chip_js()

    key = traitlets.Unicode().tag(sync=True)
    css = traitlets.Unicode(joined("chips/chip.css")).tag(sync=True)

    def __init__(
        self, feed: Feed, *, subscribe_comm: SubscribeComm, prompt: Callable[[], bool]
    ) -> None:
        super().__init__(key=uuid.uuid4().hex)
        self.connect(feed, subscribe_comm=subscribe_comm, prompt=prompt, only=())


class Chip(anywidget.AnyWidget):
    """One task as one line. ``text`` is shown until the hub draws the chip."""

    _esm = joined("chips/chip-place.js")

    key = traitlets.Unicode().tag(sync=True)
    task = traitlets.Int().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)

    def __init__(self, hub: ChipHub, task: int, text: str) -> None:
        # All share one layout: a layout for each chip would be one more widget.
        super().__init__(key=hub.key, task=task, text=text, layout=hub.layout)

    def bundle(self) -> dict[str, Any]:
        """Return what to display, by mime type."""
        shown = self._repr_mimebundle_()
        return {} if shown is None else shown[0]
