"""A widget that the feed keeps up to date."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import anywidget

from asyncnb.widgets._feed import Feed
from asyncnb.widgets._subscription import Subscription

#: Passes a comm's messages to a callback at once, even while a cell runs; returns how to stop that.
SubscribeComm = Callable[[str, Callable[[object, list[Any]], object]], Callable[[], None]]


class Watcher(anywidget.AnyWidget):
    """A widget with a subscription, until it is closed or asyncnb is unloaded.

    ipywidgets keeps every widget until it is closed, and unloading closes none, because they stay
    on the page. So a disconnected widget holds no reference to the rest of asyncnb.
    """

    _feed: Feed | None = None
    _subscription: Subscription | None = None

    def connect(
        self,
        feed: Feed,
        *,
        subscribe_comm: SubscribeComm | None = None,
        prompt: Callable[[], bool] = bool,
        only: Collection[int] | None = None,
    ) -> None:
        """Subscribe to ``feed``; the first message is sent when the browser asks for it."""
        self._subscription = feed.subscribe(self._deliver, only=only, answers=prompt())
        self._feed = feed
        self._unsubscribe_comm: Callable[[], object] = bool
        if subscribe_comm is not None:
            self._unsubscribe_comm = subscribe_comm(self.comm.comm_id, self._arrived)
        self.on_msg(lambda _, content, buffers: self._arrived(content, buffers))

    def disconnect(self) -> None:
        """End the subscription and forget the feed. A second call does nothing."""
        feed, self._feed = self._feed, None
        subscription, self._subscription = self._subscription, None
        if feed is not None and subscription is not None:
            unsubscribe, self._unsubscribe_comm = self._unsubscribe_comm, bool
            unsubscribe()
            feed.unsubscribe(subscription)

    def _arrived(self, content: object, buffers: list[Any]) -> None:
        feed, subscription = self._feed, self._subscription
        if feed is not None and subscription is not None:
            feed.submit(subscription, content)
        elif self.comm is not None:  # from a page that was reopened since
            self.send({"k": "bye"})

    def _deliver(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        if self.comm is None:
            raise RuntimeError("this widget was closed")
        self.send(message, buffers)

    def close(self) -> None:
        """Remove the widget from the page."""
        self.disconnect()
        super().close()
