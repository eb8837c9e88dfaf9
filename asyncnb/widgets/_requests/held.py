"""Questions that are answered when something has happened: more output, the end of tasks.

One thread holds them all. It sleeps until a task ends, a followed task prints, or the time of a
question is up; without a question, nothing is observed. So a client waits without asking again and
again, and has at most one answer on its way: what it does not read in time is kept here, up to a
limit.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from asyncnb._core.base.errors import CommandError
from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.base.service_thread import ServiceThread
from asyncnb._core.base.text import count
from asyncnb._core.introspection.info import ENDED
from asyncnb._core.launched.record import TaskRecord, observers
from asyncnb.widgets._requests.reads import facts, past_the_end, record_of

logger = logging.getLogger("asyncnb")

Message = dict[str, Any]

#: Seconds in which more may happen before a question is answered, so that a task that prints 10,000
#: lines a second causes 20 answers a second.
SETTLE: Final = 0.05
#: The same after a failure whose traceback is not shown yet: it may not be at all.
SETTLE_FAILED: Final = 1.0
#: The most questions that are held.
MAX_HELD: Final = 100
#: About the most characters of output in one answer.
MAX_TEXT: Final = 500_000
#: Seconds for which output is kept for a follower that has not asked for more.
LINGER: Final = 5.0


class Request(Protocol):
    """A request, as far as it is answered here. Any thread."""

    def reply(self, content: Message) -> None:
        """Send the reply."""


class Output(Protocol):
    """What a task has printed; the kernel side has it."""

    def since(
        self, cursor: int, most: int | None = None, *, shown: bool = False
    ) -> tuple[str, int, int]:
        """Return text, the next cursor, and how much is gone."""

    def ends_with_traceback(self) -> bool:
        """Return whether the newest output is a traceback."""

    def follow(self, news: Callable[[], object] | None, reader: int | None) -> None:
        """Call ``news`` whenever there is more; keep what follows ``reader``."""


class _Question:
    """A question that is held. The thread of ``HeldQuestions``, but for its construction."""

    def __init__(self, request: Request, seconds: float, clock: Callable[[], float]) -> None:
        self.request = request
        self.until = clock() + seconds
        #: When there was something to say.
        self.noticed: float | None = None

    def due(self) -> float:
        """Return when to answer."""
        if self.noticed is None:
            return self.until
        return min(self.noticed + self.settle(), self.until)

    def is_over(self) -> bool:
        """Return whether there will be no more to say, so that waiting for it makes no sense."""
        raise NotImplementedError

    def has_news(self) -> bool:
        """Return whether there is something to say."""
        raise NotImplementedError

    def settle(self) -> float:
        """Return the seconds in which there may be more to say."""
        return SETTLE

    def answer(self) -> Message:
        """Return what there is to say."""
        raise NotImplementedError


class _Wait(_Question):
    """The end of all tasks, or of any."""

    def __init__(self, records: list[TaskRecord], any: bool, *given: Any) -> None:
        super().__init__(*given)
        self.records = records
        self.any = any

    def is_over(self) -> bool:
        return not any(_lives(record) for record in self.records)

    def has_news(self) -> bool:
        ended = (not _lives(record) for record in self.records)
        return any(ended) if self.any else all(ended)

    def answer(self) -> Message:
        # Asked once for each: a task that ends meanwhile has to be in one of the two.
        lives = [_lives(record) for record in self.records]
        both = list(zip(self.records, lives, strict=True))
        return {
            "tasks": [facts(record) for record, lives in both if not lives],
            "left": [record.id for record, lives in both if lives],
        }


class _Follow(_Question):
    """More output of a task, or its end."""

    def __init__(self, record: TaskRecord, output: Output | None, cursor: int, *given: Any) -> None:
        super().__init__(*given)
        self.record = record
        self.output = output
        self.cursor = cursor

    def is_over(self) -> bool:
        return not _lives(self.record)

    def has_news(self) -> bool:
        if self.is_over():
            return True
        return self.output is not None and self.output.since(self.cursor, 1, shown=True)[0] != ""

    def settle(self) -> float:
        ended = self.record.ended
        if ended is None or self.output is None or self.record.state() != "failed":
            return SETTLE
        if self.output.ends_with_traceback():
            return SETTLE
        return max(SETTLE, SETTLE_FAILED - (time.time() - ended))

    def answer(self) -> Message:
        state = self.record.state()  # first: what has ended prints no more
        text, cursor, gone = "", self.cursor, 0
        if self.output is not None:
            text, cursor, gone = self.output.since(self.cursor, MAX_TEXT, shown=True)
        found = {"id": self.record.id, "state": state, "text": text, "cursor": cursor, "gone": gone}
        return found | {"task": facts(self.record) if state in ENDED else None}


class HeldQuestions:
    """The held questions of one kernel. ``submit`` and ``close``: any thread.

    ``output_of`` returns the output of a task, also if it has printed nothing so far.
    """

    def __init__(
        self,
        output_of: Callable[[TaskRecord], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._output_of = output_of
        self._clock = clock
        self._inbox: queue.SimpleQueue[tuple[Request, str, Mapping[str, Any]] | None]
        self._inbox = queue.SimpleQueue()
        self._questions: list[_Question] = []
        #: What followers had read when they were answered last, and until when that counts.
        self._lingering: list[tuple[float, Any, int]] = []
        self._followed: list[Any] = []
        self._armed = False
        self._observing = False
        self._lock = fork_safe_lock()
        self._thread: ServiceThread | None = None
        self._closed = False

    # Any thread.

    def submit(self, request: Request, verb: str, arguments: Mapping[str, Any]) -> None:
        """Answer a request in time."""
        self._inbox.put((request, verb, arguments))
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.is_running_or_starting()):
                return
            self._thread = thread = ServiceThread(self._run, "asyncnb held requests")
        thread.start()

    def close(self) -> None:
        """Refuse all that is held, and end the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._inbox.put(None)
            thread.wait(2.0)

    def _wake(self, _: object = None) -> None:
        """Schedule a check of all questions. Any thread, even in the middle of a print."""
        if not self._armed:
            self._armed = True
            self._inbox.put(None)

    # Its thread; tests call take() and look() themselves.

    def _run(self) -> None:
        while not self._closed:
            try:
                self._turn()
            except Exception:
                logger.exception("asyncnb: a turn of the thread that holds requests failed")
                time.sleep(SETTLE)
        for question in self._questions:
            self._refuse(question.request, "asyncnb was unloaded meanwhile.")
        self._questions.clear()
        self._lingering.clear()
        self._observe()

    def _turn(self) -> None:
        try:
            item = self._inbox.get(timeout=self._patience())
            while True:
                if item is not None:
                    self.take(*item)
                item = self._inbox.get_nowait()
        except queue.Empty:
            pass
        self.look()

    def _patience(self) -> float | None:
        due = [question.due() for question in self._questions]
        due += [until for until, _, _ in self._lingering]
        return max(0.0, min(due) - self._clock()) if due else None

    def take(self, request: Request, verb: str, arguments: Mapping[str, Any]) -> None:
        """Hold a question, or refuse it. Never raises."""
        try:
            if len(self._questions) >= MAX_HELD:
                raise CommandError(f"{count(MAX_HELD, 'request')} are waiting already.")
            self._questions.append(getattr(self, f"_{verb}")(request, **arguments))
            self._observe()
        except CommandError as exc:
            self._refuse(request, str(exc))
        except Exception as exc:
            logger.exception("asyncnb: %r failed", verb)
            self._refuse(request, f"{type(exc).__name__}: {exc}")

    def _wait(
        self, request: Request, tasks: list[int | str], seconds: float, any: bool
    ) -> _Question:
        records = list({record.id: record for record in map(record_of, tasks)}.values())
        return _Wait(records, any, request, seconds, self._clock)

    def _follow(self, request: Request, task: int | str, cursor: int, seconds: float) -> _Question:
        record = record_of(task)
        output = record.output if not _lives(record) else self._output_of(record)
        end = 0 if output is None else output.since(cursor, 1, shown=True)[1]
        if cursor > end:
            raise past_the_end(record, cursor, end)
        for found in self._lingering:
            if found[1] is output and found[2] == cursor:  # the same follower
                self._lingering.remove(found)
                break
        return _Follow(record, output, cursor, request, seconds, self._clock)

    def look(self) -> None:
        """Answer what is due."""
        self._armed = False  # first, so that what happens from here on wakes the thread again
        now = self._clock()
        self._lingering = [found for found in self._lingering if found[0] > now]
        for question in list(self._questions):
            try:
                if question.noticed is None and question.has_news():
                    question.noticed = now
                if now >= question.due():
                    self._questions.remove(question)
                    answer = question.answer()
                    if isinstance(question, _Follow) and not question.is_over():
                        self._lingering.append((now + LINGER, question.output, answer["cursor"]))
                    question.request.reply({"status": "ok"} | answer)
            except Exception as exc:
                logger.exception("asyncnb: a held request failed")
                if question in self._questions:
                    self._questions.remove(question)
                self._refuse(question.request, f"{type(exc).__name__}: {exc}")
        self._observe()

    def _observe(self) -> None:
        """Observe what the questions are about, and nothing without one."""
        if bool(self._questions) != self._observing:
            self._observing = not self._observing
            (observers.add if self._observing else observers.discard)(self._wake)
        readers: dict[int, tuple[Any, int]] = {}
        follows = [(q.output, q.cursor) for q in self._questions if isinstance(q, _Follow)]
        asked = {id(output) for output, _ in follows}
        for output, cursor in follows + [(output, at) for _, output, at in self._lingering]:
            if output is not None:
                least = min(cursor, readers.get(id(output), (output, cursor))[1])
                readers[id(output)] = output, least
        for output in self._followed:
            if id(output) not in readers:
                output.follow(None, None)
        self._followed = [output for output, _ in readers.values()]
        for key, (output, cursor) in readers.items():
            output.follow(self._wake if key in asked else None, cursor)

    def _refuse(self, request: Request, text: str) -> None:
        request.reply({"status": "error", "ename": "CommandError", "evalue": text})


def _lives(record: TaskRecord) -> bool:
    # Not by its state, which is a moment ahead of what is noted and shown of the end.
    return record.ended is None
