"""The interactive timeline, with zoom and search, for front ends with widgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from asyncnb._core.listing.rows import sendable
from asyncnb.widgets._static import joined
from asyncnb.widgets._timeline_facts import compact


class TimelineWidget(anywidget.AnyWidget):
    """A timeline with zoom, hover and search. Usually ``asyncnb.timeline()`` shows one.

    ``refresh`` returns the current facts; it is called when the user asks for them.
    """

    _esm = joined("format.js", "timeline.js", "timeline_widget.js")
    _css = joined("timeline.css")

    data = traitlets.Dict().tag(sync=True)

    def __init__(self, data: dict[str, Any], refresh: Callable[[], dict[str, Any]]) -> None:
        super().__init__(data=sendable(compact(data)))
        self._refresh = refresh
        self.on_msg(lambda _, content, buffers: self._arrived(content))

    def _arrived(self, content: object) -> None:
        if isinstance(content, dict) and content.get("c") == "timeline":
            self.data = sendable(compact(self._refresh()))
