"""launch, run, tasks, task, cancel: what a notebook does with tasks, from any thread."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import fnmatch
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import Any, TypeVar

from asyncnb._core.base.errors import (
    THREADS,
    EmbeddedLoopError,
    TaskNotFoundError,
    would_deadlock,
)
from asyncnb._core.base.forks import at_fork
from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.text import shown_as
from asyncnb._core.base.visits import own_loop, runs_here
from asyncnb._core.introspection.info import ENDED, STATES, current_record
from asyncnb._core.launched import crashes as _crashes
from asyncnb._core.launched import named_groups as _named_groups
from asyncnb._core.launched.open_group import OpenGroup
from asyncnb._core.launched.registry import TaskRecord, TaskRegistry
from asyncnb._core.launched.time_limit import run_body
from asyncnb._core.loop import embedded as _loop
from asyncnb._core.loop.embedded import EmbeddedLoop, embedded_loop, running_embedded_loop
from asyncnb._core.primitives import threads as _threads
from asyncnb._core.primitives.all_tasks import plain_tasks
from asyncnb._core.primitives.awaitables import close_refused, close_unstarted, iscoroutine
from asyncnb._core.primitives.futures import isfuture, wrap_future
from asyncnb._core.primitives.joining import end_lost, is_dead
from asyncnb._core.primitives.tasks import Task, create_suspended, explain_no_coroutine, no_context
from asyncnb._core.primitives.threads import run_on
from asyncnb._core.primitives.waiting import wait_for
from asyncnb._core.tracing import recording as _trace

__asyncnb_frames__ = "launches"

T = TypeVar("T")

registry = TaskRegistry()
atexit.register(registry.clear_ended)  # so that no failure is told a second time at the end

#: Set by the extension: called in the context that a task launched here and now will run in, leads
#: its output to the cell it was launched from, and describes the task's record.
prepare: Callable[[TaskRecord], None] | None = None

#: Set by the package: launches what is to run elsewhere (``on=``); it imports much.
elsewhere: Callable[..., Any] | None = None

#: Set by the extension: return the loops besides the embedded one, for tasks(all=True).
other_loops: list[Callable[[], asyncio.AbstractEventLoop | None]] = []


def _forget_after_fork() -> None:
    # The child has the parent's hooks, but neither its front end nor its tasks.
    global prepare
    prepare = None
    other_loops.clear()
    registry.reset_after_fork()


at_fork(_forget_after_fork)


def _start_in_group(group: OpenGroup) -> Callable[..., Task[Any]]:
    """Tasks of an open group are launched ones: recorded, shown, with output in their cell."""

    def start(
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        timeout: float | None = None,
        eager_start: bool | None = None,
        **unknown: Any,
    ) -> Task[Any]:
        # eager_start is taken for those who write for any group: on a loop in another thread no
        # task can start before this call returns.
        if unknown:
            raise TypeError(
                "a task of an open group takes name, context, timeout and eager_start, not "
                + ", ".join(sorted(unknown))
            )
        if not iscoroutine(coro):
            raise TypeError(explain_no_coroutine(coro))
        if context is not None and type(context) is not contextvars.Context:
            raise no_context(context)
        record = TaskRecord()
        record.first_limit = check_timeout(timeout)
        record.belong_to(group)
        record.body = coro
        return launch_record(record, run_body(coro, record), name=name, context=context)

    return start


_named_groups.home_loop = embedded_loop
_named_groups.start_task = _start_in_group


_loop.mend = functools.partial(_crashes.mend, registry)


def as_coroutine(awaitable: Awaitable[T], *, caller: str) -> Coroutine[Any, Any, T]:
    """Return a coroutine that awaits ``awaitable``; raise a TypeError that teaches."""
    # What inspect would find out about the state, for the one answer that most ever give.
    if type(awaitable) is CoroutineType and not (
        awaitable.cr_suspended or awaitable.cr_running or awaitable.cr_frame is None
    ):
        return awaitable
    if inspect.iscoroutine(awaitable):
        if inspect.getcoroutinestate(awaitable) != inspect.CORO_CREATED:
            raise RuntimeError(
                f"{caller} got the coroutine {awaitable.__qualname__!r}, which was started or "
                "awaited before. Call the function again for a new one."
            )
        return awaitable
    if inspect.isawaitable(awaitable):
        return _await(awaitable)
    hint = ""
    if inspect.iscoroutinefunction(awaitable):
        hint = f" Call it: {caller}({getattr(awaitable, '__name__', 'function')}(...))."
    elif inspect.isasyncgen(awaitable):
        hint = " An async generator is iterated: put `async for` into a coroutine."
    elif callable(awaitable):
        hint = f" For a blocking function: {caller}(asyncio.to_thread(function, ...))."
    raise TypeError(
        f"{caller} takes a coroutine or another awaitable, not {_brief(awaitable)}.{hint}"
    )


def _brief(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


async def _await(awaitable: Awaitable[T]) -> T:
    if isfuture(awaitable):
        return await wrap_future(awaitable, loop=asyncio.get_running_loop())  # of any loop
    return await awaitable


def launch(
    awaitable: Awaitable[T],
    *,
    name: str | None = None,
    group: str | OpenGroup | None = None,
    timeout: float | None = None,
    on: Any = None,
    trace: bool = False,
) -> Task[T]:
    """Start ``awaitable`` as a background task of the embedded loop and return its Task.

    May be called from any thread and any loop; returns at once. The task is held until it has
    ended, whether or not anybody keeps the returned object. ``group`` is an open group or the
    name of one (see ``open_group``), which adopts the task. After ``timeout`` seconds it is
    cancelled and fails with TimeoutError; ``task.timeout`` reschedules that. What it prints and
    displays, and the traceback if it fails, land in the cell that launched it. With ``trace``
    its steps, and those of the tasks it makes, are recorded for ``timeline()``.

    >>> task = asyncnb.launch(asyncio.sleep(0.01, "done"), name="nap")
    >>> task.get_name(), await task
    ('nap', 'done')

    With ``on``, a coroutine that has not started, or a function without arguments, runs elsewhere:
    see ``asyncnb.offload``, which also says what is raised then. ``trace`` then records how it
    waited here: what goes on in another process is not seen.

    Raises TypeError for anything that cannot be awaited, TypeError or ValueError for a timeout
    that is no number of seconds, and RuntimeError for a group that takes no more tasks; nothing
    is started then, and a coroutine is closed.
    """
    if on is not None:
        assert elsewhere is not None
        found: Task[T] = elsewhere(
            awaitable, on=on, name=name, group=group, timeout=timeout, trace=trace
        )
        return found
    coro = as_coroutine(awaitable, caller="launch")
    return launch_checked(TaskRecord(), coro, name=name, group=group, timeout=timeout, trace=trace)


def launch_checked(
    record: TaskRecord,
    coro: Coroutine[Any, Any, T],
    *,
    name: str | None,
    group: str | OpenGroup | None,
    timeout: float | None,
    trace: bool = False,
    first: Callable[[], object] | None = None,
) -> Task[T]:
    """Start ``coro`` under ``record``, or refuse the options and close it; see ``launch``.

    ``first`` is called when the task is known, before a loop in another thread is woken for it.
    """
    try:
        if timeout is not None:
            timeout = check_timeout(timeout)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {_brief(name)}.")
        if isinstance(group, str):
            group = _named_groups.group_named(group)
        if group is not None and group.closed:
            raise RuntimeError(f"{group!r} takes no more tasks; open_group(...) opens a new one.")
    except BaseException:
        coro.close()
        raise
    if group is not None:
        record.belong_to(group)
    record.body, record.first_limit = coro, timeout
    task = launch_record(record, run_body(coro, record), name=name, trace=trace, first=first)
    if group is not None:
        join_group(group, task)
    return task


def join_group(group: OpenGroup, task: Task[Any]) -> None:
    """Have ``group`` adopt a task just launched; cancel it if the group has ended meanwhile."""
    try:
        group.add(task)
    except RuntimeError:
        task.cancel()
        raise


def launch_record(
    record: TaskRecord,
    coro: Coroutine[Any, Any, T],
    *,
    name: str | None,
    trace: bool = False,
    first: Callable[[], object] | None = None,
    context: contextvars.Context | None = None,
) -> Task[T]:
    """Start ``coro`` under ``record``: the one way by which tasks are launched.

    In ``context`` itself, by default a copy of the running one.
    """
    loop = embedded_loop()
    entered = contextvars.copy_context() if context is None else context.copy()
    entered.run(_enter, record)
    recording = _trace.current_recording.get()
    if recording is None and (trace or _trace.always):
        recording = _trace.recorder
    if recording is not None:
        entered.run(_trace.current_recording.set, recording)
        coro = recording.root(coro, record, loop)
    if context is None:
        context = entered
    else:
        # Not entered here: another task of that context may take a step in the loop's thread.
        given = context
        record.variables = [
            (variable, value)
            for variable, value in entered.items()
            if given.get(variable, record) is not value
        ]
    try:
        task, step = create_suspended(loop, coro, name=name, context=context)
    except BaseException:
        close_unstarted(coro)
        raise
    registry.add(record, task)
    try:
        if first is not None:
            first()
    finally:
        if step is not None:
            _start(loop, record, step, context)
    return task


def _start(
    loop: EmbeddedLoop, record: TaskRecord, step: Callable[[], object], context: contextvars.Context
) -> None:
    """Schedule a task's first step; if the loop has ended just now, nothing is left of the task."""
    task = record.task
    try:
        loop.start_task(task, step, context)
    except RuntimeError as exc:
        if not loop.is_closed():
            raise
        error = EmbeddedLoopError(
            f"The embedded loop ended while {task.get_name()!r} was launched, so it was not "
            "started. Launch it again: that starts a new loop."
        )
        registry.lose([record])
        if not task.done():
            end_lost(task, error)
        for coro in (task.get_coro(), record.body):
            if coro is not None:
                coro.close()
        record.body = None
        raise error from exc


