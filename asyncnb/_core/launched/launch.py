"""launch, tasks, task, cancel: what a notebook does with tasks, from any thread."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from asyncnb._core import frontend
from asyncnb._core.base.errors import TaskNotFoundError
from asyncnb._core.base.seconds import check_timeout
from asyncnb._core.base.text import brief_value, shown_as
from asyncnb._core.introspection.info import ENDED, STATES
from asyncnb._core.launched.crashes import end_all_of
from asyncnb._core.launched.named_groups import find_group, group_named
from asyncnb._core.launched.open_group import OpenGroup
from asyncnb._core.launched.record import TaskRecord
from asyncnb._core.launched.registry import registry
from asyncnb._core.launched.start import (
    as_coroutine,
    is_unstarted_coroutine,
    launch_plainly,
    launch_record,
    run_body,
)
from asyncnb._core.loop.current import running_embedded_loop
from asyncnb._core.primitives.all_tasks import unmanaged_tasks
from asyncnb._core.primitives.awaitables import close_unstarted
from asyncnb._core.primitives.joining import is_dead
from asyncnb._core.primitives.tasks import Task

if TYPE_CHECKING:
    from asyncnb._core.launched.after import Given

__asyncnb_frames__ = "launches"

T = TypeVar("T")

#: Launches code that runs elsewhere (``on=``); see ``use_for_on``.
_launch_elsewhere: Callable[..., Any] | None = None


def use_for_on(launch_elsewhere: Callable[..., Any]) -> None:
    """Make ``launch(on=...)`` call ``launch_elsewhere``, the package's entry to offloading."""
    global _launch_elsewhere
    _launch_elsewhere = launch_elsewhere


def launch(
    awaitable: Awaitable[T],
    *,
    name: str | None = None,
    group: str | OpenGroup | None = None,
    timeout: float | None = None,
    on: Any = None,
    trace: bool = False,
    after: Given | None = None,
) -> Task[T]:
    """Start ``awaitable`` as a background task of the embedded loop and return its Task.

    May be called from any thread and any loop; returns at once. The task is kept alive until it
    has ended, even if your code does not keep the returned object. ``group`` is an open group or
    the name of one (see ``open_group``), which adopts the task. After ``timeout`` seconds the task
    is cancelled and fails with TimeoutError; ``task.timeout`` reschedules that. What it prints and
    displays, and the traceback if it fails, appear under the cell that launched it. With ``trace``
    its steps, and those of the tasks it creates, are recorded for ``timeline()``.

    >>> task = asyncnb.launch(asyncio.sleep(0.01, "done"), name="nap")
    >>> task.get_name(), await task
    ('nap', 'done')

    With ``on``, a coroutine that has not started, or a function without arguments, runs elsewhere:
    see ``asyncnb.offload``, which also documents what is raised then. ``trace`` then records how
    the task waited here; what happens in another process is not recorded.

    ``after`` is a name, a task or a list of these: the awaitable is awaited once these tasks (for
    the name of a group: all tasks of the group) are done, and ``timeout`` counts from then on. If
    one of them fails or is cancelled, the task fails with NotRunError and the coroutine never
    starts. A name means the newest run with that name. ``after`` cannot be combined with ``on``.

    Raises TypeError for anything that cannot be awaited, TypeError or ValueError for a timeout that
    is not a number of seconds, RuntimeError for a group that is closed to new tasks, and for
    ``after`` TaskNotFoundError for an unknown name and CommandError for a task that would wait for
    itself. In all these cases nothing is started, and a coroutine is closed.
    """
    if (
        group is None
        and timeout is None
        and on is None
        and not trace
        and after is None
        and (name is None or type(name) is str)
        and is_unstarted_coroutine(awaitable)
    ):
        return launch_plainly(awaitable, name)
    if on is not None:
        if after is not None:
            close_unstarted(awaitable)
            raise TypeError(
                "launch() takes on= or after=, not both. A %%atask cell takes --on with --after."
            )
        assert _launch_elsewhere is not None
        found: Task[T] = _launch_elsewhere(
            awaitable, on=on, name=name, group=group, timeout=timeout, trace=trace
        )
        return found
    coro = as_coroutine(awaitable, caller="launch")
    return launch_checked(
        TaskRecord(), coro, name=name, group=group, timeout=timeout, trace=trace, after=after
    )


