"""Timeout, timeout, timeout_at: a deadline for a block of code.

Deadlines are in seconds of ``loop.time()``. A timeout belongs to the task that entered it and to
that task's loop; ``when``, ``remaining``, ``expired`` and ``reschedule`` work from any thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio import AbstractEventLoop, CancelledError, Handle, get_running_loop
from heapq import heappush
from types import TracebackType
from typing import Any, Final, Self

from asyncnb._core.base.locks import fork_safe_lock
from asyncnb._core.primitives.backport.uncancel import absorb_stale_cancel, has_stale_cancel
from asyncnb._core.primitives.fast_timer import FastTimer, takes_fast_timers

# Private in name only: the only call that returns this thread's running loop without raising.
_running_loop = asyncio._get_running_loop

if sys.version_info >= (3, 12):
    current_task = asyncio.current_task
else:
    # On 3.11, asyncio.current_task is a Python function around this lookup.
    current_task = asyncio.tasks._current_tasks.get  # type: ignore[attr-defined]

#: Held while a limit is read and then written, so that two cells that both add 30 s add 60.
limits_lock = fork_safe_lock()

_CREATED: Final = "created"
_ACTIVE: Final = "active"
_EXPIRING: Final = "expiring"
_EXPIRED: Final = "expired"
_FINISHED: Final = "finished"


class InnermostTimeouts(dict[Any, "Timeout"]):
    """The innermost timeout of each task of one loop that is inside a timeout.

    It is stored on the loop, and so freed with the loop, whatever happens to its tasks. A context
    variable, or an attribute of the task, costs several times as much per timeout. The embedded
    loop creates it before the first timeout does, because it stores its own state there, too.
    """

    __slots__ = ("context", "fast")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.fast = takes_fast_timers(loop)
        #: For the timers: they do not need the caller's context, and copying it for each is costly.
        self.context = contextvars.Context()


def _innermost_timeouts_of(loop: AbstractEventLoop) -> InnermostTimeouts:
    # In a single call: another thread may be executing the same code.
    return vars(loop).setdefault("_asyncnb_timeouts", InnermostTimeouts(loop))  # type: ignore[no-any-return]


class Timeout:
    """An asynchronous context manager that cancels its body when the deadline passes.

    The CancelledError that interrupts the body becomes ``TimeoutError`` at the end of the block,
    unless the task was also cancelled by other code. If the body turns it into a different
    exception, that one propagates unchanged, with the TimeoutError in its ``__context__``; for an
    ExceptionGroup also in that of its direct members. A body that never suspends is never
    interrupted.

    Entering raises RuntimeError outside a task and the second time, ValueError for NaN. Use
    ``timeout()`` or ``timeout_at()`` rather than this class. Behaves as CPython 3.15's
    ``asyncio.Timeout``.
    """

    __slots__ = (
        "__weakref__",
        "_cancelling",
        "_handle",
        "_loop",
        "_outer",
        "_state",
        "_task",
        "_when",
    )

    _cancelling: int
    _handle: Handle | None
    _loop: AbstractEventLoop
    _outer: Timeout | None
    _task: asyncio.Task[Any] | None

    # The other slots are filled on entry: each store here would slow down every timeout.
    def __init__(self, when: float | None) -> None:
        self._when = when
        self._state = _CREATED

    def when(self) -> float | None:
        """Return the deadline in loop time, or None if there is none. Any thread."""
        return self._when

    def remaining(self) -> float | None:
        """Return the seconds left, never below zero, or None without a deadline. Any thread.

        Raises RuntimeError for a timeout that has not been entered if no loop runs in this thread.
        """
        if self._when is None:
            return None
        if self._state is _EXPIRED or self._state is _EXPIRING:
            return 0.0
        loop = get_running_loop() if self._state is _CREATED else self._loop
        return max(0.0, self._when - loop.time())

    def expired(self) -> bool:
        """Return whether the deadline passed while the body ran. Any thread."""
        return self._state is _EXPIRING or self._state is _EXPIRED

    def reschedule(self, when: float | None) -> None:
        """Move the deadline to the loop time ``when``; None removes it. Any thread.

        A time in the past interrupts the body in the next iteration of the loop. Raises
        RuntimeError before the block is entered and after its deadline has passed or it has ended.
        """
        if when != when:
            raise ValueError(f"a deadline must be a number of seconds or None, not {when!r}")
        if self._state is not _ACTIVE:
            if self._state is _CREATED:
                raise RuntimeError(
                    "Timeout has not been entered: reschedule() works inside "
                    "`async with timeout(...) as t:`"
                )
            raise RuntimeError(
                f"Cannot change state of {self._state} Timeout: its block has "
                f"already {'been interrupted' if self.expired() else 'ended'}"
            )
        loop = self._loop
        self._when = when
        if _running_loop() is loop:
            self._arm()
        else:
            # The old timer may fire first; _on_timeout checks _when again.
            loop.call_soon_threadsafe(self._arm)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        when = self._when
        loop = self._loop
        if when is None or self._state is not _ACTIVE:
            return
        if when <= loop.time():
            self._handle = loop.call_soon(self._on_timeout)
        else:
            self._handle = loop.call_at(when, self._on_timeout)

    def __repr__(self) -> str:
        if self._state is not _ACTIVE:
            return f"<Timeout [{self._state}]>"
        when = round(self._when, 3) if self._when is not None else None
        return f"<Timeout [{self._state}] when={when}>"

    async def __aenter__(self) -> Self:
        loop = get_running_loop()
        self.enter(loop, loop.time())
        return self

    def enter(self, loop: AbstractEventLoop, now: float) -> None:
        """Enter the block, for callers that avoid the cost of ``async with``."""
        task = current_task(loop)
        if self._state is not _CREATED:
            raise RuntimeError(
                "Timeout has already been entered: each `async with` needs a new timeout(...)"
            )
        if task is None:
            raise RuntimeError(
                "Timeout should be used inside a task: put the `async with` in an "
                "`async def` and run that with create_task(), launch() or run()"
            )
        try:
            entered: InnermostTimeouts = loop._asyncnb_timeouts  # type: ignore[attr-defined]
        except AttributeError:
            entered = _innermost_timeouts_of(loop)
        when = self._when
        if when is None:
            self._handle = None
        elif when > now:
            if entered.fast and not loop._debug:  # type: ignore[attr-defined]
                self._handle = FastTimer(when, self._on_timeout, loop, entered.context)
                heappush(loop._scheduled, self._handle)  # type: ignore[attr-defined]
            else:
                self._handle = loop.call_at(when, self._on_timeout, context=entered.context)
        elif when == when:
            self._handle = loop.call_soon(self._on_timeout)
        else:
            raise ValueError(f"a deadline must be a number of seconds or None, not {when!r}")
        self._task = task
        self._loop = loop
        self._cancelling = task.cancelling()
        self._state = _ACTIVE
        self._outer = entered.get(task)
        entered[task] = self

    def enter_around(self, task: asyncio.Task[Any]) -> None:
        """Enter this timeout, without a deadline yet, around all of ``task``. Any thread."""
        loop = self._loop = task.get_loop()
        self._task = task
        self._cancelling = 0
        self._handle = self._outer = None
        self._state = _ACTIVE
        _innermost_timeouts_of(loop)
        if _running_loop() is loop:
            self._put_outermost()
        else:
            loop.call_soon_threadsafe(self._put_outermost)

    def _put_outermost(self) -> None:
        task = self._task
        if task is None:
            return  # the timeout has been left in the meantime
        if task.done():
            self.leave()
            return
        scope: Timeout = _innermost_timeouts_of(self._loop).setdefault(task, self)
        while scope is not self:
            if scope._outer is None:
                scope._outer = self
            scope = scope._outer

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self.leave():
            await self.expire(exc)

    def leave(self) -> bool:
        """Undo ``enter``; return whether the body was interrupted: then ``expire`` must follow."""
        task = self._task
        entered: InnermostTimeouts = self._loop._asyncnb_timeouts  # type: ignore[attr-defined]
        top = entered.pop(task, None)
        if top is not self or self._outer is not None:
            self._leave(entered, task, top)
        if self._state is _ACTIVE:
            self._state = _FINISHED
            if self._handle is not None:
                self._handle.cancel()
            self._task = None  # avoid a cycle with a traceback that refers to the task
            return False
        self._state = _EXPIRED
        return True

    async def expire(self, exc: BaseException | None) -> None:
        """Withdraw this timeout's cancellation; raise TimeoutError if it caused ``exc``."""
        task, self._task = self._task, None
        assert task is not None
        ours = task.uncancel() <= self._cancelling
        if has_stale_cancel(task):
            await absorb_stale_cancel(task)
        del task
        if ours and exc is not None:
            convert(exc)

    def _leave(self, entered: InnermostTimeouts, task: Any, top: Timeout | None) -> None:
        """Make the next outer timeout the innermost of ``task``; keep a ``top`` other than this."""
        if top is self:
            top = self._outer
            while top is not None and top._task is None:
                top = top._outer  # this one was left earlier, out of order
        if top is not None:
            entered[task] = top

    def _on_timeout(self) -> None:
        handle, self._handle = self._handle, None
        if self._state is not _ACTIVE or self._task is None:
            return
        # Another thread may have moved the deadline before this call arrived. Compare with what the
        # timer was set to, not with the clock: loops fire timers early by up to their clock's
        # resolution. uvloop rounds to milliseconds.
        due: float = getattr(handle, "when", self._loop.time)()
        if self._when is None or self._when - due > 0.002:
            self._arm()
            return
        self._state = _EXPIRING
        self._task.cancel()


