"""Sends the summary to those that show no rows: at most once a second, and only if it differs.

Without a subscriber nothing is observed. The loop's thread only notes which tasks have changed;
the feed's thread looks at these, once for all subscribers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from asyncnb._core.launched.record import TaskRecord, observers
from asyncnb._core.launched.registry import TaskRegistry
from asyncnb.widgets._subscription import Message, Subscription
from asyncnb.widgets._summary import Summary

#: Seconds between two summaries at least.
INTERVAL: Final = 1.0
#: Seconds in which more may change before a summary is sent, so that a cell that launches ten tasks
#: is not shown with one of them for a second.
SETTLE: Final = 0.1
#: The share of one core that summaries may use; with more to do they are sent less often.
MAX_SUMMARY_SHARE: Final = 0.003


class Summaries:
    """The subscriptions that show a summary. The feed's thread, except for ``mark``.

    ``wake`` wakes that thread, ``facts`` returns what the summary has besides the tasks.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        *,
        wake: Callable[[], object],
        facts: Callable[[Message], Message],
        send: Callable[[Subscription, Message], object],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._wake = wake
        self._facts = facts
        self._send = send
        self._clock = clock
        self._summary = Summary(registry)
        self.subscriptions: list[Subscription] = []
        self._observing = False
        self._armed = False
        #: The tasks that have changed, by id.
        self._marked: dict[int, TaskRecord] = {}
        #: What has ended since the last summary, by the cell's id.
        self._ended: dict[str, Message] = {}
        self._other: Message = {}
        #: When the next summary may be sent, when changes will have settled, when to look anyway.
        self._earliest = self._next_look = 0.0
        self._settled: float | None = None

    def mark(self, record: TaskRecord) -> None:
        """Note that ``record`` has changed. Any thread."""
        self._marked[record.id] = record
        if not self._armed:
            self._armed = True
            self._wake()

    def due(self) -> float:
        """Return when ``tick`` has something to do."""
        if not self._observing:
            return math.inf
        if not self._marked:
            return self._next_look
        if self._settled is None:
            self._settled = self._clock() + SETTLE
        return max(self._earliest, self._settled)

    def sync(self, subscription: Subscription) -> None:
        """Send a first summary to ``subscription``, and from now on what follows."""
        if not self._observing:
            self._start()
        subscription.open = True
        subscription.sent = subscription.seen = 0
        subscription.summary_sent = self._message({})
        self._send(subscription, subscription.summary_sent)

    def tick(self) -> None:
        """Send a summary to each subscription whose last one differs."""
        listening = [s for s in self.subscriptions if s.listening]
        if not listening:
            self.stop()
            return
        began, now = time.thread_time(), self._clock()
        self._update()
        self._other = self._facts(self._other)
        ended, self._ended = self._ended, {}
        message, sent = self._message(ended), False
        for subscription in listening:
            if message != subscription.summary_sent:
                # What has ended is sent once, so the next message is compared without it.
                subscription.summary_sent = self._message({}) if ended else message
                self._send(subscription, message)
                sent = True
        pause = max(INTERVAL, (time.thread_time() - began) / MAX_SUMMARY_SHARE)
        self._next_look = now + pause
        if sent or pause > INTERVAL:
            self._earliest = self._next_look

    def stop(self) -> None:
        """Observe nothing until the next ``sync``. Any thread."""
        self._observing = False
        observers.discard(self.mark)
        self._armed = False
        self._marked.clear()
        self._ended.clear()

    def _start(self) -> None:
        self._observing = True
        observers.add(self.mark)
        self._summary.clear()
        self._summary.update(self._registry.records())
        self._other = self._facts({})
        self._earliest = self._next_look = self._clock() + INTERVAL

    def _update(self) -> None:
        self._armed, self._settled = False, None  # first: a later mark wakes the thread again
        changed = []
        while self._marked:
            changed.append(self._marked.popitem()[1])
        if changed:
            changed.reverse()  # the order in which they were launched
            self._ended |= self._summary.update(changed)

    def _message(self, ended: dict[str, Message]) -> Message:
        cells = ended | self._summary.cells()
        return {
            "k": "summary",
            "counts": dict(self._summary.counts),
            "failures": self._registry.failures,
            "cells": [[id, facts] for id, facts in cells.items()],
            **self._other,
        }
