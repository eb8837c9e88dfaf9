"""Serves requests that arrive without a widget, in the thread that receives them.

There it only checks them; the feed's thread does the rest. ``notebooks/reference/protocol.md``
describes the protocol.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from asyncnb._core import frontend
from asyncnb._core.base.errors import CommandError
from asyncnb._core.base.text import count
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.listing.facts import VERSION
from asyncnb._core.listing.rows import sendable
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb.widgets._commands import HELD, VERBS, Commands, brief_of, check_arguments
from asyncnb.widgets._feed import Feed
from asyncnb.widgets._kernel_feed import blocked_facts, loop_facts
from asyncnb.widgets._requests.held import HeldQuestions
from asyncnb.widgets._subscription import Message, Show, Subscription

#: The most subscriptions of pages that are there.
MAX_SUBSCRIPTIONS: Final = 100


class Request(Protocol):
    """A request: what it says, and how to answer. Any thread."""

    content: object

    def reply(self, content: Message) -> None:
        """Send the reply."""

    def publish(self, comm_id: str, message: Message, buffers: list[bytes]) -> None:
        """Send a message to all pages; those that have subscribed with this id take it."""


def _comm_id(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 100 or not value.isascii():
        raise CommandError(f"{brief_of(value)} is not the id of a comm: a UUID is.")
    return value


def _shown(value: object) -> Show:
    if value == "rows":
        return "rows"
    if value == "summary":
        return "summary"
    raise CommandError(f"{brief_of(value)} cannot be shown; 'rows' and 'summary' can.")


#: The verbs that only requests have, with their arguments.
REQUEST_VERBS: Final[Mapping[str, Mapping[str, Callable[[object], Any]]]] = {
    "hello": {},
    "subscribe": {"comm_id": _comm_id, "show": _shown},
    "unsubscribe": {"comm_id": _comm_id},
    **HELD,
}
#: The verbs that are about a subscription, and need one.
OF_A_SUBSCRIPTION: Final = frozenset(
    {"sync", "seen", "close", "view", "unfold", "detail", "watch", "sample"}
)


class ControlSide:
    """Serves the requests of one kernel.

    ``facts`` are a part of the answer to ``hello``. ``output_of`` returns the output of a task,
    also if it has printed nothing so far.
    """

    def __init__(
        self,
        feed: Feed,
        facts: Callable[[], Mapping[str, Any]],
        output_of: Callable[[TaskRecord], Any] = lambda record: record.output,
    ) -> None:
        self._feed = feed
        self._facts = facts
        self.held = HeldQuestions(output_of)
        feed.closing.append(self.held.close)
        self._subscriptions: dict[str, Subscription] = {}

    def serve(self, request: Request) -> None:
        """Answer ``request``, now or from the feed's thread. The same thread for all requests."""
        try:
            answer = self._handle(request)
        except CommandError as exc:
            answer = _error(str(exc))
        if answer is not None:
            request.reply(answer)

    def _handle(self, request: Request) -> Message | None:
        content = request.content
        if not isinstance(content, dict):
            raise CommandError("A request must be an object.")
        version = content.get("version", VERSION)
        if type(version) is not int or version != VERSION:
            raise CommandError(
                f"This kernel has version {VERSION} of the protocol, not {brief_of(version)}."
            )
        verb = content.get("c")
        if isinstance(verb, str) and verb in REQUEST_VERBS:
            arguments = check_arguments(verb, REQUEST_VERBS[verb], content)
            if verb == "hello":
                return self._hello()
            if verb in HELD:
                self.held.submit(request, verb, arguments)
                return None
            if verb == "subscribe":
                return self._subscribe(request, **arguments)
            return self._end(**arguments)
        verb, _, arguments = Commands.parse(content)
        if "comm_id" in content:
            return self._pass_on(verb, content)
        if verb in OF_A_SUBSCRIPTION:
            raise CommandError(f"{verb!r} is about a subscription: its comm_id is missing.")
        self._feed.ask(content, lambda answer: request.reply(_reply(answer)))
        return None

    def _hello(self) -> Message:
        loop = running_embedded_loop()
        return {
            "status": "ok",
            "version": VERSION,
            **self._facts(),
            "loop": None if loop is None else loop.kind,
            "busy": _busy(),
            "blocked": blocked_facts(None),
            "lag": loop_facts({}).get("lag"),
            "can": sorted([*REQUEST_VERBS, *VERBS]),
        }

    def _subscribe(self, request: Request, comm_id: str, show: Show) -> Message:
        self._drop_silent()
        self._remove(comm_id)  # a page that has reconnected starts anew
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise CommandError(
                f"There are {count(MAX_SUBSCRIPTIONS, 'subscription')} already; end one."
            )
        subscription = self._feed.subscribe(
            functools.partial(request.publish, comm_id), show=show, answers=True
        )
        self._subscriptions[comm_id] = subscription
        self._feed.submit(subscription, {"c": "sync"})
        return {"status": "ok", "version": VERSION}

    def _pass_on(self, verb: str, content: dict[str, Any]) -> Message:
        comm_id = _comm_id(content["comm_id"])
        subscription = self._subscriptions.get(comm_id)
        if subscription is None:
            raise CommandError(f"No subscription has the id {brief_of(comm_id)}; subscribe again.")
        if verb == "close":
            return self._end(comm_id)
        self._feed.submit(subscription, content)
        return {"status": "ok"}

    def _end(self, comm_id: str) -> Message:
        if not self._remove(comm_id):
            raise CommandError(f"No subscription has the id {brief_of(comm_id)}.")
        return {"status": "ok"}

    def _remove(self, comm_id: str) -> bool:
        subscription = self._subscriptions.pop(comm_id, None)
        if subscription is not None:
            self._feed.unsubscribe(subscription)
        return subscription is not None

    def _drop_silent(self) -> None:
        """End the subscriptions of pages that no longer acknowledge messages."""
        for comm_id, subscription in list(self._subscriptions.items()):
            if subscription.open and not subscription.listening:
                self._remove(comm_id)


def _busy() -> Message | None:
    """Return what the main thread runs: its cell, since when, and whether that awaits."""
    found = frontend.current.foreground()
    if found is None:
        return None
    keep = {"cell": found.cell, "cell_id": found.cell_id, "since": found.since}
    return keep | {"awaits": found.task is not None}


def _reply(answer: Message) -> Message:
    """Return the feed's answer to a question as a reply."""
    if not answer.pop("ok", True):
        return _error(str(answer["text"]))
    reply: Message = sendable(
        {"status": "ok"} | {k: v for k, v in answer.items() if k not in ("k", "n")}
    )
    return reply


def _error(text: str) -> Message:
    return {"status": "error", "ename": "CommandError", "evalue": sendable(text)}
