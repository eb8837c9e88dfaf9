"""Dashboard: the widget that shows all tasks, and steers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from asyncnb.widgets._feed import Feed
from asyncnb.widgets._static import dashboard_js, joined
from asyncnb.widgets._watcher import OpenLane, Watcher


class Dashboard(Watcher):
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
        self.connect(feed, open_lane=open_lane, prompt=prompt)

    def disconnect(self) -> None:
        """End the subscription, and know no more who looks at the page."""
        super().disconnect()
        self._headless = bool

    def close(self) -> None:
        """Take the dashboard off the page."""
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
