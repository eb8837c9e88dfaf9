"""Tools for testing asynchronous code: a simulated clock, a task recorder, consistency checks.

>>> from asyncnb.testing import run_virtual
>>> async def main():
...     await asyncio.sleep(3600)       # takes no time at all
...     return asyncio.get_running_loop().time()
>>> run_virtual(main())
3600.0

Nothing here needs IPython or a test framework.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
import selectors
import time
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from asyncnb._core.base.errors import THREADS
from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.launched.named_groups import open_groups
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.loop.embedded import EmbeddedLoop
from asyncnb._core.primitives import joining as _joining
from asyncnb._core.primitives.all_tasks import all_tasks
from asyncnb._core.primitives.tasks import wrapped
from asyncnb._core.timeline.timeline import Timeline, check_grid, timeline
from asyncnb._core.tracing.recording import MAX_STEPS, Recording

T = TypeVar("T")

__all__ = [
    "Event",
    "TaskRecorder",
    "VirtualTimeLoop",
    "clear_ended",
    "draw_virtual",
    "run_virtual",
    "validate",
    "wait_until_idle",
]


class _Selector:
    """A selector that never sleeps while the loop has a timer: it advances the loop's clock."""

    def __init__(self, real: selectors.BaseSelector) -> None:
        self._real = real
        self.loop: VirtualTimeLoop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self.loop
        if timeout is None or timeout <= 0 or loop is None:
            # Without timers, only another thread or a socket can make progress: really wait for it.
            return self._real.select(timeout)
        events = self._real.select(0)
        if not events:
            loop.advance(timeout)
        return events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _TimersOnly(selectors.SelectSelector):
    """Selects nothing: without threads and sockets, a wait without a timer never ends."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError(
                "The tasks of this VirtualTimeLoop are deadlocked: they wait for each other or for "
                "something that no timer and no callback will do, and there are no threads"
            )
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A standard event loop on a clock that jumps from timer to timer.

    ``loop.time()`` starts at 0.0. When no callback is ready, the clock jumps to the next timer, so
    sleeps and timeouts take no real time and a test always sees the same order. Work in threads and
    sockets still takes real time: while one of those is awaited and a timer is set, the timer wins.
    ``loop.jumps`` counts how often the clock has jumped; ``loop.advance(seconds)`` advances it.
    """

    #: Its time is not real time: a recording of its tasks uses this clock.
    virtual = True

    def __init__(self) -> None:
        self._now = 0.0
        self.jumps: int = 0
        selector = _Selector(selectors.DefaultSelector() if THREADS else _TimersOnly())
        super().__init__(selector)  # type: ignore[arg-type]
        selector.loop = self

    def create_task(self, coro: Any, **kwargs: Any) -> Any:
        """As the standard loop's; inside ``with asyncnb.record():`` the task is recorded."""
        # Except what a Runner runs at its end: that is not part of the user's program.
        own = getattr(coro, "__qualname__", "").startswith("BaseEventLoop.")
        if not own:
            coro = wrapped(coro, self)
        return super().create_task(coro, **kwargs)

    if not THREADS:  # Pyodide: no sockets either, and no other thread to wake the loop with one

        def _make_self_pipe(self) -> None:
            pass

        def _close_self_pipe(self) -> None:
            pass

    def shutdown_default_executor(self, timeout: float | None = None) -> Coroutine[Any, Any, None]:
        """As the standard loop's, but without a timeout, since its threads end in real time.

        The seconds that a Runner allows for that would pass at once on this clock, and the loop
        would close before the threads have ended.
        """
        return super().shutdown_default_executor()  # create_task() recognises it by its name

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Advance the clock by ``seconds``, as a callback that takes that long would."""
        self._now += seconds
        self.jumps += 1


def run_virtual(
    main: Coroutine[Any, Any, T],
    *,
    task_factory: Callable[..., Any] | None = None,
    debug: bool | None = None,
) -> T:
    """Run ``main`` on a new VirtualTimeLoop and return its result; cancel the tasks that remain.

    Raises what ``main`` raises, and AssertionError if the loop's exception handler was called:
    a failure that your code did not handle is a failure of the test. Where a loop is already
    running, as in a notebook cell, this runs on a separate thread, and the calling thread waits; in
    Pyodide, which has no threads, the running loop is suspended meanwhile.
    """
    if not THREADS and asyncio._get_running_loop() is not None:
        with _running_loop_set_aside():
            return run_virtual(main, task_factory=task_factory, debug=debug)
    if asyncio._get_running_loop() is not None:
        run_here = functools.partial(run_virtual, main, task_factory=task_factory, debug=debug)
        with ThreadPoolExecutor(1, "asyncnb virtual") as pool:
            result: T = pool.submit(contextvars.copy_context().run, run_here).result()
        return result
    reported: list[Mapping[str, Any]] = []

    def new_loop() -> AbstractEventLoop:
        loop = VirtualTimeLoop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        if task_factory is not None:
            loop.set_task_factory(task_factory)
        return loop

    with asyncio.Runner(loop_factory=new_loop, debug=debug) as runner:
        result = runner.run(main)
    if reported:
        first = reported[0]
        raise AssertionError(
            f"the loop's exception handler was called {len(reported)} times, first with: "
            f"{first.get('message')}"
        ) from first.get("exception")
    return result


def draw_virtual(main: Coroutine[Any, Any, object], *, grid: float | None = None) -> Timeline:
    """Run ``main`` as ``run_virtual`` does; return a diagram of when its tasks ran and waited.

    >>> from asyncnb.testing import draw_virtual
    >>> async def main():
    ...     await asyncio.gather(asyncio.sleep(1), asyncio.sleep(2))
    >>> picture = draw_virtual(main(), grid=0.1)  # a cell shows it; .svg() is its source

    The task that runs ``main`` is named ``"main"``; its result is dropped. ``grid`` is that of
    ``asyncnb.timeline``. Raises what ``run_virtual`` raises, and ValueError for a grid that is not
    positive, before anything runs.
    """
    check_grid(grid)

    async def named() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.set_name("main")
        await main

    with Recording(MAX_STEPS) as recording:
        run_virtual(named())
    return timeline(recording, grid=grid)


@contextmanager
def _running_loop_set_aside() -> Iterator[None]:
    """Unset this thread's running loop and current task for the duration of the block."""
    loop = asyncio._get_running_loop()
    swap: Callable[..., Any] = getattr(asyncio.tasks, "_swap_current_task")  # noqa: B009  # 3.12
    task = swap(loop, None)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        swap(loop, task)


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded event: loop time, task, what happened, and a value."""

    time: float
    task: str
    what: str
    value: object = None


class TaskRecorder:
    """Records, in order, what happens to the coroutines it wraps.

    ``recorder(coro, name)`` is a coroutine that does what ``coro`` does and records ``start``,
    then ``result``, ``error`` or ``cancelled``; ``recorder.note(what)`` adds an event of your own.

    >>> from asyncnb.testing import TaskRecorder
    >>> recorder = TaskRecorder()
    >>> async with asyncio.TaskGroup() as group:
    ...     group.create_task(recorder(asyncio.sleep(2), "slow"))
    ...     group.create_task(recorder(asyncio.sleep(1), "quick"))
    >>> recorder.order("result")
    ['quick', 'slow']

    Use it on one loop; times are that loop's.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def __call__(self, awaitable: Awaitable[T], name: str) -> T:
        self.note("start", task=name)
        try:
            result = await awaitable
        except asyncio.CancelledError as exc:
            self.note("cancelled", exc.args[0] if exc.args else None, task=name)
            raise
        except BaseException as exc:
            self.note("error", exc, task=name)
            raise
        self.note("result", result, task=name)
        return result

    def note(self, what: str, value: object = None, *, task: str | None = None) -> None:
        """Record ``what`` for ``task``, by default the current one. Needs a running loop."""
        loop = asyncio.get_running_loop()
        if task is None:
            current = asyncio.current_task(loop)
            task = current.get_name() if current is not None else ""
        self.events.append(Event(loop.time(), task, what, value))

    def order(self, what: str) -> list[str]:
        """Return the names of the tasks to which ``what`` happened, in the order it did."""
        return [event.task for event in self.events if event.what == what]

    def of(self, task: str) -> list[str]:
        """Return what happened to ``task``, in order."""
        return [event.what for event in self.events if event.task == task]

    def time_of(self, task: str, what: str) -> float:
        """Return when (in loop time) ``what`` first happened to ``task``, or raise LookupError."""
        for event in self.events:
            if event.task == task and event.what == what:
                return event.time
        raise LookupError(f"{what!r} never happened to {task!r}; its events: {self.of(task)}")

    def __str__(self) -> str:
        return "\n".join(
            f"{event.time:10.3f}  {event.task:<16} {event.what}"
            + (f" {event.value!r}" if event.value is not None else "")
            for event in self.events
        )


