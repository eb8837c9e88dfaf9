"""gather: run several awaitables concurrently and return their results in order."""

from __future__ import annotations

import asyncio
import inspect
from asyncio import AbstractEventLoop, CancelledError, Future
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from asyncnb._core.base.progress import Bar
from asyncnb._core.primitives import futures as _futures
from asyncnb._core.primitives.create_task import new_task
from asyncnb._core.primitives.cross_loop import (
    add_edge,
    all_local,
    discard_edge,
    done_callback_adder,
    is_foreign,
)
from asyncnb._core.primitives.futures import INTERRUPT, iscoroutine, iscoroutinefunction, local
from asyncnb._core.primitives.limiter import (
    Throttle,
    check_limit,
    check_rate,
    close_all,
    is_started,
    start,
)
from asyncnb._core.primitives.tasks import can_construct, construct_task

if TYPE_CHECKING:
    from asyncnb._core.pacing.rate import Rate

T = TypeVar("T")


class GatherFuture(_futures.Future[list[Any]]):
    """The future that gather() returns; cancelling it cancels the children."""

    __slots__ = ("_cancel_requested", "_children", "_parent_task", "_throttle")

    def __init__(self, children: Sequence[Future[Any]], *, loop: AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._children = children
        self._cancel_requested = False
        self._throttle: Throttle | None = None
        #: The task that called gather(), while children are watched: call graphs show it.
        self._parent_task: asyncio.Task[Any] | None = asyncio.current_task(loop)

    def cancel(self, msg: Any | None = None) -> bool:
        """Request the children to cancel, which decide the outcome; return False if done.

        Thread-safe. With the message of an interrupt, launched tasks keep running, and if there are
        any, this future ends at once: the stop button ends the wait, not background work.
        """
        loop = self.get_loop()
        if self.done():
            return False
        if _futures.runs_elsewhere(loop):
            loop.call_soon_threadsafe(self.cancel, msg)
            return True
        throttle = self._throttle
        if throttle is not None:
            throttle.close()
        if msg is INTERRUPT and any(map(_is_launched, self._children)):
            for child in self._children:
                if not _is_launched(child):
                    child.cancel(msg=msg)
            self.drop_edges()
            return super().cancel(msg)
        asked = False
        for child in self._children:
            if child.cancel(msg=msg):
                asked = True
        if asked:
            # Whatever the children do in response, even with return_exceptions (bpo-32684).
            self._cancel_requested = True
        elif throttle is not None and not self.done():
            # None of them runs: they waited for their turn.
            self.drop_edges()
            return super().cancel(msg)
        return asked

    def drop_edges(self) -> None:
        """Remove the call-graph edges to all children, even running ones: the wait is over."""
        if discard_edge is not None:
            for child in self._children:
                discard_edge(child, self._parent_task)
        self._parent_task = None

    def fail(self, error: BaseException) -> None:
        """End with ``error`` while children may still be running."""
        self.drop_edges()  # before the waiting task can look at them (gh-157213)
        self.set_exception(error)


def _is_launched(child: object) -> bool:
    source = getattr(child, "source", child)  # the child may be a FutureProxy
    return bool(getattr(source, "_launched", False))


def gather(
    *coros_or_futures: Awaitable[Any],
    return_exceptions: bool = False,
    limit: int | None = None,
    rate: Any = None,
    progress: str | None = None,
    retry: None = None,
) -> Future[list[Any]]:
    """Run awaitables concurrently; return a future of the list of their results, in order.

    The first exception is set on that future at once, while the others keep running; with
    ``return_exceptions``, exceptions are returned as results. Cancelling the future cancels all
    children that are not done. If other code cancels a child, that counts as the child raising
    CancelledError. An awaitable that is passed twice runs once.

    ``limit`` is the maximum number that run at the same time; the others are started later.
    ``rate`` is how often they start: "60/min", "5/s", a number per second, or an ``asyncnb.Rate``,
    which documents the other forms. Tasks and futures that were passed are already running and do
    not count. If the gather is cancelled or fails, awaitables that have not been started are
    closed. ``progress="label"`` reports each one that ends as progress of the current task.

    >>> await asyncnb.gather(asyncio.sleep(2, "slow"), asyncio.sleep(1, "quick"), limit=10)
    ['slow', 'quick']

    Accepts futures of other loops and ``concurrent.futures.Future``, too. The returned future
    belongs to the running loop, otherwise to the loop of the first future passed, otherwise to the
    thread's current loop. Raises TypeError for arguments that cannot be awaited and ValueError for
    a limit below 1 or an invalid rate, in all cases with nothing started and all coroutines closed;
    RuntimeError without a loop. There is no ``retry``: a coroutine runs only once; ``asyncnb.map``
    calls a function again. Otherwise as in CPython 3.15.
    """
    loop: AbstractEventLoop
    try:
        loop = asyncio._get_running_loop() or loop_for(coros_or_futures)
        unique = _unique(coros_or_futures)
        local_only = all_local(unique, loop)
        if not local_only:
            _check(unique)
        if limit is not None:
            limit = check_limit("gather", limit)
        pacer = check_rate("gather", rate, retry)
    except BaseException:
        close_all(coros_or_futures)
        raise
    bar = Bar(progress, len(unique)) if progress is not None else None
    advance = (lambda _: bar.advance()) if bar is not None else None
    throttled = limit is not None or pacer is not None
    if throttled:
        outer = _throttled(
            loop, coros_or_futures, list(unique), return_exceptions, limit, pacer, advance
        )
    elif not unique:
        outer = GatherFuture((), loop=loop)
        outer.set_result([])
    elif len(unique) == len(coros_or_futures):
        children: list[Future[Any]]
        if local_only:
            children = list(coros_or_futures)  # type: ignore[arg-type]
        else:
            children = _children(loop, coros_or_futures)
        outer = GatherFuture(children, loop=loop)
        _watch(outer, children, return_exceptions)
    else:
        known = {aw: _child(loop, aw) for aw in unique}
        outer = GatherFuture([known[aw] for aw in coros_or_futures], loop=loop)
        _watch(outer, list(known.values()), return_exceptions)
    if bar is not None and advance is not None:
        if not throttled:
            for child in dict.fromkeys(outer._children):
                child.add_done_callback(advance)
        # Not exception(): calling that would mark the exception as retrieved.
        outer.add_done_callback(
            lambda _: bar.end(failed=outer.cancelled() or outer._exception is not None)
        )
    return outer


def loop_for(aws: Sequence[Any]) -> AbstractEventLoop:
    """Return the loop that will watch ``aws``: the running one, else theirs, else the current one.

    Raises ValueError if their loops differ and RuntimeError if there is no loop.
    """
    running = asyncio._get_running_loop()
    if running is not None:
        return running
    homes = {aw.get_loop(): None for aw in aws if asyncio.isfuture(aw)}
    if len(homes) > 1:
        raise ValueError(
            "The futures belong to different loops and none of these runs in this thread: make "
            "this call in a coroutine, whose loop can follow all of them"
        )
    for home in homes:
        return home
    return asyncio.get_event_loop()


def _unique(aws: Sequence[Any]) -> dict[Any, None]:
    try:
        return dict.fromkeys(aws)
    except TypeError:
        _check(aws)  # its message says more than "unhashable"
        raise


def _check(aws: Iterable[Any]) -> None:
    if set(map(type, aws)) == {CoroutineType}:
        return
    for aw in aws:
        if iscoroutine(aw) or is_started(aw) or inspect.isawaitable(aw):
            continue
        hint = ""
        if iscoroutinefunction(aw):
            hint = f": call the function, {getattr(aw, '__name__', 'f')}()"
        elif isinstance(aw, (list, tuple, set)):
            hint = ": unpack it with a star, gather(*coros)"
        raise TypeError(
            f"An asyncio.Future, a coroutine or an awaitable is required, got {aw!r}{hint}"
        )


def _children(loop: AbstractEventLoop, aws: Sequence[Any]) -> list[Future[Any]]:
    if (
        set(map(type, aws)) == {CoroutineType}
        and loop.get_task_factory() is None
        and can_construct(aws[0], loop)
    ):
        made: list[Any] = [construct_task(aw, loop=loop) for aw in aws]
        for task in made:
            task._log_destroy_pending = False
        return made
    return [_child(loop, aw) for aw in aws]


def _child(loop: AbstractEventLoop, aw: Any) -> Future[Any]:
    if type(aw) is CoroutineType:
        task: Any = new_task(loop, aw)
        task._log_destroy_pending = False
        return task  # type: ignore[no-any-return]
    if is_foreign(aw, loop):
        return local(aw, loop)
    return start(loop, aw)


def _watch(outer: GatherFuture, children: list[Future[Any]], return_exceptions: bool) -> None:
    """End ``outer`` when ``children``, which are distinct, have ended."""
    if add_edge is not None:
        parent = outer._parent_task
        for child in children:
            if not child.done():
                add_edge(child, parent)
    left = len(children)

    def on_done(child: Future[Any]) -> None:
        nonlocal left
        left -= 1
        if discard_edge is not None:
            discard_edge(child, outer._parent_task)
        if child.cancelled():
            if not outer.done():
                outer.fail(_cancelled_error(child))
        elif (error := child.exception()) is not None and not outer.done():
            outer.fail(error)
        if not left and not outer.done():
            _finish(outer, child, False)

    if return_exceptions:
        SequentialWatch(outer, children)
        return
    ended = []
    for child in children:
        if child.done():
            ended.append(child)
        else:
            done_callback_adder(type(child))(child, on_done)
    for child in ended:
        on_done(child)


class SequentialWatch:
    """Ends a gather that returns exceptions: with one callback, on one child at a time."""

    __slots__ = ("_left", "_outer")

    def __init__(self, outer: GatherFuture, children: Sequence[Future[Any]]) -> None:
        self._outer = outer
        self._left = list(children)
        self._next(None)

    def _next(self, child: Future[Any] | None) -> None:
        left, outer = self._left, self._outer
        while left:
            if not left[-1].done():
                left[-1].add_done_callback(self._next)
                return
            child = left.pop()
            if discard_edge is not None:
                discard_edge(child, outer._parent_task)
            if outer.done() and not child.cancelled():
                child.exception()  # no code will retrieve it any more: mark it as retrieved
        if not outer.done():
            assert child is not None
            _finish(outer, child, True)


def _finish(outer: GatherFuture, last: Future[Any], return_exceptions: bool) -> None:
    outer._parent_task = None
    results = [_outcome(child) for child in outer._children] if return_exceptions else []
    if outer._cancel_requested:
        outer.set_exception(_cancelled_error(last))
    elif return_exceptions:
        outer.set_result(results)
    else:
        outer.set_result([child.result() for child in outer._children])


def _outcome(child: Future[Any]) -> Any:
    if child.cancelled():
        # Not through the child, whose own CancelledError can be retrieved only once.
        message = getattr(child, "_cancel_message", None)
        return CancelledError("" if message is None else message)
    error = child.exception()
    return child.result() if error is None else error


def _cancelled_error(child: Future[Any]) -> BaseException:
    return child._make_cancelled_error()  # type: ignore[attr-defined,no-any-return]


def _throttled(
    loop: AbstractEventLoop,
    given: Sequence[Any],
    unique: list[Any],
    return_exceptions: bool,
    limit: int | None,
    rate: Rate | None,
    advance: Callable[[Future[Any]], object] | None,
) -> GatherFuture:
    children: dict[Any, Future[Any]] = {}
    running: list[Future[Any]] = []
    outer = GatherFuture(running, loop=loop)
    left = len(unique)

    def ended(child: Future[Any]) -> None:
        nonlocal left
        left -= 1
        if discard_edge is not None:
            discard_edge(child, outer._parent_task)
        if outer.done():
            if not child.cancelled():
                child.exception()  # mark it as retrieved
        elif not return_exceptions and (child.cancelled() or child.exception() is not None):
            throttle.close()
            error = _cancelled_error(child) if child.cancelled() else child.exception()
            assert error is not None
            outer.fail(error)
        elif not left:
            outer._children = [children[aw] for aw in given]
            _finish(outer, child, return_exceptions)
        elif outer._cancel_requested and all(child.done() for child in running):
            outer.fail(_cancelled_error(child))  # the others were never started

    def started(aw: Any, child: Future[Any]) -> None:
        children[aw] = child
        running.append(child)
        if add_edge is not None:
            add_edge(child, outer._parent_task)
        if advance is not None:
            child.add_done_callback(advance)

    def failed(error: BaseException) -> None:
        if not outer.done():
            outer.fail(error)

    waiting = [aw for aw in unique if not is_started(aw)]
    throttle = outer._throttle = Throttle(loop, limit, rate, waiting, started, ended, failed)
    throttle._outer = outer
    for aw in unique:
        if is_started(aw):
            child = _child(loop, aw)
            started(aw, child)
            child.add_done_callback(ended)
    throttle.fill()
    if not unique:
        outer.set_result([])
    return outer
