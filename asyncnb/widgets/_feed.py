"""The feed: a snapshot of all rows for each new dashboard, then what changes.

One thread serves all dashboards: it runs commands, reads the tasks that were marked as changed, and
sends at most ten messages a second, none if nothing has changed. It is not the loop's thread, so a
dashboard can show that the loop is blocked. What shows no rows gets a summary, see ``_summaries``.

Without an open dashboard this costs nothing: changes are marked only while one is open. What
changes without a mark (waiting, running, the time limit) is sampled twice a second, for the rows
that are visible.
"""

from __future__ import annotations

import logging
import math
import queue
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from asyncnb._core.base.errors import CommandError, format_exception_line
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.service_thread import ServiceThread
from asyncnb._core.config import config
from asyncnb._core.introspection.info import STATES
from asyncnb._core.launched.named_groups import open_groups
from asyncnb._core.launched.record import TaskRecord, observers
from asyncnb._core.launched.registry import TaskRegistry
from asyncnb._core.listing.detail import detail_of, waits_for
from asyncnb._core.listing.rows import FORMAT, Row, cut, pack, row_of, sendable
from asyncnb.widgets._commands import QUESTIONS, Commands
from asyncnb.widgets._subscription import (
    MAX_UNACKNOWLEDGED,
    Message,
    Send,
    Show,
    Subscription,
)
from asyncnb.widgets._summaries import Summaries
from asyncnb.widgets._timeline_facts import facts

if TYPE_CHECKING:
    from asyncnb._core.introspection.inner import Inner
    from asyncnb._core.timeline.sampled import Sampled

logger = logging.getLogger("asyncnb")

#: Seconds between two samples of what changes without a mark.
SAMPLE_INTERVAL: Final = 0.5
#: The share of one core that the feed's thread may use; with more to do it sends less often.
MAX_CPU_SHARE: Final = 0.05
#: The share that looking for tasks inside others may use: of many it looks less often.
MAX_LOOK_SHARE: Final = 0.01
#: The most visible rows for which a browser may ask for samples.
MAX_VISIBLE: Final = 200

#: What only a subscription that shows rows may ask for.
_OF_ROWS: Final = frozenset({"watch", "view", "unfold", "detail", "timeline", "sample"})

_TRANSIENT: Final = {STATES.index(state) for state in ("pending", "running", "cancelling")}


