"""The browser side of one kernel: one feed and the widgets on it. Created on first use."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

from asyncnb._core.base.text import duration
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.loop.slow_steps import MIN_LAG
from asyncnb.widgets._chip import Chip, ChipHub
from asyncnb.widgets._commands import Commands
from asyncnb.widgets._dashboard import Dashboard
from asyncnb.widgets._feed import Feed
from asyncnb.widgets._notifier import CallSoon, Notifier
from asyncnb.widgets._rows import cut
from asyncnb.widgets._subscription import Message
from asyncnb.widgets._watcher import SubscribeComm, Watcher


class BrowserSide:
    """Creates dashboards and chips.

    ``fallback`` returns what to show instead of a dashboard where widgets cannot be shown;
    ``headless`` says whether the run is headless. ``awaiting`` says whether a cell is awaiting, and
    ``awaiting_cell`` returns its id, if it has one; ``deadlocks`` returns a line for each deadlock.
    ``detach`` moves that cell to the background and returns what to show, or raises CommandError
    with the reason if it cannot. ``stop_cell`` does the same for stopping the foreground cell with
    an id; it returns an empty text if another cell, or none, is in the foreground.
    """

    def __init__(
        self,
        *,
        subscribe_comm: SubscribeComm,
        prompt: Callable[[], bool],
        fallback: Callable[[], dict[str, str]],
        headless: Callable[[], bool] = bool,
        awaiting: Callable[[], bool] = bool,
        awaiting_cell: Callable[[], str | None] = lambda: None,
        deadlocks: Callable[[], list[str]] = list,
        detach: Callable[[], str] = str,
        stop_cell: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._subscribe_comm = subscribe_comm
        self._prompt = prompt
        self._fallback = fallback
        self._headless = headless
        self._hub: ChipHub | None = None
        self._notifier: Notifier | None = None
        self._widgets: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self.feed = Feed(
            registry,
            Commands(detach, stop_cell),
            loop_facts=lambda before: (
                loop_facts(before) | {"awaiting": awaiting(), "deadlocks": deadlocks()}
            ),
            summary_facts=lambda before: {
                "awaiting": awaiting_cell(),
                "blocked": blocked_facts(before.get("blocked")),
            },
        )

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


def loop_facts(before: Message) -> Message:
    """Return what the header shows of the loop; ``before`` is the previous result.

    The lag is rounded to a power of two, from 16 ms on, because it is never the same twice.
    ``highest`` is that of the last minute, with the step that took most of it, if there is one.
    """
    loop = running_embedded_loop()
    if loop is None:
        return {"state": "ended"}
    facts: Message = {"state": "running", "lag": 0}
    blocked = blocked_facts(before.get("blocked"))
    if blocked is not None:
        facts["blocked"] = blocked
    elif loop.watchdog is not None:
        milliseconds = int(1000 * loop.watchdog.lag)
        facts["lag"] = 1 << milliseconds.bit_length() - 1 if milliseconds >= 16 else 0
        highest = loop.watchdog.highest_lag
        if highest is not None and highest.seconds >= MIN_LAG:
            step = highest.step
            facts["highest"] = {
                "seconds": round(highest.seconds, 2),
                "name": "many short steps" if step is None else cut(step.name),
                "where": "" if step is None else step.where,
                "call": "" if step is None else step.call,
            }
        steps = loop.watchdog.steps.longest
        facts["longest"] = [f"{duration(step.seconds)}, {cut(str(step))}" for step in steps]
    return facts


def blocked_facts(before: Message | None) -> Message | None:
    """Return what blocks the loop, and since when; None if nothing does. ``before``: as above."""
    loop = running_embedded_loop()
    blocked = None if loop is None else loop.blocked
    if blocked is None:
        return None
    since = time.time() - blocked.seconds
    if before is not None and abs(before["since"] - since) < 1:
        since = before["since"]  # the watchdog counts in steps of its own period
    return {
        "since": since,
        "id": blocked.task_id,
        "name": blocked.name,
        "where": blocked.where,
        "call": blocked.call,
    }