def validate() -> None:
    """Check the invariants of asyncnb's tasks, groups and waits.

    Raises AssertionError with a sentence for each violation: a launched task that runs but is
    missing from ``asyncnb.tasks()``, or is in an unknown state, or is alive on a loop that has
    ended; more ended tasks or results kept than the limit allows; an open group whose loop has
    ended, or a closed group that does not wait for one of its tasks; a thread or a task that waits
    for an embedded loop that has ended. None of that should happen, whatever your code does: please
    report it.

    Call it at the end of a test or a fixture, from any thread or task, even while others are
    running. It starts nothing, waits for nothing and changes nothing.

    >>> from asyncnb.testing import validate
    >>> task = asyncnb.launch(asyncio.sleep(0), name="job")
    >>> validate()
    """
    wrong = [*registry.validate(), *_wrong_tasks(), *_wrong_groups(), *_wrong_waits()]
    if wrong:
        raise AssertionError("The state of asyncnb is inconsistent: " + "; ".join(wrong))


def _wrong_tasks() -> Iterator[str]:
    for record in registry.living():
        task = record.task_in_memory()
        if task is None:  # it has ended meanwhile
            continue
        if _joining.is_dead(task.get_loop()) and record.ended is None:
            yield f"{record.name!r} is alive, but its loop has ended"
        group = None if record.group_facts is None else record.group_facts.group()
        if group is None or not group.closed or _joining.is_dead(group.loop):
            continue
        if task not in group.members() and not task.done():
            yield f"{record.name!r} is alive, but its group {group.name!r} does not wait for it"
    loop = running_embedded_loop()
    for each in () if loop is None else all_tasks(loop):
        own = getattr(each, "_record", None)
        if own is not None and not registry.holds(own) and not each.done():
            yield f"{each.get_name()!r} runs, but is missing from asyncnb.tasks()"


