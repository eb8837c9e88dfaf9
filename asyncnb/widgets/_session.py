"""The browser side of one kernel: the widgets on its feed. Created on first use."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from asyncnb._core.launched.record import TaskRecord
from asyncnb.widgets._chip import Chip, ChipHub
from asyncnb.widgets._dashboard import Dashboard
from asyncnb.widgets._feed import Feed
from asyncnb.widgets._notifier import CallSoon, Notifier
from asyncnb.widgets._watcher import SubscribeComm, Watcher


class BrowserSide:
    """Creates dashboards and chips.

    ``fallback`` returns what to show instead of a dashboard where widgets cannot be shown;
    ``headless`` says whether the run is headless.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        subscribe_comm: SubscribeComm,
        prompt: Callable[[], bool],
        fallback: Callable[[], dict[str, str]],
        headless: Callable[[], bool] = bool,
    ) -> None:
        self._subscribe_comm = subscribe_comm
        self._prompt = prompt
        self._fallback = fallback
        self._headless = headless
        self._hub: ChipHub | None = None
        self._notifier: Notifier | None = None
        self._widgets: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self.feed = feed

    def dashboard(self, **options: Any) -> Dashboard:
        """Return a new dashboard; raise TypeError or TraitError for options it does not have."""
        dashboard = Dashboard(
            self.feed,
            subscribe_comm=self._subscribe_comm,
            prompt=self._prompt,
            fallback=self._fallback,
            headless=self._headless,
            **options,
        )
        self._widgets.add(dashboard)
        return dashboard

    def chip(self, record: TaskRecord, bundle: dict[str, Any]) -> dict[str, Any]:
        """Return ``bundle``, a task as one line, with a live chip that takes precedence."""
        if self._hub is None:
            self._hub = ChipHub(self.feed, subscribe_comm=self._subscribe_comm, prompt=self._prompt)
            self._widgets.add(self._hub)
        return Chip(self._hub, record.id, bundle["text/plain"]).bundle() | bundle

    def notifier(self, call_soon: CallSoon) -> Notifier:
        """Return the notifier of this kernel; ``call_soon`` brings what pages send to its user."""
        if self._notifier is None:
            self._notifier = Notifier(call_soon, subscribe_comm=self._subscribe_comm)
        return self._notifier

    def close(self) -> None:
        """End the feed; dashboards on a page then show that they are not connected."""
        self.feed.close()
        for widget in list(self._widgets):
            widget.disconnect()
        if self._notifier is not None:
            self._notifier.close()  # no page shows it, so nothing on a page is lost