def launch_checked(
    record: TaskRecord,
    coro: Coroutine[Any, Any, T],
    *,
    name: str | None,
    group: str | OpenGroup | None,
    timeout: float | None,
    trace: bool = False,
    before_start: Callable[[], object] | None = None,
    after: Given | None = None,
) -> Task[T]:
    """Start ``coro`` under ``record``, or refuse the options and close it; see ``launch``.

    ``before_start`` is called once the task exists, before a loop in another thread is woken.
    """
    try:
        if timeout is not None:
            timeout = check_timeout(timeout)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {brief_value(name)}.")
        if isinstance(group, str):
            group = group_named(group)
        if group is not None and group.closed:
            raise RuntimeError(
                f"{group!r} is closed to new tasks; call open_group(...) for a new one."
            )
        if after is not None:
            from asyncnb._core.launched.after import prerequisites  # seldom needed

            in_group = None if group is None else group.name
            record.after = prerequisites(after, name=name, group=in_group)
    except BaseException:
        coro.close()
        raise
    if group is not None:
        record.belong_to(group)
    record.body, record.first_limit = coro, timeout
    body = run_body(coro, record) if after is None else _run_after(coro, record)
    task = launch_record(record, body, name=name, trace=trace, before_start=before_start)
    if group is not None:
        join_group(group, task)
    return task


async def _run_after(coro: Coroutine[Any, Any, T], record: TaskRecord) -> T:
    try:
        await record.after.wait(record)
    except BaseException:
        registry.ends(record)  # run_body() would do it, but is not reached
        raise
    return await run_body(coro, record)


def join_group(group: OpenGroup, task: Task[Any]) -> None:
    """Add a task just launched to ``group``; cancel it if the group has ended meanwhile."""
    try:
        group.add(task)
    except RuntimeError:
        task.cancel()
        raise


def tasks(
    pattern: str = "*",
    *,
    state: str | None = None,
    group: str | OpenGroup | None = None,
    all: bool = False,
) -> list[asyncio.Task[Any]]:
    """Return the launched tasks whose name matches the glob ``pattern``, oldest first.

    If there is none, the pattern may be a path, as in ``"crawl/page *"``: the unfinished tasks
    inside a launched task that it made with create_task(), a TaskGroup or gather(), by name. The
    names of both, and of tasks further inside after another slash, are globs.

    ``all=True`` adds every other unfinished task of the embedded loop and of the kernel's own:
    plain ``asyncio`` tasks created by cells and libraries. ``state`` is one of pending, running,
    waiting, paused, cancelling, done, failed, cancelled. ``group`` is an open group, for its
    tasks, or the name of one, for the tasks of every group that had the name. Ended tasks stay
    listed (the last 1,000) until ``%tasks clear``; of those that your code does not hold, only the
    last 100 keep their result, and retrieving an older one raises ResultDroppedError. Raises
    ValueError for an unknown state. Any thread.
    """
    if state is not None and state not in STATES:
        raise ValueError(f"Unknown state {state!r}; the states are {', '.join(STATES)}.")
    facts = group.facts if isinstance(group, OpenGroup) else None
    found: list[asyncio.Task[Any]] = [
        r.task
        for r in registry.match(pattern, state=state)
        if group is None or (r.group == group if facts is None else r.group_facts is facts)
    ]
    if group is not None:
        return found
    others = []
    if all:
        others = [task for task in other_tasks() if fnmatch.fnmatchcase(task.get_name(), pattern)]
    if not (found or others) and "/" in pattern and next(registry.match(pattern), None) is None:
        others = _tasks_inside(pattern)
    if others and state is not None:
        from asyncnb._core.introspection.unmanaged import state_of  # seldom needed

        others = [task for task in others if state_of(task) == state]
    return found + others


def other_tasks() -> list[asyncio.Task[Any]]:
    """Return the unfinished tasks that were not launched, of all loops of the notebook."""
    loops = [running_embedded_loop(), *frontend.current.other_loops()]
    return unmanaged_tasks([loop for loop in loops if loop is not None])


def plain_tasks_named(pattern: str, *, exactly: bool = False) -> list[asyncio.Task[Any]]:
    """Return the user's unfinished tasks that were not launched, by name or glob, of all loops.

    With ``exactly``, match not as a glob but by the name as a table shows it, see ``shown_as``. The
    kernel's own tasks are not included. Any thread.
    """
    from asyncnb._core.introspection.unmanaged import is_host_task  # it builds on this module

    users = [task for task in other_tasks() if not is_host_task(task)]
    names = {task.get_name() for task in users}
    if not exactly:
        names = {each for each in names if each == pattern or fnmatch.fnmatchcase(each, pattern)}
    elif pattern in names:
        names = {pattern}
    else:
        names = shown_as(pattern, names)
    return [task for task in users if task.get_name() in names]


