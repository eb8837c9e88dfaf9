"""One subscriber of the feed: how to reach it, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from asyncnb.widgets._inner import Insides

#: Messages without an acknowledgement after which a browser that can send one is considered gone.
MAX_UNACKNOWLEDGED: Final = 100

Message = dict[str, Any]
Send = Callable[[Message, list[bytes]], object]
#: What is sent: the row of each task, or at most once a second how many tasks each cell has.
Show = Literal["rows", "summary"]


class Subscription:
    """One subscribed widget, or page: how to reach it, and what it shows.

    ``only``: ids of the tasks that it shows, None for all. ``answers``: whether its messages arrive
    even while a cell runs, so that their absence means that the browser is gone.
    """

    def __init__(
        self,
        send: Send,
        *,
        show: Show = "rows",
        only: Collection[int] | None = None,
        answers: bool = False,
    ) -> None:
        self.send = send
        self.show = show
        self.only = only
        self.answers = answers
        self.open = False
        self.visible: tuple[int, ...] = ()
        #: What it shows of the tasks inside others; None if it never asked.
        self.insides: Insides | None = None
        #: Whether it shows the timeline.
        self.sampling = False
        self.detail: int | None = None
        self.detail_sent: Message | None = None
        #: The newest summary, without what had ended since the one before.
        self.summary_sent: Message | None = None
        self.sent = 0
        self.seen = 0
        self.texts: dict[int, Any] = {}  # as sent last
        self.calls: dict[int, Any] = {}  # the same
        self.done: dict[
            str, Message
        ] = {}  # the newest answers by request: a repeated command does nothing

    @property
    def listening(self) -> bool:
        """Whether to send messages to it."""
        return self.open and not (self.answers and self.sent - self.seen > MAX_UNACKNOWLEDGED)
