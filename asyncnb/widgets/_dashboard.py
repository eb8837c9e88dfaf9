"""Dashboard: the widget that shows and controls all tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from asyncnb.widgets._feed import Feed
from asyncnb.widgets._static import dashboard_css, dashboard_js
from asyncnb.widgets._watcher import SubscribeComm, Watcher


class Dashboard(Watcher):
    """The tasks of this kernel, live, with buttons.

    Usually ``asyncnb.dashboard()`` creates one. ``height`` is the height of the list in pixels.
    Closing the widget (``close()``) removes it from the page.
    """

    _esm = dashboard_js()
    _css = dashboard_css()

    height = traitlets.Int(320, min=84, max=4000).tag(sync=True)

    def __init__(
        self,
        feed: Feed,
        *,
        subscribe_comm: SubscribeComm | None = None,
        prompt: Callable[[], bool] = bool,
        fallback: Callable[[], dict[str, str]] = dict,
        headless: Callable[[], bool] = bool,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._own_layout: Any = None if "layout" in options else self.layout
        self._fallback = fallback
        self._headless = headless
        self.connect(feed, subscribe_comm=subscribe_comm, prompt=prompt)

    def disconnect(self) -> None:
        """End the subscription, and forget how to ask whether the run is headless."""
        super().disconnect()
        self._headless = bool

    def close(self) -> None:
        """Remove the dashboard from the page."""
        super().close()
        if getattr(self, "_own_layout", None) is not None:
            self._own_layout.close()  # a widget too: ipywidgets would keep it

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        if self._headless():
            return (
                self._fallback(),
                metadata,
            )  # its state is not saved, so the page would show nothing
        # The table is shown where widgets are not, such as in a saved notebook.
        return {**data, **self._fallback()}, metadata
