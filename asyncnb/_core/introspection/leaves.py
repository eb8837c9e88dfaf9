"""The leaves of an exception group: what failed, and the names of the tasks that raised it.

A group's own message seldom says what happened ("unhandled errors in a TaskGroup"), so every
display names its first leaf in place of it, in the words of ``leaf_line``.
"""

from __future__ import annotations

import asyncio
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from asyncnb._core.base.errors import ItemsFailedError, format_exception_line, safe_str

#: The name that asyncio gives to a task without one.
_DEFAULT_NAME = re.compile(r"Task-\d+")

#: Whether ``cancel`` of asyncnb's tasks calls ``note_children``, as ``watch_groups`` cannot watch.
BY_CANCEL = sys.version_info < (3, 12)
#: The code that runs in a standard TaskGroup for each child that is done.
GROUP_CHILD_DONE = asyncio.TaskGroup._on_task_done.__code__


def note_task(exc: BaseException, task: Any, group: Any = None) -> None:
    """Note that ``task`` of ``group`` has failed with ``exc``, and how many tasks that group had.

    The name for ``task_of``, and the number of those that had not ended, for ``leaf_line``. No
    references: the task itself is freed when its group, which has dropped it, has seen its end.
    """
    noted = exc.__dict__
    if "_asyncnb_task" not in noted and hasattr(task, "get_name"):  # else an adopted future
        noted["_asyncnb_task"] = task.get_name()
        if group is not None:
            noted["_asyncnb_tasks"] = len(group._tasks) + 1


def watch_groups() -> Callable[[], None]:
    """Note the task of each failure in a standard TaskGroup; return what ends that.

    From Python 3.12 on, where the interpreter reports the lines of one function that it runs. Those
    that run for a child without a failure are reported once, so only failures take longer. Does
    nothing before, and where other tools have taken all the ids.
    """
    if sys.version_info < (3, 12):
        return lambda: None
    monitoring = sys.monitoring
    tool = next((n for n in (4, 3) if monitoring.get_tool(n) is None), None)
    if tool is None:
        return lambda: None
    lines = monitoring.events.LINE

    def report(_code: types.CodeType, _line: int) -> Any:
        found = sys._getframe(1).f_locals
        exc = found.get("exc")
        if not isinstance(exc, BaseException):
            return monitoring.DISABLE
        note_task(exc, found.get("task"), found.get("self"))
        return None

    def end() -> None:
        if monitoring.get_tool(tool) == "asyncnb":
            monitoring.set_local_events(tool, GROUP_CHILD_DONE, 0)
            monitoring.register_callback(tool, lines, None)
            monitoring.free_tool_id(tool)

    monitoring.use_tool_id(tool, "asyncnb")
    monitoring.register_callback(tool, lines, report)
    monitoring.set_local_events(tool, GROUP_CHILD_DONE, lines)
    return end


def note_children(frame: types.FrameType) -> None:
    """Note the tasks of a standard TaskGroup whose first child has failed, and of later ones.

    For 3.11, and groups whose own task is asyncnb's. ``frame`` is that of the group's method for a
    child that is done, which cancels the group's task at this moment. The group drops its children
    as they end, and nothing else refers to them.
    """
    found = frame.f_locals
    exc, task, group = map(found.get, ("exc", "task", "self"))
    errors = getattr(group, "_errors", None)
    if isinstance(exc, BaseException) and type(errors) is list:
        note_task(exc, task, group)
        group._errors = _NotedErrors(errors)  # type: ignore[union-attr]


class _NotedErrors(list[BaseException]):
    """The errors of a standard TaskGroup: notes for each that is added whose task it is."""

    def append(self, exc: BaseException) -> None:
        super().append(exc)
        frame = sys._getframe(1)
        if frame.f_code is GROUP_CHILD_DONE:  # else the error of the group's body
            found = frame.f_locals
            note_task(exc, found.get("task"), found.get("self"))