def convert(exc: BaseException) -> None:
    """Raise TimeoutError from a CancelledError; insert one into the context of other exceptions."""
    if isinstance(exc, CancelledError):
        raise TimeoutError from exc
    _insert_timeout_error(exc)
    if isinstance(exc, ExceptionGroup):
        for member in exc.exceptions:
            _insert_timeout_error(member)


def _insert_timeout_error(exc: BaseException) -> None:
    while (context := exc.__context__) is not None:
        if isinstance(context, CancelledError):
            inserted = TimeoutError()
            inserted.__context__ = inserted.__cause__ = context
            exc.__context__ = inserted
            return
        exc = context


def timeout(delay: float | None) -> Timeout:
    """Return a timeout for ``async with`` that expires ``delay`` seconds from now.

    None means no deadline (one may be set later with ``reschedule``); zero or less interrupts
    the body at its first suspension. The block raises TimeoutError if it was interrupted. Raises
    RuntimeError unless called on a thread with a running loop. As in CPython 3.15.

    >>> try:
    ...     async with asyncnb.timeout(5) as limit:
    ...         limit.reschedule(limit.when() + 2)  # a loop time, not seconds from now
    ...         await asyncio.sleep(60)
    ... except TimeoutError:
    ...     print("after", asyncio.get_running_loop().time(), "s")
    after 7.0 s
    """
    loop = get_running_loop()
    if delay is None:
        return Timeout(None)
    try:
        return Timeout(loop.time() + delay)
    except TypeError:
        raise TypeError(_not_seconds("timeout", delay)) from None