class Feed:
    """Sends rows to subscriptions. ``subscribe``, ``submit`` and ``close``: any thread."""

    def __init__(
        self,
        registry: TaskRegistry,
        commands: Commands,
        *,
        loop_facts: Callable[[Message], Message] = dict,
        summary_facts: Callable[[Message], Message] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._commands = commands
        self._loop_facts = loop_facts
        self._clock = clock
        #: Those that show rows.
        self._subscriptions: list[Subscription] = []
        self._inbox: queue.SimpleQueue[tuple[Subscription, object] | None] = queue.SimpleQueue()
        self._summaries = Summaries(
            registry,
            wake=lambda: self._inbox.put(None),
            facts=summary_facts,
            send=lambda subscription, message: self._send(subscription, message, []),
            clock=clock,
        )
        self._marked: deque[TaskRecord] = deque()
        self._armed = False
        self._observing = False
        self._rows: dict[int, Row] = {}
        self._records: dict[int, TaskRecord] = {}
        #: Tasks whose next change of state comes without a mark: pending, running, cancelling.
        self._transient: dict[int, TaskRecord] = {}
        #: What was seen inside tasks while a timeline was shown.
        self._sampled: Sampled | None = None
        self._groups: list[list[Any]] = []
        self._loop: Message = {}
        self._seq = 0
        self._next_tick = self._next_sample = self._next_look = 0.0
        self._lock = fork_safe_lock()
        self._thread: ServiceThread | None = None
        self._closed = False
        #: Called when it is closed.
        self.closing: list[Callable[[], object]] = []

    # Any thread.

    def subscribe(
        self,
        send: Send,
        *,
        show: Show = "rows",
        only: Collection[int] | None = None,
        answers: bool = False,
    ) -> Subscription:
        """Return a new subscription; its first message is the answer to ``sync``."""
        subscription = Subscription(send, show=show, only=only, answers=answers)
        with self._lock:
            self._alike(subscription).append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Send no more messages to ``subscription``."""
        subscription.open = False
        with self._lock:
            if subscription in (alike := self._alike(subscription)):
                alike.remove(subscription)

    def _alike(self, subscription: Subscription) -> list[Subscription]:
        is_summary = subscription.show == "summary"
        return self._summaries.subscriptions if is_summary else self._subscriptions

    def submit(self, subscription: Subscription, content: object) -> None:
        """Queue a message from a browser; ``content`` can be anything."""
        self._inbox.put((subscription, content))
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.is_running_or_starting()):
                return
            self._thread = thread = ServiceThread(self._run, "asyncnb dashboard")
        thread.start()

    def ask(self, content: object, answer: Callable[[Message], object]) -> None:
        """Queue a message that is answered once, without a subscription. Any thread."""
        self.submit(Subscription(lambda said, _: answer(said)), content)

    def close(self) -> None:
        """End the thread after a last message to every browser."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._inbox.put(None)
            thread.wait(2.0)
        for close in (self._stop_observing, self._summaries.stop, *self.closing):
            close()

    def _mark(self, record: TaskRecord) -> None:
        """Mark ``record`` as changed. Called on the thread that changed it, so it does no more."""
        if not record.dirty:
            record.dirty = True
            self._marked.append(record)
            if not self._armed:
                self._armed = True
                self._inbox.put(None)

    # The feed's thread; tests call take() and tick() themselves.

    def _run(self) -> None:
        while not self._closed:
            try:
                self._turn()
            except Exception:
                # This thread serves all dashboards: an error in one turn must not end it.
                logger.exception("asyncnb's dashboard: a turn of its feed failed")
                time.sleep(SAMPLE_INTERVAL)
        for subscription in [*self._subscriptions, *self._summaries.subscriptions]:
            self._send(subscription, {"k": "bye"}, [])

    def _turn(self) -> None:
        try:
            item = self._inbox.get(timeout=self._patience())
            while True:
                if item is not None:
                    self.take(*item)
                item = self._inbox.get_nowait()
        except queue.Empty:
            pass
        self._do_what_is_due()

    def _do_what_is_due(self) -> None:
        now = self._clock()
        if now >= self._due():
            self.tick()
        if now >= self._summaries.due():
            self._summaries.tick()

    def _due(self) -> float:
        if not self._observing:
            return math.inf
        return self._next_tick if self._marked else self._next_sample

    def _patience(self) -> float | None:
        due = min(self._due(), self._summaries.due())
        return None if due == math.inf else max(0.0, due - self._clock())

    def take(self, subscription: Subscription, content: object) -> None:
        """Handle a message from a browser and answer it. Never raises."""
        client = verb = None
        try:
            verb, client, arguments = self._commands.parse(content)
            if client in subscription.done:  # sent again, after a reconnection
                self._send(subscription, subscription.done[client], [])
                return
            if subscription.show == "summary" and verb in _OF_ROWS:
                raise CommandError(f"{verb!r} is about rows, and this subscription has a summary.")
            own = getattr(self, f"_on_{verb}", None)
            if own is not None:
                own(subscription, **arguments)
                return
            if verb in QUESTIONS:
                from asyncnb.widgets._requests.reads import READS  # no dashboard asks

                self._send(subscription, {"k": verb, "n": client, **READS[verb](**arguments)}, [])
                return
            answer: Message = {"k": "ack", "n": client, "ok": True}
            answer["text"] = self._commands.execute(verb, arguments)
        except CommandError as exc:
            answer = {"k": "ack", "n": client, "ok": False, "text": str(exc)}
        except Exception as exc:
            logger.exception("asyncnb's dashboard: %r failed", verb)
            answer = {"k": "ack", "n": client, "ok": False, "text": format_exception_line(exc)}
        if client is not None:
            subscription.done[client] = answer
            while len(subscription.done) > 100:
                del subscription.done[next(iter(subscription.done))]
        self._send(subscription, answer, [])

    def _on_sync(self, subscription: Subscription) -> None:
        if subscription.show == "summary":
            self._summaries.sync(subscription)
            return
        if self._observing:
            self.tick()  # the other subscriptions first; stops observing if there are none
        if not self._observing:
            self._start_observing()
        subscription.open = True
        subscription.sent = subscription.seen = 0
        subscription.detail_sent = None
        subscription.sampling = False
        if subscription.insides is not None:
            subscription.insides.forget()
        message, buffers = self._message("snapshot", list(self._rows.values()), [], subscription)
        message |= {"groups": self._groups, "loop": self._loop, "can": self._commands.can()}
        message["format"] = FORMAT | {"acknowledge": MAX_UNACKNOWLEDGED // 5}
        self._send(subscription, message, buffers)
        self._send_detail(subscription)

    def _on_watch(self, subscription: Subscription, ids: list[int]) -> None:
        subscription.only = frozenset(ids)
        if ids:
            self._on_sync(subscription)
        else:
            self._on_close(subscription)

    def _on_seen(self, subscription: Subscription, messages: int) -> None:
        subscription.seen = messages

    def _on_close(self, subscription: Subscription) -> None:
        subscription.open = False
        subscription.detail = None

    def _on_view(self, subscription: Subscription, ids: list[int]) -> None:
        subscription.visible = tuple(ids[:MAX_VISIBLE])
        self._next_sample = 0.0

    def _on_unfold(self, subscription: Subscription, ids: list[int]) -> None:
        if subscription.insides is None:
            from asyncnb.widgets._inner import Insides  # only a dashboard asks

            subscription.insides = Insides()
        subscription.insides.unfold(tuple(ids[:MAX_VISIBLE]))
        self._next_sample = 0.0

    def _on_detail(self, subscription: Subscription, id: int | None) -> None:
        subscription.detail = id
        subscription.detail_sent = None
        self._send_detail(subscription)

    def _on_timeline(self, subscription: Subscription) -> None:
        sampled = [] if self._sampled is None else self._sampled.rows()
        self._send(subscription, {"k": "timeline", "data": facts(sampled=sampled)}, [])

    def _on_sample(self, subscription: Subscription, on: bool) -> None:
        subscription.sampling = on
        if on:  # for the timeline that the page asks for next
            from asyncnb._core.launched.inside import look_inside

            self._note_samples(look_inside())

    def tick(self) -> None:
        """Send what has changed since the last tick, if anything."""
        if not any(s.listening for s in self._subscriptions):
            self._stop_observing()
            return
        began = time.thread_time()
        now = self._clock()
        changed, gone = self._changes(self._take_marks())
        news: Message = {}
        insides: dict[Subscription, Message] = {}
        is_sample = now >= self._next_sample
        if is_sample:
            news = self._sample(changed)
            insides = self._insides(now)
        if changed or gone or news or insides:
            self._seq += 1
            for subscription in list(self._subscriptions):
                if subscription.listening:
                    message, buffers = self._message("delta", changed, gone, subscription)
                    message |= news | insides.get(subscription, {})
                    self._send(subscription, message, buffers)
        if is_sample:
            cost = time.thread_time() - began
            self._next_sample = now + max(SAMPLE_INTERVAL, cost / MAX_CPU_SHARE)
        self._next_tick = now + max(
            config.dashboard_interval, (time.thread_time() - began) / MAX_CPU_SHARE
        )

    def _take_marks(self) -> list[TaskRecord]:
        self._armed = False  # first, so that a mark made from here on wakes the thread again
        marked = []
        while self._marked:
            record = self._marked.popleft()
            record.dirty = False  # before the record is read, so that a later change marks it again
            marked.append(record)
        return marked

    def _changes(self, marked: list[TaskRecord]) -> tuple[list[Row], list[int]]:
        """Update the rows of ``marked``; return the rows that differ and the ids that are gone."""
        changed, gone, now = [], [], time.time()
        for record in marked:
            before = self._rows.get(record.id)
            if not self._registry.holds(record):
                self._transient.pop(record.id, None)
                if before is not None:
                    del self._rows[record.id], self._records[record.id]
                    gone.append(record.id)
                continue
            row = row_of(record, now, before)
            waits = record.after is not None and record.after.pending  # its start is marked
            if row.numbers.state in _TRANSIENT and record.kind == "loop" and not waits:
                self._transient[record.id] = record
            elif self._transient:
                self._transient.pop(record.id, None)
            if row != before:
                self._rows[record.id] = row
                self._records[record.id] = record
                changed.append(row)
        return changed, gone

    def _sample(self, changed: list[Row]) -> Message:
        """Sample what changes without a mark; add rows to ``changed``, return what else is new."""
        visible = {id for s in self._subscriptions if s.listening for id in s.visible}
        looked_at = [self._records[id] for id in visible if id in self._records]
        looked_at += [r for id, r in self._transient.items() if id not in visible]
        fresh = {row.texts.id: row for row in self._changes(looked_at)[0]}
        for id in visible:
            row = fresh.get(id) or self._rows.get(id)
            if row is not None and row.numbers.ended is None:
                waits = cut(waits_for(self._records[id]))
                if waits != row.waits_for:
                    fresh[id] = self._rows[id] = row._replace(waits_for=waits)
        if fresh:
            changed[:] = [row for row in changed if row.texts.id not in fresh]
            changed += fresh.values()
        news: Message = {}
        for key, value in (("loop", self._loop_facts(self._loop)), ("groups", _groups())):
            if value != getattr(self, f"_{key}"):
                setattr(self, f"_{key}", value)
                news[key] = value
        for subscription in self._subscriptions:
            if subscription.listening:
                self._send_detail(subscription)
        return news

    def _insides(self, now: float) -> dict[Subscription, Message]:
        """Return what is new inside the tasks on a screen, by subscription."""
        listening = [s for s in self._subscriptions if s.listening]
        shown = [
            (s, s.insides, {*s.visible, s.detail or 0})
            for s in listening
            if s.insides is not None and s.visible
        ]
        sampling = [s for s in listening if s.sampling]
        found: dict[Subscription, Message] = {}
        is_due = now >= self._next_look or any(insides.asked for _, insides, _ in shown)
        if (shown or sampling) and is_due:
            from asyncnb._core.launched.inside import look_inside

            began = time.thread_time()
            inner = look_inside()
            found = {s: insides.look(inner, visible) for s, insides, visible in shown}
            if sampling and self._note_samples(inner):
                found |= {s: found.get(s, {}) | {"sampled": True} for s in sampling}
            cost = time.thread_time() - began
            self._next_look = now + max(SAMPLE_INTERVAL, cost / MAX_LOOK_SHARE)
        for s, insides, visible in shown:
            found[s] = found.get(s, {}) | insides.sample(visible)
        return {s: {"inner": news} for s, news in found.items() if news}

    def _note_samples(self, inner: Inner) -> bool:
        if self._sampled is None:
            from asyncnb._core.timeline.sampled import Sampled

            self._sampled = Sampled()
        return self._sampled.look(inner, time.time())

    def _message(
        self, kind: str, rows: list[Row], gone: list[int], subscription: Subscription
    ) -> tuple[Message, list[bytes]]:
        if subscription.only is not None:
            rows = [row for row in rows if row.texts.id in subscription.only]
            gone = [id for id in gone if id in subscription.only]
        numbers, buffers = pack(row.numbers for row in rows)
        message: Message = {"k": kind, "seq": self._seq, "now": time.time(), "numbers": numbers}
        sent = subscription.texts
        if kind == "snapshot":
            sent.clear()
            subscription.calls.clear()
        texts, calls = [], []
        for row in rows:
            if row.calls is not None and subscription.calls.get(row.calls.id) != row.calls:
                subscription.calls[row.calls.id] = row.calls
                calls.append(row.calls)
            text = (*row.texts, row.waits_for)
            if sent.get(row.texts.id) != text:
                sent[row.texts.id] = text
                texts.append(text)
        for id in gone:
            sent.pop(id, None)
            subscription.calls.pop(id, None)
        message["texts"] = texts
        if calls:
            message["calls"] = calls
        if gone:
            message["gone"] = gone
        return message, buffers

    def _send_detail(self, subscription: Subscription) -> None:
        if subscription.detail is None:
            return
        found: Message | None = None
        if subscription.detail > 0:
            record = self._records.get(subscription.detail)
            found = None if record is None else detail_of(record)
        elif subscription.insides is not None:
            found = subscription.insides.detail_of(subscription.detail)
        message: Message = {"k": "detail", "id": subscription.detail, "of": found}
        if message != subscription.detail_sent:
            subscription.detail_sent = message
            self._send(subscription, message, [])

    def _send(self, subscription: Subscription, message: Message, buffers: list[bytes]) -> None:
        subscription.sent += 1
        try:
            try:
                subscription.send(message, buffers)
            except UnicodeEncodeError:
                subscription.send(sendable(message), buffers)
        except Exception:
            # A closed comm, or the kernel is shutting down: the others must still get theirs.
            logger.debug("asyncnb's dashboard: a message could not be sent", exc_info=True)
            self.unsubscribe(subscription)

    def _start_observing(self) -> None:
        self._observing = True
        observers.add(self._mark)
        self._rows.clear()
        self._records.clear()
        self._transient.clear()
        self._changes(self._registry.records())
        self._sample([])
        self._next_sample = self._clock() + SAMPLE_INTERVAL

    def _stop_observing(self) -> None:
        self._observing = False
        observers.discard(self._mark)
        self._take_marks()


def _groups() -> list[list[Any]]:
    """Return name, state and size of the open groups."""
    return [
        [cut(group.name), "cancelling" if group._aborting else "open", len(group)]
        for group in open_groups()
    ]
