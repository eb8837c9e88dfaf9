"""Dashboard: the widget that shows all tasks, and steers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from asyncnb.widgets._feed import Feed
from asyncnb.widgets._static import dashboard_js, joined

#: Hands a comm's messages to a callback at once, also while a cell runs; returns what stops that.
OpenLane = Callable[[str, Callable[[object, list[Any]], object]], Callable[[], None]]


class Dashboard(anywidget.AnyWidget):
    """The tasks of this kernel, live, with buttons.

    Usually ``asyncnb.dashboard()`` makes one. ``height`` is that of the list in pixels. Closing the
    widget (``close()``) takes it off the page.
    """

    _esm = dashboard_js()
    _css = joined("dashboard.css", "timeline.css")

    height = traitlets.Int(320, min=84, max=4000).tag(sync=True)

    def __init__(
        self,
        feed: Feed,
        *,
        open_lane: OpenLane | None = None,
        prompt: Callable[[], bool] = bool,
        fallback: Callable[[], dict[str, str]] = dict,
        headless: Callable[[], bool] = bool,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._own_layout: Any = None if "layout" in options else self.layout
        self._fallback = fallback
        self._headless = headless
        self._close_lane: Callable[[], object] = bool
        if open_lane is not None:
            self._close_lane = open_lane(self.comm.comm_id, self._arrived)
        self._feed = feed
        self._subscription = feed.subscribe(self._tell, answers=prompt())
        self.on_msg(lambda _, content, buffers: self._arrived(content, buffers))

    def _arrived(self, content: object, buffers: list[Any]) -> None:
        self._feed.submit(self._subscription, content)

    def _tell(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        if self.comm is None:
            raise RuntimeError("this dashboard was closed")
        self.send(message, buffers)

    def close(self) -> None:
        """Take the dashboard off the page."""
        if hasattr(self, "_subscription"):  # not if the constructor refused its options
            self._close_lane()
            self._feed.unsubscribe(self._subscription)
        super().close()
        if getattr(self, "_own_layout", None) is not None:
            self._own_layout.close()  # a widget as well, which ipywidgets would keep for ever

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        if self._headless():
            return self._fallback(), metadata  # its state is not saved: a hole in the page
        # Where no widget can be shown, in a saved notebook say: how things stood at that moment.
        return {**data, **self._fallback()}, metadata