def _wrong_groups() -> Iterator[str]:
    for group in open_groups():
        if _joining.is_dead(group.loop) and group in open_groups():
            yield f"the group {group.name!r} is open, but its loop has ended"


def _wrong_waits() -> Iterator[str]:
    with _joining._guard:
        waiting = [(loop, 0, len(tasks)) for loop, tasks in _joining._waiters.items()]
    for loop in {joiner.loop for joiner in _joining._joiners.copy()}:
        waiting.append((loop, len(_joining.joiners_of(loop)), 0))
    for loop, threads, tasks in waiting:
        # A loop of other code may be closed without notice; waits for it detect that themselves.
        if isinstance(loop, EmbeddedLoop) and _joining.is_dead(loop):
            if threads:
                yield f"{threads} threads wait in join() for an embedded loop that has ended"
            if tasks:
                yield f"{tasks} futures of other loops wait for an embedded loop that has ended"


def clear_ended() -> int:
    """Forget the launched tasks that have ended, as ``%tasks clear`` does; return how many.

    After that a test does not find the tasks of another test in ``asyncnb.tasks()``. Living tasks
    stay. Any thread.

    >>> from asyncnb.testing import clear_ended
    >>> task = asyncnb.launch(asyncio.sleep(0), name="job")
    >>> await task
    >>> clear_ended() >= 1 and asyncnb.tasks("job") == []
    True
    """
    return registry.clear_ended()


def wait_until_idle(timeout: float | None = 10.0) -> None:
    """Block until every launched task has ended and its output has reached its cell.

    Tasks launched in the meantime are waited for, too. Raises TimeoutError with the names of those
    still alive after ``timeout`` seconds (None: wait without a limit), ValueError or TypeError for
    an invalid timeout, and WrongThreadError on the embedded loop's own thread, where they could not
    end: write ``await asyncio.to_thread(wait_until_idle)`` there. Any other thread.
    """
    timeout = check_timeout(timeout)
    loop = running_embedded_loop()
    if loop is not None:
        instead = "await asyncio.to_thread(wait_until_idle)"
        _joining.refuse_own_thread(loop, "wait_until_idle()", instead)
    until = math.inf if timeout is None else time.monotonic() + timeout
    while living := registry.living():
        if time.monotonic() >= until:
            names = ", ".join(repr(record.name) for record in living[:8])
            raise TimeoutError(
                f"{len(living)} tasks have not ended after {timeout} seconds: {names}"
            )
        _wait_shown(living[0], until)
    for record in registry.records():
        _wait_shown(record, until)


def _wait_shown(record: TaskRecord, until: float) -> None:
    # A thread cannot wait for an arbitrary number of seconds; after an hour, check again.
    record.wait_shown(max(0.0, min(until - time.monotonic(), 3600.0)))