def note_kept_tasks(group: BaseExceptionGroup[BaseException]) -> None:
    """Note the tasks of the exceptions in ``group`` that variables of its frames still hold.

    For the groups whose failures nothing notes: standard ones in a standard task.
    """
    lacking = {id(each): each for each in group.exceptions if task_of(each) is None}
    tb = group.__traceback__
    while tb is not None and lacking:
        for value in list(tb.tb_frame.f_locals.values()):
            for task in _tasks_in(value):
                exc = lacking.get(id(getattr(task, "_exception", None)))
                if exc is not None:
                    note_task(exc, task)
        tb = tb.tb_next


def _tasks_in(value: Any) -> list[Any]:
    # By the type alone: isinstance() asks an object for its class, which may be any code.
    if type(value) is dict:
        found = list(value.values())
    else:
        found = list(value) if type(value) in (list, tuple, set) else [value]
    return found if found and issubclass(type(found[0]), asyncio.Task) else []


def task_of(exc: BaseException) -> str | None:
    """Return the name of the task that failed with ``exc`` in a group, None if it is unknown."""
    name = vars(exc).get("_asyncnb_task")
    return name if isinstance(name, str) else None


def leaves(exc: BaseException) -> Iterator[tuple[BaseException, tuple[str, ...]]]:
    """Yield each exception in ``exc`` that is no group, and the names of the tasks it came through.

    The names are those of the tasks inside of ``exc``, the outermost first, as far as they are
    known: of a crawl whose pages failed, ``("crawl A", "page 7")``.
    """
    waiting: list[tuple[BaseException, tuple[str, ...]]] = [(exc, ())]
    while waiting:
        found, names = waiting.pop()
        if not isinstance(found, BaseExceptionGroup):
            yield found, names
            continue
        for each in reversed(found.exceptions):
            name = task_of(each)
            waiting.append((each, names if name is None else (*names, name)))


def format_failure(exc: BaseException) -> str:
    """Return ``Type: message`` of what failed: for a group, ``leaf_line``."""
    return leaf_line(exc) if isinstance(exc, BaseExceptionGroup) else format_exception_line(exc)


def leaf_line(exc: BaseException) -> str:
    """Return ``ConnectionError: host unreachable (page 7, 1 of 20)`` for a group.

    On one line: the first leaf, the names of its tasks if they are known, and how many tasks of its
    group have failed (``3 of 20 failed``), of those that had not ended at the first failure. If
    that number is not known, ``1 of 3`` says that there are three leaves. What is no group is its
    own leaf.
    """
    number, first = 0, exc
    names: tuple[str, ...] = ()
    for leaf, tasks in leaves(exc):
        number += 1
        if number == 1:
            first, names = leaf, tasks
    message = (safe_str(first).splitlines() or [""])[0]
    text = f"{type(first).__name__}: {message}" if message else type(first).__name__
    own = [" ".join(name.split()) for name in names if not _DEFAULT_NAME.fullmatch(name)]
    details = ["/".join(own)] if own else []
    failed, of = _failures_beside_first_leaf(exc)
    if isinstance(exc, ItemsFailedError):  # of many failures it has only the first ones
        details.append(exc.message.partition(" in ")[0])
    elif of > 1:
        details.append(f"{failed:,} of {of:,}" + (" failed" if failed > 1 else ""))
    elif number > 1:
        details.append(f"1 of {number:,}")
    return f"{text} ({', '.join(details)})" if details else text


def _failures_beside_first_leaf(exc: BaseException) -> tuple[int, int]:
    """Return how many tasks of the first leaf's group failed, and of how many; 0 if not known."""
    inner, around = exc, None
    while isinstance(inner, BaseExceptionGroup):
        around, inner = inner, inner.exceptions[0]
    if around is None:
        return 0, 0
    noted = [vars(each).get("_asyncnb_tasks", 0) for each in around.exceptions]
    return sum(1 for number in noted if number), max(noted)