def timeout_at(when: float | None) -> Timeout:
    """Return a timeout for ``async with`` that expires at the loop time ``when``.

    Loop time is ``loop.time()``, not ``time.time()``. Otherwise like ``timeout``; as in CPython
    3.15.
    """
    if when is not None and not hasattr(when, "__float__"):
        raise TypeError(_not_seconds("timeout_at", when))
    return Timeout(when)


def _not_seconds(call: str, value: object) -> str:
    hint = ""
    if hasattr(value, "total_seconds"):
        hint = f"; use {call}(value.total_seconds())"
    elif isinstance(value, str):
        hint = f"; use {call}(float({value!r}))"
    return f"{call}() takes a number of seconds or None, not {type(value).__name__}{hint}"


def innermost(task: asyncio.Task[Any]) -> Timeout | None:
    """Return the timeout that ``task`` entered most recently and has not left, or None."""
    entered: dict[Any, Timeout] = getattr(task.get_loop(), "_asyncnb_timeouts", {})
    return entered.get(task)


def deadlines(scope: Timeout | None) -> list[float]:
    """Return the deadlines of ``scope`` and of the timeouts around it that have not ended."""
    found = []
    while scope is not None:
        if scope._when is not None and scope._task is not None:
            found.append(scope._when)
        scope = scope._outer
    return found