def task(name: str) -> Task[Any]:
    """Return the task named ``name``: the living one, otherwise the one that ended last.

    The unfinished tasks inside a launched task have paths: ``asyncnb.task("crawl/page 7")``.

    For an ended task that your code no longer holds, this is an object with its facts, its output
    and its final state; its result and exception are available if it is one of the last 100 to end
    (the option ``results``), otherwise retrieving them raises ResultDroppedError.

    Raises TaskNotFoundError (a LookupError) that suggests similar names if there is none, or if
    more than one living task has the name. From any thread.

    >>> waiting = asyncnb.launch(asyncio.sleep(60), name="the crawler")
    >>> asyncnb.task("the crawler") is waiting
    True
    >>> asyncnb.task("the crawlr")
    Traceback (most recent call last):
    TaskNotFoundError: No task named 'the crawlr'. Did you mean 'the crawler'?
    """
    if "/" not in name or next(registry.match(name), None) is not None:
        return registry.find(name).task
    from asyncnb._core.launched.inside import find_one  # seldom needed

    inside: Task[Any] = find_one(name).task
    return inside


def cancel(*patterns: str, msg: str | None = None) -> list[Task[Any]]:
    """Cancel the living tasks whose names match any of ``patterns`` (globs); return them.

    This cancels launched tasks, and by its exact name also a task that was not launched, such as
    one made by ``asyncio.create_task`` in a cell, of the embedded loop or of the kernel's own; by a
    path such as ``"crawl/page 7"`` or ``"crawl/*"`` also those inside a launched task. A name may
    also be written as ``%tasks`` shows it, with escapes or truncated. The tasks end after their
    cleanup. A task that has ended stays as it is, so a pattern that matches only such tasks cancels
    nothing, and ``"*"`` may match nothing: then the list is empty. Raises TaskNotFoundError that
    suggests similar names for any other pattern that matches no task, and TypeError without
    patterns or for what is no name; nothing is cancelled then. From any thread.

    >>> naps = [asyncnb.launch(asyncio.sleep(60), name=f"nap {n}") for n in (1, 2)]
    >>> [task.get_name() for task in asyncnb.cancel("nap *")]
    ['nap 1', 'nap 2']
    """
    if not patterns:
        raise TypeError(
            'cancel() takes names or glob patterns; cancel("*") cancels every launched task.'
        )
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(
                f"cancel() takes names or glob patterns, not a {type(pattern).__name__}. If you "
                "have the task itself, call task.cancel()."
            )
    found: dict[int, TaskRecord] = {}
    others: dict[int, Any] = {}
    for pattern in patterns:
        matching = list(registry.match(pattern))
        by_name = plain_tasks_named(pattern, exactly=True) if pattern != "*" else []
        if not (matching or by_name) and "/" in pattern:
            by_name = _tasks_inside(pattern)
        if not (matching or by_name or pattern == "*"):
            raise TaskNotFoundError(_no_match_message(pattern))
        found |= {r.id: r for r in matching if r.state() not in ENDED}
        others |= {id(task): task for task in by_name}
    if others:
        from asyncnb._core.launched import inside  # seldom needed

        inside.cancel(others.values(), msg)
    return cancel_records(list(found.values()), msg) + list(others.values())


def _tasks_inside(path: str) -> list[asyncio.Task[Any]]:
    from asyncnb._core.launched.inside import find_inside  # seldom needed

    return [each.task for each in find_inside(path)]


def _no_match_message(pattern: str) -> str:
    if "/" not in pattern:
        return registry.no_match_message(pattern)
    from asyncnb._core.launched.inside import no_match_message  # seldom needed

    return no_match_message(pattern)


def cancel_all(msg: str | None = None) -> list[Task[Any]]:
    """Cancel every launched task; return those that had not ended. Any thread."""
    return cancel_records(registry.living(), msg)


def cancel_group(name: str, msg: str | None = None) -> list[Task[Any]]:
    """Cancel the group ``name`` and return its living tasks; they end after their cleanup.

    The group itself is cancelled, not its tasks one by one: so it is closed to new tasks, and
    neither its body nor its end counts as a failure. If several groups have the name, including one
    that is still shutting down, all of them are cancelled. Any thread.
    """
    records = [record for record in registry.living() if record.group == name]
    groups = {find_group(name)}
    groups |= {record.group_facts.group() for record in records if record.group_facts is not None}
    # Before cancelling them, after which they may end at once.
    asked = [record.task for record in records if not record.task.done()]
    for record in records:
        record.cancel_asked = True
    for group in groups:
        if group is not None:
            group.cancel(msg)
    for record in records:
        if record.task._pause is not None:
            record.task.resume()  # a paused body, which only waits for the others, would never end
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
            end_all_of(loop, getattr(loop, "crash", None))  # the loop has just died, and the task
        record.changed()
    return asked


def clear_ended() -> int:
    """Forget the tasks that have ended and their recordings; return how many tasks."""
    from asyncnb._core.tracing.recording import recorder  # imports what records

    recorder.clear()
    return registry.clear_ended()