def _enter(record: TaskRecord) -> None:
    if prepare is not None:
        prepare(record)
    current_record.set(record)


def run(
    awaitable: Awaitable[T],
    *,
    timeout: float | None = None,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run ``awaitable`` to its end and return its result, from sync code.

    While the embedded loop runs (in a notebook), the work is done there and the calling thread
    waits, also inside another running loop; nothing is patched. Ctrl-C cancels the work, waits
    for its cleanup and raises KeyboardInterrupt; launched tasks that it waited for go on. After
    ``timeout`` seconds the work is cancelled and TimeoutError raised.

    >>> def plain():
    ...     return asyncnb.run(asyncio.sleep(0.01, "done"))
    >>> plain()
    'done'

    Without an embedded loop (plain Python), or with a ``loop_factory``, this is ``asyncio.run``.

    Raises TypeError for anything that cannot be awaited, TypeError or ValueError for a timeout
    that is no number of seconds, and WrongThreadError on the embedded loop's own thread, and for a
    task of the loop that this thread runs: write ``await`` there. A coroutine is closed then. In
    Pyodide, whose one thread is that, it waits only where the browser can switch stacks.
    """
    loop = running_embedded_loop()
    with close_refused(awaitable):
        timeout = check_timeout(timeout)
        if loop_factory is not None and not callable(loop_factory):
            raise TypeError(f"loop_factory must be callable or None, not {_brief(loop_factory)}.")
        if THREADS:
            if loop is not None and runs_here(loop):
                raise would_deadlock("asyncnb.run()", "await ...")
            if isfuture(awaitable) and awaitable.get_loop() is own_loop() and not awaitable.done():
                # This thread would have to run it.
                raise would_deadlock("asyncnb.run()", "await task")
    coro = as_coroutine(awaitable, caller="run")
    if not THREADS and asyncio._get_running_loop() is not None:
        from asyncnb._core.loop.hosted import run_here

        return run_here(coro, timeout=timeout, name="asyncnb.run")
    if loop is not None and loop_factory is None and debug is None:
        return run_on(loop, coro, timeout=timeout, name="asyncnb.run")
    if timeout is not None:
        coro = wait_for(coro, timeout)
    if asyncio._get_running_loop() is None:
        return _threads.run(coro, debug=debug, loop_factory=loop_factory)
    return _run_aside(coro, debug=debug, loop_factory=loop_factory or asyncio.new_event_loop)


def _run_aside(
    coro: Coroutine[Any, Any, T],
    *,
    debug: bool | None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> T:
    """As ``asyncio.run``, in another thread: a loop runs in this one."""
    runner = _threads.Runner(debug=debug, loop_factory=loop_factory)
    try:
        loop = runner.get_loop()
    except BaseException:
        coro.close()
        raise

    def live() -> None:
        with runner:  # whose end cancels what is left, and waits for its cleanup
            loop.run_forever()

    thread = threading.Thread(target=live, name="asyncnb run", daemon=True)
    thread.start()
    try:
        return run_on(loop, coro)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
        thread.join()


def tasks(
    pattern: str = "*",
    *,
    state: str | None = None,
    group: str | OpenGroup | None = None,
    all: bool = False,
) -> list[asyncio.Task[Any]]:
    """Return the launched tasks whose name matches the glob ``pattern``, oldest first.

    ``all=True`` adds every other unfinished task of the embedded loop and of the kernel's own:
    plain ``asyncio`` tasks that cells and libraries made. ``state`` is one of pending, running,
    waiting, paused, cancelling, done, failed, cancelled. ``group`` is an open group, for its
    tasks, or the name of one, for those of every group that had the name. Ended tasks stay listed
    (the last 1,000) until ``%tasks clear``; the result of one that no code has held since is kept
    of the last 100 alone, and asking for an older one raises ResultDroppedError. Raises ValueError
    for an unknown state. Any thread.
    """
    if state is not None and state not in STATES:
        raise ValueError(f"There is no state {state!r}; the states are {', '.join(STATES)}.")
    facts = group.facts if isinstance(group, OpenGroup) else None
    found: list[asyncio.Task[Any]] = [
        r.task
        for r in registry.match(pattern, state=state)
        if group is None or (r.group == group if facts is None else r.group_facts is facts)
    ]
    if all and group is None:
        from asyncnb._core.introspection.unmanaged import (
            plain_task_info,  # not needed until somebody looks
        )

        found += [
            task
            for task in other_tasks()
            if fnmatch.fnmatchcase(task.get_name(), pattern)
            and (state is None or plain_task_info(task).state == state)
        ]
    return found


def other_tasks() -> list[asyncio.Task[Any]]:
    """Return the unfinished tasks that were not launched, of all the loops a notebook has."""
    loops = [running_embedded_loop(), *(loop() for loop in other_loops)]
    return plain_tasks([loop for loop in loops if loop is not None])


def plain_tasks_named(pattern: str, *, exactly: bool = False) -> list[asyncio.Task[Any]]:
    """Return the user's unfinished tasks that were not launched, by name or glob, of all loops.

    ``exactly``: not by glob, but by the name as a table shows it, see ``shown_as``. Without those
    that the kernel itself is made of. Any thread.
    """
    from asyncnb._core.introspection.unmanaged import is_hosts  # it builds on this module

    users = [task for task in other_tasks() if not is_hosts(task)]
    names = {task.get_name() for task in users}
    if not exactly:
        names = {each for each in names if each == pattern or fnmatch.fnmatchcase(each, pattern)}
    elif pattern in names:
        names = {pattern}
    else:
        names = shown_as(pattern, names)
    return [task for task in users if task.get_name() in names]


def loop_kind(loop: asyncio.AbstractEventLoop) -> str:
    """Return "kernel" for the kernel's own loop, "loop" for the embedded one and any other."""
    if loop is running_embedded_loop():
        return "loop"
    return "kernel" if any(each() is loop for each in other_loops) else "loop"


def task(name: str) -> Task[Any]:
    """Return the task called ``name``: the living one, else the last that ended.

    Of an ended one that no code has held since there is an object with its facts, its output and
    its end; its result and exception are there if it is one of the last 100 to end (the option
    ``results``), else asking for them raises ResultDroppedError.

    Raises TaskNotFoundError (a LookupError) with near names if there is none, or if more than
    one living task has the name. From any thread.

    >>> waiting = asyncnb.launch(asyncio.sleep(60), name="the crawler")
    >>> asyncnb.task("the crawler") is waiting
    True
    >>> asyncnb.task("the crawlr")
    Traceback (most recent call last):
    TaskNotFoundError: No task is called 'the crawlr'. Did you mean 'the crawler'?
    """
    return registry.find(name).task


def cancel(*patterns: str, msg: str | None = None) -> list[Task[Any]]:
    """Cancel the living tasks whose names match any of ``patterns`` (globs); return them.

    The launched ones, and by its exact name also a task that was not launched, such as one that
    ``asyncio.create_task`` made in a cell, of the embedded loop or of the kernel's own. A name is
    also taken as ``%tasks`` shows it, with escapes or cut. They end after their cleanup. A task
    that has ended stays as it is, so a pattern that matches only such tasks cancels nothing, and
    ``"*"`` matches whatever there is, also nothing: an empty list. Raises TaskNotFoundError with
    near names for any other pattern that matches no task, and TypeError without patterns; nothing
    is cancelled then. From any thread.

    >>> naps = [asyncnb.launch(asyncio.sleep(60), name=f"nap {n}") for n in (1, 2)]
    >>> [task.get_name() for task in asyncnb.cancel("nap *")]
    ['nap 1', 'nap 2']
    """
    if not patterns:
        raise TypeError('cancel() takes names or globs; cancel("*") cancels every launched task.')
    found: dict[int, TaskRecord] = {}
    others: dict[int, Any] = {}
    for pattern in patterns:
        matching = list(registry.match(pattern))
        by_name = plain_tasks_named(pattern, exactly=True) if pattern != "*" else []
        if not (matching or by_name or pattern == "*"):
            raise TaskNotFoundError(registry.no_match_message(pattern))
        found |= {r.id: r for r in matching if r.state() not in ENDED}
        others |= {id(task): task for task in by_name}
    for other in others.values():
        other.get_loop().call_soon_threadsafe(other.cancel, msg)
    return cancel_records(list(found.values()), msg) + list(others.values())


def cancel_all(msg: str | None = None) -> list[Task[Any]]:
    """Cancel every launched task; return those that had not ended. Any thread."""
    return cancel_records(registry.living(), msg)


def cancel_group(name: str, msg: str | None = None) -> list[Task[Any]]:
    """Cancel the group ``name`` and return its living tasks; they end after their cleanup.

    Through the group and not one by one: it takes no new tasks then, its body and its end are no
    failure. Of several groups that have the name, one that still ends among them, all. Any thread.
    """
    records = [record for record in registry.living() if record.group == name]
    groups = {_named_groups.find_group(name)}
    groups |= {record.group_facts.group() for record in records if record.group_facts is not None}
    asked = [record.task for record in records if not record.task.done()]  # they may end at once
    for record in records:
        record.cancel_asked = True
    for group in groups:
        if group is not None:
            group.cancel(msg)
    for record in records:
        if record.task._pause is not None:
            record.task.resume()  # the body only waits for the others now; held, it never ends
        record.changed()
    return asked


def cancel_records(records: list[TaskRecord], msg: str | None = None) -> list[Task[Any]]:
    """Cancel the tasks of ``records``; return those that had not ended."""
    asked = []
    for record in records:
        record.cancel_asked = True
        try:
            if record.task.cancel(msg):
                asked.append(record.task)
        except RuntimeError:
            loop: Any = record.task.get_loop()
            if not is_dead(loop):
                raise
            _loop.mend(loop, getattr(loop, "crash", None))  # it has just ended; so has the task
        record.changed()
    return asked


def clear_ended() -> int:
    """Forget the tasks that have ended, and what was recorded of them; return how many."""
    _trace.recorder.clear()
    return registry.clear_ended()
